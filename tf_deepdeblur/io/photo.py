"""Photograph files with all that a viewer needs: pixels upright, alpha, EXIF block and colour profile.

A photograph that is read and written again keeps its format, grey stays grey, 16 bits stay 16 bits, transparency is
carried over. The EXIF orientation is applied to the pixels and set to 1; the embedded preview is dropped, it would show
the old picture. Palettes become RGB.
"""

import contextlib
import dataclasses
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import logging
from PIL import Image

from tf_deepdeblur.errors import InputError, first_line
from tf_deepdeblur.io import sixteen_bit
from tf_deepdeblur.io.atomic import write_atomically
from tf_deepdeblur.io.images import encoded
from tf_deepdeblur.io.paths import printable, require_regular_file

MAX_PIXELS = 2 * Image.MAX_IMAGE_PIXELS  # beyond it Pillow suspects an attack and refuses
MAX_SIDE = 100_000
JPEG_QUALITY = 95

_SUFFIXES = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "HEIF": (".heic", ".heif"),
}
PHOTO_SUFFIXES = frozenset(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
_FORMATS = {name: name for name in _SUFFIXES} | {"MPO": "JPEG"}  # from Pillow's names
_SAVE_AS = "save it as PNG, JPEG, WebP, TIFF or BMP"
_REMEDY = {"GIF": f"{_SAVE_AS}, an animation as MP4"}
_MODES = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "RGB": "RGB", "RGBX": "RGB", "RGBA": "RGBA", "RGBa": "RGBA"}
_MODES |= {"P": "RGB", "PA": "RGBA", "YCbCr": "RGB"}
_WITH_ALPHA = {"L": "LA", "RGB": "RGBA", "LA": "LA", "RGBA": "RGBA"}
_ORIENTATION, _EXIF, _PIXELS_X, _PIXELS_Y = 0x0112, 0x8769, 0xA002, 0xA003
# Tags that say how a TIFF file stores its pixels; the new file does it its own way.
_STORAGE_TAGS = (254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 330)
_STORAGE_TAGS += (338, 339, 347, 512, 513, 514, 519, 520, 521, 529, 530, 531, 532, 34675)
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)  # but for those that stand in a scan
_JPEG_SCAN, _JPEG_END = b"\xda", b"\xd9"
_JPEG_FILL = 128  # what decoders put where there are no data
_MAX_SCANS = 100


@dataclass(frozen=True)
class Photo:
    """What a photograph file holds.

    Attributes:
        image: uint8 or uint16 RGB [H, W, 3], upright; of grey photographs the three channels are equal.
        alpha: None, or opacity [H, W] of the same type.
        is_grey: whether it is written with one colour channel, the mean of the three.
        format: Pillow's name of the file format.
        exif: EXIF block, or b"".
        icc_profile: colour profile, or b"".
        is_lossless: whether a WebP file is written without loss.
    """

    image: np.ndarray
    alpha: np.ndarray | None = None
    is_grey: bool = False
    format: str = "PNG"
    exif: bytes = b""
    icc_profile: bytes = b""
    is_lossless: bool = False

    def with_image(self, image: np.ndarray) -> "Photo":
        """The same photograph with other pixels."""
        return dataclasses.replace(self, image=image)

    def without_metadata(self) -> "Photo":
        """The same photograph without EXIF block and colour profile."""
        return dataclasses.replace(self, exif=b"", icc_profile=b"")


