"""The number contract for images, and their files.

At the edges images are uint8 RGB, H x W x 3 or N x H x W x 3, or uint16 where a file has 16 bits. Inside they are
float32 in [-0.5, 0.5] (section 3.2). ``to_float`` and ``to_integers`` or ``to_uint8`` are the only way from one to the
other; the way back clips, then rounds half up, as the file that is written will be. A network needs sides that its
pyramid can halve: ``pad_to_multiple`` adds what is missing at the bottom and at the right, ``crop`` takes it away
again.
"""

import io
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.atomic import atomic_write

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


def to_float(images):
    """uint8 or uint16 images of any shape -> float32 in [-0.5, 0.5]."""
    images = tf.convert_to_tensor(images)
    white = 65535.0 if images.dtype == tf.uint16 else 255.0
    return tf.cast(images, tf.float32) * (1.0 / white) - 0.5  # in graphs, TensorFlow makes this product of a division


def to_uint8(images):
    """Float images in [-0.5, 0.5] of any shape -> uint8; values outside are clipped, halves are rounded up."""
    return to_integers(images, tf.uint8)


def to_integers(images, dtype):
    """Like ``to_uint8``, to tf.uint8 or tf.uint16."""
    white = float(tf.as_dtype(dtype).max)
    levels = tf.floor((tf.cast(images, tf.float32) + 0.5) * white + 0.5)
    return tf.cast(tf.minimum(tf.maximum(levels, 0.0), white), dtype)


def pad_to_multiple(images, multiple, smallest=1):
    """Repeats the last row and column of [N, H, W, C] until both sides are multiples and at least ``smallest``."""
    for axis in (1, 2):
        side = tf.shape(images)[axis]
        padded = tf.maximum(-(-side // multiple) * multiple, smallest)
        images = tf.gather(images, tf.minimum(tf.range(padded), side - 1), axis=axis)
    return images


def crop(images, height, width):
    """The top left ``height`` x ``width`` pixels of [N, H, W, C]; undoes ``pad_to_multiple``."""
    return images[:, :height, :width, :]


def image_size(path):
    """(height, width) of an image file, from its header only.

    Raises:
        InputError: naming the file, if it is not an image that can be opened.
    """
    with _open(path) as image:
        return image.height, image.width


def read_image(path):
    """An image file as uint8 RGB [H, W, 3]; grey becomes three equal channels, 16 bits become 8, alpha is dropped.

    Raises:
        InputError: naming the file, if it is missing, truncated or not an image.
    """
    with _open(path) as image:
        try:
            if image.mode.startswith("I;16"):
                return np.repeat(_high_byte(np.asarray(image))[:, :, None], 3, axis=2)
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise _unreadable(path, error) from error


def read_crop(path, top, left, height, width):
    """The same pixels as ``read_image(path)[top : top + height, left : left + width]``, sooner.

    An RGB PNG is decoded only down to the last row that is wanted; wrong bytes below it are not noticed.

    Raises:
        InputError: naming the file, if it is missing, truncated or not an image.
    """
    with _open(path) as image:
        if image.format != "PNG" or image.mode != "RGB" or image.info.get("interlace"):
            return read_image(path)[top : top + height, left : left + width]
        image.tile = [tile._replace(extents=(0, 0, image.width, top + height)) for tile in image.tile]
        try:
            return np.asarray(image.crop((left, top, left + width, top + height)))
        except (OSError, SyntaxError, ValueError) as error:
            raise _unreadable(path, error) from error


def write_image(path, image, **options):
    """Writes a uint8 RGB [H, W, 3] array; the suffix chooses the format. The file appears whole or not at all.

    ``options`` go to Pillow's ``Image.save``.
    """
    path = Path(path)
    file_format = Image.registered_extensions().get(path.suffix.lower())
    if file_format is None:
        raise ValueError(f"{path}: no image format has the suffix {path.suffix!r}")
    with atomic_write(path) as part:
        part.write_bytes(encoded(Image.fromarray(np.asarray(image)), file_format, **options))


def encoded(image, file_format, **options):
    """A PIL image as the bytes of a file; writing them notices a full disk, which Pillow's own writing does not."""
    content = io.BytesIO()
    image.save(content, file_format, **options)
    return content.getvalue()


def side_by_side(images):
    """Joins uint8 [H, W, 3] images of equal height from left to right, 4 white pixels apart."""
    gap = np.full((images[0].shape[0], 4, 3), 255, np.uint8)
    joined = [part for image in images for part in (gap, np.asarray(image))]
    return np.concatenate(joined[1:], axis=1)


def _open(path):
    try:
        return Image.open(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path, error):
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(f"{path}: cannot be read as an image ({reason}); replace the file or remove it")


def _high_byte(image):
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
