"""Exported models as functions on images: SavedModel folders and .tflite files.

What an export promises: a SavedModel's ``__call__`` takes uint8 [N, H, W, 3] of any size from 1x1 and returns the same;
the signature ``serving_default`` of a .tflite file takes ``image``, uint8 [1, H, W, 3] of any size or of one fixed
size, and returns ``restored``. Both compute the whole image at once, in the precision that they were exported in.
"""

import math

import numpy as np
import tensorflow as tf

from tf_deepdeblur import runtime
from tf_deepdeblur.errors import InputError

_MAPS = 4  # float32 feature maps that an exported network holds at a time, with some reserve
_FILTERS = 64  # where the file does not tell
_SIGNATURE = "serving_default"
_REMEDY = "use the .keras file it was exported from, which works in tiles"


class SavedModel:
    """A callable: blurry uint8 image [H, W, 3] in, restored image of the same size out.

    Args:
        folder: holds ``saved_model.pb``.

    Raises:
        InputError: naming the folder, if it is damaged or not an export of this package.
    """

    def __init__(self, folder):
        self._path = folder
        try:
            self._model = tf.saved_model.load(str(folder))
        except Exception as error:  # what a damaged export raises depends on where it is damaged
            raise _unusable(folder, "its files are damaged, incomplete or of another kind") from error
        if not callable(self._model):
            raise _unusable(folder, "it has no __call__")
        signature = self._model.signatures.get(_SIGNATURE)
        if signature is not None and "restored" in signature.structured_outputs:
            # Our exports trace their callable again for every image size, which takes time and memory.
            self._restore = lambda image: signature(image=image)["restored"]
        else:
            self._restore = self._model
        functions = getattr(self._model.__call__, "concrete_functions", [])
        kernels = [variable.shape for function in functions for variable in function.variables]
        self._filters = max((shape[-1] for shape in kernels if shape.rank == 4), default=_FILTERS)

    def __call__(self, image, progress=None):
        """Restores one image; ``progress`` is called once, at the end.

        Raises:
            InputError: naming the folder, if the image is too large for the free memory or the model does not take it.
        """
        require_memory(self._path, image.shape[:2], self._filters, _REMEDY)
        try:
            restored = self._restore(tf.constant(image[None])).numpy()[0]
        except tf.errors.ResourceExhaustedError as error:
            raise InputError(f"{self._path}: memory does not suffice; {_REMEDY}") from error
        except (TypeError, ValueError, AttributeError, tf.errors.OpError) as error:
            raise _unusable(self._path, _first_line(error)) from error
        return _checked(self._path, restored, image, progress)


class TFLite:
    """A callable: blurry uint8 image [H, W, 3] in, restored image of the same size out.

    Args:
        path: a .tflite file.

    Raises:
        InputError: naming the file, if it is damaged or not an export of this package.
    """

    def __init__(self, path):
        self._path = path
        try:
            self._interpreter = runtime.open_interpreter(path)
            self._run = self._interpreter.get_signature_runner(_SIGNATURE)
            inputs, outputs = self._run.get_input_details(), self._run.get_output_details()
        except (ValueError, RuntimeError) as error:
            raise _unusable(path, _first_line(error)) from error
        if set(inputs) != {"image"} or set(outputs) != {"restored"} or inputs["image"]["dtype"] != np.uint8:
            raise _unusable(path, f"it takes {', '.join(inputs)} and gives {', '.join(outputs)}")
        height, width = (int(side) for side in inputs["image"]["shape_signature"][1:3])
        self._fixed_size = None if -1 in (height, width) else (height, width)
        shapes = [tensor["shape"] for tensor in self._interpreter.get_tensor_details()]
        self._filters = int(max((shape[-1] for shape in shapes if len(shape) == 4), default=_FILTERS))

    def __call__(self, image, progress=None):
        """Restores one image; ``progress`` is called once, at the end.

        Raises:
            InputError: naming the file, if it has another fixed size or the image is too large for the free memory.
        """
        if self._fixed_size not in (None, image.shape[:2]):
            sizes = [f"{width}x{height}" for height, width in (self._fixed_size, image.shape[:2])]
            raise InputError(f"{self._path}: takes {sizes[0]} images only, not {sizes[1]}; export it without a size")
        require_memory(self._path, image.shape[:2], self._filters, _REMEDY)
        try:
            restored = self._run(image=image[None])["restored"][0]
        except (ValueError, RuntimeError) as error:
            raise _unusable(self._path, _first_line(error)) from error
        return _checked(self._path, restored, image, progress)


def require_memory(name, size, filters, remedy):
    """The operating system kills a program that takes too much; an error before is kinder.

    Args:
        name: what needs the memory, for the message.
        size: (height, width) of an image that is restored at once, untiled.
        filters: feature maps of the network.
        remedy: what to do instead, for the message.

    Raises:
        InputError: if several feature maps of the image do not fit into the free memory.
    """
    needed, free = math.prod(size) * filters * 4 * _MAPS, runtime.free_memory()
    if free is not None and needed > free:
        raise InputError(
            f"{name}: needs some {needed / 2**30:.1f} GiB for {size[1]}x{size[0]} pixels, {free / 2**30:.1f} GiB are "
            f"free; {remedy}"
        )


def _checked(path, restored, image, progress):
    if restored.shape != image.shape or restored.dtype != np.uint8:
        raise _unusable(path, f"it returns {restored.dtype} {list(restored.shape)} for uint8 {list(image.shape)}")
    if progress:
        progress(1.0)
    return restored


def _unusable(path, reason):
    return InputError(f"{path}: not an exported deblurring model ({reason}); export it again with tools/export.py")


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0]
