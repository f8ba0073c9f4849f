import math

import keras
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
    "matlab3d": lambda a, b, max_value=None: metrics.ssim(a, b, max_value, variant="matlab3d"),
}
SSIMS = {name: METRICS[name] for name in ("gaussian", "matlab3d")}


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
        value = metric(a, b, max_value=255.0)
    assert np.isfinite(tape.gradient(value, a)).all()


@every(SSIMS)
def test_gradients_are_finite_and_vanish_at_identical_images(metric):
    image = tf.Variable(blurry_photograph()[0][None], dtype=tf.float32)
    with tf.GradientTape() as tape:
        value = metric(image, tf.identity(tf.stop_gradient(image)), max_value=255.0)
    np.testing.assert_allclose(tape.gradient(value, image), 0, atol=1e-6)


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


@every(SSIMS)
def test_images_below_the_window_are_refused(metric):
    enough = np.ones((1, 11, 11, 3), np.uint8)
    assert score(metric, enough[0], enough[0]) == pytest.approx(1)
    with pytest.raises(ValueError, match="at least 11"):
        metric(enough[:, :, 1:], enough[:, :, 1:])


@every(METRICS)
def test_a_graph_of_unknown_sides_refuses_unequal_images(metric):
    graph = tf.function(metric, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)] * 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="same shape"):
        graph(np.zeros((2, 200, 200, 3), np.uint8), np.zeros((1, 200, 200, 3), np.uint8))


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="'matlab3d'"):
        metrics.ssim(np.zeros((1, 16, 16, 3)), np.zeros((1, 16, 16, 3)), variant="matlab")


@every(METRICS)
@pytest.mark.parametrize("dtypes", [("float32", "float32"), ("uint8", "float32")])
def test_floats_without_a_range_are_refused(metric, dtypes):
    images = [np.zeros((1, 16, 16, 3), dtype) for dtype in dtypes]
    with pytest.raises(ValueError, match="`max_value` is needed"):
        metric(*images)


def test_sixteen_bits_have_their_own_range():
    sharp, blurry = (image.astype(np.uint16) * 257 for image in blurry_photograph())
    expected = peak_signal_noise_ratio(sharp, blurry, data_range=65535)
    assert score(metrics.psnr, sharp, blurry) == pytest.approx(expected, abs=1e-4)


KERAS_METRICS = {
    "psnr": (metrics.PSNR, metrics.psnr),
    "ssim_gaussian": (metrics.SSIM, metrics.ssim),
    "ssim_matlab3d": (lambda **options: metrics.SSIM("matlab3d", **options), METRICS["matlab3d"]),
}
keras_metrics = pytest.mark.parametrize("name", KERAS_METRICS)


@keras_metrics
@pytest.mark.parametrize("value_range", [(-0.5, 0.5), (0.0, 1.0), (0, 255)])
def test_a_keras_metric_is_the_mean_over_the_images_that_are_shown(name, value_range):
    make, function = KERAS_METRICS[name]
    low, high = value_range
    sharp, blurry = (np.stack([image, image[::-1]]) for image in blurry_photograph())
    blurry[1] //= 2
    metric = make(value_range=value_range)
    for images in zip(sharp, blurry, strict=True):
        metric.update_state(*(np.float32(image[None] / 255 * (high - low) + low) for image in images))
    assert metric.name == name
    assert float(metric.result()) == pytest.approx(np.mean(function(blurry, sharp)), rel=1e-6)
    metric.reset_state()
    metric.update_state(sharp, blurry)  # uint8
    assert float(metric.result()) == pytest.approx(np.mean(function(blurry, sharp)), rel=1e-6)


@keras_metrics
def test_a_keras_metric_clips_and_rounds_as_a_file_would(name):
    make, function = KERAS_METRICS[name]
    sharp, blurry = blurry_photograph()
    metric = make()
    metric.update_state(sharp[None] / 255 - 0.5, (1.7 * blurry[None] + 0.27) / 255 - 0.5)
    shown = np.clip(np.floor(1.7 * blurry + 0.27 + 0.5), 0, 255).astype(np.uint8)
    assert float(metric.result()) == pytest.approx(score(function, sharp, shown), rel=1e-5)


@keras_metrics
@pytest.mark.parametrize("value_range", [(-0.5, 0.5), (0.0, 1.0)])
def test_sharp_images_outside_of_the_range_are_loud(name, value_range):
    metric = KERAS_METRICS[name][0](value_range=value_range)
    sharp = blurry_photograph()[0][None] / 255 * (2.0 if value_range[0] == 0 else 1.0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="value_range"):
        metric.update_state(sharp, sharp)


@keras_metrics
def test_a_keras_metric_survives_serialization(name):
    metric = KERAS_METRICS[name][0](value_range=(0, 1))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert again.get_config() == metric.get_config()
    assert again.name == name


def test_an_unknown_variant_of_the_keras_metric_is_refused():
    with pytest.raises(ValueError, match="`variant` must be one of"):
        metrics.SSIM("matlab")
