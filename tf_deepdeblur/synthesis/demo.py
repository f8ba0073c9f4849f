"""The embedded data set: camera shake on the photographs that scikit-image carries in its wheel; no download."""

import os
import tempfile
from pathlib import Path

import numpy as np
from skimage.data import data_dir as PHOTOGRAPHS
from tqdm import tqdm

from tf_deepdeblur.io.images import read_image, write_image
from tf_deepdeblur.synthesis.camera_shake import Layer, Shake, shake_photo
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
VALIDATION_PHOTOS = ("astronaut.png", "coffee.png")
_NUM_FRAMES = 11
_TAKES = {"train": 5, "test": 3}  # shakes of every photograph
_PIXELS = (3.0, 9.0)  # shortest and longest camera path


def make_demo_dataset(folder: str | os.PathLike, seed: int = 0) -> Path:
    """Writes the embedded data set as plain pairs, ``folder/{train,test}/{blur,sharp}/*.png``, if it is not there.

    Every photograph is shaken several times. In two of five takes of ``train`` an object cut from another photograph
    moves on its own. The photographs of ``test`` are not in ``train``. The same seed gives the same pixels. The folder
    appears when it is complete.

    Returns:
        The folder, as a Path.
    """
    folder = Path(folder)
    if folder.exists():
        return folder
    photos = {"train": TRAIN_PHOTOS, "test": VALIDATION_PHOTOS}
    tasks = [(split, name, take) for split in photos for name in photos[split] for take in range(_TAKES[split])]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.part-", dir=folder.parent) as temporary:
        part = Path(temporary) / folder.name
        for number, (split, name, take) in enumerate(tqdm(tasks, desc="make the demo data set", unit="pair")):
            rng = np.random.default_rng([seed, number])
            photo = read_image(Path(PHOTOGRAPHS) / name)
            moving_object = None
            if split == "train" and take % 2:  # every other time a part of the next photograph
                other = TRAIN_PHOTOS[(TRAIN_PHOTOS.index(name) + 1) % len(TRAIN_PHOTOS)]
                height, width = photo.shape[0] // 3, photo.shape[1] // 3
                moving_object = read_image(Path(PHOTOGRAPHS) / other)[:height, :width]
            shake = Shake(pixels=rng.uniform(*_PIXELS))
            frames, sharp = shake_photo(Layer(photo), _NUM_FRAMES, shake, rng, moving_object)
            blurry, _ = blur_pair(frames)
            for kind, image in (("blur", blurry), ("sharp", sharp)):
                (part / split / kind).mkdir(parents=True, exist_ok=True)
                write_image(part / split / kind / f"{Path(name).stem}_{take}.png", image)
        try:
            part.rename(folder)
        except OSError:
            if not folder.is_dir():  # several workers may make it at the same time, from the same seed
                raise
    return folder
