"""tools/export.py as its users meet it: files, a table, exit codes, and one line for a mistake."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.export.conftest import random_generator
from tf_deepdeblur.images import read_image
from tf_deepdeblur.inference.deblurrer import Deblurrer
from tf_deepdeblur.models.generator import save_generator

ROOT = Path(__file__).parents[2]


def run(*flags, tool="export.py"):
    command = [sys.executable, f"tools/{tool}", *map(str, flags)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run's folder as it is while the run goes on: its last line of metrics is half written."""
    folder = tmp_path_factory.mktemp("run")
    save_generator(random_generator(global_residual=True), folder / "generator.keras")
    (folder / "config.cfg").write_text("--run_dir=/home/me/run\n--data_dir=/home/me/data\n--blur_key=blur\n")
    rows = [{"step": step, "kind": "eval", "psnr": 30.0 - step} for step in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 3, "ki')
    return folder


@pytest.fixture(scope="module")
def exported(run_dir, pairs_dir, tmp_path_factory):
    output = tmp_path_factory.mktemp("exported") / "new" / "folder"
    flags = ["--quantize=none,int8", f"--calibration_dir={pairs_dir}", "--timing_size=16x16"]
    return run(f"--model={run_dir}", f"--output_dir={output}", *flags), output


def test_files_and_a_table(exported):
    finished, output = exported
    assert finished.returncode == 0, finished.stderr
    assert "Traceback" not in finished.stderr
    variants = [line.split()[0] for line in finished.stdout.splitlines()]
    assert variants[0] == "variant"
    assert {"keras", "saved_model", "none", "int8"} <= set(variants)
    assert {path.name for path in output.glob("generator_*")} == {
        f"generator_{name}.{suffix}" for name in ("none", "int8") for suffix in ("tflite", "json")
    }


def test_the_facts_are_those_of_the_run_without_its_paths(exported):
    facts = json.loads((exported[1] / "saved_model" / "model.json").read_text())
    assert facts["training"]["flags"] == {"blur_key": "blur"}
    assert facts["training"]["held_out"] == {"step": 2, "kind": "eval", "psnr": 28.0}


@pytest.mark.parametrize("name", ["saved_model", "generator_none.tflite"])
def test_other_tools_take_the_export(exported, pairs_dir, tmp_path, run_dir, name):
    image = pairs_dir / "test" / "blur" / "000.png"
    finished = run(f"--model={exported[1] / name}", f"--output_dir={tmp_path}", image, tool="deblur.py")
    assert finished.returncode == 0, finished.stderr
    difference = read_image(tmp_path / "000.png").astype(int) - Deblurrer.load(run_dir)(read_image(image))
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ([], 2, "--model must have a value"),
        (["--output_dir=o", "--model=m", "stray"], 2, "unexpected argument 'stray'"),
        (["--output_dir=o", "--model=m", "--quantize=int4"], 2, "--quantize takes none, float16, dynamic, int8 or all"),
        (["--output_dir=o", "--model=m", "--fixed_size=720"], 2, "--fixed_size must be height x width in pixels like"),
        (["--output_dir=o", "--model=m", "--saved_model", "--quantize=int8"], 2, "add --tflite"),
        (["--output_dir=o", "--model=m", "--tflite", "--serving_version=1"], 2, "add --saved_model"),
        (["--output_dir=o", "--model=nowhere"], 1, "nowhere: no such file"),
    ],
)
def test_wrong_use_is_one_line(flags, code, message):
    finished = run(*flags)
    assert finished.returncode == code, finished.stderr
    assert message in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1, finished.stderr
