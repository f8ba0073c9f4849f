"""Checkpoints of a training run: everything a restart needs, as one object graph.

``checkpoints/last`` holds the newest ones, ``checkpoints/best`` the one with the highest PSNR. A checkpoint counts from
the moment TensorFlow has written all of it; an interrupted or failed write leaves the ones before it untouched.
"""

import contextlib
import os
import shutil
from pathlib import Path

import keras
import tensorflow as tf
from absl import logging

from tf_deepdeblur.errors import InputError, first_line
from tf_deepdeblur.training.gan import DeblurGAN

_KEEP = 2
# A LossScaleOptimizer's own variables, which come before those inside: iteration, learning rate, step counter, scale.
_LOSS_SCALING = (tf.int64, tf.float32, tf.int64, tf.float32)
_UNUSABLE = (tf.errors.OpError, AssertionError, ValueError, IndexError, RuntimeError)


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
        scalars = {"step": self.step, "best_psnr": self.best_psnr}
        self._graph = tf.train.Checkpoint(**variables, **scalars)
        # The layout where the run that wrote it scaled its losses (float16) and this one does not, or the reverse.
        names = [name for name in variables if name.endswith("_optimizer")]
        toggled = {name: _toggled_loss_scaling(owners[name]) for name in names}
        self._other_graph = tf.train.Checkpoint(**{**variables, **toggled}, **scalars)
        self._folder = Path(folder)
        self._last = _manager(self._graph, Path(folder) / "last", _KEEP)
        self._best = _manager(self._graph, Path(folder) / "best", 1)
        self._saved_step = None  # of the newest checkpoint that is known to be whole
        self._last_good = None  # its path

    @property
    def latest(self) -> str | None:
        """Path of the newest complete checkpoint, or None."""
        return newest_checkpoint(self._folder)

    @property
    def last_good(self) -> str:
        """The newest checkpoint that was restored or written, phrased for error messages."""
        return f"the last good checkpoint is {self._last_good}" if self._last_good else "there is no checkpoint yet"

    def restore(self) -> int:
        """Restores the newest checkpoint that is complete, if there is one; returns the number of steps done.

        Raises:
            InputError: naming the newest checkpoint, if all of them are damaged or belong to another model.
        """
        failures = []
        for path in reversed(self._last.checkpoints):
            try:
                self._restore(path)
            except _UNUSABLE as error:
                failures.append(f"{path}: cannot be restored ({first_line(error)})")
                logging.warning("%s; trying the one before", failures[-1])
            else:
                self._saved_step, self._last_good = int(self.step.numpy()), path
                self._restore_best_psnr()
                return self._saved_step
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
            self._last_good = self._write(self._last, step)
            self._saved_step = step

    def save_best(self, step: int, score: float) -> bool:
        """Saves the state as the best one if ``score``, a PSNR in dB, is the highest so far; returns whether it is."""
        if score <= float(self.best_psnr.numpy()):
            return False
        self.best_psnr.assign(score)
        self.step.assign(step)
        self._write(self._best, step)
        return True

    def _restore(self, path):
        try:
            self._graph.restore(path).assert_consumed()
        except _UNUSABLE as error:
            try:
                self._other_graph.restore(path).assert_consumed()
            except _UNUSABLE:
                raise error from None

    def _restore_best_psnr(self):
        """The best score is that of ``best``: the newest checkpoint may have been written before its evaluation."""
        with contextlib.suppress(*_UNUSABLE):
            score = tf.train.load_checkpoint(self._best.directory).get_tensor("best_psnr/.ATTRIBUTES/VARIABLE_VALUE")
            self.best_psnr.assign(tf.maximum(self.best_psnr, score))

    def _write(self, manager, step):
        try:
            return manager.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            folder, name = Path(manager.directory), f"step-{step}"
            for path in [*folder.glob(f"{name}.*"), *folder.glob(f"{name}_temp*"), *folder.glob("checkpoint.tmp*")]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            raise InputError(
                f"{manager.directory}: step {step} could not be saved ({first_line(error)}). Nothing before it is "
                f"lost: {self.last_good}. Make room, then start the same command again"
            ) from error


def newest_checkpoint(folder: str | os.PathLike) -> str | None:
    """Path of the newest complete checkpoint in a run's ``checkpoints`` folder, whichever process wrote it; or None."""
    return tf.train.latest_checkpoint(Path(folder) / "last")


def _toggled_loss_scaling(optimizer):
    """An optimiser's variables as they would be with a LossScaleOptimizer around it, or without the one that is."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return [v.value for v in optimizer.inner_optimizer.variables]
    return [*(tf.Variable(0, dtype=dtype) for dtype in _LOSS_SCALING), *(v.value for v in optimizer.variables)]


def _manager(graph, folder, keep):
    """Keeps the newest checkpoints of a folder; TensorFlow lists them in a file named ``checkpoint``."""
    try:
        return tf.train.CheckpointManager(graph, folder, keep, checkpoint_name="step")
    except ValueError as error:
        raise InputError(f"{folder / 'checkpoint'}: is damaged; restore it or use a new `run_dir`") from error
