import numpy as np
import pytest
from skimage import data

from tf_deepdeblur.synthesis.camera_shake import Shake, shake_photo, trajectory


def test_a_trajectory_is_smooth_and_as_long_as_asked():
    rng = np.random.default_rng(0)
    for _ in range(20):
        path = trajectory(101, Shake(pixels=10, degrees=2, zoom=0.02), rng)
        steps = np.hypot(*np.diff(path[:, :2], axis=0).T)
        assert steps.sum() == pytest.approx(10)
        assert path.mean(axis=0) == pytest.approx([0, 0, 0, 0], abs=1e-12)
        assert np.ptp(path[:, 2]) <= np.radians(2) + 1e-9
        assert np.ptp(path[:, 3]) <= 0.02 + 1e-9
        assert np.abs(np.diff(steps)).max() < 0.1 * 10


def test_the_sharp_image_is_the_photograph_itself():
    photo = data.astronaut()[:120, :160]
    frames, sharp = shake_photo(photo, 9, Shake(6), np.random.default_rng(0))
    height, width = sharp.shape[:2]
    margin = (120 - height) // 2
    assert (height, width) == (120 - 2 * margin, 160 - 2 * margin)
    assert {frame.shape for frame in frames} == {sharp.shape}
    assert np.array_equal(sharp, photo[margin:-margin, margin:-margin])


def test_the_frames_move_as_the_trajectory_says():
    """A pure translation: each frame equals the photograph shifted by whole pixels."""
    photo = data.astronaut()[:100, :100]
    frames, _ = shake_photo(photo, 3, Shake(pixels=8, degrees=0, zoom=0), np.random.default_rng(3))
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
    frames, sharp = shake_photo(photo, 5, Shake(6), np.random.default_rng(0), moving_object=thing)
    centres = [np.argwhere(frame[..., 0] > 150).mean(axis=0) for frame in frames]
    assert np.linalg.norm(centres[0] - centres[-1]) > 2
    assert np.argwhere(sharp[..., 0] > 150).mean(axis=0) == pytest.approx(np.mean(centres, axis=0), abs=0.5)
    assert {int(frame[..., 0].max()) for frame in frames} <= {199, 200}


def test_a_photograph_smaller_than_the_motion_is_refused():
    with pytest.raises(ValueError, match="too small"):
        shake_photo(np.zeros((10, 10, 3), np.uint8), 5, Shake(30), np.random.default_rng(0))
