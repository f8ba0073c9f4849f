"""Publishing a run and using it by its name, as two users do it, with the real client of the hub."""

import json
import os
import sys

import numpy as np
import pytest

from tests.export.conftest import random_generator
from tests.hub_server import Hub
from tf_deepdeblur.inference.deblurrer import Deblurrer
from tf_deepdeblur.io.images import read_image, write_image
from tf_deepdeblur.models.saving import save_generator


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    save_generator(random_generator(global_residual=True), folder / "generator.keras")
    (folder / "config.cfg").write_text("--data_dir=/home/me/data\n--dataset=pairs\n--blur_key=blur\n")
    (folder / "metrics.jsonl").write_text('{"step": 7, "kind": "eval", "psnr": 30.0, "ssim": 0.9}\n')
    return folder


def test_the_card_tells_of_the_run_but_not_of_its_paths(run_here, run_dir, tmp_path):
    finished = run_here("publish", f"--model={run_dir}", f"--output_dir={tmp_path / 'out'}")
    assert (finished.returncode, finished.stderr) == (0, "")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "after 7 steps: PSNR 30.00 dB" in card
    assert "--blur_key=blur" in card
    assert "/home/me" not in card + (tmp_path / "out" / "model.json").read_text()


@pytest.fixture
def user(monkeypatch):
    """Makes the hub's client start anew, as another user: it reads its variables when it is imported."""

    def forget():
        for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
            del sys.modules[name]

    def become(hub, cache, **variables):
        forget()
        for name in [name for name in os.environ if name.startswith("HF_")]:
            monkeypatch.delenv(name)
        for name, value in {"HF_ENDPOINT": hub.url, "HF_HOME": str(cache), **variables}.items():
            monkeypatch.setenv(name, value)

    yield become
    forget()


@pytest.mark.slow
def test_published_by_one_and_used_by_another(run_here, run_dir, user, tmp_path):
    pytest.importorskip("huggingface_hub")
    image = np.random.default_rng(0).integers(0, 256, (37, 51, 3), np.uint8)
    write_image(tmp_path / "photo.png", image)
    with Hub() as hub:
        user(hub, tmp_path / "mine", HF_TOKEN="hf_good")
        words = [f"--model={run_dir}", f"--output_dir={tmp_path / 'out'}", "--repo=me/sharp"]
        published = run_here("publish", *words)
        assert published.returncode == 0, published.stderr
        commit = hub.branches["me/sharp", "main"]
        assert f"uploaded to hf://me/sharp, commit {commit}" in published.stdout
        assert hub.commits["me/sharp", commit]["generator.keras"] == (run_dir / "generator.keras").read_bytes()

        user(hub, tmp_path / "theirs")
        words = ["--model=hf://me/sharp", f"--output_dir={tmp_path / 'restored'}", "--precision=float32"]
        used = run_here("deblur", *words, tmp_path / "photo.png")
    assert used.returncode == 0, used.stderr
    digest = json.loads((tmp_path / "out" / "model.json").read_text())["sha256"]
    assert used.stderr.splitlines()[0] == f"hf://me/sharp: commit {commit}, SHA-256 {digest}"
    expected = Deblurrer.load(run_dir, precision="float32")(image)
    np.testing.assert_array_equal(read_image(tmp_path / "restored" / "photo.png"), expected)
