"""One export: the files that are wanted, each verified as soon as it is written, and ``report.json``."""

import functools
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.export import files, pictures, tflite
from tf_deepdeblur.export.facts import describe
from tf_deepdeblur.export.saved_model import export_saved_model, require_replaceable
from tf_deepdeblur.export.verify import Verifier
from tf_deepdeblur.inference.exported import require_memory
from tf_deepdeblur.models.saving import with_dtype
from tf_deepdeblur.runtime import choose_precision, num_cores

_TIMING_SIZE = (256, 256)


@dataclass(frozen=True)
class Wanted:
    """The files of an export.

    Attributes:
        saved_model: whether to write ``saved_model/``.
        serving_version: write ``saved_model/<version>/`` instead, as TensorFlow Serving wants it.
        quantizations: of the ``.tflite`` files, some of ``tflite.QUANTIZATIONS``.
        fixed_size: (height, width) of those files' only image size, or None for any size.
        timing_size: (height, width) of the image to measure speed with; None is the fixed size, or 256x256.
    """

    saved_model: bool = False
    serving_version: int | None = None
    quantizations: tuple[str, ...] = ()
    fixed_size: tuple[int, int] | None = None
    timing_size: tuple[int, int] | None = None


def export(generator, output_dir, wanted, *, calibration_dir=None, training=None, progress=iter):
    """Writes and verifies the files of one export.

    Args:
        generator: float32 Generator.
        output_dir: folder to write ``saved_model/``, ``generator_<quantize>.tflite`` and ``report.json`` to.
        wanted: Wanted.
        calibration_dir: folder with blurry images to calibrate and verify with, or None for the embedded photographs.
        training: what is known about the generator's training, a dict for JSON, or None.
        progress: wraps the list of steps that is gone through, one per row of the report, like ``tqdm.tqdm``.

    Returns:
        What ``report.json`` holds: "model", "machine", "pictures", "timing_size" and "rows", see ``verify.Verifier``. A
        file that failed has a row with "failures"; it stays on disk.

    Raises:
        InputError: naming the folder or file that cannot be read or written.
    """
    output_dir = _created(Path(output_dir).expanduser())
    timing_size = wanted.timing_size or wanted.fixed_size or _TIMING_SIZE
    for size in filter(None, (timing_size, wanted.fixed_size)):
        require_memory("--fixed_size or --timing_size", size, generator.filters, "give a smaller one")
    folder = _saved_model_folder(output_dir, wanted.serving_version)
    if wanted.saved_model:
        require_replaceable(folder)
    facts = describe(generator, training)
    verified_on = pictures.for_verification(calibration_dir, wanted.fixed_size)
    calibrating_on = pictures.for_calibration(calibration_dir) if "int8" in wanted.quantizations else ()
    verifier = Verifier(generator, verified_on, pictures.photograph(timing_size))
    steps = [
        verifier.reference_row,
        *_fast_rows(generator, verifier),
        *([functools.partial(_saved_model_row, generator, folder, facts, verifier)] if wanted.saved_model else []),
        *_tflite_rows(generator, output_dir, wanted, facts, calibrating_on, verifier),
    ]
    rows = [step() for step in progress(steps)]
    report = {
        "model": facts,
        "machine": _machine(),
        "pictures": [[picture.name, *picture.blurry.shape[:2]] for picture in verified_on],
        "timing_size": list(timing_size),
        "rows": rows,
    }
    files.write_file(output_dir / "report.json", report)
    return report


def table(report):
    """The rows of a report as text."""
    height, width = report["timing_size"]
    lines = [
        f"{'variant':22}{'MB':>8}{'max':>5}{'mean':>8}{'PSNR between':>14}{'dB lost':>9}{f's {width}x{height}':>14}"
    ]
    for row in report["rows"]:
        size, between, lost = (_number(row.get(name)) for name in ("megabytes", "psnr_between", "psnr_lost"))
        seconds = row["seconds_per_megapixel"] * height * width / 1e6
        lines.append(
            f"{row['variant']:22}{size:>8}{row['max_difference']:>5}{row['mean_difference']:8.4f}{between:>14}{lost:>9}"
            f"{seconds:14.3f}"
        )
    return "\n".join(lines)


def failures(report):
    """One line for each value beyond its tolerance."""
    return [f"{row['file']}: {failure}" for row in report["rows"] for failure in row.get("failures", ())]


def _saved_model_row(generator, folder, facts, verifier):
    export_saved_model(generator, folder, facts)
    return verifier.file_row("saved_model", folder)


def _tflite_rows(generator, output_dir, wanted, facts, calibrating_on, verifier):
    """Functions that write one file each and return its row."""

    def write(quantize):
        path = output_dir / f"generator_{quantize}.tflite"
        ranges = tflite.calibration_ranges(generator, calibrating_on) if quantize == "int8" else None
        tflite.export_tflite(generator, path, facts, quantize, wanted.fixed_size, ranges)
        return verifier.file_row(quantize, path)

    return [functools.partial(write, quantize) for quantize in wanted.quantizations]


def _saved_model_folder(output_dir, serving_version):
    folder = output_dir / "saved_model"
    if serving_version is None:
        return folder
    if (folder / "saved_model.pb").exists():
        raise InputError(f"{folder}: holds a SavedModel without a version; remove it or choose another --output_dir")
    return folder / str(serving_version)


def _fast_rows(generator, verifier):
    """A function that returns the row of the network in bfloat16, where the machine has that in hardware."""
    if choose_precision("auto") == "float32":
        return []
    return [lambda: verifier.precision_row(with_dtype(generator, "mixed_bfloat16"))]


def _created(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another --output_dir") from error
    return folder


def _machine():
    packages = ("tensorflow", "keras", "ai-edge-litert")
    return {
        "threads": num_cores(),
        "machine": platform.machine(),
        **{name: metadata.version(name) for name in packages},
    }


def _number(value):
    return "" if value is None else f"{value:.3f}"
