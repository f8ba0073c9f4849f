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
and ``crop(index, top, left, side)`` that returns the same square of the blurry and the sharp image, uint8 [2, side,
side, 3].
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_deepdeblur.data.augment import Adjustment, adjust, arrange, draw
from tf_deepdeblur.data.counter_rng import EPOCHS, GROUPS, CounterRNG, permutation
from tf_deepdeblur.data.packed import PackedStore
from tf_deepdeblur.data.pairs import PairFolder
from tf_deepdeblur.data.python_exit import until_python_exits
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.runtime import num_cores

_GROUP = 8  # images whose crops are shuffled among each other
_ALIGNMENT = 64  # bytes, of TensorFlow's buffers
_PREFETCH = 4  # batches that are ready: enough to bridge an evaluation's end, 3 MB each at the paper's size
_CALL = 16  # samples that one call of Python makes: TensorFlow takes 0.2 ms for each call, with Python's lock


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

    def sample(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Sample ``number``, from 0: a random crop of one pair, augmented.

        Returns:
            (blurry, sharp), float32 [S, S, 3] in [-0.5, 0.5].

        Raises:
            InputError: naming the file, if an image cannot be read.
        """
        with tf.device("CPU"):
            patches, adjustment, (failure,) = self._cut([[number]])
            if failure:
                raise failure
            blurry, sharp = adjust(patches[0], Adjustment(*(field[0] for field in adjustment)))
        return blurry[0].numpy(), sharp[0].numpy()

    def batches(self, first_step: int, last_step: int, shard: Shard) -> tf.data.Dataset:
        """One batch per local replica and step, ready to train on.

        Args:
            first_step: number of the first step.
            last_step: one more than the number of the last step.
            shard: which samples of each step.

        Returns:
            A dataset of (blurry, sharp), float32 [N, S, S, 3] in [-0.5, 0.5], N samples for each replica.
        """
        crops = self.crops(first_step, last_step, shard)
        return crops.map(adjust, num_parallel_calls=num_cores(), deterministic=True).prefetch(_PREFETCH)

    def crops(self, first_step: int, last_step: int, shard: Shard) -> tf.data.Dataset:
        """The same for ``adjust``, which the device that trains can do: bytes, a quarter of what floats take.

        Made by as many threads as there are cores. Python's part is little and the same for any number of threads:
        draw numbers, and let NumPy move bytes.

        Args:
            first_step: as for ``batches``.
            last_step: as for ``batches``.
            shard: as for ``batches``.

        Returns:
            A dataset of (patches, adjustment), see ``adjust``.
        """
        replica_batch = shard.batch_size // (shard.num_workers * shard.local_replicas)
        batches_per_call = max(1, _CALL // replica_batch)
        first_index, end = first_step * shard.local_replicas, last_step * shard.local_replicas

        def first_sample(index):
            step, replica = divmod(index, shard.local_replicas)
            return step * shard.batch_size + (shard.worker * shard.local_replicas + replica) * replica_batch

        def cut(index):
            firsts = map(first_sample, range(int(index), min(int(index) + batches_per_call, end)))
            patches, adjustment, failures = self._cut([range(first, first + replica_batch) for first in firsts])
            self.error = self.error or next(filter(None, failures), None)
            return patches, *adjustment, np.array([str(failure or "") for failure in failures], object)

        @tf.autograph.experimental.do_not_convert
        def make(index):
            types = tf.uint8, tf.int32, tf.float32, tf.float32, tf.int32, tf.string
            patches, *adjustment, failures = tf.numpy_function(until_python_exits(cut), [index], types)
            patches = tf.ensure_shape(patches, (None, replica_batch, 2, 3, self._patch_size, self._patch_size))
            shapes = Adjustment(
                (None, replica_batch, 3), (None, replica_batch), (None, replica_batch), (None, replica_batch, 2)
            )
            adjustment = Adjustment(*map(tf.ensure_shape, adjustment, shapes))
            return patches, adjustment, tf.ensure_shape(failures, (None,))

        @tf.autograph.experimental.do_not_convert
        def first(*batches):
            return tf.nest.map_structure(lambda field: field[0], batches)

        @tf.autograph.experimental.do_not_convert
        def check(patches, adjustment, failure):
            with tf.control_dependencies([tf.debugging.Assert(failure == "", [failure])]):
                return tf.identity(patches), adjustment

        calls = tf.data.Dataset.range(first_index, end, batches_per_call)
        made = calls.map(make, num_parallel_calls=num_cores(), deterministic=True)
        batches = made.unbatch() if batches_per_call > 1 else made.map(first)  # ``unbatch`` copies, ``first`` does not
        # Nothing here is left to tune, and at exit TensorFlow waits for its autotuning thread, which may be sleeping.
        options = tf.data.Options()
        options.autotune.enabled = False
        return batches.map(check).prefetch(_PREFETCH).with_options(options)

    def _cut(self, batches):
        """The arranged crops of batches of sample numbers, and what ``adjust`` is to do with each batch.

        Returns:
            (uint8 [B, N, 2, 3, S, S], Adjustment with fields [B, N, ...], list of B: None, or the InputError of an
            image that could not be read: the batches before it are still good).
        """
        size, count = self._patch_size, len(batches[0])
        failures = [None] * len(batches)
        patches, adjustments = _aligned((len(batches), count, 2, 3, size, size)), []
        for (batch, position), number in np.ndenumerate(batches):
            rng = CounterRNG(self._seed, number)
            index = pair_index(number, len(self._source), self._seed, self._crops_per_image)
            top, left = (rng.uniforms(2) * (self._source.sizes[index] - size + 1)).astype(int).tolist()
            coins, adjustment = draw(rng, size)
            adjustments.append(adjustment)
            try:
                arrange(self._source.crop(index, top, left, size), coins, patches[batch, position])
            except InputError as error:
                failures[batch] = failures[batch] or error
        fields = (np.array(field) for field in zip(*adjustments, strict=True))
        return patches, Adjustment(*(field.reshape(-1, count, *field.shape[1:]) for field in fields)), failures


def _aligned(shape):
    """An empty uint8 array that TensorFlow takes over as it is; others it copies while all Python threads wait."""
    size = int(np.prod(shape))
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].reshape(shape)


def pair_index(number: int, num_pairs: int, seed: int, crops_per_image: int = 1) -> int:
    """Which pair sample ``number`` is cut from: each epoch is a new permutation of all pairs."""
    position = number
    if crops_per_image > 1:
        group, offset = divmod(number, _GROUP * crops_per_image)
        shuffled = permutation(_GROUP * crops_per_image, seed, group, GROUPS)[offset]
        position = group * _GROUP + int(shuffled) // crops_per_image
    epoch, position = divmod(position, num_pairs)
    return int(permutation(num_pairs, seed, epoch, EPOCHS)[position])
