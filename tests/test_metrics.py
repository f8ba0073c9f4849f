import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tf_deepdeblur import metrics

METRICS = {
    "psnr": metrics.psnr,
    "gaussian": metrics.ssim,
    "matlab3d": lambda a, b, max_value=255.0: metrics.ssim(a, b, max_value, variant="matlab3d"),
    "ms_ssim": metrics.ms_ssim,
}
SSIMS = {name: METRICS[name] for name in ("gaussian", "matlab3d", "ms_ssim")}


def every(functions):
    return pytest.mark.parametrize("metric", functions.values(), ids=functions.keys())


def uint8(image):
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def random_pair(side):
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 256, (side, side + 13, 3))
    return uint8(sharp), uint8(sharp + rng.normal(0, 40, sharp.shape))


def blurry_photograph():
    sharp = data.astronaut()[100:281, 150:333]
    return sharp, uint8(ndimage.uniform_filter1d(sharp.astype(float), 9, axis=1))


def flat_bright_pair():
    rng = np.random.default_rng(1)
    flat = np.full((170, 165, 3), 253)
    return uint8(flat + rng.integers(0, 2, flat.shape)), uint8(flat + rng.integers(-1, 2, flat.shape))


def dark_pair():
    sharp, blurry = random_pair(170)
    return sharp // 100, blurry // 100


PAIRS = {
    "random": random_pair(163),
    "photograph": blurry_photograph(),
    "flat bright": flat_bright_pair(),
    "dark": dark_pair(),
    "opposite": (np.zeros((161, 161, 3), np.uint8), np.full((161, 161, 3), 255, np.uint8)),
}
pairs = pytest.mark.parametrize(("a", "b"), PAIRS.values(), ids=PAIRS.keys())


def scikit_ssim(a, b):
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return structural_similarity(a, b, data_range=255, channel_axis=-1, **options)


def volume_ssim(a, b):
    """MATLAB's ssim of an RGB array, written down with scipy in float64."""
    a, b = a.astype(float), b.astype(float)

    def mean(volume):
        return ndimage.gaussian_filter(volume, 1.5, mode="nearest", radius=5)

    mean_a, mean_b, c1, c2 = mean(a), mean(b), (0.01 * 255) ** 2, (0.03 * 255) ** 2
    variance_a, variance_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return np.mean(similarity / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)))


def multi_scale_ssim(a, b):
    """Wang et al. 2003 per channel, with scipy in float64."""
    values = []
    for channel in range(3):
        x, y, value = a[..., channel].astype(float), b[..., channel].astype(float), 1.0
        for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
            ssim, structure = single_scale(x, y)
            value *= max(ssim if scale == 4 else structure, 0) ** weight
            x, y = (ndimage.uniform_filter(image, 2, mode="reflect", origin=-1)[::2, ::2] for image in (x, y))
        values.append(value)
    return np.mean(values)


def single_scale(x, y):
    def mean(image):
        return ndimage.gaussian_filter(image, 1.5, radius=5)[5:-5, 5:-5]

    mean_x, mean_y, c1, c2 = mean(x), mean(y), (0.01 * 255) ** 2, (0.03 * 255) ** 2
    spread = mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2
    structure = (2 * (mean(x * y) - mean_x * mean_y) + c2) / (spread + c2)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return np.mean(luminance * structure), np.mean(structure)


def score(metric, a, b, **options):
    return float(metric(a[None], b[None], **options)[0])


def test_psnr_of_a_hand_made_pair():
    a = np.zeros((1, 4, 5, 3), np.uint8)
    b = a.copy()
    b[0, :, 0] = 51  # one column in five: mean squared error 51^2 / 5
    assert score(metrics.psnr, a[0], b[0]) == pytest.approx(10 * math.log10(5 * 25), abs=1e-5)


def test_psnr_of_identical_images_is_infinite():
    a = np.full((2, 4, 4, 3), 7, np.uint8)
    np.testing.assert_array_equal(metrics.psnr(a, a), [np.inf, np.inf])


@pairs
def test_psnr_equals_scikit_image(a, b):
    assert score(metrics.psnr, a, b) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=255), abs=1e-4)


@pairs
def test_gaussian_ssim_equals_scikit_image(a, b):
    assert score(metrics.ssim, a, b) == pytest.approx(scikit_ssim(a, b), abs=1e-4)


@pairs
def test_matlab3d_ssim_equals_filtering_the_volume(a, b):
    assert score(METRICS["matlab3d"], a, b) == pytest.approx(volume_ssim(a, b), abs=1e-4)


@pairs
def test_ms_ssim_equals_its_definition(a, b):
    assert score(metrics.ms_ssim, a, b) == pytest.approx(multi_scale_ssim(a, b), abs=1e-4)


