"""Files that appear whole or not at all."""

import contextlib
from pathlib import Path

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
