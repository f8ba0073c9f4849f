"""The generator and the discriminator, trained together (section 3.2), as a Keras model.

    gan = DeblurGAN(Generator(), Discriminator(), ema_decay=0.999)
    gan.compile(keras.optimizers.Adam(5e-5), keras.optimizers.Adam(5e-5), metrics=[PSNR(), SSIM()])
    gan.fit(training_dataset(...), steps_per_epoch=1000, epochs=900, validation_data=validation_dataset(...))
    gan.save("gan.keras")
    gan = keras.models.load_model("gan.keras")  # where ``from tf_deepdeblur import DeblurGAN`` came before

``fit`` and the loop of ``training.loop`` both drive ``DeblurGAN.train_step``. Under ``tf.distribute.MirroredStrategy``
everything up to ``compile``, the optimisers included, is made in ``strategy.scope()``, and Keras wants validation
batches of at least one frame for each replica. Several workers need the loop: Keras's ``fit`` fails there.
"""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

# Imported so that their classes are registered with Keras before a model is loaded.
import tf_deepdeblur.metrics
import tf_deepdeblur.models.discriminator  # noqa: F401
from tf_deepdeblur.losses import AdversarialLoss, ContentLoss, DiscriminatorLoss, total_loss
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.pyramid import Tensor, gaussian_pyramid, pad_for_pyramid


