"""The layers of the package: a module imports only from lower layers, or from its own room (a folder or a file)."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1] / "tf_deepdeblur"
LAYERS = (
    {"errors"},
    {"background", "config", "runtime", "pyramid", "sampling", "shards"},
    {"cluster", "io", "losses"},
    {"models", "metrics"},
    {"inference", "data", "synthesis", "cli"},
    {"training", "evaluation", "export"},
    {"commands"},
    {"__main__"},
)
LAYER = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
MODULES = {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in ROOT.rglob("*.py")}
del MODULES["__init__.py"]  # loads the public names of all rooms on demand


def room(module):
    return module.split("/")[0].removesuffix(".py")


def imported(tree):
    """The dotted names that a module imports, inside functions too; relative imports begin with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names)


def importers(*prefixes):
    """The modules that import one of the dotted names or something below it."""
    return {
        module
        for module, tree in MODULES.items()
        for name in imported(tree)
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)
    }


def test_every_room_has_a_layer():
    assert {room(module) for module in MODULES} == set(LAYER)


def test_modules_import_only_lower_layers():
    upward = [
        (module, name)
        for module, tree in MODULES.items()
        for name in imported(tree)
        if name.startswith("tf_deepdeblur.")
        and (target := name.split(".")[1]) != room(module)
        and LAYER[target] >= LAYER[room(module)]
    ]
    assert upward == []


def test_no_import_is_relative():
    assert not [module for module, tree in MODULES.items() for name in imported(tree) if name.startswith(".")]


def test_special_imports_stay_in_their_rooms():
    assert importers("torch") == {"models/torch_weights.py"}
    assert importers("ray") == {"cluster/pool.py", "cluster/run.py"}
    assert {room(module) for module in importers("absl.flags")} == {"cli", "commands"}
    assert not {module for module in importers("tensorflow") if room(module) in ("models", "losses", "pyramid")}


def test_imports_have_no_side_effects():
    """At the top level of a module stand definitions and docstrings, no calls."""
    calls = {
        module
        for module, tree in MODULES.items()
        for node in tree.body
        if room(module) != "commands"  # which define their flags
        and isinstance(node, ast.Expr)
        and not isinstance(node.value, ast.Constant)
    }
    assert calls == set()


def test_public_signatures_are_annotated():
    """Arguments and results of every public function and method; ``__init__`` returns nothing."""
    bare = []

    def check(module, body):
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                check(module, node.body)
            elif isinstance(node, ast.FunctionDef) and (
                not node.name.startswith("_") or node.name in ("__init__", "__call__")
            ):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                annotated = all(argument.annotation or argument.arg in ("self", "cls") for argument in arguments)
                if not annotated or not (node.returns or node.name == "__init__"):
                    bare.append(f"{module}: {node.name}")

    for module, tree in MODULES.items():
        check(module, tree.body)
    assert bare == []


def test_making_data_does_not_wait_for_tensorflow():
    code = "import sys, tf_deepdeblur.synthesis.make; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
