import numpy as np
import pytest

from tests.synthesis.videos import damage, moving_photo, rotate, write_sound, write_video
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.images import write_image
from tf_deepdeblur.synthesis.frames import find_sources, open_frames

FRAMES = moving_photo(12, height=50, width=66)


def write_folder(folder, frames):
    folder.mkdir(parents=True)
    for i, image in enumerate(frames):
        write_image(folder / f"frame{i}.png", image)  # without leading zeros: 10 must come after 9
    return folder


@pytest.mark.parametrize("kind", ["video", "folder"])
def test_all_frames_come_upright_and_in_order(tmp_path, kind):
    path = write_video(tmp_path / "a.mp4", FRAMES) if kind == "video" else write_folder(tmp_path / "a", FRAMES)
    reader = open_frames(path)
    read = list(reader)
    assert [frame.number for frame in read] == list(range(12))
    assert [frame.follows for frame in read] == [False] + [True] * 11
    np.testing.assert_array_equal([frame.image for frame in read], FRAMES)
    assert (reader.name, reader.count, reader.damage) == ("a", 12, None)


def test_a_video_tells_its_rate_and_times(tmp_path):
    reader = open_frames(write_video(tmp_path / "a.mp4", FRAMES))
    assert reader.rate == 240
    np.testing.assert_allclose([frame.time for frame in reader], np.arange(12) / 240, atol=1e-4)


def test_variable_times_are_the_files(tmp_path):
    times = [0, 4, 8, 12, 40, 44, 48, 52, 56, 60, 64, 68]
    reader = open_frames(write_video(tmp_path / "a.mp4", FRAMES, times=times))
    np.testing.assert_allclose([frame.time for frame in reader], np.array(times) / 1000, atol=2e-3)


def test_a_phones_rotation_is_applied(tmp_path):
    path = rotate(write_video(tmp_path / "a.mp4", FRAMES))
    read = [frame.image for frame in open_frames(path)]
    np.testing.assert_array_equal(read, [np.rot90(image, -1) for image in FRAMES])


def test_a_damaged_packet_costs_the_frames_up_to_the_next_key_frame(tmp_path):
    frames = moving_photo(40)
    reader = open_frames(damage(write_video(tmp_path / "a.mp4", frames, g="10"), packet=13))
    read = list(reader)
    assert "left out" in reader.damage
    numbers = [frame.number for frame in read]
    assert set(range(13, 20)).isdisjoint(numbers)
    assert set(range(20, 40)) <= set(numbers)
    for frame in read:
        np.testing.assert_array_equal(frame.image, frames[frame.number])
    assert [frame.number for frame in read if not frame.follows] == [0, 20]


def test_a_truncated_stream_gives_what_is_there(tmp_path):
    path = write_video(tmp_path / "a.mkv", moving_photo(40))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    read = list(open_frames(path))
    np.testing.assert_array_equal([frame.image for frame in read], moving_photo(len(read)))
    assert 5 < len(read) < 40


def test_an_unreadable_image_is_left_out_and_named(tmp_path):
    folder = write_folder(tmp_path / "a", FRAMES)
    (folder / "frame5.png").write_bytes(b"no image")
    reader = open_frames(folder)
    read = list(reader)
    assert [frame.number for frame in read] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    assert [frame.number for frame in read if not frame.follows] == [0, 6]
    assert "1 images were left out, such as" in reader.damage
    assert "frame5.png" in reader.damage


def read_until(reader, number):
    """Reads frames up to one of a number, and leaves the reader there."""
    frames = iter(reader)
    while next(frames).number < number:
        pass
    frames.close()


def test_damage_is_told_of_a_video_that_is_left_early(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_photo(60), g="10")
    reader = open_frames(path)
    read_until(reader, 30)
    assert reader.damage is None  # frames that were not reached are not lost
    reader = open_frames(damage(path, packet=13))
    read_until(reader, 5)
    assert reader.damage is None
    read_until(reader, 40)
    early = reader.damage
    assert "left out" in early
    list(reader)
    assert reader.damage == early


