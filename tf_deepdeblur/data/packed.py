"""Packed store: all pairs of a data set, decoded, in one HDF5 file that training reads through a memory map.

A random crop touches only its own rows, nothing is decoded, and processes share the system's page cache. The datasets
of the file are

    index       JSON: the blur key; name, two files, height, width and the files' sizes of every pair
    checksums   uint32 [pairs, 2], CRC-32 of the blurry and the sharp image; 0 is not written yet
    pixels      uint8, pair after pair, each the blurry image and then the sharp one

HDF5 lays out the file before the first pixel is there. Pixels and checksums are contiguous in it and written in place,
so that a program that is killed leaves a file to go on with: ``.part`` beside the store, which is renamed when it is
complete. Equal data sets give equal bytes, however often packing was stopped.
"""

import errno
import json
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from tqdm import tqdm

from tf_deepdeblur.data.pairs import Pair, PairFolder, check_sizes
from tf_deepdeblur.errors import InputError, first_line
from tf_deepdeblur.io.atomic import is_full, locked
from tf_deepdeblur.runtime import num_cores

PARTS = ("train", "validation")


class _Content(NamedTuple):
    """A store that is open for reading; arrays are memory maps."""

    index: dict
    pairs: list[Pair]
    sizes: np.ndarray  # int64 [pairs, 2], height and width
    starts: np.ndarray  # int64 [pairs], where each pair's pixels start
    checksums: np.memmap
    pixels: np.memmap

    def images(self, number):
        """The pixels of the blurry and of the sharp image of a pair, uint8 [H, W, 3] each."""
        height, width = self.sizes[number].tolist()
        start = self.starts[number]
        return np.asarray(self.pixels)[start : start + 6 * height * width].reshape(2, height, width, 3)


def pack(training: PairFolder, validation: PairFolder | None, path: str | os.PathLike, blur_key: str = "") -> None:
    """Writes the pairs of a data set as a packed store, or goes on where that was stopped.

    Args:
        training: the training pairs.
        validation: the validation pairs, or None.
        path: the file to write.
        blur_key: "blur_gamma" or "blur" of gopro, "" for data sets with one kind of blur.

    Raises:
        InputError: if an image cannot be read; if the file exists and holds something else, is being written by
            another program, or cannot be written, for example because the disk is full.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    sources = training, validation or PairFolder([], np.empty((0, 2), int))
    index = {"blur_key": blur_key}
    for name, source in zip(PARTS, sources, strict=True):
        index[name] = rows = []
        for pair, (height, width) in zip(source.pairs, source.sizes.tolist(), strict=True):
            root = pair.blurry.parents[len(Path(pair.name).parts) - 1]
            files = [file.relative_to(root).as_posix() for file in pair[1:]]
            rows.append([pair.name, *files, height, width, *(file.stat().st_size for file in pair[1:])])
    num_bytes = 6 * sum(int(source.sizes.prod(axis=1).sum()) for source in sources)
    try:
        if path.exists() and not _holds(path, index):
            raise InputError(f"{path}: holds something else; remove it or choose another `output`")
        if part.is_symlink() or (part.exists() and not part.is_file()):
            raise InputError(f"{part}: is no file; remove it")
        part.touch()
        with locked(part):
            if not _holds(part, index):
                _lay_out(part, index, num_bytes)
            _fill(part, [(source, number) for source in sources for number in range(len(source))])
            part.replace(path)
    except OSError as error:
        remedy = "choose another `output`"
        if is_full(error):
            size = f"it takes {num_bytes / 2**30:.2f} GiB"
            remedy = f"{size}. Make room, then start the same command again: what is packed is kept"
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); {remedy}") from error


class PackedStore:
    """One part of a packed store, with the interface of ``pairs.PairFolder``.

    Args:
        path: the file.
        part: "train" or "validation".
        smallest: least side of an image.

    Attributes:
        pairs: list of Pair; the names and files that were packed, below their data set's folder.
        sizes: int array [pairs, 2] of height and width.
        blur_key: "blur_gamma", "blur", or "" where the data set had one kind of blur.

    Raises:
        InputError: naming the file, if it is missing, no packed store, damaged or incomplete, or if images are smaller
            than ``smallest``.
    """

    def __init__(self, path: str | os.PathLike, part: str = "train", smallest: int = 1):
        self._content = _read(Path(path))
        if not self._content.checksums.all():
            raise InputError(f"{path}: was not packed to its end; pack the data set again")
        count = len(self._content.index["train"])
        mine = slice(0, count) if part == "train" else slice(count, None)
        self._first = mine.start
        self.pairs: list[Pair] = self._content.pairs[mine]
        self.sizes: np.ndarray = self._content.sizes[mine]
        self.blur_key: str = self._content.index["blur_key"]
        check_sizes([f"{path}: {pair.name}" for pair in self.pairs], self.sizes, smallest)

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        """The name of a pair, for people."""
        return self.pairs[index].name

    def read_pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The whole (blurry, sharp) images, uint8 [H, W, 3] each; read-only, and read from disk as they are used."""
        blurry, sharp = self._content.images(self._first + index)
        return blurry, sharp

    def crop(self, index: int, top: int, left: int, side: int) -> np.ndarray:
        """The same ``side`` x ``side`` pixels of both images, uint8 [2, side, side, 3]; read-only."""
        return self._content.images(self._first + index)[:, top : top + side, left : left + side]


