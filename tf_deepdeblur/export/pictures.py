"""Real blurry images: some to calibrate int8 with, others to verify exported files on.

They come from a folder, or from camera shake on the photographs that scikit-image carries.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.images import IMAGE_SUFFIXES, image_size, read_image
from tf_deepdeblur.synthesis.camera_shake import Layer, Shake, shake_photo
from tf_deepdeblur.synthesis.demo import PHOTOGRAPHS, TRAIN_PHOTOS, VALIDATION_PHOTOS
from tf_deepdeblur.synthesis.exposure import blur_pair

_VERIFIED_SIZES = ((37, 51), (151, 243), (179, 261), (201, 299))  # odd, and not multiples of anything
_CALIBRATION_COUNT = 32
_CALIBRATION_SIDE = 128
_SMALLEST_SIDE = 32
_SHAKEN_SIDE = 300  # larger pictures are mirrored
_SHAKE_ROOM = 52  # pixels that the moving camera loses at both borders together
_SHAKE_FRAMES = 7
_SHAKE_PIXELS = (3.0, 9.0)


class Picture(NamedTuple):
    """A blurry uint8 image [H, W, 3] and its sharp partner, None if it has none."""

    name: str
    blurry: np.ndarray
    sharp: np.ndarray | None


def for_verification(folder: str | os.PathLike | None = None, size: tuple[int, int] | None = None) -> list[Picture]:
    """Returns pictures to compare an exported file with its network on.

    Args:
        folder: a folder with blurry images at any depth, or None for the embedded photographs. Images in folders whose
            names contain "sharp" are left out; where ``blur`` or ``blur_gamma`` in a folder's name becomes ``sharp``
            and leads to a file of the same name, that is the sharp partner.
        size: (height, width) of all pictures, or None for a few odd sizes.

    Raises:
        InputError: naming the folder or the file, if there is no image or one cannot be read.
    """
    sizes = [size] * 2 if size else _VERIFIED_SIZES
    return _shaken(VALIDATION_PHOTOS, sizes) if folder is None else _parts(_split(folder)[0], sizes)


def for_calibration(folder: str | os.PathLike | None = None) -> list[np.ndarray]:
    """Returns blurry crops to calibrate int8 with, of images that ``for_verification`` does not take if there are such.

    Args:
        folder: as for ``for_verification``.

    Returns:
        A list of uint8 arrays [1, 128, 128, 3].

    Raises:
        InputError: as ``for_verification`` does.
    """
    sizes = [(_CALIBRATION_SIDE, _CALIBRATION_SIDE)] * _CALIBRATION_COUNT
    made = _shaken(TRAIN_PHOTOS, sizes) if folder is None else _parts(_split(folder)[1], sizes)
    return [picture.blurry[None] for picture in made]


def photograph(size: tuple[int, int]) -> np.ndarray:
    """Returns a photograph as uint8 [height, width, 3], to measure speed with; mirrored as often as it takes."""
    return _part(read_image(Path(PHOTOGRAPHS) / VALIDATION_PHOTOS[0]), size, np.random.default_rng(0))


def _shaken(names, sizes):
    """One picture of each size, cut from the photographs in turn and blurred by camera shake."""
    made = []
    for number, size in enumerate(sizes):
        rng = np.random.default_rng([len(sizes), number])
        name = names[number % len(names)]
        shaken = [min(side, _SHAKEN_SIDE) + _SHAKE_ROOM for side in size]
        photo = _part(read_image(Path(PHOTOGRAPHS) / name), shaken, rng)
        frames, sharp = shake_photo(Layer(photo), _SHAKE_FRAMES, Shake(pixels=rng.uniform(*_SHAKE_PIXELS)), rng)
        made.append(_pair(name, blur_pair(frames)[0], sharp, size, rng))
    return made


def _split(folder):
    """(images to verify on, images to calibrate with), evenly spread; the same ones if there are few."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; `calibration_dir` must name a folder with blurry images")
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    paths = [path for path in paths if not any("sharp" in part for part in path.relative_to(folder).parts[:-1])]
    if not paths:
        raise InputError(f"{folder}: no blurry images in it; `calibration_dir` must name a folder with some")
    verified = paths[:: -(-len(paths) // len(_VERIFIED_SIZES))]
    return verified, [path for path in paths if path not in verified] or paths


def _parts(paths, sizes):
    """One random part of each size, from the images in turn; several of an image if there are fewer images than sizes.

    Raises:
        InputError: naming the file, if one is so small that its mirror images would be most of what is seen.
    """
    rng = np.random.default_rng(0)
    parts = []
    for number, size in enumerate(sizes):
        path = paths[number * len(paths) // len(sizes)]
        height, width = image_size(path)
        if min(height, width) < _SMALLEST_SIDE:
            raise InputError(
                f"{path}: {height}x{width} pixels (height x width) are too few; give photographs of "
                f"{_SMALLEST_SIDE} or more a side"
            )
        partner = Path(*(re.sub("blur_gamma|blur", "sharp", part) for part in path.parent.parts), path.name)
        if partner == path or not partner.is_file():
            parts.append(Picture(path.name, _part(read_image(path), size, rng), None))
            continue
        blurry, sharp = read_image(path), read_image(partner)
        if blurry.shape != sharp.shape:
            raise InputError(f"{path} and {partner}: partners must have equal sizes; remove one of them")
        parts.append(_pair(path.name, blurry, sharp, size, rng))
    return parts


def _pair(name, blurry, sharp, size, rng):
    pair = _part(np.concatenate([blurry, sharp], axis=-1), size, rng)
    return Picture(name, pair[..., :3], pair[..., 3:])


def _part(image, size, rng):
    """A random part of an image, which is mirrored at its bottom and right border where it is too small."""
    missing = [max(0, wanted - side) for wanted, side in zip(size, image.shape[:2], strict=True)]
    image = np.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric")
    top, left = (rng.integers(0, side - wanted + 1) for wanted, side in zip(size, image.shape[:2], strict=True))
    return image[top : top + size[0], left : left + size[1]]
