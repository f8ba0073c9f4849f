import errno
import json
import os
import shutil
import signal
import time
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.helpers import write_pairs
from tests.processes import Forked
from tf_deepdeblur.data import packed as module
from tf_deepdeblur.data.datasets import open_dataset
from tf_deepdeblur.data.packed import PackedStore, pack, verify
from tf_deepdeblur.data.pipeline import Shard, TrainingSamples
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.atomic import locked


def pack_folder(root, path, dataset="pairs", blur_key=""):
    training, validation = open_dataset(dataset, root)
    pack(training, validation, path, blur_key)
    return path


@pytest.fixture(scope="module")
def packed(pairs_dir, tmp_path_factory):
    """The store of ``pairs_dir``; treat it as read-only."""
    return pack_folder(pairs_dir, tmp_path_factory.mktemp("store") / "pairs.store")


@pytest.fixture
def copy(packed, tmp_path):
    return Path(shutil.copy(packed, tmp_path / "copy.store"))


def test_a_store_is_its_folder_pixel_for_pixel(packed, pairs_dir):
    for part, folder in zip(("train", "validation"), open_dataset("pairs", pairs_dir), strict=True):
        store = PackedStore(packed, part)
        assert len(store) == len(folder) > 0
        np.testing.assert_array_equal(store.sizes, folder.sizes)
        for index in range(len(folder)):
            assert store.name(index) == folder.name(index)
            np.testing.assert_array_equal(store.read_pair(index), folder.read_pair(index))
            np.testing.assert_array_equal(store.crop(index, 3, 5, 16), folder.crop(index, 3, 5, 16))
        assert [str(pairs_dir / pair.sharp) for pair in store.pairs] == [str(pair.sharp) for pair in folder.pairs]


def test_training_samples_are_the_same_bit_for_bit(packed, pairs_dir):
    def batches(source):
        return list(TrainingSamples(source, 16, 7).batches(0, 5, Shard(4)).as_numpy_iterator())

    folder, _ = open_dataset("pairs", pairs_dir)
    store, _ = open_dataset("store", packed)
    np.testing.assert_array_equal(batches(folder), batches(store))


def test_images_of_different_sizes(tmp_path):
    write_pairs(tmp_path / "train", 2, height=21, width=35)
    write_pairs(tmp_path / "more", 1, height=50, width=18)
    for kind in ("blur", "sharp"):
        (tmp_path / "more" / kind / "000.png").rename(tmp_path / "train" / kind / "009.png")
    path = pack_folder(tmp_path, tmp_path / "a.store")
    folder, _ = open_dataset("pairs", tmp_path)
    store, validation = open_dataset("store", path)
    assert validation is None
    assert store.sizes.tolist() == [[21, 35], [21, 35], [50, 18]]
    for index in range(3):
        np.testing.assert_array_equal(store.read_pair(index)[0], folder.read_pair(index)[0])
        np.testing.assert_array_equal(store.read_pair(index)[1], folder.read_pair(index)[1])
    assert verify(path) == []


def test_a_crop_copies_nothing(packed):
    crop, _ = PackedStore(packed).crop(0, 0, 0, 16)
    assert not crop.flags.owndata
    assert not crop.flags.writeable


def test_verify_names_the_damaged_image(copy):
    assert verify(copy) == []
    with copy.open("r+b") as file:
        file.seek(-5, 2)
        byte = file.read(1)[0]
        file.seek(-5, 2)
        file.write(bytes([byte ^ 1]))
    assert verify(copy) == ["test/sharp/001.png"]


def put(path, **datasets):
    """Replaces datasets of a store."""
    with h5py.File(path, "r+") as file:
        for name, data in datasets.items():
            del file[name]
            data = data.encode() if isinstance(data, str) else data
            file[name] = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data


def rows(*train):
    return json.dumps({"blur_key": "", "train": train, "validation": []})


def claim(path, size):
    """An index that says to be of ``size`` bytes, none of which is there."""
    with h5py.File(path, "r+") as file:
        del file["index"]
        file.create_dataset("index", (size,), np.uint8, chunks=(2**20,))


