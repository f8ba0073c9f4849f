"""The command train as its users meet it: processes, exit codes, and what they see."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import write_pairs
from tests.processes import Forked
from tf_deepdeblur import commands
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.models.saving import load_generator, save_generator

ROOT = Path(__file__).parents[2]
SHAPE = "--dataset=pairs --num_scales=1 --num_res_blocks=1 --filters=4 --kernel_size=3".split()
FLAGS = """
--patch_size=16 --adversarial_weight=0 --total_steps=120 --checkpoint_every=10 --eval_every=100 --log_every=50
--precision=float32 --strategy=single --deterministic --ema_decay=0.9 --eval_images=1
""".split()

NONDETERMINISTIC = [flag for flag in FLAGS if flag != "--deterministic"]  # which would stay on for other tests


def flags_of(run_dir, data_dir, initial_weights):
    places = {"run_dir": run_dir, "data_dir": data_dir, "initial_weights": initial_weights}
    return [*SHAPE, *FLAGS, *(f"--{name}={path}" for name, path in places.items())]


def steps_saved(run_dir):
    state = run_dir / "checkpoints" / "last" / "checkpoint"
    found = re.match(r'model_checkpoint_path: "step-(\d+)"', state.read_text()) if state.exists() else None
    return int(found[1]) if found else 0


def wait_for(run_dir, steps, process):
    while steps_saved(run_dir) < steps and process.returncode is None:
        time.sleep(0.02)


def complaint(result, code):
    """The one line that the user sees."""
    lines = result.stderr.strip().splitlines()
    assert result.returncode == code, result.stderr
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("deepdeblur train: ")
    return lines[0]


@pytest.fixture
def initial_weights(tmp_path):
    path = tmp_path / "initial.keras"
    save_generator(Generator(1, 1, 4, 3), path)
    return path


@pytest.mark.slow
def test_killed_and_stopped_runs_end_with_the_very_same_weights(tmp_path, pairs_dir, initial_weights):
    """Both start from the same weights, which the killed one does not need any more after its first checkpoint.

    What the user sees are scores, and no chatter.
    """
    flags = flags_of(tmp_path / "whole", pairs_dir, shutil.copy(initial_weights, tmp_path / "copy.keras"))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    whole = subprocess.Popen([sys.executable, "tools/train.py", *flags], cwd=ROOT, **pipes)
    killed = tmp_path / "killed"
    again = (tmp_path, commands.run, "train", ["train.py", *flags_of(killed, pairs_dir, initial_weights)])
    for steps, how in ((20, signal.SIGKILL), (60, signal.SIGTERM)):
        process = Forked(*again)
        wait_for(killed, steps, process)
        process.send_signal(how)
        _, stderr = process.communicate(timeout=100)
        assert process.returncode == (0 if how == signal.SIGTERM else -signal.SIGKILL), stderr
        assert steps_saved(killed) >= steps
        initial_weights.unlink(missing_ok=True)
    for process in (Forked(*again), whole):
        stdout, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
        assert "120 steps are done" in stdout
        assert "before" in stdout
        assert not re.search(r"oneDNN|cuda|WARNING|functional_saver|Traceback", stderr)
    assert steps_saved(killed) == steps_saved(tmp_path / "whole") == 120
    assert json.loads((killed / "initial_weights.json").read_text())["name"] == "initial.keras"
    weights = [load_generator(folder / "generator.keras").get_weights() for folder in (killed, tmp_path / "whole")]
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_the_network_is_that_of_the_initial_weights(run_here, tmp_path, pairs_dir, initial_weights):
    flags = ["--dataset=pairs", f"--data_dir={pairs_dir}", "--patch_size=16", "--adversarial_weight=0"]
    flags += [f"--initial_weights={initial_weights}", "--strategy=single", f"--run_dir={tmp_path / 'run'}"]
    line = complaint(run_here("train", *flags, "--filters=8", "--num_scales=1"), code=1)
    assert "initial.keras: was made with --filters=4, not 8; leave these out or use other weights" in line
    for steps in (1, 2):  # the second time the run itself says what its network is
        finished = run_here("train", *flags, f"--total_steps={steps}")
        assert finished.returncode == 0, finished.stderr
        initial_weights.unlink(missing_ok=True)
    assert ("starts from initial.keras" in finished.stderr, "2 steps are done" in finished.stdout) == (False, True)
    assert load_generator(tmp_path / "run").get_config()["filters"] == 4


def test_dry_run_prints_and_stops(run_here, tmp_path, pairs_dir):
    result = run_here("train", *SHAPE, f"--run_dir={tmp_path / 'run'}", f"--data_dir={pairs_dir}", "--patch_size=16",
                 "--adversarial_weight=0", "--dry_run")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "training pairs: 5" in result.stdout
    assert "parameters" in result.stdout
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--no_such_flag=1"], "no_such_flag'; --help lists the flags"),
        (["--run_dir="], "--run_dir is empty; name a folder"),
        (["--num_scales=4"], "--num_scales must be one of 1, 2, 3, got 4"),
        (["--filters=many"], "--filters=many"),
        (["--decay_steps=1,x"], "--decay_steps takes whole numbers"),
        (["--flagfile=nowhere.cfg"], "nowhere.cfg"),
        (["--dataset=gopro"], "--dataset=gopro needs --data_dir"),
        (["configs/demo.cfg"], "unexpected argument 'configs/demo.cfg'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_wrong_command_line_is_one_line_and_code_2(run_here, flags, message):
    assert message in complaint(run_here("train", *flags), code=2)


def test_wrong_data_is_one_line_and_code_1(run_here, tmp_path):
    result = run_here("train", *SHAPE, "--data_dir=nowhere", f"--run_dir={tmp_path}")
    assert "nowhere: no such folder" in complaint(result, code=1)


def test_a_truncated_image_is_one_line_and_code_1(run_here, tmp_path, pairs_dir):
    data = shutil.copytree(pairs_dir, tmp_path / "data")
    broken = data / "train" / "blur" / "002.png"
    broken.write_bytes(broken.read_bytes()[:1500])
    result = run_here("train", *SHAPE, *NONDETERMINISTIC, f"--run_dir={tmp_path / 'run'}", f"--data_dir={data}")
    assert result.returncode == 1
    last = result.stderr.replace("\r", "\n").strip().splitlines()[-1]
    assert re.search(r"deepdeblur train: .*blur/002\.png: cannot be read as an image", last), result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_loses_no_checkpoint(run_here, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this machine cannot mount a tmpfs")
    try:
        data = write_pairs(tmp_path / "data", 3)
        flags = [
            *SHAPE,
            *NONDETERMINISTIC,
            f"--data_dir={data}",
            f"--run_dir={disk}",
            "--filters=48",
            "--total_steps=60",
        ]
        result = run_here("train", *flags)
        assert result.returncode == 1, result.stderr
        last = result.stderr.replace("\r", "\n").strip().splitlines()[-1]
        assert re.search(r"could not be|cannot be written", last), result.stderr
        assert "Traceback" not in result.stderr
        subprocess.run(["mount", "-o", "remount,size=50m", disk], check=True)
        assert run_here("train", *flags).returncode == 0
        assert steps_saved(disk) == 60
    finally:
        subprocess.run(["umount", disk], check=True)
