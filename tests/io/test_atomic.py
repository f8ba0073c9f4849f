import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io import atomic
from tf_deepdeblur.io.atomic import is_full, locked


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
    with pytest.raises(ZeroDivisionError), atomic.atomic_write(path) as part:
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
    with atomic.atomic_write(tmp_path / "a.txt") as first, atomic.atomic_write(tmp_path / "a.txt") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a.txt").read_text() == "first"  # the block that ended last


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "folder"
    for name in ("a", "b"):
        with atomic.atomic_folder(path) as part:
            (part / name).touch()
    assert [child.name for child in path.iterdir()] == ["b"]
    with pytest.raises(ZeroDivisionError), atomic.atomic_folder(path):
        raise ZeroDivisionError
    assert (list(tmp_path.iterdir()), [child.name for child in path.iterdir()]) == ([path], ["b"])
