"""Keras's ``fit`` and our loop are two drivers of one training: the same weights after the same steps."""

import subprocess
import sys
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.gans import batch, small_discriminator
from tf_deepdeblur.config import DataConfig, LossConfig, ModelConfig, OptimizerConfig, RuntimeConfig, TrainConfig
from tf_deepdeblur.data import training_dataset
from tf_deepdeblur.models import Generator, load_generator
from tf_deepdeblur.training import DeblurGAN, setup, train
from tf_deepdeblur.training.strategy import make_strategy

STEPS = 20
ROOT = Path(__file__).parents[2]


def difference(run_dir, data_dir, strategy):
    """Largest difference of any weight after 20 steps of the loop and of ``fit``, with averages and a discriminator."""
    shape = {"num_scales": 2, "num_res_blocks": 1, "filters": 4, "kernel_size": 3}
    config = TrainConfig(
        run_dir=str(run_dir),
        model=ModelConfig(**shape),
        data=DataConfig(dataset="pairs", data_dir=str(data_dir), patch_size=16, eval_images=1),
        loss=LossConfig(adversarial_weight=0.1),
        optimizer=OptimizerConfig(total_steps=STEPS, learning_rate=1e-4, ema_decay=0.9),
        runtime=RuntimeConfig(precision="float32", strategy=strategy),
    )
    # The paper's discriminator takes patches from 193 pixels.
    with mock.patch.multiple(setup, Discriminator=small_discriminator, MIN_PATCH_SIZE=8):
        train(config)

    keras.utils.set_random_seed(0)
    with make_strategy(strategy).scope():
        gan = DeblurGAN(Generator(**shape), small_discriminator(), ema_decay=0.9)
        optimizers = [keras.optimizers.Adam(1e-4, epsilon=1e-8) for _ in range(2)]
        gan.compile(*optimizers, adversarial_weight=0.1)
    patches = training_dataset("pairs", data_dir, patch_size=16, batch_size=2, seed=0)
    gan.fit(patches, steps_per_epoch=STEPS // 2, epochs=2, shuffle=False, verbose=0)

    looped = load_generator(run_dir / "generator.keras").get_weights()
    return max(np.abs(a - b).max() for a, b in zip(looped, gan.generator.get_weights(), strict=True))


def clipped_step(strategy):
    """What one step of plain gradient descent, clipped to a norm of 0.01, changes; the batch is split in two."""
    keras.utils.set_random_seed(0)
    with strategy.scope():
        gan = DeblurGAN(Generator(2, 1, 4, 3))
        gan.compile(keras.optimizers.SGD(1.0), clip_norm=0.01)
    before = gan.generator.get_weights()
    parts = tf.split(tf.stack(batch(4)), strategy.num_replicas_in_sync, axis=1)
    pairs = strategy.experimental_distribute_values_from_function(lambda c: parts[c.replica_id_in_sync_group])
    tf.function(strategy.run)(lambda pair: gan.train_step(tuple(tf.unstack(pair))), args=(pairs,))
    return np.concatenate([(a - b).ravel() for a, b in zip(gan.generator.get_weights(), before, strict=True)])


@pytest.mark.slow
def test_on_one_device(tmp_path, pairs_dir):
    assert difference(tmp_path, pairs_dir, "single") <= 1e-6


@pytest.mark.slow
def test_on_two_devices(tmp_path, pairs_dir):
    """In a process of its own, because the CPU is split before TensorFlow's first operation."""
    code = """
import sys
from pathlib import Path
from tf_deepdeblur.runtime import split_cpu
split_cpu(2)
from tests.training.test_fit import difference
print(difference(Path(sys.argv[1]), Path(sys.argv[2]), "mirrored"))
"""
    (apart,) = printed_by(code, tmp_path, pairs_dir)
    assert apart <= 1e-6


@pytest.mark.slow
def test_clipping_on_two_devices():
    """In a process of its own: TensorFlow mixes up the collectives of several mirrored strategies in one."""
    code = """
from tf_deepdeblur.runtime import split_cpu
split_cpu(2)
from tests.training.test_fit import clipped_step, make_strategy
one, two = [clipped_step(make_strategy(name)) for name in ("single", "mirrored")]
print(abs((one**2).sum() ** 0.5 - 0.01), abs(one - two).max())
"""
    norm_error, apart = printed_by(code)
    assert norm_error <= 1e-6
    assert apart <= 1e-6


def printed_by(code, *arguments):
    """The numbers that a Python program prints."""
    command = [sys.executable, "-c", code, *arguments]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return [float(number) for number in finished.stdout.split()]
