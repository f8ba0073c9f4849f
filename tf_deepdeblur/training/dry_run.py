"""What a training would do, without doing it."""

from pathlib import Path

from tqdm import tqdm

from tf_deepdeblur.config import DataConfig, TrainConfig
from tf_deepdeblur.data.packed import verify
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.training.initial_weights import describe_origin
from tf_deepdeblur.training.precision import training_precision
from tf_deepdeblur.training.run_folder import RunFolder
from tf_deepdeblur.training.setup import Sources, build_model, open_sources
from tf_deepdeblur.training.start import restore_or_initialise
from tf_deepdeblur.training.worker_cluster import find_cluster


def describe(config: TrainConfig) -> str:
    """What ``train`` would do: pairs, the first few of them, and the networks' sizes, as text; reads every image.

    Raises:
        InputError: as ``train`` does, for the data, the run folder and the initial weights.
    """
    folder = RunFolder(config.run_dir)
    folder.changes(config)
    if config.runtime.strategy == "multi_worker":
        find_cluster()  # raises if there is none
    sources = open_sources(config)
    _read_every_pair(config.data, sources)
    precision = training_precision(config)
    model = build_model(config, precision.policy)
    _, step, origin = restore_or_initialise(config, folder, model)
    lines = [f"training pairs: {len(sources.training)}, for example"]
    lines += [f"  {pair.blurry} -> {pair.sharp}" for pair in sources.training.pairs[:3]]
    lines += [f"validation pairs: {len(sources.validation) if sources.validation else 'none'}"]
    lines += [f"generator: {model.generator.count_params():,} parameters, K = {config.model.num_scales}"]
    if model.discriminator is not None:
        lines += [f"discriminator: {model.discriminator.count_params():,} parameters"]
    if origin:
        lines += [describe_origin(origin)]
    if step:
        lines += [f"goes on after step {step:,}"]
    lines += [str(precision), f"steps: {config.optimizer.total_steps:,}"]
    return "\n".join(lines)


def _read_every_pair(config: DataConfig, sources: Sources):
    """Raises InputError if an image of a folder cannot be read, or if one of a packed store has changed."""
    if config.dataset == "store":
        path = Path(config.data_dir).expanduser()
        damaged = verify(path)
        if damaged:
            names = ", ".join(damaged[:3])
            raise InputError(f"{path}: {len(damaged)} images are damaged, such as {names}; pack it again")
        return
    for source in filter(None, sources):
        for index in tqdm(range(len(source)), desc="read every pair", unit="pair"):
            source.read_pair(index)
