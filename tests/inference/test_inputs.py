"""The plan finds every picture once, overwrites no input and loses no file."""

import errno
import os
import tempfile

import pytest

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.inference.inputs import plan_jobs


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
        "old.gif",
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
    assert plan(tree) == (["a.png", "b.JPG", "clip.mp4", "old.gif"], [])


def test_recursive_keeps_the_folders(plan, tree):
    names = ["a.png", "b.JPG", "clip.mp4", "old.gif", "sub/a.png", "x.png/c.tif"]
    assert plan(tree, recursive=True) == (names, [])


def test_videos_are_told_from_photographs(tree, tmp_path):
    jobs = plan_jobs([tree], tmp_path / "out").jobs
    assert [job.source.name for job in jobs if job.is_video] == ["clip.mp4"]


def test_files_are_written_under_their_name(plan, tree):
    assert plan(tree / "sub" / "a.png", tree / "notes.txt") == (["a.png", "notes.txt"], [])


def test_the_same_file_twice_is_done_once(plan, tree):
    assert plan(tree / "a.png", tree, tree)[0].count("a.png") == 1


def test_inputs_are_never_overwritten(tree):
    plan = plan_jobs([tree / "a.png", tree / "sub" / "a.png"], tree / "sub")
    assert plan.jobs == []
    assert all("is an input and is not overwritten; give another --output_dir" in line for line in plan.failures)
    assert [line.split(":")[0] for line in plan.failures] == [str(tree / "a.png"), str(tree / "sub" / "a.png")]


def test_inputs_are_not_overwritten_through_links(tree, tmp_path):
    (tmp_path / "link").symlink_to(tree)
    assert plan_jobs([tree / "a.png"], tmp_path / "link").jobs == []
    assert plan_jobs([tmp_path / "link" / "a.png"], tree).jobs == []


def test_two_inputs_are_not_written_to_one_file(plan, tree):
    names, failures = plan(tree / "a.png", tree / "sub" / "a.png")
    assert names == ["a.png"]
    assert failures[0].startswith(f"{tree / 'sub' / 'a.png'}: ")
    assert failures[0].endswith(f"is already written from {tree / 'a.png'}; restore them in two runs")


def test_one_file_under_two_names_is_restored_once(plan, tree):
    assert plan(tree / "a.png", tree / "sub" / ".." / "a.png") == (["a.png"], [])


def test_the_output_folder_as_the_only_input_is_refused(tree):
    (failure,) = plan_jobs([tree], tree).failures
    assert failure == f"{tree}: is the folder to write to; give another --output_dir"


def test_a_folder_that_cannot_be_written_to_is_told_before_any_work(tree, tmp_path, monkeypatch):
    def refuse(dir):
        raise PermissionError(errno.EACCES, "Permission denied", str(dir))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(
        InputError, match=r"out: cannot be written to \(Permission denied\); choose another --output_dir"
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
    assert plan(tmp_path / "empty")[1] == [f"{line}; --recursive looks into its 1 folders"]
    assert plan(tmp_path / "empty", recursive=True)[1] == [line]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(plan, tree):
    (tree / "sub").chmod(0)
    assert plan(tree, recursive=True)[1] == [f"{tree / 'sub'}: cannot be read (Permission denied)"]


def test_an_output_folder_that_cannot_be_made_is_an_error(tree):
    with pytest.raises(
        InputError, match=r"a\.png/out: cannot be written to \(Not a directory\); choose another --output_dir"
    ):
        plan_jobs([tree], tree / "a.png" / "out")


def test_home_is_expanded(plan, tree, monkeypatch):
    monkeypatch.setenv("HOME", str(tree))
    assert plan("~/a.png")[0] == ["a.png"]
