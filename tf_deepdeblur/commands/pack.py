"""Packs a data set, decoded, into one file: training from it decodes nothing.

    deepdeblur pack --dataset gopro --data_dir ~/GOPRO_Large --output ~/gopro.store
    deepdeblur train --flagfile configs/gopro.cfg --dataset store --data_dir ~/gopro.store
    deepdeblur pack --verify --output ~/gopro.store

The file holds training and validation images and takes 6 bytes per pixel of a pair: 17 GiB for GOPRO_Large. The same
command continues an interrupted run. Training sees samples that are bit-identical to those from the folder.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tf_deepdeblur import cli, runtime

_DATASET = flags.DEFINE_enum("dataset", "gopro", ["gopro", "reds", "pairs"], "Layout of --data_dir.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data set.")
_BLUR_KEY = flags.DEFINE_enum(
    "blur_key", "blur_gamma", ["blur_gamma", "blur"], "Blurry images of gopro; blur_gamma is the paper's."
)
_OUTPUT = flags.DEFINE_string("output", None, "File to write, or to verify.", required=True)
_VERIFY = flags.DEFINE_bool("verify", False, "Do not pack; compare every image in --output with its checksum.")


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    cli.reject_arguments(argv)
    if _VERIFY.value == bool(_DATA_DIR.value):
        raise cli.UsageError("give either --data_dir, to pack it, or --verify")
    path = Path(_OUTPUT.value).expanduser()
    runtime.import_tensorflow_quietly()
    from tf_deepdeblur.data.datasets import open_dataset
    from tf_deepdeblur.data.packed import pack, verify

    if _VERIFY.value:
        damaged = verify(path)
        for name in damaged:
            print(f"damaged: {cli.as_line(name)}", file=sys.stderr)
        print(f"{path}: " + (f"{len(damaged)} images are damaged; pack it again" if damaged else "no image is damaged"))
        return 1 if damaged else 0
    training, validation = open_dataset(_DATASET.value, _DATA_DIR.value, _BLUR_KEY.value)
    pack(training, validation, path, _BLUR_KEY.value if _DATASET.value == "gopro" else "")
    count = len(validation) if validation else 0
    print(f"{path}: {len(training)} training and {count} validation pairs, {path.stat().st_size / 2**30:.2f} GiB")
    return 0
