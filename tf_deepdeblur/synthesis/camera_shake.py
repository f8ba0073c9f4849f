"""Sharp frames from one photograph, as a hand-held camera would see it: for blur without high-speed video.

The camera moves smoothly and at random (translation, roll, a little zoom); if wanted, an object moves on its own in
front of it. Images are uint8 RGB [H, W, 3].
"""

from dataclasses import dataclass

import numpy as np
from skimage.transform import AffineTransform, warp

from tf_deepdeblur.synthesis.response import respond


@dataclass(frozen=True)
class Shake:
    """How far the camera moves during the exposure, at most.

    ``pixels`` is the length of the path of the image centre; ``degrees`` and ``zoom`` are the total roll and the total
    change of scale.
    """

    pixels: float = 16.0
    degrees: float = 1.0
    zoom: float = 0.01


def trajectory(num_frames: int, shake: Shake, rng: np.random.Generator) -> np.ndarray:
    """A smooth random camera path: array [num_frames, 4] of x, y (pixels), roll (radians) and log zoom.

    Each coordinate is a random cubic in time, and its mean over the exposure is zero. So the photograph, at the pose
    zero, lies at the centre of gravity of its blurry image. The middle frame would lie off it by an amount that no
    network can tell from the blurry image: run backwards, the same path makes the same blur.
    """
    time = np.linspace(-1.0, 1.0, num_frames)
    powers = np.stack([time, time**2, time**3])
    path = rng.normal(size=(4, 3)) @ powers
    length = np.hypot(*np.diff(path[:2], axis=1)).sum()
    path[:2] *= shake.pixels / length
    for row, limit in ((2, np.radians(shake.degrees)), (3, shake.zoom)):
        path[row] *= rng.uniform(-1, 1) * limit / np.ptp(path[row])
    return (path - path.mean(axis=1, keepdims=True)).T


def shake_photo(
    photo: np.ndarray,
    num_frames: int,
    shake: Shake,
    rng: np.random.Generator,
    moving_object: np.ndarray | None = None,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Frames that a shaking camera would have seen, and the sharp image that their mean blurs.

    Args:
        photo: uint8 [H, W, 3].
        num_frames: odd number of frames.
        shake: Shake.
        rng: numpy Generator.
        moving_object: None, or a uint8 [h, w, 3] image, smaller than the photograph: an ellipse of it is put in front
            of it, at a random place, and follows a path of its own.

    Returns:
        (frames, sharp): uint8 images [H - 2m, W - 2m, 3]; the margin m that the motion would uncover is cut off.
        ``sharp`` is the photograph itself, untouched but for the moving object, at the mean of the frames' poses.

    Raises:
        ValueError: if the motion leaves nothing of the photograph.
    """
    still = np.zeros((1, 4))
    path = np.concatenate([trajectory(num_frames, shake, rng), still])
    margin = _margin(path, photo.shape)
    if min(photo.shape[:2]) <= 2 * margin:
        size = f"{photo.shape[1]}x{photo.shape[0]}"
        raise ValueError(f"{size} is too small: the motion takes {margin} pixels away from each side")
    inner = tuple(slice(margin, side - margin) for side in photo.shape[:2])
    frames = [_move(_signal(photo), pose)[inner] for pose in path]
    if moving_object is not None:
        own_path = np.concatenate([trajectory(num_frames, shake, rng), still])
        _put_in_front(frames, moving_object, path + own_path, rng)
    *frames, sharp = (respond(frame, gamma=1.0) for frame in frames)
    return frames, sharp


def _put_in_front(frames, image, path, rng):
    """Lets an ellipse of ``image`` move over the frames, along ``path`` and around its own centre; in place."""
    reach = _margin(path, image.shape)
    border = [(reach, reach), (reach, reach), (0, 0)]
    height, width = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    opacity = np.clip((1 - np.hypot(x, y)) * min(height, width) / 4, 0.0, 1.0)  # of an ellipse with a soft edge
    image, mask = (np.pad(part, border, mode="edge") for part in (_signal(image), np.float32(opacity)[..., None]))
    height, width = image.shape[:2]
    top, left = (
        rng.integers(0, max(1, whole - part + 1)) for whole, part in zip(frames[0].shape, (height, width), strict=False)
    )
    for frame, pose in zip(frames, path, strict=True):
        place = frame[top : top + height, left : left + width]
        seen = tuple(slice(side) for side in place.shape[:2])
        opacity = _move(mask, pose)[seen]
        place[:] = place * (1 - opacity) + _move(image, pose)[seen] * opacity


def _move(image, pose):
    """The image as seen from one point of the path, by bicubic interpolation; the pose zero changes nothing."""
    if not pose.any():
        return image.copy()
    x, y, roll, log_zoom = pose
    centre = (np.array(image.shape[1::-1]) - 1) / 2
    motion = (
        AffineTransform(translation=-centre)
        + AffineTransform(scale=np.exp(log_zoom), rotation=roll)
        + AffineTransform(translation=centre + np.array([x, y]))
    )
    return np.clip(warp(image, motion.inverse, order=3, mode="edge", preserve_range=True), 0.0, 1.0)


def _margin(path, shape):
    """Pixels at the border that some pose moves out of sight."""
    x, y, roll, log_zoom = np.abs(path).max(axis=0)
    return int(np.ceil(max(x, y) + (roll + log_zoom) * np.hypot(*shape[:2]) / 2)) + 2


def _signal(image):
    return np.asarray(image, np.float32) / 255.0
