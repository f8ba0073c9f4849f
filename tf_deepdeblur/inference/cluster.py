"""Restoring files on the machines of a Ray cluster."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
from tqdm import tqdm

from tf_deepdeblur.cluster import Cluster, Pool
from tf_deepdeblur.inference.deblurrer import Deblurrer
from tf_deepdeblur.inference.files import Job
from tf_deepdeblur.inference.restore import BAR, Output, megapixels, restore_files
from tf_deepdeblur.runtime import POLICIES


def restore_files_on(
    cluster: Cluster,
    load: Callable[[str], Deblurrer],
    jobs: Sequence[Job],
    output: Output,
    precision: str = "auto",
) -> list[str]:
    """Restores files as ``restore_files`` does, over the actors of a cluster; the bytes are the same.

    Args:
        cluster: Cluster; its machines must see the sources, the model and ``output_dir`` under the same paths.
        load: makes a Deblurrer from the name of a precision, once in each actor, such as
            ``functools.partial(Deblurrer.load, "generator.keras", "auto")``.
        jobs: of ``plan_jobs``.
        output: how files are written.
        precision: of ``Deblurrer.load``; trials and the int8 export run once, on one actor.

    Returns:
        One line for every file that failed, beginning with its name.

    Raises:
        InputError: if there is no such cluster, or its actors cannot load the model.
        KeyboardInterrupt: saying how much was done; what was restored is there, and nothing half.
    """
    if not jobs:
        return []
    failures, num_done = [], 0
    top = jobs[0].target.parents[len(jobs[0].name.parts) - 1]
    bar = functools.partial(tqdm, dynamic_ncols=True, bar_format=BAR, desc="ray")
    with Pool(cluster, top) as pool:
        if precision not in POLICIES:
            precision = pool.call(functools.partial(describe, load, precision))[1] or "auto"
        open_worker = functools.partial(_Restorer, load, precision, output)
        try:
            for batch, lines in pool.map(open_worker, jobs, list(map(megapixels, jobs)), bar):
                failures += lines
                num_done += len(batch) - len(lines)
        except KeyboardInterrupt as error:
            done = f"interrupted: {num_done} of {len(jobs)} files are restored"
            raise KeyboardInterrupt(f"{done}; go on from there with `skip_existing`") from error
        return failures + [f"{job.source}: {reason}" for job, reason in pool.lost]


def describe(load: Callable[[str], Deblurrer], precision: str) -> tuple[int | None, str | None]:
    """(K, precision) of the Deblurrer that this machine loads; None if the model is an exported one."""
    deblur = load(precision)
    return deblur.num_scales, deblur.precision


class _Restorer:
    """A worker: restores batches of files with one network."""

    def __init__(self, load, precision, output):
        self._deblur = load(precision)
        self._output = output

    def __call__(self, batch: list[Job], report: Callable[[float], None]) -> list[str]:
        done = 0.0

        def deblur(image: np.ndarray, progress: Callable[[float], object]) -> np.ndarray:
            nonlocal done
            size = image.shape[0] * image.shape[1] / 1e6

            def advance(share):
                progress(share)
                report(done + share * size)

            restored = self._deblur(image, advance)
            done += size
            report(done)
            return restored

        return restore_files(deblur, batch, self._output)
