"""Evaluates trained networks on a test set, as the paper does.

    deepdeblur evaluate --model runs/gopro --benchmark gopro --data_dir ~/GOPRO_Large --output_dir results/gopro
    deepdeblur evaluate --model runs/k1 --model runs/k2 --model runs/k3 --benchmark gopro ... --output_dir results

Writes into --output_dir: results.json, results.md (a table beside the paper's), sheet.png (best, median and worst
image), images/ (the restored ones). An interrupted evaluation continues when it is started again. Several models get a
folder each, and results.md has a column for each.

Several machines that share --output_dir evaluate a --shard each; then the same command with --merge writes the results.
"""

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from tqdm import tqdm

from tf_deepdeblur import cli, commands, runtime
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.shards import ALL

_BENCHMARKS = ("gopro", "reds", "pairs", "kohler", "lai", "lai_uniform", "lai_nonuniform", "realblur_j", "realblur_r")
_MODEL = flags.DEFINE_multi_string(
    "model",
    None,
    "A run folder, a .keras file, a SavedModel folder, a .tflite file, exported tiles, or hf://user/name; "
    "repeat it to compare models.",
    required=True,
)
_BENCHMARK = flags.DEFINE_enum("benchmark", None, _BENCHMARKS, "Test set, and with it the protocol.", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data set.", required=True)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder for the results.", required=True)
_BLUR_KEY = flags.DEFINE_enum(
    "blur_key", "blur_gamma", ["blur_gamma", "blur"], "Blurry images of gopro; blur_gamma is the paper's."
)
_LIMIT = flags.DEFINE_integer("limit", None, "Evaluate only this many images, spread evenly.", lower_bound=1)
_PRECISION = flags.DEFINE_enum(
    "precision",
    "auto",
    ["auto", "float32", "bfloat16", "float16", "int8", "fastest"],
    "What the network computes in; see deblur --help.",
)
_SHARD = cli.define_shard(__name__)
cli.define_cluster(__name__)
_MERGE = flags.DEFINE_bool("merge", False, "Restore nothing: write the results of shards that are all done.")
_TIMING = flags.DEFINE_bool(
    "timing", True, "Measure the runtime. Without it, two evaluations of equal pixels write equal bytes."
)


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    cli.reject_arguments(argv)
    names = {  # the repository's with its revision, the folder's or the file's
        model.rpartition("/")[2] if model.startswith("hf://") else Path(model).resolve().stem: model
        for model in _MODEL.value
    }
    if len(names) < len(_MODEL.value):
        raise cli.UsageError(f"--model {', '.join(_MODEL.value)}: two have the same name; rename one of them")
    shard, cluster = ALL if _MERGE.value else cli.shard(_SHARD), cli.cluster()
    runtime.import_tensorflow_quietly()
    from tf_deepdeblur.evaluation import evaluate, load, merge, write_comparison
    from tf_deepdeblur.evaluation.cluster import evaluate_on
    from tf_deepdeblur.io.checksum import sha256

    models = {name: cli.find_model(model) for name, model in names.items()}
    test_set = load(_BENCHMARK.value, _DATA_DIR.value, _BLUR_KEY.value)
    output_dir, results, failures = Path(_OUTPUT_DIR.value).expanduser(), {}, []
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output_dir}: cannot be written ({error.strerror}); choose another `output_dir`") from error
    options = {"limit": _LIMIT.value, "shard": shard, "timing": _TIMING.value}
    for name, path in models.items():
        folder = output_dir / name if len(models) > 1 else output_dir
        identity = f"{path} (sha256 {sha256(path)[:12]}, precision "
        if _MERGE.value:
            num_scales = commands.load_deblurrer(path, "auto", "auto").num_scales
            result = merge(test_set, folder, model=identity, limit=_LIMIT.value)
        elif cluster:
            result, num_scales, lines = evaluate_on(
                cluster,
                functools.partial(commands.load_deblurrer, path, "auto"),
                test_set,
                folder,
                identity=identity,
                precision=_PRECISION.value,
                **options,
            )
            failures += lines
        else:
            deblur = commands.load_deblurrer(path, "auto", _PRECISION.value)
            model, num_scales = f"{identity}{deblur.precision or 'as exported'})", deblur.num_scales
            progress = functools.partial(tqdm, desc=f"evaluate {name}", unit="image")
            result = evaluate(deblur, test_set, folder, model=model, progress=progress, **options)
        results[f"{name} (K = {num_scales})" if num_scales else name] = result
    if failures:
        for line in failures:
            sys.stderr.write(cli.as_line(line) + "\n")
        print(f"{len(failures)} images failed, so there are no results; leave them out or mend them, then start again")
        return 1
    if shard.count > 1:
        for column, result in results.items():
            print(f"shard {shard}: {column}: {result['num_images']} images are done; --merge when all shards are")
        return 0
    write_comparison(results, output_dir)
    print((output_dir / "results.md").read_text())
    return 0
