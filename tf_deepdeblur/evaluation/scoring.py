"""Scores a deblurring function on a test set, image by image (sections 4.1 to 4.3, Tables 2 and 3).

The function is the one that users call, uint8 in and uint8 out, and the scores are those of the pixels that are
written. An evaluation writes to ``output_dir``:

- ``images/NAME.png``: the restored images;
- ``rows.jsonl``: a header that says what is evaluated, then a row per image, written as soon as the image is done: an
  interrupted evaluation continues from it;
- ``results.json``: see ``report.summarise``; JSON has no infinity, so the PSNR of identical images becomes null there;
- ``results.md``: the means as a table beside the paper's;
- ``sheet.png``: blurry | restored | sharp of the best, the median and the worst image by PSNR; if the test set has no
  sharp images, thumbnails of all, blurry | restored.

A row has "name", "seconds" (null for the first image of a size, whose call may include compiling), the scores of the
restored image and, under "blurry", the same scores of the blurry one: "psnr", "ssim_gaussian" and "ssim_matlab3d", or
for kohler "psnr" and "mssim" with "psnr_reference" and "mssim_reference", the positions of the best references.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_deepdeblur import metrics
from tf_deepdeblur.background import WriteBehind, read_ahead
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.evaluation import kohler, report, sheet
from tf_deepdeblur.evaluation.testsets import Sample, TestSet, open_references
from tf_deepdeblur.io.atomic import write_atomically
from tf_deepdeblur.io.pixels import read_image, side_by_side, write_image
from tf_deepdeblur.sampling import evenly_spaced


def evaluate(
    deblur: Callable[[np.ndarray], np.ndarray],
    test_set: TestSet,
    output_dir: str | os.PathLike,
    *,
    model: str = "",
    limit: int | None = None,
    progress: Callable[[Sequence[Sample]], Iterable[Sample]] = iter,
) -> dict:
    """Restores and scores the images of a test set.

    Args:
        deblur: function uint8 [H, W, 3] -> uint8 [H, W, 3], such as a ``Deblurrer``.
        test_set: result of ``testsets.load``; the protocol of the Koehler data set is used if its name is "kohler".
        output_dir: folder for the results. Images that an earlier evaluation of the same model left there are not
            restored again.
        model: text that identifies the weights, such as path and digest; rows of another model are refused.
        limit: number of images, evenly spaced over the test set; all by default.
        progress: wraps the list of samples that is iterated over, like ``tqdm.tqdm``.

    Returns:
        The content of ``results.json``, see ``report.summarise``.

    Raises:
        InputError: naming the file or folder and the remedy, for unusable images, a ``limit`` below 1, duplicate names,
            a function that does not return an image of the same size, or an ``output_dir`` that holds the rows of
            another evaluation.
    """
    if limit is not None and limit < 1:
        raise InputError(f"`limit` must be at least 1, got {limit}")
    if not test_set.samples:
        raise InputError(f"{test_set.name}: there are no images to evaluate")
    samples = evenly_spaced(test_set.samples, limit or len(test_set.samples))
    by_name = {}
    for sample in samples:
        if sample.name in by_name:
            raise InputError(f"{sample.blurry}: another image is also called {sample.name}; rename one of them")
        by_name[sample.name] = sample

    output_dir = Path(output_dir).expanduser()
    output_dir.mkdir(parents=True, exist_ok=True)
    header = {"benchmark": test_set.name, "blur_key": test_set.blur_key, "model": model}
    rows_file = output_dir / "rows.jsonl"
    rows = {row["name"]: row for row in _read_rows(rows_file, header) if _restored(output_dir, row["name"]).is_file()}
    write_atomically(rows_file, "".join(json.dumps(entry) + "\n" for entry in (header, *rows.values())))

    score = _kohler_scores if test_set.name == "kohler" else _scores
    todo = [sample for sample in samples if sample.name not in rows]
    warm_sizes = set()
    with read_ahead(map(_read, todo), ahead=1) as images, WriteBehind(limit=1) as writing:
        for sample, (blurry, references) in zip(progress(todo), images, strict=True):
            restored, seconds = _restore(deblur, sample, blurry, warm_sizes)
            writing.call(_write, _restored(output_dir, sample.name), restored)
            row = {"name": sample.name, "seconds": seconds, "blurry": {}}
            if references:
                try:
                    row |= score(restored, references) | {"blurry": score(blurry, references)}
                except ValueError as error:
                    raise InputError(f"{sample.blurry}: cannot be scored ({error}); leave it out") from error
            rows[sample.name] = row
            with rows_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    results = report.summarise([rows[sample.name] for sample in samples], header, len(test_set.samples))
    write_atomically(
        output_dir / "results.json", json.dumps(_without_infinity(results), indent=1, allow_nan=False) + "\n"
    )
    report.write_comparison({"restored": results}, output_dir)
    write_image(output_dir / "sheet.png", _sheet(results, by_name, output_dir))
    return results


def _read(sample):
    """The blurry image and its references; a single one is decoded, of the many of Koehler's they are read later."""
    blurry = read_image(sample.blurry)
    references = open_references(sample) if sample.references else ()
    return blurry, [references[0]] if len(references) == 1 else references


