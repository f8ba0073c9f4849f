import numpy as np
import pytest
import tensorflow as tf
from skimage.color import hsv2rgb, rgb2hsv

from tf_deepdeblur.data.augment import Adjustment, adjust, arrange, draw, noise, scale_saturation
from tf_deepdeblur.data.counter_rng import CounterRNG, normal_sequence

PATCH = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)


def augmented(blurry, sharp, number):
    coins, adjustment = draw(CounterRNG(3, number), len(blurry))
    patches = np.empty((1, 2, 3, *blurry.shape[:2]), np.uint8)
    arrange(np.stack([blurry, sharp]), coins, patches[0])
    return [image[0].numpy() for image in adjust(patches, Adjustment(*(np.array([x]) for x in adjustment)))]


def noise_of(shape, numbers):
    """Noise for images [S, S, 3] of these samples, as training draws it."""
    drawn = [draw(CounterRNG(3, number), shape[0])[1] for number in numbers]
    strengths, starts = (np.array([getattr(x, name) for x in drawn]) for name in ("noise", "starts"))
    return tf.function(noise, jit_compile=True)((len(numbers), *shape), strengths, starts).numpy()


def test_the_same_draws_give_the_same_pixels():
    first, again, other = (augmented(PATCH, 255 - PATCH, number) for number in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], other[0])


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
    pair = np.stack([PATCH, 255 - PATCH[::-1]])
    expected = np.flip(pair, 2) if coins[0] else pair
    expected = np.flip(expected, 1) if coins[1] else expected
    expected = np.rot90(expected, axes=(1, 2)) if coins[2] else expected
    planes = np.empty((2, 3, 24, 24), np.uint8)
    arrange(pair, np.array(coins, bool), planes)
    np.testing.assert_array_equal(planes, np.moveaxis(expected, -1, 1))


def test_channels_are_reordered_in_each_pair_by_its_own_order():
    orders = np.int32([(0, 1, 2), (1, 2, 0), (2, 1, 0)])
    planes = np.moveaxis(np.stack([PATCH, 255 - PATCH]), -1, 1)
    adjustment = Adjustment(orders, np.ones(3, np.float32), np.zeros(3, np.float32), np.zeros((3, 2), np.int32))
    blurry, sharp = adjust(np.stack([planes] * 3), adjustment)
    for number, order in enumerate(orders):
        np.testing.assert_allclose(255 * (blurry[number] + 0.5), PATCH[..., order], atol=1e-4)
        np.testing.assert_allclose(255 * (sharp[number] + 0.5), 255 - PATCH[..., order], atol=1e-4)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.3, 1.5])
@pytest.mark.parametrize("is_compiled", [False, True])
def test_saturation_equals_scikit_images_way_through_hsv(factor, is_compiled):
    image = PATCH.copy()
    image[0] = image[0, :, :1]  # grey
    image[1], image[2] = 0, 255
    hsv = rgb2hsv(image)
    hsv[..., 1] = np.minimum(hsv[..., 1] * factor, 1)
    planes = np.moveaxis(np.stack([[image] * 2] * 2), -1, 2)
    pairs = tf.function(scale_saturation, jit_compile=is_compiled)(planes, tf.constant([factor, 1.0]))
    for number in range(2):
        np.testing.assert_allclose(pairs[0, number], hsv2rgb(hsv), atol=2e-6)
        np.testing.assert_allclose(pairs[1, number], image / 255, atol=2e-6)


@pytest.mark.slow
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
    strengths = [draw(CounterRNG(3, number), 32)[1].noise for number in range(50)]
    stds = np.sqrt(2) * 255 * np.array(strengths)
    assert min(stds) < 0.5
    assert max(stds) > 3.0


def test_noise_is_the_sum_of_two_stretches_of_normal_numbers():
    """The sum that ``noise`` should be, by hand."""
    length = 16 * 16 * 3
    first, second = (normal_sequence(length, which) for which in range(2))
    images = tf.function(noise, jit_compile=True)(
        (2, 16, 16, 3), np.float32([0.5, 2]) / 255, np.int32([[7, 0], [0, 9]])
    )
    expected = [(first[7:][:length] + second[:length]) * 0.5, (first[:length] + second[9:][:length]) * 2]
    np.testing.assert_allclose(images, np.reshape(expected, (2, 16, 16, 3)) / 255, atol=1e-7)


def test_noise_is_normal_and_its_pixels_are_independent():
    image = noise_of((256, 256, 3), [0])[0]
    noise = image / image.std()
    assert np.mean(noise) == pytest.approx(0, abs=0.01)
    assert np.mean(noise**3) == pytest.approx(0, abs=0.03)
    assert np.mean(noise**4) == pytest.approx(3, abs=0.06)
    for shifted in (noise[1:] * noise[:-1], noise[:, 1:] * noise[:, :-1], noise[..., 1:] * noise[..., :-1]):
        assert shifted.mean() == pytest.approx(0, abs=0.01)


def test_images_have_noise_of_their_own():
    correlations = np.corrcoef(noise_of((64, 64, 3), range(8)).reshape(8, -1)) - np.eye(8)
    assert np.abs(correlations).max() < 0.05
