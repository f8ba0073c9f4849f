"""Where a run starts: from its newest checkpoint, from the weights of another network, or from random ones."""

from typing import NamedTuple

from tf_deepdeblur.config import TrainConfig
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.training.checkpoint import Checkpoints
from tf_deepdeblur.training.gan import DeblurGAN
from tf_deepdeblur.training.initial_weights import assign_initial_weights
from tf_deepdeblur.training.run_folder import RunFolder


class Start(NamedTuple):
    """What a run starts from.

    Attributes:
        checkpoints: those of the run folder.
        step: steps that the run has done before.
        origin: of the initial weights, see ``assign_initial_weights``; None if the run resumes from a checkpoint or
            starts from random weights.
    """

    checkpoints: Checkpoints
    step: int
    origin: dict[str, str] | None


def restore_or_initialise(config: TrainConfig, folder: RunFolder, model: DeblurGAN) -> Start:
    """Gives a new model the state that the run starts from; writes nothing.

    Raises:
        InputError: if the checkpoints or the initial weights cannot be used, or the folder has a network without one.
    """
    checkpoints = Checkpoints(folder.checkpoints, model)
    step = checkpoints.restore()
    if not step and folder.generator.exists():
        raise InputError(f"{folder.path}: holds a trained network but no checkpoint to go on from; use a new `run_dir`")
    if step or not config.initial_weights:
        return Start(checkpoints, step, None)
    return Start(checkpoints, step, assign_initial_weights(model, config.initial_weights))
