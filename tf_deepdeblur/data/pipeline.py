"""From pairs to training batches.

Samples are counted: sample number n of seed s is always the same pixels. Its pair is the n-th of an endless sequence
of shuffled passes over the data, its crop and augmentation are drawn from (s, n). Step t of a run takes the samples
t*B ... t*B + B - 1, worker by worker and replica by replica, so a run can start at any step, and any number of devices
trains on the same samples.

A ``source`` has ``len(source)``, ``sizes`` (int array [len, 2] of height and width) and
``crop(index, top, left, side)`` that returns the same square of the blurry and the sharp image, uint8.
"""

from typing import NamedTuple

import tensorflow as tf

from tf_deepdeblur.data.augment import augment, uniforms


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


def training_batches(source, patch_size, seed, steps, shard):
    """Augmented patches, one batch per local replica and step.

    Args:
        source: where the pixels come from, see above.
        patch_size: side S of the crops.
        seed: the run's seed.
        steps: (first, last): the steps first ... last - 1 are made.
        shard: Shard, which samples of each step.

    Returns:
        A tf.data.Dataset of (blurry, sharp), float32 [shard.replica_batch, S, S, 3] in [-0.5, 0.5].
    """

    def sample(number):
        return training_sample(source, patch_size, seed, number)

    dataset = sample_numbers(steps, shard).map(sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.batch(shard.replica_batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def sample_numbers(steps, shard):
    """A dataset of the sample numbers that one worker makes, in order."""
    per_worker = shard.batch_size // shard.num_workers
    offset = shard.worker * per_worker

    def number(local):
        return (local // per_worker) * shard.batch_size + offset + local % per_worker

    return tf.data.Dataset.range(steps[0] * per_worker, steps[1] * per_worker).map(number)


def training_sample(source, patch_size, seed, number):
    """Sample ``number`` of ``seed``: a random crop of one pair, augmented; float32 [S, S, 3] twice."""
    index = pair_index(number, len(source), seed)
    key = tf.stack([tf.cast(seed, tf.int64), number])
    size = tf.gather(tf.constant(source.sizes, tf.int64), index)
    room = tf.cast(size - patch_size + 1, tf.float32)
    corner = tf.cast(uniforms(tf.random.fold_in(key, 0), 2) * room, tf.int64)
    corner = tf.minimum(corner, size - patch_size)
    blurry, sharp = tf.numpy_function(
        lambda i, top, left: source.crop(int(i), int(top), int(left), patch_size),
        [index, corner[0], corner[1]],
        [tf.uint8, tf.uint8],
    )
    blurry.set_shape([patch_size, patch_size, 3])
    sharp.set_shape([patch_size, patch_size, 3])
    return augment(blurry, sharp, key)


def pair_index(number, num_pairs, seed):
    """Which pair sample ``number`` is cut from: each pass over the data is a new permutation of all pairs."""
    epoch, position = number // num_pairs, number % num_pairs
    key = tf.stack([tf.cast(seed, tf.int64), epoch])
    return tf.random.experimental.index_shuffle(position, key, tf.constant(num_pairs - 1, tf.int64))


def evenly_spaced(count, limit):
    """``limit`` of the indices 0 ... count - 1, spread evenly; all of them if there are no more."""
    return [i * count // min(limit, count) for i in range(min(limit, count))]
