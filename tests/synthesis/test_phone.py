import numpy as np
import pytest

from tf_deepdeblur.synthesis.exposure import Exposure
from tf_deepdeblur.synthesis.phone import Phone
from tf_deepdeblur.synthesis.response import gamma_response, linear_response

PLAIN = Phone(highlights=1.0, shot=0.0, read=0.0, quality=90)


def expose(frames, phone, response):
    exposure = Exposure(phone.response(response, np.random.default_rng(0)))
    for frame in frames:
        exposure.add(frame)
    return exposure.observed()


def flat(level):
    return np.full((256, 256, 3), level, np.uint8)


def test_a_plain_phone_changes_nothing():
    levels = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], (256, 8, 3))
    np.testing.assert_array_equal(expose([levels], PLAIN, gamma_response()), levels)


def test_a_light_that_passes_by_leaves_a_white_streak():
    """White for an eighth of the exposure: a plain camera sees an eighth of the light, this one is just full."""
    frames = [flat(255), *[flat(0)] * 7]
    assert expose(frames, PLAIN, linear_response()).max() == 32
    assert expose(frames, PLAIN._replace(highlights=8.0), linear_response()).min() == 255
    grey = [flat(249), *[flat(0)] * 7]  # is not white
    np.testing.assert_array_equal(
        expose(grey, PLAIN._replace(highlights=8.0), linear_response()), expose(grey, PLAIN, linear_response())
    )


@pytest.mark.parametrize("level", [51, 153])
def test_noise_has_the_deviation_that_the_model_says(level):
    signal = level / 255
    deviation = np.sqrt(1e-3 * signal + 2e-2**2)
    noisy = expose([flat(level)], PLAIN._replace(shot=1e-3, read=2e-2), linear_response()) / 255
    assert noisy.mean() == pytest.approx(signal, abs=3e-4)
    assert noisy.std() == pytest.approx(deviation, rel=0.02)


def test_a_lower_quality_leaves_less():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    errors = [np.abs(PLAIN._replace(quality=q).compress(image).astype(int) - image).mean() for q in (98, 75)]
    assert 0 < errors[0] < errors[1]


def test_draws_are_within_their_limits_and_differ():
    phones = [Phone.draw(np.random.default_rng(seed)) for seed in range(200)]
    lows, highs = np.min(phones, axis=0), np.max(phones, axis=0)
    assert (lows >= [1, 1e-5, 1e-4, 75]).all()
    assert (highs <= [3 + 1e-9, 5e-4 + 1e-9, 1e-3 + 1e-9, 98]).all()
    assert (highs > 1.2 * lows).all()
