"""The building blocks of the generator (section 3.1, Figures 3 and 4).

Every convolution is zero padded, keeps the resolution and starts from Glorot (Xavier) weights, as the authors advise.
"""

import keras
from keras import layers, ops


class ResBlock(layers.Layer):
    """Convolution, ReLU, convolution, plus the identity: no normalisation, no ReLU after the sum (Figure 3b).

    Shape: [N, H, W, filters] -> the same.
    """

    def __init__(self, filters, kernel_size, **kwargs):
        super().__init__(**kwargs)
        self.conv1 = layers.Conv2D(filters, kernel_size, padding="same", activation="relu", dtype=self.dtype_policy)
        self.conv2 = layers.Conv2D(filters, kernel_size, padding="same", dtype=self.dtype_policy)

    def build(self, input_shape):
        """Creates the weights of both convolutions."""
        self.conv1.build(input_shape)
        self.conv2.build(input_shape)
        self.built = True

    def call(self, features):
        """Adds the two convolutions' output to ``features``."""
        return features + self.conv2(self.conv1(features))


class ScaleNetwork(layers.Layer):
    """The residual network of one scale: convolution, ``num_res_blocks`` ResBlocks, convolution to RGB.

    Shape: [N, H, W, C] -> [N, H, W, 3] float32, whatever the dtype policy computes in between.
    ``radius`` is how far, in pixels of this scale, an output pixel sees. ``starts_at_zero`` makes an untrained network
    give zeros.
    """

    def __init__(self, num_res_blocks, filters, kernel_size, starts_at_zero=False, **kwargs):
        super().__init__(autocast=False, **kwargs)
        policy = self.dtype_policy
        self.head = layers.Conv2D(filters, kernel_size, padding="same", dtype=policy)
        self.blocks = [ResBlock(filters, kernel_size, dtype=policy) for _ in range(num_res_blocks)]
        last_weights = "zeros" if starts_at_zero else "glorot_uniform"
        self.tail = layers.Conv2D(3, kernel_size, padding="same", kernel_initializer=last_weights, dtype="float32")
        self.radius = (kernel_size // 2) * (2 * num_res_blocks + 2)

    def build(self, input_shape):
        """Creates the weights of all convolutions."""
        features = (*input_shape[:-1], self.head.filters)
        self.head.build(input_shape)
        for block in self.blocks:
            block.build(features)
        self.tail.build(features)
        self.built = True

    def call(self, images):
        """Restores one scale."""
        features = self.head(images)
        for block in self.blocks:
            features = block(features)
        return self.tail(features)


class UpConv(layers.Layer):
    """Upconvolution between scales: convolution 3 -> 12, then depth to space.

    Shape: [N, H, W, 3] -> [N, 2H, 2W, 3] float32.
    """

    def __init__(self, kernel_size, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(12, kernel_size, padding="same", dtype="float32")

    def build(self, input_shape):
        """Creates the weights of the convolution."""
        self.conv.build(input_shape)
        self.built = True

    def call(self, images):
        """Doubles the resolution of an image."""
        return ops.depth_to_space(self.conv(images), 2, data_format="channels_last")


def require_at_least(minimum, **arguments):
    """Raises ValueError naming the first argument that is not a whole number of at least ``minimum``."""
    for name, value in arguments.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise ValueError(f"{name} must be a whole number of at least {minimum}, got {value!r}")


register = keras.saving.register_keras_serializable(package="tf_deepdeblur")
