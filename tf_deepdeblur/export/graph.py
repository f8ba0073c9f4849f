"""The function that every export computes: blurry pixels in, restored pixels out."""

import tensorflow as tf

from tf_deepdeblur.images import crop, pad_to_multiple, to_float, to_uint8
from tf_deepdeblur.pyramid import gaussian_pyramid, smallest_side


def restore(images, network, num_scales):
    """Pads, builds the pyramid, restores, crops and rounds.

    Everything becomes builtin TFLite operators, the padding to a size that only the running graph knows included.
    Sides that are known and need no padding get none.

    Args:
        images: uint8 tensor [N, H, W, 3] of any size from 1x1.
        network: restores a list of images, finest first; a Generator or the result of ``bind``.
        num_scales: levels of the pyramid that ``network`` takes.

    Returns:
        uint8 tensor [N, H, W, 3].
    """
    padded = images if _fits(images.shape[1:3], num_scales) else _pad(images, num_scales)
    with tf.name_scope("network"):  # the same names with and without padding: int8 ranges are found by name
        restored = network(gaussian_pyramid(to_float(padded), num_scales))[0]
    if padded is images:
        return to_uint8(restored)
    return to_uint8(crop(restored, tf.shape(images)[1], tf.shape(images)[2]))


def bind(generator, weights):
    """The generator as a function of a pyramid alone that computes with ``weights`` in place of its variables.

    Args:
        generator: Generator.
        weights: tensors or variables in the order of ``generator.weights``.
    """
    values = {id(variable): value for variable, value in zip(generator.weights, weights, strict=True)}
    trainable = [values[id(variable)] for variable in generator.trainable_variables]
    others = [values[id(variable)] for variable in generator.non_trainable_variables]
    return lambda pyramid: generator.stateless_call(trainable, others, pyramid)[0]


def _fits(sides, num_scales):
    multiple, smallest = 2 ** (num_scales - 1), smallest_side(num_scales)
    return all(side is not None and side % multiple == 0 and side >= smallest for side in sides)


def _pad(images, num_scales):
    return pad_to_multiple(images, 2 ** (num_scales - 1), smallest_side(num_scales))
