"""Windows of successive frames: what one exposure sees (section 2)."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from tf_deepdeblur.synthesis.camera_shake import Layer, Shake, shake_photo
from tf_deepdeblur.synthesis.exposure import Exposure, expose
from tf_deepdeblur.synthesis.frames import Frame
from tf_deepdeblur.synthesis.phone import Phone
from tf_deepdeblur.synthesis.response import Response

_PATH = (0.3, 1.0)  # shortest and longest camera path, in pixels per step between frames
_ZOOM, _ZOOM_PIXELS = 0.01, 16.0  # greatest change of scale, of paths so long and longer; less of shorter ones
_THUMB = 8  # thumbnails that are compared have an eighth of the frame's sides


class Window(NamedTuple):
    """M successive frames as one exposure.

    Attributes:
        first: number of its first frame in the source.
        blurry: the images that the exposures make, in the order of the responses; uint8 [H, W, 3] each.
        sharp: what the blurry images should look like: the middle frame; of a shaken photograph, the photograph.
        neighbours: the frame before the middle one (the middle one itself if M = 1), and the middle one.
        times: seconds of all M frames; None each without a clock.
        differences: mean absolute difference of each two neighbours in grey levels, over thumbnails; M - 1 numbers.
            None of a photograph's.
    """

    first: int
    blurry: list[np.ndarray]
    sharp: np.ndarray
    neighbours: tuple[np.ndarray, np.ndarray]
    times: list[float | None]
    differences: list[float]


def windows(frames: Iterable[Frame], num_frames: int, stride: int, responses: Sequence[Response]) -> Iterator[Window]:
    """Cuts a sequence into windows; one starts every ``stride`` frames, and a new one after frames that are missing.

    Each frame is added to a running sum once and, where windows overlap, taken away once: the cost per frame does not
    grow with ``num_frames``, and no more than ``num_frames`` of them are in memory.

    Args:
        frames: iterable of Frame, all of one size.
        num_frames: M, odd.
        stride: frames from the start of a window to the start of the next.
        responses: the Responses to average with.

    Yields:
        Window.
    """
    held = deque()  # (frame, difference to the one before)
    exposures = [Exposure(response) for response in responses]
    last_thumb, wait = None, 0
    for frame in frames:
        if not frame.follows:
            _forget(held, exposures, len(held))
            last_thumb, wait = None, 0
        if wait:
            wait -= 1
            continue
        thumb = np.asarray(Image.fromarray(frame.image).reduce(_THUMB), np.float32)
        difference = 0.0 if last_thumb is None else float(np.abs(thumb - last_thumb).mean())
        last_thumb = thumb
        held.append((frame, difference))
        for exposure in exposures:
            exposure.add(frame.image)
        if len(held) == num_frames:
            middle = num_frames // 2
            yield Window(
                first=held[0][0].number,
                blurry=[exposure.observed() for exposure in exposures],
                sharp=held[middle][0].image,
                neighbours=(held[max(middle - 1, 0)][0].image, held[middle][0].image),
                times=[frame.time for frame, _ in held],
                differences=[difference for _, difference in held][1:],
            )
            _forget(held, exposures, min(stride, num_frames))
            wait = max(stride - num_frames, 0)


def _forget(held, exposures, count):
    """Drops the ``count`` oldest frames."""
    if count == len(held):
        held.clear()
        for exposure in exposures:
            exposure.clear()
        return
    for _ in range(count):
        frame, _ = held.popleft()
        for exposure in exposures:
            exposure.remove(frame.image)


def photo_windows(
    photo: np.ndarray,
    num_frames: int,
    responses: Sequence[Response],
    generators: Iterable[np.random.Generator],
    *,
    shake: tuple[float, ...] = (),
    roll: float = 1.0,
    moving: float = 0.5,
    phone: bool = False,
) -> Iterator[Window]:
    """Windows that a shaking camera would see of a photograph, see ``camera_shake.shake_photo``.

    In some of the windows a part of the photograph moves on its own in front of it.

    Args:
        photo: uint8 [H, W, 3].
        num_frames: M, odd, at least 3.
        responses: the Responses to average with.
        generators: a numpy Generator for each window.
        shake: shortest and longest path of the camera in pixels. Without it paths are at most M - 1 pixels long, so
            that neighbouring frames are about a pixel apart.
        roll: greatest rotation in degrees.
        moving: part of the windows in which something moves on its own, 0 to 1.
        phone: whether to add to the blurry images what a phone adds, see ``Phone``.

    Yields:
        Window, smaller than the photograph by what the motion would uncover; ``first`` counts them.

    Raises:
        ValueError: if the motion leaves nothing of the photograph.
    """
    height, width = photo.shape[0] // 3, photo.shape[1] // 3
    background = Layer(photo)
    for number, rng in enumerate(generators):
        pixels = rng.uniform(*shake) if shake else rng.uniform(*_PATH) * (num_frames - 1)
        moving_object = photo[:height, :width] if rng.random() < moving else None
        zoom = _ZOOM * min(pixels / _ZOOM_PIXELS, 1)
        frames, sharp = shake_photo(background, num_frames, Shake(pixels, roll, zoom), rng, moving_object)
        if phone:
            camera = Phone.draw(rng)
            blurry = [camera.compress(expose(frames, camera.response(response, rng))) for response in responses]
        else:
            blurry = [expose(frames, response) for response in responses]
        middle = num_frames // 2
        yield Window(number, blurry, sharp, (frames[middle - 1], frames[middle]), [None] * num_frames, [])