def test_damage_is_told_of_a_folder_that_is_left_early(tmp_path):
    folder = write_folder(tmp_path / "a", FRAMES)
    (folder / "frame5.png").write_bytes(b"no image")
    reader = open_frames(folder)
    read_until(reader, 3)
    assert reader.damage is None
    read_until(reader, 8)
    assert "frame5.png" in reader.damage


def write_numbered(folder, numbers):
    folder.mkdir()
    for number in numbers:
        write_image(folder / f"take2_{number:04d}.png", FRAMES[0])
    return open_frames(folder)


def test_a_number_that_is_missing_separates_the_frames_beside_it(tmp_path):
    reader = write_numbered(tmp_path / "a", [*range(5, 12), *range(15, 22), *range(23, 27)])
    assert [frame.number for frame in reader if not frame.follows] == [0, 7, 14]
    assert reader.damage == "4 numbers are missing, such as before take2_0015.png"
    read_until(reader, 6)
    assert reader.damage is None


def test_a_number_and_an_image_may_be_missing_in_one_folder(tmp_path):
    reader = write_numbered(tmp_path / "a", [*range(8), *range(9, 16)])
    (tmp_path / "a" / "take2_0003.png").write_bytes(b"no image")
    assert [frame.number for frame in reader if not frame.follows] == [0, 4, 8]
    assert "1 images were left out, such as" in reader.damage
    assert reader.damage.endswith("; 1 numbers are missing, such as before take2_0009.png")


@pytest.mark.parametrize(
    "numbers",
    [range(0, 50, 5), [3, 4, 9, 12, 13, 20, 31], [7], [9000 + i * 1000 // 240 for i in range(24)]],
    ids=["every fifth", "any", "one", "milliseconds"],
)
def test_numbers_with_no_gap_or_no_rule_miss_nothing(tmp_path, numbers):
    reader = write_numbered(tmp_path / "a", numbers)
    assert [frame.follows for frame in reader] == [False] + [True] * (len(numbers) - 1)
    assert reader.damage is None


def test_names_without_numbers_miss_nothing(tmp_path):
    (tmp_path / "a").mkdir()
    for name in "abcdefgh9":
        write_image(tmp_path / "a" / f"{name}.png", FRAMES[0])
    reader = open_frames(tmp_path / "a")
    assert sum(frame.follows for frame in reader) == 8
    assert reader.damage is None


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: write_sound(path / "a.wav"), "cannot be read as a video"),
        (lambda path: write_sound(path / "a.mkv"), "no moving pictures"),
        (lambda path: path, "no images in this folder"),
        (lambda path: path / "nothing.mp4", "no such file or folder; give"),
        (lambda path: (path / "a.png", write_image(path / "a.png", FRAMES[0]))[0], "is one image; .*`from_photos`"),
        (lambda path: (path / "a.mp4", (path / "a.mp4").write_bytes(b"text" * 99))[0], "cannot be read as a video"),
        (lambda path: (path / "a.mp4", (path / "a.mp4").write_bytes(b""))[0], "is empty; copy it again"),
    ],
    ids=["sound", "only sound", "empty folder", "missing", "image", "text", "empty file"],
)
def test_what_is_no_footage_is_named(tmp_path, make, reason):
    path = make(tmp_path)
    with pytest.raises(InputError, match=reason) as raised:
        open_frames(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_sources_below_a_folder(tmp_path):
    write_video(tmp_path / "b.mp4", FRAMES)
    write_folder(tmp_path / "a" / "inner", FRAMES[:2])
    (tmp_path / "notes.txt").write_text("x")
    assert find_sources(tmp_path) == [tmp_path / "a" / "inner", tmp_path / "b.mp4"]
    assert find_sources(tmp_path / "a" / "inner") == [tmp_path / "a" / "inner"]
