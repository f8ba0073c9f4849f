"""Augmentation of blurry/sharp patches (section 3.2), in the paper's order.

Both patches of a pair get the same flips, rotation, channel order and saturation; the noise is for the blurry one
alone. Flips and rotation, which only move bytes, are done pair by pair by NumPy and OpenCV. The arithmetic is one
TensorFlow function for a whole batch, compiled by XLA into a few loops over the pixels that run without Python's lock:
on a CPU, TensorFlow's operations one by one take more than ten times its processor time.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla

from tf_deepdeblur.data.counter_rng import CounterRNG, normal_sequence

_SATURATION = (0.5, 1.5)
_NOISE_SIGMA = 2.0 / 255.0


class Adjustment(NamedTuple):
    """What is computed with the pixels of one pair, or of N pairs where a field has another axis in front.

    Attributes:
        order: int32 [3], the numbers of the channels that become red, green and blue.
        saturation: factor, float32 [].
        noise: strength, float32 []: the standard deviation of the noise is the square root of 2 times that.
        starts: int32 [2], where in its two ``normal_sequence``s the noise begins.
    """

    order: np.ndarray
    saturation: np.ndarray
    noise: np.ndarray
    starts: np.ndarray


def draw(rng: CounterRNG, patch_size: int) -> tuple[np.ndarray, Adjustment]:
    """The augmentation of one pair of patches.

    In this order: horizontal flip, vertical flip and rotation by 90 degrees, each by a coin; a random permutation of
    the colour channels; saturation in HSV times U(0.5, 1.5); on the blurry patch Gaussian noise whose standard
    deviation is itself drawn from N(0, (2/255)^2).

    Args:
        rng: CounterRNG of the sample.
        patch_size: side of the patches in pixels.

    Returns:
        (the three coins for ``arrange``, Adjustment).
    """
    numbers = rng.uniforms(7)
    low, high = _SATURATION
    noise = np.abs(rng.normals(1)[0]) * _NOISE_SIGMA / np.sqrt(2.0)
    length = 3 * patch_size**2
    starts = rng.uniforms(2) * (len(normal_sequence(length, 0)) - length)
    order = np.argsort(numbers[3:6], kind="stable").astype(np.int32)
    saturation = np.float32(low + (high - low) * numbers[6])
    return numbers[:3] < 0.5, Adjustment(order, saturation, np.float32(noise), starts.astype(np.int32))


def arrange(pair: np.ndarray, coins: np.ndarray, out: np.ndarray) -> None:
    """Flips and rotates a pair of patches and separates their channels.

    As few calls as possible move the bytes: each gives up Python's lock and has to get it back from the other threads.

    Args:
        pair: uint8 [2, S, S, 3].
        coins: whether to mirror left-right, to mirror top-bottom, and then to rotate by 90 degrees.
        out: uint8 [2, 3, S, S], contiguous, which is set to the planes of red, green and blue.
    """
    across, down, rotate = coins
    across = across != rotate  # a rotation is a transposition of the mirrored image
    pair = pair[:, :: -1 if down else 1, :: -1 if across else 1]
    if not rotate:
        np.copyto(out, pair.transpose(0, 3, 1, 2))
        return
    side = out.shape[-1]
    rows = np.empty((side, 2, 3, side), np.uint8)  # the six planes side by side, so that one call transposes them all
    np.copyto(rows, pair.transpose(1, 0, 3, 2))
    cv2.transpose(rows.reshape(side, -1), out.reshape(-1, side))


@tf.function(jit_compile=True, autograph=False)
def adjust(patches: tf.Tensor, adjustment: Adjustment) -> tuple[tf.Tensor, tf.Tensor]:
    """Reorders channels, changes the saturation, adds noise to the blurry patches, clips, and subtracts 0.5.

    Args:
        patches: uint8 [N, 2, 3, S, S], the planes of N arranged pairs, blurry and sharp, of known shape.
        adjustment: Adjustment of the N pairs.

    Returns:
        (blurry, sharp), float32 [N, S, S, 3] in [-0.5, 0.5].
    """
    order = adjustment.order[..., None, None, None]
    first, second, third = tf.unstack(patches, axis=2)
    channels = [tf.where(order[:, i] == 0, first, tf.where(order[:, i] == 1, second, third)) for i in range(3)]
    blurry, sharp = tf.unstack(scale_saturation(tf.stack(channels, axis=2), adjustment.saturation), axis=1)
    blurry += noise(blurry.shape, adjustment.noise, adjustment.starts)
    blurry, sharp = (tf.clip_by_value(image, 0.0, 1.0) - 0.5 for image in (blurry, sharp))
    return blurry, sharp


def scale_saturation(planes: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Multiplies the saturation of HSV by a factor, at most up to 1; hue and value stay.

    With the value V, the largest channel, and the smallest channel m, saturation is (V - m) / V. Each channel's
    distance to V is proportional to it, so all that changes is that distance: no way through HSV and back is needed.

    Args:
        planes: uint8 [N, 2, 3, S, S].
        factors: float32 [N], at least 0.

    Returns:
        float32 [N, 2, S, S, 3] in [0, 1], but for rounding.
    """
    planes = tf.cast(planes, tf.float32)
    channels = tf.unstack(planes, axis=-3)
    value, smallest = functools.reduce(tf.maximum, channels), functools.reduce(tf.minimum, channels)
    most = value / tf.maximum(value - smallest, 1.0)  # leads to saturation 1; any factor does for greys, which have 0
    scale = tf.minimum(most, factors[:, None, None, None])
    value, scale = value[..., None, :, :], scale[..., None, :, :]
    return tf.experimental.numpy.moveaxis(value - (value - planes) * scale, -3, -1) / 255.0


def noise(shape: Sequence[int], strengths: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
    """Gaussian noise for N images, float32 [N, S, S, 3]; compiled by XLA only.

    It is the sum of two stretches of long sequences of normal numbers, from places that are drawn. Within an image its
    pixels are independent, and images hardly ever share both stretches; numbers of its own for each image would take
    as long as all the rest of the augmentation.

    Args:
        shape: [N, S, S, 3].
        strengths: float32 [N], see ``Adjustment``.
        starts: int32 [N, 2].
    """
    count, *image = shape
    length = int(np.prod(image))
    sequences = _normal_sequences(length)
    images = []
    for number in range(count):
        # ``tf.slice`` would be compiled again for each place.
        stretches = (xla.dynamic_slice(sequences[i], starts[number, i : i + 1], [length]) for i in range(2))
        images.append(tf.reshape(tf.add_n(list(stretches)), image))  # reshaped after ``tf.stack``: twice the time
    result = strengths[:, None, None, None] * tf.stack(images)
    # Changes nothing, but keeps XLA from rounding once what is a product and a sum, which it does for some N only.
    return tf.clip_by_value(result, -1.0, 1.0)


@functools.lru_cache(maxsize=8)
def _normal_sequences(length):
    """Both ``normal_sequence``s as tensors, which compiled functions share instead of each holding a copy."""
    with tf.init_scope(), tf.device("CPU"):
        return [tf.constant(normal_sequence(length, which)) for which in range(2)]
