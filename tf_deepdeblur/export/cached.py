"""The int8 export of a network for restoring pictures on this machine: made once, then found in the user's cache."""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import tf_deepdeblur
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.export import bundle
from tf_deepdeblur.inference.exported_tiles import TFLiteTiles
from tf_deepdeblur.io.checksum import sha256
from tf_deepdeblur.models.saving import find_model

_QUANTIZE = "int8"


class CachedInt8(NamedTuple):
    """An int8 export in the cache.

    Attributes:
        folder: holds the tiles, see ``tiles.export_tiles``.
        decibels_lost: PSNR that the network loses by int8 on ``num_pictures`` pictures.
        num_pictures: how many pictures it was verified on.
    """

    folder: Path
    decibels_lost: float
    num_pictures: int


def cached_int8(
    model: str | os.PathLike,
    progress: Callable[[Sequence[Callable[[], dict]]], Iterable[Callable[[], dict]]] = iter,
) -> CachedInt8:
    """Finds the tiled int8 export of a network in the user's cache, or makes it.

    It lies in ``tf_deepdeblur/VERSION/int8/SHA256/`` below ``$XDG_CACHE_HOME`` or ``~/.cache``, where SHA256 is that of
    the ``.keras`` file. Several processes may ask for it at the same time; a damaged one is made again.

    Args:
        model: what ``Deblurrer.load`` takes for a generator: a run's folder, a ``.keras`` file or a name.
        progress: wraps the list of steps that is iterated over if it has to be made, like ``tqdm.tqdm``.

    Raises:
        InputError: naming the file or the folder, if there is no such network, int8 changes its pictures beyond the
            tolerance of an export, or the cache cannot be written.
    """
    path = find_model(model)
    if path.suffix != ".keras":
        raise InputError(f"{path}: is an export already, with a precision of its own; give a .keras file")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tf_deepdeblur"
    folder = cache / tf_deepdeblur.__version__ / "int8" / sha256(path)
    found = _find(folder)
    if found is None:
        _export_to_cache(path, folder, progress)
        found = _find(folder)
    if found is None:
        raise InputError(f"{folder}: cannot be read again; remove it or use another `precision`")
    return found


def _find(folder):
    """The export in a folder; None if it is missing or damaged."""
    tiles = folder / f"tiles_{_QUANTIZE}"
    try:
        TFLiteTiles(tiles)  # compares every file with its SHA-256
        report = json.loads((folder / "report.json").read_text())
        return CachedInt8(tiles, float(report["rows"][-1]["psnr_lost"]), len(report["pictures"]))
    except (InputError, OSError, ValueError, TypeError, LookupError):
        return None


def _export_to_cache(path, folder, progress):
    """Makes the export beside ``folder`` and moves it there; one that is there and sound stays, it may be in use."""
    part = folder.with_name(f".{secrets.token_hex(8)}.part")
    options = bundle.ExportOptions(saved_model=False, quantizations=(), tiles=(_QUANTIZE,))
    try:
        part.mkdir(parents=True)
        report = bundle.export_model(path, part, options, progress=progress)
        failures = bundle.failures(report)
        if failures:
            reason = failures[0].partition(": ")[2]
            raise InputError(f"{path}: int8 changes its pictures too much ({reason}); use another `precision`")
        try:
            part.rename(folder)
        except OSError:
            if _find(folder) is None:  # else another process was faster
                shutil.rmtree(folder)
                part.rename(folder)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); set XDG_CACHE_HOME to another folder"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
