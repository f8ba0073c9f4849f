"""Exported tiles restore images in bounded memory; what is damaged, missing or strange is named before it is loaded."""

import json
import shutil

import numpy as np
import pytest

from tests.export.conftest import random_generator, random_image
from tf_deepdeblur import runtime
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.export import tiles
from tf_deepdeblur.inference import exported_tiles
from tf_deepdeblur.inference.deblurrer import Deblurrer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Float32 tiles; treat them as read-only."""
    folder = tmp_path_factory.mktemp("tiles") / "tiles_none"
    tiles.export_tiles(random_generator(), folder, {})
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "tiles_none")


def described(copy, **changes):
    path = copy / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return copy


def test_progress_is_told_tile_by_tile(folder):
    shares = []
    Deblurrer.load(folder, tile=32)(random_image(64, 96), shares.append)
    assert len(shares) == 6 + 2  # 64x96 pixels, and half of that
    assert shares == sorted(shares) and shares[-1] == 1.0


def test_windows_are_no_larger_than_the_memory_allows(folder, monkeypatch):
    deblur, areas = Deblurrer.load(folder), []
    run = deblur._restore._run

    def watched(name, shape, dtype, **inputs):
        areas.append(shape[0] * shape[1])
        return run(name, shape, dtype, **inputs)

    monkeypatch.setattr(deblur._restore, "_run", watched)
    bytes_per_pixel = json.loads((folder / "model.json").read_text())["bytes_per_pixel"]
    monkeypatch.setattr(exported_tiles.scale_by_scale, "_PYRAMID_TILE", 48)
    monkeypatch.setattr(runtime, "free_memory", lambda: 2 * 64 * 64 * bytes_per_pixel)
    restored = deblur(random_image(150, 170))
    assert 48 * 48 < max(areas) <= 64 * 64
    monkeypatch.setattr(runtime, "free_memory", lambda: None)
    assert np.abs(deblur(random_image(150, 170)).astype(int) - restored).max() <= 1


def test_files_stay_open_for_the_next_small_image_but_one_at_a_time_for_large_ones(folder, monkeypatch):
    opened, names = [], {path.read_bytes(): path.name for path in folder.glob("*.tflite")}

    def watched(content, *arguments):
        opened.append(names[content])
        return open_interpreter(content, *arguments)

    open_interpreter = exported_tiles.open_interpreter
    monkeypatch.setattr(exported_tiles, "open_interpreter", watched)
    deblur, image = Deblurrer.load(folder, tile=32), random_image(40, 48)
    expected = deblur(image)
    opened.clear()
    np.testing.assert_array_equal(deblur(image), expected)
    assert opened == []
    monkeypatch.setattr(runtime, "free_memory", lambda: 0)
    for _ in range(2):  # the first time, all files are open
        np.testing.assert_array_equal(deblur(image), expected)
        assert list(deblur._restore._opened) == ["scale_0.tflite"]
    assert opened == ["scale_1.tflite", "scale_0.tflite", "halve.tflite", "scale_1.tflite", "scale_0.tflite"]


def test_tiles_are_halved_when_memory_runs_out(folder, monkeypatch):
    deblur = Deblurrer.load(folder, tile=128)
    run = deblur._restore._run

    def limited(name, shape, dtype, **inputs):
        if shape[0] > 80:
            raise MemoryError
        return run(name, shape, dtype, **inputs)

    expected = deblur(random_image(128, 130)).astype(int)
    monkeypatch.setattr(deblur._restore, "_run", limited)
    monkeypatch.setattr(exported_tiles.scale_by_scale, "_PYRAMID_TILE", 48)
    np.testing.assert_allclose(deblur(random_image(128, 130)), expected, atol=1)


def test_a_damaged_or_missing_file_is_named_before_it_is_loaded(copy, monkeypatch):
    monkeypatch.setattr(exported_tiles, "open_interpreter", lambda *_: pytest.fail("it is loaded"))
    path = copy / "halve.tflite"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=rf"^{path}: .*SHA-256 is not the one in model\.json: it is damaged"):
        Deblurrer.load(copy)
    path.unlink()
    with pytest.raises(InputError, match=rf"^{path}: .*it is missing"):
        Deblurrer.load(copy)


def test_a_folder_that_is_replaced_changes_no_network_that_is_loaded(copy, monkeypatch):
    monkeypatch.setattr(runtime, "free_memory", lambda: 0)  # so that each file is opened again
    deblur, image = Deblurrer.load(copy, tile=32), random_image(40, 48)
    expected = deblur(image)
    shutil.rmtree(copy)
    np.testing.assert_array_equal(deblur(image), expected)


def test_no_file_is_loaded_before_all_are_compared(copy, monkeypatch):
    monkeypatch.setattr(exported_tiles, "open_interpreter", lambda *_: pytest.fail("it is loaded"))
    (copy / "scale_1.tflite").write_bytes(b"")
    with pytest.raises(InputError, match=rf"^{copy / 'scale_1.tflite'}: "):
        Deblurrer.load(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "TFLite"},
        {"format_version": 2},
        {"format_version": [2]},
        {"num_scales": 0},
        {"num_scales": 4},
        {"num_scales": "2"},
        {"num_scales": True},
        {"halo": 3},
        {"halo": -2},
        {"halo": 1e9},
        {"coarse_margin": 10**9},
        {"bytes_per_pixel": 0},
        {"files": 3},
        {"files": {"halve.tflite": None}},
        {"files": {}},
    ],
)
def test_a_description_that_cannot_be_used_is_refused(copy, changes):
    with pytest.raises(InputError, match=rf"^{copy}/(model\.json|halve\.tflite): not an exported deblurring model"):
        Deblurrer.load(described(copy, **changes))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", "[" * 100_000, "\udcff"])
def test_a_description_that_is_none_is_refused(copy, text):
    (copy / "model.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=rf"^{copy / 'model.json'}: not an exported deblurring model"):
        Deblurrer.load(copy)


def test_files_in_each_others_place_are_refused(copy):
    description = json.loads((copy / "model.json").read_text())
    files = description["files"]
    (copy / "scale_0.tflite").replace(copy / "part")
    (copy / "scale_1.tflite").replace(copy / "scale_0.tflite")
    (copy / "part").replace(copy / "scale_1.tflite")
    files["scale_0.tflite"], files["scale_1.tflite"] = files["scale_1.tflite"], files["scale_0.tflite"]
    with pytest.raises(InputError, match=r"scale_\d\.tflite: not an exported deblurring model"):
        Deblurrer.load(described(copy, files=files))(random_image(20, 24))


def test_a_margin_that_does_not_fit_is_refused(copy):
    with pytest.raises(InputError, match=r"scale_0\.tflite: not an exported deblurring model"):
        Deblurrer.load(described(copy, coarse_margin=3))(random_image(20, 24))


def test_what_tiles_cannot_do_is_said(folder):
    with pytest.raises(InputError, match=rf"^{folder}: exported tiles have their own precision"):
        Deblurrer.load(folder, precision="float32")
    with pytest.raises(InputError, match="`tile` must be auto or at least 32 pixels for exported tiles, got 0"):
        Deblurrer.load(folder, tile=0)
    with pytest.raises(InputError, match="an exported model restores 8 bits per channel, not 16"):
        Deblurrer.load(folder)(np.zeros((8, 8, 3), np.uint16))
