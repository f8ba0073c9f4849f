"""What a training step costs: forward and backward pass alone, with the optimiser, with the discriminator."""

from dataclasses import replace

import tensorflow as tf
import timing

from tf_deepdeblur.losses import content_loss
from tf_deepdeblur.pyramid import gaussian_pyramid
from tf_deepdeblur.training.setup import build_model


def measure(config, repeats):
    """Measures the steps of ``config``, alternating in one run, on random patches.

    Args:
        config: TrainConfig.
        repeats: timed steps of each kind; the median counts.

    Yields:
        A dict per kind of step.
    """
    side, batch_size = config.data.patch_size, config.optimizer.batch_size
    batch = tuple(tf.random.stateless_uniform([2, batch_size, side, side, 3], [0, 1]) - 0.5)
    model = build_model(config)
    content_only = build_model(replace(config, loss=replace(config.loss, adversarial_weight=0.0)))
    steps = {"forward and backward": tf.function(lambda: _gradients(content_only.generator, *batch))}
    steps["train step, content loss"] = tf.function(lambda: content_only.train_step(batch))
    if model.discriminator is not None:
        steps["train step, both losses"] = tf.function(lambda: model.train_step(batch))
    seconds = timing.alternate(steps, repeats)
    for name, value in seconds.items():
        yield {
            "name": name,
            "seconds_per_step": round(value, 4),
            "ratio": round(value / seconds["forward and backward"], 3),
            "patch_size": side,
            "batch_size": batch_size,
            "dtype": model.generator.dtype_policy.name,
            "peak_gib_so_far": round(timing.peak_gib(), 2),
        }


def _gradients(generator, blurry, sharp):
    """The least that a step must do: the content loss and its gradients, no optimiser."""
    scales = generator.num_scales
    with tf.GradientTape() as tape:
        loss = content_loss(generator(gaussian_pyramid(blurry, scales)), gaussian_pyramid(sharp, scales))
    return tape.gradient(loss, generator.trainable_variables)
