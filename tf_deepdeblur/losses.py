"""The training losses of section 3.2 on pyramids and on the discriminator's logits, as functions and as Keras losses.

All images and logits are float32. Logarithms are natural (the authors' Torch7 code used base 2 for the adversarial
loss, which scales it by 1.44).

The classes are what ``DeblurGAN.compile`` takes. To try another loss, write a ``keras.losses.Loss`` like them: its
``call(y_true, y_pred)`` gets the sharp and the restored pyramid (content loss) or the discriminator's logits of the
sharp and of the restored images (adversarial loss), and returns one number or one for each image.
"""

import math
from typing import Any

import keras
from keras import ops

from tf_deepdeblur.pyramid import Tensor

_LOG_MSE_KNEE = 1e-3  # mean squared error of a PSNR of 30 dB: log_mse cares less and less for what lies below
_CONTENT_LOSSES = {
    "mse": lambda difference: ops.mean(ops.square(difference)),
    "mae": lambda difference: ops.mean(ops.abs(difference)),
    "log_mse": lambda difference: ops.mean(ops.log1p(ops.mean(ops.square(difference), axis=(1, 2, 3)) / _LOG_MSE_KNEE)),
}
_ADVERSARIAL_LOSSES = {
    "non_saturating": lambda logits: ops.softplus(-logits),
    "minimax": lambda logits: -ops.softplus(logits),
}

register = keras.saving.register_keras_serializable(package="tf_deepdeblur")


def content_loss(restored: list[Tensor], sharp: list[Tensor], kind: str = "mse") -> Tensor:
    """Multi-scale content loss, Eq. 4: 1/(2K) times the sum over the K scales of the mean error.

    The restored pyramid comes first, unlike in Keras losses such as ``ContentLoss``.

    Args:
        restored: list of K tensors [N, H_k, W_k, 3], finest first.
        sharp: list of K tensors of the same shapes.
        kind: "mse", the paper's squared error per element; "mae", the absolute error of the authors' later recipe; or
            "log_mse", log(1 + 10^3 x squared error) of each image. Up to 30 dB that falls linearly as the PSNR rises,
            so a slightly blurred image counts as much as a badly blurred one, which dominates "mse".

    Returns:
        A scalar: the mean over the batch.

    Raises:
        ValueError: for another ``kind`` or lists of different lengths.
    """
    error = _CONTENT_LOSSES[_checked("content_loss", kind, _CONTENT_LOSSES)]
    per_scale = [error(a - b) for a, b in zip(restored, sharp, strict=True)]
    return sum(per_scale) / (2 * len(per_scale))


def undo_logarithm(content: float, kind: str) -> float:
    """A content loss that is proportional to an error, which "log_mse" is not.

    Args:
        content: a result of ``content_loss``.
        kind: that it was computed with.

    Returns:
        For "log_mse" the squared error with this loss, if all images and scales have the same; otherwise ``content``.
    """
    return _LOG_MSE_KNEE * math.expm1(2.0 * content) if kind == "log_mse" else content


def discriminator_loss(sharp_logits: Tensor, restored_logits: Tensor) -> Tensor:
    """Eq. 5 with its sign turned, as the discriminator maximises it: -E[log D(S)] - E[log(1 - D(G(B)))].

    Args:
        sharp_logits: D's logits for sharp images, any shape; D is their sigmoid.
        restored_logits: D's logits for restored images, any shape.

    Returns:
        A scalar: the mean over the batch.
    """
    return ops.mean(ops.softplus(-sharp_logits)) + ops.mean(ops.softplus(restored_logits))


def adversarial_loss(restored_logits: Tensor, kind: str = "non_saturating") -> Tensor:
    """The adversarial loss that the generator minimises.

    Args:
        restored_logits: D's logits for restored images, any shape.
        kind: "minimax", E[log(1 - D(G(B)))], is Eq. 5 literally. "non_saturating", -E[log D(G(B))], has the same
            fixed point and gradients that do not vanish when D is sure; the authors' code does this.

    Returns:
        A scalar: the mean over the batch.

    Raises:
        ValueError: for another ``kind``.
    """
    return ops.mean(_ADVERSARIAL_LOSSES[_checked("adversarial_loss", kind, _ADVERSARIAL_LOSSES)](restored_logits))


def total_loss(content: Tensor, adversarial: Tensor, adversarial_weight: float) -> Tensor:
    """Eq. 6: content + lambda x adversarial; the paper's lambda is 1e-4."""
    return content + adversarial_weight * adversarial


@register
class ContentLoss(keras.losses.Loss):
    """``content_loss`` as a Keras loss of (sharp pyramid, restored pyramid).

    Args:
        kind: "mse", "mae" or "log_mse".
        name: of the loss.

    Raises:
        ValueError: for another ``kind``.
    """

    def __init__(self, kind: str = "mse", name: str = "content_loss"):
        super().__init__(name)
        self.kind = _checked("content_loss", kind, _CONTENT_LOSSES)

    def call(self, y_true: list[Tensor], y_pred: list[Tensor]) -> Tensor:
        """The content loss of the restored pyramid ``y_pred``."""
        return content_loss(y_pred, y_true, self.kind)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"kind": self.kind, "name": self.name}


@register
class AdversarialLoss(keras.losses.Loss):
    """``adversarial_loss`` as a Keras loss of (logits of sharp images, logits of restored images).

    Args:
        kind: "non_saturating" or "minimax".
        name: of the loss.

    Raises:
        ValueError: for another ``kind``.
    """

    def __init__(self, kind: str = "non_saturating", name: str = "adversarial_loss"):
        super().__init__(name)
        self.kind = _checked("adversarial_loss", kind, _ADVERSARIAL_LOSSES)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The adversarial loss of the logits ``y_pred``; those of the sharp images do not move the generator."""
        return adversarial_loss(y_pred, self.kind)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"kind": self.kind, "name": self.name}


@register
class DiscriminatorLoss(keras.losses.Loss):
    """``discriminator_loss`` as a Keras loss of (logits of sharp images, logits of restored images).

    Args:
        name: of the loss.
    """

    def __init__(self, name: str = "discriminator_loss"):
        super().__init__(name)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Eq. 5 with its sign turned."""
        return discriminator_loss(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"name": self.name}


def _checked(argument, kind, kinds):
    if kind not in kinds:
        raise ValueError(f"`{argument}` must be one of {', '.join(kinds)}, got {kind!r}")
    return kind