def photo_size(path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) of a photograph file, from its header only and before it is turned upright.

    Raises:
        InputError: naming the file, if it cannot be opened as an image or is too large.
    """
    with _opened(path) as image:
        return image.height, image.width


def read_photo(path: str | os.PathLike) -> Photo:
    """Reads a photograph file.

    Raises:
        InputError: naming the file and the reason, if it is damaged, too large, animated or in colours that are not
            supported.
    """
    with _opened(path) as image:
        if image.format != "MPO":  # a phone's, whose other pictures are previews
            with contextlib.suppress(EOFError):
                image.seek(1)  # not n_frames, for which all pages of a TIFF file are read
                raise InputError("holds more than one picture (animation or pages); save each one as a file")
        has_16_bits = sixteen_bit.has_16_bits(image)  # asked first: looking for EXIF may load the pixels
        exif, orientation, damage = _upright_exif(image)
        if has_16_bits:
            pixels = sixteen_bit.read_16_bits(path, image)
        else:
            pixels = _eight_bit_pixels(path, image)
            orientation = 1 if image.format == "TIFF" else orientation  # Pillow turns TIFF itself
        if damage:  # told only if the pixels are sound
            logging.warning("%s: the EXIF data are damaged and left out (%s)", printable(str(path)), damage)
        pixels = _upright(pixels, orientation)
        channels = pixels.shape[2]
        return Photo(
            image=pixels[:, :, :3] if channels >= 3 else np.repeat(pixels[:, :, :1], 3, axis=2),
            alpha=pixels[:, :, -1] if channels in (2, 4) else None,
            is_grey=channels <= 2,
            format=_FORMATS[image.format],
            exif=exif,
            icc_profile=image.info.get("icc_profile") or b"",
            is_lossless=image.format == "WEBP" and _has_lossless_chunk(path),
        )


def write_photo(path: str | os.PathLike, photo: Photo, quality: int = JPEG_QUALITY) -> None:
    """Writes a photograph in its ``format``; writing is atomic.

    Args:
        path: the file, with a suffix of the format.
        photo: what to write.
        quality: of JPEG, HEIF and lossy WebP, 1 to 100.

    Raises:
        ValueError: if the format cannot hold the pixels, or files of that format have another suffix.
        OSError: if the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES.get(photo.format, ()):
        known = " or ".join(_SUFFIXES.get(photo.format, ("no suffix",)))
        raise ValueError(
            f"{path}: a photo of format {photo.format} is written as {known}, not {suffix or 'without one'}"
        )
    write_atomically(path, encode_photo(photo, quality))


