"""The building blocks of the generator (section 3.1, Figures 3 and 4).

Every convolution is zero padded, keeps the resolution and starts from Glorot (Xavier) weights, as the authors advise.
"""

from typing import Any

import keras
from keras import layers, ops

from tf_deepdeblur.pyramid import Tensor

register = keras.saving.register_keras_serializable(package="tf_deepdeblur")


@register
class ResBlock(layers.Layer):
    """Convolution, ReLU, convolution, plus the identity: no normalisation, no ReLU after the sum (Figure 3b).

    Shape: [N, H, W, filters] -> the same.

    Args:
        filters: feature maps, in and out.
        kernel_size: odd side of both convolutions.
        **kwargs: ``name`` and ``dtype`` of ``keras.layers.Layer``.

    Raises:
        ValueError: naming the argument that is out of range.
    """

    def __init__(self, filters: int, kernel_size: int, **kwargs):
        super().__init__(**kwargs)
        check_sizes(filters=filters, kernel_size=kernel_size)
        self.filters = filters
        self.kernel_size = kernel_size
        self.conv1 = layers.Conv2D(filters, kernel_size, padding="same", activation="relu", dtype=self.dtype_policy)
        self.conv2 = layers.Conv2D(filters, kernel_size, padding="same", dtype=self.dtype_policy)

    def build(self, input_shape: tuple) -> None:
        """Creates the weights of both convolutions."""
        if input_shape[-1] != self.filters:
            raise ValueError(f"a ResBlock of {self.filters} filters needs as many channels, got {input_shape[-1]}")
        self.conv1.build(input_shape)
        self.conv2.build(input_shape)
        self.built = True

    def call(self, features: Tensor) -> Tensor:
        """Adds the two convolutions' output to ``features``."""
        return features + self.conv2(self.conv1(features))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "filters": self.filters, "kernel_size": self.kernel_size}


