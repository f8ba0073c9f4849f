import numpy as np
import pytest

from tf_deepdeblur.synthesis.exposure import blur_pair
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
