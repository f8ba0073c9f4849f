"""Scores a deblurring function on a test set, image by image (sections 4.1 to 4.3, Tables 2 and 3).

The function is the one that users call, uint8 in and uint8 out, and the scores are those of the pixels that are
written. An evaluation writes to ``output_dir``:

- ``images/NAME.png``: the restored images;
- ``rows.jsonl``: see ``rows``; an interrupted evaluation continues from it;
- ``results.json``: see ``report.summarise``; JSON has no infinity, so the PSNR of identical images becomes null there;
- ``results.md``: the means as a table beside the paper's;
- ``sheet.png``: blurry | restored | sharp of the best, the median and the worst image by PSNR; if the test set has no
  sharp images, thumbnails of all, blurry | restored.

Several machines may score a shard each; ``merge`` then writes the last three, as one machine would have.

A row has "name", "seconds" (null for the first image of a size, whose call may include compiling, and without
``timing``), the scores of the restored image and, under "blurry", the same scores of the blurry one: "psnr",
"ssim_gaussian" and "ssim_matlab3d", or for kohler "psnr" and "mssim" with "psnr_reference" and "mssim_reference", the
positions of the best references.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_deepdeblur import metrics
from tf_deepdeblur.background import WriteBehind, read_ahead
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.evaluation import kohler, report, sheet
from tf_deepdeblur.evaluation.rows import Header, RowsFile, read_header, read_rows, restored_path
from tf_deepdeblur.evaluation.testsets import Sample, TestSet, open_references
from tf_deepdeblur.io.atomic import write_atomically
from tf_deepdeblur.io.images import read_image, side_by_side, write_image
from tf_deepdeblur.sampling import evenly_spaced
from tf_deepdeblur.shards import ALL, WorkShard


def evaluate(
    deblur: Callable[[np.ndarray], np.ndarray],
    test_set: TestSet,
    output_dir: str | os.PathLike,
    *,
    model: str = "",
    limit: int | None = None,
    shard: WorkShard = ALL,
    timing: bool = True,
    progress: Callable[[Sequence[Sample]], Iterable[Sample]] = iter,
) -> dict:
    """Restores and scores the images of a test set.

    Args:
        deblur: function uint8 [H, W, 3] -> uint8 [H, W, 3], such as a ``Deblurrer``.
        test_set: result of ``testsets.load``; the protocol of the Koehler data set is used if its name is "kohler".
        output_dir: folder for the results. Images that an earlier evaluation of the same model, or another machine,
            left there are not restored again.
        model: text that identifies the weights, such as path and digest; rows of another model are refused.
        limit: number of images, evenly spaced over the test set; all by default.
        shard: the part of these images to do; unless it is all of them, ``merge`` writes the results.
        timing: whether to measure the seconds; without them two evaluations write equal bytes.
        progress: wraps the list of samples that is iterated over, like ``tqdm.tqdm``.

    Returns:
        The content of ``results.json``, see ``report.summarise``; of a shard, the same of its images.

    Raises:
        InputError: naming the file or folder and the remedy, for unusable images, a ``limit`` below 1, duplicate names,
            a function that does not return an image of the same size, or an ``output_dir`` that holds the rows of
            another evaluation.
    """
    evaluation = Evaluation(test_set, output_dir, model, limit, shard)
    scorer = Scorer(deblur, evaluation.output_dir, test_set.name == "kohler", timing)
    rows = scorer.rows(evaluation.todo)
    for _, row in zip(progress(evaluation.todo), rows, strict=True):
        evaluation.add(row)
    return evaluation.finish()


def merge(test_set: TestSet, output_dir: str | os.PathLike, *, model: str = "", limit: int | None = None) -> dict:
    """Writes the results of an evaluation that was done in shards: the same as of one that was not.

    Args:
        test_set: as for ``evaluate``.
        output_dir: folder that all shards wrote to.
        model: how the text that identifies the weights begins.
        limit: as for ``evaluate``.

    Returns:
        The content of ``results.json``, see ``report.summarise``.

    Raises:
        InputError: if images are missing, or the rows are of another evaluation.
    """
    output_dir = Path(output_dir).expanduser()
    evaluated = read_header(output_dir)["model"]
    evaluation = Evaluation(test_set, output_dir, evaluated if evaluated.startswith(model) else model, limit)
    if evaluation.todo:
        raise InputError(
            f"{output_dir}: {len(evaluation.todo)} of {len(evaluation.samples)} images are not done, such as "
            f"{evaluation.todo[0].name}; start their shards again"
        )
    return evaluation.finish()


class Evaluation:
    """What is to be evaluated, and what of it is done; the arguments are those of ``evaluate``.

    Attributes:
        output_dir: folder for the results; it is made if need be.
        samples: all Samples of the evaluation, also those of other shards.
        todo: the Samples of this shard that nobody has scored yet.
    """

    def __init__(
        self, test_set: TestSet, output_dir: str | os.PathLike, model: str, limit: int | None, shard: WorkShard = ALL
    ):
        if limit is not None and limit < 1:
            raise InputError(f"`limit` must be at least 1, got {limit}")
        if not test_set.samples:
            raise InputError(f"{test_set.name}: there are no images to evaluate")
        self.samples: list[Sample] = evenly_spaced(test_set.samples, limit or len(test_set.samples))
        self._by_name = {}
        for sample in self.samples:
            if sample.name in self._by_name:
                raise InputError(f"{sample.blurry}: another image is also called {sample.name}; rename one of them")
            self._by_name[sample.name] = sample
        self._num_available = len(test_set.samples)
        self._shard = shard
        self._own = shard.of(self.samples)
        self.output_dir = Path(output_dir).expanduser()
        self.output_dir.mkdir(parents=True, exist_ok=True)
        self._header: Header = {"benchmark": test_set.name, "blur_key": test_set.blur_key, "model": model}
        self._rows = read_rows(self.output_dir, self._header)
        self.todo: list[Sample] = [sample for sample in self._own if sample.name not in self._rows]
        self._file = RowsFile(self.output_dir, self._header, self._in_order(), shard)

    def add(self, row: dict) -> None:
        """Notes the row of an image that is done."""
        self._rows[row["name"]] = row
        self._file.append(row)

    def finish(self) -> dict:
        """The summary of all rows, which is also written; of a shard, the summary of its rows alone."""
        rows = [self._rows[sample.name] for sample in self._own]
        results = report.summarise(rows, self._header, self._num_available)
        if self._shard.count > 1:
            return results
        # In the order of the samples, whoever scored them.
        self._file = RowsFile(self.output_dir, self._header, self._in_order(), self._shard)
        self._file.remove_others()
        content = json.dumps(_without_infinity(results), indent=1, allow_nan=False) + "\n"
        write_atomically(self.output_dir / "results.json", content)
        report.write_comparison({"restored": results}, self.output_dir)
        write_image(self.output_dir / "sheet.png", _sheet(results, self._by_name, self.output_dir))
        return results

    def _in_order(self):
        """The rows that belong into this machine's file: those of its samples; of all of them, any others too."""
        own = [self._rows[sample.name] for sample in self._own if sample.name in self._rows]
        others = [row for name, row in self._rows.items() if name not in self._by_name]
        return own if self._shard.count > 1 else own + others


