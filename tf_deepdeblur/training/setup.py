"""From a configuration to the parts of a training: data and model."""

import functools
from dataclasses import replace
from typing import NamedTuple

import keras
import numpy as np

from tf_deepdeblur.config import OptimizerConfig, TrainConfig
from tf_deepdeblur.data.datasets import open_dataset
from tf_deepdeblur.data.packed import PackedStore
from tf_deepdeblur.data.pairs import PairFolder
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.models.discriminator import MIN_PATCH_SIZE, Discriminator
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.synthesis.demo import make_demo_dataset
from tf_deepdeblur.training.gan import DeblurGAN
from tf_deepdeblur.training.muon import ConvMuon
from tf_deepdeblur.training.precision import training_precision
from tf_deepdeblur.training.run_folder import RunFolder
from tf_deepdeblur.training.schedule import step_decay

_ADAM_EPSILON = 1e-8  # Kingma and Ba's, and Torch's; Keras has 1e-7


class Sources(NamedTuple):
    """Sources of training and validation pairs; ``validation`` is None if the data set has no such part."""

    training: PairFolder | PackedStore
    validation: PairFolder | PackedStore | None


def open_sources(config: TrainConfig) -> Sources:
    """Finds and checks all pairs of a configuration; makes the demo's data set if that is wanted.

    Raises:
        InputError: naming the file or folder and the remedy, also if patches or frames are too small for the
            discriminator.
    """
    if config.adversarial and config.data.patch_size < MIN_PATCH_SIZE:
        raise InputError(
            f"the discriminator needs a `patch_size` of at least {MIN_PATCH_SIZE}, got {config.data.patch_size}; "
            "use a larger one or `adversarial_weight=0`"
        )
    data = config.data
    if data.dataset == "demo":
        folder = data.data_dir or make_demo_dataset(RunFolder(config.run_dir).demo_data)
        data = replace(data, dataset="pairs", data_dir=str(folder))
    training, validation = open_dataset(
        data.dataset, data.data_dir, data.blur_key, data.patch_size, crops_per_image=data.crops_per_image
    )
    if config.adversarial and validation is not None:
        small = np.flatnonzero(validation.sizes.min(axis=1) < MIN_PATCH_SIZE)
        if len(small):
            height, width = validation.sizes[small[0]]
            raise InputError(
                f"{validation.pairs[small[0]].blurry}: {height}x{width} (height x width), but the discriminator judges "
                f"validation images of {MIN_PATCH_SIZE} pixels or more ({len(small)} such images); remove it or use "
                "`adversarial_weight=0`"
            )
    return Sources(training, validation)


def build_model(config: TrainConfig, policy: str | None = None) -> DeblurGAN:
    """A compiled DeblurGAN; call it inside the strategy's scope.

    Args:
        config: TrainConfig.
        policy: Keras dtype policy; None for that of ``training_precision``.
    """
    policy = policy or training_precision(config).policy
    model = DeblurGAN(
        Generator(**vars(config.model), dtype=policy),
        Discriminator(dtype=policy) if config.adversarial else None,
        ema_decay=config.optimizer.ema_decay,
    )
    schedule = learning_rate_schedule(config.optimizer)
    adam = functools.partial(keras.optimizers.Adam, schedule, epsilon=_ADAM_EPSILON)
    muon = functools.partial(ConvMuon, schedule, weight_decay=None, adam_weight_decay=None, epsilon=_ADAM_EPSILON)
    model.compile(
        muon() if config.optimizer.optimizer == "muon" else adam(),
        adam() if config.adversarial else None,
        content_loss=config.loss.content_loss,
        adversarial_weight=config.loss.adversarial_weight,
        adversarial_loss=config.loss.adversarial_loss,
        clip_norm=config.optimizer.clip_norm,
    )
    return model


def learning_rate_schedule(config: OptimizerConfig) -> keras.optimizers.schedules.LearningRateSchedule:
    """The schedule of both optimisers."""
    return step_decay(config.learning_rate, config.decay_steps, config.decay_rate)
