"""One export: the files that are asked for, each verified as soon as it is written, and ``report.json``."""

import functools
import hashlib
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tf_deepdeblur
from tf_deepdeblur.config import ARCHITECTURE
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.export import activations, pictures, tflite, tiles
from tf_deepdeblur.export.saved_model import export_saved_model, require_replaceable
from tf_deepdeblur.export.verify import Verifier
from tf_deepdeblur.inference.exported import require_memory
from tf_deepdeblur.io.atomic import write_atomically
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.models.saving import load_generator, with_dtype
from tf_deepdeblur.runtime import choose_precision, num_cores

_TIMING_SIZE = (256, 256)


@dataclass(frozen=True)
class ExportOptions:
    """The files of an export.

    Attributes:
        saved_model: whether to write ``saved_model/``.
        serving_version: write ``saved_model/<version>/`` instead, as TensorFlow Serving wants it.
        quantizations: of the ``.tflite`` files, some of ``tflite.QUANTIZATIONS``; none by an empty tuple.
        tiles: quantizations of the ``tiles_<quantize>/`` folders, some of ``tiles.QUANTIZATIONS``.
        fixed_size: (height, width) of the only image size of the ``.tflite`` files, or None for any size.
        timing_size: (height, width) of the image to measure speed with; None is the fixed size, or 256x256.

    Raises:
        InputError: for quantizations that there are not.
    """

    saved_model: bool = True
    serving_version: int | None = None
    quantizations: tuple[str, ...] = ("none",)
    tiles: tuple[str, ...] = ()
    fixed_size: tuple[int, int] | None = None
    timing_size: tuple[int, int] | None = None

    def __post_init__(self):
        for name, known in (("quantizations", tflite.QUANTIZATIONS), ("tiles", tiles.QUANTIZATIONS)):
            unknown = sorted(set(getattr(self, name)) - set(known))
            if unknown:
                raise InputError(f"`{name}` must be some of {', '.join(known)}, got {unknown[0]!r}")


