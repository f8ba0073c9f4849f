"""How large the activations of a network become, which tells whether float16 can hold them."""

import re
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from tf_deepdeblur.io.pixels import to_float
from tf_deepdeblur.models.generator import Generator

LARGEST_FLOAT16 = 65504.0
_NEAR = LARGEST_FLOAT16 / 8  # other pictures may have activations several times as large
_OPERATORS = {"Conv2D", "BiasAdd", "AddV2", "Relu"}


def measure(generator: Generator, images: Iterable[np.ndarray]) -> dict:
    """The largest absolute value of all activations on some pictures.

    GPUs of phones may compute in float16, which overflows beyond 65504.

    Args:
        generator: float32 Generator.
        images: uint8 arrays [H, W, 3].

    Returns:
        A dict for JSON: "largest" (one value per scale, finest first), "float16_limit" and "near_float16_limit"
        (whether one of them is above an eighth of it).
    """

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8)], autograph=False)
    def largest(image):
        generator(to_float(image))
        found = [[] for _ in range(generator.num_scales)]
        for operator in tf.compat.v1.get_default_graph().get_operations():  # those that the call has just made
            scale = re.search(r"\bscale(\d)", operator.name)
            if scale and operator.type in _OPERATORS:
                found[int(scale[1])].append(tf.reduce_max(tf.abs(operator.outputs[0])))
        return tf.stack([tf.reduce_max(values) for values in found])

    values = np.max([largest(image[None]).numpy() for image in images], axis=0).tolist()
    return {"largest": values, "float16_limit": LARGEST_FLOAT16, "near_float16_limit": max(values) > _NEAR}
