"""The programs of the package: ``deepdeblur COMMAND``, or ``python tools/COMMAND.py`` in a copy of the repository.

Each module is one command: its docstring is the help text, its flags are defined at import, ``main(argv)`` returns the
exit code. A command checks its command line before it imports TensorFlow, which takes seconds.
"""

import ast
import difflib
import functools
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from tf_deepdeblur import cli

if TYPE_CHECKING:
    from tf_deepdeblur.inference.deblurrer import Deblurrer

COMMANDS = ("deblur", "train", "evaluate", "export", "import_weights", "make_blur", "pack", "publish", "serve_web")


def main() -> None:
    """Runs the command that the command line names; without one, lists all commands."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        lines = ["Usage: deepdeblur COMMAND [flags]", ""]
        for command in COMMANDS:
            source = Path(__file__).with_name(f"{command}.py").read_text(encoding="utf-8")
            lines.append(f"  {command:16}{ast.get_docstring(ast.parse(source)).splitlines()[0]}")
        cli.show("\n".join([*lines, "", "deepdeblur COMMAND --help lists the flags of a command."]))
        return
    if name not in COMMANDS:
        similar = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {similar[0]}?" if similar else "deepdeblur --help lists the commands"
        cli.complain("deepdeblur", f"no command {name!r}; {hint}")
        sys.exit(2)
    run(name, [f"deepdeblur {name}", *sys.argv[2:]])


def run(command: str, argv: list[str] | None = None) -> None:
    """Runs one command and exits with its exit code.

    Args:
        command: one of ``COMMANDS``.
        argv: the program's name and its arguments; ``sys.argv`` if None.
    """
    cli.run(importlib.import_module(f"{__name__}.{command}"), sys.argv if argv is None else argv)


def load_deblurrer(path: Path, tile: int | str, precision: str) -> "Deblurrer":
    """What ``Deblurrer.load`` gives, in int8 too; lines on stderr say what int8 costs and which precision is fastest.

    Args:
        path: of the model, as ``cli.find_model`` finds it.
        tile: see ``Deblurrer.load``.
        precision: see ``Deblurrer.load``.
    """
    from tf_deepdeblur.inference.deblurrer import Deblurrer

    def make_int8(path):
        from tf_deepdeblur.export.cached import cached_int8

        made = cached_int8(path, functools.partial(tqdm, desc="making the int8 network, once", unit="step"))
        lost, count = made.decibels_lost, made.num_pictures
        sign = "below" if lost > 0 else "above"
        sys.stderr.write(f"int8: PSNR {abs(lost):.3f} dB {sign} float32 on {count} pictures\n")
        return made.folder

    deblurrer = Deblurrer.load(path, tile, precision, make_int8)
    if deblurrer.trial:
        trials = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in deblurrer.trial.items())
        sys.stderr.write(f"fastest precision: {deblurrer.precision} ({trials} for 256x256 pixels)\n")
    return deblurrer
