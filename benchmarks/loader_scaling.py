"""How the loader grows with cores: patches per second with one core, with threads on all of them, with processes.

    python benchmarks/loader_scaling.py [--patch_size 256] [--batch_size 2] [--seconds 5] [--sources store pairs]

From a packed store and from PNGs. Three amounts of work: "crops" is what the loader does for a training, bytes that are
cut, flipped and rotated; "batches" has the augmentation's arithmetic too, which the device that trains does in a
training; "unaugmented" is only cropped and converted. Prints a JSON line per measurement, then a table with the ceiling
that follows: how many GPUs the machine feeds, and how many cores a node of eight GPUs needs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_GPU_NEEDS = 150.0  # patches per second that a fast GPU trains on
_NODE = 8  # GPUs
_WORK = "crops", "batches", "unaugmented"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--patch_size", type=int, default=256)
    parser.add_argument("--batch_size", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each is measured")
    parser.add_argument("--sources", nargs="+", default=["store", "pairs"], choices=["store", "pairs"])
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _work(**json.loads(options.worker))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for row in measure(Path(folder), options.patch_size, options.batch_size, options.seconds, options.sources):
            print(json.dumps({"what": "loader_scaling", **row}), flush=True)
            rows.append(row)
    print("\n" + table(rows))


def measure(
    folder: Path, patch_size: int = 256, batch_size: int = 2, seconds: float = 5.0, sources: tuple = ("store", "pairs")
) -> Iterator[dict]:
    """Measures each source and each amount of work; every measurement has processes of its own.

    Args:
        folder: where the data set is made that is read: pairs of 1280x720.
        patch_size: side of the patches.
        batch_size: patches per batch.
        seconds: how long each is measured.
        sources: "store" and "pairs" (PNGs).

    Yields:
        A dict per measurement: source, work, way, cores, patches_per_second, cpu_ms_per_patch, and how many times the
        rate of one core it is.
    """
    _make_data(folder)
    cores = sorted(os.sched_getaffinity(0))
    ways = {"one core": [cores[:1]], "threads": [cores], "processes": [[core] for core in cores]}
    for source in sources:
        for work in _WORK:
            alone = None
            for way, shares in ways.items():
                results = _run(shares, folder, source, work, patch_size, batch_size, seconds)
                rates, costs = zip(*results, strict=True)
                alone = alone or sum(rates)
                yield {
                    "source": source,
                    "work": work,
                    "way": way,
                    "cores": sum(map(len, shares)),
                    "patches_per_second": round(sum(rates), 1),
                    "cpu_ms_per_patch": round(sum(costs) / len(costs), 3),
                    "times_one_core": round(sum(rates) / alone, 2),
                }


def table(rows: list[dict]) -> str:
    """The measurements as text, with the ceiling that follows from each."""
    head = f"{'source':<8}{'work':<13}{'way':<11}"
    lines = [f"{head}{'cores':>5}{'patches/s':>11}{'x one core':>12}{'GPUs fed':>10}"]
    for row in rows:
        rate = row["patches_per_second"]
        lines.append(
            f"{row['source']:<8}{row['work']:<13}{row['way']:<11}{row['cores']:>5}{rate:>11.0f}"
            f"{row['times_one_core']:>12.2f}{rate / _GPU_NEEDS:>10.1f}"
        )
        if row["way"] == "threads":
            needed = _NODE * _GPU_NEEDS * row["cores"] / rate
            lines.append(f"{'':<8}so {_NODE} GPUs with {_GPU_NEEDS:.0f} patches/s each need {needed:.1f} such cores")
    return "\n".join(lines)


def _make_data(folder):
    from photographs import make_pairs

    from tf_deepdeblur import runtime

    runtime.import_tensorflow_quietly()
    from tf_deepdeblur.data.datasets import open_dataset
    from tf_deepdeblur.data.packed import pack

    training, validation = open_dataset("pairs", make_pairs(folder / "pairs"))
    pack(training, validation, folder / "store")


def _run(shares, folder, source, work, patch_size, batch_size, seconds):
    """(patches per second, CPU milliseconds per patch) of a process for each share of the cores, all at one time."""
    workers = []
    for cores in shares:
        arguments = {"cores": cores, "source": source, "path": str(folder / source), "work": work}
        arguments |= {"patch_size": patch_size, "batch_size": batch_size, "seconds": seconds}
        command = [sys.executable, __file__, "--worker", json.dumps(arguments)]
        workers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for worker in workers:
        worker.stdout.readline()  # it is ready
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    return [json.loads(worker.communicate()[0]) for worker in workers]


def _work(cores, source, path, work, patch_size, batch_size, seconds):
    os.sched_setaffinity(0, cores)
    from tf_deepdeblur import runtime

    runtime.import_tensorflow_quietly()
    from tf_deepdeblur.data import pipeline
    from tf_deepdeblur.data.pairs import PairFolder, check_pairs, find_pairs

    if work == "unaugmented":
        _leave_out_augmentation(pipeline)
    if source == "store":
        opened = pipeline.PackedStore(path)
        for index in range(len(opened)):
            any(image.sum() for image in opened.read_pair(index))  # now it is in memory
    else:
        pairs = find_pairs("pairs", path, "train")
        opened = PairFolder(pairs, check_pairs(pairs), cache_bytes=0)  # as of a data set that does not fit into memory
    samples = pipeline.TrainingSamples(opened, patch_size, 0)
    make = samples.crops if work == "crops" else samples.batches
    batches = iter(make(0, 10**9, pipeline.Shard(batch_size)))
    for _ in range(10):
        next(batches)
    print("ready", flush=True)
    sys.stdin.readline()
    start, cost, count = time.monotonic(), time.process_time(), 0
    while time.monotonic() - start < seconds:
        next(batches)
        count += batch_size
    elapsed, cost = time.monotonic() - start, time.process_time() - cost
    print(json.dumps((count / elapsed, 1000 * cost / count)), flush=True)
    os._exit(0)  # the dataset's threads would be waited for


def _leave_out_augmentation(pipeline):
    import numpy as np
    import tensorflow as tf

    @tf.function(jit_compile=True, autograph=False)
    def convert(patches, adjustment):  # TensorFlow wants names that begin with a letter
        return tf.unstack(tf.cast(tf.transpose(patches, [0, 1, 3, 4, 2]), tf.float32) / 255.0 - 0.5, axis=1)

    pipeline.arrange = lambda pair, _, out: np.copyto(out, pair.transpose(0, 3, 1, 2))
    pipeline.adjust = convert


if __name__ == "__main__":
    main()
