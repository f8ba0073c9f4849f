"""From pairs to training batches.

Sampling is stateless: sample n of seed s is always the same pixels, whatever the number of threads, replicas or
workers, the batch size and the step that a run starts with. Its pair is the n-th of an endless sequence of shuffled
epochs over the data; its crop and augmentation are drawn from (s, n). Step t of a run takes the samples
t*B ... t*B + B - 1, worker by worker and replica by replica, so a run can start at any step, and any number of devices
trains on the same samples.

With ``crops_per_image`` = k > 1, which is another sequence of samples, k crops are taken of every image per epoch, and
those of 8 images are shuffled among each other. A source that keeps what it decoded last decodes each image once for
its k crops.

A ``source`` (``PairFolder`` or ``PackedStore``) has ``len(source)``, ``sizes`` (int array [len, 2] of height and width)
and ``crop(index, top, left, side)`` that returns the same square of the blurry and the sharp image, uint8.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_deepdeblur.data.augment import augment
from tf_deepdeblur.data.counter_rng import EPOCHS, GROUPS, CounterRNG, permutation
from tf_deepdeblur.data.packed import PackedStore
from tf_deepdeblur.data.pairs import PairFolder
from tf_deepdeblur.data.python_exit import until_python_exits
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.runtime import num_cores

_GROUP = 8  # images whose crops are shuffled among each other
_ALIGNMENT = 64  # bytes, of TensorFlow's buffers
_PREFETCH = 4  # batches that are ready: enough to bridge an evaluation's end, 3 MB each at the paper's size


class Shard(NamedTuple):
    """The part of each step's batch that one worker feeds: ``batch_size`` is the whole step's."""

    batch_size: int
    num_workers: int = 1
    worker: int = 0
    local_replicas: int = 1


class TrainingSamples:
    """The endless sequence of augmented patches that a seed stands for.

    Args:
        source: where the pixels come from, see the module's docstring.
        patch_size: side S of the crops in pixels.
        seed: seed of order, crops and augmentation.
        crops_per_image: crops of an image per epoch.

    Attributes:
        error: None, or the InputError of the first image that could not be read. A ``tf.data.Dataset`` ends with an
            error of TensorFlow's instead, so a training asks here what happened.
    """

    def __init__(self, source: PairFolder | PackedStore, patch_size: int, seed: int, crops_per_image: int = 1):
        self._source = source
        self._patch_size = patch_size
        self._seed = seed
        self._crops_per_image = crops_per_image
        self.error: InputError | None = None

    def sample(self, number: int, out: tuple[np.ndarray, np.ndarray] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Sample ``number``, from 0: a random crop of one pair, augmented.

        Args:
            number: the sample's number.
            out: None, or two float32 arrays [S, S, 3] to write to.

        Returns:
            (blurry, sharp), float32 [S, S, 3] in [-0.5, 0.5].

        Raises:
            InputError: naming the file, if an image cannot be read.
        """
        rng = CounterRNG(self._seed, number)
        index = pair_index(number, len(self._source), self._seed, self._crops_per_image)
        room = self._source.sizes[index] - self._patch_size + 1
        top, left = (rng.uniforms(2) * room).astype(int).tolist()
        return augment(*self._source.crop(index, top, left, self._patch_size), rng, out)

    def batches(self, first_step: int, last_step: int, shard: Shard) -> tf.data.Dataset:
        """One batch per local replica and step, made by as many threads as there are cores.

        Args:
            first_step: number of the first step.
            last_step: one more than the number of the last step.
            shard: which samples of each step.

        Returns:
            A dataset of (blurry, sharp), float32 [N, S, S, 3] in [-0.5, 0.5], N samples for each replica.
        """
        replica_batch = shard.batch_size // (shard.num_workers * shard.local_replicas)
        shape = (replica_batch, self._patch_size, self._patch_size, 3)

        def make(index):
            step, replica = divmod(int(index), shard.local_replicas)
            first = step * shard.batch_size + (shard.worker * shard.local_replicas + replica) * replica_batch
            blurry, sharp = _aligned(shape), _aligned(shape)
            try:
                for position in range(replica_batch):
                    self.sample(first + position, out=(blurry[position], sharp[position]))
            except InputError as error:
                self.error = self.error or error
                raise
            return blurry, sharp

        def batch(index):
            pair = tf.numpy_function(until_python_exits(make), [index], [tf.float32, tf.float32])
            return tuple(tf.ensure_shape(images, shape) for images in pair)

        indices = tf.data.Dataset.range(first_step * shard.local_replicas, last_step * shard.local_replicas)
        return indices.map(batch, num_parallel_calls=num_cores(), deterministic=True).prefetch(_PREFETCH)


def _aligned(shape):
    """An empty float32 array that TensorFlow takes over as it is; others it copies while all Python threads wait."""
    size = 4 * int(np.prod(shape))
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(np.float32).reshape(shape)


def pair_index(number: int, num_pairs: int, seed: int, crops_per_image: int = 1) -> int:
    """Which pair sample ``number`` is cut from: each epoch is a new permutation of all pairs."""
    position = number
    if crops_per_image > 1:
        group, offset = divmod(number, _GROUP * crops_per_image)
        shuffled = permutation(_GROUP * crops_per_image, seed, group, GROUPS)[offset]
        position = group * _GROUP + int(shuffled) // crops_per_image
    epoch, position = divmod(position, num_pairs)
    return int(permutation(num_pairs, seed, epoch, EPOCHS)[position])
