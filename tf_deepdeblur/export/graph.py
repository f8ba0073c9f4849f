"""The function that every export computes: blurry pixels in, restored pixels out."""

from tf_deepdeblur.inference import whole
from tf_deepdeblur.io.pixels import to_uint8


def restore(images, network, num_scales):
    """``inference.whole.restore``, rounded: uint8 [N, H, W, 3] in and out."""
    return to_uint8(whole.restore(images, network, num_scales))


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
