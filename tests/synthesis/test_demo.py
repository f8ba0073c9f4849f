import numpy as np
import pytest
from skimage.data import data_dir
from skimage.metrics import peak_signal_noise_ratio

from tf_deepdeblur.data.pairs import check_pairs, find_pairs
from tf_deepdeblur.io.images import read_image
from tf_deepdeblur.synthesis import demo


@pytest.fixture
def small_demo(tmp_path, monkeypatch):
    """The embedded data set from fewer photographs: it is made by the same code."""
    monkeypatch.setattr(demo, "TRAIN_PHOTOS", ("coins.png", "camera.png"))
    monkeypatch.setattr(demo, "VALIDATION_PHOTOS", ("chelsea.png",))
    monkeypatch.setattr(demo, "_NUM_FRAMES", 3)
    monkeypatch.setattr(demo, "_TAKES", {"train": 2, "test": 1})
    return demo.make_demo_dataset(tmp_path / "data")


def test_the_photographs_are_in_the_wheel():
    for name in (*demo.TRAIN_PHOTOS, *demo.VALIDATION_PHOTOS):
        assert min(read_image(f"{data_dir}/{name}").shape[:2]) >= 300
    assert not set(demo.TRAIN_PHOTOS) & set(demo.VALIDATION_PHOTOS)


def test_it_is_a_checked_data_set_of_blurry_and_sharp(small_demo):
    for split, count in (("train", 4), ("validation", 1)):
        pairs = find_pairs("pairs", small_demo, split)
        assert len(pairs) == count
        check_pairs(pairs, smallest=96)
        for pair in pairs:
            assert 15 < peak_signal_noise_ratio(read_image(pair.sharp), read_image(pair.blurry)) < 45


@pytest.mark.slow
def test_it_is_the_same_each_time_and_made_only_once(small_demo, tmp_path):
    again = demo.make_demo_dataset(tmp_path / "again")
    files = sorted(path.relative_to(again) for path in again.rglob("*.png"))
    assert len(files) == 10
    assert all(np.array_equal(read_image(again / name), read_image(small_demo / name)) for name in files)
    before = {path: path.stat().st_mtime_ns for path in again.rglob("*.png")}
    demo.make_demo_dataset(again)
    assert before == {path: path.stat().st_mtime_ns for path in again.rglob("*.png")}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "data"]
