"""From pairs to training batches.

The contract: sample number n of seed s is always the same pixels, whatever the number of threads, replicas or workers,
the batch size and the step that a run starts with. Its pair is the n-th of an endless sequence of shuffled epochs over
the data; its crop and augmentation are drawn from (s, n). Step t of a run takes the samples t*B ... t*B + B - 1, worker
by worker and replica by replica, so a run can start at any step, and any number of devices trains on the same samples.

With ``crops_per_image`` = k > 1, which is another sequence of samples, k crops are taken of every image of a pass, and
those of 8 images are shuffled among each other. A source that keeps what it decoded last decodes each image once for
its k crops.

A ``source`` has ``len(source)``, ``sizes`` (int array [len, 2] of height and width) and
``crop(index, top, left, side)`` that returns the same square of the blurry and the sharp image, uint8.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_deepdeblur.data.augment import augment
from tf_deepdeblur.data.counter_rng import EPOCHS, GROUPS, CounterRNG, permutation
from tf_deepdeblur.runtime import num_cores

_GROUP = 8  # images whose crops are shuffled among each other
_PREFETCH = 4  # batches that are ready: enough to bridge an evaluation's end, 3 MB each at the paper's size


class Shard(NamedTuple):
    """The part of each step's batch that one worker feeds: ``batch_size`` is the whole step's."""

    batch_size: int
    num_workers: int = 1
    worker: int = 0
    local_replicas: int = 1

    @property
    def replica_batch(self):
        """Samples per replica and step."""
        return self.batch_size // (self.num_workers * self.local_replicas)


def training_batches(source, patch_size, seed, steps, shard, crops_per_image=1):
    """Augmented patches, one batch per local replica and step; made by as many threads as there are cores.

    Args:
        source: where the pixels come from, see above.
        patch_size: side S of the crops.
        seed: the run's seed.
        steps: (first, last): the steps first ... last - 1 are made.
        shard: Shard, which samples of each step.
        crops_per_image: crops of an image per pass over the data.

    Returns:
        A tf.data.Dataset of (blurry, sharp), float32 [shard.replica_batch, S, S, 3] in [-0.5, 0.5].
    """
    shape = (shard.replica_batch, patch_size, patch_size, 3)

    def make(numbers):
        pair = np.empty((2, *shape), np.float32)
        for i, number in enumerate(numbers):
            training_sample(source, patch_size, seed, number, crops_per_image, out=[*pair[:, i]])
        return pair[0], pair[1]

    def batch(numbers):
        pair = tf.numpy_function(make, [numbers], [tf.float32, tf.float32])
        return tuple(tf.ensure_shape(images, shape) for images in pair)

    numbers = sample_numbers(steps, shard).batch(shard.replica_batch, drop_remainder=True)
    return numbers.map(batch, num_parallel_calls=num_cores(), deterministic=True).prefetch(_PREFETCH)


def sample_numbers(steps, shard):
    """A dataset of the sample numbers that one worker makes, in order."""
    per_worker = shard.batch_size // shard.num_workers
    offset = shard.worker * per_worker

    def number(local):
        return (local // per_worker) * shard.batch_size + offset + local % per_worker

    return tf.data.Dataset.range(steps[0] * per_worker, steps[1] * per_worker).map(number)


def training_sample(source, patch_size, seed, number, crops_per_image=1, out=None):
    """Sample ``number`` of ``seed``: a random crop of one pair, augmented.

    Args:
        source: where the pixels come from, see above.
        patch_size: side S of the crop.
        seed: the run's seed.
        number: the sample's number, from 0.
        crops_per_image: crops of an image per pass over the data.
        out: None, or two float32 arrays [S, S, 3] to write to.

    Returns:
        (blurry, sharp), float32 [S, S, 3] in [-0.5, 0.5].
    """
    rng = CounterRNG(seed, number)
    index = pair_index(int(number), len(source), seed, crops_per_image)
    room = source.sizes[index] - patch_size + 1
    top, left = (rng.uniforms(2) * room).astype(int).tolist()
    return augment(*source.crop(index, top, left, patch_size), rng, out)


def pair_index(number, num_pairs, seed, crops_per_image=1):
    """Which pair sample ``number`` is cut from: each pass over the data is a new permutation of all pairs."""
    position = number
    if crops_per_image > 1:
        group, offset = divmod(number, _GROUP * crops_per_image)
        shuffled = permutation(_GROUP * crops_per_image, seed, group, GROUPS)[offset]
        position = group * _GROUP + int(shuffled) // crops_per_image
    epoch, position = divmod(position, num_pairs)
    return int(permutation(num_pairs, seed, epoch, EPOCHS)[position])


def evenly_spaced(count, limit):
    """``limit`` of the indices 0 ... count - 1, spread evenly; all of them if there are no more."""
    return [i * count // min(limit, count) for i in range(min(limit, count))]
