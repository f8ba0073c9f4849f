"""Measures one part of the system on this machine; prints one JSON line per measurement.

    python tools/benchmark.py --what train --filters 16 --num_res_blocks 4 --batch_size 2
    python tools/benchmark.py --what pipeline --dataset reds --data_dir ~/REDS

train: seconds per step of the generator's forward and backward pass alone, of the train step without and with the
discriminator, alternating in one run, and the peak memory. pipeline: patches per second of the input pipeline alone.
"""

import json
import platform
import resource
import statistics
import time
from dataclasses import replace

from absl import flags as absl_flags

from tf_deepdeblur import flags
from tf_deepdeblur.config import TrainConfig

_WHAT = absl_flags.DEFINE_enum("what", "train", ["train", "pipeline"], "What to measure.")
_REPEATS = absl_flags.DEFINE_integer("repeats", 10, "Timed repetitions; the median counts.", lower_bound=1)


def main(argv):
    flags.reject_arguments(argv)
    config = flags.build(TrainConfig)
    for row in {"train": measure_train, "pipeline": measure_pipeline}[_WHAT.value](config):
        print(json.dumps({"what": _WHAT.value, "machine": platform.processor() or platform.machine(), **row}))
    return 0


def measure_train(config):
    import tensorflow as tf

    from tf_deepdeblur.training.loop import build_model

    side = config.data.patch_size
    batch = tuple(tf.random.stateless_uniform([2, config.optimizer.batch_size, side, side, 3], [0, 1]) - 0.5)
    model = build_model(config)
    content_only = build_model(replace(config, loss=replace(config.loss, adversarial_weight=0.0)))
    steps = {"forward and backward": tf.function(lambda: forward_and_backward(content_only.generator, *batch))}
    steps["train step, content loss"] = tf.function(lambda: content_only.train_step(batch))
    if model.discriminator is not None:
        steps["train step, both losses"] = tf.function(lambda: model.train_step(batch))
    seconds = alternate(steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    base = seconds["forward and backward"]
    for name, value in seconds.items():
        yield {"name": name, "seconds_per_step": round(value, 4), "ratio": round(value / base, 3),
               "patch_size": side, "batch_size": config.optimizer.batch_size,
               "dtype": model.generator.dtype_policy.name, "peak_gib_so_far": round(peak, 2)}  # fmt: skip


def forward_and_backward(generator, blurry, sharp):
    """The least that a step must do: the content loss and its gradients, no optimiser."""
    import tensorflow as tf

    from tf_deepdeblur.losses import content_loss
    from tf_deepdeblur.pyramid import gaussian_pyramid

    scales = generator.num_scales
    with tf.GradientTape() as tape:
        loss = content_loss(generator(gaussian_pyramid(blurry, scales)), gaussian_pyramid(sharp, scales))
    return tape.gradient(loss, generator.trainable_variables)


def alternate(steps):
    """Median seconds of each function; one call of each in turn, so that all meet the same machine."""
    times = {name: [] for name in steps}
    for step in 2 * [*steps.values()]:
        step()
    for _ in range(_REPEATS.value):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def measure_pipeline(config):
    from tf_deepdeblur.data.pipeline import Shard, training_batches
    from tf_deepdeblur.training.loop import open_data

    data, shard, source = config.data, Shard(config.optimizer.batch_size), open_data(config).training
    batches = iter(training_batches(source, data.patch_size, 0, (0, 10**9), shard, data.crops_per_image))
    for name in ("first pass, decoding", "later, from memory where it fits"):
        count = max(20, 2 * len(source) // shard.batch_size)
        start, used = time.perf_counter(), time.process_time()
        for _ in range(count):
            next(batches)
        patches, seconds, cost = count * shard.batch_size, time.perf_counter() - start, time.process_time() - used
        row = {"patches_per_second": round(patches / seconds, 1), "cpu_ms_per_patch": round(1000 * cost / patches, 2)}
        yield {"name": name, **row, "dataset": data.dataset, "patch_size": data.patch_size}


if __name__ == "__main__":
    flags.define(TrainConfig)
    flags.run(main)
