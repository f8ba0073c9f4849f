"""benchmarks/run.py: one JSON line per measurement, whatever is measured."""

import json
import multiprocessing
import runpy
import sys
from types import SimpleNamespace

import contest
import pytest

from tests.processes import Forked
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.models.saving import save_generator

pytestmark = pytest.mark.slow  # each starts a process

NETWORK = "--num_scales=2 --num_res_blocks=1 --filters=4 --kernel_size=3 --precision=float32 --repeats=2".split()


def run_program(*flags):
    """``python benchmarks/run.py FLAGS``, whose contenders are forked, too: each of them imports TensorFlow."""
    forking = multiprocessing.get_context("fork")
    contest.multiprocessing = SimpleNamespace(get_context=lambda _: forking)
    sys.argv = ["run.py", *flags]
    runpy.run_path("benchmarks/run.py", run_name="__main__")


@pytest.fixture
def run(tmp_path):
    """Runs the program; returns exit code, stdout and stderr."""

    def run(*flags):
        process = Forked(tmp_path, run_program, *flags)
        outputs = process.communicate()
        return process.returncode, *outputs

    return run


@pytest.fixture
def rows(run):
    """Runs the program; returns what it measured."""

    def rows(*flags):
        code, stdout, stderr = run(*flags)
        assert code == 0, stderr
        return [json.loads(line, parse_constant=pytest.fail) for line in stdout.splitlines()]

    return rows


def test_inference_compares_the_precisions(rows, tmp_path):
    path = tmp_path / "run" / "generator.keras"
    path.parent.mkdir()
    save_generator(Generator(2, 1, 4, 3, global_residual=True), path)
    measured = rows("--what=inference", f"--model={path.parent}", "--size=37x50", "--repeats=1")
    assert [row["precision"] for row in measured][:2] == ["float32", "bfloat16"]
    assert all(row["case"] == "50x37" and row["seconds"] > 0 and row["ratio"] == 1 for row in measured)
    # An untrained residual network returns its input, in all precisions.
    assert [(row["max_difference"], row["psnr"]) for row in measured] == [(0, None)] * len(measured)


def test_train_and_pipeline_take_the_flags_of_train(rows, pairs_dir):
    flags = ["--dataset=pairs", f"--data_dir={pairs_dir}", "--patch_size=16", "--adversarial_weight=0"]
    measured = rows("--what=train,pipeline", *NETWORK, *flags)
    assert [(row["what"], row["case"]) for row in measured] == [("train", "2 x 16 px"), ("pipeline", "pairs, 16 px")]
    assert measured[0]["gflop_per_second"] > 0
    assert measured[1]["patches_per_second"] > 0


def test_what_does_not_fit_into_the_time_is_left_out(rows):
    (measured,) = rows("--what=inference", *NETWORK, "--size=3000x4000", "--limit_minutes=0.0001")
    assert measured["failed"].startswith("left out: takes about")


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--what=inference", "--size=720"], 2, "--size must be height x width"),
        (["--what=speed"], 2, "what"),
        (["--what=inference", "--model=nowhere"], 1, "nowhere: no such file or folder"),
        (["--peers", "--model=shake"], 2, "--model"),
    ],
)
def test_wrong_use_is_one_line(run, flags, code, message):
    ended_with, _, stderr = run(*flags)
    assert ended_with == code, stderr
    assert message in stderr
    assert len(stderr.strip().splitlines()) == 1, stderr
