"""What the input pipeline delivers without a network that waits for it."""

import time

from tf_deepdeblur.data.pipeline import Shard, TrainingSamples


def measure(source, patch_size, batch_size, crops_per_image):
    """Measures the first pass over a source, which may have to decode, and the second.

    Args:
        source: see ``sources.open_source``.
        patch_size: side of the patches in pixels.
        batch_size: patches per batch.
        crops_per_image: see ``pipeline.TrainingSamples``.

    Yields:
        A dict per pass: patches per second, and the processor's milliseconds per patch.
    """
    batches = iter(TrainingSamples(source, patch_size, 0, crops_per_image).batches(0, 10**9, Shard(batch_size)))
    for name in ("first pass, decoding", "later, from memory where it fits"):
        count = max(20, 2 * len(source) // batch_size)
        start, used = time.perf_counter(), time.process_time()
        for _ in range(count):
            next(batches)
        patches, seconds, cost = count * batch_size, time.perf_counter() - start, time.process_time() - used
        yield {
            "name": name,
            "patches_per_second": round(patches / seconds, 1),
            "cpu_ms_per_patch": round(1000 * cost / patches, 2),
            "patch_size": patch_size,
        }
