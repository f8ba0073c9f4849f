"""The embedded data set: camera shake on the photographs that scikit-image carries in its wheel; no download."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.data import data_dir as PHOTOGRAPHS
from tqdm import tqdm

from tf_deepdeblur.io.pixels import read_image, write_image
from tf_deepdeblur.synthesis.camera_shake import Shake, shake_photo
from tf_deepdeblur.synthesis.exposure import blur_pair

TRAIN_PHOTOS = (
    "chelsea.png",
    "motorcycle_left.png",
    "brick.png",
    "camera.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "rocket.jpg",
)
HELD_OUT_PHOTOS = ("astronaut.png", "coffee.png")
_NUM_FRAMES = 11
_TAKES = {"train": 5, "test": 3}  # shakes of every photograph
_PIXELS = (3.0, 9.0)  # shortest and longest camera path


def make_demo_dataset(folder, seed=0):
    """Writes the embedded data set as plain pairs, ``folder/{train,test}/{blur,sharp}/*.png``, if it is not there.

    Every photograph is shaken several times. In half of ``train`` an object cut from another photograph moves on its
    own. The photographs of ``test`` are not in ``train``. The same seed gives the same pixels. The folder appears whole
    or not at all.

    Returns:
        The folder, as a Path.
    """
    folder = Path(folder)
    if folder.exists():
        return folder
    part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.part-", dir=_made(folder.parent)))
    part.chmod(0o755)
    try:
        for number, (split, name, take) in enumerate(tqdm(_tasks(), desc="make the demo data set", unit="pair")):
            pair = _shaken_pair(name, _moving_photo(split, name, take), np.random.default_rng([seed, number]))
            _write_pair(part / split, f"{Path(name).stem}_{take}.png", pair)
        if not folder.exists():  # several workers may make it at the same time, from the same seed
            part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _tasks():
    """All (split, photograph, number of its shake)."""
    photos = {"train": TRAIN_PHOTOS, "test": HELD_OUT_PHOTOS}
    return [(split, name, take) for split in photos for name in photos[split] for take in range(_TAKES[split])]


def _moving_photo(split, name, take):
    """The photograph that a moving object is cut from, or None: every other time while training."""
    following = (TRAIN_PHOTOS * 2)[TRAIN_PHOTOS.index(name) + 1] if split == "train" else None
    return following if take % 2 else None


def photograph(height, width, number=0):
    """An embedded photograph, enlarged or reduced to uint8 [height, width, 3], to measure speed with."""
    photo = Image.fromarray(read_image(Path(PHOTOGRAPHS) / TRAIN_PHOTOS[number % len(TRAIN_PHOTOS)]))
    return np.asarray(photo.resize((width, height), Image.Resampling.BICUBIC))


def make_frames(folder, count=24, height=720, width=1280):
    """Writes plain pairs of GOPRO_Large's size to measure speed with: enlarged photographs with a camera's noise.

    Returns:
        The folder, as a Path.
    """
    for number in range(count):
        frame = np.float32(photograph(height, width, number))
        noise = np.random.default_rng(number).normal(0.0, 2.0, (2, height, width, 3))
        pair = np.clip(frame + noise, 0, 255).astype(np.uint8)
        _write_pair(Path(folder), f"{number:03d}.png", pair)
    return Path(folder)


def _made(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _shaken_pair(name, other, rng):
    """A pair from the photograph ``name``; a third of ``other``, unless it is None, moves in front."""
    photo = read_image(Path(PHOTOGRAPHS) / name)
    height, width = photo.shape[0] // 3, photo.shape[1] // 3
    moving_object = None if other is None else read_image(Path(PHOTOGRAPHS) / other)[:height, :width]
    shake = Shake(pixels=rng.uniform(*_PIXELS))
    return blur_pair(shake_photo(photo, _NUM_FRAMES, shake, rng, moving_object))


def _write_pair(folder, name, pair):
    for kind, image in zip(("blur", "sharp"), pair, strict=True):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        write_image(folder / kind / name, image)
