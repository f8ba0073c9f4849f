"""In which precision a network runs fastest on this machine without showing it."""

import functools
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from tf_deepdeblur.runtime import alternating_seconds, choose_precision

_TRIALS = 5
_PROBE_SIDE = 64  # pixels; the probe takes some 50 ms in all for the paper's network
_PICTURE_SIDE = 256  # pixels
_PICTURE_TRIALS = 2
_WORTHWHILE = 1.2  # how many times faster bfloat16 must be to be worth its rounding


def dtype_policy(precision: str, filters: int, kernel_size: int) -> str:
    """The Keras dtype policy to restore images in.

    "auto" is bfloat16 where the device has it in hardware, and, on a CPU, where a convolution of the network's is also
    measured to be faster in it: that differs between makers and with the number of filters. Otherwise it is float32.

    Args:
        precision: "auto", "float32", "bfloat16", "float16" or a policy's name, such as "mixed_bfloat16".
        filters: feature maps of the network.
        kernel_size: side of its convolutions.

    Raises:
        InputError: for float16 without a GPU, where it is slower than float32, and for unknown names.
    """
    policy = choose_precision(precision)
    if precision != "auto" or policy == "float32" or tf.config.list_physical_devices("GPU"):
        return policy

    def convolution(dtype):
        images = tf.ones([1, _PROBE_SIDE, _PROBE_SIDE, filters], dtype)
        kernel = tf.ones([kernel_size, kernel_size, filters, filters], dtype)
        return lambda: tf.nn.conv2d(images, kernel, strides=1, padding="SAME").numpy()

    convolutions = {dtype: convolution(dtype) for dtype in (tf.float32, tf.bfloat16)}
    seconds = alternating_seconds(convolutions, _TRIALS)
    return policy if seconds[tf.float32] > _WORTHWHILE * seconds[tf.bfloat16] else "float32"


def candidate_precisions() -> tuple[str, ...]:
    """The precisions that may be the fastest on this machine."""
    return ("float32", "bfloat16", "float16" if tf.config.list_physical_devices("GPU") else "int8")


def trial_seconds(deblurrers: Mapping[str, Callable[[np.ndarray], np.ndarray]]) -> dict[str, float]:
    """The shortest time, in seconds, that functions on images take for one of 256x256 pixels."""
    image = np.full((_PICTURE_SIDE, _PICTURE_SIDE, 3), 128, np.uint8)  # the time does not depend on what it shows
    works = {name: functools.partial(deblur, image) for name, deblur in deblurrers.items()}
    return alternating_seconds(works, _PICTURE_TRIALS)
