"""The network on a whole image at once: what the tiles equal, and what every export computes."""

import tensorflow as tf

from tf_deepdeblur.io.pixels import crop, pad_to_multiple, to_float
from tf_deepdeblur.pyramid import gaussian_pyramid, smallest_side


def restore(images, network, num_scales):
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
    padded = images if _fits(images.shape[1:3], num_scales) else _pad(images, num_scales)
    with tf.name_scope("network"):  # the same names with and without padding: int8 ranges are found by name
        restored = network(gaussian_pyramid(to_float(padded), num_scales))[0]
    return restored if padded is images else crop(restored, tf.shape(images)[1], tf.shape(images)[2])


def _fits(sides, num_scales):
    multiple, smallest = 2 ** (num_scales - 1), smallest_side(num_scales)
    return all(side is not None and side % multiple == 0 and side >= smallest for side in sides)


def _pad(images, num_scales):
    return pad_to_multiple(images, 2 ** (num_scales - 1), smallest_side(num_scales))