def encode_photo(photo: Photo, quality: int = JPEG_QUALITY) -> bytes:
    """A photograph as the bytes of a file of its ``format``.

    Args:
        photo: what to encode.
        quality: of JPEG, HEIF and lossy WebP, 1 to 100.

    Raises:
        ValueError: if the format cannot hold the pixels.
    """
    pixels = photo.image
    if photo.is_grey:
        total = pixels.sum(axis=2, dtype=np.uint32)
        pixels = ((total + 1) // 3).astype(pixels.dtype)[:, :, None]
    if photo.alpha is not None:
        pixels = np.dstack([pixels, photo.alpha])
    if photo.format == "TIFF":
        return sixteen_bit.encoded_tiff(pixels, photo.exif, photo.icc_profile)
    if pixels.dtype == np.uint16:
        if photo.format != "PNG":
            raise ValueError(f"{photo.format} holds 8 bits per channel, not 16; choose PNG or TIFF")
        return sixteen_bit.encoded_png(pixels, photo.exif, photo.icc_profile)
    options = {"exif": photo.exif} if photo.exif else {}
    options |= {"icc_profile": photo.icc_profile} if photo.icc_profile else {}
    if photo.format == "JPEG":
        if photo.alpha is not None:
            raise ValueError("JPEG holds no alpha; choose another format, or alpha=None")
        options |= {"quality": quality, "subsampling": 0}  # the restored edges in all colours
    elif photo.format == "WEBP":
        options |= {"quality": quality, "lossless": photo.is_lossless, "exact": True}
    elif photo.format == "HEIF":
        options |= {"quality": quality}
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    return encoded(image, photo.format, **options)


@contextlib.contextmanager
def _opened(path):
    """Yields an opened PIL image of an acceptable format and size; whatever goes wrong with it is an InputError."""
    path = Path(path)
    require_regular_file(path)
    try:
        if path.suffix.lower() in _SUFFIXES["HEIF"]:
            try:
                from pillow_heif import register_heif_opener
            except ImportError as error:
                raise InputError("HEIC needs the package pillow-heif: pip install -e '.[heic]'") from error
            register_heif_opener()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata, and of sizes that are still accepted
            with Image.open(path) as image:
                if image.format not in _FORMATS:
                    raise InputError(f"is in the format {image.format}; {_REMEDY.get(image.format, _SAVE_AS)}")
                if max(image.size) > MAX_SIDE:
                    size = f"{image.height}x{image.width} (height x width)"
                    raise InputError(f"{size} is beyond the limit of {MAX_SIDE} pixels a side; cut it into parts")
                yield image
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        raise InputError(f"{path}: {_reason(path, error)}") from error


def _reason(path, error):
    if isinstance(error, Image.DecompressionBombError):
        return f"has more pixels than the limit of {MAX_PIXELS}; cut it into parts"
    if isinstance(error, MemoryError):
        return "does not fit into memory; cut it into parts"
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read ({error.strerror})"
    if path.stat().st_size == 0:
        return "is empty; copy it again from the original"
    if isinstance(error, Image.UnidentifiedImageError):
        return "is not a picture, or is damaged; check whether another program opens it"
    return f"cannot be read as a picture ({first_line(error)}); copy it again from the original"


def _eight_bit_pixels(path, image):
    """The pixels of an opened image as uint8 [H, W, C] with 1 to 4 channels."""
    if image.mode not in _MODES:
        raise InputError(f"has pixels of the kind {image.mode}, which is not supported; save it as RGB of 8 or 16 bits")
    if image.format == "PNG":
        with Image.open(path) as again:
            again.verify()  # the check sums, which Pillow does not look at when it loads the pixels
    is_jpeg = _FORMATS[image.format] == "JPEG"
    if is_jpeg and _num_scans(Path(path).read_bytes()) > _MAX_SCANS:
        raise InputError(f"has more than {_MAX_SCANS} scans, which would take long to read; save it again")
    mode = _MODES[image.mode]
    if "transparency" in image.info:
        mode = _WITH_ALPHA[mode]
    image.load()
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    if is_jpeg and (pixels[-1, -1] == _JPEG_FILL).all():
        _require_whole_jpeg(path)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _num_scans(content):
    """How many passes over its pixels a JPEG file makes: usually 1, or some 10 if it is progressive."""
    position, count = 2, 0
    while match := _JPEG_MARKER.search(content, position):  # behind a segment, or in the data of a scan
        if match[1] == _JPEG_END:  # phones append previews and films
            break
        count += match[1] == _JPEG_SCAN
        position = match.end() + int.from_bytes(content[match.end() : match.end() + 2], "big")
    return count


def _require_whole_jpeg(path):
    """Raises ValueError if there are fewer pixels in a JPEG file than its header says; Pillow fills it up with grey."""
    import av  # photographs need it for nothing else

    with av.open(f"file:{path}", format="jpeg_pipe") as container:
        decoder = container.streams.video[0].codec_context
        decoder.options = {"err_detect": "explode"}
        try:
            next(container.decode(video=0))
        except av.error.FFmpegError as error:
            raise ValueError("there are fewer pixels than its header says") from error


def _upright_exif(image):
    """(EXIF block for the upright picture, orientation of the stored pixels, the error if the block is damaged)."""
    try:
        exif = Image.Exif()
        exif.load(image.getexif().tobytes())  # a copy: Pillow needs the original when it loads the pixels
        orientation = exif.get(_ORIENTATION, 1)
        for tag in _STORAGE_TAGS if image.format == "TIFF" else ():
            exif.pop(tag, None)
        if not exif:
            return b"", orientation, None
        if _ORIENTATION in exif:
            exif[_ORIENTATION] = 1
        camera = exif.get_ifd(_EXIF)
        if orientation in (5, 6, 7, 8) and _PIXELS_X in camera and _PIXELS_Y in camera:
            camera[_PIXELS_X], camera[_PIXELS_Y] = camera[_PIXELS_Y], camera[_PIXELS_X]
        return exif.tobytes(), orientation, None
    except Exception as error:  # the block comes from anywhere; a picture without it is better than none
        return b"", 1, error


def _upright(pixels, orientation):
    """Undoes the eight orientations of the EXIF standard."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _has_lossless_chunk(path):
    """Whether a WebP file holds a VP8L chunk; its chunks are walked through, as a profile may come first."""
    with Path(path).open("rb") as file:
        file.seek(12)
        while len(header := file.read(8)) == 8:
            if header[:4] in (b"VP8L", b"VP8 "):
                return header[:4] == b"VP8L"
            size = int.from_bytes(header[4:], "little")
            file.seek(size + size % 2, 1)
    return False
