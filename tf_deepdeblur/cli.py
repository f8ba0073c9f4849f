"""How a command starts and ends: flags made from dataclasses, help, one line for every mistake, exit codes."""

import functools
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from absl import app, flags, logging
from tqdm import tqdm

from tf_deepdeblur.cluster import Cluster
from tf_deepdeblur.config import flag_fields
from tf_deepdeblur.errors import InputError, TemporaryError
from tf_deepdeblur.io.paths import printable
from tf_deepdeblur.shards import ALL, WorkShard, parse_shard, slurm_shard

Config = TypeVar("Config")

_HELP = {"--help", "-help", "-h", "-?"}
_SHAKE = (
    "no --model, so shake is used, which comes with the package: for photographs that a moving camera or subject "
    "blurred by up to some 25 pixels; not for wrong focus or wider motion"
)
# Where the configurations are that come with the package: in an installed one, and in a copy of the repository.
_CONFIG_DIRS = (Path(__file__).parent / "configs", Path(__file__).parents[1] / "configs")


class UsageError(InputError):
    """A command line that cannot be used; commands exit with code 2."""


def run(command: ModuleType, argv: Sequence[str]) -> None:
    """Runs a command and exits with the code that its ``main(argv)`` returns.

    A mistake of the user ends in one line on stderr, with exit code 2 if it is in the command line and 1 otherwise.
    Argument names that the library writes in backticks are shown as the flags that they are here.

    Args:
        command: module of ``tf_deepdeblur.commands``.
        argv: the program's name and its arguments.
    """
    parse = functools.partial(_parse, command)
    app.run(functools.partial(_run_main, command.main), argv=[*argv], flags_parser=parse)


def define(config_class: type, module_name: str) -> None:
    """Defines one flag for every field of a configuration class, nested ones included.

    Args:
        config_class: dataclass of ``config.py``.
        module_name: ``__name__`` of the command, whose help then lists the flags.
    """
    for _, item in flag_fields(config_class):
        flag = _DEFINE[_kind(item)](item)
        flags.FLAGS.register_key_flag_for_module(module_name, flags.FLAGS[flag.name])


def define_shard(module_name: str) -> flags.FlagHolder:
    """Defines the flag of commands whose work can be divided, to be read by ``shard``."""
    flag = flags.DEFINE_string(
        "shard",
        None,
        "Do only part i of n of the work, like 0/7 to 6/7; default: this task's part of a Slurm array, elsewhere all.",
    )
    flags.FLAGS.register_key_flag_for_module(module_name, flags.FLAGS[flag.name])
    return flag


def shard(flag: flags.FlagHolder) -> WorkShard:
    """The part of the work to do, from the flag or from Slurm; a line on stderr says if it is Slurm's.

    Raises:
        UsageError: if there is no such part.
    """
    try:
        if flag.value is not None:
            return parse_shard(flag.value)
        found = slurm_shard(os.environ)
    except InputError as error:
        raise UsageError(str(error)) from error
    if found is not None:
        sys.stderr.write(f"shard {found} of a Slurm array; --shard=0/1 does all of the work in every task\n")
    return found or ALL


def define_cluster(module_name: str) -> None:
    """Defines the flags of commands that can work on a Ray cluster, to be read by ``cluster``."""
    defined = (
        flags.DEFINE_bool("ray", False, "Divide the work over Ray actors on this machine."),
        flags.DEFINE_string("ray_address", None, "Divide the work over this Ray cluster: auto, or host:port."),
        flags.DEFINE_integer(
            "ray_cpus",
            0,
            "Cores of a Ray actor; 0: one beside each GPU, else four or a machine's all.",
            lower_bound=0,
        ),
    )
    for flag in defined:
        flags.FLAGS.register_key_flag_for_module(module_name, flags.FLAGS[flag.name])


def cluster() -> Cluster | None:
    """Where to work, from the flags; None for this process alone.

    Raises:
        UsageError: if only the size of actors is given.
    """
    given = flags.FLAGS
    if not given.ray and not given.ray_address:
        if given.ray_cpus:
            raise UsageError("--ray_cpus needs --ray or --ray_address")
        return None
    return Cluster(given.ray_address, given.ray_cpus)


