"""Checkpoints of a training run: everything a restart needs, as one object graph.

``checkpoints/last`` holds the newest ones, ``checkpoints/best`` the one with the highest PSNR. A checkpoint counts from
the moment TensorFlow has written all of it; an interrupted or failed write leaves the ones before it untouched.
"""

import os
import shutil
from pathlib import Path

import tensorflow as tf
from absl import logging

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.training.gan import DeblurGAN

_KEEP = 2


class Checkpoints:
    """Saves and restores a DeblurGAN with its optimisers, the step and the best score.

    Args:
        folder: the run's ``checkpoints`` folder.
        model: compiled DeblurGAN.

    Attributes:
        step: tf.Variable, steps done.
        best_psnr: tf.Variable, highest PSNR of the validation frames so far.

    Raises:
        InputError: if the list of the checkpoints is damaged.
    """

    def __init__(self, folder: str | os.PathLike, model: DeblurGAN):
        self.step = tf.Variable(0, dtype=tf.int64)
        self.best_psnr = tf.Variable(float("-inf"), dtype=tf.float32)
        owners = {
            "generator": model.trained_generator,
            "discriminator": model.discriminator,
            "average": model.generator if model.ema_decay else None,
            "generator_optimizer": model.generator_optimizer,
            "discriminator_optimizer": model.discriminator_optimizer,
        }
        # Lists of variables, not the Keras objects: TensorFlow does not find a Keras layer's variables by itself.
        variables = {name: [v.value for v in owner.variables] for name, owner in owners.items() if owner is not None}
        self._graph = tf.train.Checkpoint(**variables, step=self.step, best_psnr=self.best_psnr)
        self._folder = Path(folder)
        self._last = _manager(self._graph, Path(folder) / "last", _KEEP)
        self._best = _manager(self._graph, Path(folder) / "best", 1)
        self._saved_step = None  # of the newest checkpoint that is known to be whole

    @property
    def latest(self) -> str | None:
        """Path of the newest complete checkpoint, or None."""
        return newest_checkpoint(self._folder)

    @property
    def last_good(self) -> str:
        """The newest checkpoint, phrased for error messages."""
        return f"the last good checkpoint is {self.latest}" if self.latest else "there is no checkpoint yet"

    def restore(self) -> int:
        """Restores the newest checkpoint that is complete, if there is one; returns the number of steps done.

        Raises:
            InputError: naming the newest checkpoint, if all of them are damaged or belong to another model.
        """
        failures = []
        for path in reversed(self._last.checkpoints):
            try:
                self._graph.restore(path).assert_consumed()
                self._saved_step = int(self.step.numpy())
                return self._saved_step
            except (tf.errors.OpError, AssertionError, ValueError, IndexError) as error:
                failures.append(f"{path}: cannot be restored ({str(error).strip().splitlines()[0]})")
                logging.warning("%s; trying the one before", failures[-1])
        if failures:
            raise InputError(f"{failures[0]}; use a new `run_dir`")
        return 0

    def save(self, step: int) -> None:
        """Saves the state after ``step`` steps, once per step.

        Raises:
            InputError: if it cannot be written; the checkpoints before it stay.
        """
        self.step.assign(step)
        if step != self._saved_step:  # a damaged file of this step, which was passed over, is written again
            self._write(self._last, step)
            self._saved_step = step

    def save_best(self, step: int, score: float) -> bool:
        """Saves the state as the best one if ``score``, a PSNR in dB, is the highest so far; returns whether it is."""
        if score <= float(self.best_psnr.numpy()):
            return False
        self.best_psnr.assign(score)
        self.step.assign(step)
        self._write(self._best, step)
        return True

    def _write(self, manager, step):
        try:
            manager.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            folder, name = Path(manager.directory), f"step-{step}"
            for path in [*folder.glob(f"{name}.*"), *folder.glob(f"{name}_temp*"), *folder.glob("checkpoint.tmp*")]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"{manager.directory}: step {step} could not be saved ({reason}). Nothing before it is lost: "
                f"{self.last_good}. Make room, then start the same command again"
            ) from error


def newest_checkpoint(folder: str | os.PathLike) -> str | None:
    """Path of the newest complete checkpoint in a run's ``checkpoints`` folder, whichever process wrote it; or None."""
    return tf.train.latest_checkpoint(Path(folder) / "last")


def _manager(graph, folder, keep):
    """Keeps the newest checkpoints of a folder; TensorFlow lists them in a file named ``checkpoint``."""
    try:
        return tf.train.CheckpointManager(graph, folder, keep, checkpoint_name="step")
    except ValueError as error:
        raise InputError(f"{folder / 'checkpoint'}: is damaged; restore it or use a new `run_dir`") from error
