"""What is measured is true, and what is beyond a tolerance fails."""

import hashlib
import json
import math
import shutil

import numpy as np
import pytest

from tests.export.conftest import random_generator, random_image
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.export import bundle, verify
from tf_deepdeblur.export.bundle import ExportOptions
from tf_deepdeblur.export.pictures import Picture
from tf_deepdeblur.export.verify import Verifier
from tf_deepdeblur.inference.deblurrer import Deblurrer

BLURRY = [random_image(19, 23), random_image(8, 9)]


@pytest.fixture(scope="module")
def verifier(generator):
    pictures = [Picture("a", BLURRY[0], 255 - BLURRY[0]), Picture("b", BLURRY[1], None)]
    return Verifier(generator, pictures, random_image(16, 16))


@pytest.fixture
def tflite_file(converted, tmp_path):
    path = tmp_path / "generator.tflite"
    path.write_bytes(converted["none"])
    return path


def test_a_faithful_file_passes(verifier, tflite_file):
    row = verifier.file_row("none", tflite_file)
    assert row["failures"] == []
    assert row["max_difference"] <= 1
    assert row["megabytes"] == pytest.approx(tflite_file.stat().st_size / 1e6)
    assert row["sha256"] == hashlib.sha256(tflite_file.read_bytes()).hexdigest()
    assert row["seconds_per_megapixel"] > 0


@pytest.mark.slow
def test_another_networks_file_fails_and_says_by_how_much(generator, saved_model_folder):
    other = random_generator(scale=0.05, global_residual=True)
    pictures = [Picture(str(number), image, None) for number, image in enumerate(BLURRY)]
    row = Verifier(other, pictures, BLURRY[1]).file_row("saved_model", saved_model_folder)
    restored = [[Deblurrer(network)(image).astype(int).ravel() for image in BLURRY] for network in (generator, other)]
    differences = np.abs(np.subtract(*map(np.concatenate, restored)))
    assert row["max_difference"] == differences.max()
    assert row["mean_difference"] == pytest.approx(differences.mean())
    assert row["psnr_between"] == pytest.approx(10 * math.log10(255**2 / np.mean(differences**2.0)))
    assert any("mean_difference" in failure and "is above 0.001" in failure for failure in row["failures"])


def test_psnr_lost_counts_pictures_with_a_sharp_partner(verifier, generator):
    row = verifier.reference_row()
    restored, sharp = Deblurrer(generator)(BLURRY[0]), 255 - BLURRY[0]
    error = np.mean((restored.astype(float) - sharp) ** 2)
    assert row["psnr"] == pytest.approx(10 * math.log10(255**2 / error), abs=1e-4)
    assert row["psnr_lost"] == row["max_difference"] == 0
    assert row["psnr_between"] is None


def test_without_sharp_partners_nothing_is_lost(generator):
    row = Verifier(generator, [Picture("b", BLURRY[1], None)], BLURRY[1]).reference_row()
    assert row["psnr"] is row["psnr_lost"] is None


@pytest.fixture
def exported(generator, converted, saved_model_folder, pairs_dir, tmp_path, monkeypatch):
    """Exports to ``tmp_path / "out"`` with ready files in place of conversions."""
    monkeypatch.setattr(
        bundle, "export_saved_model", lambda generator, folder, metadata: shutil.copytree(saved_model_folder, folder)
    )
    monkeypatch.setattr(
        "tf_deepdeblur.export.tflite.convert", lambda generator, quantize="none", *rest: converted[quantize]
    )

    def export(saved_model=False, quantizations=(), **options):
        options = ExportOptions(saved_model, quantizations=quantizations, **options)
        return bundle.export_model(generator, tmp_path / "out", options, calibration_dir=pairs_dir)

    return export


@pytest.mark.slow
def test_an_export_writes_files_facts_and_its_report(exported, tmp_path):
    report = exported(saved_model=True, quantizations=("none", "int8"), timing_size=(16, 32))
    names = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").glob("*")}
    pairs = {f"generator_{name}.{suffix}" for name in ("none", "int8") for suffix in ("tflite", "json")}
    assert names == {"saved_model", "report.json", *pairs}
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    assert {"keras float32", "saved_model", "none", "int8"} <= {row["variant"] for row in report["rows"]}
    assert bundle.failures(report) == []
    assert bundle.table(report).splitlines()[0].endswith("s 16x32")


@pytest.mark.slow
def test_a_serving_version_is_a_folder_of_its_own(exported, tmp_path):
    (tmp_path / "out" / "saved_model" / "3").mkdir(parents=True)
    exported(saved_model=True, serving_version=4, timing_size=(8, 8))
    assert sorted(path.name for path in (tmp_path / "out" / "saved_model").iterdir()) == ["3", "4"]
    assert (tmp_path / "out" / "saved_model" / "4" / "saved_model.pb").is_file()


def test_sizes_beyond_the_memory_are_refused_before_any_work(exported, tmp_path):
    for size in ({"fixed_size": (90_000, 90_000)}, {"timing_size": (90_000, 90_000)}):
        with pytest.raises(
            InputError, match=r"^`fixed_size` or `timing_size`: needs some \d.* for 90000x90000 pixels.* smaller one"
        ):
            exported(quantizations=("none",), **size)
    assert not (tmp_path / "out").exists()


def test_versions_do_not_mix_with_an_export_without_one(exported, tmp_path):
    (tmp_path / "out" / "saved_model").mkdir(parents=True)
    (tmp_path / "out" / "saved_model" / "saved_model.pb").touch()
    with pytest.raises(InputError, match=r"saved_model: holds a SavedModel without a version; remove it or"):
        exported(saved_model=True, serving_version=1)


@pytest.mark.slow
def test_failures_name_the_file(exported, monkeypatch):
    monkeypatch.setitem(verify.TOLERANCES, "none", verify.Tolerance(-1, 1.0, 1.0))
    assert bundle.failures(exported(quantizations=("none",))) != []


def test_an_output_that_cannot_be_written_is_named(exported, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match=r"out: cannot be written \(File exists\); make room or use another"):
        exported()
