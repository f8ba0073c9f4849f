"""tools/export.py as its users meet it: files, a table, exit codes, and one line for a mistake."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags

from tests.commands.conftest import import_command
from tests.export.conftest import random_generator
from tf_deepdeblur.cli import UsageError
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.inference.deblurrer import Deblurrer
from tf_deepdeblur.io.images import read_image
from tf_deepdeblur.models import saving
from tf_deepdeblur.models.saving import save_generator
from tf_deepdeblur.training import read_training

ROOT = Path(__file__).parents[2]


def run(*words):
    command = [sys.executable, "tools/export.py", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run's folder as it is while the run goes on: its last line of metrics is half written."""
    folder = tmp_path_factory.mktemp("run")
    save_generator(random_generator(1, global_residual=True), folder / "generator.keras")
    (folder / "config.cfg").write_text("--run_dir=/home/me/run\n--data_dir=/home/me/data\n--blur_key=blur\n")
    rows = [{"step": step, "kind": "eval", "psnr": 30.0 - step} for step in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 3, "ki')
    return folder


@pytest.fixture(scope="module")
def exported(run_dir, pairs_dir, tmp_path_factory):
    output = tmp_path_factory.mktemp("exported") / "new" / "folder"
    words = [
        "--saved_model",
        "--tflite",
        "--tiles",
        "--quantize=none,int8",
        f"--calibration_dir={pairs_dir}",
        "--timing_size=16x16",
    ]
    return run(f"--model={run_dir}", f"--output_dir={output}", *words), output


@pytest.mark.slow
def test_files_and_a_table(exported):
    finished, output = exported
    assert finished.returncode == 0, finished.stderr
    lines = finished.stderr.replace("\r", "\n").splitlines()
    assert [line for line in lines if line and not line.startswith("export and verify: ")] == []
    variants = [line.split()[0] for line in finished.stdout.splitlines()]
    assert variants[0] == "variant"
    assert {"keras", "saved_model", "none", "int8", "tiles"} <= set(variants)
    assert "largest activation" in finished.stdout.splitlines()[-1]
    assert {path.name for path in output.glob("generator_*")} == {
        f"generator_{name}.{suffix}" for name in ("none", "int8") for suffix in ("tflite", "json")
    }


@pytest.mark.slow
def test_the_facts_are_those_of_the_run_without_its_paths(exported):
    facts = json.loads((exported[1] / "saved_model" / "model.json").read_text())
    assert facts["training"]["flags"] == {"blur_key": "blur", "space_to_depth": "1", "optimizer": "adam"}
    assert facts["training"]["held_out"] == {"step": 2, "kind": "eval", "psnr": 28.0}


@pytest.mark.parametrize(
    ("name", "content"),
    [("metrics.jsonl", b"garbage{\n"), ("metrics.jsonl", b'{"step": 1}\n'), ("config.cfg", b"\xff\xfe")],
)
def test_a_damaged_log_is_one_line(run_dir, tmp_path, name, content):
    shutil.copytree(run_dir, tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"run/{name}: is damaged"):
        read_training(tmp_path / "run" / "generator.keras")


@pytest.mark.slow
def test_deblur_takes_a_saved_model(run_here, exported, pairs_dir, tmp_path, run_dir):
    image = pairs_dir / "test" / "blur" / "000.png"
    finished = run_here("deblur", f"--model={exported[1] / 'saved_model'}", f"--output_dir={tmp_path}", image)
    assert finished.returncode == 0, finished.stderr
    expected = Deblurrer.load(run_dir, precision="float32")(read_image(image))
    np.testing.assert_array_equal(read_image(tmp_path / "000.png"), expected)


@pytest.mark.slow
def test_tiles_have_the_pixels_of_the_untiled_file(exported, pairs_dir):
    """Both come from one calibration; the command line's exit code says that the report has no failure."""
    image = read_image(pairs_dir / "test" / "blur" / "000.png")
    tiled = Deblurrer.load(exported[1] / "tiles_int8", tile=32)(image)
    np.testing.assert_array_equal(tiled, Deblurrer.load(exported[1] / "generator_int8.tflite")(image))
    rows = json.loads((exported[1] / "report.json").read_text())["rows"]
    differences = {row["variant"]: row["mean_difference"] for row in rows}
    assert differences["tiles int8"] == differences["int8"]


@pytest.mark.slow
def test_evaluate_takes_a_tflite_file(run_here, exported, pairs_dir, tmp_path):
    words = [f"--model={exported[1] / 'generator_int8.tflite'}", "--benchmark=pairs", f"--data_dir={pairs_dir}"]
    finished = run_here("evaluate", *words, f"--output_dir={tmp_path}")
    assert finished.returncode == 0, finished.stderr
    assert json.loads((tmp_path / "results.json").read_text())["num_images"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["generator_none.tflite", "generator_int8.tflite"])
@pytest.mark.parametrize("size", [(1, 1), (37, 51)])
def test_a_deblurrer_opens_tflite_files(exported, run_dir, pairs_dir, name, size):
    image = read_image(pairs_dir / "test" / "blur" / "000.png")[: size[0], : size[1]]
    restored, expected = (
        Deblurrer.load(path, precision=precision)(image).astype(int)
        for path, precision in ((exported[1] / name, "auto"), (run_dir, "float32"))
    )
    assert np.abs(restored - expected).mean() < (0.01 if "none" in name else 1.5)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [([], 2, "--model is missing"), (["--output_dir=o", "--model=nowhere"], 1, "nowhere: no such file")],
)
def test_wrong_use_is_one_line(run_here, monkeypatch, tmp_path, words, code, message):
    monkeypatch.setattr(saving, "WEIGHTS_FOLDER", tmp_path)  # a package without weights
    finished = run_here("export", *words)
    assert finished.returncode == code, finished.stderr
    assert message in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1, finished.stderr


