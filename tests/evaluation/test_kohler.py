import math

import numpy as np
import pytest
from scipy import signal
from skimage import data

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.evaluation import kohler

SIDE = 170


def scene(top=60, left=80):
    return data.astronaut()[top : top + SIDE, left : left + SIDE + 6].copy()


def trajectory(num_frames=20):
    """Views of one scene along a slanted path, as the camera's poses see it."""
    return [scene(60 + frame // 6, 80 + frame // 4) for frame in range(num_frames)]


def circularly_moved(image, rows, columns):
    return np.roll(image, (rows, columns), axis=(0, 1))


def grey(image):
    return 0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]


class CountedFrames:
    """A sequence that makes its frames when it is asked, and counts."""

    def __init__(self, frames):
        self.frames, self.asked = frames, []

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, index):
        self.asked.append(index)
        return self.frames[index]


def plain_score(output, reference):
    """The data set's evaluation of one frame, step by step as its description has it, without any short cut."""
    x, z = reference.astype(float), output.astype(float)
    z *= np.sum(x * z) / np.sum(z * z)
    correlation = np.fft.ifft2(np.fft.fft2(x.mean(2)) * np.conj(np.fft.fft2(z.mean(2)))).real
    rows, columns = np.unravel_index(np.argmax(correlation), correlation.shape)
    height, width = correlation.shape
    rows, columns = (
        (rows - height if rows >= height // 2 else rows),
        (columns - width if columns >= width // 2 else columns),
    )
    moved, mask = np.zeros_like(z), np.zeros_like(z)
    for row in range(height):
        for column in range(width):
            if 0 <= row - rows < height and 0 <= column - columns < width:
                moved[row, column], mask[row, column] = z[row - rows, column - columns], 1
    a, b = grey(x * mask), grey(moved)
    return 10 * math.log10(255**2 / np.mean((a - b) ** 2)), plain_mssim(a, b)


def plain_mssim(a, b):
    window = np.exp(-(np.add.outer(np.arange(-5, 6) ** 2, np.arange(-5, 6) ** 2)) / (2 * 1.5**2))
    taps = [0.037828455507260, -0.023849465019560, -0.110624404418440, 0.377402855612830, 0.852698679008890]
    low_pass = np.outer(taps + taps[3::-1], taps + taps[3::-1])
    c1, c2, value = (0.01 * 255) ** 2, (0.03 * 255) ** 2, 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        if scale:
            a, b = (signal.convolve2d(image, low_pass / low_pass.sum(), "same", "symm")[::2, ::2] for image in (a, b))
        mean = [signal.convolve2d(m, window / window.sum(), "valid") for m in (a, b, a * a, b * b, a * b)]
        s1, s2 = (np.sqrt(np.maximum(mean[2 + i] - mean[i] ** 2, 0)) for i in (0, 1))
        value *= np.mean((2 * s1 * s2 + c2) / (s1**2 + s2**2 + c2)) ** weight
        value *= np.mean((mean[4] - mean[0] * mean[1] + c2 / 2) / (s1 * s2 + c2 / 2)) ** weight
    return value * np.mean((2 * mean[0] * mean[1] + c1) / (mean[0] ** 2 + mean[1] ** 2 + c1)) ** 0.1333


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (3, -5), (-7, 2), (12, 9)])
def test_equals_the_protocol_step_by_step(rows, columns):
    rng = np.random.default_rng(0)
    output = circularly_moved(scene(), rows, columns) // 2 + rng.integers(0, 30, (1, 1, 3)).astype(np.uint8)
    best = kohler.score(output, [scene()])
    assert (best.psnr, best.mssim) == pytest.approx(plain_score(output, scene()), abs=1e-9)


