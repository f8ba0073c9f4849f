"""Blurry images from sharp ones (section 2, Eq. 2): the exposure is the mean of many sharp frames in linear light.

Images are uint8 RGB [H, W, 3].
"""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from tf_deepdeblur.synthesis.response import GAMMA, Response, gamma_response

_UNIT = 2.0**40  # signals are whole multiples of 2^-40: 10^-7 grey levels where the curve of gamma 2.2 is steepest
_ROWS = 32  # rows that are summed up together, so that they stay in the processor's cache


class Exposure:
    """The light of the frames that were added and not removed again (the sum in Eq. 2).

    Sums are of whole numbers, so they are exact: after any number of frames added and removed, the image is
    bit-identical to that of the frames which are left. (A running sum in float32 was off by a grey level in up to 0.1%
    of the pixels where highlights pass over dark ground.)

    Args:
        response: Response of the camera.

    Attributes:
        count: how many frames are in the sum.
    """

    def __init__(self, response: Response):
        self._response = response
        # OpenCV looks up numbers of 64 bits only if it may take them for floats; they are copied bit by bit.
        self._table = np.rint(response.signals * _UNIT).astype(np.int64)[None].view(np.float64)
        # Light in proportion to the levels: their own sum is exact, too, and takes a third of the time.
        self._is_linear = np.array_equal(response.signals, np.arange(256)[:, None] / 255.0)
        self._total = None
        self.count: int = 0

    def add(self, frame: np.ndarray) -> None:
        """Adds a uint8 [H, W, 3] frame; all frames are of one size."""
        self._accumulate(frame, np.add)
        self.count += 1

    def remove(self, frame: np.ndarray) -> None:
        """Takes away a frame that was added before."""
        self._accumulate(frame, np.subtract)
        self.count -= 1

    def clear(self) -> None:
        """Takes away all frames."""
        self._total = None
        self.count = 0

    def observed(self) -> np.ndarray:
        """The image that the camera makes of the mean light, B in Eq. 2; uint8 [H, W, 3], rounded only here."""
        unit = self.count * (255.0 if self._is_linear else _UNIT)
        image = np.empty(self._total.shape, np.uint8)
        for rows in _row_blocks(len(image)):
            image[rows] = self._response.observe(self._total[rows] / unit)
        return image

    def _accumulate(self, frame, operation):
        if self._total is None:
            self._total = np.zeros(frame.shape, np.int32 if self._is_linear else np.int64)
        if self._is_linear:
            operation(self._total, frame, out=self._total)
            return
        for rows in _row_blocks(len(frame)):
            signals = cv2.LUT(frame[rows], self._table).view(np.int64)
            operation(self._total[rows], signals, out=self._total[rows])


def _row_blocks(height):
    return [slice(top, top + _ROWS) for top in range(0, height, _ROWS)]


def expose(frames: Sequence[np.ndarray], response: Response) -> np.ndarray:
    """The image that a camera makes of the mean light of uint8 [H, W, 3] frames, B in Eq. 2."""
    exposure = Exposure(response)
    image = np.empty(frames[0].shape, np.uint8)
    for rows in _row_blocks(len(image)):  # of all frames, before the sums of the next rows push theirs out of the cache
        exposure.clear()
        for frame in frames:
            exposure.add(frame[rows])
        image[rows] = exposure.observed()
    return image


def blur_pair(frames: Iterable[np.ndarray], gamma: float = GAMMA) -> tuple[np.ndarray, np.ndarray]:
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
    return expose(frames, gamma_response(gamma)), frames[len(frames) // 2]
