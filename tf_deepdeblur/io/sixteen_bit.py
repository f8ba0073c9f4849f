"""PNG and TIFF files as Pillow cannot: with 16 bits per channel, and TIFF that is compressed and has an EXIF block.

Pixels are uint8 or uint16 [H, W, C] with C = 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha). PNG goes through
TensorFlow's coder, TIFF is read by FFmpeg's; Pillow still handles all that is not pixels.
"""

import io
import itertools
import os
import struct
import zlib

import numpy as np
import tensorflow as tf
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from PIL.TiffTags import LONG

from tf_deepdeblur.errors import InputError

_BITS, _COMPRESSION, _PHOTOMETRIC, _STRIPS, _CHANNELS, _ROWS, _STRIP_BYTES = 258, 259, 262, 273, 277, 278, 279
_WIDTH, _HEIGHT, _PLANAR, _PREDICTOR, _TILES, _EXTRA, _SAMPLE_FORMAT, _ICC = 256, 257, 284, 317, 322, 338, 339, 34675
_STRAIGHT_ALPHA = 2
_DEFLATE = 8
_DIFFERENCES = 2
_ROWS_PER_STRIP = 64
_TIFF_HEADER = b"II*\0\x08\0\0\0"
_SUB_DIRECTORIES = (34665, 34853)  # EXIF and GPS
_PNG_HEADER = 8 + 25  # signature and IHDR


def has_16_bits(image: Image.Image) -> bool:
    """Whether the file of an opened PIL image has 16 bits per channel."""
    if image.format == "TIFF":
        is_unsigned = set(image.tag_v2.get(_SAMPLE_FORMAT, (1,))) == {1}
        return is_unsigned and set(image.tag_v2.get(_BITS, ())) == {16}
    return image.format == "PNG" and ";16" in str(image.tile)


def read_16_bits(path: str | os.PathLike, image: Image.Image) -> np.ndarray:
    """The pixels of a PNG or TIFF file, as they are stored: uint16 [H, W, C].

    Args:
        path: the file.
        image: the same file, opened by PIL.

    Raises:
        InputError: saying what is not supported.
        ValueError: saying what is damaged.
        Exception: whatever the decoders raise for a damaged file.
    """
    if image.format == "PNG":
        return tf.io.decode_png(tf.io.read_file(str(path)), dtype=tf.uint16).numpy()
    tags = image.tag_v2
    if _TILES in tags:
        raise InputError("16-bit TIFF in tiles is not supported; save it in strips")
    if tags.get(_PHOTOMETRIC) not in (1, 2):
        raise InputError("16-bit TIFF must be RGB or grey; save it as RGB")
    if set(tags.get(_EXTRA, (_STRAIGHT_ALPHA,))) != {_STRAIGHT_ALPHA} or tags.get(_CHANNELS, 1) == 2:
        raise InputError("16-bit TIFF with more than RGB and straight alpha is not supported; save it as RGB")
    if tags.get(_COMPRESSION, 1) == 1 and not _has_all_rows(tags):
        raise ValueError("it is truncated or damaged")  # FFmpeg would fill it up with black
    import av  # photographs need it for nothing else

    with av.open(f"file:{path}", format="tiff_pipe") as container:
        frame = next(container.decode(video=0))
        if frame.is_corrupt or (frame.width, frame.height) != (tags[_WIDTH], tags[_HEIGHT]):
            raise ValueError("it is truncated or damaged")
        pixels = frame.to_ndarray()
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def encoded_png(pixels: np.ndarray, exif: bytes = b"", icc_profile: bytes = b"") -> bytes:
    """[H, W, C] pixels, an EXIF block and an ICC profile as a PNG file."""
    content = tf.io.encode_png(pixels).numpy()
    chunks = _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc_profile)) if icc_profile else b""
    chunks += _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")) if exif else b""
    return content[:_PNG_HEADER] + chunks + content[_PNG_HEADER:]


def encoded_tiff(pixels: np.ndarray, exif: bytes = b"", icc_profile: bytes = b"") -> bytes:
    """[H, W, C] pixels, an EXIF block and an ICC profile as a TIFF file, compressed without loss."""
    height, width, channels = pixels.shape
    strips = []
    for top in range(0, height, _ROWS_PER_STRIP):
        rows = pixels[top : top + _ROWS_PER_STRIP]
        differences = np.diff(rows, axis=1, prepend=np.zeros_like(rows[:, :1]))  # to the left neighbour
        strips.append(zlib.compress(differences.astype(pixels.dtype.newbyteorder("<")).tobytes()))
    sizes = [len(strip) for strip in strips]
    block = Image.Exif()
    block.load(exif)
    tags = {tag: block.get_ifd(tag) if tag in _SUB_DIRECTORIES else value for tag, value in block.items()}
    tags |= {_WIDTH: width, _HEIGHT: height, _BITS: (8 * pixels.itemsize,) * channels, _PLANAR: 1}
    tags |= {_PHOTOMETRIC: 2 if channels >= 3 else 1, _COMPRESSION: _DEFLATE, _PREDICTOR: _DIFFERENCES}
    tags |= {_CHANNELS: channels, _ROWS: _ROWS_PER_STRIP, _STRIP_BYTES: tuple(sizes)}
    tags |= {_EXTRA: _STRAIGHT_ALPHA} if channels in (2, 4) else {}
    tags |= {_ICC: icc_profile} if icc_profile else {}
    directory = ImageFileDirectory_v2(_TIFF_HEADER)
    for tag, value in tags.items():
        directory[tag] = value
    directory.tagtype[_STRIPS] = LONG
    directory[_STRIPS] = (0, *itertools.accumulate(sizes[:-1]))  # from the end of the directory, says Pillow
    header = io.BytesIO()
    directory.save(header)
    return b"".join([header.getvalue(), *strips])


def _has_all_rows(tags):
    """Whether the strips of an uncompressed TIFF file are as long as its rows need."""
    rows_per_strip = min(tags.get(_ROWS, tags[_HEIGHT]), tags[_HEIGHT])
    is_planar = tags.get(_PLANAR, 1) == 2
    row_bytes = 2 * tags[_WIDTH] * (1 if is_planar else tags.get(_CHANNELS, 1))
    needed = [min(rows_per_strip, tags[_HEIGHT] - top) * row_bytes for top in range(0, tags[_HEIGHT], rows_per_strip)]
    needed *= tags.get(_CHANNELS, 1) if is_planar else 1
    sizes = tags.get(_STRIP_BYTES, ())
    return len(sizes) >= len(needed) and all(size >= need for size, need in zip(sizes, needed, strict=False))


def _chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
