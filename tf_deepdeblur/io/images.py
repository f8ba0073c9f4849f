"""Image files, as uint8 RGB arrays [H, W, 3].

Without TensorFlow, so that programs that make data start at once.
"""

import contextlib
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tf_deepdeblur.errors import InputError, first_line
from tf_deepdeblur.io.atomic import write_atomically
from tf_deepdeblur.io.paths import require_regular_file

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


def to_eight_bits(image: np.ndarray) -> np.ndarray:
    """uint8 or uint16 array of any shape -> uint8, rounded."""
    return image if image.dtype == np.uint8 else ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) of an image file, from its header only.

    Raises:
        InputError: naming the file, if it is not an image that can be opened.
    """
    with _opened(path) as image:
        return image.height, image.width


def read_image(path: str | os.PathLike) -> np.ndarray:
    """An image file as uint8 RGB [H, W, 3]; grey becomes three equal channels, 16 bits become 8, alpha is dropped.

    The EXIF orientation is not applied: photographs are read by ``photo.read_photo``.

    Raises:
        InputError: naming the file, if it is missing, truncated or not an image.
    """
    with _opened(path) as image:
        if image.mode.startswith("I;16"):
            return np.repeat(to_eight_bits(np.asarray(image))[:, :, None], 3, axis=2)
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def read_crop(path: str | os.PathLike, top: int, left: int, height: int, width: int) -> np.ndarray:
    """The same pixels as ``read_image(path)[top : top + height, left : left + width]``, but faster.

    An RGB PNG is decoded only down to the last row that is wanted; wrong bytes below it are not noticed.

    Raises:
        InputError: naming the file, if it is missing, truncated or not an image.
    """
    with _opened(path) as image:
        if image.format != "PNG" or image.mode != "RGB" or image.info.get("interlace"):
            return read_image(path)[top : top + height, left : left + width]
        image.tile = [tile._replace(extents=(0, 0, image.width, top + height)) for tile in image.tile]
        return np.asarray(image.crop((left, top, left + width, top + height)))


@contextlib.contextmanager
def _opened(path):
    """Yields an image file opened by Pillow; what goes wrong with it becomes an InputError that names the file."""
    require_regular_file(path)
    try:
        with Image.open(path) as image:
            yield image
    except InputError:
        raise
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        raise InputError(
            f"{path}: cannot be read as an image ({first_line(error)}); replace the file or remove it"
        ) from error


def write_image(path: str | os.PathLike, image: np.ndarray, **options: object) -> None:
    """Writes a uint8 RGB [H, W, 3] array; the suffix chooses the format. Writing is atomic.

    ``options`` go to Pillow's ``Image.save``.
    """
    path = Path(path)
    file_format = Image.registered_extensions().get(path.suffix.lower())
    if file_format is None:
        raise ValueError(f"{path}: no image format has the suffix {path.suffix!r}")
    write_atomically(path, encoded(Image.fromarray(np.asarray(image)), file_format, **options))


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    """A PIL image as the bytes of a file; writing them notices a full disk, which Pillow's own writing does not."""
    content = io.BytesIO()
    image.save(content, file_format, **options)
    return content.getvalue()


def side_by_side(images: Sequence[np.ndarray]) -> np.ndarray:
    """Joins uint8 [H, W, 3] images of equal height from left to right, 4 white pixels apart."""
    gap = np.full((images[0].shape[0], 4, 3), 255, np.uint8)
    joined = [part for image in images for part in (gap, np.asarray(image))]
    return np.concatenate(joined[1:], axis=1)
