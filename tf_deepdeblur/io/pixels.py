"""The number contract for images.

At the edges images are uint8 RGB, H x W x 3 or N x H x W x 3, or uint16 where a file has 16 bits. Inside they are
float32 in [-0.5, 0.5] (section 3.2). ``to_float`` and ``to_integers`` or ``to_uint8`` are the only way from one to the
other; the way back clips, then rounds half up, as the file that is written will be.
"""

import numpy as np
import tensorflow as tf


def to_float(images: np.ndarray | tf.Tensor) -> tf.Tensor:
    """uint8 or uint16 images of any shape -> float32 in [-0.5, 0.5]."""
    images = tf.convert_to_tensor(images)
    white = 65535.0 if images.dtype == tf.uint16 else 255.0
    return tf.cast(images, tf.float32) * (1.0 / white) - 0.5  # in graphs, TensorFlow makes this product of a division


def to_uint8(images: np.ndarray | tf.Tensor) -> tf.Tensor:
    """Float images in [-0.5, 0.5] of any shape -> uint8; values outside are clipped, halves are rounded up."""
    return to_integers(images, tf.uint8)


def to_integers(images: np.ndarray | tf.Tensor, dtype: tf.DType | str) -> tf.Tensor:
    """Like ``to_uint8``, to tf.uint8 or tf.uint16."""
    white = float(tf.as_dtype(dtype).max)
    levels = tf.floor((tf.cast(images, tf.float32) + 0.5) * white + 0.5)
    return tf.cast(tf.minimum(tf.maximum(levels, 0.0), white), dtype)
