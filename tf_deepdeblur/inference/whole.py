"""The network on a whole image at once: what the tiles equal, and what every export computes."""

from collections.abc import Callable

import tensorflow as tf

from tf_deepdeblur.io.pixels import to_float
from tf_deepdeblur.pyramid import gaussian_pyramid, pad_for_pyramid


def restore(images: tf.Tensor, network: Callable[[list[tf.Tensor]], list[tf.Tensor]], num_scales: int) -> tf.Tensor:
    """Pads, builds the pyramid, restores and crops.

    Everything becomes builtin TFLite operators, the padding to a size that only the running graph knows included.
    Sides that are known and need no padding get none.

    Args:
        images: uint8 or uint16 tensor [N, H, W, 3] of any size from 1x1.
        network: restores a list of images, finest first; such as a Generator.
        num_scales: levels of the pyramid that ``network`` takes.

    Returns:
        float32 tensor [N, H, W, 3], neither clipped nor rounded.
    """
    padded = pad_for_pyramid(images, num_scales)
    with tf.name_scope("network"):  # the same names with and without padding: int8 ranges are found by name
        restored = network(gaussian_pyramid(to_float(padded), num_scales))[0]
    return restored if padded is images else restored[:, : tf.shape(images)[1], : tf.shape(images)[2]]
