"""A photograph that is read and written again loses nothing but its orientation tag; bad files are named."""

import dataclasses
import itertools
import os
import re
import resource
import struct
import sys
import warnings

import av
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from PIL.TiffTags import LONG

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io import photo, sixteen_bit
from tf_deepdeblur.io.photo import Photo, encode_photo, photo_size, read_photo, write_photo

RNG = np.random.default_rng(3)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
TAKEN = "2020:02:03 04:05:06"


def pixels(*shape, dtype=np.uint8):
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype, True)


def smooth(height, width):
    """A picture that JPEG keeps nearly as it is."""
    y, x = np.mgrid[:height, :width]
    return np.dstack([x * 4, y * 4, 128 + x - y]).astype(np.uint8)


def exif_block(orientation, width=31, height=20):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    camera, position = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
    camera[0x9003], camera[0xA002], camera[0xA003] = TAKEN, width, height
    position[1], position[2] = "N", (48.0, 8.0, 30.0)
    return exif.tobytes()


def reread(path):
    """What a photograph is after it was read and written."""
    target = path.with_name(f"again_{path.name}")
    write_photo(target, read_photo(path))
    return read_photo(target)


def write_deep(path, array, *metadata):
    encoded = {".png": sixteen_bit.encoded_png, ".tif": sixteen_bit.encoded_tiff}[path.suffix]
    path.write_bytes(encoded(array, *metadata))


def write_raw_tiff(path, array, byte_order="<", strip_bytes=None):
    """An uncompressed RGB TIFF file of one strip."""
    directory = ImageFileDirectory_v2({"<": b"II*\0\x08\0\0\0", ">": b"MM\0*\0\0\0\x08"}[byte_order])
    height, width, channels = array.shape
    tags = {256: width, 257: height, 258: (8 * array.itemsize,) * channels, 259: 1, 262: 2, 277: channels, 278: height}
    for tag, value in tags.items():
        directory[tag] = value
    directory[279] = array.nbytes if strip_bytes is None else strip_bytes
    directory.tagtype[273] = LONG
    directory[273] = 0  # from the end of the directory, says Pillow
    with path.open("wb") as file:
        directory.save(file)
        file.write(array.astype(array.dtype.newbyteorder(byte_order)).tobytes())


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_reset(tmp_path, suffix, orientation):
    path = tmp_path / f"photo.{suffix}"
    block, image = exif_block(orientation), smooth(20, 31)
    if suffix == "tif":
        path.write_bytes(sixteen_bit.encoded_tiff(image, block))
    else:
        Image.fromarray(image).save(path, exif=block, **({"lossless": True} if suffix == "webp" else {}))
    with Image.open(path) as original:
        expected = np.asarray(ImageOps.exif_transpose(original))
    np.testing.assert_array_equal(read_photo(path).image, expected)
    again = reread(path)
    np.testing.assert_allclose(again.image.astype(int), expected, atol=6 if suffix == "jpg" else 0)
    written = Image.Exif()
    written.load(again.exif)
    camera = written.get_ifd(0x8769)
    assert written.get(0x0112, 1) == 1
    assert (written[0x010F], camera[0x9003], written.get_ifd(0x8825)[1]) == ("Maker", TAKEN, "N")
    assert (camera[0xA002], camera[0xA003]) == expected.shape[1::-1]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_orientation_of_16_bit_photographs(tmp_path, suffix, orientation):
    image = pixels(5, 7, 3, dtype=np.uint16)
    write_deep(tmp_path / f"deep.{suffix}", image, exif_block(orientation))
    high_bytes = Image.Exif()
    high_bytes[0x0112] = orientation
    shallow = Image.fromarray((image >> 8).astype(np.uint8))
    shallow.save(tmp_path / "shallow.png", exif=high_bytes)
    with Image.open(tmp_path / "shallow.png") as original:
        expected = np.asarray(ImageOps.exif_transpose(original))
    np.testing.assert_array_equal(read_photo(tmp_path / f"deep.{suffix}").image >> 8, expected)


