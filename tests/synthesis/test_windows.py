import tracemalloc

import numpy as np
import pytest

from tf_deepdeblur.synthesis.exposure import Exposure
from tf_deepdeblur.synthesis.frames import Frame
from tf_deepdeblur.synthesis.response import gamma_response, linear_response, linearise, respond
from tf_deepdeblur.synthesis.windows import photo_windows, windows

RESPONSES = [gamma_response(), linear_response()]


def random_frames(count, gaps=(), seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (count, 9, 7, 3), np.uint8)
    return [Frame(i, i / 240, image, i > 0 and i not in gaps) for i, image in enumerate(images)]


def exact(frames, gamma):
    return respond(np.mean([linearise(frame.image, gamma) for frame in frames], axis=0), gamma)


@pytest.mark.parametrize(("num_frames", "stride"), [(1, 1), (7, 7), (7, 2), (5, 12), (13, 1)])
def test_a_window_is_the_exact_mean_of_its_frames(num_frames, stride):
    frames = random_frames(60)
    found = list(windows(frames, num_frames, stride, RESPONSES))
    assert [window.first for window in found] == list(range(0, 60 - num_frames + 1, stride))
    for window in found:
        inside = frames[window.first : window.first + num_frames]
        np.testing.assert_array_equal(window.blurry[0], exact(inside, 2.2))
        np.testing.assert_array_equal(window.blurry[1], exact(inside, 1.0))
        assert window.sharp is inside[num_frames // 2].image
        assert window.neighbours[0] is inside[max(num_frames // 2 - 1, 0)].image
        assert window.neighbours[1] is window.sharp
        assert window.times == [frame.time for frame in inside]
        assert len(window.differences) == num_frames - 1


def test_no_window_reaches_over_missing_frames():
    starts = [window.first for window in windows(random_frames(30, gaps=(5, 16)), 5, 3, RESPONSES)]
    assert starts == [0, 5, 8, 11, 16, 19, 22, 25]


def test_a_running_sum_leaves_no_trace_after_many_frames():
    """Bit for bit what a fresh sum gives: a resumed run makes the same images."""
    highlights = np.random.default_rng(0).integers(0, 20, (600, 8, 8, 3)).astype(np.uint8)
    highlights[::9] = 255
    running = Exposure(gamma_response())
    for i, image in enumerate(highlights):
        running.add(image)
        if i >= 7:
            running.remove(highlights[i - 7])
    fresh = Exposure(gamma_response())
    for image in highlights[-7:]:
        fresh.add(image)
    np.testing.assert_array_equal(running.observed(), fresh.observed())
    np.testing.assert_array_equal(running._total, fresh._total)


def test_differences_show_where_the_picture_jumps():
    images = [np.full((16, 16, 3), level, np.uint8) for level in (10, 12, 12, 90, 91)]
    frames = [Frame(i, None, image, i > 0) for i, image in enumerate(images)]
    (window,) = windows(frames, 5, 5, RESPONSES)
    assert window.differences == [2, 0, 78, 1]


def test_memory_does_not_grow_with_the_length_of_the_footage():
    def endless(count):
        for i in range(count):
            yield Frame(i, None, np.full((60, 80, 3), i % 256, np.uint8), i > 0)

    def peak(count):
        tracemalloc.start()
        for _ in windows(endless(count), 7, 3, RESPONSES):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(30)
    assert peak(600) < 1.2 * peak(60)


def test_the_sharp_image_is_the_photograph():
    photo = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    generators = [np.random.default_rng(seed) for seed in range(4)]
    found = list(photo_windows(photo, 7, RESPONSES, generators))
    assert [window.first for window in found] == [0, 1, 2, 3]
    for window in found:
        height, width = window.sharp.shape[:2]
        margin = (90 - height) // 2
        assert width == 120 - 2 * margin
        assert not np.array_equal(window.blurry[0], window.sharp)
    still = [window.sharp for window in found if len(np.unique(window.sharp == _inner(photo, window.sharp))) == 1]
    assert still  # without an object in front, every pixel is the photograph's


def _inner(photo, like):
    margin = (photo.shape[0] - like.shape[0]) // 2
    return photo[margin:-margin, margin:-margin]


def test_the_path_is_as_long_as_it_is_wanted(tmp_path):
    """A bright point on black, alone: its streak is as long as the camera's path."""
    photo = np.zeros((120, 120, 3), np.uint8)
    photo[60, 60] = 255
    for length in (0.0, 4.0, 20.0):
        (window,) = _shaken(photo, 41, shake=(length, length), roll=0.0, moving=0.0)
        streak = np.argwhere(window.blurry[0].max(axis=-1) > 40)
        reach = np.ptp(streak, axis=0)
        assert np.hypot(*reach) <= length + 3  # the bicubic filter adds up to 1.5 px at both ends
        assert np.hypot(*reach) >= length / 3  # the path may turn round


def test_the_photograph_lies_at_the_centre_of_gravity_of_its_blurry_image():
    """A small bright square alone on black, in linear light."""
    photo = np.zeros((120, 120, 3), np.uint8)
    photo[55:65, 55:65] = 255
    for seed in range(5):
        generators = [np.random.default_rng(seed)]
        (window,) = photo_windows(photo, 41, RESPONSES, generators, shake=(20.0, 20.0), roll=2.0, moving=0.0)
        light = window.blurry[1][..., 0] / window.blurry[1][..., 0].sum()
        centre = [(light.sum(axis=1 - axis) * np.arange(light.shape[axis])).sum() for axis in (0, 1)]
        height, width = light.shape
        assert centre == pytest.approx([(height - 1) / 2, (width - 1) / 2], abs=0.15)


def test_no_shake_and_no_roll_leave_the_photograph_as_it_is():
    photo = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    (window,) = _shaken(photo, 3, shake=(0, 0), roll=0.0, moving=0.0)
    for blurry in window.blurry:
        np.testing.assert_array_equal(blurry, window.sharp)


def test_what_the_phone_adds_is_in_the_blurry_image_alone():
    photo = np.full((80, 80, 3), 120, np.uint8)
    (clean,) = _shaken(photo, 3, shake=(1, 2))
    (phone,) = _shaken(photo, 3, shake=(1, 2), phone=True)
    np.testing.assert_array_equal(phone.sharp, clean.sharp)
    np.testing.assert_array_equal(clean.blurry[0], clean.sharp)
    for blurry in phone.blurry:
        noise = blurry.astype(int) - 120
        assert 0 < np.abs(noise).mean() < 10
        assert np.abs(noise.mean()) < 1


def _shaken(photo, num_frames, **options):
    return list(photo_windows(photo, num_frames, RESPONSES, [np.random.default_rng(3)], **options))
