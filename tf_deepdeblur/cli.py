"""Between dataclasses and absl flags, and how a tool starts; defines nothing at import."""

import functools
import os
import re
import signal
import sys
from pathlib import Path

from absl import app, logging
from absl import flags as absl_flags
from tqdm import tqdm

from tf_deepdeblur.config import flag_fields
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.runtime import import_tensorflow_quietly


class UsageError(InputError):
    """A command line that cannot be used; tools exit with code 2."""


def define(config_class):
    """Defines one flag for every field of a configuration class, nested ones included."""
    for _, item in flag_fields(config_class):
        flag = _DEFINE[_kind(item)](item)
        absl_flags.FLAGS.register_key_flag_for_module(sys.argv[0], absl_flags.FLAGS[flag.name])


def build(config_class):
    """A configuration from the parsed flags.

    Raises:
        UsageError: naming the flag, if a value is out of its limits.
    """
    values = {}
    for group, item in flag_fields(config_class):
        value = absl_flags.FLAGS[item.name].value
        owner = values if group is None else values.setdefault(group, {})
        owner[item.name] = _as_numbers(item.name, value) if _kind(item) is tuple else value
    groups = {item.name: item.type for item in config_class.__dataclass_fields__.values()}
    try:
        return config_class(**{n: groups[n](**v) if isinstance(v, dict) else v for n, v in values.items()})
    except InputError as error:
        raise UsageError(str(error)) from error


def run(main):
    """Runs a tool: ``main(argv)`` returns the exit code.

    A mistake of the user ends in one line on stderr: exit code 2 for the command line, 1 for anything else.
    TensorFlow's start-up messages are not shown.
    """
    app.run(functools.partial(_guarded, main), flags_parser=_parse)


def reject_arguments(argv):
    """Raises UsageError if words are left on the command line that belong to no flag."""
    if argv[1:]:
        raise UsageError(f"unexpected argument {argv[1]!r}; flags are written --name=value")


def parse_size(flag):
    """(height, width) in pixels from the text of a flag like 720x1280; None if it is not set.

    Raises:
        UsageError: naming the flag.
    """
    if flag.value is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", flag.value)
    if not match:
        raise UsageError(
            f"--{flag.name} must be height x width in pixels like 720x1280, at most 99999 each, got {flag.value!r}"
        )
    return int(match[1]), int(match[2])


def _guarded(main, argv):
    def stop(*_):
        _complain(argv[0], "stopped by SIGTERM")
        sys.exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)  # an exception, so that half-written files are cleared away
    try:
        import_tensorflow_quietly()
        if not absl_flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        return main(argv)
    except InputError as error:
        _complain(argv[0], error)
        return 2 if isinstance(error, UsageError) else 1
    except OSError as error:  # no disk space, no permission, a closed pipe
        _complain(argv[0], error)
        return 1
    except KeyboardInterrupt:
        _complain(argv[0], "interrupted")
        return 130


def _parse(argv):
    try:
        return absl_flags.FLAGS(argv)
    except absl_flags.Error as error:
        _complain(argv[0], " ".join(str(error).split()))
        sys.exit(2)
    except SystemExit:  # --help was asked for and given; absl takes that for a failure
        sys.exit(0)
    except BrokenPipeError:  # its reader had seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _complain(tool, message):
    """One line on stderr; a progress bar that is still there makes room for it."""
    tqdm.write(f"{Path(tool).name}: {' '.join(str(message).splitlines())}", file=sys.stderr)


def _kind(item):
    if item.metadata.get("choices") and item.type is str:
        return "enum"
    return item.type if item.type in (bool, int, float, str) else tuple


def _as_numbers(name, words):
    try:
        return tuple(int(word) for word in words)
    except ValueError as error:
        raise UsageError(f"--{name} takes whole numbers separated by commas, got {','.join(words)}") from error


_DEFINE = {
    bool: lambda item: absl_flags.DEFINE_bool(item.name, item.default, item.metadata["help"]),
    int: lambda item: absl_flags.DEFINE_integer(item.name, item.default, item.metadata["help"]),
    float: lambda item: absl_flags.DEFINE_float(item.name, item.default, item.metadata["help"]),
    str: lambda item: absl_flags.DEFINE_string(item.name, item.default, item.metadata["help"]),
    tuple: lambda item: absl_flags.DEFINE_list(item.name, list(map(str, item.default)), item.metadata["help"]),
    "enum": lambda item: absl_flags.DEFINE_enum(
        item.name, item.default, item.metadata["choices"], item.metadata["help"]
    ),
}
