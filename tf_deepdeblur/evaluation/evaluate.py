"""Evaluates a deblurring function on a benchmark, image by image (sections 4.1 to 4.3, Tables 2 and 3).

The function is the one that users call, uint8 in and uint8 out, and what is measured are the pixels that are written.
In ``output_dir``:

- ``images/NAME.png``: the restored images;
- ``rows.jsonl``: a row per image as soon as it is done; an evaluation that starts again goes on after it;
- ``results.json``: see ``report.summarise``; the infinite PSNR of identical images becomes null there;
- ``results.md``: the means as a table beside the paper's;
- ``sheet.png``: blurry | restored | sharp of the best, the median and the worst image by PSNR; for images without
  sharp ones all of them, small, blurry | restored.

A row has "name", "seconds" (null for the first image of a size, whose call may include compiling), the measures of the
restored image and under "blurry" the same measures of the blurry one: "psnr", "ssim_gaussian" and "ssim_matlab3d", or
for kohler "psnr" and "mssim" with "psnr_reference" and "mssim_reference", the positions of the best references.
"""

import json
import math
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_deepdeblur import metrics
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.evaluation import kohler, report, rows, sheet
from tf_deepdeblur.evaluation.testsets import open_references
from tf_deepdeblur.io.pixels import read_image, side_by_side, write_image


def evaluate(deblur, samples, output_dir, *, benchmark, blur_key=None, model="", limit=None, progress=iter):
    """Restores and measures the images of a benchmark.

    Args:
        deblur: function uint8 [H, W, 3] -> uint8 [H, W, 3].
        samples: sequence of ``benchmarks.Sample``.
        output_dir: folder for the results; what an evaluation of the same model left in it is not done again.
        benchmark: the benchmark's name; "kohler" selects the protocol of that data set.
        blur_key: "blur_gamma" or "blur" for gopro, None for the others; it is written beside the numbers.
        model: a text that identifies the weights, such as path and digest; rows of another model are refused.
        limit: how many images, taken evenly from all; all by default.
        progress: wraps the list of samples that is iterated over, like ``tqdm.tqdm``.

    Returns:
        The content of ``results.json``, see ``report.summarise``.

    Raises:
        InputError: naming the file or folder and the remedy, for unfit images, a limit below 1, names that occur
            twice, a function that returns something else than an image of the same size, or an ``output_dir`` that
            holds rows of another evaluation.
    """
    output_dir, chosen = Path(output_dir).expanduser(), evenly(samples, limit)
    _require_unique_names(chosen)
    output_dir.mkdir(parents=True, exist_ok=True)
    header = {"benchmark": benchmark, "blur_key": blur_key, "model": model}
    rows_file = output_dir / "rows.jsonl"
    done = rows.resume(rows_file, header, lambda row: _restored_path(output_dir, row["name"]).is_file())
    measure, timed = _kohler_measures if benchmark == "kohler" else _measures, _Timed(deblur)
    for sample in progress(chosen):
        if sample.name not in done:
            done[sample.name] = _evaluate_one(timed, measure, sample, _restored_path(output_dir, sample.name))
            rows.append(rows_file, done[sample.name])
    results = report.summarise([done[sample.name] for sample in chosen], header, len(samples))
    _write_results(results, chosen, output_dir)
    return results


def write_comparison(by_column, output_dir):
    """Writes ``results.md`` anew, with a column for each of several models.

    Args:
        by_column: dict of results of ``evaluate`` for the same samples by the title of their column.
        output_dir: folder to write to.
    """
    rows.write_text(output_dir / "results.md", report.markdown(by_column))


