"""Pictures to verify on and crops to calibrate with: of the wanted sizes, and not the same ones."""

import numpy as np
import pytest

from tests.helpers import write_pairs
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.export import pictures
from tf_deepdeblur.io.images import write_image


@pytest.fixture
def numbered(tmp_path):
    """Twelve grey images whose pixels are their numbers, some of them below a folder."""
    for number in range(12):
        folder = tmp_path / ("clip" if number % 2 else ".")
        folder.mkdir(exist_ok=True)
        write_image(folder / f"{number:02d}.png", np.full((40, 50, 3), number, np.uint8))
    return tmp_path


def numbers(images):
    return {int(image.flat[0]) for image in images}


def test_sides_to_verify_are_odd_or_the_given_ones(numbered):
    assert all(side % 2 for picture in pictures.for_verification(numbered) for side in picture.blurry.shape[:2])
    assert [p.blurry.shape for p in pictures.for_verification(numbered, (90, 32))] == [(90, 32, 3)] * 2


def test_images_to_calibrate_with_are_others_and_all_others(numbered):
    verified = numbers(picture.blurry for picture in pictures.for_verification(numbered))
    crops = pictures.for_calibration(numbered)
    assert {crop.shape for crop in crops} == {(1, 128, 128, 3)}
    assert numbers(crops) == set(range(12)) - verified
    assert len(verified) == 4


def test_one_image_serves_for_both(tmp_path):
    write_image(tmp_path / "only.png", np.full((40, 50, 3), 7, np.uint8))
    assert numbers(pictures.for_calibration(tmp_path)) == {7}
    assert pictures.for_verification(tmp_path)[0].sharp is None


@pytest.mark.parametrize(
    ("blurry", "sharp"), [("blur", "sharp"), ("blur_gamma", "sharp"), ("train_blur", "train_sharp")]
)
def test_sharp_partners_are_found_and_cut_alike(tmp_path, blurry, sharp):
    image = np.random.default_rng(0).integers(0, 200, (60, 70, 3), np.uint8)
    for folder, pixels in ((blurry, image), (sharp, image + 50)):
        (tmp_path / folder).mkdir()
        write_image(tmp_path / folder / "1.png", pixels)
    for picture in pictures.for_verification(tmp_path, (31, 33)):
        np.testing.assert_array_equal(picture.blurry + 50, picture.sharp)
    assert max(crop.max() for crop in pictures.for_calibration(tmp_path)) < 200


def test_partners_of_unequal_size_are_named(tmp_path):
    write_pairs(tmp_path, 1)
    write_image(tmp_path / "sharp" / "000.png", np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(InputError, match=r"blur/000\.png and .*sharp/000\.png: partners must have equal sizes"):
        pictures.for_verification(tmp_path)


def test_embedded_photographs_are_blurred_and_have_sharp_partners(monkeypatch):
    monkeypatch.setattr(pictures, "_VERIFIED_SIZES", ((37, 51), (330, 101)))
    for picture in pictures.for_verification():
        assert picture.blurry.shape == picture.sharp.shape
        roughness = [np.abs(np.diff(image.astype(int), axis=1)).mean() for image in (picture.blurry, picture.sharp)]
        assert 0 < roughness[0] < roughness[1]


def test_the_same_pictures_each_time(monkeypatch):
    monkeypatch.setattr(pictures, "_CALIBRATION_COUNT", 2)
    for first, second in zip(pictures.for_calibration(), pictures.for_calibration(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_photograph_of_any_size():
    assert pictures.photograph((700, 33)).shape == (700, 33, 3)


@pytest.mark.parametrize("make", [pictures.for_verification, pictures.for_calibration])
def test_folders_without_blurry_images_are_named(tmp_path, make):
    with pytest.raises(InputError, match=r"absent: no such folder; `calibration_dir` must name"):
        make(tmp_path / "absent")
    (tmp_path / "sharp").mkdir()
    write_image(tmp_path / "sharp" / "1.png", np.zeros((10, 10, 3), np.uint8))
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match=r": no blurry images in it; `calibration_dir` must name"):
        make(tmp_path)


def test_pictures_of_a_few_pixels_are_refused(tmp_path):
    write_image(tmp_path / "dot.png", np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(
        InputError, match=r"dot\.png: 1x1 pixels \(height x width\) are too few; give photographs of 32"
    ):
        pictures.for_calibration(tmp_path)


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"broken\.png: cannot be read as an image"):
        pictures.for_verification(tmp_path)
