import numpy as np
import pytest
import skimage.data
from scipy import ndimage

from tf_deepdeblur.synthesis.footage import Footage, brightest, motion, unusable
from tf_deepdeblur.synthesis.windows import Window

PHOTO = skimage.data.astronaut()[:256, :320]
STEADY = [1.0, 1.1, 0.9, 1.0, 1.0, 1.1]


def window(differences=(), times=()):
    return Window(0, [], PHOTO, (PHOTO, PHOTO), list(times), list(differences))


def footage(rate=240.0, *seen):
    result = Footage(rate)
    for differences, pixels, image, *psnr in seen or [(STEADY, 0.5, PHOTO)]:
        result.see(differences, pixels, brightest(image), *psnr or [30.0])
    return result


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        (STEADY, None),
        ([1.0, 1.0, 40.0, 1.0, 1.0, 1.0], "scene cut"),
        ([1.0, 40.0, 1.0, 35.0, 1.0, 1.0], "scene cut"),
        ([14.0, 15.0, 16.0, 17.0, 16.0, 15.0], None),  # fast motion all the time
        ([1.2, 1.1, 1.3, 9.1, 1.2, 1.2], "scene cut"),  # between pictures that are alike
        ([1.2, 1.1, 1.3, 5.9, 0.2, 0.2], None),
        ([1.6, 1.6, 1.6, 9.1, 1.6, 1.6], None),
        ([0.0, 0.0, 5.0, 0.0, 0.0, 0.0], None),  # a flicker, not another scene
        ([0.0, 8.0, 0.0, 8.0, 0.0, 8.0], None),  # every other frame repeats the one before
        ([], None),
    ],
)
def test_a_cut_is_a_step_that_stands_out(differences, expected):
    assert unusable(window(differences)) == expected


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([0.0, 0.004, 0.008, 0.013], None),
        ([0.0, 0.004, 0.012, 0.016], "uneven frame times"),
        ([0.0, 0.004, 0.004, 0.008], "uneven frame times"),
        ([None, None, None, None], None),
    ],
)
def test_frames_of_one_exposure_are_evenly_spaced(times, expected):
    assert unusable(window(STEADY, times)) == expected


@pytest.mark.parametrize("shift", [(0, 0), (0, 0.5), (1, 0), (1.2, 0.7), (3, -4), (-20, 10.5)])
def test_motion_is_measured_to_a_tenth_of_a_pixel(shift):
    moved = ndimage.shift(PHOTO.astype(float), (*shift, 0), order=3, mode="nearest")
    noisy = moved + np.random.default_rng(0).normal(0, 2, moved.shape)
    assert motion(PHOTO, np.clip(moved, 0, 255).astype(np.uint8)) == pytest.approx(np.hypot(*shift), abs=0.1)
    assert motion(PHOTO, np.clip(noisy, 0, 255).astype(np.uint8)) == pytest.approx(np.hypot(*shift), abs=0.3)


def test_motion_of_a_part_is_seen():
    moved = PHOTO.copy()
    moved[:, 160:] = np.roll(PHOTO, 6, axis=1)[:, 160:]
    assert motion(PHOTO, moved) == pytest.approx(6, abs=0.5)


def test_without_texture_there_is_no_motion_to_measure():
    assert np.isnan(motion(np.full((64, 64, 3), 80, np.uint8), np.full((64, 64, 3), 90, np.uint8)))
    assert np.isnan(motion(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1, 3), np.uint8)))


def test_good_footage_has_no_warning():
    assert footage().warnings() == []
    assert footage(None).warnings() == []


@pytest.mark.parametrize("rate", [29.97, 119.0])
def test_a_low_frame_rate_is_told(rate):
    (line,) = footage(rate).warnings()
    assert f"{rate:.4g} frames per second are too few" in line
    assert "`fps`" in line


def test_fast_motion_is_told():
    (line,) = footage(240.0, (STEADY, 3.2, PHOTO), (STEADY, 5.0, PHOTO), (STEADY, float("nan"), PHOTO)).warnings()
    assert "4.1 px in the median window (at most 5.0)" in line


def test_repeated_frames_are_told():
    (line,) = footage(240.0, ([2.0, 0.0, 2.0, 0.05, 2.0, 0.0], 0.5, PHOTO)).warnings()
    assert "3 of 6 frames repeat" in line
    still = footage(240.0, ([0.02, 0.01, 0.02, 0.0, 0.02, 0.01], 0.0, PHOTO))
    assert still.warnings() == []


def test_windows_without_motion_are_counted():
    still = ([0.0] * 6, 0.0, PHOTO, float("inf"))
    (line,) = footage(240.0, still, (STEADY, 0.5, PHOTO), ([0.01] * 6, float("nan"), PHOTO, 50.0)).warnings()
    assert line.startswith("2 of 3 windows show no motion: their blurry images are their sharp ones")
    assert footage(240.0, (STEADY, 0.5, PHOTO, 49.9)).warnings() == []


def test_black_bars_are_told_with_the_crop_that_removes_them():
    barred = np.pad(PHOTO, ((30, 40), (0, 0), (0, 0)))
    (line,) = footage(240.0, (STEADY, 0.5, barred)).warnings()
    assert "`crop=0,30,320,256`" in line


def test_a_dark_moment_is_no_bar():
    dark = np.zeros_like(PHOTO)
    assert footage(240.0, (STEADY, 0.5, dark), (STEADY, 0.5, PHOTO)).warnings() == []
    assert footage(240.0, (STEADY, 0.5, dark)).warnings() == []


def test_windows_left_out_are_counted():
    result = footage()
    for reason in ("scene cut", "uneven frame times", "scene cut"):
        result.skip(reason)
    assert result.warnings() == ["2 windows left out: scene cut", "1 windows left out: uneven frame times"]