class Scorer:
    """Restores images, writes them and scores them; the next one is read and the last one written meanwhile.

    Args:
        deblur: as for ``evaluate``.
        output_dir: folder for the results.
        by_kohler: whether the protocol of the Koehler data set is used.
        timing: whether to measure the seconds.
    """

    def __init__(self, deblur: Callable[[np.ndarray], np.ndarray], output_dir: Path, by_kohler: bool, timing: bool):
        self._deblur = deblur
        self._output_dir = output_dir
        self._score = _kohler_scores if by_kohler else _scores
        self._timing = timing
        self._warm_sizes = set()

    def rows(self, samples: Iterable[Sample]) -> Iterator[dict]:
        """Yields the row of each sample.

        Raises:
            InputError: naming the image, if it cannot be read, restored or scored.
        """
        samples = list(samples)
        with read_ahead(map(_read, samples), ahead=1) as images, WriteBehind(limit=1) as writing:
            for sample, (blurry, references) in zip(samples, images, strict=True):
                restored, seconds = self._restore(blurry)
                if restored.dtype != np.uint8 or restored.shape != blurry.shape:
                    raise InputError(
                        f"{sample.blurry}: the model returned {restored.dtype} {restored.shape} for uint8 "
                        f"{blurry.shape}; use a deblurring model"
                    )
                path = restored_path(self._output_dir, sample.name)
                path.parent.mkdir(parents=True, exist_ok=True)
                writing.call(write_image, path, restored)
                row = {"name": sample.name, "seconds": seconds, "blurry": {}}
                if references:
                    try:
                        row |= self._score(restored, references) | {"blurry": self._score(blurry, references)}
                    except ValueError as error:
                        raise InputError(f"{sample.blurry}: cannot be scored ({error}); leave it out") from error
                yield row

    def _restore(self, blurry):
        """The restored image, and the seconds it took, or None for the first image of its size and without timing."""
        if not self._timing:
            return np.asarray(self._deblur(blurry)), None
        if not self._warm_sizes:  # restored once untimed, so that a test set of one image has a time too
            self._deblur(blurry)
            self._warm_sizes.add(blurry.shape)
        start = time.perf_counter()
        restored = np.asarray(self._deblur(blurry))
        seconds = time.perf_counter() - start if blurry.shape in self._warm_sizes else None
        self._warm_sizes.add(blurry.shape)
        return restored, seconds


def _read(sample):
    """The blurry image and its references; a single one is decoded, of the many of Koehler's they are read later."""
    blurry = read_image(sample.blurry)
    references = open_references(sample) if sample.references else ()
    return blurry, [references[0]] if len(references) == 1 else references


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
        return read_image(samples[row["name"]].blurry), read_image(restored_path(output_dir, row["name"]))

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
