"""The flagfiles in configs/, and the flags themselves."""

import dataclasses
import sys
from pathlib import Path

import pytest

from tests.training.gans import eager
from tf_deepdeblur import config as config_module
from tf_deepdeblur.config import ModelConfig, TrainConfig, flag_fields, read_flagfile
from tf_deepdeblur.training import describe, train

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.cfg"))
NAMES = {item.name for _, item in flag_fields()}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_complete(path):
    values = read_flagfile(path.read_text())
    of_the_weights = {item.name for item in dataclasses.fields(ModelConfig)} if values["initial_weights"] else set()
    assert set(values) == NAMES - {"dry_run"} - of_the_weights


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_says_what_it_is(path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    text = "\n".join(header)
    assert f"--flagfile configs/{path.name}" in text
    assert all(word in text for word in ("section", "Expected:", "Hardware:")) or path.stem in ("reds", "gopro_l1")


def test_the_papers_config_is_the_default():
    values = read_flagfile((ROOT / "configs" / "gopro.cfg").read_text())
    for group, item in flag_fields(TrainConfig):
        if item.name not in ("run_dir", "data_dir", "dry_run"):
            default = ",".join(map(str, item.default)) if isinstance(item.default, tuple) else item.default
            kind = type(default)
            value = values[item.name] == "true" if kind is bool else kind(values[item.name])
            assert value == default, (group, item.name)


@pytest.mark.slow
@eager
def test_every_value_is_read_by_a_training(tiny_config, monkeypatch):
    """By code outside of config.py, which itself reads all of them to check and to write them."""
    read = set()

    def recorded(self, name):
        if sys._getframe(1).f_code.co_filename != config_module.__file__:
            read.add((type(self).__name__, name))
        return object.__getattribute__(self, name)

    groups = [item.type for item in dataclasses.fields(TrainConfig) if dataclasses.is_dataclass(item.type)]
    classes = [TrainConfig, *groups]
    for config_class in classes:
        monkeypatch.setattr(config_class, "__getattribute__", recorded)
    config = tiny_config()
    train(config)
    describe(config)
    # Given away as a whole: Generator(**vars(config.model)).
    assert ("ModelConfig", "__dict__") in read
    unread = {item.name for _, item in flag_fields()} - {name for _, name in read}
    unread -= {item.name for item in dataclasses.fields(config.model)}
    assert unread == {"dry_run"}  # read by the command
