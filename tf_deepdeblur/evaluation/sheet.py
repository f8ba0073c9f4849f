"""Pictures of many pictures: uint8 [H, W, 3] arrays on white."""

import numpy as np
from PIL import Image

from tf_deepdeblur.io.pixels import side_by_side

_GAP = 4


def stack(pictures):
    """Pictures of any size, one below the other."""
    width = max(picture.shape[1] for picture in pictures)
    padded = [_on_white(picture, picture.shape[0], width) for picture in pictures]
    gap = np.full((_GAP, width, 3), 255, np.uint8)
    return np.concatenate([part for picture in padded for part in (gap, picture)][1:])


def contact_sheet(pairs, side=240, pairs_per_row=4):
    """Small copies of pairs of pictures in a grid.

    Args:
        pairs: iterable of (uint8 [H, W, 3], uint8 [H, W, 3]), read one at a time.
        side: longest side of a copy in pixels.
        pairs_per_row: columns of the grid.
    """
    cells = [side_by_side([_on_white(_small(picture, side), side, side) for picture in pair]) for pair in pairs]
    rows = [cells[first : first + pairs_per_row] for first in range(0, len(cells), pairs_per_row)]
    return stack([side_by_side(row) for row in rows])


def best_median_worst(rows, measure="psnr"):
    """The rows with the highest, the middle and the lowest value, without repetition."""
    ordered = sorted(rows, key=lambda row: row[measure], reverse=True)
    chosen = sorted({0, len(ordered) // 2, len(ordered) - 1})
    return [ordered[position] for position in chosen]


def _small(picture, side):
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _on_white(picture, height, width):
    canvas = np.full((height, width, 3), 255, np.uint8)
    canvas[: picture.shape[0], : picture.shape[1]] = picture
    return canvas