def rewrite(path, place, data):
    with path.open("r+b") as file:
        file.seek(place)
        file.write(data)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: os.truncate(path, path.stat().st_size - 1), "is no packed store, or damaged .*truncated"),
        (lambda path: os.truncate(path, 100), "is no packed store, or damaged .*truncated"),
        (lambda path: os.truncate(path, 10), "is no packed store"),
        (lambda path: path.write_bytes(b"\x89PNG" * 99), "is no packed store"),
        (lambda path: path.write_bytes(b"DEBLURST" * 99), "is no packed store.*; pack the data set again"),
        (lambda path: path.write_bytes(b""), "is no packed store"),
        (lambda path: path.unlink(), "no such file; give a packed store"),
        (lambda path: (path.unlink(), path.mkdir()), "is no file; give a packed store"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "is no file; give a packed store"),
        (lambda path: h5py.File(path, "w").close(), "is no packed store"),
        (lambda path: put(path, index=[1, 2]), "is no packed store"),
        (lambda path: put(path, index=b"[" * 100_000), "is no packed store"),
        (lambda path: put(path, index=rows(["a"])), "is no packed store"),
        (lambda path: put(path, index=rows([1, 2, 3, 4, 5])), "is no packed store"),
        (lambda path: put(path, index=rows(["a", "b", "c", 2**70, 1])), "is no packed store"),
        (lambda path: put(path, pixels=np.zeros(6, np.uint8)), "is no packed store.*do not fit together"),
        (lambda path: put(path, pixels=np.zeros((7, 5), np.float32)), "is no packed store"),
        (lambda path: put(path, checksums=np.ones((3, 2), np.uint32)), "is no packed store.*do not fit together"),
        (lambda path: claim(path, 2**40), "is no packed store"),
    ],
    ids=[
        "cut", "cut header", "stub", "foreign", "older", "empty", "missing", "folder", "fifo", "other hdf5", "no text",
        "deep", "short row", "no names", "huge image", "few pixels", "no bytes", "few checksums", "huge index",
    ],
)  # fmt: skip
def test_what_is_not_a_whole_store_of_this_version_is_refused(copy, spoil, reason):
    spoil(copy)
    with pytest.raises(InputError, match=reason) as raised:
        PackedStore(copy)
    assert str(raised.value).startswith(f"{copy}: ")
    assert "\n" not in str(raised.value)


def test_a_flipped_bit_in_what_describes_the_pixels_is_found(copy):
    """HDF5 notices it, or what is read is unchanged."""
    good, original = PackedStore(copy), copy.read_bytes()
    described = np.ones(len(original), bool)
    with h5py.File(copy) as file:
        for name in ("checksums", "pixels"):
            start = file[name].id.get_offset()
            described[start : start + file[name].nbytes] = False
    rng = np.random.default_rng(0)
    places, refused = rng.choice(np.flatnonzero(described), 200), 0
    for place in places:
        data = bytearray(original)
        data[place] ^= 1 << rng.integers(8)
        copy.write_bytes(data)
        try:
            store = PackedStore(copy)
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            assert (store.pairs, store.sizes.tolist()) == (good.pairs, good.sizes.tolist())
    assert refused > 50


def test_a_store_that_is_not_finished_is_refused(copy):
    with h5py.File(copy, "r+") as file:
        file["checksums"][1, 0] = 0
    with pytest.raises(InputError, match="was not packed to its end"):
        PackedStore(copy)


def test_images_below_the_patch_are_named(packed):
    with pytest.raises(
        InputError,
        match=r"pairs\.store: train/blur/000\.png: 48x64 \(height x width\), but .* \d+ pixels or more \(5 such",
    ):
        open_dataset("store", packed, smallest=50)


@pytest.fixture
def gopro_dir(tmp_path):
    for sequence in ("train/a_07_00", "test/b_07_00"):
        write_pairs(tmp_path / "gopro" / sequence, 3)
        (tmp_path / "gopro" / sequence / "blur").rename(tmp_path / "gopro" / sequence / "blur_gamma")
    return tmp_path / "gopro"


def test_the_blur_key_is_kept_and_checked(gopro_dir, tmp_path):
    path = pack_folder(gopro_dir, tmp_path / "a.store", "gopro", "blur_gamma")
    training, validation = open_dataset("store", path, "blur_gamma")
    assert (len(training), len(validation)) == (3, 3)
    assert training.name(0) == "train/a_07_00/blur_gamma/000.png"
    with pytest.raises(InputError, match="was packed with `blur_key=blur_gamma`"):
        open_dataset("store", path, "blur")


def test_a_gopro_folder_without_test_has_no_validation_images(gopro_dir):
    shutil.rmtree(gopro_dir / "test")
    assert open_dataset("gopro", gopro_dir)[1] is None


def test_packing_again_gives_the_same_bytes(packed, pairs_dir, tmp_path):
    assert pack_folder(pairs_dir, tmp_path / "again.store").read_bytes() == packed.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.store"]


def test_a_whole_store_of_the_same_data_set_may_be_packed_again(packed, pairs_dir, copy):
    rewrite(copy, copy.stat().st_size - 9, b"\0\1\2")
    assert pack_folder(pairs_dir, copy).read_bytes() == packed.read_bytes()


@pytest.mark.parametrize("kind", ["store", "text", "empty"])
def test_what_holds_something_else_is_not_replaced(packed, tmp_path, kind):
    write_pairs(tmp_path / "other", 7)
    path = tmp_path / "a.store"
    path.write_bytes({"store": packed.read_bytes(), "text": b"a letter", "empty": b""}[kind])
    before = path.read_bytes()
    with pytest.raises(InputError, match=rf"{path}: holds something else; remove it or choose another `output`"):
        pack_folder(tmp_path / "other", path)
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.store", "other"]


