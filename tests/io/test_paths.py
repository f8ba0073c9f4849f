import os

import pytest

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.paths import printable, require_regular_file


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ü 日本 plain.png", "ü 日本 plain.png"),
        ("3\u202f45\u00a0PM", "3\u202f45\u00a0PM"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\x1b[2Jclear\x07", "\\x1b[2Jclear\\x07"),
        ("gpj.\u202eexe\u2028", "gpj.\\u202eexe\\u2028"),
        (os.fsdecode(b"latin \xe9"), "latin \\udce9"),
    ],
)
def test_control_characters_are_escaped_and_spaces_are_not(name, shown):
    assert printable(name) == shown


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder, not a file"),
        (os.mkfifo, "is a pipe or a device, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a pipe or a device, not a file"),
        (lambda path: path.symlink_to(path), "cannot be read (Too many levels of symbolic links)"),
    ],
)
def test_what_is_no_regular_file_is_refused(tmp_path, make, reason):
    path = tmp_path / "a"
    make(path)
    with pytest.raises(InputError) as raised:
        require_regular_file(path)
    assert str(raised.value) == f"{path}: {reason}"


def test_a_regular_file_and_a_link_to_it_are_accepted(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "b").symlink_to(tmp_path / "a")
    require_regular_file(tmp_path / "a")
    require_regular_file(tmp_path / "b")
