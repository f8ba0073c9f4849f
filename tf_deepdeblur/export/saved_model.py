"""SavedModel: needs TensorFlow alone, neither Keras nor tf_deepdeblur.

    restore = tf.saved_model.load("saved_model").signatures["serving_default"]
    restored = restore(image=tf.constant(image))["restored"]    # uint8 [N, H, W, 3], any size from 1x1

The signatures are what model servers call, too: ``serving_default`` takes ``image`` and returns ``restored``;
``serving_bytes`` takes ``image_bytes``, PNG or JPEG files, and returns ``restored_bytes``, PNG files. (TensorFlow
Serving exchanges the tensors whose names end in ``_bytes`` as base64.)

``tf.saved_model.load("saved_model")(image)`` is the short form for a few images: it takes NumPy arrays, too, but
TensorFlow traces it again for each new image size, which takes time and memory. The signatures are traced once.
"""

import functools
import json
import os
from pathlib import Path

import tensorflow as tf

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.atomic import atomic_folder
from tf_deepdeblur.io.checksum import sha256
from tf_deepdeblur.io.pixels import to_float, to_uint8
from tf_deepdeblur.models.generator import Generator

_IMAGES = tf.TensorSpec([None, None, None, 3], tf.uint8, name="image")
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_REFUSED = (*_FLOATS, "bool", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64")
_MAGICS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # the first bytes of a JPEG and of a PNG file
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


class DeblurModule(tf.Module):
    """The functions that are saved, with a copy of a generator's weights.

    Args:
        generator: float32 Generator.
    """

    def __init__(self, generator: Generator):
        super().__init__(name="deblur")
        self._weights = [tf.Variable(value, trainable=False) for value in generator.get_weights()]
        self._network = generator.with_weights(self._weights)
        # ``__call__`` has no input signature, because a loaded function that has one converts NumPy floats to uint8
        # silently. Instead there is a trace for every dtype, all but one of which refuse.
        for dtype in ("uint8", *_REFUSED):
            spec = tf.TensorSpec(None, dtype, name="image")
            self.__call__.get_concrete_function(spec)
            self.__call__.get_concrete_function(image=spec)

    # Any arguments: when a call does not fit the declared ones, TensorFlow raises while it holds the function's lock,
    # and later calls from other threads never return.
    @tf.function(autograph=False)
    def __call__(self, *args: tf.Tensor, **kwargs: tf.Tensor) -> tf.Tensor:
        """Takes ``image``, uint8 [N, H, W, 3] of any size; the result has the same shape."""
        (image,) = (*args, *kwargs.values())
        if image.dtype != tf.uint8:
            message = f"`image` must be uint8 [N, H, W, 3], values 0 to 255, got {image.dtype.name}"
            with tf.control_dependencies([tf.debugging.Assert(False, [message])]):
                return tf.zeros([0, 0, 0, 3], tf.uint8)
        return self.serving_default(tf.ensure_shape(image, _IMAGES.shape))["restored"]

    @tf.function(input_signature=[_IMAGES], autograph=False)
    def serving_default(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Restores uint8 images [N, H, W, 3] of any size; "restored" has the same shape."""
        image = tf.ensure_shape(image, _IMAGES.shape)  # signatures do not check it
        message = "`image` must be uint8 [N, H, W, 3] with N, H and W from 1, got"
        is_not_empty = tf.debugging.Assert(tf.size(image) > 0, [message, tf.shape(image)], summarize=4)
        with tf.control_dependencies([is_not_empty]):
            image = tf.identity(image)
        return {"restored": to_uint8(self._network(to_float(image)))}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.string, name="image_bytes")], autograph=False)
    def serving_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """PNG or JPEG files, a string tensor of any shape -> PNG files of the same shape; sizes may differ.

        Pixels are decoded as Pillow does it; the orientation that a camera noted in EXIF is not applied.
        """
        files = tf.reshape(image_bytes, [-1])
        numbered = (tf.range(tf.size(files)), files)
        restored = tf.map_fn(self._restore_file, numbered, fn_output_signature=tf.string, parallel_iterations=1)
        return {"restored_bytes": tf.reshape(restored, tf.shape(image_bytes))}

    def _restore_file(self, numbered):
        number, content = numbered
        # This data set of one file is empty if the file is neither PNG nor JPEG (decode_jpeg takes GIF, too) or cannot
        # be decoded. An error of decode_jpeg itself would not tell which file of the batch it is about.
        is_known = [tf.strings.substr(content, 0, len(magic)) == magic for magic in _MAGICS]
        decoded = tf.data.Dataset.from_tensors(content).filter(lambda _: tf.reduce_any(is_known))
        decode = functools.partial(tf.io.decode_jpeg, channels=3, dct_method="INTEGER_ACCURATE")  # PNG as well
        decoded = decoded.map(decode).ignore_errors()
        image = decoded.reduce(tf.zeros([0, 0, 3], tf.uint8), lambda _, image: image)
        message = tf.strings.format("`image_bytes`[{}] is not a complete PNG or JPEG file", number)
        with tf.control_dependencies([tf.debugging.Assert(tf.size(image) > 0, [message])]):
            return tf.io.encode_png(self.serving_default(image[None])["restored"][0])


def export_saved_model(generator: Generator, folder: str | os.PathLike, metadata: dict) -> None:
    """Saves a generator as a SavedModel with ``model.json``; the folder is replaced atomically.

    Args:
        generator: float32 Generator.
        folder: the folder to write. A SavedModel that exists there is replaced, anything else is not.
        metadata: result of ``bundle.metadata``. ``model.json`` adds "format", "interface" and "sha256", that of every
            other file in the folder.

    Raises:
        InputError: naming the folder, if it holds something else.
        OSError: if the folder cannot be written.
    """
    folder = Path(folder)
    require_replaceable(folder)
    module = DeblurModule(generator)
    signatures = {"serving_default": module.serving_default, "serving_bytes": module.serving_bytes}
    with atomic_folder(folder) as part:
        try:
            tf.saved_model.save(module, part, signatures=signatures)
        except tf.errors.OpError as error:  # as TensorFlow's own file system layer reports a full disk
            raise OSError(error.message) from error
        digests = {str(file.relative_to(part)): sha256(file) for file in sorted(part.rglob("*")) if file.is_file()}
        details = {**metadata, "format": "SavedModel", "interface": _INTERFACE, "sha256": digests}
        (part / "model.json").write_text(json.dumps(details, indent=2, allow_nan=False) + "\n")


def require_replaceable(folder: Path) -> None:
    """Raises InputError naming the folder, if it exists and is not a SavedModel that may be replaced."""
    if not folder.exists() or (folder / "saved_model.pb").is_file():
        return
    if any((version / "saved_model.pb").is_file() for version in folder.glob("[0-9]*")):
        raise InputError(f"{folder}: holds versions for TensorFlow Serving; give `serving_version` too")
    raise InputError(f"{folder}: exists but is not a SavedModel; remove it or use another `output_dir`")
