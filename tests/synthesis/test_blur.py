import numpy as np
import pytest
from skimage import data

from tf_deepdeblur.synthesis.blur import Shake, blur_pair, shake_photo, trajectory
from tf_deepdeblur.synthesis.response import linearise, respond


def random_frames(count, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, 6, 8, 3), np.uint8))


@pytest.mark.parametrize("gamma", [2.2, 1.0])
def test_blur_is_eq_2_by_hand(gamma):
    frames = random_frames(7)
    mean = np.mean([(frame / 255.0) ** gamma for frame in frames], axis=0)
    expected = np.floor(mean ** (1 / gamma) * 255 + 0.5)
    blurry, _ = blur_pair(frames, gamma)
    assert np.abs(blurry - expected).max() <= 1  # at most a rounding tie
    assert (blurry == expected).mean() > 0.999


def test_one_black_and_white_example():
    """Two frames of 255 and one of 0: linear light 2/3, observed 255 (2/3)^(1/2.2) = 212.08."""
    frames = [np.full((1, 1, 3), level, np.uint8) for level in (255, 0, 255)]
    assert blur_pair(frames)[0].ravel().tolist() == [212] * 3
    assert blur_pair(frames, gamma=1.0)[0].ravel().tolist() == [170] * 3


def test_sharp_is_the_middle_frame():
    frames = random_frames(9)
    assert blur_pair(frames)[1] is frames[4]


def test_an_even_number_of_frames_has_no_middle():
    with pytest.raises(ValueError, match=r"odd number of frames .* got 4"):
        blur_pair(random_frames(4))


@pytest.mark.parametrize("gamma", [2.2, 1.0])
def test_every_level_survives_the_response_and_back(gamma):
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(respond(linearise(levels, gamma), gamma), levels)


def test_equal_frames_stay_as_they_are():
    frame = random_frames(1)[0]
    assert np.array_equal(blur_pair([frame] * 11)[0], frame)


def test_a_trajectory_is_smooth_and_as_long_as_asked():
    rng = np.random.default_rng(0)
    for _ in range(20):
        path = trajectory(101, Shake(pixels=10, degrees=2, zoom=0.02), rng)
        steps = np.hypot(*np.diff(path[:, :2], axis=0).T)
        assert steps.sum() == pytest.approx(10)
        assert not path[50].any()
        assert np.ptp(path[:, 2]) <= np.radians(2) + 1e-9
        assert np.ptp(path[:, 3]) <= 0.02 + 1e-9
        assert np.abs(np.diff(steps)).max() < 0.1 * 10


def test_the_middle_frame_is_the_photograph_itself():
    photo = data.astronaut()[:120, :160]
    frames = shake_photo(photo, 9, Shake(6), np.random.default_rng(0))
    height, width = frames[4].shape[:2]
    margin = (120 - height) // 2
    assert (height, width) == (120 - 2 * margin, 160 - 2 * margin)
    assert np.array_equal(frames[4], photo[margin:-margin, margin:-margin])


def test_the_frames_move_as_the_trajectory_says():
    """A pure translation: each frame equals the photograph shifted by whole pixels."""
    photo = data.astronaut()[:100, :100]
    frames = shake_photo(photo, 3, Shake(pixels=8, degrees=0, zoom=0), np.random.default_rng(3))
    path = trajectory(3, Shake(pixels=8, degrees=0, zoom=0), np.random.default_rng(3))
    centre = photo.shape[0] // 2
    for frame, (x, y, _, _) in zip(frames, path, strict=True):
        margin = (100 - frame.shape[0]) // 2
        errors = {}
        for dy in range(-8, 9):
            for dx in range(-8, 9):
                shifted = photo[centre - 20 - dy : centre + 20 - dy, centre - 20 - dx : centre + 20 - dx].astype(int)
                here = frame[centre - 20 - margin : centre + 20 - margin, centre - 20 - margin : centre + 20 - margin]
                errors[dx, dy] = np.abs(shifted - here).mean()
        best = min(errors, key=errors.get)
        assert np.hypot(best[0] - x, best[1] - y) <= 0.75


def test_a_moving_object_moves_on_its_own():
    photo = np.full((80, 80, 3), 100, np.uint8)
    thing = np.full((20, 20, 3), 200, np.uint8)
    frames = shake_photo(photo, 5, Shake(6), np.random.default_rng(0), moving_object=thing)
    centres = [np.argwhere(frame[..., 0] > 150).mean(axis=0) for frame in frames]
    assert np.linalg.norm(centres[0] - centres[-1]) > 2
    assert {int(frame[..., 0].max()) for frame in frames} <= {199, 200}


def test_a_photograph_smaller_than_the_motion_is_refused():
    with pytest.raises(ValueError, match="too small"):
        shake_photo(np.zeros((10, 10, 3), np.uint8), 5, Shake(30), np.random.default_rng(0))