@keras.saving.register_keras_serializable(package="tf_deepdeblur")
class DeblurGAN(keras.Model):
    """A generator that learns from sharp images and, if there is one, from a discriminator.

    Images are float32 [N, H, W, 3] in [-0.5, 0.5]; data sets and arrays are pairs (blurry, sharp). Training patches
    have a side that is a multiple of 2^(K - 1), or 2^K with ``space_to_depth=2``; frames to evaluate and to predict are
    of any size.

    Args:
        generator: Generator.
        discriminator: model from images [N, H, W, 3] to logits [N, 1], or None to train with the content loss alone.
        ema_decay: decay per step of an exponential moving average of the weights, in [0, 1); 0 keeps none.
        **kwargs: ``name`` of ``keras.Model``.

    Attributes:
        generator: the network that is evaluated, predicted with and saved. With ``ema_decay`` it holds the average.
        trained_generator: the network that the optimiser updates: ``generator`` itself without ``ema_decay``.
        discriminator: the argument.

    Raises:
        TypeError: if ``generator`` is not a Generator.
        ValueError: if ``ema_decay`` is out of range.
    """

    # Not Keras's `Adam(use_ema=True)`: `evaluate`, `predict`, `save` and every callback would use the weights without
    # the average unless SwapEMAWeights is given to each of them, and the end of `fit` overwrites the trained weights
    # with it, so that a second `fit` would not go on where the first one ended. Its average also starts from the
    # weights after the first step instead of the initial ones.

    def __init__(
        self, generator: Generator, discriminator: keras.Model | None = None, ema_decay: float = 0.0, **kwargs
    ):
        super().__init__(autocast=False, **kwargs)
        if not isinstance(generator, Generator):
            raise TypeError(f"`generator` must be a Generator, got {generator!r}")
        if not 0.0 <= ema_decay < 1.0:
            raise ValueError(f"`ema_decay` must be at least 0 and below 1, got {ema_decay}")
        self.generator = generator
        self.discriminator = discriminator
        self.ema_decay = ema_decay
        self.trained_generator = generator
        if ema_decay:
            self.trained_generator = type(generator).from_config(generator.get_config())
            self.trained_generator.set_weights(generator.get_weights())
        names = (
            ["content_loss"] if discriminator is None else ["content_loss", "adversarial_loss", "discriminator_loss"]
        )
        self.loss_means = [keras.metrics.Mean(name) for name in names]  # Keras finds them: they are in `self.metrics`
        self.built = True  # the networks are

    def compile(
        self,
        generator_optimizer: keras.optimizers.Optimizer | str,
        discriminator_optimizer: keras.optimizers.Optimizer | str | None = None,
        *,
        content_loss: keras.losses.Loss | str = "mse",
        adversarial_weight: float = 1e-4,
        adversarial_loss: keras.losses.Loss | str = "non_saturating",
        discriminator_loss: keras.losses.Loss | None = None,
        metrics: list | None = None,
        clip_norm: float = 0.0,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = False,
        auto_scale_loss: bool = True,
    ) -> None:
        """Configures the training. Both optimisers are built here: unbuilt ones fail under MirroredStrategy.

        Args:
            generator_optimizer: of the generator. The authors use Adam with ``epsilon=1e-8``, which is 1e-7 in Keras.
            discriminator_optimizer: another one; None if there is no discriminator.
            content_loss: "mse" (Eq. 4), "mae", "log_mse", or a Keras loss like ``losses.ContentLoss``.
            adversarial_weight: lambda of Eq. 6.
            adversarial_loss: "non_saturating", "minimax" (Eq. 5), or a Keras loss like ``losses.AdversarialLoss``.
            discriminator_loss: a Keras loss like ``losses.DiscriminatorLoss``; None for that one, Eq. 5.
            metrics: Keras metrics of the restored images of the finest scale, for example ``[PSNR(), SSIM()]``.
            clip_norm: largest global norm of each network's gradient; 0 does not clip. An optimiser's own
                ``global_clipnorm`` clips what each replica adds to the gradient, so that it depends on their number.
            run_eagerly: as in ``keras.Model.compile``.
            steps_per_execution: as in ``keras.Model.compile``.
            jit_compile: as in ``keras.Model.compile``, except for the default: XLA compiles anew for each size of the
                frames that are evaluated, and fails under MirroredStrategy.
            auto_scale_loss: whether to wrap both optimisers in a LossScaleOptimizer under "mixed_float16".

        Raises:
            ValueError: naming the argument that cannot be used.
        """
        if (discriminator_optimizer is None) != (self.discriminator is None):
            state = "no discriminator" if self.discriminator is None else "a discriminator"
            raise ValueError(
                f"this DeblurGAN has {state}, but `discriminator_optimizer` is {discriminator_optimizer!r}"
            )
        if generator_optimizer is discriminator_optimizer and not isinstance(generator_optimizer, str):
            raise ValueError("`generator_optimizer` and `discriminator_optimizer` must be two optimizers, not one")
        if not clip_norm >= 0.0:
            raise ValueError(f"`clip_norm` must be at least 0, got {clip_norm}")
        if steps_per_execution != 1 and self.distribute_strategy.num_replicas_in_sync > 1:
            raise ValueError("`steps_per_execution` must be 1 with several replicas: Keras fails with more")
        self.generator_optimizer = _built_optimizer(
            "generator_optimizer", generator_optimizer, self.trained_generator, auto_scale_loss
        )
        self.discriminator_optimizer = None
        if self.discriminator is not None:
            self.discriminator_optimizer = _built_optimizer(
                "discriminator_optimizer", discriminator_optimizer, self.discriminator, auto_scale_loss
            )
        self.content_loss = ContentLoss(content_loss) if isinstance(content_loss, str) else content_loss
        self.adversarial_weight = adversarial_weight
        self.clip_norm = clip_norm
        self.adversarial_loss = (
            AdversarialLoss(adversarial_loss) if isinstance(adversarial_loss, str) else adversarial_loss
        )
        self.discriminator_loss = discriminator_loss or DiscriminatorLoss()
        for name in ("content_loss", "adversarial_loss", "discriminator_loss"):
            if not isinstance(getattr(self, name), keras.losses.Loss):
                raise ValueError(f"`{name}` must be a keras.losses.Loss or its name, got {getattr(self, name)!r}")
        super().compile(
            optimizer=self.generator_optimizer,
            metrics=metrics,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=False,  # done for both above; Keras knows of one
        )

    def call(self, blurry: Tensor) -> Tensor:
        """Restores images of any size; values are not clipped."""
        return self.generator(blurry)

    def compute_losses(self, generator: Generator, blurry: Tensor, sharp: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """All losses of a batch, without an update; the place to override for a training with other losses.

        Args:
            generator: ``trained_generator`` or ``generator``.
            blurry: images of any size.
            sharp: images of the same shape.

        Returns:
            ({name: scalar}, restored images). "loss" is what the generator minimises (Eq. 6); with a discriminator
            there is "discriminator_loss", what that one minimises.
        """
        scales, block = generator.num_scales, generator.space_to_depth
        blurry_pyramid = gaussian_pyramid(pad_for_pyramid(blurry, scales, block), scales)
        sharp_pyramid = gaussian_pyramid(pad_for_pyramid(sharp, scales, block), scales)
        restored_pyramid = generator(blurry_pyramid)
        # `call`, because a Keras loss called as a function may divide by the number of replicas, as train_step does.
        content = ops.mean(self.content_loss.call(sharp_pyramid, restored_pyramid))
        losses = {"loss": content, "content_loss": content}
        if self.discriminator is not None:
            restored_logits = self.discriminator(restored_pyramid[0])
            sharp_logits = self.discriminator(sharp_pyramid[0])
            adversarial = ops.mean(self.adversarial_loss.call(sharp_logits, restored_logits))
            losses["loss"] = total_loss(content, adversarial, self.adversarial_weight)
            losses["adversarial_loss"] = adversarial
            losses["discriminator_loss"] = ops.mean(self.discriminator_loss.call(sharp_logits, restored_logits))
        height, width = ops.shape(sharp)[1:3]
        return losses, restored_pyramid[0][:, :height, :width]

    def train_step(self, data: Any) -> dict[str, Tensor]:
        """One update of both networks from one forward pass.

        Args:
            data: (blurry, sharp), float32 [N, S, S, 3] in [-0.5, 0.5]: this replica's part of the batch.

        Returns:
            The means of the losses and metrics since they were reset.
        """
        blurry, sharp = _pair(data)
        # Optimisers add up the gradients of all replicas: the one place that divides by their number.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        with tf.GradientTape(persistent=True) as tape:
            losses, restored = self.compute_losses(self.trained_generator, blurry, sharp)
            updates = [(self.trained_generator, self.generator_optimizer, losses["loss"])]
            if self.discriminator is not None:
                updates.append((self.discriminator, self.discriminator_optimizer, losses["discriminator_loss"]))
            updates = [(model, optimizer, optimizer.scale_loss(loss / replicas)) for model, optimizer, loss in updates]
        for model, optimizer, loss in updates:
            variables = model.trainable_variables
            gradients = tape.gradient(loss, variables)
            if self.clip_norm:
                gradients = _clipped(gradients, optimizer.scale_loss(self.clip_norm))
            optimizer.apply(gradients, variables)
        if self.ema_decay:
            tf.distribute.get_replica_context().merge_call(self._update_average)
        return self._record(losses, sharp, restored)

    def test_step(self, data: Any) -> dict[str, Tensor]:
        """Losses and metrics of ``generator`` on frames of any size, without an update; as ``train_step`` otherwise."""
        blurry, sharp = _pair(data)
        count = tf.shape(sharp)[0]
        # A replica gets no frame of a batch with fewer frames than there are replicas, and convolutions fail on none.
        losses, restored = self.compute_losses(self.generator, _at_least_one(blurry), _at_least_one(sharp))
        return self._record(losses, sharp, restored[:count])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; ``from_config`` and ``keras.models.load_model`` make the model from them."""
        return {
            **super().get_config(),
            "generator": keras.saving.serialize_keras_object(self.generator),
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
            "ema_decay": self.ema_decay,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "DeblurGAN":
        """A new model, uncompiled, with initial weights."""
        networks = {
            name: keras.saving.deserialize_keras_object(config[name]) for name in ("generator", "discriminator")
        }
        return cls(**{**config, **networks})

    def get_compile_config(self) -> dict[str, Any]:
        """The arguments of ``compile``, which a saved model carries."""
        if not self.compiled:
            return {}
        config = super().get_compile_config()
        config = {name: config[name] for name in ("metrics", "run_eagerly", "steps_per_execution", "jit_compile")}
        names = ("generator_optimizer", "discriminator_optimizer", "content_loss", "adversarial_loss")
        for name in (*names, "discriminator_loss", "adversarial_weight", "clip_norm"):
            config[name] = keras.saving.serialize_keras_object(getattr(self, name))
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles with what ``get_compile_config`` returned."""
        self.compile(**{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()})

    def _update_average(self, strategy):
        """Moves the average towards the trained weights, on each device by itself."""

        def move(mean, value):
            mean.assign(self.ema_decay * mean + (1.0 - self.ema_decay) * value)

        for mean, value in zip(self.generator.variables, self.trained_generator.variables, strict=True):
            strategy.extended.update(mean.value, move, args=(value.value,), group=False)

    def _record(self, losses, sharp, restored):
        """Adds a batch to all means and returns them."""
        for metric in self.metrics:
            if metric.name in losses:
                metric.update_state(losses[metric.name], sample_weight=tf.shape(sharp)[0])
        return self.compute_metrics(None, sharp, restored)


def _pair(data):
    """(blurry, sharp) from what a Keras data set gives."""
    blurry, sharp, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if sharp is None:
        raise ValueError("a DeblurGAN needs pairs: a data set of (blurry, sharp), or two arrays")
    if sample_weight is not None:
        raise ValueError("a DeblurGAN takes neither `sample_weight` nor `class_weight`")
    return blurry, sharp


def _at_least_one(images):
    """A batch of images, or one black image where there is none."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return images
    shape = tf.shape(images)
    padded = tf.concat([images, tf.zeros([tf.maximum(1 - shape[0], 0), shape[1], shape[2], 3])], axis=0)
    return tf.ensure_shape(padded, [None, *images.shape[1:]])


def _clipped(gradients, norm):
    """This replica's part of the gradient, scaled so that the whole, all replicas' sum, has at most this norm."""
    whole = tf.distribute.get_replica_context().all_reduce("sum", gradients)
    factor = norm / tf.maximum(tf.linalg.global_norm(whole), norm)
    return [gradient * factor for gradient in gradients]


def _built_optimizer(argument, optimizer, network, auto_scale_loss):
    try:
        optimizer = keras.optimizers.get(optimizer)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"`{argument}` must be a Keras optimizer, got {optimizer!r}; `compile` takes `generator_optimizer`, "
            "`discriminator_optimizer`, and then `content_loss` and others by name"
        ) from error
    if getattr(optimizer, "inner_optimizer", optimizer).use_ema:
        raise ValueError(
            f"`{argument}` has `use_ema=True`, which DeblurGAN would not evaluate and save: use its own `ema_decay`"
        )
    is_scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    if auto_scale_loss and network.dtype_policy.name == "mixed_float16" and not is_scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(network.trainable_variables)
    return optimizer
