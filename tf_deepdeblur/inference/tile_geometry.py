"""The geometry of exact tiling: which pixels of an image each tile restores, and which it has to see.

Whole numbers only, one axis at a time. A network of radius ``halo`` gives the same pixels on a part of an image as on
the whole of it, if the part goes ``halo`` beyond them, or ends where the image ends: there the network's zero padding
is the real one. Between two scales lies an up-convolution, so tiles begin and end at even pixels.
"""

import itertools
import math
from typing import NamedTuple


class Span(NamedTuple):
    """A part of an axis of ``length`` pixels: a tile restores ``start`` to ``stop`` and sees ``low`` to ``high``."""

    start: int
    stop: int
    low: int
    high: int
    length: int

    @property
    def kept(self) -> slice:
        """The slice that the tile restores."""
        return slice(self.start, self.stop)

    @property
    def seen(self) -> slice:
        """The slice that the tile has to see."""
        return slice(self.low, self.high)

    @property
    def kept_in_window(self) -> slice:
        """``kept``, counted from the first pixel that is seen."""
        return slice(self.start - self.low, self.stop - self.low)

    @property
    def cut(self) -> tuple[int, int]:
        """(before, after): 1 where what is seen ends inside the image, 0 where the image ends with it."""
        return int(self.low > 0), int(self.high < self.length)

    @property
    def kept_in_trimmed_window(self) -> slice:
        """``kept``, counted from the first pixel that is left when the sides in ``cut`` have lost the halo."""
        first = 0 if self.low > 0 else self.start
        return slice(first, first + self.stop - self.start)


class Tile(NamedTuple):
    """A rectangle of an image."""

    rows: Span
    columns: Span

    @property
    def area(self) -> int:
        """How many pixels the tile restores."""
        return (self.rows.stop - self.rows.start) * (self.columns.stop - self.columns.start)


def tiles(height: int, width: int, side: int, halo: int) -> list[Tile]:
    """Tiles that restore every pixel of an image exactly once, row by row.

    Args:
        height: of the image, in pixels.
        width: of the image.
        side: of the tiles, without the halo, at most; 0 makes one tile. Tiles are made of nearly equal size.
        halo: how far, in pixels, the network sees; even.
    """
    rows, columns = spans(height, side, halo), spans(width, side, halo)
    return [Tile(*pair) for pair in itertools.product(rows, columns)]


def spans(length: int, side: int, halo: int) -> list[Span]:
    """The tiles of one axis, from first to last; all but the last are an even number of pixels long."""
    count = math.ceil(length / even(side)) if side else 1
    step = even(math.ceil(length / count))
    bounds = [(start, min(start + step, length)) for start in range(0, length, step)]
    return [Span(start, stop, max(0, start - halo), min(length, stop + halo), length) for start, stop in bounds]


def largest_side(height: int, width: int, halo: int, area: int) -> int:
    """The largest even side of tiles that see, with their halo, at most ``area`` pixels; at least 2.

    The whole image in one tile, if that sees no more.
    """
    if height * width <= area:
        return even(max(height, width))
    shorter = min(height, width)
    across = max(math.isqrt(area), area // shorter)  # a tile that is as wide as a narrow image may be longer
    return max(2, (across - 2 * halo) // 2 * 2)


def coarser(span: Span, coarse_margin: int) -> tuple[slice, int]:
    """Which pixels of the next coarser scale an up-convolution to the pixels that ``span`` sees has to see itself.

    Args:
        span: Span of the finer scale's axis; its ``low``, ``high`` and ``length`` are even.
        coarse_margin: how far the up-convolution sees, in coarse pixels.

    Returns:
        (slice of the coarser axis, number of its up-convolved pixels that come before ``span.low``).
    """
    first = max(0, span.low // 2 - coarse_margin)
    last = min(span.length // 2, span.high // 2 + coarse_margin)
    return slice(first, last), span.low - 2 * first


def even(number: int) -> int:
    """The smallest even number that is not below ``number``."""
    return number + number % 2
