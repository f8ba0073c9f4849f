"""From a data set's name and place to the sources that the pipeline reads."""

from pathlib import Path

from tf_deepdeblur.data.packed import PackedStore
from tf_deepdeblur.data.pairs import EVAL_FOLDER, PairFolder, check_pairs, find_pairs
from tf_deepdeblur.errors import InputError

_CACHE_BYTES = 2**30


def open_sources(dataset, data_dir, blur_key="blur_gamma", smallest=1, smallest_held_out=1, crops_per_image=1):
    """Finds and checks all pairs of a data set.

    Args:
        dataset: "gopro", "reds", "pairs" or "store".
        data_dir: the folder of the data set, or the file of a packed store; ``~`` is expanded.
        blur_key: "blur_gamma" or "blur"; which blurry images of gopro.
        smallest: least side of a training image, the patch size.
        smallest_held_out: least side of a held-out image.
        crops_per_image: of the pipeline; decides whether it pays to keep decoded images.

    Returns:
        (training, held_out): PairFolder or PackedStore each; held_out is None if the data set has no such part.

    Raises:
        InputError: naming the file or folder and the remedy.
    """
    if dataset == "store":
        return _open_store(Path(data_dir).expanduser(), blur_key, smallest, smallest_held_out)
    training = find_pairs(dataset, data_dir, "train", blur_key)
    sizes = check_pairs(training, smallest)
    fits = 6 * sizes.prod(axis=1).sum() <= _CACHE_BYTES
    source = PairFolder(training, sizes, _CACHE_BYTES if fits or crops_per_image > 1 else 0)
    root = Path(data_dir).expanduser()
    if (root / "train").is_dir() and not (root / EVAL_FOLDER[dataset]).is_dir():
        return source, None
    held_out = find_pairs(dataset, data_dir, "eval", blur_key)
    if held_out == training:
        return source, None
    return source, PairFolder(held_out, check_pairs(held_out, smallest_held_out), cache_bytes=0)


def _open_store(path, blur_key, smallest, smallest_held_out):
    training = PackedStore(path, "train", smallest)
    if training.blur_key not in ("", blur_key):
        raise InputError(f"{path}: was packed with --blur_key={training.blur_key}; give this flag, or pack it anew")
    held_out = PackedStore(path, "eval", smallest_held_out)
    return training, held_out if len(held_out) else None
