import numpy as np
import pytest
import tensorflow as tf

import tf_deepdeblur.data
from tests.helpers import write_pairs
from tests.processes import returned
from tf_deepdeblur.data import training_dataset, validation_dataset
from tf_deepdeblur.data.datasets import open_dataset
from tf_deepdeblur.data.packed import pack
from tf_deepdeblur.data.pipeline import Shard, TrainingSamples
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.images import read_image, write_image
from tf_deepdeblur.runtime import split_cpu


@pytest.mark.parametrize("crops", [1, 3])
def test_training_batches_are_those_of_the_training_loop(pairs_dir, crops):
    source, _ = open_dataset("pairs", pairs_dir)
    expected = list(TrainingSamples(source, 16, 5, crops).batches(3, 9, Shard(4)).as_numpy_iterator())
    made = training_dataset(
        "pairs", pairs_dir, patch_size=16, batch_size=4, seed=5, crops_per_image=crops, first_step=3
    )
    assert [spec.shape.as_list() for spec in made.element_spec] == [[4, 16, 16, 3]] * 2
    np.testing.assert_array_equal(list(made.take(6).as_numpy_iterator()), expected)


def test_training_never_ends_and_starts_again_at_the_same_sample(pairs_dir):
    made = training_dataset("pairs", pairs_dir, patch_size=8)
    first, again = (list(made.take(40).as_numpy_iterator()) for _ in range(2))
    assert len(first) == 40  # eight epochs
    np.testing.assert_array_equal(first, again)


def test_validation_frames_are_whole_and_may_differ_in_size(tmp_path):
    write_pairs(tmp_path / "test", 2, height=20, width=30)
    for kind in ("blur", "sharp"):
        write_image(tmp_path / "test" / kind / "009.png", np.full((33, 21, 3), 51 if kind == "blur" else 255, np.uint8))
    made = validation_dataset("pairs", tmp_path)
    frames = list(made.as_numpy_iterator())
    assert made.cardinality() == len(frames) == 3
    assert [blurry.shape for blurry, _ in frames] == [(1, 20, 30, 3), (1, 20, 30, 3), (1, 33, 21, 3)]
    np.testing.assert_allclose(frames[0][0][0], read_image(tmp_path / "test/blur/000.png") / 255 - 0.5, atol=1e-7)
    np.testing.assert_allclose([frames[2][0].mean(), frames[2][1].mean()], [-0.3, 0.5], atol=1e-6)


def test_a_limit_takes_frames_from_all_over(tmp_path):
    write_pairs(tmp_path, 6)
    whole = list(validation_dataset("pairs", tmp_path).as_numpy_iterator())
    some = validation_dataset("pairs", tmp_path, limit=2)
    assert some.cardinality() == 2
    np.testing.assert_array_equal(list(some.as_numpy_iterator()), [whole[0], whole[3]])


def test_frames_of_one_size_come_in_batches(pairs_dir, tmp_path):
    made = validation_dataset("pairs", write_pairs(tmp_path, 3), batch_size=2)
    assert made.cardinality() == 2
    assert [blurry.shape for blurry, _ in made] == [(2, 48, 64, 3), (1, 48, 64, 3)]
    write_pairs(tmp_path / "more", 1, height=50)
    for kind in ("blur", "sharp"):
        (tmp_path / "more" / kind / "000.png").rename(tmp_path / kind / "009.png")
    with pytest.raises(InputError, match="its validation images differ in size; use `batch_size=1`"):
        validation_dataset("pairs", tmp_path, batch_size=2)


def test_a_store_gives_the_same_datasets(pairs_dir, tmp_path):
    training, validation = open_dataset("pairs", pairs_dir)
    pack(training, validation, tmp_path / "a.store")
    for make, count in ((training_dataset, 3), (validation_dataset, 2)):
        options = {"patch_size": 16} if make is training_dataset else {}
        folder, store = (make(*place, **options) for place in (("pairs", pairs_dir), ("store", tmp_path / "a.store")))
        for one, other in zip(folder.take(count), store.take(count), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_store_without_validation_images_is_refused(pairs_dir, tmp_path):
    pack(open_dataset("pairs", pairs_dir)[0], None, tmp_path / "a.store")
    with pytest.raises(InputError, match=r"a\.store: has no validation images"):
        validation_dataset("store", tmp_path / "a.store")


@pytest.mark.parametrize("make", [training_dataset, validation_dataset])
def test_a_missing_folder_is_named(tmp_path, make):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        make("gopro", tmp_path / "nowhere")


def test_images_below_the_patch_are_named(pairs_dir):
    with pytest.raises(InputError, match=r"000\.png: 48x64"):
        training_dataset("pairs", pairs_dir, patch_size=64)


def test_a_file_that_breaks_later_is_named_in_tensorflows_error(tmp_path):
    write_pairs(tmp_path, 2)
    made = training_dataset("pairs", tmp_path, patch_size=16)
    broken = tmp_path / "sharp" / "001.png"
    broken.write_bytes(broken.read_bytes()[:500])
    with pytest.raises(tf.errors.OpError, match=r"sharp/001\.png: cannot be read"):
        list(made.take(4))


def test_public_names():
    assert "training_dataset" in dir(tf_deepdeblur.data)
    assert not hasattr(tf_deepdeblur.data, "nothing")


def compare_on_two_devices(data_dir):
    split_cpu(2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    source, _ = open_dataset("pairs", data_dir)

    def of_the_loop(context):
        replicas = context.num_replicas_in_sync
        return TrainingSamples(source, 16, 7).batches(2, 5, Shard(4, local_replicas=replicas))

    keras = training_dataset("pairs", data_dir, patch_size=16, batch_size=4, seed=7, first_step=2)
    keras = strategy.experimental_distribute_dataset(keras)  # as Model.fit does
    for pair in zip(strategy.distribute_datasets_from_function(of_the_loop), keras, strict=False):  # keras has no end
        for one, other in zip(*pair, strict=True):
            for a, b in zip(one.values, other.values, strict=True):
                assert a.shape == (2, 16, 16, 3)
                np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_keras_gives_every_replica_the_samples_of_the_training_loop(pairs_dir, tmp_path):
    returned(tmp_path, compare_on_two_devices, pairs_dir)
