"""Packed store: all pairs of a data set, decoded, in one file that training reads through a memory map.

A random crop touches only its own rows, nothing is decoded, and processes share the system's page cache. The file is

    magic, version, length and CRC-32 of the header        24 bytes
    header                                                  JSON: blur key, data set, and of every pair names and size
    CRC-32 of every image                                   uint32 [pairs, 2], blurry and sharp; 0 is not written yet
    pixels                                                  uint8, image after image, from a multiple of 4096 on

It is written as ``.part`` beside its place, which it takes when it is whole. Started again, images whose checksum is
there and right are kept; equal data sets give equal bytes, however often it was stopped. Numbers are little-endian.
"""

import errno
import json
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from tf_deepdeblur.data.pairs import Pair, check_sizes
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.atomic import is_full, locked
from tf_deepdeblur.runtime import num_cores

PARTS = ("train", "eval")
_MAGIC = b"DEBLURST"
_VERSION = 1
_START = struct.Struct("<8sIIQ")  # magic, version, CRC-32 of the header, its length
_PAGE = 4096
_REMEDY = "make it again with tools/pack_dataset.py"


class _Layout(NamedTuple):
    """What the header says, and where things are."""

    header: dict
    sizes: np.ndarray  # int64 [pairs, 2], height and width
    sums: int  # offset of the checksums
    pixels: np.ndarray  # int64 [pairs + 1], offset of each pair; the last is the file's size

    @property
    def pairs(self):
        """[name, blurry file, sharp file, height, width, bytes of the two files] of every pair, part after part."""
        return [pair for part in PARTS for pair in self.header["pairs"][part]]


def pack(sources, path, blur_key):
    """Writes the pairs of a data set as a packed store, or goes on where that was stopped.

    Args:
        sources: {"train": PairFolder, "eval": PairFolder or None}.
        path: the file to write.
        blur_key: "blur_gamma" or "blur" of gopro, "" for data sets with one kind of blur.

    Raises:
        InputError: if an image cannot be read; if the file is there and holds something else, is being written by
            another program, or cannot be written, for example because the disk is full.
    """
    path = Path(path)
    start, layout = _describe(sources, blur_key)
    part = path.with_name(f"{path.name}.part")
    try:
        _check_replaceable(path, start)
        part.touch()
        with locked(part):
            with _open_part(part, start, layout) as file:
                _fill(file, layout, [source for source in sources.values() if source is not None])
                os.fsync(file.fileno())
            part.replace(path)
    except OSError as error:
        remedy = "choose another --output"
        if is_full(error):
            size = f"it takes {layout.pixels[-1] / 2**30:.2f} GiB"
            remedy = f"{size}. Make room, then start the same command again: what is packed is kept"
        raise InputError(f"{path}: cannot be written ({error.strerror}); {remedy}") from error


class PackedStore:
    """One part of a packed store, with the interface of ``pairs.PairFolder``.

    Args:
        path: the file.
        part: "train" or "eval".
        smallest: least side of an image.

    Attributes:
        pairs: list of Pair; the names and files that were packed, below their data set's folder.
        sizes: int array [pairs, 2] of height and width.
        blur_key: "blur_gamma", "blur", or "" where the data set had one kind of blur.
        failure: always None: nothing can fail once the file is open.

    Raises:
        InputError: naming the file, if it is missing, of another kind or version, damaged, or not whole, or if images
            are smaller than ``smallest``.
    """

    failure = None

    def __init__(self, path, part="train", smallest=1):
        path = Path(path)
        layout = _read_layout(path)
        counts = [len(layout.header["pairs"][name]) for name in PARTS]
        first = 0 if part == "train" else counts[0]
        mine = slice(first, first + counts[PARTS.index(part)])
        self.pairs = [Pair(name, Path(blurry), Path(sharp)) for name, blurry, sharp, *_ in layout.pairs[mine]]
        self.sizes = layout.sizes[mine]
        self.blur_key = layout.header["blur_key"]
        self._offsets = layout.pixels[mine]
        self._bytes = _map(path)
        check_sizes([f"{path}: {pair.name}" for pair in self.pairs], self.sizes, smallest)

    def __len__(self):
        return len(self.pairs)

    def name(self, index):
        """The name of a pair, for people."""
        return self.pairs[index].name

    def frames(self, index):
        """The whole (blurry, sharp) images, uint8 [H, W, 3] each; read-only, and read from disk as they are used."""
        height, width = self.sizes[index]
        size = height * width * 3
        start = self._offsets[index]
        return tuple(self._bytes[first : first + size].reshape(height, width, 3) for first in (start, start + size))

    def crop(self, index, top, left, side):
        """The same ``side`` x ``side`` pixels of both images."""
        return tuple(frame[top : top + side, left : left + side] for frame in self.frames(index))


def verify(path):
    """Reads a whole store and compares every image with its checksum.

    Returns:
        The names of the images that are damaged, such as "train/a/blur/000001.png".

    Raises:
        InputError: if the file is missing, of another kind or version, or not whole.
    """
    layout = _read_layout(Path(path))
    data = _map(path)
    sums = _read_sums(data, layout)
    damaged = []
    for index, pair in enumerate(tqdm(layout.pairs, desc="verify", unit="pair")):
        found = [_checksum(image) for image in _images(data, layout, index)]
        damaged += [name for name, ours, theirs in zip(pair[1:3], found, sums[index], strict=True) if ours != theirs]
    return damaged


