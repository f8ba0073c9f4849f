"""Tiny networks, data and losses that several tests train with."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.training.gan import DeblurGAN

WEIGHT = 0.05


def eager(test):
    """A test that runs tf.functions as Python; TensorFlow warns that those of tf.data stay graphs."""
    return pytest.mark.usefixtures("eagerly")(pytest.mark.filterwarnings("ignore:Even though the")(test))


@keras.saving.register_keras_serializable("tests")
class SmallDiscriminator(keras.Model):
    """Table 1's takes patches from 193 pixels; the train step only needs images in, logits out."""

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.conv = keras.layers.Conv2D(4, 3, strides=2, activation="leaky_relu", dtype=self.dtype_policy)
        self.logits = keras.layers.Conv2D(1, 3, dtype="float32")
        self.conv.build((None, None, None, 3))
        self.logits.build((None, None, None, 4))
        self.built = True

    def call(self, images):
        return keras.ops.mean(self.logits(self.conv(images)), axis=(1, 2))


def small_discriminator(dtype="float32"):
    return SmallDiscriminator(dtype=dtype)


def adam():
    return keras.optimizers.Adam(1e-3, epsilon=1e-8)


def make(adversarial=True, dtype="float32", ema_decay=0.0, generator_optimizer=None, **arguments):
    keras.utils.set_random_seed(0)
    discriminator = small_discriminator(dtype) if adversarial else None
    model = DeblurGAN(Generator(2, 1, 4, 3, dtype=dtype), discriminator, ema_decay=ema_decay)
    optimizers = generator_optimizer or adam(), adam() if adversarial else None
    model.compile(*optimizers, adversarial_weight=WEIGHT, **arguments)
    return model


def batch(size=2, side=16):
    rng = np.random.default_rng(0)
    return tuple(tf.constant(rng.random((size, side, side, 3)), tf.float32) - 0.5 for _ in range(2))


@keras.saving.register_keras_serializable("tests")
class Charbonnier(keras.losses.Loss):
    """One value for each image, as Keras losses give."""

    def call(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.sqrt((y_true[0] - y_pred[0]) ** 2 + 1e-6), axis=(1, 2, 3))


@keras.saving.register_keras_serializable("tests")
class Hinge(keras.losses.Loss):
    """The discriminator's hinge loss."""

    def call(self, y_true, y_pred):
        return keras.ops.relu(1.0 - y_true) + keras.ops.relu(1.0 + y_pred)
