"""The flagfiles in configs/, and the flags themselves."""

import ast
from pathlib import Path

import pytest

from tf_deepdeblur.config import TrainConfig, flag_fields, read_flagfile

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.cfg"))
NAMES = {item.name for _, item in flag_fields()}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_complete(path):
    assert set(read_flagfile(path.read_text())) == NAMES - {"dry_run"}


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


def test_every_flag_is_read_somewhere():
    """Each field appears as an attribute, or goes to a constructor together with its group."""
    sources = [*(ROOT / "tf_deepdeblur").rglob("*.py"), *(ROOT / "tools").glob("*.py")]
    trees = [ast.parse(path.read_text()) for path in sources]
    read = {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    passed_whole = {item.name for group, item in flag_fields() if group == "model"}  # Generator(**vars(config.model))
    assert NAMES - read - passed_whole == set()
