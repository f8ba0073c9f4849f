"""This package as a contender: each function prepares something and returns what is timed."""

from dataclasses import asdict

import numpy as np
import same_weights
from photographs import photograph

from tf_deepdeblur import runtime


def prepare_model(weights, model, path):
    """Writes the weights as a ``.keras`` file.

    Args:
        weights: ``.npz`` file of ``same_weights``.
        model: ModelConfig.
        path: of the file to write.
    """
    runtime.import_tensorflow_quietly()
    from tf_deepdeblur.models.saving import save_generator

    return lambda: save_generator(_generator(weights, model), path)


def prepare_restoring(path, size, precision):
    """Times ``Deblurrer`` on a photograph of ``size`` (height, width)."""
    runtime.import_tensorflow_quietly()
    from tf_deepdeblur.inference.deblurrer import Deblurrer

    deblur, image = Deblurrer.load(path, precision=precision), photograph(*size)
    deblur(photograph(64, 64))
    return lambda: deblur(image)


def prepare_training(weights, config):
    """Times ``DeblurGAN.train_step`` of a TrainConfig, whose precision is given; returns the content loss."""
    runtime.import_tensorflow_quietly()
    import tensorflow as tf

    from tf_deepdeblur.training.setup import build_model

    model = build_model(config)
    model.trained_generator.set_weights(_generator(weights, config.model).get_weights())
    if model.discriminator is not None:
        arrays = np.load(weights)
        kernels = [arrays[f"discriminator.{number}"] for number in range(len(same_weights.DISCRIMINATOR))]
        model.discriminator.set_weights([kernel.transpose(2, 3, 1, 0) for kernel in kernels])
    batch = same_weights.make_batch(config.optimizer.batch_size, config.data.patch_size)
    batch = tuple(map(tf.constant, batch))
    step = tf.function(model.train_step, autograph=False)

    def train():
        model.reset_metrics()
        return float(step(batch)["content_loss"])

    return train


def prepare_convolution(filters, kernel_size, size, precision):
    """Times a lone convolution of the network's, as fast as TensorFlow has it."""
    runtime.import_tensorflow_quietly()
    import tensorflow as tf

    rng, dtype = np.random.default_rng(0), tf.as_dtype(precision)
    images = tf.cast(rng.normal(size=(1, *size, filters)).astype(np.float32), dtype)
    kernel = tf.cast(rng.normal(size=(kernel_size, kernel_size, filters, filters)).astype(np.float32), dtype)
    convolve = tf.function(lambda x: tf.nn.conv2d(x, kernel, strides=1, padding="SAME")[0, 0, 0, 0])
    return lambda: float(convolve(images))


def _generator(weights, model):
    from tf_deepdeblur.models.generator import Generator
    from tf_deepdeblur.models.torch_weights import generator_from_state

    arrays = np.load(weights)
    state = {name: arrays[name] for name in arrays.files if not name.startswith("discriminator.")}
    generator = Generator(**asdict(model))
    generator.set_weights(generator_from_state(state).get_weights())
    return generator
