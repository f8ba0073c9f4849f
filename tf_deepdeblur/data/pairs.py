"""Folders of blurry and sharp images -> checked pairs of files.

Layouts, with ``split`` "train" or "eval":

- gopro, GOPRO_Large as shipped: ``train|test/GOPRxxxx_xx_xx/{blur_gamma,blur,sharp}/000001.png``;
- reds, REDS as shipped: ``train/train_{blur,sharp}/000/00000000.png``, ``val/val_{blur,sharp}/...``;
- pairs: ``blur/`` and ``sharp/`` with equal names, or both inside ``train/`` and ``test/``.

The blurry and the sharp image of a pair have the same name in two folders. Everything that is wrong with a data set is
found here, before the first training step, and named.
"""

import filecmp
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.pixels import IMAGE_SUFFIXES, image_size, read_crop, read_image

_EXPECTED = {
    "gopro": "{split}/<sequence>/{blur_key}/*.png and {split}/<sequence>/sharp/*.png",
    "reds": "{split}/{split}_blur/<clip>/*.png and {split}/{split}_sharp/<clip>/*.png",
    "pairs": "blur/*.png and sharp/*.png (or {split}/blur/*.png and {split}/sharp/*.png)",
}
EVAL_FOLDER = {"gopro": "test", "reds": "val", "pairs": "test"}


class Pair(NamedTuple):
    """Two files that show the same scene; ``name`` is their path below the data set, for people."""

    name: str
    blurry: Path
    sharp: Path


def find_pairs(dataset, data_dir, split, blur_key="blur_gamma"):
    """All pairs of a data set, ordered by name.

    Args:
        dataset: "gopro", "reds" or "pairs".
        data_dir: the folder of the data set; ``~`` is expanded.
        split: "train" or "eval".
        blur_key: "blur_gamma" or "blur"; which blurry images of gopro.

    Returns:
        A list of Pair, never empty.

    Raises:
        InputError: naming the folder and the expected layout if nothing is found, or the files without a partner.
    """
    root = Path(data_dir).expanduser()
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "no such folder"
        raise InputError(f"{root}: {what}; --data_dir must name the folder of the {dataset} data set")
    folder = "train" if split == "train" else EVAL_FOLDER[dataset]
    pairs = [
        pair for blurry, sharp in _folders(dataset, root, folder, blur_key) for pair in _match(root, blurry, sharp)
    ]
    if not pairs:
        expected = _EXPECTED[dataset].format(split=folder, blur_key=blur_key)
        raise InputError(f"{root}: no images in the layout of --dataset={dataset}; expected {expected}")
    return sorted(pairs)


def check_pairs(pairs, smallest=1):
    """Reads every file's header; returns the images' sizes as an int array [len(pairs), 2] of (height, width).

    Raises:
        InputError: naming the files, if an image cannot be opened, two partners differ in size, a side is below
            ``smallest`` (the patch), or the blurry images are the sharp ones.
    """
    sizes = np.array([_common_size(pair) for pair in pairs])
    check_sizes([pair.blurry for pair in pairs], sizes, smallest)
    if all(_is_same_file(pair) for pair in pairs):
        raise InputError(
            f"{pairs[0].blurry.parent} and {pairs[0].sharp.parent}: the blurry images are the sharp images; "
            "give a folder of blurry ones"
        )
    return sizes


def check_sizes(names, sizes, smallest):
    """Raises InputError naming the first image with a side below ``smallest``."""
    small = np.flatnonzero(sizes.min(axis=1, initial=smallest) < smallest)
    if len(small):
        height, width = sizes[small[0]]
        raise InputError(
            f"{names[small[0]]}: {width}x{height}, but training takes {smallest} pixels or more ({len(small)} such "
            "images); remove it, or lower --patch_size, or --adversarial_weight=0 for held-out images"
        )


