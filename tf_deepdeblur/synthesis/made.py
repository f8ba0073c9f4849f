"""settings.json: how a sequence was made, so that it is continued only in the same way."""

import json
import zlib
from dataclasses import asdict
from pathlib import Path

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.atomic import write_atomically
from tf_deepdeblur.synthesis.frames import FolderFrames, VideoFrames
from tf_deepdeblur.synthesis.response import Response
from tf_deepdeblur.synthesis.sequences import Photo, Settings

_NAME = "settings.json"


def record(source: VideoFrames | FolderFrames | Photo, settings: Settings, response: Response) -> dict:
    """What the pixels of a sequence depend on, a dict for JSON."""
    # ``camera_response`` was called crf once; such data sets can still be continued.
    values = {"crf" if key == "camera_response" else key: value for key, value in asdict(settings).items()}
    is_table = settings.camera_response not in ("gamma", "linear")
    return {
        "source": source.path.name,
        "size_bytes": source.size_bytes,
        **values,
        "crop": list(settings.crop),
        "shake": list(settings.shake),
        "crf_crc32": zlib.crc32(response.signals.tobytes()) if is_table else "",
    }


def write(folder: Path, record: dict) -> None:
    """Writes the record of the sequence in a folder."""
    write_atomically(folder / _NAME, json.dumps(record, indent=1) + "\n")


def read(folder: Path) -> dict | None:
    """The record of the sequence in a folder; None if there is none, or it is damaged."""
    try:
        return json.loads((folder / _NAME).read_text())
    except (OSError, ValueError):
        return None


def require_same(folder: Path, record: dict) -> None:
    """Raises InputError if a complete sequence was made otherwise than it would be now."""
    made = read(folder)
    if made is None:
        raise InputError(f"{folder}: has no settings.json of this tool; use a new `output_dir`")
    # Before these were settings they had these values.
    made = {"shake": [], "roll": 1.0, "moving": 0.5, "phone": False, **made}
    changed = [f"{key} was {made.get(key)}, is now {new}" for key, new in record.items() if new != made.get(key)]
    if changed:
        changes = "; ".join(changed)
        raise InputError(f"{folder}: was made otherwise ({changes}); remove it or use a new `output_dir`")