def test_a_store_is_packed_by_one_process_at_a_time(packed, pairs_dir, tmp_path):
    part = tmp_path / "a.store.part"
    part.write_bytes(b"the other one's")
    with locked(part), pytest.raises(InputError, match=rf"{part}: another program is writing to it"):
        pack_folder(pairs_dir, tmp_path / "a.store")
    assert part.read_bytes() == b"the other one's"
    assert pack_folder(pairs_dir, tmp_path / "a.store").read_bytes() == packed.read_bytes()


def test_only_a_full_disk_wants_room(pairs_dir, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        InputError, match=r"file/a.store: cannot be written \(Not a directory\); choose another `output`$"
    ):
        pack_folder(pairs_dir, tmp_path / "file/a.store")


def test_what_is_no_file_is_left_alone(pairs_dir, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder: holds something else; remove it or choose another `output`$"):
        pack_folder(pairs_dir, tmp_path / "folder")
    (tmp_path / "a.store.part").symlink_to(tmp_path / "victim")
    os.mkfifo(tmp_path / "b.store.part")
    for name in "ab":
        with pytest.raises(InputError, match=rf"{name}\.store\.part: is no file; remove it$"):
            pack_folder(pairs_dir, tmp_path / f"{name}.store")
    assert not (tmp_path / "victim").exists()


class Stop(BaseException):
    """Ends packing as a kill would."""


def test_what_is_packed_is_not_decoded_again(packed, pairs_dir, tmp_path, monkeypatch):
    training, validation = open_dataset("pairs", pairs_dir)
    decoded = []
    read_pair = type(training).read_pair

    def counted(source, index):
        if len(decoded) == 4:
            raise Stop
        decoded.append(source.name(index))
        return read_pair(source, index)

    monkeypatch.setattr(type(training), "read_pair", counted)
    with pytest.raises(Stop):
        pack(training, validation, tmp_path / "a.store")
    assert not (tmp_path / "a.store").exists()
    before, decoded[:] = set(decoded), []
    pack(training, validation, tmp_path / "a.store")
    assert set(decoded).isdisjoint(before)
    assert (tmp_path / "a.store").read_bytes() == packed.read_bytes()


def test_an_unfinished_file_with_wrong_pixels_is_mended(packed, pairs_dir, tmp_path):
    part = Path(shutil.copy(packed, tmp_path / "a.store.part"))
    rewrite(part, part.stat().st_size - 9, b"\0\1\2")
    assert pack_folder(pairs_dir, tmp_path / "a.store").read_bytes() == packed.read_bytes()


def test_an_unfinished_file_of_another_data_set_is_replaced(packed, pairs_dir, tmp_path):
    write_pairs(tmp_path / "other", 7)
    other = pack_folder(tmp_path / "other", tmp_path / "other.store")
    other.rename(tmp_path / "a.store.part")
    assert pack_folder(pairs_dir, tmp_path / "a.store").read_bytes() == packed.read_bytes()


def test_a_disk_that_is_too_small_is_told_at_once(pairs_dir, tmp_path, monkeypatch):
    def allocate(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    with pytest.raises(
        InputError, match=r"a\.store: cannot be written \(No space left on device\); it takes 0\.00 GiB. Make room"
    ):
        pack_folder(pairs_dir, tmp_path / "a.store")
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_what_can_be_gone_on_with(packed, pairs_dir, tmp_path, monkeypatch):
    write, left = os.pwrite, iter(range(9))

    def pwrite(*arguments):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*arguments)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(InputError, match="cannot be written"):
        pack_folder(pairs_dir, tmp_path / "a.store")
    assert not (tmp_path / "a.store").exists()
    monkeypatch.undo()
    assert pack_folder(pairs_dir, tmp_path / "a.store").read_bytes() == packed.read_bytes()


def test_without_allocation_in_advance_it_packs_all_the_same(packed, pairs_dir, tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")
    assert pack_folder(pairs_dir, tmp_path / "a.store").read_bytes() == packed.read_bytes()


def test_a_damaged_image_is_named(tmp_path):
    write_pairs(tmp_path, 2)
    broken = tmp_path / "sharp" / "001.png"
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(InputError, match=r"sharp/001\.png"):
        pack_folder(tmp_path, tmp_path / "a.store")


def test_an_image_whose_checksum_is_zero_is_written(monkeypatch):
    monkeypatch.setattr(zlib, "crc32", lambda _: 0)
    assert module._checksum(b"x") != 0


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_bytes(tmp_path):
    write_pairs(tmp_path / "data", 24, height=300, width=400)
    whole = pack_folder(tmp_path / "data", tmp_path / "whole.store")
    path, part = tmp_path / "a.store", tmp_path / "a.store.part"
    for attempt in range(3):
        before = part.stat().st_mtime_ns if attempt else 0
        process = Forked(tmp_path, pack_folder, tmp_path / "data", path)
        while process.returncode is None and (not part.exists() or part.stat().st_mtime_ns == before):
            time.sleep(0.0005)
        time.sleep(0.004 * attempt)
        process.send_signal(signal.SIGKILL)
        _, stderr = process.communicate()
        assert process.returncode == -signal.SIGKILL, stderr
        assert not path.exists()
    assert pack_folder(tmp_path / "data", path).read_bytes() == whole.read_bytes()
