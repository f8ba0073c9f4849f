"""The training losses of section 3.2: pure functions on pyramids and on the discriminator's logits.

All images and logits are float32. Logarithms are natural (the authors' Torch7 code used base 2 for the adversarial
loss, which scales it by 1.44).
"""

from keras import ops


def content_loss(restored, sharp, error="mse"):
    """Multi-scale content loss, Eq. 4: 1/(2K) times the sum over the K scales of the mean error per element.

    Args:
        restored: list of K tensors [N, H_k, W_k, 3], finest first.
        sharp: list of K tensors of the same shapes.
        error: "mse", the paper's squared error, or "mae", the absolute error of the authors' later recipe.

    Returns:
        A scalar: the mean over the batch.

    Raises:
        ValueError: for another ``error`` or lists of different lengths.
    """
    if error not in _ERRORS:
        raise ValueError(f"error must be one of {sorted(_ERRORS)}, got {error!r}")
    per_scale = [ops.mean(_ERRORS[error](a - b)) for a, b in zip(restored, sharp, strict=True)]
    return sum(per_scale) / (2 * len(per_scale))


def discriminator_loss(sharp_logits, restored_logits):
    """Eq. 5 with its sign turned, as the discriminator maximises it: -E[log D(S)] - E[log(1 - D(G(B)))].

    Args:
        sharp_logits: D's logits for sharp images, any shape; D is their sigmoid.
        restored_logits: D's logits for restored images, any shape.
    """
    return ops.mean(ops.softplus(-sharp_logits)) + ops.mean(ops.softplus(restored_logits))


def adversarial_loss(restored_logits, form="non_saturating"):
    """The adversarial loss that the generator minimises.

    Args:
        restored_logits: D's logits for restored images, any shape.
        form: "minimax", E[log(1 - D(G(B)))], is Eq. 5 literally. "non_saturating", -E[log D(G(B))], has the same
            fixed point and gradients that do not vanish when D is sure; the authors' code does this.

    Raises:
        ValueError: for another ``form``.
    """
    if form == "non_saturating":
        return ops.mean(ops.softplus(-restored_logits))
    if form == "minimax":
        return -ops.mean(ops.softplus(restored_logits))
    raise ValueError(f"form must be 'non_saturating' or 'minimax', got {form!r}")


def total_loss(content, adversarial, adversarial_weight):
    """Eq. 6: content + lambda x adversarial; the paper's lambda is 1e-4."""
    return content + adversarial_weight * adversarial


_ERRORS = {"mse": ops.square, "mae": ops.abs}
