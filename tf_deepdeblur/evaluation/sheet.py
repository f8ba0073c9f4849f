"""Pictures of many pictures: uint8 [H, W, 3] arrays on white."""

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from tf_deepdeblur.io.images import side_by_side

_GAP = 4  # pixels


def stack(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Stacks pictures of any size, one below the other."""
    width = max(picture.shape[1] for picture in pictures)
    padded = [_on_white(picture, picture.shape[0], width) for picture in pictures]
    gap = np.full((_GAP, width, 3), 255, np.uint8)
    return np.concatenate([part for picture in padded for part in (gap, picture)][1:])


def contact_sheet(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], side: int = 240, pairs_per_row: int = 4
) -> np.ndarray:
    """Thumbnails of pairs of pictures in a grid.

    Args:
        pairs: iterable of (uint8 [H, W, 3], uint8 [H, W, 3]), read one at a time.
        side: longest side of a thumbnail in pixels.
        pairs_per_row: columns of the grid.
    """
    cells = []
    for pair in pairs:
        thumbnails = [Image.fromarray(picture) for picture in pair]
        for image in thumbnails:
            image.thumbnail((side, side), Image.Resampling.LANCZOS)
        cells.append(side_by_side([_on_white(np.asarray(image), side, side) for image in thumbnails]))
    rows = [cells[first : first + pairs_per_row] for first in range(0, len(cells), pairs_per_row)]
    return stack([side_by_side(row) for row in rows])


def best_median_worst(rows: Sequence[dict], measure: str = "psnr") -> list[dict]:
    """Returns the rows with the highest, the median and the lowest value, without repetition."""
    ordered = sorted(rows, key=lambda row: row[measure], reverse=True)
    chosen = sorted({0, len(ordered) // 2, len(ordered) - 1})
    return [ordered[position] for position in chosen]


def _on_white(picture, height, width):
    canvas = np.full((height, width, 3), 255, np.uint8)
    canvas[: picture.shape[0], : picture.shape[1]] = picture
    return canvas
