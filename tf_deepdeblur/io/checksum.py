"""SHA-256 of files and folders."""

import hashlib
import os
from pathlib import Path


def sha256(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file, or of the contents of all files of a folder in the order of their names."""
    path = Path(path)
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()
