"""From a data set's name and place to ``tf.data.Dataset``s, and to the sources that these read."""

import os
from pathlib import Path

import tensorflow as tf

from tf_deepdeblur.data.packed import PackedStore
from tf_deepdeblur.data.pairs import VALIDATION_FOLDER, PairFolder, check_pairs, find_pairs
from tf_deepdeblur.data.pipeline import Shard, TrainingSamples
from tf_deepdeblur.data.python_exit import until_python_exits
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.pixels import to_float
from tf_deepdeblur.sampling import evenly_spaced

_CACHE_BYTES = 2**30
_ENDLESS = 2**40  # steps


def training_dataset(
    dataset: str,
    data_dir: str | os.PathLike,
    *,
    patch_size: int = 256,
    batch_size: int = 2,
    seed: int = 0,
    blur_key: str = "blur_gamma",
    crops_per_image: int = 1,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Endless augmented patches of a data set, for ``keras.Model.fit`` with ``steps_per_epoch``.

    Batch t holds the samples t * batch_size ... (t + 1) * batch_size - 1 of ``seed``. Sampling is stateless, so a
    training that goes on at step t gets the same batches with ``first_step=t`` as if it had never been stopped; each
    iteration of the dataset starts at ``first_step``.

    A ``tf.distribute.MirroredStrategy`` splits each batch among its replicas in order, and so does ``Shard`` for
    ``train``: replica r of R trains on the same samples either way.

    Args:
        dataset: "gopro", "reds", "pairs" or "store" (a packed store), see ``pairs`` for the layouts.
        data_dir: the folder of the data set, or the file of a packed store; ``~`` is expanded.
        patch_size: side S of the random crops in pixels.
        batch_size: patches per step, over all replicas together.
        seed: seed of crops, order and augmentation.
        blur_key: "blur_gamma" or "blur"; which blurry images of gopro.
        crops_per_image: crops of each image per epoch; more than 1 reduces decoding.
        first_step: number of the first batch.

    Returns:
        A dataset of (blurry, sharp), float32 [batch_size, S, S, 3] each, in [-0.5, 0.5].

    Raises:
        InputError: naming the file or folder and the remedy. A file that becomes unreadable later is named in the
            ``tf.errors.OpError`` that ends the iteration.
    """
    source = _open_training(dataset, data_dir, blur_key, patch_size, crops_per_image)
    samples = TrainingSamples(source, patch_size, seed, crops_per_image)
    return samples.batches(first_step, _ENDLESS, Shard(batch_size))


def validation_dataset(
    dataset: str,
    data_dir: str | os.PathLike,
    *,
    blur_key: str = "blur_gamma",
    limit: int | None = None,
    batch_size: int = 1,
) -> tf.data.Dataset:
    """Whole validation frames of a data set.

    Args:
        dataset: as for ``training_dataset``. A "pairs" folder that has ``blur/`` and ``sharp/`` itself is taken whole.
        data_dir: as for ``training_dataset``.
        blur_key: as for ``training_dataset``.
        limit: how many frames to take, spread evenly over the data set; None for all.
        batch_size: frames per batch N; more than 1 needs frames of one size. Under a ``tf.distribute.MirroredStrategy``
            Keras wants at least one frame for each replica.

    Returns:
        A finite dataset of known cardinality: (blurry, sharp), float32 [N, H, W, 3] each, in [-0.5, 0.5]. The last
        batch may be smaller.

    Raises:
        InputError: as ``training_dataset`` does; also if there are no validation images, or if ``batch_size`` is above
            1 and their sizes differ.
    """
    source = _open_validation(dataset, data_dir, blur_key)
    if source is None:
        raise InputError(f"{data_dir}: has no validation images")
    if batch_size > 1 and (source.sizes != source.sizes[0]).any():
        raise InputError(f"{data_dir}: its validation images differ in size; use `batch_size=1`")

    @tf.autograph.experimental.do_not_convert
    def read(index):
        frames = tf.numpy_function(until_python_exits(source.read_pair), [index], [tf.uint8, tf.uint8])
        return tuple(to_float(tf.ensure_shape(frame, [None, None, 3])) for frame in frames)

    indices = evenly_spaced(range(len(source)), len(source) if limit is None else limit)
    return tf.data.Dataset.from_tensor_slices(indices).map(read).batch(batch_size).prefetch(1)


def open_dataset(
    dataset: str,
    data_dir: str | os.PathLike,
    blur_key: str = "blur_gamma",
    smallest: int = 1,
    crops_per_image: int = 1,
) -> tuple[PairFolder | PackedStore, PairFolder | PackedStore | None]:
    """Finds and checks all pairs of a data set.

    Args:
        dataset: "gopro", "reds", "pairs" or "store".
        data_dir: the folder of the data set, or the file of a packed store; ``~`` is expanded.
        blur_key: "blur_gamma" or "blur"; which blurry images of gopro.
        smallest: least side of a training image, the patch size.
        crops_per_image: of the pipeline; decides whether it pays to keep decoded images.

    Returns:
        (training, validation): PairFolder or PackedStore each; validation is None if the data set has no such part.

    Raises:
        InputError: naming the file or folder and the remedy.
    """
    training = _open_training(dataset, data_dir, blur_key, smallest, crops_per_image)
    root = Path(data_dir).expanduser()
    if dataset != "store" and (root / "train").is_dir() and not (root / VALIDATION_FOLDER[dataset]).is_dir():
        return training, None
    validation = _open_validation(dataset, data_dir, blur_key)
    if validation is not None and validation.pairs == training.pairs:
        return training, None
    return training, validation


def _open_training(dataset, data_dir, blur_key, smallest, crops_per_image):
    """PairFolder or PackedStore of the training images."""
    if dataset == "store":
        return _open_store(data_dir, "train", blur_key, smallest)
    pairs = find_pairs(dataset, data_dir, "train", blur_key)
    sizes = check_pairs(pairs, smallest)
    fits = 6 * sizes.prod(axis=1).sum() <= _CACHE_BYTES
    return PairFolder(pairs, sizes, _CACHE_BYTES if fits or crops_per_image > 1 else 0)


def _open_validation(dataset, data_dir, blur_key):
    """PairFolder or PackedStore of the validation images; None if a store has none."""
    if dataset == "store":
        store = _open_store(data_dir, "validation", blur_key)
        return store if len(store) else None
    pairs = find_pairs(dataset, data_dir, "validation", blur_key)
    return PairFolder(pairs, check_pairs(pairs), cache_bytes=0)


def _open_store(path, part, blur_key, smallest=1):
    store = PackedStore(Path(path).expanduser(), part, smallest)
    if store.blur_key not in ("", blur_key):
        raise InputError(f"{path}: was packed with `blur_key={store.blur_key}`; use the same, or pack it again")
    return store