@pytest.mark.parametrize(
    "mode, suffix",
    [*itertools.product(["L", "LA", "RGB", "RGBA"], ["png", "tif", "webp"]), ("L", "bmp"), ("RGB", "bmp")],
)
def test_channels_are_kept_without_loss(tmp_path, mode, suffix):
    path = tmp_path / f"photo.{suffix}"
    array = pixels(9, 14, len(mode)).squeeze()
    Image.fromarray(array, mode).save(path, **({"lossless": True, "exact": True} if suffix == "webp" else {}))
    again = reread(path)
    with Image.open(path) as before, Image.open(tmp_path / f"again_{path.name}") as after:
        assert (before.mode, before.format) == (after.mode, after.format)
        np.testing.assert_array_equal(np.asarray(before), np.asarray(after))
    assert again.is_grey == (mode in ("L", "LA") and suffix != "webp")
    assert (again.alpha is not None) == (mode in ("LA", "RGBA"))


@pytest.mark.parametrize("metadata", [(b"", b""), (exif_block(1), PROFILE)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_are_kept(tmp_path, suffix, channels, metadata):
    path, array = tmp_path / f"deep.{suffix}", pixels(70, 14, channels, dtype=np.uint16)
    if suffix == "tif" and channels == 2:
        pytest.skip("neither Pillow nor FFmpeg reads grey TIFF with alpha")
    write_deep(path, array, *metadata)
    first = read_photo(path)
    again = reread(path)
    for read in (first, again):
        assert read.image.dtype == np.uint16
        np.testing.assert_array_equal(read.image[:, :, 0], array[:, :, 0])
        assert read.is_grey == (channels <= 2)
        if channels in (2, 4):
            np.testing.assert_array_equal(read.alpha, array[:, :, -1])
        assert (TAKEN.encode() in read.exif, read.icc_profile) == (bool(metadata[0]), metadata[1])


@pytest.mark.parametrize("compression", ["raw", "lzw", "deflate", "packbits"])
@pytest.mark.parametrize("pixel_format", ["rgb48le", "gray16le"])
def test_16_bit_tiff_of_other_programs_is_read(tmp_path, compression, pixel_format):
    path, array = tmp_path / "deep.tif", pixels(20, 31, 3, dtype=np.uint16)
    array = array[:, :, 0] if pixel_format == "gray16le" else array
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("tiff", rate=1, options={"compression_algo": compression})
        stream.width, stream.height, stream.pix_fmt = 31, 20, pixel_format
        container.mux(stream.encode(av.VideoFrame.from_ndarray(array, pixel_format)))
        container.mux(stream.encode())
    image = read_photo(path).image
    np.testing.assert_array_equal(image if array.ndim == 3 else image[:, :, 0], array)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_big_endian_tiff_is_read(tmp_path, dtype):
    array = pixels(20, 31, 3, dtype=dtype)
    write_raw_tiff(tmp_path / "big.tif", array, ">")
    assert (tmp_path / "big.tif").read_bytes().startswith(b"MM")
    np.testing.assert_array_equal(read_photo(tmp_path / "big.tif").image, array)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_profile_and_exif_are_kept_or_stripped(tmp_path, suffix):
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(smooth(20, 31)).save(path, icc_profile=PROFILE, exif=exif_block(1))
    kept = reread(path)
    assert kept.icc_profile == PROFILE
    assert TAKEN.encode() in kept.exif or suffix == "tif"  # Pillow itself writes no EXIF directory into TIFF
    stripped = tmp_path / f"stripped.{suffix}"
    write_photo(stripped, read_photo(path).without_metadata())
    assert not read_photo(stripped).icc_profile
    assert b"Maker" not in stripped.read_bytes()


def test_the_embedded_preview_is_dropped(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    first = exif.tobytes()
    preview = b"\xff\xd8 the old picture"
    link = struct.pack(">H", 1) + struct.pack(">HHLL", 0x0201, 4, 1, len(first)) + struct.pack(">L", 0)
    block = first[:-4] + struct.pack(">L", len(first) - 6) + link + preview
    Image.fromarray(smooth(8, 8)).save(tmp_path / "photo.jpg", exif=block)
    assert preview not in read_photo(tmp_path / "photo.jpg").exif


def test_damaged_exif_is_left_out(tmp_path, caplog):
    hemisphere, number = b"\0\1\0\2\0\0\0\2N", b"\0\x1e\0\2\0\0\0\2N"  # a text where a number belongs
    assert hemisphere in exif_block(6)
    block = exif_block(6).replace(hemisphere, number)
    Image.fromarray(smooth(8, 8)).save(tmp_path / "photo.jpg", exif=block)
    photo = read_photo(tmp_path / "photo.jpg")
    assert (photo.image.shape, photo.exif) == ((8, 8, 3), b"")
    assert "the EXIF data are damaged and left out" in caplog.text


def test_palettes_become_rgb_and_keep_transparency(tmp_path):
    colours = Image.fromarray(pixels(9, 14, 3)).quantize(16)
    colours.save(tmp_path / "plain.png")
    colours.save(tmp_path / "clear.png", transparency=3)
    plain, clear = read_photo(tmp_path / "plain.png"), read_photo(tmp_path / "clear.png")
    np.testing.assert_array_equal(plain.image, np.asarray(colours.convert("RGB")))
    np.testing.assert_array_equal(clear.alpha, np.where(np.asarray(colours) == 3, 0, 255))
    assert plain.alpha is None


def test_a_transparent_colour_becomes_alpha(tmp_path):
    array = smooth(9, 14)
    Image.fromarray(array).save(tmp_path / "photo.png", transparency=tuple(map(int, array[2, 3])))
    assert read_photo(tmp_path / "photo.png").alpha[2, 3] == 0
    Image.fromarray(array[:, :, 0]).save(tmp_path / "grey.png", transparency=int(array[2, 3, 0]))
    assert read_photo(tmp_path / "grey.png").alpha[2, 3] == 0
    assert read_photo(tmp_path / "grey.png").is_grey


def test_black_and_white_becomes_grey(tmp_path):
    Image.fromarray(smooth(9, 14)).convert("1").save(tmp_path / "fax.tif")
    read = read_photo(tmp_path / "fax.tif")
    assert read.is_grey
    assert set(np.unique(read.image)) <= {0, 255}


def test_grey_is_the_mean_of_the_channels(tmp_path):
    image = np.array([[[10, 20, 31], [0, 0, 2], [0, 1, 0]]], np.uint8)
    write_photo(tmp_path / "grey.png", Photo(image, is_grey=True))
    assert np.asarray(Image.open(tmp_path / "grey.png")).tolist() == [[20, 1, 0]]


def test_jpeg_quality_is_high_and_settable(tmp_path):
    image = pixels(64, 64, 3)
    sizes = []
    for quality in (30, 80, photo.JPEG_QUALITY):
        write_photo(tmp_path / "photo.jpg", Photo(image, format="JPEG"), quality)
        sizes.append((tmp_path / "photo.jpg").stat().st_size)
    assert sizes == sorted(sizes)
    error = read_photo(tmp_path / "photo.jpg").image.astype(float) - image
    assert np.sqrt(np.mean(error**2)) < 8  # noise, the worst that JPEG can meet


def test_the_format_follows_the_content_not_the_suffix(tmp_path):
    Image.fromarray(pixels(9, 14, 4)).save(tmp_path / "photo.jpg", "PNG")
    photo = read_photo(tmp_path / "photo.jpg")
    assert (photo.format, encode_photo(photo)[1:4]) == ("PNG", b"PNG")
    assert photo.alpha is not None


def test_what_a_format_cannot_hold_is_refused(tmp_path):
    deep, clear = Photo(pixels(4, 4, 3, dtype=np.uint16)), Photo(smooth(4, 4), alpha=pixels(4, 4))
    with pytest.raises(ValueError, match="JPEG holds 8 bits per channel, not 16; choose PNG or TIFF"):
        encode_photo(dataclasses.replace(deep, format="JPEG"))
    with pytest.raises(ValueError, match="JPEG holds no alpha"):
        encode_photo(dataclasses.replace(clear, format="JPEG"))


@pytest.mark.parametrize("name", ["w.xyz", "w.png", "w"])
def test_a_suffix_of_another_format_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"a photo of format TIFF is written as \.tif or \.tiff, not"):
        write_photo(tmp_path / name, Photo(smooth(8, 8), format="TIFF"))
    assert list(tmp_path.iterdir()) == []


def test_phone_pictures_with_a_second_picture_are_read(tmp_path):
    image = Image.fromarray(smooth(16, 16))
    image.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[image])
    with Image.open(tmp_path / "phone.jpg") as phone:
        assert (phone.format, phone.n_frames) == ("MPO", 2)
    assert read_photo(tmp_path / "phone.jpg").format == "JPEG"


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_narrow_pictures(tmp_path, size):
    Image.fromarray(pixels(*size, 3)).save(tmp_path / "narrow.png")
    assert photo_size(tmp_path / "narrow.png") == size
    assert read_photo(tmp_path / "narrow.png").image.shape == (*size, 3)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path, file_format):
    """A limit on the size of files stops a write in its middle, as a full disk does."""
    photo = Photo(pixels(64, 64, 3), format=file_format)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_photo(tmp_path / f"photo.{file_format.lower()}", photo)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


