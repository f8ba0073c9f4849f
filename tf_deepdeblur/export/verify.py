"""Exported files against the Keras model they were made from, on real pictures: pixels, PSNR, size and speed.

A SavedModel is called through its signature, a ``.tflite`` file through LiteRT, as an application would; tiles need
this package's way through an image. A difference beyond the tolerance of its kind is a failed verification.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_deepdeblur.export.pictures import Picture
from tf_deepdeblur.inference.deblurrer import Deblurrer
from tf_deepdeblur.inference.exported import open_interpreter
from tf_deepdeblur.io.checksum import sha256
from tf_deepdeblur.metrics import psnr
from tf_deepdeblur.models.generator import Generator

Restore = Callable[[np.ndarray], np.ndarray]  # uint8 [H, W, 3] -> uint8 [H, W, 3]

_SMALL_TILE = 64  # pixels; the pictures to verify on have some 200
_TIMING_SECONDS = 5.0
_TIMING_REPEATS = 5


class Tolerance(NamedTuple):
    """The most that a file may differ: in grey levels over all pixels, and in dB against the sharp pictures."""

    max_difference: int
    mean_difference: float
    psnr_lost: float


TOLERANCES = {
    "saved_model": Tolerance(1, 0.001, 0.001),  # the same graph; another rounding where a device fuses differently
    "none": Tolerance(2, 0.05, 0.005),  # LiteRT sums in another order
    "float16": Tolerance(8, 0.25, 0.01),
    "dynamic": Tolerance(32, 0.75, 0.1),
    "int8": Tolerance(48, 2.0, 0.2),  # 2 levels cost 0.2 dB of the 29 dB that the paper reaches
}


class Verifier:
    """Compares exported files with one generator.

    Args:
        generator: float32 Generator.
        pictures: the pictures to compare on.
        photograph: uint8 [H, W, 3] image to measure speed with.
    """

    def __init__(self, generator: Generator, pictures: Sequence[Picture], photograph: np.ndarray):
        self._pictures = pictures
        self._photograph = photograph
        self._restore = Deblurrer(generator)
        self._expected = [self._restore(picture.blurry) for picture in pictures]

    def reference_row(self) -> dict:
        """Returns the row of the Keras model itself, which the others are to be read against."""
        return {"variant": "keras float32", **self._measure(self._restore)}

    def precision_row(self, generator: Generator) -> dict:
        """Returns the row of the same network in another precision; it has no tolerance."""
        return {"variant": f"keras {generator.dtype_policy.name}", **self._measure(Deblurrer(generator))}

    def file_row(self, variant: str, path: str | os.PathLike) -> dict:
        """Verifies one exported file or folder.

        Args:
            variant: a key of TOLERANCES.
            path: the SavedModel's folder or the ``.tflite`` file.

        Returns:
            A dict for JSON: "variant", "file", "sha256" (of a folder: of the contents of all its files), "megabytes",
            "max_difference" and "mean_difference" (grey levels), "psnr_between" (dB; null if all pixels are equal),
            "psnr" and "psnr_lost" (dB against the sharp pictures; null without any), "seconds_per_megapixel",
            "tolerance" and "failures": what is beyond it, in words.
        """
        restore = open_saved_model(path) if variant == "saved_model" else open_tflite(path)
        return self._row(variant, variant, path, self._measure(restore))

    def tiles_row(self, quantize: str, folder: str | os.PathLike) -> dict:
        """Verifies exported tiles: ``file_row`` with the tolerance of ``quantize``, in tiles small enough to need many.

        Speed is measured in tiles of the side that the export suggests.
        """
        small, suggested = (Deblurrer.load(folder, tile) for tile in (_SMALL_TILE, "auto"))
        return self._row(f"tiles {quantize}", quantize, folder, self._measure(small, timed=suggested))

    def _row(self, variant, kind, path, measured):
        path = Path(path)
        files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
        row = {
            "variant": variant,
            "file": str(path),
            "sha256": sha256(path),
            "megabytes": sum(file.stat().st_size for file in files) / 1e6,
            **measured,
        }
        tolerance = TOLERANCES[kind]._asdict()
        failures = [
            f"{name} {row[name]:.4g} is above {most}"
            for name, most in tolerance.items()
            if row[name] is not None and row[name] > most
        ]
        return {**row, "tolerance": tolerance, "failures": failures}

    def _measure(self, restore, timed=None):
        """Differences from the expected pixels, PSNR against the sharp pictures, and speed."""
        restored = [restore(picture.blurry) for picture in self._pictures]
        differences = np.concatenate(
            [np.abs(a.astype(np.int16) - b).ravel() for a, b in zip(self._expected, restored, strict=True)]
        ).astype(np.float64)
        squares = float(np.mean(differences**2))

        scores = [  # PSNR after and before the export, of the pictures that have a sharp partner
            [float(psnr(image[None], picture.sharp[None])[0]) for image in (after, before)]
            for picture, before, after in zip(self._pictures, self._expected, restored, strict=True)
            if picture.sharp is not None
        ]
        after, before = np.mean(scores, axis=0).tolist() if scores else (math.nan, math.nan)
        lost = before - after

        height, width = self._photograph.shape[:2]
        return {
            "max_difference": int(differences.max()),
            "mean_difference": float(differences.mean()),
            "psnr_between": 10 * math.log10(255**2 / squares) if squares else None,
            # JSON has no infinity, which is the PSNR of equal images.
            "psnr": after if math.isfinite(after) else None,
            "psnr_lost": lost if math.isfinite(lost) else None,
            "seconds_per_megapixel": shortest_seconds(timed or restore, self._photograph) / (height * width / 1e6),
        }


def open_saved_model(folder: str | os.PathLike) -> Restore:
    """Opens a SavedModel as a function of one image, its signature."""
    restore = tf.saved_model.load(str(folder)).signatures["serving_default"]
    return lambda image: restore(image=tf.constant(image[None]))["restored"].numpy()[0]


def open_tflite(path: str | os.PathLike) -> Restore:
    """Opens a ``.tflite`` file as a function of one image, its signature run by LiteRT on all cores."""
    restore = open_interpreter(path).get_signature_runner("serving_default")
    return lambda image: restore(image=image[None])["restored"][0]


def shortest_seconds(restore: Restore, image: np.ndarray) -> float:
    """Returns the seconds of the fastest of several runs, after one that is not counted: it may compile."""
    restore(image)
    times = []
    while not times or (sum(times) < _TIMING_SECONDS and len(times) < _TIMING_REPEATS):
        start = time.perf_counter()
        restore(image)
        times.append(time.perf_counter() - start)
    return min(times)
