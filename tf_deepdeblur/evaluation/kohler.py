"""The Koehler data set's own protocol (Koehler et al., ECCV 2012), by which Table 3 of the paper was made.

A blurry image has some 199 references: the sharp scene seen from each pose of the camera's trajectory. An output is
compared with each of them, and the best counts, separately for PSNR and for MSSIM. Before the comparison the output
is scaled by alpha = sum(x z) / sum(z z), x the reference and z the output, and shifted by the whole-pixel translation
where the circular cross-correlation of the two channel means peaks. What the shift uncovers is zero in both images
and counts; nothing is cropped, clipped or rounded. Both measures are taken on grey = 0.299 R + 0.587 G + 0.114 B in
0..255.

MSSIM is the multi-scale SSIM of the MeTriX MuX package, which the data set's code calls: five scales with the low-pass
filter of the 9/7 wavelet between them, and contrast and structure averaged over the image separately. It is not
``tf_deepdeblur.metrics.ms_ssim``. A negative mean structure, whose fractional power is complex, counts as 0 here.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import fft, ndimage, sparse

from tf_deepdeblur.errors import InputError

_GREY = np.array([0.299, 0.587, 0.114])
_MEAN = np.full(3, 1 / 3)
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_WINDOW = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
_WINDOW /= _WINDOW.sum()
_HALF_97 = [0.037828455507260, -0.023849465019560, -0.110624404418440, 0.377402855612830]
_LOW_PASS = np.array([*_HALF_97, 0.852698679008890, *reversed(_HALF_97)])
_LOW_PASS /= _LOW_PASS.sum()
SMALLEST_SIDE = 161  # five scales, the last not smaller than the 11 pixel window


@dataclasses.dataclass(frozen=True)
class Score:
    """The best PSNR in dB and the best MSSIM, and the positions of the references where they were reached."""

    psnr: float
    mssim: float
    psnr_frame: int
    mssim_frame: int


def score(output: np.ndarray, references: Sequence[np.ndarray], num_threads: int | None = None) -> Score:
    """Scores one output against all poses of the camera.

    Args:
        output: uint8 [H, W, 3], sides of at least 161.
        references: sequence of uint8 [H, W, 3]. Each is indexed once, by one of the threads, and then dropped.
        num_threads: frames that are in work, and in memory, at a time; by default as many as there are processors.

    Returns:
        A Score.

    Raises:
        InputError: if the output or a reference is not uint8 [H, W, 3], sizes differ or there is no reference.
    """
    prepared = _Output(output)
    if not len(references):
        raise InputError("there is no reference to compare the output with")
    with ThreadPoolExecutor(num_threads) as pool:
        scores = list(pool.map(lambda index: prepared.compare(references[index]), range(len(references))))
    psnrs, mssims = np.transpose(scores)
    psnr_frame, mssim_frame = int(np.argmax(psnrs)), int(np.argmax(mssims))
    return Score(float(psnrs[psnr_frame]), float(mssims[mssim_frame]), psnr_frame, mssim_frame)


def register(reference_mean: np.ndarray, output_spectrum: np.ndarray) -> tuple[int, int]:
    """The shift (rows, columns) to apply to an output so that it lies on the reference.

    Args:
        reference_mean: float64 [H, W].
        output_spectrum: ``scipy.fft.rfft2`` of the output's [H, W].
    """
    spectrum = fft.rfft2(reference_mean) * np.conj(output_spectrum)
    correlation = fft.irfft2(spectrum, s=reference_mean.shape)
    column, row = np.unravel_index(np.argmax(correlation.T), correlation.T.shape)  # the first of equals, as MATLAB
    height, width = reference_mean.shape
    return _signed(int(row), height), _signed(int(column), width)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """10 log10(255^2 / mean squared error) of two float64 [H, W]; +inf for identical ones."""
    error = float(np.mean(np.square(a - b)))
    return 10 * math.log10(255**2 / error) if error else math.inf


def mssim(a: np.ndarray, b: np.ndarray) -> float:
    """MeTriX MuX's five-scale SSIM of two float64 [H, W] in 0..255 with sides of at least 161."""
    value = 1.0
    for weight in _WEIGHTS:
        luminance, contrast, structure = _similarities(a, b)
        value *= contrast**weight * max(structure, 0.0) ** weight
        coarsest = luminance
        a, b = _separable(_halving, a), _separable(_halving, b)
    return float(value * coarsest ** _WEIGHTS[-1])


