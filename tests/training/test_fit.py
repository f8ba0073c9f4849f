"""Keras's ``fit`` and our loop are two drivers of one training: the same weights after the same steps."""

import functools
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.processes import returned
from tests.training.gans import batch, small_discriminator
from tests.training.small_train import small
from tf_deepdeblur.config import DataConfig, LossConfig, ModelConfig, OptimizerConfig, RuntimeConfig, TrainConfig
from tf_deepdeblur.data import training_dataset
from tf_deepdeblur.models import Generator, load_generator
from tf_deepdeblur.runtime import split_cpu
from tf_deepdeblur.training import DeblurGAN, loop, strategy, train

STEPS = 20

# One for a process: TensorFlow mixes up the collectives of several mirrored strategies.
strategy_of = functools.cache(strategy.make_strategy)


def difference(run_dir, data_dir, name):
    """Largest difference of any weight after 20 steps of the loop and of ``fit``, with averages and a discriminator."""
    shape = {"num_scales": 2 if name == "single" else 1, "num_res_blocks": 1, "filters": 4, "kernel_size": 3}
    config = TrainConfig(
        run_dir=str(run_dir),
        model=ModelConfig(**shape),
        data=DataConfig(dataset="pairs", data_dir=str(data_dir), patch_size=16, eval_images=1),
        loss=LossConfig(adversarial_weight=0.1),
        optimizer=OptimizerConfig(total_steps=STEPS, learning_rate=1e-4, ema_decay=0.9),
        runtime=RuntimeConfig(precision="float32", strategy=name),
    )
    with small(), mock.patch.object(loop, "make_strategy", strategy_of):
        train(config)

    keras.utils.set_random_seed(0)
    with strategy_of(name, 0).scope():
        gan = DeblurGAN(Generator(**shape), small_discriminator(), ema_decay=0.9)
        optimizers = [keras.optimizers.Adam(1e-4, epsilon=1e-8) for _ in range(2)]
        gan.compile(*optimizers, adversarial_weight=0.1)
    patches = training_dataset("pairs", data_dir, patch_size=16, batch_size=2, seed=0)
    gan.fit(patches, steps_per_epoch=STEPS // 2, epochs=2, shuffle=False, verbose=0)

    looped = load_generator(run_dir / "generator.keras").get_weights()
    return max(np.abs(a - b).max() for a, b in zip(looped, gan.generator.get_weights(), strict=True))


def clipped_step(name):
    """What one step of plain gradient descent, clipped to a norm of 0.01, changes; the batch is split in two."""
    strategy = strategy_of(name, 0)
    keras.utils.set_random_seed(0)
    with strategy.scope():
        gan = DeblurGAN(Generator(1, 1, 4, 3))
        gan.compile(keras.optimizers.SGD(1.0), clip_norm=0.01)
    before = gan.generator.get_weights()
    parts = tf.split(tf.stack(batch(4)), strategy.num_replicas_in_sync, axis=1)
    pairs = strategy.experimental_distribute_values_from_function(lambda c: parts[c.replica_id_in_sync_group])
    tf.function(strategy.run)(lambda pair: gan.train_step(tuple(tf.unstack(pair))), args=(pairs,))
    return np.concatenate([(a - b).ravel() for a, b in zip(gan.generator.get_weights(), before, strict=True)])


def differences_on_two_devices(run_dir, data_dir):
    split_cpu(2)
    apart = difference(run_dir, data_dir, "mirrored")
    one, two = map(clipped_step, ("single", "mirrored"))
    return {"apart": apart, "norm_error": abs((one**2).sum() ** 0.5 - 0.01), "clipped_apart": abs(one - two).max()}


@pytest.mark.slow
def test_on_one_device(tmp_path, pairs_dir):
    assert difference(tmp_path, pairs_dir, "single") <= 1e-6


@pytest.fixture(scope="module")
def on_two_devices(tmp_path_factory, pairs_dir):
    """What a process finds whose CPU was split before TensorFlow's first operation."""
    folder = tmp_path_factory.mktemp("two_devices")
    return returned(folder, differences_on_two_devices, folder / "run", pairs_dir)


@pytest.mark.slow
def test_on_two_devices(on_two_devices):
    assert on_two_devices["apart"] <= 1e-6


@pytest.mark.slow
def test_clipping_on_two_devices(on_two_devices):
    assert on_two_devices["norm_error"] <= 1e-6
    assert on_two_devices["clipped_apart"] <= 1e-6
