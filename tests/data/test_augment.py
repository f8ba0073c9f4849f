import numpy as np
import pytest
import tensorflow as tf
from skimage.color import hsv2rgb, rgb2hsv

from tf_deepdeblur.data.augment import add_noise, augment, flip_and_rotate, uniforms

PATCH = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)


def seed(number):
    return tf.constant([3, number], tf.int64)


def augmented(blurry, sharp, number):
    return [image.numpy() for image in augment(tf.constant(blurry), tf.constant(sharp), seed(number))]


def test_the_same_seed_gives_the_same_pixels_eager_and_in_a_pipeline():
    eager = augmented(PATCH, 255 - PATCH, 7)
    dataset = tf.data.Dataset.range(7, 8).map(
        lambda n: augment(tf.constant(PATCH), tf.constant(255 - PATCH), tf.stack([tf.constant(3, tf.int64), n]))
    )
    for ours, theirs in zip(eager, next(iter(dataset)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(eager[0], augmented(PATCH, 255 - PATCH, 8)[0])


def test_range_and_type():
    for number in range(20):
        for image in augmented(PATCH, PATCH, number):
            assert image.dtype == np.float32
            assert image.min() >= -0.5
            assert image.max() <= 0.5


def test_both_patches_are_changed_alike_except_for_the_noise():
    strengths = []
    for number in range(200):
        blurry, sharp = augmented(PATCH, PATCH, number)
        inner = (np.abs(sharp) < 0.45).all(axis=-1)  # where clipping does not hide the noise
        strengths.append((blurry - sharp)[inner].std() * 255)
    assert max(strengths) < 2 * 4.5
    assert np.sqrt(np.mean(np.square(strengths))) == pytest.approx(2.0, rel=0.25)  # sigma ~ N(0, 2^2)


@pytest.mark.parametrize("coins", [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)])
def test_flips_and_rotation_equal_numpys(coins):
    expected = PATCH
    expected = np.flip(expected, 1) if coins[0] else expected
    expected = np.flip(expected, 0) if coins[1] else expected
    expected = np.rot90(expected) if coins[2] else expected
    result = flip_and_rotate(tf.constant(PATCH[None]), tf.constant(coins) > 0)
    np.testing.assert_array_equal(result[0], expected)


def candidates(patch):
    """All that geometry and channel order can make of a patch."""
    for channels in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]):
        for coins in np.ndindex(2, 2, 2):
            yield flip_and_rotate(tf.constant(patch[None, ..., channels]), tf.constant(coins) > 0)[0].numpy()


def test_saturation_is_scaled_in_hsv_as_scikit_image_does():
    """Value and hue stay; saturation is multiplied by one factor within [0.5, 1.5], up to 1."""
    for number in range(5):
        sharp = augmented(PATCH, PATCH, number)[1] + 0.5
        matches = [
            hsv for hsv in map(rgb2hsv, candidates(PATCH)) if np.abs(hsv[..., 2] - sharp.max(axis=-1)).max() < 1e-4
        ]
        errors = []
        for hsv in matches:
            factors = np.linspace(0.5, 1.5, 501)
            scaled = (hsv2rgb(np.dstack([hsv[..., 0], np.minimum(hsv[..., 1] * f, 1), hsv[..., 2]])) for f in factors)
            errors.append(min(np.abs(image - sharp).max() for image in scaled))
        assert min(errors) < 2e-3


def test_all_eight_geometries_and_six_channel_orders_occur():
    marked = np.zeros((2, 2, 3), np.uint8)
    marked[0, 0], marked[0, 1] = (10, 20, 40), (80, 160, 240)
    seen = {augmented(marked, marked, number)[1].argsort(axis=None, kind="stable").tobytes() for number in range(400)}
    assert len(seen) >= 40  # of 48


def test_uniforms_are_uniform():
    draws = np.concatenate([uniforms(seed(number), 4) for number in range(500)])
    assert (draws.min() >= 0, draws.max() < 1) == (True, True)
    assert draws.mean() == pytest.approx(0.5, abs=0.03)
    assert np.histogram(draws, 4, (0, 1))[0].min() > 400


def test_noise_strength_varies_from_patch_to_patch():
    stds = [float(tf.math.reduce_std(add_noise(tf.zeros([32, 32, 3]), seed(n)))) * 255 for n in range(50)]
    assert min(stds) < 0.5
    assert max(stds) > 3.0