def build(config_class: type[Config]) -> Config:
    """A configuration from the parsed flags.

    Raises:
        UsageError: naming the flag, if a value is out of its limits.
    """
    values: dict[str, Any] = {}
    for group, item in flag_fields(config_class):
        value = flags.FLAGS[item.name].value
        owner = values if group is None else values.setdefault(group, {})
        try:
            owner[item.name] = tuple(map(int, value)) if _kind(item) is tuple else value
        except ValueError as error:
            raise UsageError(f"--{item.name} takes whole numbers separated by commas, got {','.join(value)}") from error
    groups = {item.name: item.type for item in config_class.__dataclass_fields__.values()}
    try:
        return config_class(**{n: groups[n](**v) if isinstance(v, dict) else v for n, v in values.items()})
    except InputError as error:
        raise UsageError(str(error)) from error


def reject_arguments(argv: Sequence[str]) -> None:
    """Raises UsageError if words are left on the command line that belong to no flag."""
    if argv[1:]:
        raise UsageError(f"unexpected argument {argv[1]!r}; flags are written --name=value")


def parse_size(flag: flags.FlagHolder) -> tuple[int, int] | None:
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


def find_model(name: str | None) -> Path:
    """The file or folder of a model, see ``models.find_model``; of one on the hub, a line on stderr says which it is.

    Args:
        name: the value of a flag, or None for the network that comes with the package.

    Raises:
        UsageError: if there is no name, and no network that comes with the package.
    """
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # its warnings would come before our one line
    from tf_deepdeblur.models import hub, saving

    if name is None:
        shake = saving.WEIGHTS_FOLDER / "shake.keras"
        if not shake.is_file():
            raise UsageError(f"--model is missing: this copy of the package has no {shake}")
        return shake
    if name.startswith(hub.PREFIX):
        path, commit, sha256 = hub.download(name)
        sys.stderr.write(f"{name}: commit {commit}, SHA-256 {sha256}\n")
        return path
    return saving.find_model(name)


def tell_default(name: str | None) -> None:
    """Says on stderr what the network is for that ``find_model`` gives for None; call it when the work begins."""
    if name is None:
        sys.stderr.write(f"{_SHAKE}\n")


