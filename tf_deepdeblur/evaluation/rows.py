"""The rows of an evaluation in progress: ``rows.jsonl``, a header that says what is evaluated, then a row per image.

An interrupted evaluation goes on from it. A line that the interruption cut off is dropped, anything else that does not
belong there is an error.
"""

import json
from pathlib import Path

from tf_deepdeblur.errors import InputError


def resume(path, header, is_valid):
    """Opens or creates a rows file for appending.

    Args:
        path: the file.
        header: dict of strings and None that must be the same for all rows: model, benchmark, blur key.
        is_valid: function of a row that tells whether what belongs to it still exists; other rows are dropped.

    Returns:
        Dict of the rows on disk by their name.

    Raises:
        InputError: if the file has another header or is not a rows file.
    """
    path = Path(path)
    old_header, *rows = _read(path) or [header]
    if old_header != header:
        differing = [key for key in header if old_header.get(key) != header[key]]
        was = ", ".join(f"{key} {old_header.get(key)!r}, now {header[key]!r}" for key in differing)
        raise InputError(f"{path}: rows of another evaluation ({was}); use another --output_dir or delete the folder")
    kept = {row["name"]: row for row in rows if is_valid(row)}
    write_text(path, "".join(_line(entry) for entry in (header, *kept.values())))
    return kept


def append(path, row):
    """Adds a row; it is on its way to the disk when this returns."""
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(_line(row))


def write_text(path, text):
    """Writes a text file, which appears whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _line(entry):
    return json.dumps(entry) + "\n"


def _read(path):
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
    complete = lines[:-1]  # what follows the last end of line is empty or was cut off
    try:
        return [json.loads(line) for line in complete]
    except ValueError as error:
        raise InputError(f"{path}: is not a rows file ({error}); delete it to start again") from error
