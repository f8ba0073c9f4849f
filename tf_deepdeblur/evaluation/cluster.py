"""Scoring test sets on the machines of a Ray cluster."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tf_deepdeblur.cluster import Cluster, Pool
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.evaluation.scoring import Evaluation, Scorer
from tf_deepdeblur.evaluation.testsets import Sample, TestSet
from tf_deepdeblur.inference.cluster import describe
from tf_deepdeblur.inference.deblurrer import Deblurrer
from tf_deepdeblur.io.images import image_size
from tf_deepdeblur.shards import ALL, WorkShard


def evaluate_on(
    cluster: Cluster,
    load: Callable[[str], Deblurrer],
    test_set: TestSet,
    output_dir: Path,
    *,
    identity: str,
    precision: str = "auto",
    limit: int | None = None,
    shard: WorkShard = ALL,
    timing: bool = True,
) -> tuple[dict | None, int | None, list[str]]:
    """Evaluates a model as ``evaluate`` does, over the actors of a cluster; the pixels and scores are the same.

    An image that cannot be scored does not end it, but then there are no results.

    Args:
        cluster: Cluster; its machines must see test set, model and ``output_dir`` under the same paths.
        load: makes a Deblurrer from the name of a precision, once in each actor.
        test_set: as for ``evaluate``.
        output_dir: as for ``evaluate``.
        identity: how the text that identifies the weights begins; the precision is added.
        precision: of ``Deblurrer.load``; "auto" is decided once, by one actor.
        limit: as for ``evaluate``.
        shard: as for ``evaluate``.
        timing: as for ``evaluate``.

    Returns:
        (results or None, K of the network or None, a line for each image that failed).

    Raises:
        InputError: as ``evaluate``, or if there is no such cluster, or its actors cannot load the model.
    """
    with Pool(cluster, output_dir) as pool:
        num_scales, found = pool.call(functools.partial(describe, load, precision))
        model = f"{identity}{found or 'as exported'})"
        evaluation = Evaluation(test_set, output_dir, model, limit, shard)
        by_kohler = test_set.name == "kohler"
        open_worker = functools.partial(_Scorers, load, found or "auto", evaluation.output_dir, by_kohler, timing)
        bar = functools.partial(tqdm, desc="evaluate", unit="pixel", unit_scale=True, dynamic_ncols=True)
        sizes = [_pixels(sample) for sample in evaluation.todo]
        failures = []
        for _, outcomes in pool.map(open_worker, evaluation.todo, sizes, bar):
            for outcome in outcomes:
                if isinstance(outcome, dict):
                    evaluation.add(outcome)
                else:
                    failures.append(outcome)
        failures += [f"{sample.blurry}: {reason}" for sample, reason in pool.lost]
        return None if failures else evaluation.finish(), num_scales, failures


def _pixels(sample):
    """The work that a sample makes; what is wrong with it is told when its turn comes."""
    try:
        return int(np.prod(image_size(sample.blurry)))
    except (InputError, OSError):
        return 0


class _Scorers:
    """A worker: the row of each sample, or a line that says why there is none."""

    def __init__(self, load, precision, output_dir: Path, by_kohler, timing):
        self._scorer = Scorer(load(precision), output_dir, by_kohler, timing)

    def __call__(self, batch: list[Sample], report: Callable[[float], None]) -> list[dict | str]:
        outcomes, done = [], 0
        for sample in batch:
            try:
                outcomes += self._scorer.rows([sample])
            except (InputError, OSError, MemoryError) as error:
                outcomes.append(str(error) or f"{sample.blurry}: does not fit into memory")
            done += _pixels(sample)
            report(done)
        return outcomes
