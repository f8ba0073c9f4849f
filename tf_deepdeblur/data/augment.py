"""Augmentation of a blurry/sharp patch (section 3.2), in the paper's order.

Both patches get the same flips, rotation, channel order and saturation; the noise is for the blurry one alone. Patch by
patch, because one patch stays in the processor's cache, and by OpenCV: NumPy and TensorFlow operations on whole batches
take several times its processor time on a CPU.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from tf_deepdeblur.data.counter_rng import CounterRNG, normal_sequence

_SATURATION = (0.5, 1.5)
_NOISE_SIGMA = 2.0 / 255.0


def augment(
    blurry: np.ndarray, sharp: np.ndarray, rng: CounterRNG, out: Sequence[np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Augments one pair and moves it to the network's range.

    In this order: horizontal flip, vertical flip and rotation by 90 degrees, each by a coin; a random permutation of
    the colour channels; saturation in HSV times U(0.5, 1.5); on the blurry patch Gaussian noise whose standard
    deviation is itself drawn from N(0, (2/255)^2); clipping to [0, 1]; minus 0.5.

    Args:
        blurry: uint8 [S, S, 3].
        sharp: uint8 [S, S, 3].
        rng: CounterRNG of the sample.
        out: None, or two float32 arrays [S, S, 3] to write to.

    Returns:
        (blurry, sharp), float32 [S, S, 3] in [-0.5, 0.5].
    """
    numbers = rng.uniforms(7)
    order = np.argsort(numbers[3:6], kind="stable")
    low, high = _SATURATION
    factor = low + (high - low) * numbers[6]
    out = out or [np.empty(blurry.shape, np.float32) for _ in range(2)]
    for patch, result in zip((blurry, sharp), out, strict=True):
        planes = cv2.split(flip_and_rotate(patch, numbers[:3] < 0.5))
        scale_saturation([planes[channel] for channel in order], factor, result)
    add_noise(out[0], rng)
    for result in out:
        np.clip(result, -0.5, 0.5, out=result)
    return tuple(out)


def flip_and_rotate(image: np.ndarray, coins: Sequence[bool]) -> np.ndarray:
    """Mirrors [S, S, C] left-right, mirrors top-bottom, and rotates by 90 degrees, where the three booleans say so."""
    across, down, rotate = coins
    if across or down:
        image = cv2.flip(image, 1 if not down else -1 if across else 0)
    return cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE) if rotate else image


def scale_saturation(planes: Sequence[np.ndarray], factor: float, out: np.ndarray) -> None:
    """Multiplies the saturation of HSV by ``factor``, at most up to 1; hue and value stay.

    With the value V, the largest channel, and the smallest channel m, saturation is (V - m) / V. Each channel's
    distance to V is proportional to it, so all that changes is that distance: no way through HSV and back is needed.

    Args:
        planes: the three channels, uint8 [S, S] each.
        factor: at least 0.
        out: float32 [S, S, 3], which is set to the result in [-0.5, 0.5].
    """
    value = cv2.max(cv2.max(planes[0], planes[1]), planes[2])
    image, values = cv2.merge(planes), cv2.merge([value] * 3)
    if factor <= 1.0:
        cv2.addWeighted(image, factor / 255.0, values, (1.0 - factor) / 255.0, -0.5, dst=out, dtype=cv2.CV_32F)
        return
    smallest = cv2.min(cv2.min(planes[0], planes[1]), planes[2])
    distance = cv2.max(cv2.subtract(value, smallest), 1)  # of greys, whose distance is 0, any multiple is 0
    most = cv2.divide(value, distance, dtype=cv2.CV_32F)  # 1 / saturation: the factor that leads to full saturation
    scale = cv2.merge([cv2.min(most, factor)] * 3)
    nearer = cv2.multiply(cv2.subtract(values, image), scale, scale=1.0 / 255.0, dtype=cv2.CV_32F)
    cv2.addWeighted(values, 1.0 / 255.0, nearer, -1.0, -0.5, dst=out, dtype=cv2.CV_32F)


def add_noise(image: np.ndarray, rng: CounterRNG) -> None:
    """Adds Gaussian noise to a float32 image of range 1, in place; its strength is |N(0, (2/255)^2)|.

    The noise is the sum of two stretches of long sequences of normal numbers, from places that are drawn. Within an
    image its pixels are independent, and images hardly ever share both stretches; numbers of its own for each image
    would take as long as all the rest of the augmentation.
    """
    strength = float(np.abs(rng.normals(1)[0])) * _NOISE_SIGMA / np.sqrt(2.0)
    sequences = [normal_sequence(image.size, which) for which in range(2)]
    starts = (rng.uniforms(2) * (len(sequences[0]) - image.size)).astype(int)
    stretches = [
        sequence[start : start + image.size].reshape(image.shape)
        for sequence, start in zip(sequences, starts, strict=True)
    ]
    cv2.add(image, cv2.addWeighted(stretches[0], strength, stretches[1], strength, 0.0), dst=image)
