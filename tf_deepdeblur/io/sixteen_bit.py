"""PNG and TIFF files as Pillow cannot: with 16 bits per channel, and TIFF that is compressed and has an EXIF block.

Pixels are uint8 or uint16 [H, W, C] with C = 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha). PNG goes through
TensorFlow's coder, TIFF is read by FFmpeg's; Pillow still handles all that is not pixels.
"""

import itertools
import struct
import zlib
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from PIL.TiffTags import LONG

_BITS, _COMPRESSION, _PHOTOMETRIC, _STRIPS, _CHANNELS, _ROWS, _STRIP_BYTES = 258, 259, 262, 273, 277, 278, 279
_WIDTH, _HEIGHT, _PLANAR, _PREDICTOR, _TILES, _EXTRA, _SAMPLE_FORMAT, _ICC = 256, 257, 284, 317, 322, 338, 339, 34675
_STRAIGHT_ALPHA = 2
_DEFLATE = 8
_DIFFERENCES = 2
_ROWS_PER_STRIP = 64
_TIFF_HEADER = b"II*\0\x08\0\0\0"
_SUB_DIRECTORIES = (34665, 34853)  # EXIF and GPS
_PNG_HEADER = 8 + 25  # signature and IHDR


def has_16_bits(image):
    """Whether the file of an opened PIL image has 16 bits per channel."""
    if image.format == "TIFF":
        is_unsigned = set(image.tag_v2.get(_SAMPLE_FORMAT, (1,))) == {1}
        return is_unsigned and set(image.tag_v2.get(_BITS, ())) == {16}
    return image.format == "PNG" and ";16" in str(image.tile)


def read_16_bits(path, image):
    """The pixels of a PNG or TIFF file, as they are stored: uint16 [H, W, C].

    Args:
        path: the file.
        image: the same file, opened by PIL.

    Raises:
        ValueError: saying what is not supported.
        Exception: whatever the decoders raise for a damaged file.
    """
    if image.format == "PNG":
        return tf.io.decode_png(tf.io.read_file(str(path)), dtype=tf.uint16).numpy()
    _check_tiff(image.tag_v2)
    import av  # photographs need it for nothing else

    with av.open(f"file:{path}", format="tiff_pipe") as container:
        frame = next(container.decode(video=0))
        if frame.is_corrupt or (frame.width, frame.height) != (image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]):
            raise ValueError("it is truncated or damaged")
        pixels = frame.to_ndarray()
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def write_png(path, pixels, exif=b"", icc_profile=b""):
    """Writes [H, W, C] pixels, an EXIF block and an ICC profile as a PNG file."""
    content = tf.io.encode_png(pixels).numpy()
    chunks = _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc_profile)) if icc_profile else b""
    chunks += _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")) if exif else b""
    with Path(path).open("wb") as file:
        file.writelines([content[:_PNG_HEADER], chunks, memoryview(content)[_PNG_HEADER:]])


def write_tiff(path, pixels, exif=b"", icc_profile=b""):
    """Writes [H, W, C] pixels, an EXIF block and an ICC profile as a TIFF file, compressed without loss."""
    height, width, channels = pixels.shape
    strips = [_compressed(pixels[top : top + _ROWS_PER_STRIP]) for top in range(0, height, _ROWS_PER_STRIP)]
    sizes = [len(strip) for strip in strips]
    tags = _exif_tags(exif) | {_WIDTH: width, _HEIGHT: height, _BITS: (8 * pixels.itemsize,) * channels, _PLANAR: 1}
    tags |= {_PHOTOMETRIC: 2 if channels >= 3 else 1, _COMPRESSION: _DEFLATE, _PREDICTOR: _DIFFERENCES}
    tags |= {_CHANNELS: channels, _ROWS: _ROWS_PER_STRIP, _STRIP_BYTES: tuple(sizes)}
    tags |= {_EXTRA: _STRAIGHT_ALPHA} if channels in (2, 4) else {}
    tags |= {_ICC: icc_profile} if icc_profile else {}
    directory = ImageFileDirectory_v2(_TIFF_HEADER)
    for tag, value in tags.items():
        directory[tag] = value
    directory.tagtype[_STRIPS] = LONG
    directory[_STRIPS] = (0, *itertools.accumulate(sizes[:-1]))  # from the end of the directory, says Pillow
    with Path(path).open("wb") as file:
        directory.save(file)
        file.writelines(strips)


def _compressed(rows):
    """A strip: each pixel's difference to its left neighbour, deflated."""
    differences = np.diff(rows, axis=1, prepend=np.zeros_like(rows[:, :1]))
    return zlib.compress(differences.astype(rows.dtype.newbyteorder("<")).tobytes())


def _check_tiff(tags):
    if _TILES in tags:
        raise ValueError("16-bit TIFF in tiles is not supported; save it in strips")
    if tags.get(_PHOTOMETRIC) not in (1, 2):
        raise ValueError("16-bit TIFF must be RGB or grey")
    if set(tags.get(_EXTRA, (_STRAIGHT_ALPHA,))) != {_STRAIGHT_ALPHA} or tags.get(_CHANNELS, 1) == 2:
        raise ValueError("16-bit TIFF with more than RGB and straight alpha is not supported")


def _chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _exif_tags(block):
    exif = Image.Exif()
    exif.load(block)
    return {tag: exif.get_ifd(tag) if tag in _SUB_DIRECTORIES else value for tag, value in exif.items()}
