"""Exported files against the Keras model they were made from, on real pictures: pixels, PSNR, size and speed.

Every file is opened as an application would open it, without this package's inference code. A difference beyond the
tolerance of its kind is a failed verification.
"""

import math
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_deepdeblur.inference.deblurrer import Deblurrer
from tf_deepdeblur.metrics import psnr
from tf_deepdeblur.runtime import open_interpreter

_TIMING_SECONDS = 5.0
_TIMING_REPEATS = 5


class Tolerance(NamedTuple):
    """The most that a file may differ: in grey levels over all pixels, and in dB against the sharp pictures."""

    max_difference: int
    mean_difference: float
    psnr_lost: float


TOLERANCES = {
    "saved_model": Tolerance(1, 0.001, 0.001),
    "none": Tolerance(2, 0.05, 0.005),
    "float16": Tolerance(8, 0.25, 0.01),
    "dynamic": Tolerance(32, 0.75, 0.1),
    "int8": Tolerance(48, 2.0, 0.2),  # 2 levels cost 0.2 dB of the 29 dB that the paper reaches
}


class Verifier:
    """Compares exported files with one generator.

    Args:
        generator: float32 Generator.
        pictures: list of ``pictures.Picture``.
        photograph: uint8 [H, W, 3] image to measure speed with.
    """

    def __init__(self, generator, pictures, photograph):
        self._pictures = pictures
        self._photograph = photograph
        self._restore = Deblurrer(generator)
        self._expected = [self._restore(picture.blurry) for picture in pictures]

    def reference_row(self):
        """The row of the Keras model itself, which the others are to be read against."""
        return {"variant": "keras float32", **self._measure(self._restore)}

    def precision_row(self, generator):
        """The row of the same network in another precision; it has no tolerance."""
        return {"variant": f"keras {generator.dtype_policy.name}", **self._measure(Deblurrer(generator))}

    def file_row(self, variant, path):
        """Verifies one exported file or folder.

        Args:
            variant: a key of TOLERANCES.
            path: the SavedModel's folder or the ``.tflite`` file.

        Returns:
            A dict for JSON: "variant", "file", "megabytes", "max_difference" and "mean_difference" (grey levels),
            "psnr_between" (dB; null if all pixels are equal), "psnr" and "psnr_lost" (dB against the sharp pictures;
            null without any), "seconds_per_megapixel", "tolerance" and "failures": what is beyond it, in words.
        """
        restore = open_saved_model(path) if variant == "saved_model" else open_tflite(path)
        row = {"variant": variant, "file": str(path), "megabytes": _megabytes(Path(path)), **self._measure(restore)}
        tolerance = TOLERANCES[variant]._asdict()
        failures = [
            f"{name} {row[name]:.4g} is above {most}" for name, most in tolerance.items() if _above(row, name, most)
        ]
        return {**row, "tolerance": tolerance, "failures": failures}

    def _measure(self, restore):
        restored = [restore(picture.blurry) for picture in self._pictures]
        seconds = _seconds(restore, self._photograph)
        height, width = self._photograph.shape[:2]
        return {
            **_differences(self._expected, restored),
            **_losses([picture.sharp for picture in self._pictures], self._expected, restored),
            "seconds_per_megapixel": seconds / (height * width / 1e6),
        }


def open_saved_model(folder):
    """A SavedModel as a function of one uint8 [H, W, 3] image, by nothing but TensorFlow."""
    restore = tf.saved_model.load(str(folder))
    return lambda image: restore(image[None]).numpy()[0]


def open_tflite(path):
    """A ``.tflite`` file as a function of one uint8 [H, W, 3] image, by nothing but LiteRT."""
    restore = open_interpreter(path).get_signature_runner("serving_default")
    return lambda image: restore(image=image[None])["restored"][0]


def _differences(expected, restored):
    """Grey levels over all pixels of all pictures, and the PSNR between them."""
    differences = [np.abs(a.astype(np.int16) - b) for a, b in zip(expected, restored, strict=True)]
    pixels = np.concatenate([difference.ravel() for difference in differences]).astype(np.float64)
    squares = float(np.mean(pixels**2))
    return {
        "max_difference": int(pixels.max()),
        "mean_difference": float(pixels.mean()),
        "psnr_between": 10 * math.log10(255**2 / squares) if squares else None,
    }


def _losses(sharp, expected, restored):
    """PSNR against the sharp pictures, the mean over those that have one, and what it lost against ``expected``."""
    rows = [
        (_psnr(after, target), _psnr(before, target))
        for target, before, after in zip(sharp, expected, restored, strict=True)
        if target is not None
    ]
    if not rows:
        return {"psnr": None, "psnr_lost": None}
    after, before = np.mean(rows, axis=0)
    return {"psnr": _finite(after), "psnr_lost": _finite(before - after)}


def _psnr(image, target):
    return float(psnr(image[None], target[None])[0])


def _finite(value):
    """JSON has no infinity, which is the PSNR of equal images."""
    return float(value) if math.isfinite(value) else None


def _above(row, name, most):
    return row[name] is not None and row[name] > most


def _seconds(restore, image):
    """The shortest of several runs, after one that is not counted."""
    restore(image)
    times = []
    while not times or (sum(times) < _TIMING_SECONDS and len(times) < _TIMING_REPEATS):
        start = time.perf_counter()
        restore(image)
        times.append(time.perf_counter() - start)
    return min(times)


def _megabytes(path):
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6
