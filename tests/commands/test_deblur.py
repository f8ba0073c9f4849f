"""The command deblur as a user calls it: exit codes, one line per mistake, the files that are promised."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.processes import Forked
from tests.synthesis.videos import write_video
from tf_deepdeblur import commands
from tf_deepdeblur.io.photo import read_photo
from tf_deepdeblur.models import saving
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.models.saving import save_generator

ROOT = Path(__file__).parents[2]
IMAGE = np.random.default_rng(2).integers(0, 256, (50, 70, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network that changes nothing."""
    path = tmp_path_factory.mktemp("model") / "generator.keras"
    save_generator(Generator(2, 1, 2, global_residual=True), path)
    return path


def run_tool(*arguments, cwd=None):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / "tools" / "deblur.py", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=cwd)


@pytest.mark.slow
def test_a_run_from_end_to_end(run_here, monkeypatch, model, tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    Image.fromarray(IMAGE).save(tmp_path / "in" / "a b.png")
    Image.fromarray(IMAGE).save(tmp_path / "in" / "sub" / "c.png")
    (tmp_path / "in" / "bad.png").write_text("hello")
    arguments = (f"--model={model}", "--output_dir=out", "--tile=32", "--precision=float32", "--recursive", "--compare")
    finished = run_tool(*arguments, "in", cwd=tmp_path)
    assert finished.returncode == 1
    assert finished.stdout == "2 restored, 1 failed; written to out\n"
    assert (
        finished.stderr.splitlines()[-1]
        == "in/bad.png: is not a picture, or is damaged; check whether another program opens it"
    )
    assert "Traceback" not in finished.stderr
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and not path.name.startswith(".")]
    files = sorted(str(path.relative_to(tmp_path / "out")) for path in files)
    assert files == ["a b.png", "before_after/a b.png.jpg", "before_after/sub/c.png.jpg", "sub/c.png"]
    np.testing.assert_array_equal(read_photo(tmp_path / "out" / "sub" / "c.png").image, IMAGE)
    monkeypatch.chdir(tmp_path)
    again = run_here("deblur", f"--model={model}", "--output_dir=out", "--skip_existing", "in/a b.png")
    assert (again.returncode, again.stdout) == (0, "0 restored, 1 were there already, 0 failed\n")


@pytest.mark.slow
def test_sigterm_leaves_no_half_video(model, tmp_path):
    write_video(tmp_path / "clip.mp4", [IMAGE[:48, :64]] * 3000)
    words = ["deblur.py", f"--model={model}", f"--output_dir={tmp_path / 'out'}", str(tmp_path / "clip.mp4")]
    process = Forked(tmp_path, commands.run, "deblur", words)
    while not list(tmp_path.glob("out/.*.part.mp4")) and process.returncode is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 143, said
    assert "deblur.py: stopped by SIGTERM" in said
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ([], "name at least one image, folder or video to deblur"),
        (["--model=m.keras", "--tile=16", "a.png"], "--tile=16: must be auto, 0 (off) or at least 32"),
        (["--model=m.keras", "--tile=big", "a.png"], "--tile=big: must be auto"),
        (["--model=m.keras", "--precision=half", "a.png"], "--precision"),
        (["--model=m.keras", "--jpeg_quality=0", "a.png"], "--jpeg_quality"),
    ],
)
def test_exit_code_2_and_one_line_for_wrong_usage(run_here, arguments, complaint):
    finished = run_here("deblur", *arguments)
    assert (finished.returncode, len(finished.stderr.splitlines())) == (2, 1)
    assert complaint in finished.stderr


def test_without_a_model_the_shipped_one_is_used(run_here, model, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "WEIGHTS_FOLDER", tmp_path)
    Image.fromarray(IMAGE).save(tmp_path / "photo.png")
    words = [f"--output_dir={tmp_path / 'out'}", "--precision=float32", tmp_path / "photo.png"]
    without = run_here("deblur", *words)
    assert (without.returncode, without.stdout) == (2, "")
    assert without.stderr.startswith("deepdeblur deblur: --model is missing: ")
    shutil.copy(model, tmp_path / "shake.keras")
    finished = run_here("deblur", *words, "absent.png")
    assert finished.returncode == 1, finished.stderr
    missing, notice = finished.stderr.splitlines()[:2]  # what is wrong with the inputs is not lost behind the rest
    assert missing == "absent.png: no such file or folder"
    assert notice.startswith("no --model, so shake is used")
    np.testing.assert_array_equal(read_photo(tmp_path / "out" / "photo.png").image, IMAGE)


def test_exit_code_1_and_one_line_without_a_model(run_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished = run_here("deblur", "--model=absent.keras", "a.png")
    assert (finished.returncode, finished.stderr) == (
        1,
        "deepdeblur deblur: absent.keras: no such file; give a trained model\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_no_network_is_loaded_for_nothing(run_here, model, tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "load_deblurrer", lambda *_: pytest.fail("was loaded"))
    monkeypatch.chdir(tmp_path)
    absent = run_here("deblur", f"--model={model}", "phto.png")
    assert (absent.returncode, absent.stderr) == (1, "phto.png: no such file or folder\n")
    (tmp_path / "file").touch()
    unwritable = run_here("deblur", f"--model={model}", "--output_dir=file", "phto.png")
    assert "file: cannot be written to (File exists); choose another --output_dir" in unwritable.stderr


def test_the_tasks_of_a_slurm_array_restore_a_shard_each(run_here, model, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    for name in "abc":
        Image.fromarray(IMAGE).save(tmp_path / "in" / f"{name}.png")
    words = [f"--model={model}", f"--output_dir={tmp_path / 'out'}", "--precision=float32", tmp_path / "in"]
    for key, value in {"ID": 2, "MIN": 1, "MAX": 2, "STEP": 1, "COUNT": 2}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{key}", str(value))
    task = run_here("deblur", *words)
    assert (task.returncode, task.stdout) == (
        0,
        f"shard 1/2: 1 restored, 0 failed; written to {tmp_path / 'out'}\n",
    )
    assert "shard 1/2 of a Slurm array; --shard=0/1 does all of the work in every task" in task.stderr
    assert (tmp_path / "out" / "b.png").is_file()
    explicit = run_here("deblur", "--shard=0/2", *words)
    assert explicit.stdout.startswith("shard 0/2: 2 restored, 0 failed")
    monkeypatch.delenv("SLURM_ARRAY_TASK_COUNT")
    refused = run_here("deblur", *words)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "SLURM_ARRAY_TASK_COUNT is not set, though others of a Slurm array are: give --shard=i/n" in refused.stderr
