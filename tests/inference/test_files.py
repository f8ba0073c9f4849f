"""The plan finds every picture once, overwrites no input and loses no file; good files are restored, bad ones named."""

import errno
import functools
import io
import itertools
import multiprocessing
import os
import tempfile
import threading
import time

import av
import numpy as np
import pytest
from PIL import Image
from tqdm import tqdm

from tests.processes import Forked
from tests.synthesis.videos import write_video
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.inference import files
from tf_deepdeblur.inference import restore as restoring
from tf_deepdeblur.inference.files import plan_jobs
from tf_deepdeblur.inference.restore import Output, restore_files
from tf_deepdeblur.io import sixteen_bit
from tf_deepdeblur.io.photo import read_photo
from tf_deepdeblur.io.video import VideoReader
from tf_deepdeblur.shards import WorkShard

RNG = np.random.default_rng(1)


def negative(image, progress=None):
    """Stands for a Deblurrer."""
    if progress:
        progress(0.5)
    return np.iinfo(image.dtype).max - image


def noise(height=20, width=30):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


# Which files to restore, and where to write them.


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "in"
    for name in (
        "b.JPG",
        "a.png",
        "notes.txt",
        ".hidden.png",
        "._a.png",
        "clip.mp4",
        "old.webp",
        "sub/a.png",
        "x.png/c.tif",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.fixture
def plan(tmp_path):
    """Plans into tmp_path/out; returns the targets' names below it, and the failures."""

    def run(*inputs, **options):
        plan = plan_jobs(list(map(str, inputs)), tmp_path / "out", **options)
        return [str(job.target.relative_to(tmp_path / "out")) for job in plan.jobs], plan.failures

    return run


def test_a_folder_is_searched_for_pictures_and_videos(plan, tree):
    assert plan(tree) == (["a.png", "b.JPG", "clip.mp4", "old.webp"], [])


def test_what_is_not_supported_is_named_with_a_remedy(plan, tree):
    # A raw file is a TIFF file whose first picture is a small preview.
    Image.fromarray(noise()).save(tree / "raw.DNG", "TIFF")
    (tree / "old.gif").touch()
    names, failures = plan(tree)
    assert names == ["a.png", "b.JPG", "clip.mp4", "old.webp"]
    assert failures == [
        f"{tree / 'old.gif'}: is not supported; save it as PNG, JPEG, WebP, TIFF or BMP, an animation as MP4",
        f"{tree / 'raw.DNG'}: is a raw file; convert it to TIFF or JPEG first",
    ]
    assert plan(tree / "raw.DNG") == ([], failures[1:])


def test_what_is_given_twice_is_restored_once(plan, tree):
    assert plan(tree / "a.png", tree, tree) == (["a.png", "b.JPG", "clip.mp4", "old.webp"], [])
    names, failures = plan(tree, tree / "sub", recursive=True)
    assert (names[4], failures) == ("sub/a.png", [])


def test_shards_divide_the_files_whatever_the_order_of_the_inputs_and_whatever_is_done(plan, tree, tmp_path):
    names, _ = plan(tree, recursive=True)
    parts = [plan(tree, recursive=True, shard=WorkShard(index, 4))[0] for index in range(4)]
    assert sorted(name for part in parts for name in part) == names
    swapped = [tree / "sub", tree / "b.JPG", tree / "x.png"], [tree / "x.png", tree / "sub", tree / "b.JPG"]
    assert plan(*swapped[0], shard=WorkShard(1, 2)) == plan(*swapped[1], shard=WorkShard(1, 2))
    for name in parts[0] + parts[2]:
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).touch()
    left = [plan(tree, recursive=True, skip_existing=True, shard=WorkShard(index, 4)) for index in range(4)]
    assert left == [([], []), (parts[1], []), ([], []), (parts[3], [])]


def test_two_files_of_one_name_meet_although_they_are_in_different_shards(plan, tree):
    planned = [plan(tree / "a.png", tree / "sub", shard=WorkShard(index, 2)) for index in range(2)]
    assert sorted(names for names, _ in planned) == [[], ["a.png"]]
    (failure,) = [line for _, failures in planned for line in failures]
    assert failure.startswith(f"{tree / 'sub' / 'a.png'}: ")
    assert f"is already written from {tree / 'a.png'}" in failure


