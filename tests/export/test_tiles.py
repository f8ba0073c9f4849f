"""Tiles give the pixels of the untiled file, in pieces that need the halo on every side."""

import json

import numpy as np
import pytest

from tests.export.conftest import random_generator, random_image
from tests.export.test_tflite import opened
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.export import tflite, tiles
from tf_deepdeblur.export.bundle import ExportOptions, metadata
from tf_deepdeblur.inference.deblurrer import Deblurrer

SIZES = [(1, 1), (37, 51), (70, 101)]


@pytest.fixture(scope="module")
def folders(generator, ranges, tmp_path_factory):
    """{quantize: folder of tiles of ``generator``}; treat them as read-only."""
    root = tmp_path_factory.mktemp("tiles")
    for quantize in tiles.QUANTIZATIONS:
        tiles.export_tiles(generator, root / quantize, metadata(generator), quantize, ranges)
    return {quantize: root / quantize for quantize in tiles.QUANTIZATIONS}


def test_quantizations_that_there_are_not_are_refused_before_anything_is_written(generator, tmp_path):
    for unknown in ("dynamic", "foo"):
        with pytest.raises(InputError, match=rf"`tiles` must be some of none, float16, int8, got '{unknown}'"):
            ExportOptions(tiles=("none", unknown))
        with pytest.raises(ValueError, match=f"`quantize` must be one of none, float16, int8, got '{unknown}'"):
            tiles.export_tiles(generator, tmp_path / "tiles", {}, unknown)
    with pytest.raises(InputError, match=r"`quantizations` must be some of .*, got 'foo'"):
        ExportOptions(quantizations=("foo",))
    with pytest.raises(ValueError, match="needs the `ranges`"):
        tiles.export_tiles(generator, tmp_path / "tiles", {}, "int8")
    assert not (tmp_path / "tiles").exists()


@pytest.mark.slow
@pytest.mark.parametrize("quantize", tiles.QUANTIZATIONS)
def test_the_pixels_of_the_untiled_file(folders, converted, quantize):
    whole, tiled = opened(converted[quantize]), Deblurrer.load(folders[quantize], tile=32)
    for size in SIZES:
        image = random_image(*size)
        difference = np.abs(tiled(image).astype(int) - whole(image))
        assert difference.max() <= (0 if quantize == "int8" else 1)
        assert np.abs(whole(image).astype(int) - image).mean() > 3  # the network does something


@pytest.mark.slow
@pytest.mark.parametrize(("num_scales", "space_to_depth"), [(1, 1), (3, 1), (1, 2), (3, 2)])
@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_any_number_of_scales(num_scales, space_to_depth, quantize, tmp_path):
    # Large enough for values that are nearly halves: the last steps to integers must be those of the untiled file.
    generator, image = random_generator(num_scales, space_to_depth=space_to_depth), random_image(245, 383)
    ranges = tflite.calibration_ranges(generator, [random_image(32, 40)[None]])
    tiles.export_tiles(generator, tmp_path / "tiles", {}, quantize, ranges)
    tiled = Deblurrer.load(tmp_path / "tiles", tile=128)(image).astype(int)
    if quantize == "int8":
        np.testing.assert_array_equal(tiled, opened(tflite.convert(generator, "int8", ranges=ranges))(image))
    else:
        np.testing.assert_allclose(tiled, Deblurrer(generator)(image), atol=1)


@pytest.mark.slow
def test_the_description_is_that_of_the_files(generator, folders):
    description = json.loads((folders["int8"] / "model.json").read_text())
    assert (description["num_scales"], description["multiple"], description["halo"]) == (2, 2, 4)
    assert sorted(description["files"]) == ["halve.tflite", "scale_0.tflite", "scale_1.tflite"]
    assert description["files"]["scale_0.tflite"]["bytes"] == (folders["int8"] / "scale_0.tflite").stat().st_size
    assert description["weights_sha256"] == metadata(generator)["weights_sha256"]


def test_another_folder_is_not_replaced(generator, tmp_path):
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(InputError, match=rf"^{tmp_path}: exists but holds no tiles"):
        tiles.export_tiles(generator, tmp_path, {})
    assert (tmp_path / "letters.txt").read_text() == "dear"


def test_ranges_of_another_network_are_refused(ranges, tmp_path):
    with pytest.raises(ValueError, match="`ranges` are those of another network"):
        tiles.convert_scales(random_generator(3), "int8", ranges)
