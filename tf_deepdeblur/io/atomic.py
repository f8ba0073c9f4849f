"""Files that appear whole or not at all, and one writer at a time."""

import contextlib
import errno
import os
from pathlib import Path

from tf_deepdeblur.errors import InputError

try:
    import fcntl
except ImportError:  # not Unix
    fcntl = None

_NAME_LENGTH = 40  # of the original name in the temporary one: four bytes a letter stay below a file system's 255


@contextlib.contextmanager
def written_whole(path):
    """Yields a temporary path beside ``path``, with its suffix; when the block ends well, that gets its name.

    Whatever stops the block, ``path`` is either what it was before or complete.
    """
    path = Path(path)
    part = path.with_name(f".{path.stem[:_NAME_LENGTH]}.part{path.suffix}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path):
    """Keeps other programs that ask for the same lock away from ``path`` until the block ends.

    The lock ends with the process, however that ends, and leaves no file behind. A file system that has no locks lets
    everybody through.

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
