"""The layers of the package: a module imports only from lower layers, or from its own folder."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "tf_deepdeblur"
LAYERS = {
    **dict.fromkeys(["errors", "config", "devices", "files", "images", "lossless", "pyramid", "timing"], 0),
    **dict.fromkeys(["losses", "metrics", "photo", "video"], 1),
    **dict.fromkeys(["models", "data", "inference"], 2),
    **dict.fromkeys(["training", "evaluation", "export"], 3),
    "flags": 4,
}
WITHIN_LAYER_0 = {
    ("config", "errors"),
    ("devices", "errors"),
    ("files", "errors"),
    ("images", "errors"),
    ("images", "files"),
}
WITHIN_LAYER_2 = {("inference", "models")}  # a Deblurrer is a generator on images
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def room(path):
    """The part of the package that a file belongs to: its folder, or its own name at the top."""
    parts = path.relative_to(ROOT).parts
    return parts[0].removesuffix(".py")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def allowed(source, target):
    return (
        source == target
        or LAYERS[target] < LAYERS[source]
        or (source, target) in WITHIN_LAYER_0
        or (source, target) in WITHIN_LAYER_2
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_lower_layers(path):
    rooms = {name.split(".")[1] for name in imported(path) if name.startswith("tf_deepdeblur.")}
    assert not [target for target in rooms if not allowed(room(path), target)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_special_imports_stay_in_their_rooms(path):
    names = {name.split(".")[0] for name in imported(path)} | {".".join(name.split(".")[:2]) for name in imported(path)}
    relative = str(path.relative_to(ROOT))
    assert "torch" not in names
    assert "absl.flags" not in names or relative == "flags.py"
    assert "tf_deepdeblur.config" not in names or relative in ("flags.py", "training/loop.py")
    if room(path) in ("models", "losses", "pyramid"):
        assert "tensorflow" not in names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_import_has_no_side_effect(path):
    calls = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Expr)]
    assert all(isinstance(node.value, ast.Constant) for node in calls)
