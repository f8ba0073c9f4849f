"""The largest activation is the true one, scale by scale."""

import numpy as np
import pytest

from tf_deepdeblur.export import activations
from tf_deepdeblur.models.generator import Generator

WHITE = np.full((2, 3, 3), 255, np.uint8)  # 0.5 inside


def network(head):
    """One scale of one filter of 1x1: head, two convolutions of weight 2 and bias 1, and a last one of weight 0."""
    generator = Generator(1, 1, 1, 1)
    shapes = [weight.shape for weight in generator.get_weights()]
    values = [head, 0, 2, 1, 2, 1, 0, 0]
    generator.set_weights([np.full(shape, value, "float32") for shape, value in zip(shapes, values, strict=True)])
    return generator


def test_the_largest_activation_by_hand():
    features = 3 * 0.5 * 4  # of the head: three channels of 0.5, weight 4
    added = 2 * (2 * features + 1) + 1
    assert activations.measure(network(4), [WHITE, 0 * WHITE + 128])["largest"] == [pytest.approx(features + added)]


@pytest.mark.parametrize(("head", "is_near"), [(4, False), (-4, False), (1e4, True)])
def test_what_float16_cannot_hold_is_said(head, is_near):
    assert activations.measure(network(head), [WHITE])["near_float16_limit"] == is_near


def test_every_scale_has_a_value():
    generator = Generator(3, 1, 2, 3)
    generator.set_weights(
        [0 * weight if number < 8 else weight for number, weight in enumerate(generator.get_weights())]
    )
    finest, *coarser = activations.measure(generator, [WHITE])["largest"]
    assert finest == 0 and min(coarser) > 0
