"""The summary of an evaluation, and its table beside the paper's Tables 2 and 3."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tf_deepdeblur.io.atomic import write_atomically

MEASURES = {
    "psnr": ("PSNR (dB)", ".2f"),
    "ssim_gaussian": ("SSIM (gaussian)", ".4f"),
    "ssim_matlab3d": ("SSIM (matlab3d)", ".4f"),
    "mssim": ("MSSIM (Koehler's)", ".4f"),
    "seconds": ("Runtime (s per image)", ".3g"),
}
_METHODS = ("Sun et al.", "Kim and Lee", "K = 1", "K = 2", "K = 3")
_PAPER = {
    "gopro": {
        "psnr": ("24.64", "23.64", "28.93", "29.23", "29.08"),
        "ssim_matlab3d": ("0.8429", "0.8239", "0.9100", "0.9162", "0.9135"),
        "seconds": ("20 min", "1 hr", "7.21", "4.33", "3.09"),
    },
    "kohler": {
        "psnr": ("25.22", "24.68", "25.74", "26.02", "26.48"),
        "mssim": ("0.7735", "0.7937", "0.8042", "0.8116", "0.8079"),
    },
}
_NUM_IMAGES = {"gopro": 1111, "kohler": 48}  # of the paper's tables
_SOURCES = {
    "gopro": "Columns marked 'paper': Nah et al., CVPR 2017, Table 2: 1111 images, blur_gamma, on a GTX Titan X.",
    "kohler": "Columns marked 'paper': Nah et al., CVPR 2017, Table 3: 48 images, trained with a linear response.",
}
_VARIANTS = {
    "ssim_gaussian": "gaussian: SSIM of each channel as scikit-image computes it with Gaussian weights.",
    "ssim_matlab3d": "matlab3d: SSIM as MATLAB's ssim computes it for an RGB volume. The paper's SSIM "
    "is of this kind (its author in issue 51 of SeungjunNah/DeepDeblur_release).",
    "mssim": "PSNR and MSSIM by the Koehler data set's own protocol: grey, registered, best of each trajectory.",
}
_REALBLUR = "The authors of RealBlur align each output with its reference before they compare"
_LAI = "Lai et al. search the sub-pixel shift with the highest score"
_ALIGNED = {"realblur_j": _REALBLUR, "realblur_r": _REALBLUR, "lai_uniform": _LAI, "lai_nonuniform": _LAI}


def summarise(rows: Sequence[dict], header: Mapping[str, str | None], num_available: int) -> dict:
    """Returns the content of ``results.json``.

    Args:
        rows: dicts with "name", the scores the image has, and "blurry" with the blurry image's scores.
        header: dict with "benchmark", "blur_key" and "model".
        num_available: number of images in the test set.

    Returns:
        Dict with the header, "num_images", "num_available", "mean" and "blurry" (means of the scores that every row
        has: images without a reference have none) and "rows". "seconds" is the mean of the calls that were timed.
    """
    seconds = [row["seconds"] for row in rows if row["seconds"] is not None]
    return {
        **header,
        "num_images": len(rows),
        "num_available": num_available,
        "mean": _means(rows) | ({"seconds": _mean(seconds)} if seconds else {}),
        "blurry": _means([row["blurry"] for row in rows]),
        "rows": list(rows),
    }


def write_comparison(by_column: Mapping[str, dict], output_dir: str | os.PathLike) -> None:
    """Writes ``results.md``, with a column for each of several models.

    Args:
        by_column: results of ``evaluate`` on the same images, by the title of their column.
        output_dir: folder to write to.
    """
    write_atomically(Path(output_dir).expanduser() / "results.md", markdown(by_column))


def markdown(by_column: Mapping[str, dict]) -> str:
    """Returns the means in the paper's form, with the paper's numbers beside them where they are comparable.

    Args:
        by_column: results as ``summarise`` gives them, of the same images, by the title of their column.
    """
    first = next(iter(by_column.values()))
    paper = _paper_columns(first)
    columns = ["Measure", "blurry input", *by_column, *(f"{method} (paper)" for method in _METHODS if paper)]
    table = [columns, ["---"] * len(columns)]
    for measure, (title, form) in MEASURES.items():
        if measure in first["mean"]:
            means = [first["blurry"], *(results["mean"] for results in by_column.values())]
            ours = [format(mean[measure], form) if measure in mean else "-" for mean in means]
            table.append([title, *ours, *(paper.get(measure, ["-"] * len(_METHODS)) if paper else [])])
    blur_key = f", {first['blur_key']}" if first["blur_key"] else ""
    title = f"# {first['benchmark']}{blur_key}, {first['num_images']} images"
    lines = ["| " + " | ".join(cells) + " |" for cells in table]
    return "\n".join([title, "", *lines, "", *(f"- {note}" for note in notes(by_column)), ""])


def notes(by_column: Mapping[str, dict]) -> Iterator[str]:
    """Yields what a reader must know to compare the numbers of ``markdown`` with others."""
    yield from (f"{column}: {results['model'] or 'a model without a name'}." for column, results in by_column.items())
    yield "Means of the values of each image, computed on 8-bit pixels."
    results = next(iter(by_column.values()))
    yield from (note for measure, note in _VARIANTS.items() if measure in results["mean"])
    if "psnr" not in results["mean"]:
        yield "The test set has no sharp images, so there are no scores: see sheet.png."
    if results["num_images"] < results["num_available"]:
        yield f"Only {results['num_images']} of {results['num_available']} images: not comparable with whole sets."
    if results["benchmark"] == "gopro" and results["blur_key"] != "blur_gamma":
        yield "The paper evaluates on blur_gamma, so its numbers do not belong beside these."
    elif results["num_available"] != _NUM_IMAGES.get(results["benchmark"], results["num_available"]):
        expected = _NUM_IMAGES[results["benchmark"]]
        yield f"The paper's test set has {expected} images, so its numbers do not belong beside these."
    if results["benchmark"] in _ALIGNED:
        yield f"{_ALIGNED[results['benchmark']]}, which is not done here: compare models, not with published tables."
    if _paper_columns(results):
        yield _SOURCES[results["benchmark"]]


def _paper_columns(results):
    if results["benchmark"] == "gopro" and results["blur_key"] != "blur_gamma":
        return None
    if results["num_available"] != _NUM_IMAGES.get(results["benchmark"]):  # images of one's own in the same layout
        return None
    return _PAPER[results["benchmark"]]


def _means(rows):
    scores = [measure for measure in MEASURES if measure != "seconds"]
    measures = [measure for measure in scores if rows and all(measure in row for row in rows)]
    return {measure: _mean([row[measure] for row in rows]) for measure in measures}


def _mean(values):
    return math.fsum(values) / len(values)
