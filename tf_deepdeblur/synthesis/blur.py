"""Blurry images from sharp ones (section 2): the exposure is the mean of many sharp frames in linear light.

``Exposure`` and ``blur_pair`` are Eq. 2. Where there is no high-speed video, ``shake_photo`` makes the frames from one
photograph: a hand-held camera's smooth random motion (translation, rotation, a little zoom), and if wanted an object
that moves on its own. Images are uint8 RGB [H, W, 3].
"""

from dataclasses import dataclass

import numpy as np
from skimage.transform import AffineTransform, warp

from tf_deepdeblur.synthesis.response import GAMMA, gamma_response, respond

_UNIT = 2.0**40  # signals are whole multiples of 2^-40: 10^-7 grey levels where the curve of gamma 2.2 is steepest
_ROWS = 64  # rows that are summed up together, so that they stay in the processor's cache


class Exposure:
    """The light of the frames that were added and not removed again (the sum in Eq. 2).

    Sums are of whole numbers, so they are exact: after any number of frames added and removed, the image is bit for bit
    that of the frames which are left. (A running sum in float32 was off by a grey level in up to 0.1% of the pixels
    where highlights pass over dark ground.)

    Args:
        response: Response of the camera.
    """

    def __init__(self, response):
        self._response = response
        self._table = np.rint(response.signals * _UNIT).astype(np.int64)
        self._offsets = None if self._table.shape[1] == 1 else np.arange(3) * 256
        self._total = None
        self.count = 0

    def add(self, frame):
        """Adds a uint8 [H, W, 3] frame; all frames are of one size."""
        self._accumulate(frame, np.add)
        self.count += 1

    def remove(self, frame):
        """Takes away a frame that was added before."""
        self._accumulate(frame, np.subtract)
        self.count -= 1

    def clear(self):
        """Takes away all frames."""
        self._total = None
        self.count = 0

    def observed(self):
        """The image that the camera makes of the mean light, B in Eq. 2; uint8 [H, W, 3], rounded only here."""
        unit = self.count * _UNIT
        image = np.empty(self._total.shape, np.uint8)
        for rows in _row_blocks(len(image)):
            image[rows] = self._response.observe(self._total[rows] / unit)
        return image

    def _accumulate(self, frame, operation):
        if self._total is None:
            self._total = np.zeros(frame.shape, np.int64)
        table = self._table.T.ravel()
        for rows in _row_blocks(len(frame)):
            levels = frame[rows] if self._offsets is None else frame[rows] + self._offsets
            operation(self._total[rows], table.take(levels, mode="clip"), out=self._total[rows])


def _row_blocks(height):
    return [slice(top, top + _ROWS) for top in range(0, height, _ROWS)]


def blur_pair(frames, gamma=GAMMA):
    """The blurry image that M successive sharp frames make, and the sharp image in its middle (Eq. 2).

    Args:
        frames: an odd number of uint8 [H, W, 3] images, in any iterable.
        gamma: of the camera response function; 1 is the linear response of the paper's Koehler experiment.

    Returns:
        (blurry, sharp), uint8 [H, W, 3] each.

    Raises:
        ValueError: if the number of frames is not odd: there is no middle one.
    """
    frames = list(frames)
    if len(frames) % 2 == 0:
        raise ValueError(f"an odd number of frames has a middle one, got {len(frames)}")
    exposure = Exposure(gamma_response(gamma))
    for frame in frames:
        exposure.add(frame)
    return exposure.observed(), frames[len(frames) // 2]


@dataclass(frozen=True)
class Shake:
    """How far the camera moves during the exposure, at most.

    ``pixels`` is the length of the path of the image centre; ``degrees`` and ``zoom`` are the total roll and the total
    change of scale.
    """

    pixels: float = 16.0
    degrees: float = 1.0
    zoom: float = 0.01


def trajectory(num_frames, shake, rng):
    """A smooth random camera path: array [num_frames, 4] of x, y (pixels), roll (radians) and log zoom.

    Each coordinate is a random cubic in time; the path starts anywhere and passes zero at the middle frame.
    """
    time = np.linspace(-1.0, 1.0, num_frames)
    powers = np.stack([time, time**2, time**3])
    path = rng.normal(size=(4, 3)) @ powers
    length = np.hypot(*np.diff(path[:2], axis=1)).sum()
    path[:2] *= shake.pixels / length
    for row, limit in ((2, np.radians(shake.degrees)), (3, shake.zoom)):
        path[row] *= rng.uniform(-1, 1) * limit / np.ptp(path[row])
    return path.T


def shake_photo(photo, num_frames, shake, rng, moving_object=None):
    """Frames that a shaking camera would have seen; the middle one is the photograph itself, untouched.

    Args:
        photo: uint8 [H, W, 3].
        num_frames: odd number of frames.
        shake: Shake.
        rng: numpy Generator.
        moving_object: None, or a uint8 [h, w, 3] image, smaller than the photograph: an ellipse of it is put in front
            of it, at a random place, and follows a path of its own.

    Returns:
        A list of uint8 images [H - 2m, W - 2m, 3]: the margin m that the motion would uncover is cut off.

    Raises:
        ValueError: if the motion leaves nothing of the photograph.
    """
    path = trajectory(num_frames, shake, rng)
    margin = _margin(path, photo.shape)
    if min(photo.shape[:2]) <= 2 * margin:
        size = f"{photo.shape[1]}x{photo.shape[0]}"
        raise ValueError(f"{size} is too small: the motion takes {margin} pixels away from each side")
    inner = tuple(slice(margin, side - margin) for side in photo.shape[:2])
    frames = [_move(_signal(photo), pose)[inner] for pose in path]
    if moving_object is not None:
        _put_in_front(frames, moving_object, path + trajectory(num_frames, shake, rng), rng)
    return [respond(frame, gamma=1.0) for frame in frames]


def _put_in_front(frames, image, path, rng):
    """Lets an ellipse of ``image`` move over the frames, along ``path`` and around its own centre; in place."""
    reach = _margin(path, image.shape)
    border = [(reach, reach), (reach, reach), (0, 0)]
    image, mask = (np.pad(part, border, mode="edge") for part in (_signal(image), _ellipse(*image.shape[:2])))
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


def _ellipse(height, width):
    """Opacity [height, width, 1] of the largest ellipse, with a soft edge."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.clip((1 - np.hypot(x, y)) * min(height, width) / 4, 0.0, 1.0).astype(np.float32)[..., None]


def _margin(path, shape):
    """Pixels at the border that some pose moves out of sight."""
    x, y, roll, log_zoom = np.abs(path).max(axis=0)
    return int(np.ceil(max(x, y) + (roll + log_zoom) * np.hypot(*shape[:2]) / 2)) + 2


def _signal(image):
    return np.asarray(image, np.float32) / 255.0
