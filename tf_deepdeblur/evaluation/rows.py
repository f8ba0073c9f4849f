"""The rows of an evaluation on disk: what was scored stays scored, whichever machine did it.

``rows.jsonl`` begins with a header that says what is evaluated, then has a row per image, written as soon as the image
is done. A shard has a file of its own, ``rows.I_of_N.jsonl``, so that no two machines write into one.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.atomic import append_line, write_atomically
from tf_deepdeblur.shards import WorkShard

Header = Mapping[str, str | None]
_KEYS = {"benchmark", "blur_key", "model"}


def restored_path(output_dir: Path, name: str) -> Path:
    """Where the restored image of a sample is."""
    return output_dir / "images" / f"{name}.png"


def read_header(output_dir: Path) -> Header:
    """The header of the rows that are in a folder.

    Raises:
        InputError: if there are none.
    """
    for path in _files(output_dir):
        if entries := _entries(path):
            return _checked_header(path, entries[0])
    raise InputError(f"{output_dir}: no rows of an evaluation in it; start its shards first")


def read_rows(output_dir: Path, header: Header) -> dict[str, dict]:
    """The rows of all shards whose restored image is there, by name.

    Raises:
        InputError: naming a file that is damaged or holds the rows of another evaluation.
    """
    rows = {}
    for path in _files(output_dir):
        old_header, *entries = _entries(path) or [header]
        old_header = _checked_header(path, old_header)
        was = [f"{key} {old_header[key]!r}, now {header[key]!r}" for key in header if old_header[key] != header[key]]
        if was:
            raise InputError(
                f"{path}: rows of another evaluation ({', '.join(was)}); use another `output_dir` or delete the folder"
            )
        for number, row in enumerate(entries, start=2):
            if not _is_row(row):
                raise InputError(f"{path}: line {number} is not the row of an image; delete the file to start again")
            rows[row["name"]] = row
    return {name: row for name, row in rows.items() if restored_path(output_dir, name).is_file()}


class RowsFile:
    """The file that one machine appends to, begun anew with the rows it has already.

    Args:
        output_dir: folder of the evaluation.
        header: "benchmark", "blur_key" and "model".
        rows: what is there already.
        shard: names the file; all of the work is ``rows.jsonl``.
    """

    def __init__(self, output_dir: Path, header: Header, rows: Iterable[dict], shard: WorkShard):
        name = f"rows.{shard.index}_of_{shard.count}.jsonl" if shard.count > 1 else "rows.jsonl"
        self.path: Path = output_dir / name
        write_atomically(self.path, "".join(json.dumps(entry) + "\n" for entry in (header, *rows)))

    def append(self, row: dict) -> None:
        """Adds the row of an image."""
        append_line(self.path, json.dumps(row))

    def remove_others(self) -> None:
        """Removes the files of shards, whose rows are all in this one."""
        for path in _files(self.path.parent):
            if path != self.path:
                path.unlink(missing_ok=True)


def _files(output_dir: str | os.PathLike) -> list[Path]:
    return sorted(Path(output_dir).glob("rows*.jsonl"))


def _entries(path):
    try:
        # What follows the last end of line is empty or was cut off.
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: line is not JSON ({error}); delete the file to start again") from error


def _checked_header(path, entry):
    if not isinstance(entry, dict) or set(entry) != _KEYS:
        raise InputError(f"{path}: does not begin with the header of an evaluation; delete the file to start again")
    return entry


def _is_row(entry):
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or "seconds" not in entry:
        return False
    if not isinstance(entry.get("blurry"), dict):
        return False
    numbers = [value for key, value in entry.items() if key not in ("name", "seconds", "blurry")]
    numbers += [*entry["blurry"].values(), 0 if entry["seconds"] is None else entry["seconds"]]
    # The comparison is false for NaN, which Python's JSON reads as a number.
    return all(isinstance(number, int | float) and number > -math.inf for number in numbers)
