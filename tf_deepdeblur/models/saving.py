"""Reads and writes generators as ``.keras`` files, and finds a model from a run folder, a file or a name.

A ``.keras`` file is an archive of ``config.json``, ``metadata.json`` and ``model.weights.h5``. ``load_generator`` reads
it without ``keras.models.load_model``, so that a file from anywhere can be opened: it looks up no class or function
that the file names, compares the sizes of everything before it takes memory, verifies the archive's checksums, builds
the Generator itself and gives Keras only the arrays. (libhdf5 parses those, as it does for Keras.)
"""

import json
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np

from tf_deepdeblur.config import ARCHITECTURE
from tf_deepdeblur.errors import InputError, first_line
from tf_deepdeblur.io.atomic import atomic_write
from tf_deepdeblur.models import hub
from tf_deepdeblur.models.generator import Generator, check_arguments, count_parameters

WEIGHTS_FOLDER = Path(__file__).parents[1] / "weights"
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_REGISTERED_NAME = "tf_deepdeblur>Generator"
_LARGEST_JSON = 2**16
_HDF5_OVERHEAD = 2**23  # bytes beside the arrays: 2 kB for each of at most 1,216
_DAMAGED = (  # what reading a damaged archive, JSON text or HDF5 file raises, and the checks below
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    RuntimeError,
    zlib.error,
    struct.error,
    zipfile.BadZipFile,
)


def save_generator(generator: Generator, path: str | os.PathLike) -> None:
    """Writes a generator to a ``.keras`` file in float32; ``path`` is either unchanged or complete.

    Raises:
        OSError: if the file cannot be written, for example because the disk is full.
    """
    with atomic_write(path) as part:
        with_dtype(generator, "float32").save(part)


def load_generator(model: str | os.PathLike, dtype: str | Callable[[int, int], str] = "float32") -> Generator:
    """Reads a generator from a ``.keras`` file, which need not be trusted.

    Args:
        model: the file, or what else ``find_model`` finds one by: a run's folder, a name.
        dtype: the dtype policy to compute in, for example "mixed_bfloat16", or a function of (filters, kernel size)
            that chooses one before the network is built.

    Raises:
        InputError: naming the file, if it is missing, is not a generator of this package with all its weights, or lies
            beside a ``model.json`` that records another SHA-256.
    """
    path = find_model(model)
    if path.suffix != ".keras":
        raise InputError(f"{path}: is an export already; give a run folder or a .keras file")
    policy = None if callable(dtype) else keras.DTypePolicy(dtype)
    hub.verify(path)
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            arguments = _read_arguments(archive)
            weights = Path(folder) / _WEIGHTS
            _extract_weights(archive, weights, count_parameters(**arguments))
            if callable(dtype):
                policy = dtype(arguments["filters"], arguments["kernel_size"])
            generator = Generator(**arguments, dtype=policy)
            generator.load_weights(weights)
    except InputError:  # the precision cannot be had
        raise
    except _DAMAGED as error:
        raise InputError(
            f"{path}: not a complete generator of this package ({first_line(error)}); copy it again"
        ) from error
    if not all(np.isfinite(weight).all() for weight in generator.get_weights()):
        raise InputError(f"{path}: has weights that are not finite; its training diverged: take an earlier one")
    return generator


def with_dtype(generator: Generator, dtype: str) -> Generator:
    """A copy of a generator, weights included, that computes in another dtype policy."""
    copy = Generator.from_config({**generator.get_config(), "dtype": dtype, "trainable": True})
    copy.set_weights(generator.get_weights())
    return copy