def _restore(deblur, sample, blurry, warm_sizes):
    """The restored image, and the seconds it took, or None for the first image of its size."""
    if not warm_sizes:  # restored once untimed, so that a test set of one image has a time too
        deblur(blurry)
        warm_sizes.add(blurry.shape)
    start = time.perf_counter()
    restored = np.asarray(deblur(blurry))
    seconds = time.perf_counter() - start if blurry.shape in warm_sizes else None
    warm_sizes.add(blurry.shape)
    if restored.dtype != np.uint8 or restored.shape != blurry.shape:
        raise InputError(
            f"{sample.blurry}: the model returned {restored.dtype} {restored.shape} for uint8 {blurry.shape}; "
            "use a deblurring model"
        )
    return restored, seconds


def _write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, image)


def _restored(output_dir, name):
    return output_dir / "images" / f"{name}.png"


def _read_rows(path, header):
    """The rows of an earlier evaluation with the same header; a line that an interruption cut off is left out."""
    if not path.exists():
        return []
    try:
        # What follows the last end of line is empty or was cut off.
        entries = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: line is not JSON ({error}); delete the file to start again") from error
    if not entries:
        return []
    old_header, *rows = entries
    if not isinstance(old_header, dict) or set(old_header) != set(header):
        raise InputError(f"{path}: does not begin with the header of an evaluation; delete the file to start again")
    was = [f"{key} {old_header[key]!r}, now {header[key]!r}" for key in header if old_header[key] != header[key]]
    if was:
        raise InputError(
            f"{path}: rows of another evaluation ({', '.join(was)}); use another `output_dir` or delete the folder"
        )
    for number, row in enumerate(rows, start=2):
        if not _is_row(row):
            raise InputError(f"{path}: line {number} is not the row of an image; delete the file to start again")
    return rows


def _is_row(entry):
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or "seconds" not in entry:
        return False
    if not isinstance(entry.get("blurry"), dict):
        return False
    numbers = [value for key, value in entry.items() if key not in ("name", "seconds", "blurry")]
    numbers += [*entry["blurry"].values(), 0 if entry["seconds"] is None else entry["seconds"]]
    # The comparison is false for NaN, which Python's JSON reads as a number.
    return all(isinstance(number, int | float) and number > -math.inf for number in numbers)


def _scores(image, references):
    (sharp,) = references
    if min(image.shape[:2]) < metrics.SMALLEST_SIDE:
        raise ValueError(f"SSIM needs sides of at least {metrics.SMALLEST_SIDE} pixels, it has {image.shape[:2]}")
    return {name: float(value[0]) for name, value in _score_batch(image[None], sharp[None]).items()}


# One graph for all sizes takes a quarter less time than the same calls one by one.
@tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)] * 2, autograph=False)
def _score_batch(images, sharp):
    return {
        "psnr": metrics.psnr(images, sharp),
        "ssim_gaussian": metrics.ssim(images, sharp),
        "ssim_matlab3d": metrics.ssim(images, sharp, variant="matlab3d"),
    }


def _kohler_scores(image, references):
    best = kohler.score(image, references)
    return {
        "psnr": best.psnr,
        "mssim": best.mssim,
        "psnr_reference": best.psnr_frame,
        "mssim_reference": best.mssim_frame,
    }


def _sheet(results, samples, output_dir):
    """The picture ``sheet.png``; ``samples`` is a dict of Sample by name."""

    def before_and_after(row):
        return read_image(samples[row["name"]].blurry), read_image(_restored(output_dir, row["name"]))

    if "psnr" not in results["mean"]:
        return sheet.contact_sheet(before_and_after(row) for row in results["rows"])
    return sheet.stack(
        [
            side_by_side([*before_and_after(row), open_references(samples[row["name"]])[row.get("psnr_reference", 0)]])
            for row in sheet.best_median_worst(results["rows"])
        ]
    )


def _without_infinity(value):
    if isinstance(value, dict):
        return {key: _without_infinity(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_infinity(entry) for entry in value]
    return None if value == math.inf else value