class _Output:
    """An output and what all its comparisons share: its grey image, its energy and the spectrum of its mean."""

    def __init__(self, output):
        _require_image(output, "the output")
        if min(output.shape[:2]) < SMALLEST_SIDE:
            raise InputError(f"MSSIM needs sides of at least {SMALLEST_SIDE}, the output has {output.shape[:2]}")
        self._pixels = output.astype(np.float64)
        self._energy = np.vdot(self._pixels, self._pixels)
        self._grey = self._pixels @ _GREY
        self._spectrum = fft.rfft2(self._pixels @ _MEAN)

    def compare(self, reference: np.ndarray) -> tuple[float, float]:
        """PSNR and MSSIM against one reference, uint8 [H, W, 3]."""
        _require_image(reference, "the reference")
        if reference.shape != self._pixels.shape:
            raise InputError(f"the reference has shape {reference.shape}, the output {self._pixels.shape}")
        reference = reference.astype(np.float64)
        alpha = np.vdot(reference, self._pixels) / self._energy if self._energy else 0.0
        rows, columns = register(reference @ _MEAN, self._spectrum)
        restored = alpha * _shifted(self._grey, rows, columns)
        sharp = reference @ _GREY * _shifted(np.ones_like(self._grey), rows, columns)
        return psnr(sharp, restored), mssim(sharp, restored)


def _signed(shift, side):
    """A circular shift of half a side or more is one in the other direction."""
    return shift - side if shift >= side // 2 else shift


def _require_image(image, what):
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"{what} must be uint8 RGB [H, W, 3], got {image.dtype} {image.shape}; save it with 8 bits")


def _shifted(image, rows, columns):
    """``image`` moved down and to the right, zeros where nothing came from."""
    height, width = image.shape
    moved = np.zeros_like(image)
    kept = image[max(-rows, 0) : height - max(rows, 0), max(-columns, 0) : width - max(columns, 0)]
    moved[max(rows, 0) :, max(columns, 0) :][: kept.shape[0], : kept.shape[1]] = kept
    return moved


def _similarities(a, b):
    """Means over all windows of luminance, contrast and structure."""
    mean_a, mean_b, square_a, square_b, product = (_separable(_window, x) for x in (a, b, a * a, b * b, a * b))
    variance_a, variance_b = square_a - mean_a**2, square_b - mean_b**2
    deviations = np.sqrt(np.maximum(variance_a, 0)) * np.sqrt(np.maximum(variance_b, 0))
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    contrast = (2 * deviations + _C2) / (variance_a + variance_b + _C2)
    structure = (product - mean_a * mean_b + _C2 / 2) / (deviations + _C2 / 2)
    return luminance.mean(), contrast.mean(), structure.mean()


def _separable(matrix_for, image):
    """Applies a linear filter to the columns, then to the rows; ``matrix_for`` gives its matrix for a side."""
    for _ in range(2):
        image = (matrix_for(image.shape[0]) @ image).T
    return image


@functools.lru_cache(maxsize=16)
def _window(side):
    """Gaussian means where the window lies inside: [side - 10, side]."""
    return sparse.diags(list(_WINDOW), range(11), shape=(side - 10, side)).tocsr()


@functools.lru_cache(maxsize=16)
def _halving(side):
    """Low-pass filter with a mirrored border, then every second pixel from the first: [ceil(side / 2), side]."""
    return sparse.csr_matrix(ndimage.correlate1d(np.eye(side), _LOW_PASS, axis=0, mode="reflect")[::2])
