"""How many training samples per second: the way of the authors' PyTorch code against this package's.

    python benchmarks/pipeline_vs_peer.py [--dataset reds --data_dir REDS] [--cores 2] [--seconds 10]

The peer is written as DeepDeblur-PyTorch's data set is: both PNGs decoded by imageio, a NumPy crop, flips, rotation,
channel order, saturation through scikit-image's HSV, noise, and scikit-image's Gaussian pyramid of three scales; whole
batches in one worker process per core, handed over in shared memory, as torch's DataLoader does it. Ours makes the same
samples; its pyramid is part of the training step, so there is a row with the pyramid made here, too. Prints a JSON line
per loader, then a table. Needs imageio (pip install imageio); without --data_dir it makes 720p images of its own.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import tempfile
import time
from multiprocessing import shared_memory
from pathlib import Path

import numpy as np

_PATCH, _BATCH, _SCALES = 256, 2, 3
_KEPT_PAIRS = 12  # decoded pairs in memory for several crops per image; the data set should have more
_SLOTS = 2  # batches that each worker process may have ready, DataLoader's prefetch_factor
_GPU_NEEDS = 150.0  # patches per second that a fast GPU trains on


def main():
    options = _parse()
    if options.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        rows = list(_measure_all(options, Path(folder), cores))
    peer = rows[0]["samples_per_second"]
    print(f"\n{'loader':<42}{'samples/s':>10}{'per core':>10}{'CPU ms':>8}{'x peer':>8}{'cores for a GPU':>17}")
    for row in rows:
        rate, cost = row["samples_per_second"], row["cpu_ms_per_sample"]
        print(
            f"{row['loader']:<42}{rate:>10.1f}{1000 / cost:>10.1f}{cost:>8.1f}{rate / peer:>8.1f}"
            f"{_GPU_NEEDS * cost / 1000:>17.1f}"
        )
    print(f"on {cores} cores; 'per core' is 1000 / CPU ms; a GPU is taken to eat {_GPU_NEEDS:.0f} patches/s")


def _parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", default="pairs", choices=["gopro", "reds", "pairs"])
    parser.add_argument("--data_dir", help="folder of the data set; made of photographs if it is not given")
    parser.add_argument("--cores", type=int, default=0, help="use only so many cores; 0 for all")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each loader is measured")
    return parser.parse_args()


def _measure_all(options, folder, cores):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from photographs import make_pairs

    from tf_deepdeblur.data.packed import PackedStore, pack
    from tf_deepdeblur.data.pairs import PairFolder, check_pairs, find_pairs

    pairs = find_pairs(options.dataset, options.data_dir or make_pairs(folder / "frames"), "train")
    files = PairFolder(pairs, check_pairs(pairs, _PATCH), cache_bytes=0)
    kept = PairFolder(pairs, files.sizes, cache_bytes=int(_KEPT_PAIRS * 6 * files.sizes.prod(axis=1).max()))
    pack(files, None, folder / "store")
    store = PackedStore(folder / "store")
    assert all(frame.any() for index in range(len(store)) for frame in store.read_pair(index))  # now it is in memory
    yield _report("the authors' way", cores, _peer(pairs, cores, options.seconds))
    yield _report("ours, PNG", cores, _ours(files, options.seconds))
    yield _report("ours, PNG, 4 crops per image", cores, _ours(kept, options.seconds, crops_per_image=4))
    yield _report("ours, packed store", cores, _ours(store, options.seconds))
    yield _report("ours, PNG, pyramid made here", cores, _ours(files, options.seconds, pyramid=True))
    yield _report("ours, packed store, pyramid made here", cores, _ours(store, options.seconds, pyramid=True))


def _report(loader, cores, measured):
    rate, cost = measured
    row = {"what": "pipeline", "loader": loader, "cores": cores, "patch_size": _PATCH, "batch_size": _BATCH}
    row |= {"samples_per_second": round(rate, 2), "cpu_ms_per_sample": round(1000 * cost, 3)}
    print(json.dumps(row), flush=True)
    return row


def _ours(source, seconds, crops_per_image=1, pyramid=False):
    """(samples per second, seconds of processor time per sample)."""
    from tf_deepdeblur.data.pipeline import Shard, TrainingSamples
    from tf_deepdeblur.pyramid import gaussian_pyramid

    batches = iter(TrainingSamples(source, _PATCH, 0, crops_per_image).batches(0, 10**9, Shard(_BATCH)))
    levels = _SCALES if pyramid else 1
    for _ in range(10):
        [gaussian_pyramid(images, levels) for images in next(batches)]
    start, before, count = time.monotonic(), _processor_time(), 0
    while time.monotonic() - start < seconds:
        [gaussian_pyramid(images, levels) for images in next(batches)]
        count += _BATCH
    return count / (time.monotonic() - start), (_processor_time() - before) / count


def _processor_time():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _peer(pairs, workers, seconds):
    """(samples per second, seconds of processor time per sample) of the authors' way."""
    context = multiprocessing.get_context("spawn")
    names = [(str(pair.blurry), str(pair.sharp)) for pair in pairs]
    memories = [shared_memory.SharedMemory(create=True, size=_SLOTS * _batch_bytes()) for _ in range(workers)]
    free = [context.Semaphore(_SLOTS) for _ in range(workers)]
    results = context.Queue()
    processes = [
        context.Process(target=_work, args=(names, seed, memory.name, room, results), daemon=True)
        for seed, (memory, room) in enumerate(zip(memories, free, strict=True))
    ]
    for process in processes:
        process.start()
    try:
        for _ in range(_SLOTS * workers):  # the first ones include the start of the processes
            free[results.get()[0]].release()
        start, cost, count = time.monotonic(), 0.0, 0
        while time.monotonic() - start < seconds:
            worker, processor_time = results.get()
            free[worker].release()
            cost, count = cost + processor_time, count + _BATCH
        return count / (time.monotonic() - start), cost / count
    finally:
        for process in processes:
            process.terminate()
            process.join()
        for memory in memories:
            memory.close()
            memory.unlink()


