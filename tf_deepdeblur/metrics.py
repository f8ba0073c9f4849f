"""Image quality metrics: PSNR, SSIM in two named variants, multi-scale SSIM; one value per image.

Images are batches [N, H, W, 3], uint8 or float, in [0, ``max_value``]; results are float32 [N]. All work eagerly and
inside ``tf.function`` with unknown sides, where shapes that only the running graph knows are checked as it runs and
raise ``tf.errors.InvalidArgumentError`` instead of ValueError.

An SSIM number says nothing without its variant. The windows are Gaussian (sigma 1.5, 11 taps) and the constants
K = (0.01, 0.03) in each of them:

- ``gaussian``: per channel, then the mean. Equals ``skimage.metrics.structural_similarity(gaussian_weights=True,
  sigma=1.5, use_sample_covariance=False, channel_axis=-1)``, which the paper's authors recommend today.
- ``matlab3d``: what MATLAB's ``ssim`` computes for an RGB array, which it takes for a volume: the window also runs
  over the channels. The paper's SSIM (Table 2) is of this kind; on blurry frames of REDS it is 0.03 to 0.12 higher.
"""

import math

import numpy as np
import tensorflow as tf

_TAPS = 11
SMALLEST_SIDE = _TAPS  # of an image that has an SSIM
_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2
_CENTRE = 0.5  # float32 loses variances in E[x^2] - E[x]^2 unless the pixels lie around zero
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_MS_SSIM_SMALLEST_SIDE = (_TAPS - 1) * 2 ** (len(_SCALE_WEIGHTS) - 1) + 1


def psnr(a, b, max_value=255.0):
    """Peak signal-to-noise ratio in dB: 10 log10(max_value^2 / mean squared error over pixels and channels).

    Args:
        a: images [N, H, W, 3], uint8 or float.
        b: images of the same shape.
        max_value: the brightest possible value.

    Returns:
        float32 [N]; +inf where the two images are identical (there, and only there, the gradient is not finite).

    Raises:
        ValueError: for other ranks or channels, or unequal shapes.
    """
    a, b = _checked(a, b, smallest_side=1)
    error = tf.reduce_mean(tf.square((a - b) / max_value), axis=(1, 2, 3))
    return -10.0 / math.log(10.0) * tf.math.log(error)


def ssim(a, b, max_value=255.0, variant="gaussian"):
    """Structural similarity (Wang et al. 2004), at most 1, which identical images reach.

    Args:
        a: images [N, H, W, 3], uint8 or float in [0, max_value], with sides of at least 11.
        b: images of the same shape.
        max_value: the brightest possible value.
        variant: "gaussian" or "matlab3d", see the module's docstring.

    Returns:
        float32 [N].

    Raises:
        ValueError: for another variant, other ranks or channels, unequal shapes, or images smaller than the window.
    """
    if variant not in _WINDOW_MEANS:
        raise ValueError(f"variant must be one of {sorted(_WINDOW_MEANS)}, got {variant!r}")
    a, b = _checked(a, b, smallest_side=SMALLEST_SIDE)
    luminance, structure = _similarity_maps(_centred(a, max_value), _centred(b, max_value), _WINDOW_MEANS[variant])
    return tf.reduce_mean(luminance * structure, axis=(1, 2, 3))


def ms_ssim(a, b, max_value=255.0):
    """Multi-scale SSIM (Wang et al. 2003) with the standard five weights, per channel, then the mean.

    Contrast and structure count at every scale, luminance at the coarsest. Between scales the image is averaged over
    2x2 pixels. A negative mean of a scale counts as 0. The Koehler data set's MSSIM is another one, see
    ``tf_deepdeblur.evaluation.kohler``.

    Args:
        a: images [N, H, W, 3], uint8 or float in [0, max_value], with sides of at least 161.
        b: images of the same shape.
        max_value: the brightest possible value.

    Returns:
        float32 [N].

    Raises:
        ValueError: for other ranks or channels, unequal shapes, or images too small for five scales.
    """
    a, b = _checked(a, b, smallest_side=_MS_SSIM_SMALLEST_SIDE)
    a, b = _centred(a, max_value), _centred(b, max_value)
    product = 1.0
    for weight in _SCALE_WEIGHTS[:-1]:
        _, structure = _similarity_maps(a, b, _inner_means)
        product *= _power(tf.reduce_mean(structure, axis=(1, 2)), weight)
        a, b = (tf.nn.avg_pool2d(image, 2, 2, "SAME") for image in (a, b))
    luminance, structure = _similarity_maps(a, b, _inner_means)
    product *= _power(tf.reduce_mean(luminance * structure, axis=(1, 2)), _SCALE_WEIGHTS[-1])
    return tf.reduce_mean(product, axis=1)


def _checked(a, b, smallest_side):
    """Both batches as float32, after the checks that their known shapes allow; the rest is checked by the graph."""
    a, b = tf.convert_to_tensor(a), tf.convert_to_tensor(b)
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
    return tf.cast(a, tf.float32), tf.cast(b, tf.float32)


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


def _power(base, exponent):
    """``base`` ** ``exponent``, 0 for a base that is not positive, with a finite gradient there."""
    positive = base > 0
    return tf.where(positive, tf.where(positive, base, 1.0) ** exponent, 0.0)


_WINDOW_MEANS = {"gaussian": _inner_means, "matlab3d": _volume_means}
