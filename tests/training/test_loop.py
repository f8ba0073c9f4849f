import json
import math
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import write_pairs
from tests.training.gans import eager
from tf_deepdeblur.config import read_flagfile, to_flagfile
from tf_deepdeblur.data.datasets import open_dataset
from tf_deepdeblur.data.packed import pack
from tf_deepdeblur.data.pipeline import pair_index
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.inference.deblurrer import Deblurrer
from tf_deepdeblur.io.atomic import locked
from tf_deepdeblur.models.saving import load_generator
from tf_deepdeblur.training import describe, loop
from tf_deepdeblur.training.run_folder import RunFolder


def weights(run_dir, name="generator.keras"):
    return load_generator(Path(run_dir) / name).get_weights()


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def records(run_dir):
    return [json.loads(line) for line in (Path(run_dir) / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_run_folder_holds_what_it_should(finished_run):
    config, result = finished_run
    run_dir = Path(config.run_dir)
    names = {path.name for path in run_dir.iterdir()}
    assert names == {
        "config.cfg", "checkpoints", "tensorboard", "metrics.jsonl", "samples", "generator.keras",
        "generator_best.keras", "precision.json",
    }  # fmt: skip
    assert read_flagfile((run_dir / "config.cfg").read_text())["filters"] == "4"
    assert result["step"] == 4
    assert [(row["step"], row["kind"]) for row in records(run_dir)] == [
        (2, "train"), (2, "eval"), (4, "train"), (4, "eval"),
    ]  # fmt: skip
    assert result["psnr"] == records(run_dir)[-1]["psnr"]
    assert len(list((run_dir / "samples").rglob("*.png"))) == 4
    image = np.zeros((5, 7, 3), np.uint8)
    assert Deblurrer.load(run_dir)(image).shape == image.shape


@pytest.mark.slow
@eager
def test_a_stopped_and_resumed_run_ends_with_the_same_weights(tiny_config, tmp_path):
    arguments = {"optimizer": {"total_steps": 6, "ema_decay": 0.9}}
    loop.train(tiny_config(tmp_path / "whole", **arguments))
    loop.train(tiny_config(tmp_path / "parts", optimizer={"total_steps": 2, "ema_decay": 0.9}))
    loop.train(tiny_config(tmp_path / "parts", **arguments))
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


@pytest.mark.slow
@eager
def test_a_finished_run_only_reports(finished, finished_run):
    before = (Path(finished.run_dir) / "generator.keras").stat().st_mtime_ns
    assert loop.train(finished) == pytest.approx(finished_run[1], rel=1e-4)
    assert (Path(finished.run_dir) / "generator.keras").stat().st_mtime_ns == before


@pytest.mark.slow
@eager
def test_the_average_is_what_is_saved(tiny_config):
    config = tiny_config(optimizer={"total_steps": 4, "learning_rate": 1e-3, "ema_decay": 0.5})
    loop.train(config)
    reader = tf.train.load_checkpoint(str(Path(config.run_dir) / "checkpoints" / "last" / "step-4"))
    stored = {
        part: [reader.get_tensor(f"{part}/{i}/.ATTRIBUTES/VARIABLE_VALUE") for i in range(len(weights(config.run_dir)))]
        for part in ("generator", "average")
    }
    assert_same(stored["average"], weights(config.run_dir))
    assert not any(map(np.array_equal, stored["generator"], stored["average"]))


@pytest.mark.slow
def test_another_model_in_the_run_folder_is_refused(finished, tiny_config):
    with pytest.raises(InputError, match=r"another model .`filters` was 4, is now 8"):
        loop.train(tiny_config(filters=8))


@pytest.mark.slow
def test_a_run_that_lost_its_checkpoints_is_not_overwritten(finished):
    config = finished
    kept = weights(config.run_dir)
    (Path(config.run_dir) / "checkpoints" / "last" / "checkpoint").write_text("gar#ba=ge")
    with pytest.raises(InputError, match="holds a trained network but no checkpoint"):
        loop.train(config)
    shutil.rmtree(Path(config.run_dir) / "checkpoints")
    with pytest.raises(InputError, match="holds a trained network but no checkpoint"):
        loop.train(config)
    assert_same(kept, weights(config.run_dir))


@pytest.mark.parametrize("damage", [b"", b"--adversarial_weight=abc", b"\xffgar#ba=ge --zz"])
def test_a_damaged_configuration_is_called_so(tiny_config, damage):
    config = tiny_config()
    path = Path(config.run_dir) / "config.cfg"
    path.parent.mkdir()
    content = damage and to_flagfile(config).encode().replace(b"--adversarial_weight=0.0", damage)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"config\.cfg: is damaged"):
        loop.train(config)
    assert path.read_bytes() == content


@pytest.mark.slow
@eager
def test_what_was_changed_since_the_last_start_is_said_and_recorded(finished, tiny_config, capsys):
    run_dir = Path(finished.run_dir)
    loop.train(finished)
    assert "changed" not in capsys.readouterr().err
    loop.train(tiny_config(optimizer={"total_steps": 6, "learning_rate": 2e-3}))
    line = "`total_steps` was 4, is now 6, `learning_rate` was 0.001, is now 0.002"
    assert f"changed since last time: {line}" in capsys.readouterr().err
    (row,) = map(json.loads, (run_dir / "config_history.jsonl").read_text().splitlines())
    assert row == {"step": 4, "changes": {"total_steps": ["4", "6"], "learning_rate": ["0.001", "0.002"]}}
    assert read_flagfile((run_dir / "config.cfg").read_text())["learning_rate"] == "0.002"


def test_validation_images_that_the_discriminator_cannot_judge_are_refused(tiny_config, tmp_path):
    write_pairs(tmp_path / "data" / "train", 1, 210, 210)
    write_pairs(tmp_path / "data" / "test", 2, 48, 64)
    data = {"data_dir": str(tmp_path / "data"), "patch_size": 200}
    with pytest.raises(
        InputError, match=r"test/blur/000\.png: 48x64 \(height x width\), but .* `adversarial_weight=0`"
    ):
        loop.train(tiny_config(data=data, loss={"adversarial_weight": 1e-4}))
    with pytest.raises(InputError, match="`patch_size`") as caught:
        loop.train(tiny_config(data={**data, "patch_size": 212}))
    assert "adversarial_weight" not in str(caught.value)


@pytest.mark.slow
@eager
def test_a_full_disk_while_pictures_are_written_names_the_run_folder(tiny_config, monkeypatch):
    def no_space(path, image):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("tf_deepdeblur.training.logs.write_image", no_space)
    config = tiny_config()
    with pytest.raises(InputError, match=rf"{config.run_dir}: cannot be written .*No space.*start again"):
        loop.train(config)


def test_only_errors_of_the_run_folder_are_called_so(tmp_path):
    folder = RunFolder(tmp_path / "run")
    for error, kind in (
        (PermissionError(13, "Permission denied", "/data/001.png"), PermissionError),
        (BrokenPipeError(32, "Broken pipe"), BrokenPipeError),
        (OSError(28, "No space left on device"), InputError),
    ):
        with pytest.raises(kind), loop._plain_errors(folder, None):
            raise error


@pytest.mark.slow
@eager
def test_ctrl_c_saves_and_does_not_evaluate(tiny_config, monkeypatch):
    presses = iter([signal.SIGINT])
    monkeypatch.setattr(loop.Report, "advance", lambda report: [os.kill(os.getpid(), key) for key in presses])
    config = tiny_config(runtime={"eval_every": 1})
    result = loop.train(config)
    assert (result["step"], result["stopped_by"], "psnr" in result) == (2, "SIGINT", False)
    assert (Path(config.run_dir) / "checkpoints" / "last" / "step-2.index").exists()
    assert [(row["step"], row["kind"]) for row in records(config.run_dir)] == [
        (1, "train"), (1, "eval"), (2, "train"),
    ]  # fmt: skip


@pytest.mark.slow
@eager
def test_a_validation_frame_that_does_not_fit_into_memory_is_named_and_nothing_is_lost(tiny_config, monkeypatch):
    def out_of_memory(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    monkeypatch.setattr("tf_deepdeblur.training.validation.to_uint8", out_of_memory)
    config = tiny_config(optimizer={"total_steps": 2}, runtime={"checkpoint_every": 50, "eval_every": 1})
    with pytest.raises(InputError, match=r"00\d\.png: out of memory.*45x63 pixels.*smaller ones.*; 1 steps are saved"):
        loop.train(config)
    assert (Path(config.run_dir) / "checkpoints" / "last" / "step-1.index").exists()


def test_describe_reads_every_pair(tiny_config, pairs_dir, tmp_path):
    folder = shutil.copytree(pairs_dir, tmp_path / "data")
    broken = folder / "train" / "sharp" / "003.png"
    broken.write_bytes(broken.read_bytes()[:-2000])
    with pytest.raises(InputError, match=r"sharp/003\.png"):
        describe(tiny_config(data={"data_dir": str(folder)}))


def test_describe_reads_every_image_of_a_store(tiny_config, pairs_dir, tmp_path):
    path = tmp_path / "a.store"
    training, validation = open_dataset("pairs", pairs_dir)
    pack(training, validation, path)
    config = tiny_config(data={"dataset": "store", "data_dir": str(path)})
    assert "training pairs: 5" in describe(config)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"{path}: 1 images are damaged, such as test/sharp/001\.png; pack it again"):
        describe(config)


@pytest.mark.slow
@eager
def test_a_run_folder_has_one_training_at_a_time(tiny_config):
    config = tiny_config()
    run_dir = Path(config.run_dir)
    run_dir.mkdir(parents=True)
    with locked(run_dir):
        with pytest.raises(InputError, match=rf"{run_dir}: another program is writing to it"):
            loop.train(config)
        assert "training pairs: 5" in describe(config)
    assert list(run_dir.iterdir()) == []
    assert loop.train(config)["step"] == 4


@pytest.mark.slow
@eager
def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint(finished, tiny_config):
    config = finished
    kept = weights(config.run_dir)
    with pytest.raises(
        InputError, match=r"content_loss is not finite at step \d+; the last good checkpoint is .*step-4"
    ):
        loop.train(tiny_config(optimizer={"total_steps": 8, "learning_rate": 1e30}))
    assert_same(kept, weights(config.run_dir))
    assert all(math.isfinite(row["content_loss"]) for row in records(config.run_dir))


@pytest.mark.slow
@eager
def test_an_update_that_spoils_the_weights_is_noticed_before_they_are_saved(tiny_config):
    """The third step's own loss is that of good weights; its update makes them absurd, though finite."""
    runtime = {"checkpoint_every": 1, "log_every": 1, "eval_every": 100}
    run_dir = Path(tiny_config().run_dir)
    loop.train(tiny_config(optimizer={"total_steps": 2}, runtime=runtime))
    kept = weights(run_dir)
    message = r"content_loss is [\d.]+e\+\d+ at step 3, .* diverged .*good checkpoint is .*step-2: .*`clip_norm=1`"
    with pytest.raises(InputError, match=message):
        loop.train(tiny_config(optimizer={"total_steps": 4, "learning_rate": 3.0}, runtime=runtime))
    assert_same(kept, weights(run_dir))
    assert {path.stem for path in (run_dir / "checkpoints" / "last").glob("*.index")} == {"step-1", "step-2"}
    assert loop.train(tiny_config(optimizer={"clip_norm": 1.0}, runtime=runtime))["step"] == 4
    assert records(run_dir)[-1]["content_loss"] < 1.0


@pytest.mark.slow
@eager
def test_a_file_that_breaks_while_training_is_named_and_nothing_is_lost(tiny_config, pairs_dir, tmp_path):
    """The header is fine, the pixels are cut off: only decoding, in the middle of training, can find it."""
    folder = shutil.copytree(pairs_dir, tmp_path / "data")
    last_of_the_first_pass = pair_index(4, 5, 0)
    broken = folder / "train" / "sharp" / f"{last_of_the_first_pass:03d}.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    config = tiny_config(data={"data_dir": str(folder)}, runtime={"checkpoint_every": 50})
    with pytest.raises(InputError, match=rf"sharp/{broken.name}: cannot be read .* 2 steps are saved"):
        loop.train(config)
    broken.write_bytes(whole)
    assert loop.train(config)["step"] == 4
    loop.train(tiny_config(tmp_path / "sound"))
    assert_same(weights(tmp_path / "sound"), weights(config.run_dir))


@pytest.mark.slow
@eager
def test_without_validation_pairs_there_is_no_evaluation(tiny_config, pairs_dir):
    config = tiny_config(data={"data_dir": str(pairs_dir / "train")})
    assert loop.train(config) == {"step": 4}
    assert {row["kind"] for row in records(config.run_dir)} == {"train"}


def test_patches_that_the_discriminator_cannot_judge_are_refused(tiny_config):
    with pytest.raises(InputError, match="`patch_size`"):
        loop.train(tiny_config(loss={"adversarial_weight": 1e-4}))


def test_describe_names_pairs_and_sizes(tiny_config):
    text = describe(tiny_config())
    assert "training pairs: 5" in text
    assert "train/blur/000.png" in text
    assert "validation pairs: 2" in text
    assert "parameters" in text
    assert not Path(tiny_config().run_dir).exists()


@pytest.mark.slow
@eager
def test_best_and_last_are_different_files(tiny_config):
    config = tiny_config(optimizer={"total_steps": 6, "learning_rate": 0.05})
    loop.train(config)
    scores = {row["step"]: row["psnr"] for row in records(config.run_dir) if row["kind"] == "eval"}
    best = max(scores, key=scores.get)
    assert [p.stem for p in (Path(config.run_dir) / "checkpoints" / "best").glob("*.index")] == [f"step-{best}"]