def _work(names, seed, memory_name, room, results):
    """One worker process: makes batches for ever."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the authors' code draws from the global state)
    memory = shared_memory.SharedMemory(memory_name)
    shared = np.ndarray((_SLOTS, _batch_bytes() // 4), np.float32, buffer=memory.buf)
    slot = 0
    while True:
        room.acquire()
        start = time.process_time()
        samples = [peer_sample(*random.choice(names)) for _ in range(_BATCH)]
        np.concatenate([level.ravel() for sample in samples for level in sample], out=shared[slot])
        slot = (slot + 1) % _SLOTS
        results.put((seed, time.process_time() - start))


def _batch_bytes():
    return _BATCH * 2 * 4 * sum((_PATCH >> k) ** 2 * 3 for k in range(_SCALES))


def peer_sample(blurry, sharp):
    """A sample as the authors' data set makes it: the pyramid of both patches, channels first."""
    import imageio.v2 as imageio

    images = [imageio.imread(path, pilmode="RGB") for path in (blurry, sharp)]
    height, width, _ = images[0].shape
    top, left = random.randrange(height - _PATCH + 1), random.randrange(width - _PATCH + 1)
    images = [image[top : top + _PATCH, left : left + _PATCH] for image in images]
    images = _peer_augment(images)
    sigma = np.random.normal() * 2  # noqa: NPY002
    noise = np.random.randn(*images[0].shape).astype(np.float32) * sigma  # noqa: NPY002
    images[0] = (images[0] + noise).clip(0, 255)
    return [level for image in images for level in _peer_pyramid(image)]


def _peer_augment(images):
    from skimage.color import hsv2rgb, rgb2hsv

    coins = [random.choice((False, True)) for _ in range(3)]
    order = random.sample(range(3), 3)
    factor = np.random.uniform(0.5, 1.5)  # noqa: NPY002
    results = []
    for image in images:
        image = image[:, ::-1] if coins[0] else image
        image = image[::-1] if coins[1] else image
        image = image.transpose(1, 0, 2) if coins[2] else image
        hsv = rgb2hsv(image[..., order])
        hsv[..., 1] *= factor
        results.append((hsv2rgb(hsv).clip(0, 1) * 255).astype(np.float32))
    return results


def _peer_pyramid(image):
    from skimage.transform import pyramid_gaussian

    levels = pyramid_gaussian(image.astype(np.float32), _SCALES - 1, channel_axis=-1)
    return [np.ascontiguousarray(level.transpose(2, 0, 1)) for level in levels]


if __name__ == "__main__":
    main()
