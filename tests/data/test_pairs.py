import shutil

import numpy as np
import pytest
from PIL import Image

from tests.helpers import write_pairs
from tf_deepdeblur.data.pairs import PairFolder, check_pairs, find_pairs
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.images import read_crop, read_image, write_image

IMAGE = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)


def put(root, *paths):
    for level, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        write_image(root / path, IMAGE // 2 + np.uint8(level))


def gopro(root):
    for split, sequence in (("train", "GOPR0372_07_00"), ("train", "GOPR0374_11_00"), ("test", "GOPR0384_11_00")):
        for number in (47, 48):
            put(root, *(f"{split}/{sequence}/{kind}/{number:06d}.png" for kind in ("blur", "blur_gamma", "sharp")))


def test_gopro_as_shipped(tmp_path):
    gopro(tmp_path)
    train = find_pairs("gopro", tmp_path, "train")
    assert [pair.name for pair in train] == [
        f"train/{sequence}/blur_gamma/{number}.png"
        for sequence in ("GOPR0372_07_00", "GOPR0374_11_00")
        for number in ("000047", "000048")
    ]
    assert {pair.sharp.parent.name for pair in train} == {"sharp"}
    assert {pair.blurry.parent.name for pair in find_pairs("gopro", tmp_path, "validation", "blur")} == {"blur"}
    assert len(find_pairs("gopro", tmp_path, "validation")) == 2


def test_reds_as_shipped(tmp_path):
    for split in ("train", "val"):
        put(tmp_path, *(f"{split}/{split}_{kind}/000/00000001.png" for kind in ("blur", "sharp")))
    pair = find_pairs("reds", tmp_path, "validation")[0]
    assert pair.blurry == tmp_path / "val/val_blur/000/00000001.png"
    assert pair.sharp == tmp_path / "val/val_sharp/000/00000001.png"


def test_plain_pairs_with_and_without_a_split(tmp_path, pairs_dir):
    assert (len(find_pairs("pairs", pairs_dir, "train")), len(find_pairs("pairs", pairs_dir, "validation"))) == (5, 2)
    write_pairs(tmp_path, 3)
    assert find_pairs("pairs", tmp_path, "train") == find_pairs("pairs", tmp_path, "validation")


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_pairs(tmp_path / "mine", 1)
    assert len(find_pairs("pairs", "~/mine", "train")) == 1


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder; `data_dir`.*Datasets/gopro, .*docs/data\.md"):
        find_pairs("gopro", tmp_path / "nowhere", "train")


@pytest.mark.parametrize("dataset", ["gopro", "reds", "pairs"])
def test_a_wrong_layout_says_what_is_expected(tmp_path, dataset):
    put(tmp_path, "something/else.png")
    with pytest.raises(
        InputError, match=rf"{tmp_path}: no images .*{dataset}`; expected .*blur.*sharp.*there is something/else\.png"
    ):
        find_pairs(dataset, tmp_path, "train")


def test_scenes_may_have_folders_of_their_own(tmp_path):
    for scene in ("scene 0", "scene 1/left"):
        put(tmp_path / "train", f"blur/{scene}/1.png", f"sharp/{scene}/1.png")
    names = [pair.name for pair in find_pairs("pairs", tmp_path, "train")]
    assert names == ["train/blur/scene 0/1.png", "train/blur/scene 1/left/1.png"]
    (tmp_path / "train/sharp/scene 0/1.png").unlink()
    with pytest.raises(InputError, match=r"blur/scene 0/1\.png: no partner in .*train/sharp \(1 such"):
        find_pairs("pairs", tmp_path, "train")


def test_linked_clips_are_read(tmp_path):
    put(tmp_path, "elsewhere/blur/1.png", "elsewhere/sharp/1.png")
    for kind in ("blur", "sharp"):
        (tmp_path / "reds/train" / f"train_{kind}").mkdir(parents=True)
        (tmp_path / "reds/train" / f"train_{kind}/000").symlink_to(tmp_path / "elsewhere" / kind)
    assert [pair.name for pair in find_pairs("reds", tmp_path / "reds", "train")] == ["train/train_blur/000/1.png"]


def test_partners_with_different_suffixes_are_told(tmp_path):
    put(tmp_path, "blur/a.jpg", "sharp/a.png")
    (tmp_path / "blur/a.jpg").rename(tmp_path / "blur/a.JPG")
    with pytest.raises(InputError, match=r"blur/a\.JPG: no partner in .*sharp, only a\.png with another suffix"):
        find_pairs("pairs", tmp_path, "train")


@pytest.mark.parametrize(("kind", "other"), [("blur", "sharp"), ("sharp", "blur")])
def test_a_missing_partner_is_named(tmp_path, kind, other):
    write_pairs(tmp_path, 3)
    (tmp_path / other / "001.png").unlink()
    with pytest.raises(InputError, match=rf"{kind}/001\.png: no partner in .*{other} \(1 such"):
        find_pairs("pairs", tmp_path, "train")


def test_different_sizes_are_named(tmp_path):
    write_pairs(tmp_path, 2)
    write_image(tmp_path / "sharp" / "001.png", IMAGE)
    with pytest.raises(InputError, match=r"blur/001\.png is 48x64 \(height x width\) but .*sharp/001\.png is 16x24"):
        check_pairs(find_pairs("pairs", tmp_path, "train"))


def test_images_below_the_patch_are_named(tmp_path):
    write_pairs(tmp_path, 2)
    with pytest.raises(
        InputError,
        match=r"000\.png: 48x64 \(height x width\), but .* \d+ pixels or more \(2 such.*smaller `patch_size`",
    ):
        check_pairs(find_pairs("pairs", tmp_path, "train"), smallest=50)


def test_an_unreadable_header_is_named(tmp_path):
    write_pairs(tmp_path, 2)
    (tmp_path / "sharp" / "001.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"sharp/001\.png: cannot be read"):
        check_pairs(find_pairs("pairs", tmp_path, "train"))


@pytest.mark.parametrize("how", ["link", "copy"])
def test_sharp_paired_with_sharp_is_refused(tmp_path, how):
    write_pairs(tmp_path, 2)
    shutil.rmtree(tmp_path / "blur")
    if how == "link":
        (tmp_path / "blur").symlink_to(tmp_path / "sharp")
    else:
        shutil.copytree(tmp_path / "sharp", tmp_path / "blur")
    with pytest.raises(InputError, match="the blurry images are the sharp images"):
        check_pairs(find_pairs("pairs", tmp_path, "train"))


def folder_of(root, **arguments):
    pairs = find_pairs("pairs", root, "train")
    return PairFolder(pairs, check_pairs(pairs), **arguments)


@pytest.mark.parametrize("cache_bytes", [0, 20_000, 2**30])
def test_crops_are_the_same_square_of_both(tmp_path, cache_bytes):
    source = folder_of(write_pairs(tmp_path, 3), cache_bytes=cache_bytes)
    for index, pair in enumerate(source.pairs):
        for _ in range(2):
            for crop, path in zip(source.crop(index, 5, 7, 16), (pair.blurry, pair.sharp), strict=True):
                assert np.array_equal(crop, read_image(path)[5:21, 7:23])


def test_the_cache_stays_within_its_limit(tmp_path):
    one_pair = 2 * 48 * 64 * 3
    source = folder_of(write_pairs(tmp_path, 4), cache_bytes=2 * one_pair + 1)
    for index in range(4):
        source.read_pair(index)
    assert sum(frame.nbytes for frames in source._cache.values() for frame in frames) == 2 * one_pair


def test_a_file_that_breaks_later_is_named(tmp_path):
    source = folder_of(write_pairs(tmp_path, 2))
    broken = source.pairs[1].sharp
    broken.write_bytes(broken.read_bytes()[:500])
    with pytest.raises(InputError, match=r"sharp/001\.png"):
        source.read_pair(1)


def test_a_file_that_changes_its_size_is_named(tmp_path):
    source = folder_of(write_pairs(tmp_path, 1))
    Image.fromarray(IMAGE).save(source.pairs[0].blurry)
    with pytest.raises(InputError, match="changed its size"):
        source.read_pair(0)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "I;16"])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_crop_is_that_of_the_whole_image(tmp_path, mode, name):
    picture = Image.fromarray(IMAGE)
    if mode == "I;16":
        picture = Image.fromarray(np.random.default_rng(0).integers(0, 65536, (16, 24), np.uint16))
    (picture if mode == "I;16" else picture.convert(mode)).save(tmp_path / name)
    whole = read_image(tmp_path / name)
    for top, left in ((0, 0), (3, 7), (6, 14)):
        np.testing.assert_array_equal(
            read_crop(tmp_path / name, top, left, 10, 10), whole[top : top + 10, left:][:, :10]
        )


@pytest.mark.parametrize("top", [0, 200])
def test_a_crop_of_a_truncated_file_is_refused(tmp_path, top):
    photo = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    write_image(tmp_path / "a.png", photo)
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"a\.png: cannot be read"):
        read_crop(tmp_path / "a.png", top, 0, 50, 50)
