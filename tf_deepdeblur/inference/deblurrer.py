"""From a trained model to a function on images."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.inference.exported import SavedModel, TFLite
from tf_deepdeblur.inference.exported_tiles import TFLiteTiles
from tf_deepdeblur.inference.precision import candidate_precisions, dtype_policy, trial_seconds
from tf_deepdeblur.inference.tiled_generator import NotFinite, TiledGenerator
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.models.saving import find_model, load_generator, with_dtype


class Deblurrer:
    """A callable: blurry image in, restored image of the same size and type out; any size from 1x1.

    One thread at a time may call it, and while one opens, what the process writes to stderr may be lost. Make one for
    each thread.

    Args:
        model: Generator, used with its own dtype policy and with the weights that it has at the time; or a function
            of (uint8 image [H, W, 3], progress) such as ``exported.SavedModel``.
        tile: of a generator, see ``TiledGenerator``.

    Raises:
        InputError: if ``tile`` is neither "auto", 0 nor at least 32 pixels.

    Attributes:
        num_scales: K of the network; None for an exported one that does not tell.
        precision: what the network computes in, "float32", "bfloat16", "float16" or "int8"; None for an exported one.
        trial: if ``load`` looked for the fastest precision, the seconds that each took for a picture; else None.
    """

    def __init__(self, model: Generator | SavedModel | TFLite | Callable, tile: int | str = "auto"):
        self._is_generator = isinstance(model, Generator)
        self.num_scales: int | None = getattr(model, "num_scales", None)
        self.precision = model.dtype_policy.name.removeprefix("mixed_") if self._is_generator else None
        self._restore = TiledGenerator(model, tile) if self._is_generator else model
        self.trial: dict[str, float] | None = None
        self._in_float32 = None  # a Deblurrer of its own, once an image has needed it
        self._in_16_bits = None  # a Deblurrer for uint16 images, if this one takes none and "fastest" found it

    @classmethod
    def load(
        cls,
        model: str | os.PathLike,
        tile: int | str = "auto",
        precision: str = "auto",
        make_int8: Callable[[Path], Path] | None = None,
    ) -> "Deblurrer":
        """Opens a trained model.

        Args:
            model: a training run's folder, a ``.keras`` file, a SavedModel folder, a ``.tflite`` file, a folder of
                exported tiles, the name of weights that come with the package, or ``hf://user/name`` on the hub (see
                ``models.hub``).
            tile: "auto", 0 (off) or the side of the tiles in pixels; of exported models only exported tiles are tiled.
            precision: "auto", "float32", "bfloat16", "float16" or a Keras policy, such as "mixed_bfloat16"; on a CPU
                also "int8" and "fastest", which tries all of them for a few seconds, int8 only if it keeps within the
                tolerance of an export. An exported model has its own.
            make_int8: needed for "int8" and "fastest": a function that returns the folder of the tiled int8 export of
                a ``.keras`` file, such as ``lambda path: export.cached_int8(path).folder``.

        Raises:
            InputError: naming the path that was searched, if there is no complete model; or if ``tile`` or
                ``precision`` cannot be had.
        """
        path = find_model(model)
        if path.suffix == ".keras":
            if precision == "fastest":
                return cls._load_fastest(path, tile, make_int8)
            if precision == "int8":
                deblurrer = cls(_open_int8(path, tile, make_int8))
                deblurrer.precision = "int8"
                return deblurrer
            return cls(load_generator(path, functools.partial(dtype_policy, precision)), tile)
        if (path / "scale_0.tflite").is_file():
            if precision != "auto":
                raise InputError(f"{path}: exported tiles have their own precision; leave it at auto")
            return cls(TFLiteTiles(path, tile))
        if precision != "auto" or tile not in ("auto", 0):
            raise InputError(f"{path}: an exported model has its own precision and no tiles; leave both at auto")
        return cls(TFLite(path) if path.suffix == ".tflite" else SavedModel(path))

    @classmethod
    def _load_fastest(cls, path, tile, make_int8) -> "Deblurrer":
        """The Deblurrer in the precision that a trial finds to be the fastest."""
        candidates = {}
        for name in candidate_precisions():
            try:
                candidates[name] = cls.load(path, tile, name, make_int8)
            except InputError as error:
                if name != "int8" or make_int8 is None:
                    raise
                logging.warning("int8 is left out: %s", error)  # it changes the pictures too much, or cannot be kept
        seconds = trial_seconds(candidates)
        fastest, *others = sorted(seconds, key=seconds.get)
        chosen = candidates[fastest]
        chosen.trial = seconds
        if fastest == "int8":
            chosen._in_16_bits = candidates[others[0]]
        return chosen

    def __call__(self, image: np.ndarray, progress: Callable[[float], object] | None = None) -> np.ndarray:
        """Restores one image.

        Args:
            image: uint8 [H, W, 3], or uint16 if the model is a generator.
            progress: None, or a function that is called now and then with the share of the work that is done, 0 to 1.

        Raises:
            ValueError: if ``image`` is not such an array.
            InputError: if memory does not suffice, the model gives values that are not finite even in float32, or it
                was exported for other images.
        """
        image = np.asarray(image)
        if image.dtype not in (np.uint8, np.uint16) or image.ndim != 3 or image.shape[-1] != 3 or image.size == 0:
            raise ValueError(f"expected a uint8 or uint16 image [H, W, 3], got {image.dtype} {list(image.shape)}")
        if image.dtype == np.uint16 and not self._is_generator:
            if self._in_16_bits:
                return self._in_16_bits(image, progress)
            if self.precision:
                raise InputError(f"{self.precision} restores 8 bits per channel, not 16; use another `precision`")
            raise InputError("an exported model restores 8 bits per channel, not 16; use a .keras file")
        try:
            return self._restore(image, progress)
        except NotFinite as error:
            generator = self._restore.generator
            policy = generator.dtype_policy.name
            if policy == "float32":
                reason = "the weights are damaged or their training diverged"
                raise InputError(f"{error} even in float32: {reason}") from error
            logging.warning("%s in %s; the image is restored again in float32", error, policy)
        # Values overflowed in 16 bits: once more, with the weights that the generator has now.
        if self._in_float32 is None:
            self._in_float32 = Deblurrer(with_dtype(generator, "float32"), self._restore.tile)
        self._in_float32._restore.generator.set_weights(generator.get_weights())
        return self._in_float32(image, progress)


def _open_int8(path, tile, make_int8):
    if tf.config.list_physical_devices("GPU"):
        raise InputError("`precision=int8` is computed by the CPU, which is slower than this GPU; use auto")
    if make_int8 is None:
        raise InputError("`precision=int8` needs `make_int8`, a function that makes the int8 export")
    return TFLiteTiles(make_int8(path), tile)
