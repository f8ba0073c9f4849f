"""What the workers of a training must agree on, and what to say when one of them is lost."""

import hashlib
import platform

import keras
import tensorflow as tf

import tf_deepdeblur
from tf_deepdeblur.config import TrainConfig, flag_values
from tf_deepdeblur.errors import InputError, TemporaryError
from tf_deepdeblur.training.checkpoint import newest_checkpoint
from tf_deepdeblur.training.run_folder import RunFolder
from tf_deepdeblur.training.setup import Sources

_OWN_TO_A_MACHINE = ("run_dir", "data_dir", "dry_run", "worker_timeout")  # a disk may have another path on each


def facts_to_agree_on(config: TrainConfig, sources: Sources) -> dict[str, str]:
    """{name: value} of what must be the same on all workers: flags, training pairs, versions, the run's checkpoint."""
    pairs = "".join(
        f"{sources.training.name(index)} {sources.training.sizes[index]}\n" for index in range(len(sources.training))
    )
    newest = newest_checkpoint(RunFolder(config.run_dir).checkpoints)
    return {
        **{name: value for name, value in flag_values(config).items() if name not in _OWN_TO_A_MACHINE},
        "training pairs": f"{len(sources.training)} ({hashlib.sha256(pairs.encode()).hexdigest()[:8]})",
        "newest checkpoint in the run folder": newest.rpartition("/")[2] if newest else "none",
        "tf_deepdeblur": tf_deepdeblur.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
    }


def with_remedy(error: InputError, folder: RunFolder) -> InputError:
    """Adds the newest checkpoint and the remedy to another worker's error."""
    newest = newest_checkpoint(folder.checkpoints)
    state = f"the last checkpoint is {newest}" if newest else "there is no checkpoint yet"
    if isinstance(error, TemporaryError):
        return TemporaryError(f"{error}; {state}: start all workers again with the same command")
    return InputError(f"{error}; {state}")
