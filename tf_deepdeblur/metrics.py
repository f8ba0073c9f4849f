"""Image quality metrics: PSNR and SSIM in two named variants, as functions and as Keras metrics.

The functions take batches [N, H, W, 3] and return one float32 value per image. They work eagerly and inside
``tf.function`` with unknown sides, where shapes that only the running graph knows are checked as it runs and raise
``tf.errors.InvalidArgumentError`` instead of ValueError. The classes ``PSNR`` and ``SSIM`` are their means over all
images, for ``compile(metrics=[...])``.

An SSIM number says nothing without its variant. The windows are Gaussian (sigma 1.5, 11 taps) and the constants
K = (0.01, 0.03) in each of them:

- ``gaussian``: per channel, then the mean. Equals ``skimage.metrics.structural_similarity(gaussian_weights=True,
  sigma=1.5, use_sample_covariance=False, channel_axis=-1)``, which the paper's authors recommend today. Only on nearly
  flat images do float32 and float64 differ visibly: on one such pair scikit-image gives 0.998222, this 0.998217 and
  ``tf.image.ssim`` 0.998265.
- ``matlab3d``: what MATLAB's ``ssim`` computes for an RGB array, which it takes for a volume: the window also runs
  over the channels. The paper's SSIM (Table 2) is of this kind; on blurry frames of REDS it is 0.03 to 0.12 higher.
"""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_deepdeblur.io.pixels import to_uint8
from tf_deepdeblur.pyramid import Tensor

_TAPS = 11
SMALLEST_SIDE = _TAPS  # of an image that has an SSIM
_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2
_CENTRE = 0.5  # float32 loses variances in E[x^2] - E[x]^2 unless the pixels lie around zero
_ROUNDING = 1e-3  # how far, in parts of the range, computed pixels may lie outside of it

register = keras.saving.register_keras_serializable(package="tf_deepdeblur")


def psnr(a: Tensor, b: Tensor, max_value: float | None = None) -> tf.Tensor:
    """Peak signal-to-noise ratio in dB: 10 log10(max_value^2 / mean squared error over pixels and channels).

    Args:
        a: images [N, H, W, 3], integers or floats.
        b: images of the same shape.
        max_value: the brightest possible value; None for that of an integer type, such as 255 for uint8. Floats need
            it: 1.0 for images in [0, 1] and in [-0.5, 0.5] (only differences count), 255.0 for [0, 255].

    Returns:
        float32 [N]; +inf where the two images are identical (there, and only there, the gradient is not finite).

    Raises:
        ValueError: for other ranks or channels, unequal shapes, or floats without ``max_value``.
    """
    a, b, max_value = _checked(a, b, max_value, smallest_side=1)
    error = tf.reduce_mean(tf.square((a - b) / max_value), axis=(1, 2, 3))
    return -10.0 / math.log(10.0) * tf.math.log(error)


def ssim(a: Tensor, b: Tensor, max_value: float | None = None, variant: str = "gaussian") -> tf.Tensor:
    """Structural similarity (Wang et al. 2004), at most 1, which identical images reach.

    Args:
        a: images [N, H, W, 3], integers or floats in [0, max_value], with sides of at least 11.
        b: images of the same shape.
        max_value: the brightest possible value; None for that of an integer type, such as 255 for uint8. Floats need
            it.
        variant: "gaussian" or "matlab3d", see the module's docstring.

    Returns:
        float32 [N].

    Raises:
        ValueError: for another variant, other ranks or channels, unequal shapes, images smaller than the window, or
            floats without ``max_value``.
    """
    if variant not in _WINDOW_MEANS:
        raise ValueError(f"`variant` must be one of {sorted(_WINDOW_MEANS)}, got {variant!r}")
    a, b, max_value = _checked(a, b, max_value, smallest_side=SMALLEST_SIDE)
    luminance, structure = _similarity_maps(_centred(a, max_value), _centred(b, max_value), _WINDOW_MEANS[variant])
    return tf.reduce_mean(luminance * structure, axis=(1, 2, 3))


@register
class PSNR(keras.metrics.Mean):
    """Mean PSNR in dB of the images that are shown: floats are clipped and rounded to 8 bits first.

    >>> model.compile(..., metrics=[PSNR()])

    Args:
        value_range: (lowest, highest) value of float images; the default is that of this package's networks. uint8
            images need none.
        name: name of the metric in the logs.
        **kwargs: ``dtype`` of ``keras.metrics.Metric``.
    """

    def __init__(self, value_range: tuple[float, float] = (-0.5, 0.5), name: str = "psnr", **kwargs):
        super().__init__(name=name, **kwargs)
        self.value_range = tuple(value_range)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Adds a batch.

        Args:
            y_true: sharp images [N, H, W, 3], uint8 or floats in ``value_range``.
            y_pred: restored images of the same shape; values outside of ``value_range`` are clipped.
            sample_weight: None, or weights [N].

        Raises:
            tf.errors.InvalidArgumentError: if ``y_true`` leaves ``value_range``, which is then the wrong one.
        """
        values = psnr(_pixels(y_true, self.value_range, check=True), _pixels(y_pred, self.value_range))
        super().update_state(values, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "value_range": self.value_range}


@register
class SSIM(keras.metrics.Mean):
    """Mean SSIM of the images that are shown: floats are clipped and rounded to 8 bits first.

    The metric's name in the logs says the variant: ``ssim_gaussian`` or ``ssim_matlab3d``.

    Args:
        variant: "gaussian" or "matlab3d", see the module's docstring.
        value_range: (lowest, highest) value of float images; the default is that of this package's networks. uint8
            images need none.
        name: name of the metric; None for ``ssim_<variant>``.
        **kwargs: ``dtype`` of ``keras.metrics.Metric``.
    """

    def __init__(
        self,
        variant: str = "gaussian",
        value_range: tuple[float, float] = (-0.5, 0.5),
        name: str | None = None,
        **kwargs,
    ):
        super().__init__(name=name or f"ssim_{variant}", **kwargs)
        if variant not in _WINDOW_MEANS:
            raise ValueError(f"`variant` must be one of {sorted(_WINDOW_MEANS)}, got {variant!r}")
        self.variant = variant
        self.value_range = tuple(value_range)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Adds a batch; arguments and errors are those of ``PSNR.update_state``, with sides of at least 11."""
        y_true = _pixels(y_true, self.value_range, check=True)
        super().update_state(ssim(y_true, _pixels(y_pred, self.value_range), variant=self.variant), sample_weight)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "variant": self.variant, "value_range": self.value_range}


