"""In which precision a network runs fastest on this machine without showing it."""

import time

import tensorflow as tf

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.runtime import choose_precision

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
_TRIALS = 5
_PROBE_SIDE = 64  # pixels; the probe takes some 50 ms in all for the paper's network
_WORTHWHILE = 1.2  # how many times faster bfloat16 must be to be worth its rounding


def dtype_policy(precision, filters, kernel_size):
    """The Keras dtype policy for ``precision``.

    "auto" is bfloat16 where the device has it in hardware, and, on a CPU, where a convolution of the network's is also
    measured to be faster in it: that differs between makers and with the number of filters. Otherwise it is float32.

    Args:
        precision: "auto", "float32", "bfloat16" or "float16".
        filters: feature maps of the network.
        kernel_size: side of its convolutions.

    Raises:
        InputError: for float16 without a GPU, where it is slower than float32, and for unknown names.
    """
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    if precision == "auto":
        policy = choose_precision("auto")
        is_proven = policy == "float32" or has_gpu or _bfloat16_speedup(filters, kernel_size) > _WORTHWHILE
        return policy if is_proven else "float32"
    if precision not in POLICIES:
        raise InputError(f"precision must be auto or one of {', '.join(POLICIES)}, got {precision!r}")
    if precision == "float16" and not has_gpu:
        raise InputError("float16 needs a GPU, on a CPU it is slower than float32; use auto, float32 or bfloat16")
    return POLICIES[precision]


def _bfloat16_speedup(filters, kernel_size):
    """How many times faster one convolution is in bfloat16 than in float32, at their best."""
    seconds = {tf.float32: [], tf.bfloat16: []}
    for _ in range(1 + _TRIALS):
        for dtype, trials in seconds.items():
            trials.append(_seconds(filters, kernel_size, dtype))
    return min(seconds[tf.float32][1:]) / min(seconds[tf.bfloat16][1:])


def _seconds(filters, kernel_size, dtype):
    images = tf.ones([1, _PROBE_SIDE, _PROBE_SIDE, filters], dtype)
    kernel = tf.ones([kernel_size, kernel_size, filters, filters], dtype)
    start = time.perf_counter()
    tf.nn.conv2d(images, kernel, strides=1, padding="SAME").numpy()
    return time.perf_counter() - start
