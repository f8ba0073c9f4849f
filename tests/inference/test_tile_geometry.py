"""Every pixel is restored exactly once, and seen with its whole halo wherever the image has it."""

import numpy as np
import pytest

from tf_deepdeblur.inference import tile_geometry

RNG = np.random.default_rng(7)
RANDOM = (RNG.integers((1, 16, 0), (400, 120, 50), (200, 3)) * (1, 2, 2)).tolist()
LENGTH_SIDE_HALO = [*RANDOM, (1, 32, 80), (5000, 0, 80), (33, 32, 2), (64, 32, 2)]


def test_spans_keep_every_pixel_once_and_see_the_halo():
    for length, side, halo in LENGTH_SIDE_HALO:
        _check_spans(tile_geometry.spans(length, side, halo), length, side, halo)


def _check_spans(spans, length, side, halo):
    assert [pixel for span in spans for pixel in range(length)[span.kept]] == list(range(length))
    for span in spans:
        assert (span.low, span.high) == (max(0, span.start - halo), min(length, span.stop + halo))
        assert range(length)[span.seen][span.kept_in_window] == range(length)[span.kept]
        left = range(length)[span.seen][halo * span.cut[0] : span.high - span.low - halo * span.cut[1]]
        assert left[span.kept_in_trimmed_window] == range(length)[span.kept]
        assert span.cut == (span.low > 0, span.high < length)
        assert span.low % 2 == 0 and (span.high % 2 == 0 or span.high == length)
        assert side == 0 or span.stop - span.start <= side


def test_side_0_is_one_tile():
    (tile,) = tile_geometry.tiles(37, 53, 0, 80)
    assert (tile.rows.kept, tile.columns.kept) == (slice(0, 37), slice(0, 53))
    assert tile.area == 37 * 53


def test_tiles_are_of_nearly_equal_size():
    lengths = [span.stop - span.start for span in tile_geometry.spans(1030, 512, 80)]
    assert lengths == [344, 344, 342]


def test_no_tile_of_the_largest_side_sees_more_than_the_area():
    for height, width, half_halo, area in RNG.integers((1, 1, 0, 40_000), (3000, 3000, 40, 10**6), (200, 4)).tolist():
        side = tile_geometry.largest_side(height, width, 2 * half_halo, area)
        assert side % 2 == 0
        for rows, columns in tile_geometry.tiles(height, width, side, 2 * half_halo):
            assert (rows.high - rows.low) * (columns.high - columns.low) <= area


def test_an_image_that_suits_the_area_is_one_tile():
    assert len(tile_geometry.tiles(300, 200, tile_geometry.largest_side(300, 200, 80, 60_000), 80)) == 1
    assert len(tile_geometry.tiles(300, 200, tile_geometry.largest_side(300, 200, 80, 59_999), 80)) > 1


def test_a_narrow_image_gets_long_tiles():
    assert tile_geometry.largest_side(10, 100_000, 80, 250_000) == 25_000 - 160


@pytest.mark.parametrize("radius", [0, 2])
def test_coarser_pixels_reach_the_up_convolution_of_what_is_seen(radius):
    for half_length, side, halo in LENGTH_SIDE_HALO:
        for span in tile_geometry.spans(2 * half_length, side, halo):
            part, skipped = tile_geometry.coarser(span, radius)
            assert 2 * part.start + skipped == span.low
            assert 2 * part.stop >= span.high
            assert part.start == 0 or 2 * (part.start + radius) <= span.low
            assert part.stop == half_length or 2 * (part.stop - radius) >= span.high