def test_recursive_keeps_the_folders(plan, tree):
    names = ["a.png", "b.JPG", "clip.mp4", "old.webp", "sub/a.png", "x.png/c.tif"]
    assert plan(tree, recursive=True) == (names, [])


def test_videos_are_told_from_photographs(tree, tmp_path):
    jobs = plan_jobs([tree], tmp_path / "out").jobs
    assert [job.source.name for job in jobs if job.is_video] == ["clip.mp4"]


def test_files_are_written_under_their_name(plan, tree):
    assert plan(tree / "sub" / "a.png", tree / "notes.txt") == (["a.png", "notes.txt"], [])


def test_a_file_of_another_source_is_not_replaced(tree, tmp_path):
    out = tmp_path / "out"
    for name, level in (("a.png", 10), ("sub/a.png", 20)):
        Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(tree / name)
    first, second = tree / "a.png", tree / "sub" / "a.png"

    def run(source, **options):
        plan = plan_jobs([source], out, **options)
        return plan.failures + restore_files(negative, plan.jobs, Output()), plan.num_skipped

    assert run(first) == ([], 0)
    assert run(first) == ([], 0)  # its own result is replaced
    assert run(first, skip_existing=True) == ([], 1)
    refusal = f"{second}: {out / 'a.png'} was made from {first}; choose another `output_dir` or remove it"
    assert run(second) == ([refusal], 0)
    assert run(second, skip_existing=True) == ([refusal], 0)
    assert (read_photo(out / "a.png").image == 245).all()
    (out / "a.png").unlink()
    assert run(second) == ([], 0)
    assert (read_photo(out / "a.png").image == 235).all()
    assert run(first)[0] == [
        f"{first}: {out / 'a.png'} was made from {second}; choose another `output_dir` or remove it"
    ]