class PairFolder:
    """Pairs of image files that are decoded when they are needed; those used last are kept in memory.

    Any number of threads may use it; what several want at the same time is decoded once.

    Args:
        pairs: list of Pair.
        sizes: result of ``check_pairs``.
        cache_bytes: how much decoded data to keep; the rest is decoded again each time. With 0 a crop decodes no more
            of its files than it needs.

    Attributes:
        failure: None, or the InputError of the first file that could not be read (inside a tf.data pipeline the
            exception itself is lost).
    """

    def __init__(self, pairs, sizes, cache_bytes=2**30):
        self.pairs = pairs
        self.sizes = sizes
        self.failure = None
        self._decoded = {}  # the one that was used last comes last
        self._cache_bytes = cache_bytes
        self._room = cache_bytes
        self._lock = threading.Lock()
        self._decoding = [threading.Lock() for _ in pairs]

    def __len__(self):
        return len(self.pairs)

    def name(self, index):
        """The name of a pair, for people."""
        return self.pairs[index].name

    def frames(self, index):
        """The whole (blurry, sharp) images, uint8 [H, W, 3] each; InputError names a file that cannot be read."""
        with self._decoding[index]:
            frames = self._kept(index)
            return self._keep(index, self._decode(index)) if frames is None else frames

    def crop(self, index, top, left, side):
        """The same ``side`` x ``side`` pixels of both images."""
        if not self._cache_bytes:
            return self._read_both(index, lambda path: read_crop(path, top, left, side, side))
        return tuple(frame[top : top + side, left : left + side] for frame in self.frames(index))

    def _decode(self, index):
        return self._read_both(index, read_image)

    def _read_both(self, index, read):
        try:
            for path in self.pairs[index][1:]:
                if image_size(path) != tuple(self.sizes[index]):
                    raise InputError(f"{path}: changed its size since it was checked; restore the file")
            return tuple(map(read, self.pairs[index][1:]))
        except InputError as error:
            self.failure = self.failure or error
            raise

    def _kept(self, index):
        with self._lock:
            frames = self._decoded.pop(index, None)
            if frames is not None:
                self._decoded[index] = frames
            return frames

    def _keep(self, index, frames):
        """Keeps what was decoded, in place of what was not used for the longest time."""
        with self._lock:
            self._decoded[index] = frames
            self._room -= _num_bytes(frames)
            while self._room < 0:
                oldest = next(iter(self._decoded))
                self._room += _num_bytes(self._decoded.pop(oldest))
        return frames


def _num_bytes(frames):
    return sum(frame.nbytes for frame in frames)


def _folders(dataset, root, folder, blur_key):
    """(blurry folder, sharp folder) of every sequence, sorted."""
    if dataset == "gopro":
        sequences = sorted(path for path in (root / folder).glob("*") if path.is_dir())
        return [(sequence / blur_key, sequence / "sharp") for sequence in sequences]
    if dataset == "reds":
        parts = [root / folder / f"{folder}_{kind}" for kind in ("blur", "sharp")]
        clips = sorted({path.name for part in parts for path in part.glob("*") if path.is_dir()})
        return [tuple(part / clip for part in parts) for clip in clips]
    base = root / folder if (root / folder).is_dir() else root
    return [(base / "blur", base / "sharp")]


def _match(root, blurry, sharp):
    """The pairs of two folders, by file name."""
    names, partners = _image_names(blurry), _image_names(sharp)
    lonely = sorted(blurry / name for name in names - partners) + sorted(sharp / name for name in partners - names)
    if lonely:
        other = sharp if lonely[0].parent == blurry else blurry
        raise InputError(f"{lonely[0]}: no partner in {other} ({len(lonely)} such files); add it or remove this file")
    return [Pair(str((blurry / name).relative_to(root)), blurry / name, sharp / name) for name in names]


def _image_names(folder):
    if not folder.is_dir():
        return set()
    return {path.name for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()}


def _common_size(pair):
    blurry, sharp = image_size(pair.blurry), image_size(pair.sharp)
    if blurry != sharp:
        sizes = [f"{width}x{height}" for height, width in (blurry, sharp)]
        raise InputError(f"{pair.blurry} is {sizes[0]} but {pair.sharp} is {sizes[1]}; partners must have equal sizes")
    return blurry


def _is_same_file(pair):
    return pair.blurry.samefile(pair.sharp) or filecmp.cmp(pair.blurry, pair.sharp, shallow=False)