# Files that cannot be used.


def refusal(path):
    """The message for a file, which begins with its name and is one line; no warning escapes."""
    with warnings.catch_warnings(), pytest.raises(InputError) as raised:
        warnings.simplefilter("error")
        read_photo(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_files_that_are_no_pictures_are_named(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    assert refusal(tmp_path / "text.png") == "is not a picture, or is damaged; check whether another program opens it"
    assert refusal(tmp_path / "empty.png") == "is empty; copy it again from the original"
    os.mkfifo(tmp_path / "pipe.png")
    assert refusal(tmp_path / "folder.png") == "is a folder, not a file"
    assert refusal(tmp_path / "pipe.png") == "is a pipe or a device, not a file"
    assert refusal(tmp_path / "absent.png") == "no such file"
    assert refusal(tmp_path / "loop.png") == "cannot be read (Too many levels of symbolic links)"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_are_named(tmp_path):
    (tmp_path / "secret.png").touch(mode=0)
    assert refusal(tmp_path / "secret.png") == "cannot be read (Permission denied)"


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp"])
def test_truncated_files_are_named(tmp_path, suffix):
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(pixels(40, 40, 3)).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    assert refusal(path)


def test_damage_in_the_middle_of_a_png_is_named(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(pixels(40, 40, 3)).save(path)
    content = bytearray(path.read_bytes())
    for place in range(100, len(content) - 100, 500):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert refusal(path).startswith("cannot be read as a picture (")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("extra", [16, 12_000])
def test_a_jpeg_whose_header_promises_more_than_the_data_hold_is_named(tmp_path, extra, progressive):
    path = tmp_path / "photo.jpg"
    Image.fromarray(smooth(48, 64)).save(path, progressive=progressive)
    content = path.read_bytes()
    place = content.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    path.write_bytes(content[:place] + struct.pack(">H", 48 + extra) + content[place + 2 :])
    assert "there are fewer pixels than its header says" in refusal(path)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_grey_jpeg_is_not_taken_for_one_that_was_filled_up(tmp_path, mode, progressive):
    image = Image.new(mode, (50, 40), 128 if mode == "L" else (128, 128, 128))
    image.save(tmp_path / "grey.jpg", progressive=progressive)
    assert (read_photo(tmp_path / "grey.jpg").image == 128).all()


def test_a_jpeg_of_very_many_scans_is_refused(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.fromarray(smooth(48, 64)).save(path, progressive=True)
    content = path.read_bytes()
    scans = [match.start() for match in re.finditer(rb"\xff\xda", content)]
    assert photo._num_scans(content) == len(scans) < 20
    path.write_bytes(content[:-2] + content[scans[-1] : -2] * 3000 + content[-2:])
    assert refusal(path) == "has more than 100 scans, which would take long to read; save it again"


def test_scans_behind_the_picture_do_not_count(tmp_path):
    """Phones append previews, and films in which any bytes may occur."""
    path = tmp_path / "photo.jpg"
    Image.fromarray(smooth(48, 64)).save(path, exif=b"Exif\0\0" + b"\xff\xda" * 200)
    path.write_bytes(path.read_bytes() + b"\xff\xda" * 200)
    assert read_photo(path).image.shape == (48, 64, 3)


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_uncompressed_16_bit_tiff_with_short_strips_is_named(tmp_path, byte_order):
    array = pixels(40, 30, 3, dtype=np.uint16)
    write_raw_tiff(tmp_path / "short.tif", array, byte_order, strip_bytes=array.nbytes - 30)
    assert "it is truncated or damaged" in refusal(tmp_path / "short.tif")
    write_raw_tiff(tmp_path / "whole.tif", array, byte_order)
    np.testing.assert_array_equal(read_photo(tmp_path / "whole.tif").image, array)


def test_tiff_of_very_many_pages_is_refused(tmp_path):
    """Reading all directories of this file takes half a minute."""
    path, count = tmp_path / "pages.tif", 300_000
    entries = [(256, 3, 8), (257, 3, 8), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 0), (277, 3, 1), (279, 4, 64)]
    tags = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", tag, kind, 1, v) for tag, kind, v in entries)
    size = len(tags) + 4
    pages = (tags + struct.pack("<I", 8 + size * number) for number in range(1, count))
    path.write_bytes(b"II*\0\x08\0\0\0" + b"".join(pages) + tags + bytes(4))
    assert refusal(path) == "holds more than one picture (animation or pages); save each one as a file"


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_truncated_16_bit_files_are_named(tmp_path, suffix):
    path = tmp_path / f"deep.{suffix}"
    write_deep(path, pixels(200, 40, 3, dtype=np.uint16))
    path.write_bytes(path.read_bytes()[:-2000])
    assert refusal(path)


def test_colours_and_animations_that_are_not_supported_are_named(tmp_path):
    image = Image.fromarray(smooth(8, 8))
    image.convert("CMYK").save(tmp_path / "press.jpg")
    image.convert("F").save(tmp_path / "float.tif")
    image.save(tmp_path / "moving.gif", save_all=True, append_images=[image.rotate(90)])
    image.save(tmp_path / "moving.png", save_all=True, append_images=[image.rotate(90)])
    image.save(tmp_path / "moving.webp", save_all=True, append_images=[image.rotate(90)])
    image.save(tmp_path / "pages.tif", save_all=True, append_images=[image.rotate(90)])
    assert (
        refusal(tmp_path / "press.jpg")
        == "has pixels of the kind CMYK, which is not supported; save it as RGB of 8 or 16 bits"
    )
    assert refusal(tmp_path / "float.tif").startswith("has pixels of the kind F")
    gif = "is in the format GIF; save it as PNG, JPEG, WebP, TIFF or BMP, an animation as MP4"
    assert refusal(tmp_path / "moving.gif") == gif
    for name in ("moving.png", "moving.webp", "pages.tif"):
        assert refusal(tmp_path / name) == "holds more than one picture (animation or pages); save each one as a file"


def test_16_bit_tiff_that_would_be_read_wrongly_is_refused(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    image = pixels(40, 40, 3, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "tiles.tif", image, tile=(16, 16), photometric="rgb")
    tifffile.imwrite(tmp_path / "press.tif", pixels(40, 40, 4, dtype=np.uint16), photometric="separated")
    assert refusal(tmp_path / "tiles.tif") == "16-bit TIFF in tiles is not supported; save it in strips"
    assert refusal(tmp_path / "press.tif")


def test_sizes_beyond_the_limits_are_refused_by_the_header_alone(tmp_path):
    for name, width, height in (("bomb.png", 60_000, 60_000), ("long.png", 200_000, 1)):
        header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        lossless_chunk = sixteen_bit._chunk(header[:4], header[4:])
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n" + lossless_chunk + sixteen_bit._chunk(b"IDAT", b"\0" * 8))
    assert refusal(tmp_path / "bomb.png") == "has more pixels than the limit of 178956970; cut it into parts"
    assert (
        refusal(tmp_path / "long.png")
        == "1x200000 (height x width) is beyond the limit of 100000 pixels a side; cut it into parts"
    )


def test_heic_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    assert refusal(tmp_path / "photo.heic") == "HEIC needs the package pillow-heif: pip install -e '.[heic]'"