def test_a_shifted_and_darker_copy_of_a_frame_is_found_and_registered_exactly():
    frames = trajectory()
    frames[17] = frames[17] // 2 * 2
    output = circularly_moved(frames[17] // 2, 4, -3)
    best = kohler.score(output, frames)
    # Registered, the output is the frame times alpha / 2, without the 4 rows and 3 columns that wrapped round. alpha
    # is not 2, because it is estimated before the registration.
    x, z = frames[17].astype(float), output.astype(float)
    alpha = np.sum(x * z) / np.sum(z * z)
    covered = grey(x)[:-4, 3:]
    error = np.sum((covered * (1 - alpha / 2)) ** 2) / grey(x).size
    assert (best.psnr_frame, best.mssim_frame) == (17, 17)
    assert best.psnr == pytest.approx(10 * math.log10(255**2 / error), abs=1e-9)
    assert best.mssim == pytest.approx(plain_score(output, frames[17])[1], abs=1e-9)


def test_psnr_of_an_unregistered_difference_by_hand():
    reference = scene() // 2 * 2
    output = reference // 2
    output[0, 0] += 10  # the one pixel that differs after scaling
    x, z = reference.astype(float), output.astype(float)
    alpha = np.sum(x * z) / np.sum(z * z)
    error = np.mean((grey(x) - alpha * grey(z)) ** 2)
    assert kohler.score(output, [reference]).psnr == pytest.approx(10 * math.log10(255**2 / error), abs=1e-9)


def test_uncovered_strip_counts_as_equal_zeros():
    reference, output = scene(), circularly_moved(scene(), 5, 0).copy()
    output[0] //= 2  # registration moves this row out of the picture
    best = kohler.score(output, [reference])
    alpha = np.vdot(reference.astype(float), output.astype(float)) / np.vdot(output.astype(float), output.astype(float))
    error = np.sum((grey(reference.astype(float)) * (1 - alpha))[:-5] ** 2) / reference[..., 0].size
    assert best.psnr == pytest.approx(10 * math.log10(255**2 / error), abs=1e-9)


def test_best_psnr_and_best_mssim_may_be_of_different_frames():
    output = scene()
    rng = np.random.default_rng(0)
    noisy = np.clip(output + rng.normal(0, 9, output.shape), 0, 255).astype(np.uint8)
    tinted = (output * np.linspace(0.7, 1.1, SIDE)[:, None, None]).clip(0, 255).astype(np.uint8)
    best = kohler.score(output, [noisy, tinted])
    assert (best.psnr_frame, best.mssim_frame) == (0, 1)


def test_each_frame_is_read_once_and_threads_do_not_change_the_score():
    frames = CountedFrames(trajectory(9))
    one, many = kohler.score(scene(), frames, num_threads=1), kohler.score(scene(), frames.frames, num_threads=3)
    assert sorted(frames.asked) == list(range(9))
    assert one == many


@pytest.mark.parametrize("side", [6, 7])
def test_shifts_of_half_a_side_wrap_to_negative(side):
    expected = {6: {1: 1, 2: 2, 3: -3, 5: -1}, 7: {1: 1, 2: 2, 3: -4, 6: -1}}[side]
    image = np.random.default_rng(0).random((side, side))
    for moved, shift in expected.items():
        assert kohler.register(np.roll(image, moved, axis=0), np.fft.rfft2(image)) == (shift, 0)


def test_identical_grey_is_infinite_psnr_and_mssim_one():
    image = grey(scene().astype(float))
    assert kohler.psnr(image, image) == math.inf
    assert kohler.mssim(image, image) == pytest.approx(1, abs=1e-9)


def test_black_output_has_a_finite_score():
    best = kohler.score(np.zeros_like(scene()), [scene()])
    assert 0 < best.psnr < 20
    assert 0 <= best.mssim < 0.5


def test_mssim_of_a_negative_is_zero():
    image = grey(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(float))
    assert kohler.mssim(image, 255 - image) == 0


@pytest.mark.parametrize(
    ("output", "references", "message"),
    [
        (scene().astype(np.float32), [scene()], "8 bits"),
        (scene()[..., 0], [scene()], "8 bits"),
        (scene(), [scene().astype(np.uint16)], "8 bits"),
        (scene(), [scene()[1:]], "shape"),
        (scene(), [], "no reference"),
        (scene()[:160], [scene()[:160]], "161"),
    ],
)
def test_unfit_images_are_refused(output, references, message):
    with pytest.raises(InputError, match=message):
        kohler.score(output, references)