def test_matlab3d_is_higher_on_a_blurry_photograph():
    sharp, blurry = blurry_photograph()
    assert 0.02 < score(METRICS["matlab3d"], sharp, blurry) - score(metrics.ssim, sharp, blurry) < 0.15


@every(METRICS)
@pairs
def test_symmetric(metric, a, b):
    assert score(metric, a, b) == pytest.approx(score(metric, b, a), abs=1e-5)


@every(SSIMS)
@pairs
def test_ssim_is_one_for_identical_images_and_never_more(metric, a, b):
    assert score(metric, a, a) == pytest.approx(1, abs=1e-6)
    assert -1 <= score(metric, a, b) <= 1 + 1e-6


@every(METRICS)
def test_one_float32_value_for_each_image(metric):
    sharp, blurry = blurry_photograph()
    values = metric(np.stack([sharp, blurry]), np.stack([blurry, sharp[::-1]]))
    assert values.dtype == tf.float32
    np.testing.assert_allclose(values, [score(metric, sharp, blurry), score(metric, blurry, sharp[::-1])], atol=1e-5)


@every(METRICS)
def test_float_images_and_max_value_give_the_value_of_uint8(metric):
    sharp, blurry = blurry_photograph()
    as_float = score(metric, (sharp / 255).astype(np.float32), (blurry / 255).astype(np.float32), max_value=1.0)
    assert as_float == pytest.approx(score(metric, sharp, blurry), abs=1e-4)


@every(METRICS)
def test_same_in_a_graph_of_unknown_sides(metric):
    signature = [tf.TensorSpec([None, None, None, 3], tf.uint8)] * 2
    graph = tf.function(metric, input_signature=signature)
    for a, b in (PAIRS["photograph"], PAIRS["random"]):
        assert float(graph(a[None], b[None])[0]) == pytest.approx(score(metric, a, b), abs=1e-5)


@every(METRICS)
@pairs
def test_gradients_are_finite(metric, a, b):
    a, b = tf.Variable(a[None], dtype=tf.float32), tf.constant(b[None], tf.float32)
    with tf.GradientTape() as tape:
        value = metric(a, b)
    assert np.isfinite(tape.gradient(value, a)).all()


@every(SSIMS)
def test_gradients_are_finite_and_vanish_at_identical_images(metric):
    image = tf.Variable(blurry_photograph()[0][None], dtype=tf.float32)
    with tf.GradientTape() as tape:
        value = metric(image, tf.identity(tf.stop_gradient(image)))
    np.testing.assert_allclose(tape.gradient(value, image), 0, atol=1e-6)


def test_ms_ssim_of_a_negative_is_zero_with_a_finite_gradient():
    sharp = random_pair(163)[0][None].astype(np.float32)
    negative = tf.Variable(255 - sharp)
    with tf.GradientTape() as tape:
        value = metrics.ms_ssim(sharp, negative)
    assert float(value[0]) == 0
    assert np.isfinite(tape.gradient(value, negative)).all()


@every(METRICS)
@pytest.mark.parametrize("shape", [(1, 200, 201, 3), (2, 200, 200, 3)])
def test_unequal_shapes_are_refused(metric, shape):
    with pytest.raises(ValueError, match="same shape"):
        metric(np.zeros((1, 200, 200, 3), np.uint8), np.zeros(shape, np.uint8))


@every(METRICS)
@pytest.mark.parametrize("shape", [(200, 200, 3), (1, 200, 200, 1), (1, 200, 200, 4)])
def test_other_ranks_and_channels_are_refused(metric, shape):
    with pytest.raises(ValueError, match=r"\[N, H, W, 3\]"):
        metric(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))


@pytest.mark.parametrize(("name", "smallest"), [("gaussian", 11), ("matlab3d", 11), ("ms_ssim", 161)])
def test_images_below_the_window_are_refused(name, smallest):
    enough = np.ones((1, smallest, smallest, 3), np.uint8)
    assert float(METRICS[name](enough, enough)[0]) == pytest.approx(1)
    with pytest.raises(ValueError, match=f"at least {smallest}"):
        METRICS[name](enough[:, :, 1:], enough[:, :, 1:])


@every(METRICS)
def test_a_graph_of_unknown_sides_refuses_unequal_images(metric):
    graph = tf.function(metric, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)] * 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="same shape"):
        graph(np.zeros((2, 200, 200, 3), np.uint8), np.zeros((1, 200, 200, 3), np.uint8))


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="'matlab3d'"):
        metrics.ssim(np.zeros((1, 16, 16, 3)), np.zeros((1, 16, 16, 3)), variant="matlab")
