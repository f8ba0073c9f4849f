import numpy as np
import pytest
import tensorflow as tf
from skimage.transform import pyramid_gaussian

from tf_deepdeblur.pyramid import gaussian_pyramid, pad_for_pyramid, smallest_side


@pytest.mark.parametrize("shape", [(8, 8), (16, 24), (64, 36)])
def test_equals_scikit_image(shape):
    images = np.random.default_rng(0).random((2, *shape, 3)).astype(np.float32)
    ours = gaussian_pyramid(images, 3)
    for i, image in enumerate(images):
        theirs = pyramid_gaussian(image.astype(np.float64), max_layer=2, downscale=2, channel_axis=-1)
        for level, expected in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(level[i], expected, atol=1e-5)


def test_a_constant_image_stays_constant():
    for level in gaussian_pyramid(np.full((1, 16, 16, 3), 0.25, np.float32), 3):
        np.testing.assert_allclose(level, 0.25, atol=1e-6)


def test_the_finest_level_is_the_image_itself():
    image = tf.random.normal([1, 8, 8, 3])
    assert gaussian_pyramid(image, 2)[0] is image


def test_unknown_sides_give_the_same_as_known_ones():
    image = tf.random.stateless_normal([1, 16, 12, 3], [1, 2])
    graph = tf.function(lambda x: gaussian_pyramid(x, 3), input_signature=[tf.TensorSpec([None, None, None, 3])])
    for known, unknown in zip(gaussian_pyramid(image, 3), graph(image), strict=True):
        np.testing.assert_allclose(known, unknown, atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 8), (8, 10), (4, 8), (7, 7)])
def test_sides_that_cannot_be_halved_are_refused(shape):
    with pytest.raises(ValueError, match="multiples of 4 and at least 8"):
        gaussian_pyramid(np.zeros((1, *shape, 3), np.float32), 3)


def test_no_levels_are_refused():
    with pytest.raises(ValueError, match="num_levels"):
        gaussian_pyramid(np.zeros((1, 8, 8, 3), np.float32), 0)


@pytest.mark.parametrize("num_levels", [1, 2, 3])
def test_the_smallest_side_works(num_levels):
    side = smallest_side(num_levels)
    assert len(gaussian_pyramid(np.zeros((1, side, side, 3), np.float32), num_levels)) == num_levels


@pytest.mark.parametrize(("num_levels", "block"), [(1, 1), (2, 1), (3, 1), (1, 2), (3, 2)])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 12), (9, 31)])
def test_images_are_padded_until_they_have_a_pyramid(num_levels, block, size):
    multiple, smallest = block * 2 ** (num_levels - 1), smallest_side(num_levels)
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    missing = [max(-side % multiple, smallest - side) for side in size]
    expected = np.pad(images, [(0, 0), (0, missing[0]), (0, missing[1]), (0, 0)], mode="edge")
    np.testing.assert_array_equal(pad_for_pyramid(images, num_levels, block), expected)
    graph = tf.function(lambda x: pad_for_pyramid(x, num_levels, block))
    unknown = graph.get_concrete_function(tf.TensorSpec([None, None, None, 3], tf.uint8))
    np.testing.assert_array_equal(unknown(tf.constant(images)), expected)
    levels = gaussian_pyramid(expected.astype(np.float32), num_levels)
    assert len(levels) == num_levels
    assert all(side % block == 0 for side in levels[-1].shape[1:3])


def test_images_that_have_a_pyramid_are_returned_as_they_are():
    images = np.zeros((1, 8, 12, 3), np.uint8)
    assert pad_for_pyramid(images, 3) is images
