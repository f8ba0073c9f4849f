from pathlib import Path

import pytest

from tests.synthesis.videos import moving_photo, write_sound, write_video
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.images import write_image
from tf_deepdeblur.synthesis.sequences import Settings, plan


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Nine videos; two of them have the same name in different folders."""
    root = tmp_path_factory.mktemp("clips")
    frames = moving_photo(3, 16, 16)
    for name in ("a", "b", "c c", "d", "e", "f", "g", "h"):
        write_video(root / f"{name}.mp4", frames)
    (root / "other").mkdir()
    write_video(root / "other" / "a.mp4", frames)
    return root


def planned(inputs, output_dir, settings=None, **arguments):
    sequences, failures = plan(inputs, output_dir, settings or Settings(), **arguments)
    assert failures == []
    return {sequence.name: sequence for sequence in sequences}


def test_names_are_those_of_gopro_large(clips, tmp_path):
    found = planned([clips], tmp_path)
    assert len(found) == 9
    for name, sequence in found.items():
        stem, num_frames, _ = name.rsplit("_", 2)
        assert int(num_frames) == sequence.num_frames in (7, 9, 11, 13)
        assert stem == sequence.source.name.replace(" ", "-")
    assert sorted(name.rsplit("_", 1)[1] for name in found if name.startswith("a_")) == ["00", "01"]
    assert len({sequence.num_frames for sequence in found.values()}) > 1


def test_nothing_depends_on_the_order_of_the_inputs(clips, tmp_path):
    paths = sorted(clips.rglob("*.mp4"))
    assert planned(paths, tmp_path).keys() == planned(paths[::-1], tmp_path).keys() == planned([clips], tmp_path).keys()


def test_a_third_of_the_sequences_is_for_test(clips, tmp_path):
    splits = [sequence.split for sequence in planned([clips], tmp_path).values()]
    assert (splits.count("test"), splits.count("train")) == (3, 6)


@pytest.mark.parametrize(("count", "fraction", "tests"), [(1, 1 / 3, 0), (2, 0.1, 1), (2, 1.0, 1), (3, 0.0, 0)])
def test_train_and_test_get_something_where_possible(clips, tmp_path, count, fraction, tests):
    found = planned([clips / f"{name}.mp4" for name in "abd"[:count]], tmp_path, test_fraction=fraction)
    assert [sequence.split for sequence in found.values()].count("test") == tests


def test_tests_can_be_named(clips, tmp_path):
    found = planned([clips], tmp_path, test_sequences=["b", "g"])
    assert {sequence.source.name for sequence in found.values() if sequence.split == "test"} == {"b", "g"}
    with pytest.raises(InputError, match="`test_sequences`: no input is called z"):
        plan([clips], tmp_path, Settings(), test_sequences=["z"])


def test_what_is_made_keeps_its_part(clips, tmp_path):
    first = planned([clips], tmp_path)
    for name, sequence in first.items():
        (tmp_path / sequence.split / name).mkdir(parents=True)
    again = planned([clips], tmp_path, test_fraction=0.9)
    assert [sequence.split for sequence in again.values()] == [sequence.split for sequence in first.values()]
    moved = next(sequence for sequence in first.values() if sequence.split == "train")
    with pytest.raises(InputError, match=rf"{moved.name}: `test_sequences` wants it in test/"):
        plan([clips], tmp_path, Settings(), test_sequences=[moved.source.name])


@pytest.mark.parametrize("split", ["train", "test"])
def test_footage_is_not_made_a_second_time_with_another_number_of_frames(clips, tmp_path, split):
    (tmp_path / split / "b_07_00").mkdir(parents=True)
    nine = Settings(min_frames=9, max_frames=9)
    with pytest.raises(InputError, match=rf"{tmp_path}/{split}/b_07_00: was made with another M.*remove it or use"):
        plan([clips], tmp_path, nine)
    assert planned([clips / "a.mp4"], tmp_path, nine).keys() == {"a_09_00"}
    assert planned([clips / "b.mp4"], tmp_path, Settings(min_frames=7, max_frames=7))["b_07_00"].split == split


def test_a_longer_name_is_other_footage(clips, tmp_path):
    for name in ("b_1_07_00", "x_b_07_00", "b_07_01"):
        (tmp_path / "test" / name).mkdir(parents=True)
    assert planned([clips / "b.mp4"], tmp_path, Settings(min_frames=9, max_frames=9)).keys() == {"b_09_00"}


def test_the_seed_draws_other_numbers(clips, tmp_path):
    assert planned([clips], tmp_path).keys() != planned([clips], tmp_path, Settings(seed=1)).keys()


def test_a_fixed_number_of_frames(clips, tmp_path):
    found = planned([clips], tmp_path, Settings(min_frames=9, max_frames=9))
    assert {sequence.num_frames for sequence in found.values()} == {9}


def test_bad_inputs_are_named_and_the_others_stay(clips, tmp_path):
    (tmp_path / "empty").mkdir()
    inputs = [clips / "a.mp4", write_sound(tmp_path / "s.wav"), tmp_path / "empty", tmp_path / "nothing.mp4"]
    sequences, failures = plan(inputs, tmp_path, Settings())
    assert [sequence.source.name for sequence in sequences] == ["a"]
    assert [line.split(": ")[0] for line in failures] == [str(Path(path)) for path in inputs[1:]]


def test_photos_are_sources_of_several_pairs(tmp_path):
    for name in ("p.png", "q.jpg"):
        write_image(tmp_path / name, moving_photo(1)[0])
    found = planned([tmp_path], tmp_path, Settings(from_photos=True, takes=3))
    assert [sequence.source.count for sequence in found.values()] == [3, 3]


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"min_frames": 8, "max_frames": 8}, "`min_frames"),
        ({"min_frames": 15}, "`max_frames"),
        ({"stride": 3, "overlap": 2}, "`stride` and `overlap`"),
        ({"overlap": 7}, "`overlap"),
        ({"first_frame": 9, "last_frame": 9}, "`last_frame"),
        ({"crop": (1, 2, 3)}, "`crop"),
        ({"crop": (0, 0, 0, 5)}, "`crop"),
        ({"gamma": float("nan")}, "`gamma` must be from 0.1 to 10.0, got nan"),
        ({"gamma": 1000.0}, "`gamma"),
        ({"gamma": 0.09}, "`gamma"),
        ({"fps": float("nan")}, "`fps"),
        ({"min_frames": 1, "max_frames": 1, "from_photos": True}, "`min_frames=3"),
    ],
)
def test_settings_that_contradict_each_other_name_the_flag(values, flag):
    with pytest.raises(InputError, match=flag):
        Settings(**values)


@pytest.mark.parametrize("gamma", [0.1, 1.0, 10.0])
def test_gammas_of_cameras_are_taken(gamma):
    assert Settings(gamma=gamma).gamma == gamma


def test_a_fraction_is_a_number_from_0_to_1(clips, tmp_path):
    with pytest.raises(InputError, match="`test_fraction` must be from 0 to 1, got nan"):
        plan([clips], tmp_path, Settings(), test_fraction=float("nan"))


def test_photographs_in_nested_folders_are_not_overlooked_in_silence(tmp_path):
    (tmp_path / "album" / "2026").mkdir(parents=True)
    write_image(tmp_path / "album" / "2026" / "a.png", moving_photo(1)[0])
    sequences, failures = plan([tmp_path / "album"], tmp_path / "out", Settings(from_photos=True))
    assert sequences == []
    assert failures == [
        f"{tmp_path / 'album'}: nothing to use in this folder; give photographs (folders in it are not read)"
    ]
