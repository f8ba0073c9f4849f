"""An int8 network is made once, whoever asks for it, and restores as its export does."""

import json
import re
import shutil

import numpy as np
import pytest

from tests.export.conftest import random_image
from tf_deepdeblur import commands
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.export import bundle, pictures
from tf_deepdeblur.export.cached import cached_int8
from tf_deepdeblur.inference import deblurrer
from tf_deepdeblur.inference.deblurrer import Deblurrer
from tf_deepdeblur.io.checksum import sha256
from tf_deepdeblur.models.saving import save_generator

IMAGE = random_image(70, 90)


@pytest.fixture(scope="module")
def model(generator, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "generator.keras"
    save_generator(generator, path)
    return path


@pytest.fixture(scope="module", autouse=True)
def few_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "_CALIBRATION_COUNT", 3)
        patch.setattr(pictures, "_VERIFIED_SIZES", ((40, 56), (57, 41)))
        yield


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    """A folder with the int8 network in a cache; treat it as read-only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return cached_int8(model).folder.parent


@pytest.fixture
def exports(made, monkeypatch, tmp_path):
    """A new cache, and a list of the folders that exports are written to, copies of ``made``."""
    written = []

    def copy(path, folder, *_, **__):
        shutil.copytree(made, folder, dirs_exist_ok=True)
        written.append(folder)
        return json.loads((made / "report.json").read_text())

    monkeypatch.setattr(bundle, "export_model", copy)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return written


def folder_of(path):
    return cached_int8(path).folder


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_it_restores_as_its_tiles_and_tells_their_loss(exports, made, model):
    restored = Deblurrer.load(model, precision="int8", make_int8=folder_of)(IMAGE)
    np.testing.assert_array_equal(restored, Deblurrer.load(made / "tiles_int8")(IMAGE))
    in_float32 = Deblurrer.load(model, precision="float32")(IMAGE)
    assert 0 < np.abs(restored.astype(int) - in_float32).mean() < 2
    row = json.loads((made / "report.json").read_text())["rows"][-1]
    assert row["variant"] == "tiles int8"
    assert cached_int8(model)[1:] == (row["psnr_lost"], 2)


@pytest.mark.slow
def test_it_is_made_once_for_equal_files(exports, model, tmp_path):
    shutil.copy(model, tmp_path / "copy.keras")
    assert cached_int8(model) == cached_int8(tmp_path / "copy.keras")
    assert len(exports) == 1


@pytest.mark.slow
def test_a_damaged_one_is_made_again(exports, made, model):
    path = cached_int8(model).folder / "scale_0.tflite"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    folder = cached_int8(model).folder.parent
    assert len(exports) == 2
    assert path.read_bytes() == (made / "tiles_int8" / "scale_0.tflite").read_bytes()
    assert files(folder.parents[1]) == [f"int8/{folder.name}/{name}" for name in files(made)]


@pytest.mark.slow
def test_of_two_processes_that_make_it_the_first_one_counts(exports, made, model, monkeypatch):
    copy, folder = bundle.export_model, None

    def slowly(path, part, *_, **__):
        nonlocal folder
        folder = part.with_name(sha256(path))
        shutil.copytree(made, folder)  # the other process has finished meanwhile
        (folder / "first").touch()
        return copy(path, part)

    monkeypatch.setattr(bundle, "export_model", slowly)
    assert cached_int8(model).folder.parent == folder
    assert (folder / "first").exists()
    assert list(folder.parent.iterdir()) == [folder]


def test_a_network_that_int8_changes_too_much_is_refused(model, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    row = {"file": "tiles_int8", "failures": ["psnr_lost 3 is above 0.2"]}

    def bad(path, output_dir, *_, **__):
        return {"rows": [row]}

    monkeypatch.setattr(bundle, "export_model", bad)
    with pytest.raises(InputError, match=r"generator\.keras: int8 changes its pictures too much \(psnr_lost 3 is"):
        cached_int8(model)
    assert files(tmp_path) == []


def test_a_cache_that_cannot_be_written_is_named(model, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot be written \(Not a directory\); set XDG_CACHE_HOME"):
        cached_int8(model)


def test_int8_is_refused_where_it_cannot_be_had(model):
    with pytest.raises(InputError, match="needs `make_int8`"):
        Deblurrer.load(model, precision="int8")
    with pytest.raises(InputError, match=r"model\.tflite: is an export already"):
        (model.parent / "model.tflite").touch()
        cached_int8(model.parent / "model.tflite")


@pytest.mark.slow
def test_16_bits_are_refused_with_a_remedy(exports, model):
    restore = Deblurrer.load(model, precision="int8", make_int8=folder_of)
    with pytest.raises(InputError, match="8 bits per channel, not 16; use another `precision`"):
        restore(IMAGE.astype(np.uint16))


@pytest.mark.slow
@pytest.mark.parametrize("fastest", ["float32", "bfloat16", "int8"])
def test_the_fastest_precision_is_taken(exports, model, monkeypatch, fastest):
    trials = []

    def measured(candidates):
        trials.append(candidates)
        return {name: 1.0 + (name != fastest) for name in candidates}

    monkeypatch.setattr(deblurrer, "trial_seconds", measured)
    chosen = Deblurrer.load(model, precision="fastest", make_int8=folder_of)
    assert chosen.precision == fastest
    assert chosen.trial == {name: 1.0 + (name != fastest) for name in ("float32", "bfloat16", "int8")}
    assert all(candidate.precision == name for name, candidate in trials[0].items())
    deep = chosen(IMAGE.astype(np.uint16) * 257)  # int8 has no 16 bits: the second fastest restores it
    assert deep.dtype == np.uint16
    if fastest == "int8":
        np.testing.assert_array_equal(deep, trials[0]["float32"](IMAGE.astype(np.uint16) * 257))


def test_int8_beyond_its_tolerance_is_left_out_of_the_trial(model, monkeypatch, caplog):
    def bad(path):
        raise InputError("int8 changes its pictures too much")

    monkeypatch.setattr(deblurrer, "candidate_precisions", lambda: ("float32", "int8"))
    monkeypatch.setattr(deblurrer, "trial_seconds", lambda candidates: dict.fromkeys(candidates, 1.0))
    chosen = Deblurrer.load(model, precision="fastest", make_int8=bad)
    assert (chosen.precision, chosen.trial) == ("float32", {"float32": 1.0})
    assert "int8 is left out: int8 changes its pictures too much" in caplog.text


@pytest.mark.slow
def test_commands_tell_what_int8_costs_and_which_precision_is_fastest(exports, model, monkeypatch, capfd):
    trial = {"float32": 2.0, "bfloat16": 1.0, "int8": 0.5}
    monkeypatch.setattr(deblurrer, "trial_seconds", lambda candidates: trial)
    assert commands.load_deblurrer(model, "auto", "fastest").precision == "int8"
    loss, fastest = capfd.readouterr().err.splitlines()[-2:]
    assert re.fullmatch(r"int8: PSNR \d\.\d{3} dB (below|above) float32 on 2 pictures", loss)
    assert fastest == ("fastest precision: int8 (float32 2.000 s, bfloat16 1.000 s, int8 0.500 s for 256x256 pixels)")
