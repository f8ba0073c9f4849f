"""Deblurs photographs and videos; the originals are never touched.

    deepdeblur deblur photo.jpg
    deepdeblur deblur --model runs/gopro photo.jpg
    deepdeblur deblur --model generator.keras --output_dir sharp --recursive holiday/ clip.mp4

INPUT... are images (PNG, JPEG, WebP, TIFF, BMP, HEIC), folders of them, and videos (MP4, MOV, MKV, WebM, AVI, TS). Each
is written to --output_dir under its own name; what is in a folder keeps its place below that folder. Orientation is
applied, EXIF data and colour profiles are kept, a video keeps its sound. Exit code: 0 all done, 1 some inputs failed
(each is named), 2 wrong usage.
"""

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tf_deepdeblur import cli, commands, runtime

_MODEL = flags.DEFINE_string(
    "model",
    None,
    "A training run's folder, a .keras file, a SavedModel folder, a .tflite file, exported tiles, or "
    "hf://user/name; default: the network for hand shake that comes with the package.",
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "deblurred", "Folder to write to.")
_TILE = flags.DEFINE_string(
    "tile",
    "auto",
    "Side of the tiles in pixels. Smaller uses less memory; 0 disables tiling; auto fits the available memory.",
)
flags.register_validator(
    _TILE,
    lambda tile: tile in ("auto", "0") or (tile.isdigit() and int(tile) >= 32),
    "must be auto, 0 (off) or at least 32",
)
_PRECISION = flags.DEFINE_enum(
    "precision",
    "auto",
    ["auto", "float32", "bfloat16", "float16", "int8", "fastest"],
    "What the network computes in; auto is bfloat16 where that is measured to be faster, otherwise float32. int8, for "
    "CPUs, is made from the network once and changes the pictures slightly; fastest tries float32, bfloat16 and int8.",
)
_RECURSIVE = flags.DEFINE_bool("recursive", False, "Also look into subfolders.")
_SKIP_EXISTING = flags.DEFINE_bool("skip_existing", False, "Skip files that are in --output_dir already.")
_JPEG_QUALITY = flags.DEFINE_integer("jpeg_quality", 95, "Quality of JPEG, HEIC and lossy WebP files.", 1, 100)
_STRIP_METADATA = flags.DEFINE_bool("strip_metadata", False, "Do not keep EXIF data, colour profile, date and place.")
_SHARD = cli.define_shard(__name__)
cli.define_cluster(__name__)
_COMPARE = flags.DEFINE_bool("compare", False, "Also write before | after pictures to --output_dir/before_after.")


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    if len(argv) < 2:
        raise cli.UsageError("name at least one image, folder or video to deblur")
    shard, cluster = cli.shard(_SHARD), cli.cluster()
    runtime.import_tensorflow_quietly()
    from tf_deepdeblur.inference.cluster import restore_files_on
    from tf_deepdeblur.inference.files import plan_jobs
    from tf_deepdeblur.inference.restore import Output, restore_files

    tile = _TILE.value if _TILE.value == "auto" else int(_TILE.value)
    load = functools.partial(commands.load_deblurrer, cli.find_model(_MODEL.value), tile)
    plan = plan_jobs(argv[1:], _OUTPUT_DIR.value, _RECURSIVE.value, _SKIP_EXISTING.value, shard)
    comparisons = Path(_OUTPUT_DIR.value).expanduser() / "before_after" if _COMPARE.value else None
    output = Output(_JPEG_QUALITY.value, not _STRIP_METADATA.value, comparisons)
    _complain(plan.failures)
    failures = []
    if plan.jobs:  # else nothing is loaded, which takes minutes where an int8 network is made first
        cli.tell_default(_MODEL.value)
    if cluster:
        failures = restore_files_on(cluster, load, plan.jobs, output, _PRECISION.value)
    elif plan.jobs:
        failures = restore_files(load(_PRECISION.value), plan.jobs, output)
    _complain(failures)
    num_restored, num_failed = len(plan.jobs) - len(failures), len(plan.failures) + len(failures)
    skipped = f", {plan.num_skipped} were there already" if plan.num_skipped else ""
    written_to = f"; written to {_OUTPUT_DIR.value}" if num_restored else ""
    part = f"shard {shard}: " if shard.count > 1 else ""
    print(f"{part}{num_restored} restored{skipped}, {num_failed} failed{written_to}")
    return 1 if num_failed else 0


def _complain(lines):
    sys.stderr.writelines(cli.as_line(line) + "\n" for line in lines)
