"""Exports a trained network to SavedModel and TFLite and verifies every file.

    deepdeblur export --tflite
    deepdeblur export --model runs/gopro --output_dir exported
    deepdeblur export --model generator.keras --tflite --quantize all
    deepdeblur export --tiles --quantize int8
    deepdeblur export --web

Writes OUT/saved_model/, OUT/generator_<quantize>.tflite (with a .json each), OUT/tiles_<quantize>/ (TFLite files that
restore images of any size tile by tile), OUT/web/ (a page that runs such files in browsers, which deepdeblur serve_web
shows) and OUT/report.json, and prints the report as a table. Exit code 1: a file differs from the network by more than
its tolerance, or an input is unusable.
"""

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from tqdm import tqdm

from tf_deepdeblur import cli, runtime
from tf_deepdeblur.cli import UsageError, parse_size

_QUANTIZATIONS = ["none", "float16", "dynamic", "int8"]
_WITHOUT_TILES = {"dynamic"}  # its ranges would differ from tile to tile
_SHIPPED_TRAINING = "photographs blurred by simulated camera shake, with a phone's noise and JPEG"

_MODEL = flags.DEFINE_string(
    "model", None, "A run folder, a .keras file or hf://user/name; default: the network that comes with the package."
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "exported", "Folder to write to.")
_SAVED_MODEL = flags.DEFINE_bool(
    "saved_model", False, "Write a SavedModel; with no format named, this and TFLite files."
)
_TFLITE = flags.DEFINE_bool("tflite", False, "Write TFLite files; with no format named, these and a SavedModel.")
_TILES = flags.DEFINE_bool("tiles", False, "Write TFLite files that restore images of any size tile by tile.")
_WEB = flags.DEFINE_bool(
    "web", False, "Write a page for browsers, with tiles: int8 ones unless --quantize says otherwise."
)
_WEB_RUNTIME = flags.DEFINE_string(
    "web_runtime",
    None,
    "Folder with the npm archives of LiteRT.js for the page; default: a cache, or the npm registry.",
)
_QUANTIZE = flags.DEFINE_list(
    "quantize",
    ["none"],
    "TFLite files and tiles to write: none (float32), float16, dynamic (not for tiles), int8, several of them, or all.",
)
_CALIBRATION_DIR = flags.DEFINE_string(
    "calibration_dir", None, "Blurry images to calibrate int8 and to verify with; default: scikit-image's photographs."
)
_FIXED_SIZE = flags.DEFINE_string(
    "fixed_size", None, "Only image size of the TFLite files, height x width like 720x1280; default: any size."
)
_SERVING_VERSION = flags.DEFINE_integer(
    "serving_version", None, "Write saved_model/<version>/, as TensorFlow Serving wants it.", lower_bound=1
)
_TIMING_SIZE = flags.DEFINE_string(
    "timing_size", None, "Size of the image to measure speed with, height x width; default: 256x256."
)


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    cli.reject_arguments(argv)
    options = read_options()
    runtime.import_tensorflow_quietly()
    from tf_deepdeblur.export import bundle, web, web_runtime
    from tf_deepdeblur.models.saving import WEIGHTS_FOLDER
    from tf_deepdeblur.training import read_training

    path, output_dir = cli.find_model(_MODEL.value), Path(_OUTPUT_DIR.value).expanduser()
    if _WEB.value:  # before the work of minutes
        web.require_replaceable(output_dir / "web")
        litert = web_runtime.read_runtime(_WEB_RUNTIME.value)
    cli.tell_default(_MODEL.value)
    report = bundle.export_model(
        path,
        output_dir,
        bundle.ExportOptions(**options),
        calibration_dir=_CALIBRATION_DIR.value,
        training=read_training(path),
        progress=functools.partial(tqdm, desc="export and verify", unit="step"),
    )
    print(bundle.table(report))
    failures = bundle.failures(report)
    sys.stderr.writelines(f"{Path(argv[0]).name}: {failure}\n" for failure in failures)
    if _WEB.value and not failures:
        quantize = "int8" if "int8" in options["tiles"] else options["tiles"][0]
        tiles, page = output_dir / f"tiles_{quantize}", output_dir / "web"
        trained_on = _SHIPPED_TRAINING if path.parent == WEIGHTS_FOLDER else None
        web.export_web(tiles, page, litert, Path(_MODEL.value or path).stem, trained_on)
        print(f"{page}: a page; deepdeblur serve_web {page} shows it")
    return 1 if failures else 0


def read_options() -> dict:
    """The arguments of ``bundle.ExportOptions`` from the flags; checks them before TensorFlow starts."""
    neither = not (_SAVED_MODEL.value or _TFLITE.value or _TILES.value or _WEB.value)
    saved_model, tflite = _SAVED_MODEL.value or neither, _TFLITE.value or neither
    unknown = sorted(set(_QUANTIZE.value) - {*_QUANTIZATIONS, "all"})
    if unknown or not _QUANTIZE.value:
        raise UsageError(f"--quantize takes {', '.join(_QUANTIZATIONS)} or all, got {','.join(unknown)!r}")
    tiles = _TILES.value or (_WEB.value and _QUANTIZE.present)
    if not (tflite or tiles) and _QUANTIZE.present:
        raise UsageError("--quantize is for TFLite files and tiles; add --tflite or --tiles")
    if _WEB_RUNTIME.present and not _WEB.value:
        raise UsageError("--web_runtime is for the page; add --web")
    if not tflite and _FIXED_SIZE.present:
        raise UsageError("--fixed_size is for TFLite files; add --tflite")
    if not saved_model and _SERVING_VERSION.present:
        raise UsageError("--serving_version is for the SavedModel; add --saved_model")
    chosen = [name for name in _QUANTIZATIONS if {name, "all"} & set(_QUANTIZE.value)]
    tiled = [name for name in chosen if name not in _WITHOUT_TILES]
    if tiles and not tiled:
        raise UsageError(f"Tiles cannot be {chosen[0]}: its ranges would differ from tile to tile; use int8")
    return {
        "saved_model": saved_model,
        "serving_version": _SERVING_VERSION.value,
        "quantizations": tuple(chosen if tflite else ()),
        "tiles": (*(tiled if tiles else ()), *(["int8"] if _WEB.value and not _QUANTIZE.present else ())),
        "fixed_size": parse_size(_FIXED_SIZE),
        "timing_size": parse_size(_TIMING_SIZE),
    }
