"""Exported tiles (``tiles_<quantize>/``): images of any size through TFLite files of the single scales, by LiteRT.

What such a folder promises stands in its ``model.json``: which files there are and their SHA-256, how far a scale sees
(``halo``), and how far a window of the coarser scale goes beyond the finer one's (``coarse_margin``). Every file is
compared with its SHA-256 before it is loaded, as LiteRT does not check what a file says. The bytes that were compared
stay in memory: a file may be opened many times, and the folder replaced meanwhile.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tf_deepdeblur import runtime
from tf_deepdeblur.errors import InputError, first_line
from tf_deepdeblur.inference import scale_by_scale, tile_geometry
from tf_deepdeblur.inference.exported import SIGNATURE, open_interpreter, unusable
from tf_deepdeblur.inference.scale_by_scale import SMALLEST_TILE

DESCRIPTION = "model.json"
FORMAT = "tiles"
FORMAT_VERSION = 1
# Largest values that model.json may have; a network has at most 100 ResBlocks of 31x31.
_LARGEST = {"num_scales": 3, "multiple": 8, "halo": 6060, "coarse_margin": 15, "bytes_per_pixel": 2**24}
_BUDGET = 2**31  # bytes; twice as much would save a fifth of the arithmetic of the paper's network


class TFLiteTiles:
    """A callable: blurry uint8 image [H, W, 3] in, restored image of the same size out.

    Args:
        folder: holds ``model.json`` and the files that it names.
        tile: side of the tiles in pixels of each scale, without their halo, at least 32; "auto" makes the largest tiles
            that suit the free memory. Where memory runs out the side is halved.

    Raises:
        InputError: naming the folder or the file, if it is missing, damaged or not an export of this package; or if
            ``tile`` is neither "auto" nor at least 32.
    """

    def __init__(self, folder: str | Path, tile: int | str = "auto"):
        self._folder = Path(folder)
        description = _read_description(self._folder)
        if tile != "auto" and not (isinstance(tile, int) and tile >= SMALLEST_TILE):
            raise InputError(f"`tile` must be auto or at least {SMALLEST_TILE} pixels for exported tiles, got {tile!r}")
        self.num_scales = description["num_scales"]
        self.space_to_depth = description["multiple"] // 2 ** (self.num_scales - 1)  # the pyramid needs the rest of it
        self.halo = description["halo"]
        self._margin = description["coarse_margin"]
        self._tile = tile
        self._max_side = None  # tiles must not be larger, as memory has run out
        self._bytes_per_pixel = description["bytes_per_pixel"]
        self._opened = {}  # the functions of the files that LiteRT holds, by name
        self._keeps_files = False
        self._contents = {name: _sound_content(self._folder, name, description) for name in file_names(self.num_scales)}
        for name in self._contents:
            self._open(name, is_quiet=True)

    def __call__(self, image: np.ndarray, progress: Callable[[float], object] | None = None) -> np.ndarray:
        """Restores one image; ``progress`` is called after every tile with the share of the work that is done.

        Raises:
            InputError: naming the file, if it gives something else than a window of an image.
        """
        # A file keeps the memory of its last window. What all levels of a small image take fits beside each other, and
        # the next image or video frame finds the files open.
        area = image.shape[0] * image.shape[1]
        self._keeps_files = 2 * area * self._bytes_per_pixel <= _budget()
        return scale_by_scale.restore_by_scales(self, image, progress)

    def halve(self, window: np.ndarray) -> np.ndarray:
        """The next level of a float32 window [H, W, 3]."""
        shape = (window.shape[0] // 2, window.shape[1] // 2, 3)
        return self._run("halve.tflite", shape, np.float32, image=window[None])

    def tile_side(self, k: int, height: int, width: int) -> int:
        """Side of the tiles of level k, which has that size."""
        side = self._tile
        if side == "auto":
            if not self._keeps_files:
                self._opened = {}  # what the last level took is free again, before it is measured
            side = tile_geometry.largest_side(height, width, self.halo, _budget() // self._bytes_per_pixel)
            side = max(side, SMALLEST_TILE)
        return min(side, self._max_side) if self._max_side else side

    def shrink_tiles(self, side: int, error: Exception) -> int:
        """Halves the tiles from now on, after memory has run out with ``side`` pixels; returns the new side.

        Raises:
            InputError: if the tiles are the smallest already.
        """
        self._opened, self._keeps_files = {}, False
        self._max_side = scale_by_scale.halved_side(side, error)
        return self._max_side

    def restore_tile(
        self, k: int, tile: tile_geometry.Tile, blurry: np.ndarray, coarse: np.ndarray | None
    ) -> np.ndarray:
        """The pixels of level k that a tile keeps, in the type of ``blurry``; see ``scale_by_scale.Scales``."""
        rows, columns = tile
        window = blurry[rows.seen, columns.seen]
        inputs = {"blurry": window[None]}
        if coarse is not None:
            inputs["coarse"] = _with_margin(coarse, tile, self._margin)[None]
        restored = self._run(f"scale_{k}.tflite", window.shape, window.dtype, **inputs)
        return restored[rows.kept_in_window, columns.kept_in_window]

    def _open(self, name, is_quiet=False):
        """A file's function."""
        if not self._keeps_files:
            self._opened = {name: self._opened[name]} if name in self._opened else {}
        if name not in self._opened:
            try:
                # The windows for which LiteRT allocates tensors first: those of a finer tile of 4x4 pixels.
                interpreter = open_interpreter(self._contents[name], {"coarse": 2 + 2 * self._margin}, is_quiet)
                self._opened[name] = interpreter.get_signature_runner(SIGNATURE)
            except (ValueError, RuntimeError) as error:
                raise unusable(self._folder / name, first_line(error)) from error
        return self._opened[name]

    def _run(self, name, shape, dtype, **inputs):
        """The only output of a file, [H, W, 3], for its inputs [1, H, W, 3]."""
        try:
            (output,) = self._open(name)(**inputs).values()
        except (ValueError, RuntimeError) as error:
            raise unusable(self._folder / name, first_line(error)) from error
        if output.shape != (1, *shape) or output.dtype != dtype:
            expected = f"{np.dtype(dtype)} {[1, *shape]}"
            raise unusable(self._folder / name, f"it returns {output.dtype} {list(output.shape)} for {expected}")
        return output[0]


