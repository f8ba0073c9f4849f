"""Runs that start from weights that are there."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.training.gans import eager
from tests.training.small_train import small
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.models.saving import load_generator, save_generator
from tf_deepdeblur.training import RunFolder, architecture, describe, loop, read_training
from tf_deepdeblur.training.initial_weights import assign_initial_weights
from tf_deepdeblur.training.setup import build_model


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def weights(run_dir):
    return load_generator(run_dir).get_weights()


@pytest.fixture
def source(tmp_path):
    """A network like the one of ``tiny_config``, with weights of its own."""
    path = tmp_path / "source.keras"
    generator = Generator(2, 1, 4, 3)
    rng = np.random.default_rng(0)
    generator.set_weights([rng.normal(0, 0.05, weight.shape) for weight in generator.get_weights()])
    save_generator(generator, path)
    return path


def test_generator_and_average_start_there(tiny_config, source):
    model = build_model(tiny_config(optimizer={"ema_decay": 0.5}))
    assign_initial_weights(model, str(source))
    assert model.generator is not model.trained_generator
    assert_same(model.generator.get_weights(), weights(source))
    assert_same(model.trained_generator.get_weights(), weights(source))


@pytest.mark.slow
@eager
def test_a_step_without_learning_leaves_them_as_they_are(tiny_config, source):
    config = tiny_config(initial_weights=source, optimizer={"total_steps": 1, "learning_rate": 1e-30})
    loop.train(config)
    assert_same(weights(config.run_dir), weights(source))


@pytest.mark.slow
@eager
def test_the_run_remembers_where_it_started(tiny_config, source, capsys):
    config = tiny_config(initial_weights=source)
    loop.train(config)
    origin = {"name": "source.keras", "sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
    run = RunFolder(config.run_dir)
    assert json.loads(run.initial_weights.read_text()) == origin
    assert read_training(run.generator)["initial_weights"] == origin
    assert f"starts from source.keras (sha256 {origin['sha256']})" in capsys.readouterr().err
    assert str(source) not in json.dumps(read_training(run.generator))


def begun(config):
    """The folder of a run as it is before its first checkpoint."""
    run = RunFolder(config.run_dir)
    run.path.mkdir()
    run.write_config(config, 0)
    return run


def test_a_run_cannot_begin_twice(tiny_config, source, tmp_path):
    run = begun(tiny_config(initial_weights=source))
    run.checkpoints.joinpath("last").mkdir(parents=True)
    run.checkpoints.joinpath("last", "step-1.index").touch()
    other = shutil.copy(source, tmp_path / "other.keras")
    with pytest.raises(
        InputError, match=r"another model .`initial_weights` was .*source\.keras, is now .*other\.keras"
    ):
        loop.train(tiny_config(initial_weights=other))


def test_another_architecture_is_refused_by_name(tiny_config, source):
    config = tiny_config(initial_weights=source, filters=8, num_scales=1)
    message = r"source\.keras: was made with `num_scales=2`, not 1, `filters=4`, not 8; leave these out"
    for start in (loop.train, describe):
        with pytest.raises(InputError, match=message):
            start(config)
    assert not RunFolder(config.run_dir).config.exists()


def test_architecture(source):
    assert architecture(source) == {
        "num_scales": 2, "num_res_blocks": 1, "filters": 4, "kernel_size": 3, "global_residual": False,
        "space_to_depth": 1,
    }  # fmt: skip


def test_a_dry_run_says_where_it_would_start(tiny_config, source):
    assert "starts from source.keras (sha256 " in describe(tiny_config(initial_weights=source))


@pytest.mark.slow
@eager
def test_a_dry_run_reads_them_when_the_run_would(tiny_config, source):
    config = tiny_config(initial_weights=source, optimizer={"total_steps": 1})
    run = RunFolder(config.run_dir)
    run.path.mkdir()
    run.write_config(config, 0)  # a run that was stopped before its first checkpoint
    assert "starts from source.keras (sha256 " in describe(config)
    loop.train(config)
    source.unlink()
    text = describe(config)
    assert "goes on after step 1" in text
    assert "starts from" not in text
    shutil.rmtree(run.checkpoints)
    for start in (loop.train, describe):
        with pytest.raises(InputError, match="holds a trained network but no checkpoint"):
            start(config)


@pytest.mark.parametrize("name", ["nowhere.keras", "nowhere"])
def test_weights_that_are_not_there(tiny_config, name):
    with pytest.raises(InputError, match=f"{name}: no such file"):
        loop.train(tiny_config(initial_weights=name))


def test_a_damaged_record_is_called_so(tiny_config, source):
    run = begun(tiny_config(initial_weights=source))
    run.initial_weights.write_text("{")
    with pytest.raises(InputError, match=r"initial_weights\.json: is damaged"):
        read_training(run.generator)


@pytest.mark.slow
@eager
def test_the_discriminator_starts_where_the_run_has_one(tiny_config, tmp_path):
    first = tiny_config(tmp_path / "first", loss={"adversarial_weight": 1e-4}, optimizer={"total_steps": 1})
    with small():
        loop.train(first)
        model = build_model(first)
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(tmp_path / "first" / "checkpoints" / "last"))
    origin = assign_initial_weights(model, str(tmp_path / "first"))
    assert origin["discriminator"] == "from the same run"
    for index, variable in enumerate(model.discriminator.variables):
        stored = reader.get_tensor(f"discriminator/{index}/.ATTRIBUTES/VARIABLE_VALUE")
        np.testing.assert_array_equal(stored, variable.numpy())

    copied = shutil.copy(tmp_path / "first" / "generator.keras", tmp_path / "alone.keras")
    assert assign_initial_weights(model, str(copied))["discriminator"] == "from random weights"

    (data,) = (tmp_path / "first" / "checkpoints" / "last").glob("*.data*")
    Path(data).write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read"):
        assign_initial_weights(model, str(tmp_path / "first"))