def evenly(samples, limit=None):
    """``limit`` of the samples at equal distances, in order; all if ``limit`` is None or larger than their number.

    Raises:
        InputError: if there are none, or ``limit`` is below 1.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit must be at least 1, got {limit}")
    if not len(samples):
        raise InputError("there are no images to evaluate")
    count = min(len(samples), limit or len(samples))
    return [samples[position * len(samples) // count] for position in range(count)]


class _Timed:
    """Calls a deblurring function and the clock."""

    def __init__(self, deblur):
        self._deblur = deblur
        self._sizes = set()

    def __call__(self, sample, image):
        """The restored image, and its seconds unless this is the first image of its size, which may compile.

        The very first image is restored twice, so that a single image has its seconds too.
        """
        if not self._sizes:
            self._deblur(image)
            self._sizes.add(image.shape)
        start = time.perf_counter()
        restored = np.asarray(self._deblur(image))
        seconds = time.perf_counter() - start if image.shape in self._sizes else None
        self._sizes.add(image.shape)
        if restored.dtype != np.uint8 or restored.shape != image.shape:
            got = f"{restored.dtype} {restored.shape}"
            raise InputError(
                f"{sample.blurry}: the model returned {got} for uint8 {image.shape}; use a deblurring model"
            )
        return restored, seconds


def _evaluate_one(timed, measure, sample, restored_path):
    blurry = read_image(sample.blurry)
    restored, seconds = timed(sample, blurry)
    restored_path.parent.mkdir(parents=True, exist_ok=True)
    write_image(restored_path, restored)
    if not sample.references:
        return {"name": sample.name, "seconds": seconds, "blurry": {}}
    references = open_references(sample)
    try:
        measured = {**measure(restored, references), "blurry": measure(blurry, references)}
    except ValueError as error:
        raise InputError(f"{sample.blurry}: cannot be measured ({error}); leave it out") from error
    return {"name": sample.name, "seconds": seconds, **measured}


def _measures(image, references):
    (sharp,) = references
    if min(image.shape[:2]) < metrics.SMALLEST_SIDE:
        raise ValueError(f"SSIM needs sides of at least {metrics.SMALLEST_SIDE} pixels, it has {image.shape[:2]}")
    return {name: float(value[0]) for name, value in _graph_of_measures(image[None], sharp[None]).items()}


@tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)] * 2, autograph=False)
def _graph_of_measures(images, sharp):
    """One graph for all sizes; it takes a quarter less time than the same calls one by one."""
    return {
        "psnr": metrics.psnr(images, sharp),
        "ssim_gaussian": metrics.ssim(images, sharp),
        "ssim_matlab3d": metrics.ssim(images, sharp, variant="matlab3d"),
    }


def _kohler_measures(image, references):
    score = kohler.score(image, references)
    positions = {"psnr_reference": score.psnr_frame, "mssim_reference": score.mssim_frame}
    return {"psnr": score.psnr, "mssim": score.mssim, **positions}


def _write_results(results, samples, output_dir):
    rows.write_text(output_dir / "results.json", json.dumps(_finite(results), indent=1, allow_nan=False) + "\n")
    rows.write_text(output_dir / "results.md", report.markdown({"restored": results}))
    by_name = {sample.name: sample for sample in samples}
    if "psnr" in results["mean"]:
        chosen = sheet.best_median_worst(results["rows"])
        picture = sheet.stack([_comparison(by_name[row["name"]], row, output_dir) for row in chosen])
    else:
        picture = sheet.contact_sheet(_blurry_and_restored(sample, output_dir) for sample in samples)
    write_image(output_dir / "sheet.png", picture)


def _finite(value):
    """JSON has no infinity: the PSNR of identical images becomes null."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if value == math.inf else value


def _comparison(sample, row, output_dir):
    sharp = open_references(sample)[row.get("psnr_reference", 0)]
    return side_by_side([*_blurry_and_restored(sample, output_dir), sharp])


def _blurry_and_restored(sample, output_dir):
    return read_image(sample.blurry), read_image(_restored_path(output_dir, sample.name))


def _restored_path(output_dir, name):
    return output_dir / "images" / f"{name}.png"


def _require_unique_names(samples):
    seen = set()
    for sample in samples:
        if sample.name in seen:
            raise InputError(f"{sample.blurry}: another image is also called {sample.name}; rename one of them")
        seen.add(sample.name)
