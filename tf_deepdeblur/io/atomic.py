"""Atomic files and folders, and locks that keep a second writer out."""

import contextlib
import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from tf_deepdeblur.errors import InputError

try:
    import fcntl
except ImportError:  # not Unix
    fcntl = None

_PART = re.compile(r"\.[0-9a-f]{16}\.(part(\..*)?|old)")  # a name that atomic_write and atomic_folder give
_LONGEST_SUFFIX = 32  # bytes; file systems allow 255 for a whole name
_ABANDONED_S = 24 * 3600


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path in the folder of ``path`` that replaces ``path`` when the block ends without an error.

    Whatever ends the block, ``path`` is either unchanged or complete. The temporary file exists, is empty, has the
    suffix of ``path`` and a name that no other program uses. It stays behind only if the program is killed: see
    ``remove_abandoned``.
    """
    path = Path(path)
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _LONGEST_SUFFIX else ""
    part = path.with_name(f".{secrets.token_hex(8)}.part{suffix}")
    # O_EXCL: neither a link that somebody planted is followed nor a file of another program overwritten.
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        with locked(part):  # tells remove_abandoned that it is in use
            yield part
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_atomically(path: str | os.PathLike, content: str | bytes) -> None:
    """Writes a whole file, text as UTF-8; ``path`` is either unchanged or complete, even if the program is killed."""
    with atomic_write(path) as part:
        part.write_bytes(content if isinstance(content, bytes) else content.encode())


def append_line(path: str | os.PathLike, line: str) -> None:
    """Appends a line to a file that other programs, on other machines too, may be appending to; follows no link.

    Raises:
        OSError: if the file cannot be written.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with os.fdopen(os.open(path, flags, 0o666), "a", encoding="utf-8") as file:
        # Appending is atomic on a local disk. A network file system appends where it last saw the end, and looks again
        # when it takes a lock; where there are no locks, this is all that can be done.
        with contextlib.suppress(OSError):
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"{line}\n")


def remove_abandoned(folder: str | os.PathLike) -> None:
    """Removes what killed programs left in ``folder`` a day ago or earlier, temporary files and folders."""
    for path in Path(folder).iterdir():
        with contextlib.suppress(InputError, OSError):  # it is in use, or gone by now
            if _PART.fullmatch(path.name) and time.time() - path.lstat().st_mtime > _ABANDONED_S:
                with locked(path):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


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
        with locked(part):  # tells remove_abandoned that it is in use
            yield part
            if path.exists():
                path.rename(old)
            try:
                part.rename(path)
            except OSError:
                if old.exists():
                    old.rename(path)
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    remove_abandoned(path.parent)  # not before: it may be all that a program left that was killed while replacing it


@contextlib.contextmanager
def locked(path: str | os.PathLike, shared: bool = False) -> Iterator[None]:
    """Holds a lock on ``path`` until the block or the process ends; leaves no file behind.

    No-op on file systems without locking.

    Args:
        path: a file or folder that exists.
        shared: whether others may hold it too, if it is shared for them as well.

    Raises:
        InputError: if another program holds the lock.
        OSError: if the path cannot be opened.
    """
    if fcntl is None:
        yield
        return
    # O_NONBLOCK: opening a pipe would wait for a writer. Programs that are started in the block do not inherit it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{path}: another program is writing to it; wait until it has ended or choose another folder"
            ) from error
        except OSError:  # a file system without locking
            pass
        yield
    finally:
        os.close(descriptor)


def is_full(error: OSError) -> bool:
    """Whether an OSError says that there is no room left: the disk's, or what this user may take of it."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