@register
class ScaleNetwork(layers.Layer):
    """The residual network of one scale: convolution, ``num_res_blocks`` ResBlocks, convolution to RGB.

    Shape: [N, H, W, C] -> [N, H, W, 3] float32, whatever the dtype policy computes in between. With
    ``space_to_depth=2`` height and width are even, and in between every 2x2 pixels are one pixel of 4 C channels.

    Args:
        num_res_blocks: number of ResBlocks, at least 1.
        filters: feature maps.
        kernel_size: odd side of every convolution.
        starts_at_zero: whether the untrained network gives zeros; a residual network then starts as the identity.
        space_to_depth: side of the blocks of pixels that become channels.
        **kwargs: ``name`` and ``dtype`` of ``keras.layers.Layer``.

    Attributes:
        radius: how far, in pixels of this scale, an output pixel sees.

    Raises:
        ValueError: naming the argument that is out of range.
    """

    def __init__(
        self,
        num_res_blocks: int,
        filters: int,
        kernel_size: int,
        starts_at_zero: bool = False,
        space_to_depth: int = 1,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        check_sizes(
            num_res_blocks=num_res_blocks, filters=filters, kernel_size=kernel_size, space_to_depth=space_to_depth
        )
        self.num_res_blocks = num_res_blocks
        self.filters = filters
        self.kernel_size = kernel_size
        self.starts_at_zero = starts_at_zero
        self.space_to_depth = space_to_depth
        policy = self.dtype_policy
        self.head = layers.Conv2D(filters, kernel_size, padding="same", dtype=policy)
        self.blocks = [ResBlock(filters, kernel_size, dtype=policy) for _ in range(num_res_blocks)]
        last_weights = "zeros" if starts_at_zero else "glorot_uniform"
        self.tail = layers.Conv2D(
            3 * space_to_depth**2, kernel_size, padding="same", kernel_initializer=last_weights, dtype="float32"
        )
        self.radius = space_to_depth * (kernel_size // 2) * (2 * num_res_blocks + 2)

    def build(self, input_shape: tuple) -> None:
        """Creates the weights of all convolutions."""
        features = (None, None, None, self.filters)
        self.head.build((None, None, None, input_shape[-1] * self.space_to_depth**2))
        for block in self.blocks:
            block.build(features)
        self.tail.build(features)
        self.built = True

    def call(self, images: Tensor, cut: Tensor | None = None) -> Tensor:
        """Restores one scale, or a tile of it.

        Args:
            images: float tensor [N, H, W, C]; H and W are multiples of ``space_to_depth``.
            cut: None for whole images; for tiles four integers, 1 where the top, bottom, left and right side lies
                inside the whole image, 0 where it is the whole image's border.

        Returns:
            [N, H, W, 3]; a side that is cut loses ``radius`` pixels. What is left equals the same part of the whole
            image's result: after every ResBlock the pixels are dropped that the zero padding of a cut side has reached,
            which costs half of what dropping all of them at the end would.
        """
        radius = self.kernel_size // 2
        if self.space_to_depth > 1:
            images = ops.space_to_depth(images, self.space_to_depth, data_format="channels_last")
        features = trim(self.head(images), radius, cut)
        for block in self.blocks:
            features = trim(block(features), 2 * radius, cut)
        restored = trim(self.tail(features), radius, cut)
        if self.space_to_depth > 1:
            restored = ops.depth_to_space(restored, self.space_to_depth, data_format="channels_last")
        return restored

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_res_blocks": self.num_res_blocks,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "starts_at_zero": self.starts_at_zero,
            "space_to_depth": self.space_to_depth,
        }


@register
class UpConv(layers.Layer):
    """Upconvolution between scales: convolution 3 -> 12, then depth to space.

    Shape: [N, H, W, 3] -> [N, 2H, 2W, 3] float32.

    Args:
        kernel_size: odd side of the convolution.
        **kwargs: ``name`` of ``keras.layers.Layer``; the layer computes in float32 whatever its ``dtype``.

    Raises:
        ValueError: if ``kernel_size`` is out of range.
    """

    def __init__(self, kernel_size: int, **kwargs):
        super().__init__(**kwargs)
        check_sizes(kernel_size=kernel_size)
        self.kernel_size = kernel_size
        self.conv = layers.Conv2D(12, kernel_size, padding="same", dtype="float32")

    def build(self, input_shape: tuple) -> None:
        """Creates the weights of the convolution."""
        self.conv.build(input_shape)
        self.built = True

    def call(self, images: Tensor, has_margin: bool = False) -> Tensor:
        """Doubles the resolution of an image.

        Args:
            images: float32 [N, H, W, 3].
            has_margin: whether images come with ``kernel_size // 2`` more pixels on every side, zeros beyond the border
                of the whole image; the result is that of the pixels within.
        """
        if has_margin:
            kernel, bias = self.conv.kernel, self.conv.bias
            features = ops.conv(images, kernel, padding="valid", data_format="channels_last") + bias
        else:
            features = self.conv(images)
        return ops.depth_to_space(features, 2, data_format="channels_last")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "kernel_size": self.kernel_size}


def trim(images: Tensor, margin: int, cut: Tensor | None) -> Tensor:
    """Takes ``margin`` pixels from the sides of [N, H, W, C] that are 1 in ``cut``: top, bottom, left, right."""
    if cut is None:
        return images
    height, width = ops.shape(images)[1:3]
    top, bottom, left, right = (margin * cut[side] for side in range(4))
    return images[:, top : height - bottom, left : width - right]


def check_images(images: Tensor) -> None:
    """Raises ValueError unless these are float images [N, H, W, 3], as far as is known: not pixels of 0 to 255."""
    dtype = keras.backend.standardize_dtype(images.dtype)
    if len(images.shape) != 4 or images.shape[-1] not in (3, None) or not keras.backend.is_float_dtype(dtype):
        raise ValueError(f"expected float images [N, H, W, 3] in [-0.5, 0.5], got {dtype} {list(images.shape)}")


def check_sizes(*, kernel_size: int, **counts: int) -> None:
    """Raises ValueError naming the first argument that is not a whole number of at least 1, or an even kernel size."""
    for name, value in {**counts, "kernel_size": kernel_size}.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"`{name}` must be an integer of at least 1, got {value!r}")
    if kernel_size % 2 == 0:
        raise ValueError(f"`kernel_size` must be odd, got {kernel_size}")
