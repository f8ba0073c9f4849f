"""Folders of blurry and sharp images -> checked pairs of files.

Layouts:

- gopro, GOPRO_Large as shipped: ``train|test/GOPRxxxx_xx_xx/{blur_gamma,blur,sharp}/000001.png``;
- reds, REDS as shipped: ``train/train_{blur,sharp}/000/00000000.png``, ``val/val_{blur,sharp}/...``;
- pairs: ``blur/`` and ``sharp/`` with equal names, or both inside ``train/`` and ``test/``.

The blurry and the sharp image of a pair have the same name in two folders, or the same path below them: scenes may have
folders of their own, ``blur/scene 1/000001.png`` beside ``sharp/scene 1/000001.png``. Everything that is wrong with a
data set is found here, before the first training step, and named.
"""

import filecmp
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tf_deepdeblur.config import WHERE_TO_GET
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.images import IMAGE_SUFFIXES, image_size, read_crop, read_image

_EXPECTED = {
    "gopro": "{split}/<sequence>/{blur_key}/*.png and {split}/<sequence>/sharp/*.png",
    "reds": "{split}/{split}_blur/<clip>/*.png and {split}/{split}_sharp/<clip>/*.png",
    "pairs": "blur/*.png and sharp/*.png (or {split}/blur/*.png and {split}/sharp/*.png)",
}
VALIDATION_FOLDER = {"gopro": "test", "reds": "val", "pairs": "test"}


class Pair(NamedTuple):
    """Two files that show the same scene; ``name`` is their path below the data set, for people."""

    name: str
    blurry: Path
    sharp: Path


def find_pairs(dataset: str, data_dir: str | os.PathLike, split: str, blur_key: str = "blur_gamma") -> list[Pair]:
    """All pairs of a data set, ordered by name.

    Args:
        dataset: "gopro", "reds" or "pairs".
        data_dir: the folder of the data set; ``~`` is expanded.
        split: "train" or "validation".
        blur_key: "blur_gamma" or "blur"; which blurry images of gopro.

    Returns:
        A list of Pair, never empty.

    Raises:
        InputError: naming the folder and the expected layout if nothing is found, or the files without a partner.
    """
    root = Path(data_dir).expanduser()
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "no such folder"
        where = WHERE_TO_GET.get(dataset, "")
        raise InputError(f"{root}: {what}; `data_dir` must name the folder of the {dataset} data set{where}")
    folder = "train" if split == "train" else VALIDATION_FOLDER[dataset]
    if dataset == "gopro":
        sequences = [path for path in (root / folder).glob("*") if path.is_dir()]
        folders = [(sequence / blur_key, sequence / "sharp") for sequence in sequences]
    elif dataset == "reds":
        folders = [(root / folder / f"{folder}_blur", root / folder / f"{folder}_sharp")]
    else:
        base = root / folder if (root / folder).is_dir() else root
        folders = [(base / "blur", base / "sharp")]
    pairs = sorted(pair for blurry, sharp in sorted(folders) for pair in _match(root, blurry, sharp))
    if not pairs:
        expected = _EXPECTED[dataset].format(split=folder, blur_key=blur_key)
        other = next((path.relative_to(root) for path in root.rglob("*") if _is_image(path)), None)
        found = f"there is {other}" if other else "there is no image below it"
        where = WHERE_TO_GET.get(dataset, "")
        raise InputError(f"{root}: no images in the layout of `dataset={dataset}`; expected {expected}, {found}{where}")
    return pairs


def check_pairs(pairs: list[Pair], smallest: int = 1) -> np.ndarray:
    """Reads every file's header; returns the images' sizes as an int array [len(pairs), 2] of (height, width).

    Raises:
        InputError: naming the files, if an image cannot be opened, two partners differ in size, a side is below
            ``smallest`` (the patch), or the blurry images are the sharp ones.
    """
    sizes = []
    for pair in pairs:
        blurry, sharp = image_size(pair.blurry), image_size(pair.sharp)
        if blurry != sharp:
            raise InputError(
                f"{pair.blurry} is {blurry[0]}x{blurry[1]} (height x width) but {pair.sharp} is "
                f"{sharp[0]}x{sharp[1]}; partners must have equal sizes"
            )
        sizes.append(blurry)
    check_sizes([pair.blurry for pair in pairs], np.array(sizes), smallest)
    if all(pair.blurry.samefile(pair.sharp) or filecmp.cmp(pair.blurry, pair.sharp, shallow=False) for pair in pairs):
        raise InputError(
            f"{pairs[0].blurry.parent} and {pairs[0].sharp.parent}: the blurry images are the sharp images; "
            "give a folder of blurry ones"
        )
    return np.array(sizes)