def export_model(
    model: Generator | str | os.PathLike,
    output_dir: str | os.PathLike,
    options: ExportOptions | None = None,
    *,
    calibration_dir: str | os.PathLike | None = None,
    training: dict | None = None,
    progress: Callable[[Sequence[Callable[[], dict]]], Iterable[Callable[[], dict]]] = iter,
) -> dict:
    """Writes and verifies the files of one export.

    Args:
        model: Generator, or what ``Deblurrer.load`` takes for one: a training run's folder, a ``.keras`` file or the
            name of shipped weights.
        output_dir: folder to write ``saved_model/``, ``generator_<quantize>.tflite``, ``tiles_<quantize>/`` and
            ``report.json`` to.
        options: which files; by default a SavedModel and a float32 ``.tflite`` file.
        calibration_dir: folder with blurry images to calibrate int8 and to verify with; photographs that come with
            scikit-image, blurred by camera shake, if None.
        training: what is known about the generator's training, a dict for JSON, or None.
        progress: wraps the list of steps that is iterated over, one per row of the report, like ``tqdm.tqdm``.

    Returns:
        What ``report.json`` holds: "model", "machine", "pictures", "timing_size", "activations", see
        ``activations.measure``, and "rows", see ``verify.Verifier``. A file that failed has a row with "failures"; it
        stays on disk.

    Raises:
        InputError: naming the folder or file that cannot be read or written.
    """
    options, output_dir = options or ExportOptions(), Path(output_dir).expanduser()
    generator = model if isinstance(model, Generator) else load_generator(model)
    if generator.dtype_policy.name != "float32":
        generator = with_dtype(generator, "float32")
    timing_size = options.timing_size or options.fixed_size or _TIMING_SIZE
    for size in filter(None, (timing_size, options.fixed_size)):
        channels = math.ceil(generator.filters / generator.space_to_depth**2)
        require_memory("`fixed_size` or `timing_size`", size, channels, "give a smaller one")
    saved_model = _replaceable_folders(output_dir, options)

    description = metadata(generator, training)
    verified_on = pictures.for_verification(calibration_dir, options.fixed_size)
    is_int8 = "int8" in (*options.quantizations, *options.tiles)
    calibrated_on = pictures.for_calibration(calibration_dir) if is_int8 else ()
    verifier = Verifier(generator, verified_on, pictures.photograph(timing_size))
    steps = _Steps(generator, description, verifier, calibrated_on).of(options, output_dir, saved_model)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        report = {
            "model": description,
            "machine": _machine(),
            "pictures": [[picture.name, *picture.blurry.shape[:2]] for picture in verified_on],
            "timing_size": list(timing_size),
            "activations": activations.measure(generator, [picture.blurry for picture in verified_on]),
            "rows": [step() for step in progress(steps)],
        }
        write_atomically(output_dir / "report.json", json.dumps(report, indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise InputError(
            f"{output_dir}: cannot be written ({error.strerror or error}); make room or use another `output_dir`"
        ) from error
    return report


def _replaceable_folders(output_dir, options):
    """The folder of the SavedModel; raises InputError if one of the folders to write holds something else."""
    folder = output_dir / "saved_model"
    if options.serving_version is not None:
        if (folder / "saved_model.pb").exists():
            raise InputError(f"{folder}: holds a SavedModel without a version; remove it or use another `output_dir`")
        folder /= str(options.serving_version)
    if options.saved_model:
        require_replaceable(folder)
    for quantize in options.tiles:
        tiles.require_replaceable(output_dir / f"tiles_{quantize}")
    return folder


def _machine():
    packages = ("tensorflow", "keras", "ai-edge-litert")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {"threads": num_cores(), "machine": platform.machine(), **versions}


class _Steps:
    """The steps of an export: each writes a file or folder, and returns its row of the report."""

    def __init__(self, generator, description, verifier, calibrated_on):
        self._generator = generator
        self._description = description
        self._verifier = verifier
        self._calibrated_on = calibrated_on

    def of(self, options, output_dir, saved_model):
        """The steps that the options ask for, as functions without arguments."""
        steps = [self._verifier.reference_row]
        if choose_precision("auto") != "float32":  # where the machine has bfloat16 in hardware
            steps.append(self._bfloat16)
        if options.saved_model:
            steps.append(functools.partial(self._saved_model, saved_model))
        for quantize in options.quantizations:
            path = output_dir / f"generator_{quantize}.tflite"
            steps.append(functools.partial(self._tflite, path, quantize, options.fixed_size))
        for quantize in options.tiles:
            steps.append(functools.partial(self._tiles, output_dir / f"tiles_{quantize}", quantize))
        return steps

    def _bfloat16(self):
        return self._verifier.precision_row(with_dtype(self._generator, "mixed_bfloat16"))

    def _saved_model(self, folder):
        export_saved_model(self._generator, folder, self._description)
        return self._verifier.file_row("saved_model", folder)

    def _tflite(self, path, quantize, fixed_size):
        ranges = self._ranges if quantize == "int8" else None
        tflite.export_tflite(self._generator, path, self._description, quantize, fixed_size, ranges)
        return self._verifier.file_row(quantize, path)

    def _tiles(self, folder, quantize):
        ranges = self._ranges if quantize == "int8" else None
        tiles.export_tiles(self._generator, folder, self._description, quantize, ranges)
        return self._verifier.tiles_row(quantize, folder)

    @functools.cached_property
    def _ranges(self):
        """One calibration for all files, so that tiles give the pixels of the whole."""
        return tflite.calibration_ranges(self._generator, self._calibrated_on)


def metadata(generator: Generator, training: dict | None = None) -> dict:
    """What a shipped model says about itself, whatever the format it is shipped in.

    Args:
        generator: Generator.
        training: what is known about its training, a dict for JSON, or None.

    Returns:
        A dict for JSON: "package", "version", "network" (the constructor's arguments and the number of parameters),
        "weights_sha256" (of all weights as little-endian float32, one after the other: equal for equal networks in any
        file) and "training".
    """
    config = generator.get_config()
    digest = hashlib.sha256()
    for weight in generator.get_weights():
        digest.update(np.ascontiguousarray(weight, "<f4").tobytes())
    return {
        "package": "tf_deepdeblur",
        "version": tf_deepdeblur.__version__,
        "network": {**{name: config[name] for name in ARCHITECTURE}, "parameters": generator.count_params()},
        "weights_sha256": digest.hexdigest(),
        "training": training,
    }


def table(report: dict) -> str:
    """Returns the rows of a report as a text table."""
    height, width = report["timing_size"]
    lines = [
        f"{'variant':22}{'MB':>8}{'max':>5}{'mean':>8}{'PSNR between':>14}{'dB lost':>9}{f's {height}x{width}':>14}"
    ]
    for row in report["rows"]:
        values = [row.get(name) for name in ("megabytes", "psnr_between", "psnr_lost")]
        size, between, lost = ("" if value is None else f"{value:.3f}" for value in values)
        seconds = row["seconds_per_megapixel"] * height * width / 1e6
        lines.append(
            f"{row['variant']:22}{size:>8}{row['max_difference']:>5}{row['mean_difference']:8.4f}{between:>14}{lost:>9}"
            f"{seconds:14.3f}"
        )
    largest, limit = max(report["activations"]["largest"]), report["activations"]["float16_limit"]
    near = ": GPUs that compute in float16 may fail" if report["activations"]["near_float16_limit"] else ""
    lines.append(f"largest activation {largest:.4g}; float16 holds {limit:.0f}{near}")
    return "\n".join(lines)


def failures(report: dict) -> list[str]:
    """Returns one line for each value of a report that is beyond its tolerance."""
    return [f"{row['file']}: {failure}" for row in report["rows"] for failure in row.get("failures", ())]
