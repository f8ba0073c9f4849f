"""The discriminator of Table 1: sharp or restored?

The convolutions have no biases and are followed by LeakyReLU of slope 0.2. The 5x5 layers are zero padded by 2 on every
side, the ninth layer (4x4, stride 4) is not padded. The sigmoid of Table 1 lives in the losses, which take logits. (The
authors' released code differs from the paper in its first two layers; this is the paper's.)
"""

import keras
from keras import layers, ops

from tf_deepdeblur.models.layers import check_images, register
from tf_deepdeblur.pyramid import Tensor

_LAYERS = (  # filters, kernel size, stride, padding
    (32, 5, 2, 2),
    (64, 5, 1, 2),
    (64, 5, 2, 2),
    (128, 5, 1, 2),
    (128, 5, 4, 2),
    (256, 5, 1, 2),
    (256, 5, 4, 2),
    (512, 5, 1, 2),
    (512, 4, 4, 0),
)
_SLOPE = 0.2


def output_side(side: int) -> int:
    """Side of the map of logits for patches of ``side`` pixels: 1 for 256; below 1 if the patch is too small."""
    for _, kernel_size, stride, padding in _LAYERS:
        side = (side + 2 * padding - kernel_size) // stride + 1
    return side


MIN_PATCH_SIZE = next(side for side in range(1, 257) if output_side(side) == 1)


@register
class Discriminator(keras.Model):
    """Images [N, H, W, 3] in [-0.5, 0.5] -> logits [N, 1], float32; positive means sharp.

    One logit judges 256x256 pixels; for larger images the logits of all positions are averaged.
    """

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.convs = [
            layers.Conv2D(
                filters,
                kernel_size,
                strides=stride,
                padding="valid",
                use_bias=False,
                dtype=self.dtype_policy,
                name=f"conv{number}",
            )
            for number, (filters, kernel_size, stride, _) in enumerate(_LAYERS, start=1)
        ]
        self.classifier = layers.Conv2D(1, 1, use_bias=False, dtype="float32", name="fc")
        self.build()

    def build(self, input_shape: tuple | None = None) -> None:
        """Creates all weights; they do not depend on the images' size."""
        channels = 3
        for conv in self.convs:
            conv.build((None, None, None, channels))
            channels = conv.filters
        self.classifier.build((None, None, None, channels))
        self.built = True

    def call(self, images: Tensor) -> Tensor:
        """Judges images.

        Raises:
            ValueError: if the images are not floats with 3 channels, or too small for one logit.
        """
        _check(images)
        features = ops.cast(images, "float32")
        for conv, (_, _, _, padding) in zip(self.convs, _LAYERS, strict=True):
            border = [[0, 0], [padding, padding], [padding, padding], [0, 0]]
            features = conv(ops.pad(features, border) if padding else features)
            features = ops.leaky_relu(features, _SLOPE)
        return ops.mean(self.classifier(features), axis=(1, 2))

    def compute_output_spec(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """Shape and type of the logits; Keras would find them by a trial with images that may be too small."""
        _check(images)
        return keras.KerasTensor((images.shape[0], 1), dtype="float32")


def _check(images):
    check_images(images)
    if any(side is not None and output_side(side) < 1 for side in images.shape[1:3]):
        raise ValueError(
            f"the discriminator needs images of at least {MIN_PATCH_SIZE} pixels, got {tuple(images.shape[1:3])}: "
            "use a larger `patch_size` or `adversarial_weight=0`"
        )
