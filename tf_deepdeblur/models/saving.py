"""Reads and writes generators as ``.keras`` files, and finds a model from a run folder, a file or a name."""

import zipfile
from pathlib import Path

import keras

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.models.generator import Generator

WEIGHTS_FOLDER = Path(__file__).parents[1] / "weights"


def save_generator(generator, path):
    """Writes a generator to a ``.keras`` file in float32; the file appears whole or not at all.

    Raises:
        OSError: if the file cannot be written, for example because the disk is full.
    """
    copy = with_dtype(generator, "float32")
    path = Path(path)
    part = path.with_name(f".{path.stem}.part.keras")
    try:
        copy.save(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_generator(path, dtype="float32"):
    """Reads a generator from a ``.keras`` file.

    Args:
        path: the file.
        dtype: the dtype policy to compute in, for example "mixed_bfloat16".

    Raises:
        InputError: naming the file, if it is missing or is not a generator of this package with all its weights.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; a trained generator is a .keras file")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: not a complete generator (no .keras file, or cut off); copy it again")
    try:
        stored = keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: not a complete generator (damaged, or made by another program); copy it again"
        ) from error
    if not isinstance(stored, Generator):
        raise InputError(
            f"{path}: holds a {type(stored).__name__}, not a generator; give one that tools/train.py wrote"
        )
    return stored if dtype == "float32" else with_dtype(stored, dtype)


def with_dtype(generator, dtype):
    """A copy of a generator, weights included, that computes in another dtype policy."""
    copy = Generator.from_config({**generator.get_config(), "dtype": dtype, "trainable": True})
    copy.set_weights(generator.get_weights())
    return copy


def find_model(model):
    """The file or SavedModel folder that a user means by ``model``, see ``Deblurrer.load``.

    Raises:
        InputError: naming the path that was searched.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return _find_in_folder(path)
    if path.suffix in (".keras", ".tflite") or path.exists():
        return _checked_file(path)
    shipped = WEIGHTS_FOLDER / f"{model}.keras"
    if shipped.is_file() and path.name == str(model):
        return shipped
    names = ", ".join(sorted(file.stem for file in WEIGHTS_FOLDER.glob("*.keras"))) or "none"
    raise InputError(
        f"{model}: no such file or folder, nor weights in {WEIGHTS_FOLDER} (there are: {names}); give a trained model"
    )


def _find_in_folder(path):
    if (path / "generator.keras").is_file():
        return path / "generator.keras"
    saved_model = saved_model_folder(path)
    if saved_model is not None:
        return saved_model
    if (path / "config.cfg").is_file():
        raise InputError(f"{path}: this run has no generator.keras yet; wait for its first checkpoint")
    remedy = f"give {path / 'saved_model'}" if (path / "saved_model").is_dir() else "give one that has"
    raise InputError(f"{path}: has neither generator.keras (a training run) nor saved_model.pb (an export); {remedy}")


def _checked_file(path):
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a trained model")
    if path.suffix not in (".keras", ".tflite"):
        advice = "; tools/import_torch_weights.py imports it" if path.suffix in (".pt", ".pth") else ""
        raise InputError(f"{path}: not a .keras or .tflite file{advice or '; give a trained model'}")
    return path


def saved_model_folder(path):
    """The folder that holds ``saved_model.pb``: ``path``, or its highest numbered version; None if there is none."""
    versions = sorted((child for child in path.iterdir() if child.name.isdigit()), key=lambda child: -int(child.name))
    return next((folder for folder in (path, *versions) if (folder / "saved_model.pb").is_file()), None)
