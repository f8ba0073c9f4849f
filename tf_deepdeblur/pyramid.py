"""Gaussian pyramids (section 3: the network's inputs and targets are pyramids).

Conventions: a pyramid is a list, finest level first; level k has size H/2^k x W/2^k. Images are float32 [N, H, W, C].
The result equals ``skimage.transform.pyramid_gaussian(downscale=2)``, which the authors' released weights were
trained with: a Gaussian of sigma 2/3 and 7 taps over a mirrored border, then the mean of every 2x2 pixels. Both steps
are linear, so they are one 8x8 depthwise convolution of stride 2.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

Tensor = Any  # of whichever backend Keras runs on

_SIGMA = 2 * 2 / 6.0
_RADIUS = 3
MIN_SIDE = 4  # the mirrored border of _RADIUS pixels needs as many pixels, and the side must be even


def gaussian_pyramid(images: Tensor, num_levels: int) -> list[Tensor]:
    """Returns ``num_levels`` images, finest first, each half the size of the one before.

    Args:
        images: float tensor [N, H, W, C], any range. Every level but the last must have even sides of at least 4.
        num_levels: number of levels, at least 1; level 0 is ``images`` itself.

    Raises:
        ValueError: if a known side cannot be halved ``num_levels - 1`` times, or ``num_levels`` is below 1.
    """
    if num_levels < 1:
        raise ValueError(f"num_levels must be at least 1, got {num_levels}")
    multiple, smallest = 2 ** (num_levels - 1), smallest_side(num_levels)
    sides = tuple(images.shape[1:3])
    if any(side is not None and (side % multiple or side < smallest) for side in sides):
        raise ValueError(
            f"a pyramid of {num_levels} levels needs height and width to be multiples of {multiple} and at least "
            f"{smallest}, got {sides}"
        )
    pyramid = [images]
    for _ in range(num_levels - 1):
        pyramid.append(_halve(pyramid[-1]))
    return pyramid


def smallest_side(num_levels: int) -> int:
    """Smallest side in pixels of an image that has a pyramid of ``num_levels`` levels."""
    return 1 if num_levels == 1 else MIN_SIDE * 2 ** (num_levels - 2)


def pad_for_pyramid(images: Tensor, num_levels: int, block: int = 1) -> Tensor:
    """Repeats the last row and column of images until they have a pyramid; ``[:, :height, :width]`` undoes it.

    Args:
        images: tensor [N, H, W, C] of any dtype; H and W are at least 1 and may be known to the running graph alone.
        num_levels: number of levels of the pyramid.
        block: 1 or 2; the sides of every level, the last included, are multiples of it.

    Returns:
        Images whose sides are multiples of ``block * 2^(num_levels - 1)`` and at least ``smallest_side(num_levels)``;
        ``images`` itself where its known sides are so already.
    """
    multiple, smallest = block * 2 ** (num_levels - 1), smallest_side(num_levels)
    if multiple == 1:
        return images
    for axis in (1, 2):
        side = ops.shape(images)[axis]
        padded = -(-side // multiple) * multiple
        if not isinstance(side, int):
            padded = ops.maximum(padded, smallest)
            images = ops.take(images, ops.minimum(ops.arange(padded), side - 1), axis=axis)
            continue
        missing = max(padded, smallest) - side  # no := here: AutoGraph would warn in every training
        if missing:  # without a gather, which GPUs of phones and browsers lack
            images = ops.concatenate([images, *[_line(images, -1, axis)] * missing], axis=axis)
    return images


def _halve(images):
    padded = images
    for axis in (1, 2):  # ops.pad(mode="symmetric") becomes an operator that GPUs of phones and browsers lack
        before = [_line(padded, number, axis) for number in reversed(range(_RADIUS))]
        behind = [_line(padded, -1 - number, axis) for number in range(_RADIUS)]
        padded = ops.concatenate([*before, padded, *behind], axis=axis)
    # A Gaussian of 7 taps, then the mean of two neighbours: 8 taps that sum to 1.
    gaussian = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    taps = np.convolve(gaussian / gaussian.sum(), [0.5, 0.5])
    kernel = np.outer(taps, taps)[:, :, None, None] * np.ones((1, 1, images.shape[-1], 1))
    kernel = ops.convert_to_tensor(kernel, dtype=keras.backend.standardize_dtype(images.dtype))
    return ops.depthwise_conv(padded, kernel, strides=2, padding="valid", data_format="channels_last")


def _line(images, number, axis):
    """One row (axis 1) or column (axis 2) of images, counted from the end if the number is negative."""
    part = slice(number, number + 1 or None)
    return images[:, part] if axis == 1 else images[:, :, part]