def file_names(num_scales: int) -> list[str]:
    """The TFLite files of a network of so many scales."""
    halving = ["halve.tflite"] if num_scales > 1 else []
    return halving + [f"scale_{k}.tflite" for k in range(num_scales)]


def _budget():
    """Bytes that files in memory may take."""
    free = runtime.free_memory()
    return _BUDGET if free is None else min(_BUDGET, free // 2)


def _read_description(folder):
    path = folder / DESCRIPTION
    try:
        description: Any = json.loads(path.read_text())
        if (description["format"], description["format_version"]) != (FORMAT, FORMAT_VERSION):
            raise ValueError(f"it has the format {str(description['format'])[:40]}")
        for name, largest in _LARGEST.items():
            value = description[name]
            if type(value) is not int or not 0 <= value <= largest:
                raise ValueError(f"{name} is {str(value)[:40]}")
        if not description["num_scales"] or not description["bytes_per_pixel"] or description["halo"] % 2:
            raise ValueError("num_scales, halo or bytes_per_pixel cannot be used")
        if description["multiple"] not in (2 ** (description["num_scales"] - 1), 2 ** description["num_scales"]):
            raise ValueError(f"multiple is {description['multiple']}")
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise unusable(path, first_line(error)) from error
    return description


def _sound_content(folder, name, description):
    """The bytes of a file; InputError if it is not the one that was written with the description."""
    path = folder / name
    try:
        recorded = description["files"][name]["sha256"]
    except (TypeError, LookupError) as error:
        raise unusable(path, f"{DESCRIPTION} says nothing about it") from error
    if not path.is_file():
        raise unusable(path, "it is missing")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unusable(path, first_line(error)) from error
    if recorded != hashlib.sha256(content).hexdigest():
        raise unusable(path, f"its SHA-256 is not the one in {DESCRIPTION}: it is damaged")
    return content


def _with_margin(coarse, tile, margin):
    """The window of the coarser level that lies under a tile, with a margin that is zero beyond the level's border."""
    rows, columns = (slice(span.low // 2 - margin, span.high // 2 + margin) for span in tile)
    inside = [
        slice(max(0, part.start), min(length, part.stop))
        for part, length in zip((rows, columns), coarse.shape, strict=False)
    ]
    window = np.zeros((rows.stop - rows.start, columns.stop - columns.start, 3), np.float32)
    target = tuple(
        slice(part.start - whole.start, part.stop - whole.start)
        for part, whole in zip(inside, (rows, columns), strict=True)
    )
    window[target] = coarse[tuple(inside)]
    return window
