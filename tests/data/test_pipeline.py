import numpy as np
import pytest
import tensorflow as tf

from tf_deepdeblur.data.pairs import PairFolder, check_pairs, find_pairs
from tf_deepdeblur.data.pipeline import (
    Shard,
    evenly_spaced,
    pair_index,
    sample_numbers,
    training_batches,
    training_sample,
)


@pytest.fixture(scope="module")
def source(pairs_dir):
    pairs = find_pairs("pairs", pairs_dir, "train")
    return PairFolder(pairs, check_pairs(pairs))


def batches(source, steps, shard, seed=0):
    return [
        tuple(part.numpy() for part in batch)
        for batch in training_batches(source, patch_size=16, seed=seed, steps=steps, shard=shard)
    ]


def test_batches_have_the_right_shape(source):
    (blurry, sharp), *rest = batches(source, (0, 3), Shard(4))
    assert len(rest) == 2
    assert blurry.shape == sharp.shape == (4, 16, 16, 3)
    assert blurry.dtype == np.float32


def test_a_run_can_start_at_any_step(source):
    whole, later = batches(source, (0, 6), Shard(2)), batches(source, (4, 6), Shard(2))
    np.testing.assert_array_equal(whole[4:], later)


def test_workers_and_replicas_share_the_samples_of_one_device(source):
    single = batches(source, (3, 5), Shard(8))
    parts = [batches(source, (3, 5), Shard(8, num_workers=2, worker=w, local_replicas=2)) for w in (0, 1)]
    for step in range(2):
        joined = [np.concatenate([parts[w][2 * step + r][i] for w in (0, 1) for r in (0, 1)]) for i in (0, 1)]
        np.testing.assert_array_equal(single[step], joined)


def test_the_same_sample_is_the_same_pixels_alone_and_in_a_batch(source):
    alone = training_sample(source, 16, 0, tf.constant(5, tf.int64))
    batch = batches(source, (1, 2), Shard(4))[0]
    np.testing.assert_array_equal(alone[0], batch[0][1])
    np.testing.assert_array_equal(alone[1], batch[1][1])


def test_the_seed_changes_the_samples(source):
    assert not np.array_equal(batches(source, (0, 1), Shard(4))[0], batches(source, (0, 1), Shard(4), seed=1)[0])


def test_each_pass_is_a_new_permutation_of_all_pairs():
    passes = [[int(pair_index(tf.constant(e * 7 + i, tf.int64), 7, 3)) for i in range(7)] for e in range(4)]
    assert all(sorted(order) == list(range(7)) for order in passes)
    assert len(set(map(tuple, passes))) > 1


def test_a_single_pair_is_enough():
    assert int(pair_index(tf.constant(123, tf.int64), 1, 0)) == 0


def test_sample_numbers_of_two_workers():
    numbers = [list(sample_numbers((1, 3), Shard(4, 2, worker)).as_numpy_iterator()) for worker in (0, 1)]
    assert numbers == [[4, 5, 8, 9], [6, 7, 10, 11]]


def test_crops_reach_every_corner(source):
    class Recorder:
        def __init__(self):
            self.sizes, self.seen = np.array([[18, 17]]), set()

        def __len__(self):
            return 1

        def crop(self, index, top, left, side):
            self.seen.add((top, left))
            return (np.zeros((side, side, 3), np.uint8),) * 2

    recorder = Recorder()
    for number in range(60):
        training_sample(recorder, 16, 0, tf.constant(number, tf.int64))
    assert recorder.seen == {(top, left) for top in range(3) for left in range(2)}


@pytest.mark.parametrize(("count", "limit", "expected"), [(10, 5, [0, 2, 4, 6, 8]), (3, 5, [0, 1, 2]), (7, 1, [0])])
def test_evenly_spaced(count, limit, expected):
    assert evenly_spaced(count, limit) == expected
