"""The exported function is the definition: pad, pyramid, network, crop, round."""

import numpy as np
import pytest
import tensorflow as tf

from tests.export.conftest import random_generator, random_image
from tf_deepdeblur.export import graph


def operations(size):
    images = tf.TensorSpec([1, *size, 3], tf.uint8)
    function = tf.function(lambda images: graph.restore(images, lambda pyramid: pyramid, 3), input_signature=[images])
    return {operation.type for operation in function.get_concrete_function().graph.get_operations()}


@pytest.mark.parametrize(("size", "is_padded"), [((16, 20), False), ((16, 18), True), ((4, 20), True)])
def test_known_sides_are_padded_only_where_they_must(size, is_padded):
    assert ("GatherV2" in operations(size)) == is_padded
    assert ("StridedSlice" in operations(size)) == is_padded


def test_bound_weights_replace_the_generators():
    generator, other = random_generator(), random_generator(scale=0.05)
    pyramid = [tf.constant(random_image(side, side)[None] / 255.0 - 0.5, tf.float32) for side in (16, 8)]
    restored = graph.bind(generator, other.get_weights())(pyramid)
    for mine, theirs in zip(restored, other(pyramid), strict=True):
        np.testing.assert_array_equal(mine, theirs)
