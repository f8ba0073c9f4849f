"""Evaluates a trained network on a benchmark, as the paper does, on whole images and the pixels that are written.

    python tools/evaluate.py --model runs/gopro --benchmark gopro --data_dir ~/GOPRO_Large --output_dir results/gopro
    python tools/evaluate.py --model runs/demo --benchmark pairs --data_dir runs/demo/data --output_dir results/demo

Writes into --output_dir: results.json, results.md (a table beside the paper's), sheet.png (best, median and worst
image), images/ (the restored ones). Started again it goes on where it stopped.
"""

import functools
import hashlib
from pathlib import Path

from absl import flags as absl_flags
from tqdm import tqdm

from tf_deepdeblur import flags

_BENCHMARKS = ("gopro", "reds", "pairs", "kohler", "lai", "lai_uniform", "lai_nonuniform", "realblur_j", "realblur_r")
_MODEL = absl_flags.DEFINE_string("model", None, "Run folder, .keras, SavedModel, .tflite, or a name.", required=True)
_BENCHMARK = absl_flags.DEFINE_enum("benchmark", None, _BENCHMARKS, "Which data set and protocol.", required=True)
_DATA_DIR = absl_flags.DEFINE_string("data_dir", None, "Folder of the data set.", required=True)
_OUTPUT_DIR = absl_flags.DEFINE_string("output_dir", None, "Folder for the results.", required=True)
_BLUR_KEY = absl_flags.DEFINE_enum("blur_key", "blur_gamma", ["blur_gamma", "blur"], "Which blur of gopro.")
_LIMIT = absl_flags.DEFINE_integer("limit", None, "Only so many images, spread evenly.", lower_bound=1)
_PRECISION = absl_flags.DEFINE_enum(
    "precision", "auto", ["auto", "float32", "bfloat16", "float16"], "What the network computes in."
)


def main(argv):
    flags.reject_arguments(argv)
    from tf_deepdeblur.evaluation import benchmarks
    from tf_deepdeblur.evaluation.evaluate import evaluate
    from tf_deepdeblur.inference.deblurrer import Deblurrer, find_model

    path = find_model(_MODEL.value)
    evaluate(
        Deblurrer.load(path, precision=_PRECISION.value),
        benchmarks.load(_BENCHMARK.value, _DATA_DIR.value, _BLUR_KEY.value),
        _OUTPUT_DIR.value,
        benchmark=_BENCHMARK.value,
        blur_key=_BLUR_KEY.value if _BENCHMARK.value == "gopro" else None,
        model=f"{_MODEL.value} (sha256 {digest(path)[:12]}, precision {_PRECISION.value})",
        limit=_LIMIT.value,
        progress=functools.partial(tqdm, desc="evaluate", unit="image"),
    )
    print((Path(_OUTPUT_DIR.value).expanduser() / "results.md").read_text())
    return 0


def digest(path):
    """sha256 of a file, or of all files of a folder: other weights must never go on with old rows."""
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            total.update(file.read_bytes())
    return total.hexdigest()


if __name__ == "__main__":
    flags.run(main)