def show(text: str) -> None:
    """Prints a text; whoever closes the pipe in the middle has seen enough."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(program: str, message: object) -> None:
    """Writes one line to stderr, above a progress bar that is still there."""
    tqdm.write(f"{Path(program).name}: {as_line(message)}", file=sys.stderr)


def exit_code(error: InputError) -> int:
    """2 for a command line that cannot be used, 75 if the same command may well work later, otherwise 1."""
    if isinstance(error, TemporaryError):
        return os.EX_TEMPFAIL
    return 2 if isinstance(error, UsageError) else 1


def as_line(message: object) -> str:
    """One printable line; argument names that the library writes in backticks are shown as the flags that they are."""

    def flag_or_name(match):
        name, value = match[1], match[2] or ""
        return f"--{name}{value}" if name in flags.FLAGS else f"{name}{value}"

    return printable(re.sub(r"`(\w+)(=[^`]*)?`", flag_or_name, " ".join(str(message).splitlines())))


def _run_main(main, argv):
    has_ended = threading.Event()

    def stop(*_):
        """Raises an exception, so that half-written files are removed; again and again until that has worked.

        An exception that a signal raises is lost if it happens to be raised in a finaliser or in a callback.
        """
        # To the main thread: only there does a signal end what waits, such as reading or sleeping.
        again = functools.partial(signal.pthread_kill, threading.main_thread().ident, signal.SIGTERM)
        retry = threading.Timer(1.0, lambda: has_ended.is_set() or again())
        retry.daemon = True
        retry.start()
        if not isinstance(sys.exception(), SystemExit):  # else it is on its way
            raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    try:
        return main(argv)
    except SystemExit as error:
        if error.code == 128 + signal.SIGTERM:
            complain(argv[0], "stopped by SIGTERM")
        raise
    except InputError as error:
        complain(argv[0], error)
        return exit_code(error)
    except OSError as error:  # no disk space, no permission, a closed pipe
        complain(argv[0], f"{error.filename}: {error.strerror}" if error.filename else error)
        return 1
    except KeyboardInterrupt as error:
        complain(argv[0], str(error) or "interrupted")
        return 130
    finally:
        has_ended.set()


def _parse(command, argv):
    """Parses the flags; answers --help. absl's own help would describe ``__main__``, not the command."""
    try:
        if _HELP & set(argv):
            own_flags = flags.FLAGS.module_help(command).partition(":\n")[2]
            show(f"{command.__doc__}\nFlags (--flagfile=FILE reads them from a file):\n\n{own_flags}")
            sys.exit(0)
        rest = flags.FLAGS(_with_shipped_configs(argv))
    except (flags.CantOpenFlagFileError, UnicodeDecodeError) as error:
        complain(argv[0], _about_flagfile(argv, error))
        sys.exit(2)
    except flags.Error as error:
        message = " ".join(str(error).split())
        missing = re.match(r"flag --(\w+)=None: .* must have a value other than None", message)
        # Without the hint that absl adds to flags that may be repeated; ours say so themselves.
        help_ = flags.FLAGS[missing[1]].help.partition(";\n")[0] if missing else ""
        if isinstance(error, flags.UnrecognizedFlagError):
            message += "; --help lists the flags"
        complain(argv[0], f"--{missing[1]} is missing: {help_}" if missing else message)
        sys.exit(2)
    for name in ("output_dir", "run_dir"):  # of a variable of the shell that is not set
        if name in flags.FLAGS and flags.FLAGS[name].value == "":
            complain(argv[0], f"--{name} is empty; name a folder")
            sys.exit(2)
    return rest


def _about_flagfile(argv, error):
    """What is wrong with a --flagfile that absl cannot read."""
    if isinstance(error, UnicodeDecodeError):
        following = zip(argv, [*argv[1:], ""], strict=True)
        names = [word.partition("=")[2] or next_ for word, next_ in following if re.match("--?flagfile", word)]
        return f"{', '.join(names)}: is not a text file of flags"
    cause = error.__context__
    reason = "no such file" if isinstance(cause, FileNotFoundError) else f"cannot be read ({cause.strerror})"
    names = sorted({file.name for folder in _CONFIG_DIRS for file in folder.glob("*.cfg")})
    return f"{cause.filename}: {reason}; give a file of flags, or one of the package's: configs/{{{','.join(names)}}}"


def _with_shipped_configs(argv):
    """The command line with ``configs/NAME.cfg`` replaced by the file of the package where there is no such file."""
    result = []
    for word in argv:
        is_value = bool(result) and result[-1] in ("--flagfile", "-flagfile")
        prefix, path = ("", word) if is_value else re.fullmatch(r"(--?flagfile=)?(.*)", word, re.DOTALL).groups("")
        if (is_value or prefix) and Path(path).parent.name == "configs" and not Path(path).exists():
            shipped = (folder / Path(path).name for folder in _CONFIG_DIRS)
            path = str(next((file for file in shipped if file.is_file()), path))
        result.append(prefix + path)
    return result


def _kind(item):
    if item.metadata.get("choices") and item.type is str:
        return "enum"
    return item.type if item.type in (bool, int, float, str) else tuple


_DEFINE = {
    bool: lambda item: flags.DEFINE_bool(item.name, item.default, item.metadata["help"]),
    int: lambda item: flags.DEFINE_integer(item.name, item.default, item.metadata["help"]),
    float: lambda item: flags.DEFINE_float(item.name, item.default, item.metadata["help"]),
    str: lambda item: flags.DEFINE_string(item.name, item.default, item.metadata["help"]),
    tuple: lambda item: flags.DEFINE_list(item.name, list(map(str, item.default)), item.metadata["help"]),
    "enum": lambda item: flags.DEFINE_enum(item.name, item.default, item.metadata["choices"], item.metadata["help"]),
}