def check_sizes(names: Sequence[str | Path], sizes: np.ndarray, smallest: int) -> None:
    """Raises InputError naming the first image with a side below ``smallest``."""
    small = np.flatnonzero(sizes.min(axis=1, initial=smallest) < smallest)
    if len(small):
        height, width = sizes[small[0]]
        raise InputError(
            f"{names[small[0]]}: {height}x{width} (height x width), but training takes {smallest} pixels or more "
            f"({len(small)} such images); remove it or use a smaller `patch_size`"
        )


class PairFolder:
    """Pairs of image files that are decoded when they are needed; the most recently used are cached in memory.

    Any number of threads may use it; what several want at the same time is decoded once.

    Args:
        pairs: list of Pair.
        sizes: result of ``check_pairs``.
        cache_bytes: how much decoded data to keep; the rest is decoded again each time. With 0 a crop decodes no more
            of its files than it needs.

    Attributes:
        pairs: list of Pair.
        sizes: int array [pairs, 2] of height and width.
    """

    def __init__(self, pairs: list[Pair], sizes: np.ndarray, cache_bytes: int = 2**30):
        self.pairs = pairs
        self.sizes = sizes
        self._cache: OrderedDict[int, tuple[np.ndarray, np.ndarray]] = OrderedDict()  # the one used last comes last
        self._cache_bytes = cache_bytes
        self._room = cache_bytes
        self._lock = threading.Lock()  # of the cache
        self._decoding = [threading.Lock() for _ in pairs]

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        """The name of a pair, for people."""
        return self.pairs[index].name

    def read_pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The whole (blurry, sharp) images, uint8 [H, W, 3] each.

        Raises:
            InputError: naming the file, if it cannot be read or has changed its size.
        """
        with self._decoding[index]:
            with self._lock:
                if index in self._cache:
                    self._cache.move_to_end(index)
                    return self._cache[index]
            pair = self._read(index, read_image)
            with self._lock:
                self._cache[index] = pair
                self._room -= pair[0].nbytes + pair[1].nbytes
                while self._room < 0:
                    _, (blurry, sharp) = self._cache.popitem(last=False)
                    self._room += blurry.nbytes + sharp.nbytes
            return pair

    def crop(self, index: int, top: int, left: int, side: int) -> np.ndarray:
        """The same ``side`` x ``side`` pixels of both images, uint8 [2, side, side, 3]; raises as ``read_pair``."""
        if not self._cache_bytes:
            return np.stack(self._read(index, lambda path: read_crop(path, top, left, side, side)))
        return np.stack([image[top : top + side, left : left + side] for image in self.read_pair(index)])

    def _read(self, index, read):
        paths = self.pairs[index][1:]
        for path in paths:
            if image_size(path) != tuple(self.sizes[index]):
                raise InputError(f"{path}: changed its size since it was checked; restore the file")
        blurry, sharp = map(read, paths)
        return blurry, sharp


def _match(root, blurry, sharp):
    """The pairs of two folders, by the path below them."""
    names, partners = _image_names(blurry), _image_names(sharp)
    lonely = sorted(blurry / name for name in names - partners) + sorted(sharp / name for name in partners - names)
    if lonely:
        path, (here, there) = lonely[0], (blurry, sharp) if lonely[0].is_relative_to(blurry) else (sharp, blurry)
        stem = path.relative_to(here).with_suffix("")
        similar = sorted(name for name in (partners if there == sharp else names) if name.with_suffix("") == stem)
        hint = f", only {similar[0]} with another suffix" if similar else ""
        raise InputError(
            f"{path}: no partner in {there}{hint} ({len(lonely)} such files); partners must have equal names"
        )
    return [Pair(str((blurry / name).relative_to(root)), blurry / name, sharp / name) for name in names]


def _image_names(folder):
    """The images at any depth of a folder, as paths below it."""
    paths = (Path(parent, name) for parent, _, names in os.walk(folder, followlinks=True) for name in names)
    return {path.relative_to(folder) for path in paths if _is_image(path)}


def _is_image(path):
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
