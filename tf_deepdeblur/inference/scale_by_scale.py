"""The exact way through an image that is restored in tiles, whatever computes the network's scales.

The whole network sees 572 pixels around a pixel, but each scale alone only 80 of its own pixels (radius 2 times 40
convolutions), and what passes from one scale to the next is a 3-channel image. So the scales run one after the other,
coarsest first, each tile by tile with a halo of the scale's own radius. The only whole images in memory
are the integers in and out, the coarser levels of the pyramid and the last latent image.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import tensorflow as tf
from absl import logging

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.inference import tile_geometry
from tf_deepdeblur.io.pixels import to_float
from tf_deepdeblur.pyramid import pad_for_pyramid

SMALLEST_TILE = 32
PYRAMID_HALO = 4  # the blur sees 3 pixels; even
OUT_OF_MEMORY = (tf.errors.ResourceExhaustedError, MemoryError)
_PYRAMID_TILE = 1024  # even; the memory it takes does not count beside the network's


class Scales(Protocol):
    """The network, scale by scale; level k of an image is [H, W, 3], integers at level 0 and float32 at the others."""

    num_scales: int
    space_to_depth: int
    halo: int  # how far a scale sees, in its own pixels

    def halve(self, window: np.ndarray) -> np.ndarray:
        """The next level of a float32 window."""

    def tile_side(self, k: int, height: int, width: int) -> int:
        """Side of the tiles of level k, which has that size; 0 for one tile."""

    def shrink_tiles(self, side: int, error: Exception) -> int:
        """Halves the tiles after memory has run out with ``side`` pixels; returns the new side, see ``halved_side``."""

    def restore_tile(
        self, k: int, tile: tile_geometry.Tile, blurry: np.ndarray, coarse: np.ndarray | None
    ) -> np.ndarray:
        """The pixels of level k that a tile keeps, in the type of ``blurry``; ``coarse`` is restored level k + 1."""


def restore_by_scales(
    scales: Scales, image: np.ndarray, progress: Callable[[float], object] | None = None
) -> np.ndarray:
    """Restores an image [H, W, 3] of integers, of any size.

    Args:
        scales: the network.
        image: blurry.
        progress: None, or a function that is called after every tile with the share of the work that is done.
    """
    pyramid = [np.asarray(pad_for_pyramid(image[None], scales.num_scales, scales.space_to_depth))[0]]
    while len(pyramid) < scales.num_scales:
        pyramid.append(_halved(scales, pyramid[-1]))
    areas = [level.shape[0] * level.shape[1] for level in pyramid]
    restored = None
    for k in reversed(range(len(pyramid))):
        before = sum(areas[k + 1 :])
        report = lambda area, before=before: progress and progress((before + area) / sum(areas))  # noqa: E731
        restored = _restore_level(scales, k, pyramid.pop(), restored, report)
    return restored[: image.shape[0], : image.shape[1]]


def halved_side(side: int, error: Exception) -> int:
    """Side of the tiles after memory has run out with tiles of ``side`` pixels.

    Raises:
        InputError: if these are the smallest already.
    """
    if side // 2 < SMALLEST_TILE:
        raise InputError(f"not enough memory even for tiles of {side} pixels; free some of it") from error
    half = side // 4 * 2
    logging.warning("Out of memory with tiles of %d pixels: going on with %d", side, half)
    return half


def to_float_batch(window: np.ndarray) -> tf.Tensor | np.ndarray:
    """[H, W, 3] integers, or float32, unchanged -> float32 [1, H, W, 3]."""
    return window[None] if window.dtype == np.float32 else to_float(window[None])


def _halved(scales, image):
    """The next level of the Gaussian pyramid, float32."""
    height, width = image.shape[:2]
    halved = np.empty((height // 2, width // 2, 3), np.float32)
    for rows, columns in tile_geometry.tiles(height, width, _PYRAMID_TILE, PYRAMID_HALO):
        window = scales.halve(np.asarray(to_float_batch(image[rows.seen, columns.seen]))[0])
        halved[_half(rows.kept), _half(columns.kept)] = window[
            _half(rows.kept_in_window), _half(columns.kept_in_window)
        ]
    return halved


def _restore_level(scales, k, blurry, coarse, report):
    """Level k; when memory runs out it is begun again in smaller tiles.

    Args:
        scales: the network.
        k: number of the level.
        blurry: [H, W, 3]: the image itself or a coarser level of its pyramid, float32.
        coarse: the restored level k + 1, float32; None at the coarsest level.
        report: called after every tile with the number of this level's pixels that are done.
    """
    side = scales.tile_side(k, *blurry.shape[:2])
    while True:
        restored, done = np.empty_like(blurry), 0
        try:
            for tile in tile_geometry.tiles(*blurry.shape[:2], side, scales.halo):
                restored[tile.rows.kept, tile.columns.kept] = scales.restore_tile(k, tile, blurry, coarse)
                done += tile.area
                report(done)
            return restored
        except OUT_OF_MEMORY as error:
            side = scales.shrink_tiles(side or max(blurry.shape), error)


def _half(part):
    return slice(part.start // 2, part.stop // 2)
