import importlib
import subprocess
import sys

import pytest
from absl import flags

from tf_deepdeblur import commands


def import_command(name):
    """A command's module, imported anew: the flags of other commands, some of the same names, are forgotten first."""
    prefix = f"{commands.__name__}."
    owned = [*flags.FLAGS.get_flags_for_module("tf_deepdeblur.cli")]  # those that are made from dataclasses
    for module, own in flags.FLAGS.flags_by_module_dict().items():
        owned += own if module.startswith(prefix) else []
    for flag in owned:
        if flag.name in flags.FLAGS:
            delattr(flags.FLAGS, flag.name)
    for command in commands.COMMANDS:
        sys.modules.pop(prefix + command, None)
    return importlib.import_module(prefix + name)


@pytest.fixture
def run_here(capfd):
    """Runs a command in this process, as ``deepdeblur NAME`` would in its own; not for what changes global state."""

    def run(name, *arguments):
        import_command(name)
        with pytest.raises(SystemExit) as ended:
            commands.run(name, [f"deepdeblur {name}", *map(str, arguments)])
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, ended.value.code or 0, out, err)

    return run