def test_a_file_of_unknown_origin_is_not_replaced(plan, tree, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_text("somebody's")
    names, (failure,) = plan(tree / "a.png", tree / "b.JPG")
    assert names == ["b.JPG"]
    why = "exists already and its source is unknown; choose another `output_dir` or remove it"
    assert failure == f"{tree / 'a.png'}: {tmp_path / 'out' / 'a.png'} {why}"


def test_a_file_that_appears_while_another_is_restored_is_not_replaced(tree, tmp_path):
    Image.fromarray(noise()).save(tree / "a.png")

    def late(image, progress=None):
        (tmp_path / "out" / "a.png").write_text("somebody's")
        return image

    (failure,) = restore_files(late, plan_jobs([tree / "a.png"], tmp_path / "out").jobs, Output())
    assert "its source is unknown" in failure
    assert (tmp_path / "out" / "a.png").read_text() == "somebody's"


def test_sources_are_known_when_all_is_moved_together(tree, tmp_path):
    Image.fromarray(noise()).save(tree / "a.png")
    restore_files(negative, plan_jobs([tree / "a.png"], tree / "sharp").jobs, Output())
    tree.rename(tmp_path / "moved")
    assert plan_jobs([tmp_path / "moved" / "a.png"], tmp_path / "moved" / "sharp").failures == []


@pytest.mark.parametrize("junk", [b"\xff\0{", b'[]\n5\n{"file": []}\n{"file": "a.png"}\n', b"[" * 100_000])
def test_a_damaged_record_of_sources_is_no_error(tree, tmp_path, junk):
    Image.fromarray(noise()).save(tree / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".made_from.jsonl").write_bytes(junk + b"\n")
    for _ in range(2):
        plan = plan_jobs([tree / "a.png"], tmp_path / "out")
        assert plan.failures + restore_files(negative, plan.jobs, Output()) == []


def test_a_planted_record_of_sources_is_not_followed(tree, tmp_path):
    Image.fromarray(noise()).save(tree / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "victim").write_text("kept")
    (tmp_path / "out" / ".made_from.jsonl").symlink_to(tmp_path / "victim")
    (failure,) = restore_files(negative, plan_jobs([tree / "a.png"], tmp_path / "out").jobs, Output())
    assert ".made_from.jsonl cannot be written" in failure
    assert (tmp_path / "victim").read_text() == "kept"


def test_inputs_are_never_overwritten(tree):
    plan = plan_jobs([tree / "a.png", tree / "sub" / "a.png"], tree / "sub")
    assert plan.jobs == []
    assert all("is an input and is not overwritten; choose another `output_dir`" in line for line in plan.failures)
    assert [line.split(":")[0] for line in plan.failures] == [str(tree / "a.png"), str(tree / "sub" / "a.png")]


def test_inputs_are_not_overwritten_through_links(tree, tmp_path):
    (tmp_path / "link").symlink_to(tree)
    assert plan_jobs([tree / "a.png"], tmp_path / "link").jobs == []
    assert plan_jobs([tmp_path / "link" / "a.png"], tree).jobs == []


def test_two_inputs_are_not_written_to_one_file(plan, tree):
    names, failures = plan(tree / "a.png", tree / "sub" / "a.png")
    assert names == ["a.png"]
    assert failures[0].startswith(f"{tree / 'sub' / 'a.png'}: ")
    assert failures[0].endswith(f"is already written from {tree / 'a.png'}; restore them into two folders")


def test_inputs_that_do_not_exist_are_named_with_what_may_be_wrong(plan, tree):
    names, failures = plan(tree / "gone.png", tree / "*.png", "https://example.org/a.png", "-", tree / "a.png")
    assert names == ["a.png"]
    assert failures == [
        f"{tree / 'gone.png'}: no such file or folder",
        f"{tree / '*.png'}: no such file or folder; the shell replaces a pattern by names only without quotes",
        "https://example.org/a.png: no such file or folder; addresses are not opened, download it first",
        "-: no such file or folder; standard input is not read, give files",
    ]


def test_one_name_that_is_too_long_does_not_stop_the_others(plan, tree):
    names, (failure,) = plan(tree / ("n" * 300), tree / "a.png")
    assert names == ["a.png"]
    assert failure.endswith("nnn: cannot be read (File name too long)")


def test_a_name_that_begins_with_a_tilde_is_no_home(plan, tree, monkeypatch):
    monkeypatch.chdir(tree)
    (tree / "~a.png").touch()
    assert plan("~a.png") == (["~a.png"], [])


def test_names_are_told_in_one_printable_line(plan, tmp_path):
    assert plan(tmp_path / "a\nb\x1bc.png")[1] == [f"{tmp_path}/a\\nb\\x1bc.png: no such file or folder"]


def test_one_file_under_two_names_is_restored_once(plan, tree):
    assert plan(tree / "a.png", tree / "sub" / ".." / "a.png") == (["a.png"], [])


def test_the_output_folder_as_the_only_input_is_refused(tree):
    (failure,) = plan_jobs([tree], tree).failures
    assert failure == f"{tree}: is the folder to write to; choose another `output_dir`"


def test_a_folder_that_cannot_be_written_to_is_told_before_any_work(tree, tmp_path, monkeypatch):
    def refuse(dir):
        raise PermissionError(errno.EACCES, "Permission denied", str(dir))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(
        InputError, match=r"out: cannot be written to \(Permission denied\); choose another `output_dir`"
    ):
        plan_jobs([tree], tmp_path / "out")


def test_the_output_folder_is_not_searched(tree):
    (tree / "out").mkdir()
    (tree / "out" / "done.png").touch()
    names = [job.source.name for job in plan_jobs([tree], tree / "out", recursive=True).jobs]
    assert "done.png" not in names


def test_links_are_followed_but_not_in_circles(plan, tree, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "far.png").touch()
    (tree / "linked").symlink_to(tmp_path / "elsewhere")
    (tree / "sub" / "back").symlink_to(tree)
    names, failures = plan(tree, recursive=True)
    assert "linked/far.png" in names
    assert len(names) == 7
    assert not failures


def test_links_that_lead_nowhere_are_kept_to_be_named(plan, tree):
    (tree / "loop.png").symlink_to(tree / "loop.png")
    (tree / "dangling.png").symlink_to(tree / "absent.png")
    assert {"loop.png", "dangling.png"} <= set(plan(tree)[0])


def test_existing_files_are_skipped(tree, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").touch()
    plan = plan_jobs([tree], tmp_path / "out", skip_existing=True)
    assert plan.num_skipped == 1
    assert "a.png" not in [job.source.name for job in plan.jobs]
    assert plan_jobs([tree], tmp_path / "out").num_skipped == 0


def test_a_folder_without_pictures_is_named_with_the_flag(plan, tmp_path):
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    line = f"{tmp_path / 'empty'}: no photographs or videos in this folder"
    assert plan(tmp_path / "empty")[1] == [f"{line}; `recursive` looks into its 1 folders"]
    assert plan(tmp_path / "empty", recursive=True)[1] == [line]
    assert plan(tmp_path / "gone.png", tmp_path / "empty", recursive=True)[1][1:] == [line]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(plan, tree):
    (tree / "sub").chmod(0)
    assert plan(tree, recursive=True)[1] == [f"{tree / 'sub'}: cannot be read (Permission denied)"]


def test_an_output_folder_that_cannot_be_made_is_an_error(tree):
    with pytest.raises(
        InputError, match=r"a\.png/out: cannot be written to \(Not a directory\); choose another `output_dir`"
    ):
        plan_jobs([tree], tree / "a.png" / "out")


def test_home_is_expanded(plan, tree, monkeypatch):
    monkeypatch.setenv("HOME", str(tree))
    assert plan("~/a.png")[0] == ["a.png"]


# Restoring them.


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    return tmp_path / "in"


@pytest.fixture
def restore(tmp_path, folder):
    """Restores tmp_path/in into tmp_path/out; returns the failures."""

    def run(deblur=negative, **output):
        return restore_files(deblur, plan_jobs([folder], tmp_path / "out", recursive=True).jobs, Output(**output))

    return run


def written(tmp_path):
    """All files of the output folder but the record of their sources."""
    paths = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
    return sorted(str(path.relative_to(tmp_path / "out")) for path in paths if path.name != ".made_from.jsonl")


def test_a_bad_file_does_not_stop_the_others_and_is_named(folder, restore, tmp_path):
    Image.fromarray(noise()).save(folder / "a.png")
    (folder / "b.png").write_text("hello")
    (folder / "c.mp4").write_text("hello")
    (folder / "d.png").symlink_to(folder / "d.png")
    os.mkfifo(folder / "e.png")
    Image.fromarray(noise()).save(folder / "sub" / "ä ö.png")
    failures = restore()
    assert [line.split(": ")[0] for line in failures] == [
        str(folder / name) for name in ("b.png", "c.mp4", "d.png", "e.png")
    ]
    assert all("\n" not in line for line in failures)
    assert written(tmp_path) == ["a.png", "sub/ä ö.png"]
    expected = 255 - read_photo(folder / "a.png").image
    np.testing.assert_array_equal(read_photo(tmp_path / "out" / "a.png").image, expected)


def test_errors_of_the_network_are_named_with_the_file(folder, restore, tmp_path):
    def failing(image, progress=None):
        raise InputError("memory does not suffice")

    Image.fromarray(noise()).save(folder / "a.png")
    assert restore(failing) == [f"{folder / 'a.png'}: memory does not suffice"]
    assert written(tmp_path) == []


def test_a_file_that_cannot_be_written_is_named(folder, restore, tmp_path):
    Image.fromarray(noise()).save(folder / "a.png")
    (tmp_path / "out" / "a.png" / "in the way").mkdir(parents=True)
    (line,) = restore()
    assert line.startswith(f"{folder / 'a.png'}: {tmp_path / 'out' / 'a.png'} cannot be written (")


@pytest.mark.parametrize(("module", "name"), [(restoring, "write_atomically"), (files, "append_line")])
def test_a_full_disk_is_named_with_its_remedy(folder, restore, monkeypatch, module, name):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    Image.fromarray(noise()).save(folder / "a.png")
    monkeypatch.setattr(module, name, full)
    (line,) = restore()
    assert line.endswith("cannot be written (No space left on device); make room, then go on with `skip_existing`")


def test_an_interruption_leaves_no_half_file(folder, restore, tmp_path):
    def interrupted(image, progress=None):
        if image.shape[0] == 21:
            raise KeyboardInterrupt
        return image

    Image.fromarray(noise(20)).save(folder / "a.png")
    Image.fromarray(noise(21)).save(folder / "b.png")
    with pytest.raises(
        KeyboardInterrupt, match="interrupted: 1 of 2 files are restored; go on from there with `skip_existing`"
    ):
        restore(interrupted)
    assert written(tmp_path) == ["a.png"]


def test_the_next_photograph_is_read_and_the_last_one_written_while_the_network_runs(
    folder, restore, tmp_path, monkeypatch
):
    are_read = {name: threading.Event() for name in ("a.png", "b.png", "c.png")}

    def read(path):
        are_read[path.name].set()
        return read_photo(path)

    def deblur(image, progress=None):
        number = image.shape[0] - 20
        if number < 2:
            assert are_read["bc"[number] + ".png"].wait(10)
        deadline = time.monotonic() + 10
        while number and not (tmp_path / "out" / ("ab"[number - 1] + ".png")).exists():
            assert time.monotonic() < deadline
        return image

    monkeypatch.setattr(restoring, "read_photo", read)
    for number, name in enumerate(are_read):
        Image.fromarray(noise(20 + number)).save(folder / name)
    assert restore(deblur) == []
    assert written(tmp_path) == list(are_read)


def test_failures_of_reading_restoring_and_writing_are_told_in_the_order_of_the_files(folder, restore, tmp_path):
    def refusing(image, progress=None):
        if image.shape[0] == 21:
            raise InputError("memory does not suffice")
        return image

    for number, name in enumerate(("a.png", "b.png", "d.png")):
        Image.fromarray(noise(20 + number)).save(folder / name)
    (folder / "c.png").write_text("hello")
    for name in "ad":
        (tmp_path / "out" / f"{name}.png" / "in the way").mkdir(parents=True)
    assert [line.split(": ")[0] for line in restore(refusing)] == [str(folder / f"{name}.png") for name in "abcd"]


def test_an_interrupted_video_leaves_nothing(folder, restore, tmp_path):
    write_video(folder / "clip.mp4", [noise(48, 64)] * 30)
    count = itertools.count()

    def interrupted(image, progress=None):
        if next(count) == 20:
            raise KeyboardInterrupt
        return image

    with pytest.raises(KeyboardInterrupt, match="interrupted: 0 of 1 files are restored"):
        restore(interrupted)
    assert list((tmp_path / "out").iterdir()) == []


def test_16_bits_reach_the_network_and_alpha_does_not(folder, restore, tmp_path):
    deep = RNG.integers(0, 65536, (9, 7, 4), dtype=np.uint16)
    (folder / "deep.png").write_bytes(sixteen_bit.encoded_png(deep))
    assert restore() == []
    photo = read_photo(tmp_path / "out" / "deep.png")
    np.testing.assert_array_equal(photo.image, 65535 - deep[:, :, :3])
    np.testing.assert_array_equal(photo.alpha, deep[:, :, 3])


def test_metadata_is_kept_or_stripped(folder, restore, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    Image.fromarray(noise()).save(folder / "a.jpg", exif=exif)
    for keep in (True, False):
        assert restore(keep_metadata=keep) == []
        assert (b"Maker" in (tmp_path / "out" / "a.jpg").read_bytes()) == keep


def test_more_exif_than_the_format_holds_fails_for_its_file_alone(folder, restore, tmp_path):
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(noise()).save(folder / name)
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = bytes(80_000)  # a comment
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    segments = [b"Exif\0\0" + block[:50_000], b"Exif\0\0" + block[50_000:]]  # which is how cameras write long ones
    content = (folder / "a.jpg").read_bytes()
    long = b"".join(b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment for segment in segments)
    (folder / "a.jpg").write_bytes(content[:2] + long + content[2:])
    (failure,) = restore()
    assert failure.startswith(f"{folder / 'a.jpg'}: cannot be written (EXIF data is too long); use `strip_metadata`")
    assert written(tmp_path) == ["b.jpg"]
    assert restore(keep_metadata=False) == []


def test_jpeg_quality_is_obeyed(folder, restore, tmp_path):
    Image.fromarray(noise(64, 64)).save(folder / "a.jpg")
    sizes = [restore(quality=quality) or (tmp_path / "out" / "a.jpg").stat().st_size for quality in (20, 95)]
    assert sizes[0] < sizes[1] / 2


def test_comparisons_show_before_and_after(folder, restore, tmp_path):
    image = np.full((20, 30, 3), 40, np.uint8)
    Image.fromarray(image).save(folder / "sub" / "a.png")
    Image.fromarray(image[:, :, 0]).save(folder / "grey.png")
    Image.fromarray(image).save(folder / "b.JPG")
    assert restore(comparisons=tmp_path / "compare") == []
    joined = read_photo(tmp_path / "compare" / "sub" / "a.png.jpg").image
    assert joined.shape == (20, 64, 3)
    np.testing.assert_allclose(joined[5, [5, 60]], [[40] * 3, [215] * 3], atol=3)
    assert read_photo(tmp_path / "compare" / "grey.png.jpg").is_grey
    assert read_photo(tmp_path / "compare" / "b.JPG").image.shape == (20, 64, 3)


@pytest.mark.parametrize("shape", [(65_501, 1), (1, 32_760)])
def test_comparisons_that_jpeg_cannot_hold_are_png_files(folder, restore, tmp_path, shape):
    Image.fromarray(np.zeros((*shape, 3), np.uint8)).save(folder / "a.png")
    assert restore(comparisons=tmp_path / "compare") == []
    assert read_photo(tmp_path / "compare" / "a.png").image.shape == (shape[0], 2 * shape[1] + 4, 3)


def test_a_video_is_restored_frame_by_frame(folder, restore, tmp_path):
    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "5"})
        stream.width, stream.height = 64, 48
        for level in range(40, 90, 10):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert restore(comparisons=tmp_path / "compare") == []
    with VideoReader(tmp_path / "out" / "clip.mp4") as reader:
        levels = [frame.image.mean() for frame in reader]
    np.testing.assert_allclose(levels, [215, 205, 195, 185, 175], atol=3)
    middle = read_photo(tmp_path / "compare" / "clip.mp4.jpg").image
    np.testing.assert_allclose(middle[10, [10, 120]].mean(axis=1), [60, 195], atol=4)


def test_names_of_255_bytes_are_restored_and_compared_as_far_as_possible(folder, restore, tmp_path):
    name = "n" * 251 + ".png"
    Image.fromarray(noise()).save(folder / name)
    assert restore() == []
    (failure,) = restore(comparisons=tmp_path / "compare")  # there is no room for one more suffix
    comparison = tmp_path / "compare" / f"{name}.jpg"
    assert failure == f"{folder / name}: is restored, but {comparison} cannot be written (File name too long)"
    assert written(tmp_path) == [name]


def test_the_progress_line_shows_names_without_control_characters(folder, restore, capfd):
    Image.fromarray(noise()).save(folder / "a\nb\x1b[2J.png")
    assert restore() == []
    shown = capfd.readouterr().err
    assert "a\\nb\\x1b[2J.png" in shown
    assert "\x1b[2J" not in shown
    assert "a\nb" not in shown


def test_the_progress_bar_can_be_another_one_or_none(folder, tmp_path, capfd):
    Image.fromarray(noise()).save(folder / "a.png")
    jobs = plan_jobs([folder], tmp_path / "out").jobs
    assert restore_files(negative, jobs, Output(), progress=functools.partial(tqdm, disable=True)) == []
    assert capfd.readouterr().err == ""
    shown = io.StringIO()
    assert restore_files(negative, jobs, Output(), progress=functools.partial(tqdm, file=shown)) == []
    assert "a.png: 100%" in shown.getvalue()


def restore_in_step(pipe, inputs, folder):
    """Restores nothing, but each image at the same time as another process whose end of the pipe this is."""

    def deblur(image, progress=None):
        pipe.send("at work")
        assert pipe.poll(60)
        pipe.recv()
        return image

    assert restore_files(deblur, plan_jobs(inputs, folder).jobs, Output()) == []


@pytest.mark.slow
def test_two_processes_that_write_into_one_folder_do_not_mix_up_files(folder, tmp_path):
    """At the same time they restore photographs whose names begin alike, and the same video."""
    one, other = (folder / f"a name of more than forty letters, number {number}.png" for number in (1, 2))
    images = {path: noise(40, 60) for path in (one, other)}
    for path, image in images.items():
        Image.fromarray(image).save(path)
    clip = folder / "clip.mp4"
    write_video(clip, [np.full((48, 64, 3), level, np.uint8) for level in range(40, 90, 10)])
    ours, theirs = multiprocessing.Pipe()
    process = Forked(tmp_path, restore_in_step, theirs, [other, clip], tmp_path / "out")
    restore_in_step(ours, [one, clip], tmp_path / "out")
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    for path, image in images.items():
        np.testing.assert_array_equal(read_photo(tmp_path / "out" / path.name).image, image)
    with VideoReader(tmp_path / "out" / "clip.mp4") as reader:
        np.testing.assert_allclose([frame.image.mean() for frame in reader], range(40, 90, 10), atol=3)
    assert written(tmp_path) == [one.name, other.name, "clip.mp4"]
