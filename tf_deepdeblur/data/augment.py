"""Augmentation of blurry/sharp patches (section 3.2), in the paper's order.

Both patches of a pair get the same flips, rotation, channel order and saturation; the noise is for the blurry one
alone. Whatever only moves bytes is done patch by patch, by OpenCV. The arithmetic is one TensorFlow function for a
whole batch, compiled by XLA into a few loops over the pixels that run without Python's lock: on a CPU, TensorFlow's
operations one by one take more than ten times its processor time.
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


class Arrangement(NamedTuple):
    """How a patch's bytes are moved.

    ``coins`` say whether to mirror it left-right, to mirror it top-bottom, and to rotate it by 90 degrees; ``order``
    has the numbers of the channels that become red, green and blue.
    """

    coins: np.ndarray
    order: np.ndarray


class Adjustment(NamedTuple):
    """What is computed with the pixels of one pair, or of N pairs where a field has another axis in front.

    Attributes:
        saturation: factor, float32 [].
        noise: strength, float32 []: the standard deviation of the noise is the square root of 2 times that.
        starts: int32 [2], where in its two ``normal_sequence``s the noise begins.
    """

    saturation: np.ndarray
    noise: np.ndarray
    starts: np.ndarray


def draw(rng: CounterRNG, patch_size: int) -> tuple[Arrangement, Adjustment]:
    """The augmentation of one pair of patches.

    In this order: horizontal flip, vertical flip and rotation by 90 degrees, each by a coin; a random permutation of
    the colour channels; saturation in HSV times U(0.5, 1.5); on the blurry patch Gaussian noise whose standard
    deviation is itself drawn from N(0, (2/255)^2).

    Args:
        rng: CounterRNG of the sample.
        patch_size: side of the patches in pixels.
    """
    numbers = rng.uniforms(7)
    low, high = _SATURATION
    noise = np.abs(rng.normals(1)[0]) * _NOISE_SIGMA / np.sqrt(2.0)
    length = 3 * patch_size**2
    starts = rng.uniforms(2) * (len(normal_sequence(length, 0)) - length)
    return (
        Arrangement(numbers[:3] < 0.5, np.argsort(numbers[3:6], kind="stable")),
        Adjustment(np.float32(low + (high - low) * numbers[6]), np.float32(noise), starts.astype(np.int32)),
    )


def arrange(patch: np.ndarray, arrangement: Arrangement, out: np.ndarray) -> None:
    """Flips and rotates a patch and permutes its channels.

    Args:
        patch: uint8 [S, S, 3].
        arrangement: Arrangement.
        out: uint8 [3, S, S], contiguous, which is set to the planes of red, green and blue.
    """
    across, down, rotate = arrangement.coins
    if across or down:
        patch = cv2.flip(patch, 1 if not down else -1 if across else 0)
    if rotate:
        patch = cv2.rotate(patch, cv2.ROTATE_90_COUNTERCLOCKWISE)
    cv2.split(patch, [out[place] for place in np.argsort(arrangement.order)])


@tf.function(jit_compile=True, autograph=False)
def adjust(patches: tf.Tensor, adjustment: Adjustment) -> tuple[tf.Tensor, tf.Tensor]:
    """Changes the saturation of arranged pairs, adds noise to the blurry ones, clips, and subtracts 0.5.

    Args:
        patches: uint8 [2, N, 3, S, S], the planes of N blurry and of N sharp patches, of known shape.
        adjustment: Adjustment of the N pairs.

    Returns:
        (blurry, sharp), float32 [N, S, S, 3] in [-0.5, 0.5].
    """
    blurry, sharp = tf.unstack(scale_saturation(patches, adjustment.saturation))
    blurry += noise(blurry.shape, adjustment.noise, adjustment.starts)
    blurry, sharp = (tf.clip_by_value(image, 0.0, 1.0) - 0.5 for image in (blurry, sharp))
    return blurry, sharp


def scale_saturation(planes: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Multiplies the saturation of HSV by a factor, at most up to 1; hue and value stay.

    With the value V, the largest channel, and the smallest channel m, saturation is (V - m) / V. Each channel's
    distance to V is proportional to it, so all that changes is that distance: no way through HSV and back is needed.

    Args:
        planes: uint8 [..., N, 3, S, S].
        factors: float32 [N], at least 0.

    Returns:
        float32 [..., N, S, S, 3] in [0, 1], but for rounding.
    """
    planes = tf.cast(planes, tf.float32)
    channels = tf.unstack(planes, axis=-3)
    value, smallest = functools.reduce(tf.maximum, channels), functools.reduce(tf.minimum, channels)
    most = value / tf.maximum(value - smallest, 1.0)  # leads to saturation 1; any factor does for greys, which have 0
    scale = tf.minimum(most, factors[:, None, None])
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
