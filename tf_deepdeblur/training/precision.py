"""In which precision a network trains fastest on this machine."""

import json
from typing import NamedTuple

import tensorflow as tf

from tf_deepdeblur.config import TrainConfig
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.atomic import write_atomically
from tf_deepdeblur.models.layers import ResBlock
from tf_deepdeblur.runtime import POLICIES, alternating_seconds, choose_precision
from tf_deepdeblur.training.run_folder import RunFolder

_TRIALS = 5
_PROBE_SIDE = 64  # pixels; for the paper's network all trials take a second or two on two cores
_WORTHWHILE = 1.1  # how many times faster bfloat16 must be to be worth its rounding


class Precision(NamedTuple):
    """A precision and how it came about.

    Attributes:
        policy: Keras dtype policy.
        reason: for people; empty if they asked for this precision.
    """

    policy: str
    reason: str

    @property
    def name(self) -> str:
        """The policy as it is named on the command line: "float32", "bfloat16" or "float16"."""
        return self.policy.removeprefix("mixed_")

    def __str__(self) -> str:
        return f"precision: {self.name}{self.reason and f' ({self.reason})'}"


def training_precision(config: TrainConfig) -> Precision:
    """The precision of a run: what was asked for, else what the run began in, else the faster one of two.

    "auto" is bfloat16 where the device has it in hardware and one of the network's blocks, forward and backward, is
    measured to be faster in it. Otherwise it is float32.

    Raises:
        InputError: as ``choose_precision``; or if the record of what the run began in is damaged.
    """
    asked = config.runtime.precision
    if asked != "auto":
        return Precision(choose_precision(asked), "")
    begun = recorded_precision(RunFolder(config.run_dir))
    if begun is not None:
        return Precision(choose_precision(begun), "as the run began")
    policy = choose_precision("auto")
    if policy == "float32":
        return Precision(policy, "this machine does not multiply bfloat16 in hardware")
    steps = {name: _training_step(config, POLICIES[name]) for name in ("float32", "bfloat16")}
    seconds = alternating_seconds(steps, _TRIALS)
    reason = "a block of the network, forward and backward, takes " + ", ".join(
        f"{value * 1000:.3g} ms in {name}" for name, value in seconds.items()
    )
    is_worthwhile = seconds["float32"] > _WORTHWHILE * seconds["bfloat16"]
    return Precision(policy if is_worthwhile else "float32", reason)


def recorded_precision(folder: RunFolder) -> str | None:
    """The name of the precision that a run trains in; None for one that has not begun.

    Raises:
        InputError: if the record is damaged.
    """
    if not folder.precision.is_file():
        return None
    try:
        name = json.loads(folder.precision.read_text())["precision"]
        if name not in POLICIES:
            raise ValueError(f"unknown precision {name!r}")
        return name
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{folder.precision}: is damaged; restore it, or remove it and give `precision`") from error


def record_precision(folder: RunFolder, precision: Precision) -> None:
    """Writes what a run trains in and why, unless the record says so already."""
    if recorded_precision(folder) != precision.name:
        record = {"precision": precision.name, "reason": precision.reason or "as asked for"}
        write_atomically(folder.precision, json.dumps(record) + "\n")


def _training_step(config, policy):
    """A function that computes the gradients of one of the network's ResBlocks, on patches of at most 64 pixels."""
    filters, side = config.model.filters, min(config.data.patch_size, _PROBE_SIDE)
    block = ResBlock(filters, config.model.kernel_size, dtype=policy)
    features = tf.ones([config.optimizer.batch_size, side, side, filters], block.compute_dtype)
    block.build(features.shape)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            tape.watch(features)
            loss = tf.reduce_sum(tf.cast(block(features), tf.float32))
        gradients = tape.gradient(loss, [features, *(variable.value for variable in block.trainable_variables)])
        return tf.add_n([tf.reduce_sum(tf.cast(gradient, tf.float32)) for gradient in gradients])

    return lambda: step().numpy()  # waits for the result: a GPU computes in the background
