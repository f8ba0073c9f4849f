import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import write_pairs
from tf_deepdeblur.data import pairs as pairs_module
from tf_deepdeblur.data import pipeline
from tf_deepdeblur.data.pairs import PairFolder, check_pairs, find_pairs
from tf_deepdeblur.data.pipeline import Shard, TrainingSamples, pair_index
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.images import read_image


@pytest.fixture(scope="module")
def source(pairs_dir):
    pairs = find_pairs("pairs", pairs_dir, "train")
    return PairFolder(pairs, check_pairs(pairs))


def batches(source, steps, shard, seed=0):
    return [tuple(part.numpy() for part in batch) for batch in TrainingSamples(source, 16, seed).batches(*steps, shard)]


def test_batches_have_the_right_shape(source):
    (blurry, sharp), *rest = batches(source, (0, 3), Shard(4))
    assert len(rest) == 2
    assert blurry.shape == sharp.shape == (4, 16, 16, 3)
    assert blurry.dtype == np.float32


def test_no_thread_tunes_what_is_fixed(source):
    """A training that was stopped once sat for two minutes in TensorFlow's destructors, waiting for it."""
    samples = TrainingSamples(source, 16, seed=0)
    for dataset in (samples.batches(0, 4, Shard(2)), samples.crops(0, 4, Shard(2))):
        assert dataset.options().autotune.enabled is False


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
    alone = TrainingSamples(source, 16, 0).sample(5)
    batch = batches(source, (1, 2), Shard(4))[0]
    np.testing.assert_array_equal(alone[0], batch[0][1])
    np.testing.assert_array_equal(alone[1], batch[1][1])


@pytest.mark.parametrize("crops", [1, 3])
def test_neither_batch_size_nor_number_of_threads_changes_a_sample(source, monkeypatch, crops):
    def samples(batch_size):
        made = TrainingSamples(source, 16, 5, crops).batches(0, 24 // batch_size, Shard(batch_size))
        return [np.concatenate(part) for part in zip(*made.as_numpy_iterator(), strict=True)]

    expected = samples(2)
    np.testing.assert_array_equal(samples(12), expected)  # one call of Python makes one batch
    monkeypatch.setattr(pipeline, "num_cores", lambda: 7)
    np.testing.assert_array_equal(samples(3), expected)


def test_samples_are_what_they_always_were():
    """A new version of this package must not change the pixels that a seed and a number stand for."""

    class Ramp:
        sizes = np.array([[40, 50]] * 3)

        def __len__(self):
            return 3

        def crop(self, index, top, left, side):
            rows, columns = np.mgrid[top : top + side, left : left + side]
            blurry = np.stack([rows * 6, columns * 5, rows + columns + 30 * index], axis=-1).astype(np.uint8)
            return np.stack([blurry, 255 - blurry])

    blurry, sharp = TrainingSamples(Ramp(), 16, 3).sample(123456)
    np.testing.assert_allclose(blurry[3, 5], BLURRY, atol=1e-6)
    np.testing.assert_allclose(sharp[3, 5], SHARP, atol=1e-6)


BLURRY = [-0.17729893, -0.23904590, 0.21452032]
SHARP = [0.03620517, 0.10000002, -0.35236362]


def test_the_seed_changes_the_samples(source):
    assert not np.array_equal(batches(source, (0, 1), Shard(4))[0], batches(source, (0, 1), Shard(4), seed=1)[0])


def test_each_epoch_is_a_new_permutation_of_all_pairs():
    epochs = [[pair_index(e * 7 + i, 7, 3) for i in range(7)] for e in range(4)]
    assert all(sorted(order) == list(range(7)) for order in epochs)
    assert len(set(map(tuple, epochs))) > 1


def test_a_single_pair_is_enough():
    assert pair_index(123, 1, 0) == 0


@pytest.mark.parametrize(("num_pairs", "crops"), [(24, 2), (24, 3), (16, 5)])
def test_several_crops_of_an_image_are_shuffled_among_others(num_pairs, crops):
    """Each epoch takes the same number of every image, in a new order, and an image's crops are not far apart."""
    total = num_pairs * crops
    epochs = [[pair_index(e * total + i, num_pairs, 3, crops) for i in range(total)] for e in range(3)]
    assert all(sorted(order) == sorted(list(range(num_pairs)) * crops) for order in epochs)
    assert len(set(map(tuple, epochs))) == 3
    for order in epochs:
        places = [np.flatnonzero(np.array(order) == index) for index in range(num_pairs)]
        assert max(np.ptp(place) for place in places) < 8 * crops
        assert np.mean([np.diff(place).mean() for place in places]) > 2


def test_several_crops_of_an_image_are_different_ones(source):
    order = [pair_index(number, len(source), 0, 4) for number in range(80)]
    same = [number for number, index in enumerate(order) if index == order[0]]
    crops = [TrainingSamples(source, 16, 0, 4).sample(number)[1].tobytes() for number in same[:4]]
    assert len(set(crops)) == 4


def test_with_several_crops_each_image_is_decoded_once_per_epoch(tmp_path, monkeypatch):
    pairs = find_pairs("pairs", write_pairs(tmp_path, 24), "train")
    room = 16 * 2 * 48 * 64 * 3  # bytes of two groups of eight pairs
    source = PairFolder(pairs, check_pairs(pairs), cache_bytes=room)
    decoded = []
    monkeypatch.setattr(pairs_module, "read_image", lambda path: (decoded.append(path), read_image(path))[1])
    samples = TrainingSamples(source, 16, 0, crops_per_image=4)
    list(samples.batches(0, 2 * 24, Shard(4)))  # two epochs of 96 samples
    assert len(set(decoded)) == 2 * 24
    assert len(decoded) <= 2 * 2 * 24


def test_the_first_file_that_cannot_be_read_is_kept_for_the_training(tmp_path):
    pairs = find_pairs("pairs", write_pairs(tmp_path, 2), "train")
    samples = TrainingSamples(PairFolder(pairs, check_pairs(pairs)), 16, 0)
    batches = iter(samples.batches(0, 50, Shard(2)))
    assert samples.error is None
    pairs[1].sharp.write_bytes(pairs[1].sharp.read_bytes()[:500])
    with pytest.raises(tf.errors.OpError):
        list(batches)
    with pytest.raises(InputError, match=r"sharp/001\.png: cannot be read"):
        raise samples.error


def test_crops_reach_every_corner(source):
    class Recorder:
        def __init__(self):
            self.sizes, self.seen = np.array([[18, 17]]), set()

        def __len__(self):
            return 1

        def crop(self, index, top, left, side):
            self.seen.add((top, left))
            return np.zeros((2, side, side, 3), np.uint8)

    recorder = Recorder()
    for number in range(60):
        TrainingSamples(recorder, 16, 0).sample(number)
    assert recorder.seen == {(top, left) for top in range(3) for left in range(2)}
