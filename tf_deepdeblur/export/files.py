"""Files and folders that appear whole or not at all."""

import json
import os
import shutil
from pathlib import Path

import tensorflow as tf

from tf_deepdeblur.errors import InputError


def write_file(path, content):
    """Writes bytes, or anything else as JSON; replaces a file that is there.

    Raises:
        InputError: naming the file, if it cannot be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.part-{os.getpid()}")
    try:
        part.write_bytes(content if isinstance(content, bytes) else _as_json(content))
        part.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def write_folder(path, write):
    """Calls ``write(part)`` with a new folder beside ``path``, then puts it in the place of ``path``.

    Raises:
        InputError: naming the folder, if it cannot be written.
    """
    path = Path(path)
    _clear_after_killed(path)
    part, old = (path.with_name(f".{path.name}.{kind}-{os.getpid()}") for kind in ("part", "old"))
    try:
        part.mkdir(parents=True)
        write(part)
        if path.exists():
            path.rename(old)
        part.rename(path)
    except (OSError, tf.errors.OpError) as error:
        raise _unwritable(path, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _clear_after_killed(path):
    """Removes what programs left beside ``path`` that were killed while they wrote it."""
    for part in path.parent.glob(f".{path.name}.part-*"):
        if not Path("/proc", part.name.rpartition("-")[2]).exists() and Path("/proc/self").exists():
            shutil.rmtree(part, ignore_errors=True)


def _as_json(content):
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def _unwritable(path, error):
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return InputError(f"{path}: cannot be written ({reason}); make room or choose another --output_dir")
