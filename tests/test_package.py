import importlib
import subprocess
import sys

import pytest

import tf_deepdeblur


@pytest.mark.parametrize("name", [name for name in tf_deepdeblur.__all__ if name != "__version__"])
def test_public_names_exist(name):
    assert getattr(tf_deepdeblur, name).__name__ == name


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        importlib.import_module("tf_deepdeblur").nonsense  # noqa: B018


def test_import_is_silent_and_does_not_load_tensorflow():
    code = "import sys, tf_deepdeblur; assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
