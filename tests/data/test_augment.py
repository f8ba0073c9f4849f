import numpy as np
import pytest
import tensorflow as tf
from skimage.color import hsv2rgb, rgb2hsv

from tf_deepdeblur.data.augment import add_noise, augment, flip_and_rotate, scale_saturation
from tf_deepdeblur.data.counter_rng import CounterRNG

PATCH = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)


def augmented(blurry, sharp, number):
    return augment(blurry, sharp, CounterRNG(3, number))


def test_the_same_draws_give_the_same_pixels_eager_and_in_a_pipeline():
    eager = augmented(PATCH, 255 - PATCH, 7)
    dataset = tf.data.Dataset.range(7, 8).map(
        lambda n: tf.numpy_function(lambda n: augmented(PATCH, 255 - PATCH, n), [n], [tf.float32, tf.float32])
    )
    for ours, theirs in zip(eager, next(iter(dataset)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(eager[0], augmented(PATCH, 255 - PATCH, 8)[0])


def test_results_can_be_written_to_given_arrays():
    out = [np.full((24, 24, 3), np.nan, np.float32) for _ in range(2)]
    results = augment(PATCH, 255 - PATCH, CounterRNG(3, 7), out)
    np.testing.assert_array_equal(results, augmented(PATCH, 255 - PATCH, 7))
    assert results[0] is out[0]


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
    np.testing.assert_array_equal(flip_and_rotate(PATCH, coins), expected)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.3, 1.5])
def test_saturation_equals_scikit_images_way_through_hsv(factor):
    image = PATCH.copy()
    image[0] = image[0, :, :1]  # grey
    image[1], image[2] = 0, 255
    hsv = rgb2hsv(image)
    hsv[..., 1] = np.minimum(hsv[..., 1] * factor, 1)
    out = np.empty(image.shape, np.float32)
    scale_saturation([np.ascontiguousarray(image[..., channel]) for channel in range(3)], factor, out)
    np.testing.assert_allclose(out + 0.5, hsv2rgb(hsv), atol=2e-6)


def test_the_saturation_factor_is_uniform_between_a_half_and_three_halves():
    """Seen on a patch of one colour, of value 200 and saturation 0.5."""
    colour = np.broadcast_to(np.array([200, 150, 100], np.uint8), (8, 8, 3))
    sharp = [augmented(colour, colour, number)[1] + 0.5 for number in range(400)]
    factors = [(image.max() - image.min()) / image.max() / 0.5 for image in sharp]
    assert 0.5 <= min(factors) < 0.52
    assert 1.48 < max(factors) <= 1.5 + 1e-6
    assert np.mean(factors) == pytest.approx(1.0, abs=0.05)


def test_all_eight_geometries_and_six_channel_orders_occur():
    marked = np.zeros((2, 2, 3), np.uint8)
    marked[0, 0], marked[0, 1] = (10, 20, 40), (80, 160, 240)
    seen = {augmented(marked, marked, number)[1].argsort(axis=None, kind="stable").tobytes() for number in range(400)}
    assert len(seen) >= 40  # of 48


def test_noise_strength_varies_from_patch_to_patch():
    stds = []
    for number in range(50):
        image = np.zeros((32, 32, 3), np.float32)
        add_noise(image, CounterRNG(3, number))
        stds.append(image.std() * 255)
    assert min(stds) < 0.5
    assert max(stds) > 3.0


def test_noise_is_normal_and_its_pixels_are_independent():
    image = np.zeros((256, 256, 3), np.float32)
    add_noise(image, CounterRNG(3, 0))
    noise = image / image.std()
    assert np.mean(noise) == pytest.approx(0, abs=0.01)
    assert np.mean(noise**3) == pytest.approx(0, abs=0.03)
    assert np.mean(noise**4) == pytest.approx(3, abs=0.06)
    for shifted in (noise[1:] * noise[:-1], noise[:, 1:] * noise[:, :-1], noise[..., 1:] * noise[..., :-1]):
        assert shifted.mean() == pytest.approx(0, abs=0.01)


def test_images_have_noise_of_their_own():
    images = np.zeros((40, 64, 64, 3), np.float32)
    for number, image in enumerate(images):
        add_noise(image, CounterRNG(3, number))
    correlations = np.corrcoef(images.reshape(40, -1)) - np.eye(40)
    assert np.abs(correlations).max() < 0.05
