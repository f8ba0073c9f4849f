import numpy as np
import pytest
from skimage import data
from skimage.transform import AffineTransform, warp

from tf_deepdeblur.synthesis.camera_shake import Layer, Shake, shake_photo, trajectory


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


def test_a_layer_is_seen_as_scikit_image_sees_it():
    """A smooth image, so that both ways of interpolation are exact; off the image, too."""
    y, x = np.mgrid[:90, :120]
    image = np.stack([127 + 100 * np.sin(x / 9) * np.cos(y / 11), 2 * x, 2 * y], axis=-1).astype(np.uint8)
    pose = np.array([3.3, -2.6, 0.02, 0.015])
    centre = (np.array([120, 90]) - 1) / 2
    motion = (
        AffineTransform(translation=-centre)
        + AffineTransform(scale=np.exp(pose[3]), rotation=pose[2])
        + AffineTransform(translation=centre + pose[:2])
    )
    expected = warp(image, motion.inverse, order=3, mode="edge", preserve_range=True)
    assert np.abs(Layer(image).seen_from(pose, 0, 0, 90, 120) - expected).max() < 2.0  # levels, at the border
    part = Layer(image).seen_from(pose, 20, 30, 40, 50)
    assert np.abs(part - expected[20:60, 30:80]).max() < 1.5
    np.testing.assert_array_equal(Layer(image).seen_from(np.zeros(4), 10, 20, 70, 90), image[10:80, 20:110])
    beyond = Layer(image).seen_from(np.zeros(4), -5, -7, 100, 130)
    np.testing.assert_array_equal(beyond, np.pad(image, ((5, 5), (7, 3), (0, 0)), mode="edge"))


@pytest.mark.parametrize("period", [3, 4])
def test_fine_stripes_keep_more_contrast_than_by_bicubic_interpolation(period):
    """Moved by fractions of a pixel: the contrast that is left on average and in the worst case."""
    angle = 2 * np.pi / period
    stripes = np.rint(127 + 100 * np.cos(angle * np.arange(120)))
    image = np.broadcast_to(stripes[None, :, None], (20, 120, 3)).astype(np.uint8)

    def contrast(row):
        return np.abs((row[10:-10] - 127.0) @ np.exp(-1j * angle * np.arange(100)))

    moves = np.linspace(0.05, 0.95, 10)
    ours = [Layer(image).seen_from(np.array([x, 0, 0, 0]), 0, 0, 20, 120)[9, :, 0] for x in moves]
    bicubic = [
        warp(image, AffineTransform(translation=(-x, 0)), order=3, mode="edge", preserve_range=True)[9, :, 0]
        for x in moves
    ]
    assert min(map(contrast, ours)) > min(map(contrast, bicubic))
    assert np.mean([*map(contrast, ours)]) > np.mean([*map(contrast, bicubic)])


def test_the_sharp_image_is_the_photograph_itself():
    photo = data.astronaut()[:120, :160]
    frames, sharp = shake_photo(Layer(photo), 9, Shake(6), np.random.default_rng(0))
    height, width = sharp.shape[:2]
    margin = (120 - height) // 2
    assert (height, width) == (120 - 2 * margin, 160 - 2 * margin)
    assert {frame.shape for frame in frames} == {sharp.shape}
    assert np.array_equal(sharp, photo[margin:-margin, margin:-margin])


def test_the_frames_move_as_the_trajectory_says():
    """A pure translation: each frame equals the photograph shifted by whole pixels."""
    photo = data.astronaut()[:100, :100]
    frames, _ = shake_photo(Layer(photo), 3, Shake(pixels=8, degrees=0, zoom=0), np.random.default_rng(3))
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
    frames, sharp = shake_photo(Layer(photo), 5, Shake(6), np.random.default_rng(0), moving_object=thing)
    centres = [np.argwhere(frame[..., 0] > 150).mean(axis=0) for frame in frames]
    assert np.linalg.norm(centres[0] - centres[-1]) > 2
    assert np.argwhere(sharp[..., 0] > 150).mean(axis=0) == pytest.approx(np.mean(centres, axis=0), abs=0.5)
    assert {int(frame[..., 0].max()) for frame in frames} <= {199, 200}


def test_a_photograph_smaller_than_the_motion_is_refused():
    with pytest.raises(ValueError, match="too small"):
        shake_photo(Layer(np.zeros((10, 10, 3), np.uint8)), 5, Shake(30), np.random.default_rng(0))
