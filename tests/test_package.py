import configparser
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import tf_deepdeblur

ROOT = Path(__file__).parents[1]
PACKAGES = [tf_deepdeblur, *(importlib.import_module(f"tf_deepdeblur.{name}") for name in (
    "cluster", "data", "evaluation", "export", "inference", "io", "models", "synthesis", "training"
))]  # fmt: skip


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_public_names_exist(package):
    assert package.__all__
    for name in set(package.__all__) - {"__version__"}:
        member = getattr(package, name)
        assert name.isupper() or member.__name__.split(".")[-1] == name


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        importlib.import_module("tf_deepdeblur").nonsense  # noqa: B018


def test_import_is_silent_and_does_not_load_tensorflow():
    code = "import sys, tf_deepdeblur; assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_wheel_carries_every_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    folders = {path.parent for path in (ROOT / "tf_deepdeblur").rglob("__init__.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(setup["options"]["packages"].split()) == names | {"tf_deepdeblur.configs"}


@pytest.mark.slow
def test_a_new_process(pairs_dir):
    """TensorFlow can be imported quietly, one import registers all, and an endless iterator ends with the program."""
    code = """
import os
import sys
from tf_deepdeblur.runtime import import_tensorflow_quietly

import_tensorflow_quietly()
os.write(2, b"imported")
import keras
import tf_deepdeblur
from tf_deepdeblur import DeblurGAN

names = ("DeblurGAN", "Generator", "Discriminator", "PSNR", "SSIM", "ContentLoss", "AdversarialLoss")
assert all(keras.saving.get_registered_object(f"tf_deepdeblur>{name}") for name in names)
endless = iter(tf_deepdeblur.data.training_dataset("pairs", sys.argv[1], patch_size=40, batch_size=64))
next(endless)
"""
    command = [sys.executable, "-c", code, pairs_dir]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (finished.returncode, finished.stdout) == (0, ""), finished.stderr
    assert finished.stderr.startswith("imported")
