"""Augmentation of a blurry/sharp patch (section 3.2), in the paper's order.

All randomness is stateless: the same ``seed`` pair (run seed, sample number) gives the same pixels, on any thread,
replica or restart. Both patches get the same flips, rotation, channel order and saturation; the noise is for the blurry
one alone.
"""

import tensorflow as tf

_SATURATION = (0.5, 1.5)
_NOISE_SIGMA = 2.0 / 255.0


def uniforms(seed, count):
    """``count`` numbers in [0, 1) that depend on nothing but ``seed``, an integer tensor [2]."""
    return tf.random.stateless_uniform([count], seed, alg="philox")


def augment(blurry, sharp, seed):
    """Augments one pair and moves it to the network's range.

    In this order: horizontal flip, vertical flip and rotation by 90 degrees, each by a coin; a random permutation of
    the colour channels; saturation in HSV times U(0.5, 1.5); on the blurry patch Gaussian noise whose standard
    deviation is itself drawn from N(0, (2/255)^2); clipping to [0, 1]; minus 0.5.

    Args:
        blurry: uint8 tensor [S, S, 3].
        sharp: uint8 tensor [S, S, 3].
        seed: integer tensor [2].

    Returns:
        (blurry, sharp), float32 [S, S, 3] in [-0.5, 0.5].
    """
    draws = uniforms(tf.random.fold_in(seed, 1), 7)
    pair = tf.stack([blurry, sharp])
    pair = flip_and_rotate(pair, draws[:3] < 0.5)
    pair = tf.gather(pair, tf.argsort(draws[3:6]), axis=-1)
    pair = tf.cast(pair, tf.float32) / 255.0
    low, high = _SATURATION
    pair = tf.image.adjust_saturation(pair, low + (high - low) * draws[6])
    blurry, sharp = tf.unstack(pair)
    blurry = add_noise(blurry, tf.random.fold_in(seed, 2))
    return tf.clip_by_value(blurry, 0.0, 1.0) - 0.5, tf.clip_by_value(sharp, 0.0, 1.0) - 0.5


def flip_and_rotate(images, coins):
    """Mirrors left-right, mirrors top-bottom, and rotates by 90 degrees, where the three booleans say so.

    Args:
        images: square tensor [N, S, S, C]; all N are treated alike.
        coins: boolean tensor [3].
    """
    images = tf.cond(coins[0], lambda: tf.reverse(images, [2]), lambda: images)
    images = tf.cond(coins[1], lambda: tf.reverse(images, [1]), lambda: images)
    return tf.cond(coins[2], lambda: tf.image.rot90(images), lambda: images)


def add_noise(image, seed):
    """Adds Gaussian noise to a float image in [0, 1]; its strength is |N(0, (2/255)^2)|."""
    sigma = tf.abs(tf.random.stateless_normal([], tf.random.fold_in(seed, 0), alg="philox")) * _NOISE_SIGMA
    return image + sigma * tf.random.stateless_normal(tf.shape(image), tf.random.fold_in(seed, 1), alg="philox")
