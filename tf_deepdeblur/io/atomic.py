"""Atomic files and folders, and locks that keep a second writer out."""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from tf_deepdeblur.errors import InputError

try:
    import fcntl
except ImportError:  # not Unix
    fcntl = None


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path in the folder of ``path`` that replaces ``path`` when the block ends without an error.

    Whatever ends the block, ``path`` is either unchanged or complete. The temporary file exists, is empty, has the
    suffix of ``path`` and a name that no other program uses.
    """
    path = Path(path)
    part = path.with_name(f".{secrets.token_hex(8)}.part{path.suffix}")
    # O_EXCL: neither a link that somebody planted is followed nor a file of another program overwritten.
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_atomically(path: str | os.PathLike, content: str | bytes) -> None:
    """Writes a whole file, text as UTF-8; ``path`` is either unchanged or complete, even if the program is killed."""
    with atomic_write(path) as part:
        part.write_bytes(content if isinstance(content, bytes) else content.encode())


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a new folder beside ``path`` that takes the place of ``path`` when the block ends without an error.

    A folder that exists at ``path`` is replaced as a whole: it never holds files of both.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part, old = (path.with_name(f".{secrets.token_hex(8)}.{kind}") for kind in ("part", "old"))
    part.mkdir()
    try:
        yield part
        if path.exists():
            path.rename(old)
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def locked(path):
    """Holds an exclusive lock on ``path`` until the block or the process ends; leaves no file behind.

    No-op on file systems without locking.

    Args:
        path: a file or folder that exists.

    Raises:
        InputError: if another program holds the lock.
        OSError: if the path cannot be opened.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)  # programs that are started in the block do not inherit it
    try:
        _lock(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def is_full(error):
    """Whether an OSError says that there is no room left: the disk's, or what this user may take of it."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _lock(descriptor, path):
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(
            f"{path}: another program is writing to it; wait until it has ended or choose another folder"
        ) from error
    except OSError:
        pass
