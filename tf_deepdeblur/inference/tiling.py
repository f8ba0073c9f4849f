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
    def kept(self):
        """The slice that the tile restores."""
        return slice(self.start, self.stop)

    @property
    def seen(self):
        """The slice that the tile has to see."""
        return slice(self.low, self.high)

    @property
    def inner(self):
        """``kept``, counted from the first pixel that is seen."""
        return slice(self.start - self.low, self.stop - self.low)

    @property
    def cut(self):
        """(before, behind): 1 where what is seen ends inside the image, 0 where the image ends with it."""
        return int(self.low > 0), int(self.high < self.length)


class Tile(NamedTuple):
    """A rectangle of an image."""

    rows: Span
    columns: Span

    @property
    def area(self):
        """How many pixels the tile restores."""
        return (self.rows.stop - self.rows.start) * (self.columns.stop - self.columns.start)


def tiles(height, width, side, halo):
    """Tiles that restore every pixel of an image exactly once, row by row.

    Args:
        height: of the image, in pixels.
        width: of the image.
        side: of the tiles, without the halo, at most; 0 makes one tile. Tiles are made of nearly equal size.
        halo: how far, in pixels, the network sees; even.
    """
    rows, columns = spans(height, side, halo), spans(width, side, halo)
    return [Tile(*pair) for pair in itertools.product(rows, columns)]


def spans(length, side, halo):
    """The tiles of one axis, from first to last; all but the last are an even number of pixels long."""
    count = math.ceil(length / even(side)) if side else 1
    step = even(math.ceil(length / count))
    starts = range(0, length, step)
    return [_span(start, min(start + step, length), length, halo) for start in starts]


def largest_side(height, width, halo, area):
    """The largest even side of tiles that see, with their halo, at most ``area`` pixels; at least 2.

    The whole image in one tile, if that sees no more.
    """
    if height * width <= area:
        return even(max(height, width))
    shorter = min(height, width)
    across = max(math.isqrt(area), area // shorter)  # a tile that is as wide as a narrow image may be longer
    return max(2, (across - 2 * halo) // 2 * 2)


def coarser(span, radius):
    """Which pixels of the next coarser scale an up-convolution to the pixels that ``span`` sees has to see itself.

    Args:
        span: Span of the finer scale's axis; its ``low``, ``high`` and ``length`` are even.
        radius: of the up-convolution, in coarse pixels.

    Returns:
        (slice of the coarser axis, number of its up-convolved pixels that come before ``span.low``).
    """
    first = max(0, span.low // 2 - radius)
    last = min(span.length // 2, span.high // 2 + radius)
    return slice(first, last), span.low - 2 * first


def even(number):
    """The smallest even number that is not below ``number``."""
    return number + number % 2


def _span(start, stop, length, halo):
    return Span(start, stop, max(0, start - halo), min(length, stop + halo), length)
