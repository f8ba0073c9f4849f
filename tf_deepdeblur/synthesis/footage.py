"""Can this footage carry a blur data set? What is measured on the way, and the warnings that follow from it.

The average of Eq. 2 stands for a continuous exposure only while neighbouring frames show nearly the same: the paper's
footage has 240 frames per second. From fewer, what moves fast leaves separate ghosts instead of a smear.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from tf_deepdeblur.synthesis.windows import Window

_LOWEST_RATE = 120.0  # frames per second
_MOST_MOTION = 1.5  # pixels between neighbouring frames
# A step between frames is a cut above a mean absolute difference and above a multiple of the window's median step;
# between pictures that are alike, a smaller difference will do if it stands out more.
_CUT_LEVELS, _CUT_RATIO = 12.0, 4.0
_SMALL_CUT_LEVELS, _SMALL_CUT_RATIO = 6.0, 6.0
# A frame repeats the one before if it differs from it less than this part of the window's largest step, in windows
# with a step above so many grey levels.
_SAME_RATIO, _MOVES = 0.1, 0.5
_SAME_PSNR = 50.0  # dB; from here on a blurry image is the sharp one, but for rounding
_UNEVEN = 1.5  # longest interval between frames over the usual one
_BLACK, _WIDEST_PICTURE = 24, 0.98  # the highest level of black bars; the part of a side that pictures with bars fill
_TILE = 128
_MIN_TEXTURE = 3.0  # grey levels of standard deviation that a tile needs to show its motion
_MIN_PEAK = 0.05  # of the phase correlation; below, two tiles do not match


def unusable(window: Window) -> str | None:
    """Why a window cannot be one exposure: "scene cut" or "uneven frame times"; None if nothing is wrong."""
    if len(window.differences) > 1:
        *_, largest = steps = sorted(window.differences)
        # The lower median stays small even if half of the steps are large. For small cuts it is the upper one, or
        # motion would be a cut where every other frame repeats the one before.
        lower, upper = steps[(len(steps) - 1) // 2], steps[len(steps) // 2]
        is_large = largest > max(_CUT_LEVELS, _CUT_RATIO * lower)
        if is_large or largest > max(_SMALL_CUT_LEVELS, _SMALL_CUT_RATIO * upper):
            return "scene cut"
    intervals = np.diff([time for time in window.times if time is not None])
    if len(intervals) and (intervals.min() <= 0 or intervals.max() > _UNEVEN * np.median(intervals)):
        return "uneven frame times"
    return None


def motion(before: np.ndarray, after: np.ndarray) -> float:
    """How far the picture moves between two frames: the 90th percentile over its tiles, in pixels.

    Args:
        before: uint8 [H, W, 3].
        after: uint8 [H, W, 3].

    Returns:
        A float, from the phase correlation of tiles of up to 128 px; NaN if no tile has any texture.
    """
    side = min(_TILE, *before.shape[:2])
    # Up to 4x4 tiles, spread evenly over the green channel.
    tops, lefts = (np.linspace(0, length - side, min(4, length // side)).astype(int) for length in before.shape[:2])
    tiles = [(slice(top, top + side), slice(left, left + side), 1) for top in tops for left in lefts]
    taper = np.hanning(side)
    lengths = []
    for tile in tiles:
        if before[tile].std() < _MIN_TEXTURE:
            continue
        # skimage.registration.phase_cross_correlation takes ten times as long for this accuracy, and does not tell the
        # height of the peak, without which tiles that do not match could not be left out.
        spectra = [
            np.fft.rfft2((image[tile] - image[tile].mean()) * taper * taper[:, None]) for image in (before, after)
        ]
        cross = spectra[0].conj() * spectra[1]
        correlation = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-9), (side, side))
        row, column = np.unravel_index(correlation.argmax(), correlation.shape)
        if correlation[row, column] >= _MIN_PEAK:
            lengths.append(np.hypot(_refine(correlation[:, column], row), _refine(correlation[row], column)))
    return float(np.percentile(lengths, 90)) if lengths else float("nan")


def brightest(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The highest level in every row and in every column of a uint8 [H, W, 3] image, to find black bars."""
    return image.reshape(len(image), -1).max(axis=1), image.max(axis=0).max(axis=1)


class Footage:
    """Collects what the windows of one sequence show.

    Args:
        rate: frames per second, or None.
    """

    def __init__(self, rate: float | None):
        self._rate = rate
        self._motions = []
        self._neighbours = self._repeated = self._still = 0
        self._brightest = None
        self._skipped = Counter()

    def skip(self, reason: str) -> None:
        """Notes a window that was left out."""
        self._skipped[reason] += 1

    def see(
        self, differences: Sequence[float], pixels: float, edges: tuple[np.ndarray, np.ndarray], psnr: float
    ) -> None:
        """Notes a window that was used.

        Args:
            differences: the window's.
            pixels: its ``motion``.
            edges: what ``brightest`` says of it.
            psnr: of its blurry image against the sharp one, in dB.
        """
        differences = np.array(differences)
        self._motions.append(pixels)
        self._still += psnr >= _SAME_PSNR
        self._neighbours += len(differences)
        if len(differences) and differences.max() > _MOVES:
            self._repeated += int((differences < _SAME_RATIO * differences.max()).sum())
        known = self._brightest or edges
        self._brightest = tuple(np.maximum(line, other) for line, other in zip(known, edges, strict=True))

    def warnings(self) -> list[str]:
        """One line for each thing that speaks against the footage."""
        lines = [f"{count} windows left out: {reason}" for reason, count in sorted(self._skipped.items())]
        if self._rate is not None and self._rate < _LOWEST_RATE:
            lines.append(
                f"{self._rate:.4g} frames per second are too few for a smooth blur (the paper has 240); "
                "if the file is slowed down, give the camera's rate as `fps`"
            )
        moving = [pixels for pixels in self._motions if np.isfinite(pixels)]
        if moving and np.median(moving) > _MOST_MOTION:
            lines.append(
                f"neighbouring frames move by {np.median(moving):.1f} px in the median window (at most "
                f"{max(moving):.1f}): expect ghosts instead of smears; use a higher frame rate or `downscale`"
            )
        if self._repeated * 20 > self._neighbours:
            lines.append(
                f"{self._repeated} of {self._neighbours} frames repeat the one before: the real frame rate is lower"
            )
        if self._still:
            lines.append(
                f"{self._still} of {len(self._motions)} windows show no motion: their blurry images are their sharp "
                "ones; leave such parts out with `first_frame` and `last_frame`"
            )
        if self._brightest is not None:
            pictures = [np.flatnonzero(line > _BLACK) for line in self._brightest]
            (top, height), (left, width) = (
                (int(bright[0]), int(bright[-1]) + 1 - int(bright[0])) if len(bright) else (0, len(line))
                for bright, line in zip(pictures, self._brightest, strict=True)
            )
            rows, columns = map(len, self._brightest)
            if height <= _WIDEST_PICTURE * rows or width <= _WIDEST_PICTURE * columns:
                lines.append(f"black bars around the picture; cut them off with `crop={left},{top},{width},{height}`")
        return lines


def _refine(line, peak):
    """A peak's place with a fraction, around 0: a shift spreads over its two nearest pixels in proportion."""
    size = len(line)
    here, beside = line[peak], max((line[(peak + step) % size], step) for step in (-1, 1))
    fraction = max(beside[0], 0.0) / (max(beside[0], 0.0) + here) * beside[1]
    return (peak + size // 2) % size - size // 2 + fraction
