"""Images to measure speed with: photographs that scikit-image carries in its wheel, in any size."""

import os
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.data import data_dir

from tf_deepdeblur.io.pixels import read_image, write_image
from tf_deepdeblur.synthesis.demo import TRAIN_PHOTOS


def photograph(height: int, width: int, number: int = 0) -> np.ndarray:
    """A photograph, enlarged or reduced to uint8 [height, width, 3]."""
    photo = Image.fromarray(read_image(Path(data_dir) / TRAIN_PHOTOS[number % len(TRAIN_PHOTOS)]))
    return np.asarray(photo.resize((width, height), Image.Resampling.BICUBIC))


def make_pairs(folder: str | os.PathLike, count: int = 24, height: int = 720, width: int = 1280) -> Path:
    """Writes plain pairs of GOPRO_Large's size: enlarged photographs with a camera's noise. Returns the folder."""
    for number in range(count):
        frame = np.float32(photograph(height, width, number))
        noise = np.random.default_rng(number).normal(0.0, 2.0, (2, height, width, 3))
        pair = np.clip(frame + noise, 0, 255).astype(np.uint8)
        for kind, image in zip(("blur", "sharp"), pair, strict=True):
            (Path(folder) / kind).mkdir(parents=True, exist_ok=True)
            write_image(Path(folder) / kind / f"{number:03d}.png", image)
    return Path(folder)
