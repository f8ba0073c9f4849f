"""A SavedModel that needs nothing but TensorFlow: no Keras, no tf_deepdeblur.

    restored = tf.saved_model.load("saved_model")(image)    # uint8 [N, H, W, 3] -> the same shape, any size from 1x1

Its signatures are for model servers: ``serving_default`` takes ``image`` and returns ``restored``;
``serving_bytes`` takes ``image_bytes``, PNG or JPEG files, and returns ``restored_bytes``, PNG files. (TensorFlow
Serving exchanges the tensors whose names end in ``_bytes`` as base64.)
"""

from pathlib import Path

import tensorflow as tf

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.export import files, graph


class DeblurModule(tf.Module):
    """The typed functions that are saved, with a copy of a generator's weights.

    Args:
        generator: float32 Generator.
    """

    def __init__(self, generator):
        super().__init__(name="deblur")
        self._weights = [tf.Variable(value, trainable=False) for value in generator.get_weights()]
        self._network = graph.bind(generator, self._weights)
        self._num_scales = generator.num_scales

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="image")])
    def __call__(self, image):
        """Restores uint8 images [N, H, W, 3] of any size; the result has the same shape."""
        return graph.restore(image, self._network, self._num_scales)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="image")])
    def serving_default(self, image):
        """``__call__`` with named outputs."""
        return {"restored": self(image)}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.string, name="image_bytes")])
    def serving_bytes(self, image_bytes):
        """PNG or JPEG files, a string tensor of any shape -> PNG files of the same shape; sizes may differ.

        Pixels are decoded as Pillow does it; the orientation that a camera noted in EXIF is not applied.
        """
        restored = tf.map_fn(self._restore_file, tf.reshape(image_bytes, [-1]), parallel_iterations=1)
        return {"restored_bytes": tf.reshape(restored, tf.shape(image_bytes))}

    def _restore_file(self, content):
        image = tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")  # this op decodes PNG as well
        return tf.io.encode_png(self(image[None])[0])


def export_saved_model(generator, folder, facts):
    """Saves a generator as a SavedModel with ``model.json``; the folder appears whole or not at all.

    Args:
        generator: float32 Generator.
        folder: the folder to write. A SavedModel that is there is replaced, anything else is not.
        facts: result of ``facts.describe``.

    Raises:
        InputError: naming the folder, if it cannot be written or holds something else.
    """
    folder = Path(folder)
    require_replaceable(folder)
    module = DeblurModule(generator)
    signatures = {"serving_default": module.serving_default, "serving_bytes": module.serving_bytes}

    def write(part):
        tf.saved_model.save(module, part, signatures=signatures)
        files.write_file(part / "model.json", {**facts, "format": "SavedModel", "interface": _INTERFACE})

    files.write_folder(folder, write)


def require_replaceable(folder):
    """Raises InputError naming the folder, if it is there and is not a SavedModel that may be replaced."""
    if not folder.exists() or (folder / "saved_model.pb").is_file():
        return
    if any((version / "saved_model.pb").is_file() for version in folder.glob("[0-9]*")):
        raise InputError(f"{folder}: holds versions for TensorFlow Serving; give --serving_version too")
    raise InputError(f"{folder}: is there and is no SavedModel; remove it or choose another --output_dir")


_INTERFACE = {
    "serving_default": {
        "image": "uint8 [N, H, W, 3], RGB, any N, H and W from 1",
        "restored": "uint8 [N, H, W, 3]",
    },
    "serving_bytes": {
        "image_bytes": "string, PNG or JPEG files, any shape",
        "restored_bytes": "string, PNG files, the same shape",
    },
}
