"""benchmarks/run.py: one JSON line per measurement, whatever is measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.models.saving import save_generator

pytestmark = pytest.mark.slow  # each starts a process

ROOT = Path(__file__).parents[2]
NETWORK = "--num_scales=2 --num_res_blocks=1 --filters=4 --kernel_size=3 --precision=float32 --repeats=2".split()


def run(*flags):
    command = [sys.executable, "benchmarks/run.py", *map(str, flags)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def rows(*flags):
    finished = run(*flags)
    assert finished.returncode == 0, finished.stderr
    return [json.loads(line, parse_constant=pytest.fail) for line in finished.stdout.splitlines()]


@pytest.fixture(scope="module")
def inference(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "generator.keras"
    save_generator(Generator(2, 1, 4, 3, global_residual=True), path)
    return rows("--what=inference", f"--model={path.parent}", "--size=37x50", "--repeats=2")


def test_inference_compares_the_precisions(inference):
    assert [row["name"] for row in inference][:2] == ["float32", "bfloat16"]
    assert all(row["size"] == "37x50" for row in inference)
    assert all(row["beside_network"] > 0 and row["seconds"] > 0 for row in inference)
    assert inference[0]["ratio"] == 1
    assert (inference[0]["psnr"], inference[0]["max_difference"]) == (None, 0)


def test_an_untrained_residual_network_gives_the_same_in_all_precisions(inference):
    assert [row["max_difference"] for row in inference] == [0] * len(inference)


def test_train_compares_a_step_with_the_least_it_must_do():
    measured = rows("--what=train", *NETWORK, "--patch_size=32", "--adversarial_weight=0")
    assert [row["name"] for row in measured] == ["forward and backward", "train step, content loss"]
    assert measured[0]["ratio"] == 1
    assert measured[1]["ratio"] > 0.2


def test_pipeline_is_measured_in_both_passes(pairs_dir):
    measured = rows(
        "--what=pipeline", "--dataset=pairs", f"--data_dir={pairs_dir}", "--patch_size=16", "--adversarial_weight=0"
    )
    assert len(measured) == 2
    assert all(row["patches_per_second"] > 0 and row["dataset"] == "pairs" for row in measured)


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--what=inference", "--size=720"], 2, "--size must be height x width"),
        (["--what=inference", "--model=nowhere", "--size=8x8"], 1, "nowhere: no such file"),
        (["--what=speed"], 2, "what"),
    ],
)
def test_wrong_use_is_one_line(flags, code, message):
    finished = run(*flags)
    assert finished.returncode == code, finished.stderr
    assert message in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1, finished.stderr
