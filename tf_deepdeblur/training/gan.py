"""The generator and the discriminator, trained together (section 3.2)."""

import keras
import tensorflow as tf

from tf_deepdeblur.io.pixels import crop, pad_to_multiple, to_uint8
from tf_deepdeblur.losses import adversarial_loss, content_loss, discriminator_loss, total_loss
from tf_deepdeblur.metrics import psnr, ssim
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.pyramid import gaussian_pyramid, smallest_side

_ADAM_EPSILON = 1e-8  # Kingma and Ba's, and Torch's; Keras has 1e-7


class DeblurGAN(keras.Model):
    """A generator that learns from sharp images and, if there is one, from a discriminator.

    Args:
        generator: Generator.
        discriminator: Discriminator, or None to train with the content loss alone (lambda = 0).
        average: None, or a second Generator of the same shape that holds an exponential moving average of the first
            one's weights. It is then the network that ``test_step`` measures.
        ema_decay: decay per step of the average.
        content_error: "mse" (Eq. 4) or "mae".
        adversarial_weight: lambda of Eq. 6.
        adversarial_form: "non_saturating" or "minimax" (Eq. 5).
    """

    def __init__(
        self,
        generator,
        discriminator=None,
        *,
        average=None,
        ema_decay=0.0,
        content_error="mse",
        adversarial_weight=1e-4,
        adversarial_form="non_saturating",
    ):
        super().__init__(autocast=False)
        for name, network in (("generator", generator), ("average", average)):
            if not isinstance(network, Generator) and (name, network) != ("average", None):
                raise TypeError(f"{name} must be a Generator, got {network!r}")
        self.generator = generator
        self.discriminator = discriminator
        self.average = average
        self.ema_decay = ema_decay
        self.content_error = content_error
        self.adversarial_weight = adversarial_weight
        self.adversarial_form = adversarial_form
        self.built = True
        if average is not None:
            average.set_weights(generator.get_weights())
            average.trainable = False

    @property
    def deployed_generator(self):
        """The generator that is evaluated and saved: the average where there is one."""
        return self.generator if self.average is None else self.average

    def compile(self, learning_rate, loss_scaling=False):
        """Creates and builds both Adam optimisers; call it inside the strategy's scope.

        Args:
            learning_rate: number or Keras schedule, the same for both (section 3.2).
            loss_scaling: whether float16 gradients need a dynamic loss scale.
        """
        self.generator_optimizer = _adam(self.generator, learning_rate, loss_scaling)
        self.discriminator_optimizer = (
            None if self.discriminator is None else _adam(self.discriminator, learning_rate, loss_scaling)
        )
        super().compile(optimizer=self.generator_optimizer, jit_compile=False)

    def call(self, blurry):
        """Restores float images [N, H, W, 3] in [-0.5, 0.5] of a size that the pyramid can halve."""
        return self.deployed_generator(gaussian_pyramid(blurry, self.generator.num_scales))[0]

    def train_step(self, batch):
        """One update of both networks from one forward pass; returns the losses as scalars.

        Args:
            batch: (blurry, sharp), float32 [N, S, S, 3] in [-0.5, 0.5]: this replica's part of the batch.

        Returns:
            A dict of this replica's losses divided by the number of replicas: their sum over replicas is the mean.
        """
        with tf.GradientTape(persistent=True) as tape:
            losses, _ = self._forward(self.generator, *batch)
            losses = _divide_by_replicas(losses)
            scaled = self._scaled_losses(losses)
        for network, optimizer, loss in scaled:
            variables = network.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
        return losses

    def test_step(self, batch):
        """Losses, PSNR and SSIM (gaussian) of the deployed generator on whole frames of any size.

        Args:
            batch: (blurry, sharp), float32 [N, H, W, 3] in [-0.5, 0.5].

        Returns:
            A dict of scalars; PSNR and SSIM are of rounded uint8 pixels, the mean over the batch.
        """
        height, width = tf.shape(batch[0])[1], tf.shape(batch[0])[2]
        scales = self.generator.num_scales
        padded = [pad_to_multiple(images, 2 ** (scales - 1), smallest_side(scales)) for images in batch]
        losses, restored = self._forward(self.deployed_generator, *padded)
        pair = to_uint8(crop(restored, height, width)), to_uint8(batch[1])
        return {**losses, "psnr": tf.reduce_mean(psnr(*pair)), "ssim": tf.reduce_mean(ssim(*pair))}

    def update_average(self):
        """Moves the average towards the weights; call it outside of ``strategy.run``, after each step."""
        if self.average is not None:
            for mean, value in zip(self.average.variables, self.generator.variables, strict=True):
                mean.assign(self.ema_decay * mean + (1.0 - self.ema_decay) * value)

    def _forward(self, generator, blurry, sharp):
        """(dict of losses, restored images of the finest scale)."""
        scales = generator.num_scales
        restored = generator(gaussian_pyramid(blurry, scales))
        content = content_loss(restored, gaussian_pyramid(sharp, scales), self.content_error)
        if self.discriminator is None:
            return {"content_loss": content}, restored[0]
        restored_logits = self.discriminator(restored[0])
        adversarial = adversarial_loss(restored_logits, self.adversarial_form)
        losses = {
            "content_loss": content,
            "adversarial_loss": adversarial,
            "generator_loss": total_loss(content, adversarial, self.adversarial_weight),
            "discriminator_loss": discriminator_loss(self.discriminator(sharp), restored_logits),
        }
        return losses, restored[0]

    def _scaled_losses(self, losses):
        """(network, optimizer, loss to differentiate) of every network."""
        generator_loss = losses["content_loss" if self.discriminator is None else "generator_loss"]
        parts = [(self.generator, self.generator_optimizer, generator_loss)]
        if self.discriminator is not None:
            parts.append((self.discriminator, self.discriminator_optimizer, losses["discriminator_loss"]))
        return [(network, optimizer, optimizer.scale_loss(loss)) for network, optimizer, loss in parts]


def _divide_by_replicas(losses):
    """The one place where replicas enter: gradients and losses are summed over them afterwards."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return {name: loss / replicas for name, loss in losses.items()}


def _adam(network, learning_rate, loss_scaling):
    optimizer = keras.optimizers.Adam(learning_rate, epsilon=_ADAM_EPSILON)
    if loss_scaling:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(network.trainable_variables)  # unbuilt optimisers fail under MirroredStrategy and when restored
    return optimizer