def _describe(sources, blur_key):
    """(first bytes of the file, _Layout) of sources."""
    pairs = {part: _list_pairs(sources[part]) if sources.get(part) else [] for part in PARTS}
    header = json.dumps({"blur_key": blur_key, "pairs": pairs}, separators=(",", ":")).encode()
    return _START.pack(_MAGIC, _VERSION, zlib.crc32(header), len(header)) + header, _layout(header)


def _list_pairs(source):
    rows = []
    for pair, (height, width) in zip(source.pairs, source.sizes.tolist(), strict=True):
        root = pair.blurry.parents[len(Path(pair.name).parts) - 1]
        names = [path.relative_to(root).as_posix() for path in pair[1:]]
        rows.append([pair.name, *names, height, width, *(path.stat().st_size for path in pair[1:])])
    return rows


def _layout(header_bytes):
    header = json.loads(header_bytes)
    rows = [pair for part in PARTS for pair in header["pairs"][part]]
    sizes = np.array([row[3:5] for row in rows], np.int64).reshape(-1, 2)
    sums = _START.size + len(header_bytes)
    first = -(-(sums + 8 * len(rows)) // _PAGE) * _PAGE
    return _Layout(header, sizes, sums, first + np.concatenate([[0], np.cumsum(sizes.prod(axis=1) * 6)]))


def _read_layout(path):
    """The layout of a whole store; see PackedStore for what it refuses."""
    try:
        with path.open("rb") as file:
            start = file.read(_START.size)
            if len(start) < _START.size or start[: len(_MAGIC)] != _MAGIC:
                raise InputError(f"{path}: is no packed store; {_REMEDY}, or choose another --dataset")
            _, version, checksum, length = _START.unpack(start)
            if version != _VERSION:
                raise InputError(f"{path}: is a packed store of version {version}, this is for {_VERSION}; {_REMEDY}")
            header = file.read(length)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a store of tools/pack_dataset.py") from error
    if len(header) != length or zlib.crc32(header) != checksum:
        raise InputError(f"{path}: its header is damaged; {_REMEDY}")
    layout = _layout(header)
    size = path.stat().st_size
    if size != layout.pixels[-1]:
        raise InputError(f"{path}: has {size:,} of {layout.pixels[-1]:,} bytes; copy it again or {_REMEDY}")
    if not _read_sums(_map(path), layout).all():
        raise InputError(f"{path}: was not packed to its end; {_REMEDY}")
    return layout


def _map(path):
    return np.asarray(np.memmap(path, np.uint8, "r"))


def _read_sums(data, layout):
    return data[layout.sums : layout.sums + 8 * len(layout.sizes)].view("<u4").reshape(-1, 2)


def _images(data, layout, index):
    """The bytes of the blurry and of the sharp image of a pair."""
    start, end = layout.pixels[index : index + 2]
    return data[start : (start + end) // 2], data[(start + end) // 2 : end]


def _checksum(image):
    return zlib.crc32(image) or 1  # 0 is kept for what is not written yet


def _check_replaceable(path, start):
    """Only a store of the same data set is packed anew in its place."""
    if path.exists():
        with path.open("rb") as file:
            if file.read(len(start)) != start:
                raise InputError(f"{path}: holds something else; remove it or choose another --output")


def _open_part(path, start, layout):
    """The unfinished file: the one that is there if it is of the same data set, else a new one of its full size."""
    size = int(layout.pixels[-1])
    if path.exists() and path.stat().st_size == size:
        file = path.open("r+b")
        if file.read(len(start)) == start:
            return file
        file.close()
    file = path.open("w+b")
    try:
        _allocate(file, size)  # a disk that is too small is told now
        _write(file, 0, start)
    except OSError:
        file.close()
        path.unlink()
        raise
    return file


def _allocate(file, size):
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except (AttributeError, OSError) as error:
        if getattr(error, "errno", errno.EOPNOTSUPP) not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        file.truncate(size)  # this system cannot allocate in advance


def _fill(file, layout, sources):
    """Decodes and writes, on all cores, the pairs whose checksums are not there or not right."""
    pairs = [(source, index) for source in sources for index in range(len(source))]
    with ThreadPoolExecutor(num_cores()) as pool:
        tasks = pool.map(lambda number: _pack_pair(file, layout, number, *pairs[number]), range(len(pairs)))
        for _ in tqdm(tasks, total=len(pairs), desc="pack", unit="pair", dynamic_ncols=True):
            pass


def _pack_pair(file, layout, number, source, index):
    place = layout.sums + 8 * number
    start, end = layout.pixels[number : number + 2].tolist()
    places = start, (start + end) // 2
    length = (end - start) // 2
    sums = struct.unpack("<II", os.pread(file.fileno(), 8, place))
    if all(sums) and all(_checksum(_read(file, at, length)) == total for at, total in zip(places, sums, strict=True)):
        return
    images = [np.ascontiguousarray(image).data.cast("B") for image in source.frames(index)]
    for at, image in zip(places, images, strict=True):
        _write(file, at, image)
    _write(file, place, struct.pack("<II", *map(_checksum, images)))  # after the pixels that it vouches for


def _read(file, place, length):
    return os.pread(file.fileno(), length, place)


def _write(file, place, data):
    while len(data):
        written = os.pwrite(file.fileno(), data, place)
        place, data = place + written, data[written:]