def verify(path: str | os.PathLike) -> list[str]:
    """Reads a whole store and compares every image with its checksum.

    Returns:
        The names of the images that are damaged, such as "train/a/blur/000001.png".

    Raises:
        InputError: if the file is missing, no packed store, or incomplete.
    """
    content = _read(Path(path))
    damaged = []
    for number, pair in enumerate(tqdm(content.pairs, desc="verify", unit="pair")):
        for file, image, expected in zip(pair[1:], content.images(number), content.checksums[number], strict=True):
            if _checksum(image) != expected:
                damaged.append(file.as_posix())
    return damaged


def _holds(path, index):
    """Whether a file is a store, complete or not, of exactly these pairs."""
    try:
        return _read(path).index == index
    except InputError:
        return False


def _read(path):
    """A store as _Content; whatever is wrong with the file is an InputError of one line."""
    if not path.is_file():
        raise InputError(f"{path}: {'is no file' if path.exists() else 'no such file'}; give a packed store")
    try:
        with h5py.File(path, "r", locking=False) as file:
            if file["index"].nbytes > path.stat().st_size:  # a lie that would take all memory
                raise ValueError("the index is damaged")
            index = json.loads(file["index"][()].tobytes())
            checksums, pixels = (
                np.memmap(path, kind, "r", file[name].id.get_offset(), file[name].shape)
                for name, kind in (("checksums", "<u4"), ("pixels", np.uint8))
            )
        rows = [row for part in PARTS for row in index[part]]
        pairs = [Pair(name, Path(blurry), Path(sharp)) for name, blurry, sharp, *_ in rows]
        sizes = np.array([row[3:5] for row in rows], np.int64).reshape(-1, 2)
        ends = np.cumsum(6 * sizes.prod(axis=1))
        if (sizes < 1).any() or checksums.shape != (len(rows), 2) or pixels.shape != (ends[-1],):
            raise ValueError("its datasets do not fit together")
        return _Content(index, pairs, sizes, ends - 6 * sizes.prod(axis=1), checksums, pixels)
    except (OSError, RuntimeError, KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError) as error:
        # h5py and JSON raise all of these for files that are damaged, truncated or of another kind
        raise InputError(
            f"{path}: is no packed store, or damaged ({first_line(error)}); pack the data set again"
        ) from error


def _lay_out(path, index, num_bytes):
    """Makes a store of its full size that has no pixels yet."""
    access, creation, in_advance = map(
        h5py.h5p.create, (h5py.h5p.FILE_ACCESS, h5py.h5p.FILE_CREATE, h5py.h5p.DATASET_CREATE)
    )
    # This format has checksums for all that describes the data; the index gets one from fletcher32.
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    access.set_file_locking(False, False)  # ``locked`` does it
    creation.set_obj_track_times(False)  # equal data sets give equal bytes
    in_advance.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    in_advance.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    text = np.frombuffer(json.dumps(index, separators=(",", ":")).encode(), np.uint8)
    num_pairs = sum(len(index[part]) for part in PARTS)
    try:
        with h5py.File(h5py.h5f.create(os.fsencode(path), h5py.h5f.ACC_TRUNC, creation, access)) as file:
            file.create_dataset("index", data=text, fletcher32=True)
            file.create_dataset("checksums", (num_pairs, 2), "<u4", dcpl=in_advance.copy())
            file.create_dataset("pixels", num_bytes, np.uint8, dcpl=in_advance.copy())
        with path.open("r+b") as file:
            try:  # a disk that is too small is told now
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except (AttributeError, OSError) as error:
                if getattr(error, "errno", errno.EOPNOTSUPP) not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
    except OSError:
        path.unlink()
        raise


def _fill(path, pairs):
    """Decodes and writes, on all cores, the pairs whose checksums are not there or not right."""
    content = _read(path)

    def write(place, data):
        while len(data):
            written = os.pwrite(file.fileno(), data, place)
            place, data = place + written, data[written:]

    def fill(number):
        expected = content.checksums[number]
        if expected.all() and [_checksum(image) for image in content.images(number)] == expected.tolist():
            return
        source, index = pairs[number]
        images = np.stack(source.read_pair(index))
        write(content.pixels.offset + content.starts[number], images.data.cast("B"))
        sums = np.array([_checksum(image) for image in images], "<u4")
        write(content.checksums.offset + 8 * number, sums.tobytes())  # after the pixels that they vouch for

    with path.open("r+b") as file, ThreadPoolExecutor(num_cores()) as pool:
        tasks = pool.map(fill, range(len(pairs)))
        for _ in tqdm(tasks, total=len(pairs), desc="pack", unit="pair", dynamic_ncols=True):
            pass
        os.fsync(file.fileno())


def _checksum(image):
    return zlib.crc32(image) or 1  # 0 is kept for what is not written yet
