"""From a trained generator to a function on images."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_deepdeblur.images import crop, pad_to_multiple, to_float, to_uint8
from tf_deepdeblur.models.generator import load_generator
from tf_deepdeblur.pyramid import gaussian_pyramid, smallest_side


class Deblurrer:
    """A callable: blurry uint8 [H, W, 3] image in, restored uint8 image of the same size out; any size from 1x1.

    Args:
        generator: Generator.
    """

    def __init__(self, generator):
        self.generator = generator
        images = tf.TensorSpec([None, None, None, 3], tf.uint8)
        self._restore = tf.function(self._restore_batch, input_signature=[images])

    @classmethod
    def load(cls, model):
        """Opens a ``.keras`` file, or the ``generator.keras`` of a training run's folder.

        Raises:
            InputError: naming the path that was searched, if there is no complete generator.
        """
        path = Path(model).expanduser()
        return cls(load_generator(path / "generator.keras" if path.is_dir() else path))

    def __call__(self, image):
        """Restores one image.

        Raises:
            ValueError: if ``image`` is not uint8 [H, W, 3].
        """
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or image.size == 0:
            raise ValueError(f"expected a uint8 image [H, W, 3], got {image.dtype} {list(image.shape)}")
        return self._restore(image[None]).numpy()[0]

    def _restore_batch(self, images):
        scales = self.generator.num_scales
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        padded = pad_to_multiple(images, 2 ** (scales - 1), smallest_side(scales))
        restored = self.generator(gaussian_pyramid(to_float(padded), scales))[0]
        return to_uint8(crop(restored, height, width))