def _pixels(images, value_range, check=False):
    """uint8 images from floats in ``value_range``; integers stay as they are."""
    images = tf.convert_to_tensor(images)
    if images.dtype.is_integer:
        return images
    low, high = value_range
    scale = 1.0 / (high - low)
    centred = tf.cast(images, tf.float32) * scale + (-low * scale - 0.5)
    if check:  # a wrong range would otherwise give a number that looks like a score
        message = f"the sharp images are not in `value_range` {value_range}"
        tf.debugging.assert_less_equal(tf.abs(centred), 0.5 + _ROUNDING, message)
    return to_uint8(centred)


def _checked(a, b, max_value, smallest_side):
    """Both batches as float32 and their brightest value, after the checks that are possible before the graph runs."""
    a, b = tf.convert_to_tensor(a), tf.convert_to_tensor(b)
    if max_value is None:
        if not (a.dtype.is_integer and a.dtype == b.dtype):
            raise ValueError(
                f"`max_value` is needed for images of type {a.dtype.name} and {b.dtype.name}: 1.0 for floats in "
                "[0, 1], 255.0 for floats in [0, 255]"
            )
        max_value = float(a.dtype.max)
    for images in (a, b):
        if not images.shape.is_compatible_with([None, None, None, 3]):
            raise ValueError(f"images must have shape [N, H, W, 3], got {images.shape}")
    if not a.shape.is_compatible_with(b.shape):
        raise ValueError(f"both batches must have the same shape, got {a.shape} and {b.shape}")
    if any(side is not None and side < smallest_side for side in [*a.shape[1:3], *b.shape[1:3]]):
        raise ValueError(f"height and width must be at least {smallest_side}, got {a.shape}")
    if not (a.shape.is_fully_defined() and b.shape.is_fully_defined()):
        tf.debugging.assert_equal(tf.shape(a), tf.shape(b), "both batches must have the same shape")
        tf.debugging.assert_greater_equal(tf.shape(a)[1:3], smallest_side, "height or width is below the window")
    return tf.cast(a, tf.float32), tf.cast(b, tf.float32), max_value


def _centred(images, max_value):
    return images / max_value - _CENTRE


def _similarity_maps(a, b, window_means):
    """SSIM's two factors at every window: luminance, and contrast times structure."""
    moments = window_means(tf.concat([a, b, a * b, a * a + b * b], axis=-1))
    mean_a, mean_b, product, squares = tf.split(moments, 4, axis=-1)
    covariance = product - mean_a * mean_b
    variances = squares - mean_a * mean_a - mean_b * mean_b
    mean_a, mean_b = mean_a + _CENTRE, mean_b + _CENTRE
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a * mean_a + mean_b * mean_b + _C1)
    return luminance, (2 * covariance + _C2) / (variances + _C2)


def _inner_means(images):
    """Gaussian window means where the window lies inside the image: [N, H, W, C] -> [N, H - 10, W - 10, C]."""
    taps = np.tile(_gaussian()[:, None], [1, images.shape[-1]])
    down, across = tf.constant(taps[:, None, :, None]), tf.constant(taps[None, :, :, None])
    for kernel in (down, across):
        images = tf.nn.depthwise_conv2d(images, kernel, [1, 1, 1, 1], "VALID")
    return images


def _volume_means(images):
    """Gaussian window means over rows, columns and RGB with repeated borders: [N, H, W, 3 m] -> the same shape."""
    for axis in (1, 2):
        side = tf.shape(images)[axis]
        positions = tf.range(-(_TAPS // 2), side + _TAPS // 2)
        images = tf.gather(images, tf.clip_by_value(positions, 0, side - 1), axis=axis)
    means = _inner_means(images)
    shape, mixing = tf.shape(means), _channel_mixing()
    colours = tf.reshape(means, tf.concat([shape[:3], [-1, 3]], axis=0))
    # Not a matrix product: on GPUs that would round to TensorFloat-32's 10 bits.
    mixed = sum(colours[..., k : k + 1] * mixing[:, k] for k in range(3))
    return tf.ensure_shape(tf.reshape(mixed, shape), means.shape)


def _channel_mixing():
    """The window's weights over R, G and B as a 3x3 matrix: taps beyond the first and last channel repeat them."""
    mixing = np.zeros((3, 3), np.float32)
    for channel in range(3):
        taps = np.clip(channel + np.arange(_TAPS) - _TAPS // 2, 0, 2)
        np.add.at(mixing[channel], taps, _gaussian())
    return mixing


def _gaussian():
    offsets = np.arange(_TAPS) - _TAPS // 2
    taps = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    return (taps / taps.sum()).astype(np.float32)


_WINDOW_MEANS = {"gaussian": _inner_means, "matlab3d": _volume_means}