@pytest.fixture
def command():
    return import_command("export")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("stray", "unexpected argument 'stray'"),
        ("--quantize=int4,none", "--quantize takes none, float16, dynamic, int8 or all, got 'int4'"),
        (
            "--fixed_size=720",
            "--fixed_size must be height x width in pixels like 720x1280, at most 99999 each, got '720'",
        ),
        ("--timing_size=0x8", "--timing_size must be height x width"),
        ("--saved_model --quantize=int8", "add --tflite"),
        ("--tflite --serving_version=1", "add --saved_model"),
        ("--tiles --fixed_size=8x8", "add --tflite"),
        ("--tiles --quantize=dynamic", "Tiles cannot be dynamic"),
        ("--web --quantize=dynamic", "cannot be dynamic"),
        ("--web_runtime=npm", "add --web"),
    ],
)
def test_wrong_flags_are_named(command, words, message):
    argv = flags.FLAGS(["export.py", "--model=m", "--output_dir=o", *words.split()])
    with pytest.raises(UsageError, match=message):
        command.main(argv)


@pytest.mark.parametrize(
    ("words", "saved_model", "quantizations", "tiles"),
    [
        ("", True, ("none",), ()),
        ("--saved_model", True, (), ()),
        ("--tflite", False, ("none",), ()),
        ("--tflite --quantize=int8,dynamic", False, ("dynamic", "int8"), ()),
        ("--quantize=all", True, ("none", "float16", "dynamic", "int8"), ()),
        ("--tiles", False, (), ("none",)),
        ("--tiles --saved_model --quantize=int8", True, (), ("int8",)),
        ("--tiles --tflite --quantize=all", False, ("none", "float16", "dynamic", "int8"), ("none", "float16", "int8")),
    ],
)
def test_what_is_written(command, words, saved_model, quantizations, tiles):
    flags.FLAGS(["export.py", "--model=m", "--output_dir=o", *words.split()])
    options = command.read_options()
    assert (options["saved_model"], options["quantizations"], options["tiles"]) == (saved_model, quantizations, tiles)


@pytest.mark.parametrize(
    ("words", "quantizations"),
    [
        ("--web", ("int8",)),
        ("--web --tiles", ("none", "int8")),
        ("--web --quantize=none", ("none",)),
        ("--web --quantize=int8", ("int8",)),
    ],
)
def test_a_page_comes_with_tiles(command, words, quantizations):
    flags.FLAGS(["export.py", "--model=m", "--output_dir=o", *words.split()])
    options = command.read_options()
    assert (options["tiles"], options["saved_model"], options["quantizations"]) == (quantizations, False, ())


def test_a_page_needs_its_runtime_before_the_work_begins(run_here, run_dir, tmp_path):
    finished = run_here(
        "export", f"--model={run_dir}", f"--output_dir={tmp_path}", "--web", f"--web_runtime={tmp_path}"
    )
    assert finished.returncode == 1
    assert "litertjs-core-2.5.3.tgz: no such file; --web_runtime holds what npm pack" in finished.stderr
    assert list(tmp_path.iterdir()) == []
