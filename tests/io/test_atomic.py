import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io import atomic
from tf_deepdeblur.io.atomic import append_line, atomic_write, is_full, locked, remove_abandoned


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_one_writer_at_a_time(tmp_path, kind):
    path = tmp_path / "a"
    path.mkdir() if kind == "folder" else path.write_text("kept")
    with locked(path):
        with pytest.raises(InputError, match="another program is writing to it; wait until it has ended") as raised:
            locked(path).__enter__()
        assert str(raised.value).startswith(f"{path}: ")
    with locked(path):
        pass
    assert list(tmp_path.rglob("*")) == [path]
    assert kind == "folder" or path.read_text() == "kept"


def test_shared_locks_keep_only_exclusive_ones_out(tmp_path):
    one, other = locked(tmp_path, shared=True), locked(tmp_path, shared=True)
    with one, other, pytest.raises(InputError, match="another program is writing to it"):
        locked(tmp_path).__enter__()
    with locked(tmp_path), pytest.raises(InputError, match="another program is writing to it"):
        locked(tmp_path, shared=True).__enter__()


def test_lines_of_several_writers_are_all_kept_whole(tmp_path):
    path = tmp_path / "lines"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: append_line(path, f"{number:05d}" * 300), range(200)))
    assert sorted(path.read_text().splitlines()) == [f"{number:05d}" * 300 for number in range(200)]


def test_no_line_is_appended_through_a_link(tmp_path):
    (tmp_path / "mine").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError):
        append_line(tmp_path / "link", "more")
    assert (tmp_path / "mine").read_text() == "kept"


def test_an_error_in_the_block_ends_the_lock(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        pass


HOLDER = """
import subprocess, sys, time
from tf_deepdeblur.io.atomic import locked

with locked(sys.argv[1]):
    child = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    time.sleep(60)
"""


def test_a_killed_process_leaves_nothing_locked_to_the_programs_it_started(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as holder:
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(InputError):
                locked(tmp_path).__enter__()
            holder.kill()
            holder.wait()
            os.kill(child, 0)  # it lives
            with locked(tmp_path):
                pass
        finally:
            holder.kill()
            os.kill(child, signal.SIGTERM)


def test_a_file_system_without_locks_lets_everybody_through(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(atomic.fcntl, "flock", flock)
    entered = 0
    for _ in range(2):
        with locked(tmp_path), locked(tmp_path):
            entered += 1
    assert entered == 2


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.ENOTDIR, False), (errno.EROFS, False)]
)
def test_only_missing_room_is_a_full_disk(number, expected):
    assert is_full(OSError(number, "reason")) is expected


def test_a_file_is_replaced_only_when_the_block_ends_well(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as part:
        part.write_text("new")
        raise ZeroDivisionError
    assert (path.read_text(), list(tmp_path.iterdir())) == ("old", [path])
    atomic.write_atomically(path, "new")
    assert (path.read_text(), list(tmp_path.iterdir())) == ("new", [path])
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_two_writers_of_one_file_do_not_share_a_temporary_file(tmp_path):
    with atomic_write(tmp_path / "a.txt") as first, atomic_write(tmp_path / "a.txt") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a.txt").read_text() == "first"  # the block that ended last


def test_no_planted_link_is_followed(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / "a.txt").symlink_to(victim)
    monkeypatch.setattr(atomic.secrets, "token_hex", lambda size: "0" * 2 * size)
    (tmp_path / f".{'0' * 16}.part.txt").symlink_to(victim)
    with pytest.raises(FileExistsError):
        atomic.write_atomically(tmp_path / "a.txt", "new")
    monkeypatch.undo()
    atomic.write_atomically(tmp_path / "a.txt", "new")
    assert (victim.read_text(), (tmp_path / "a.txt").is_symlink()) == ("kept", False)


@pytest.mark.parametrize("name", ["n" * 251 + ".png", "ü" * 125 + ".png", "a." + "s" * 253])
def test_names_of_255_bytes_can_be_written(tmp_path, name):
    assert 254 <= len(os.fsencode(name)) <= 255
    atomic.write_atomically(tmp_path / name, b"new")
    assert [path.name for path in tmp_path.iterdir()] == [name]


WRITER = """
import sys
from tf_deepdeblur.io.atomic import atomic_write

with atomic_write(sys.argv[1]) as part:
    print(part, flush=True)
    sys.stdin.read()
"""


def test_temporary_files_of_killed_programs_are_removed_later(tmp_path):
    command = [sys.executable, "-c", WRITER, tmp_path / "a.mp4"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], **pipes) as writer:
        part = Path(writer.stdout.readline().rstrip())
        kept = tmp_path / ".hero.part.mp4"  # not a name that we give
        kept.touch()
        for path in (part, kept):
            os.utime(path, (0, 0))
        remove_abandoned(tmp_path)
        assert part.exists()  # its writer lives
        writer.kill()
    os.utime(part)
    remove_abandoned(tmp_path)
    assert part.exists()  # too young
    os.utime(part, (0, 0))
    remove_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == [kept]


@pytest.mark.parametrize("kind", ["part", "old"])
def test_folders_of_killed_programs_are_removed_by_the_next_one_that_succeeds(tmp_path, kind):
    left, path = tmp_path / f".{'0' * 16}.{kind}", tmp_path / "folder"
    (left / "variables").mkdir(parents=True)
    os.utime(left, (0, 0))
    with locked(left):
        remove_abandoned(tmp_path)
    assert left.exists()  # its writer lived
    with atomic.atomic_folder(path) as part:
        os.utime(part, (0, 0))
        with pytest.raises(ZeroDivisionError), atomic.atomic_folder(path):
            raise ZeroDivisionError
        assert left.exists()  # no whole new one yet
        with atomic.atomic_folder(tmp_path / "other"):
            pass
        assert (part.exists(), left.exists()) == (True, False)
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "other"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    rename = Path.rename

    def refuse(self, target):
        if self.suffix == ".part":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="Input/output error"), atomic.atomic_folder(path):
        pass
    assert [str(child.relative_to(tmp_path)) for child in sorted(tmp_path.rglob("*"))] == ["folder", "folder/old"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "folder"
    for name in ("a", "b"):
        with atomic.atomic_folder(path) as part:
            (part / name).touch()
    assert [child.name for child in path.iterdir()] == ["b"]
    with pytest.raises(ZeroDivisionError), atomic.atomic_folder(path):
        raise ZeroDivisionError
    assert (list(tmp_path.iterdir()), [child.name for child in path.iterdir()]) == ([path], ["b"])
