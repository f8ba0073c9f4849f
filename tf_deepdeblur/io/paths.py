"""Paths that a user gave: looked at before they are opened, and shown without harm."""

import os
import stat
import unicodedata
from pathlib import Path

from tf_deepdeblur.errors import InputError


def require_regular_file(path: str | os.PathLike) -> None:
    """Raises InputError, naming ``path``, unless it is a regular file: reading a pipe or a device may never end."""
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: is {'a folder' if stat.S_ISDIR(mode) else 'a pipe or a device'}, not a file")


def printable(text: str) -> str:
    """``text`` in one line, with control characters escaped: file names may hold line breaks and terminal commands."""
    return "".join(
        character
        if character.isprintable() or unicodedata.category(character) == "Zs"  # any kind of space
        else character.encode("unicode_escape").decode()
        for character in text
    )
