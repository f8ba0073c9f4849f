"""The embedded data set: camera shake on the photographs that scikit-image carries in its wheel; no download."""

import shutil
from pathlib import Path

import numpy as np
from skimage import io
from skimage.data import data_dir as PHOTOGRAPHS

from tf_deepdeblur.data.blur import Shake, blur_pair, shake_photo
from tf_deepdeblur.images import write_image

TRAIN_PHOTOS = ("astronaut.png", "motorcycle_left.png", "brick.png", "camera.png", "coins.png", "grass.png", "gravel.png")
HELD_OUT_PHOTOS = ("chelsea.png", "coffee.png", "rocket.jpg")
_NUM_FRAMES = 11
_PIXELS = (4.0, 12.0)  # shortest and longest camera path


def make_demo_dataset(folder, seed=0):
    """Writes the embedded data set as plain pairs, ``folder/{train,test}/{blur,sharp}/*.png``, if it is not there.

    Every photograph is shaken several times. In half of ``train`` an object cut from another photograph moves on its
    own. The photographs of ``test`` are not in ``train``. The same seed gives the same pixels. The folder appears whole or
    not at all.

    Returns:
        The folder, as a Path.
    """
    folder = Path(folder)
    if folder.exists():
        return folder
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    for split, names, shakes in (("train", TRAIN_PHOTOS, 4), ("test", HELD_OUT_PHOTOS, 2)):
        photos = [_read_photo(name) for name in names]
        for number, name in enumerate(names):
            for take in range(shakes):
                rng = np.random.default_rng([seed, number, take, split == "test"])
                other = photos[(number + 1) % len(photos)] if split == "train" and take % 2 else None
                pair = _shaken_pair(photos[number], other, rng)
                _write_pair(part / split, f"{Path(name).stem}_{take}.png", pair)
    part.replace(folder)
    return folder


def _shaken_pair(photo, other, rng):
    shake = Shake(pixels=rng.uniform(*_PIXELS))
    moving_object = None if other is None else other[: photo.shape[0] // 3, : photo.shape[1] // 3]
    return blur_pair(shake_photo(photo, _NUM_FRAMES, shake, rng, moving_object))


def _read_photo(name):
    photo = io.imread(Path(PHOTOGRAPHS) / name)
    return photo if photo.ndim == 3 else np.repeat(photo[:, :, None], 3, axis=2)


def _write_pair(folder, name, pair):
    for kind, image in zip(("blur", "sharp"), pair, strict=True):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        write_image(folder / kind / name, image)