def find_model(model: str | os.PathLike) -> Path:
    """The file or SavedModel folder that a user means by ``model``.

    Args:
        model: a training run's folder, which holds ``generator.keras``; a ``.keras`` or ``.tflite`` file; a SavedModel
            folder, or one of numbered versions, of which the highest is taken; a folder of exported tiles; the name of
            weights that come with the package; or a name on the hub, see ``hub.download``.

    Raises:
        InputError: naming the path or the repository that was searched.
    """
    if str(model).startswith(hub.PREFIX):
        return hub.download(str(model)).path
    path = Path(model).expanduser()
    if path.is_dir():
        if (path / "generator.keras").is_file():
            return path / "generator.keras"
        versions = (child for child in path.iterdir() if child.name.isdecimal())
        for folder in (path, *sorted(versions, key=lambda child: int(child.name), reverse=True)):
            if (folder / "saved_model.pb").is_file():
                return folder
        if (path / "scale_0.tflite").is_file():  # tiles
            return path
        if (path / "config.cfg").is_file():
            raise InputError(f"{path}: this run has no generator.keras yet; wait for its first checkpoint")
        exports = (path / "saved_model", *sorted(path.glob("tiles_*")), *sorted(path.glob("*.tflite")))
        remedy = next((f"give {export}" for export in exports if export.exists()), "give one that has")
        raise InputError(
            f"{path}: has neither generator.keras (a training run) nor saved_model.pb (an export); {remedy}"
        )
    if path.suffix in (".keras", ".tflite") or path.exists():
        if not path.is_file():
            raise InputError(f"{path}: no such file; give a trained model")
        if path.suffix not in (".keras", ".tflite"):
            remedy = (
                "`deepdeblur import_weights` imports it" if path.suffix in (".pt", ".pth") else "give a trained model"
            )
            raise InputError(f"{path}: not a .keras or .tflite file; {remedy}")
        return path
    shipped = WEIGHTS_FOLDER / f"{model}.keras"
    if shipped.is_file() and path.name == str(model):
        return shipped
    names = ", ".join(sorted(file.stem for file in WEIGHTS_FOLDER.glob("*.keras"))) or "none"
    raise InputError(
        f"{model}: no such file or folder, nor weights in {WEIGHTS_FOLDER} (there are: {names}); give a trained model"
    )


def _read_arguments(archive):
    """The Generator's arguments from an archive that holds a Generator and nothing else."""
    if sorted(archive.namelist()) != [_CONFIG, _METADATA, _WEIGHTS]:
        raise ValueError("other files in the archive than Keras writes")
    for info in archive.infolist():
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{info.filename} is compressed by method {info.compress_type}")
        if info.filename != _WEIGHTS and info.file_size > _LARGEST_JSON:
            raise ValueError(f"{info.filename} has {info.file_size} bytes")
    archive.read(_METADATA)  # for its checksum
    model = json.loads(archive.read(_CONFIG))
    if not isinstance(model, dict) or model.get("registered_name") != _REGISTERED_NAME:
        name = model.get("class_name") if isinstance(model, dict) else None
        raise ValueError(f"it holds {str(name)[:40]!r}, not a Generator")
    config = {"space_to_depth": 1, **model["config"]}  # older files do not have it
    arguments = {name: config[name] for name in sorted(ARCHITECTURE)}
    if not config.keys() <= {*ARCHITECTURE, "name", "dtype", "trainable"}:  # which say nothing about the weights
        raise ValueError("its Generator has unknown arguments")
    check_arguments(**arguments)
    return arguments


def _extract_weights(archive, path, num_parameters):
    """Writes the weights to ``path`` and checks that they are ``num_parameters`` plain float32 values."""
    info = archive.getinfo(_WEIGHTS)
    if not 0 <= info.file_size - 4 * num_parameters <= _HDF5_OVERHEAD:
        raise ValueError(f"{info.file_size} bytes of weights for {num_parameters} parameters")
    if info.file_size > _HDF5_OVERHEAD + 10 * info.compress_size:
        raise ValueError(f"{info.compress_size} bytes expand to {info.file_size}")
    with archive.open(info) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target)  # to the end, where the checksum is compared
    links, datasets = [], []
    with h5py.File(path, "r") as file:
        file.visititems_links(lambda _, link: links.append(link))
        file.visititems(lambda _, item: datasets.append(item) if isinstance(item, h5py.Dataset) else None)
        if not all(isinstance(link, h5py.HardLink) for link in links):
            raise ValueError("its weights link to other places")
        for array in datasets:
            # The bytes of compressed, chunked, virtual, external and unwritten arrays lie elsewhere, or nowhere.
            if array.dtype != np.float32 or array.chunks or array.id.get_storage_size() != array.nbytes:
                raise ValueError(f"{array.name} is not a plain float32 array")
            if array.is_virtual or array.external:
                raise ValueError(f"{array.name} lies in another file")
        stored = sum(array.size for array in datasets)
    if stored != num_parameters:
        raise ValueError(f"{stored} weights for {num_parameters} parameters")
