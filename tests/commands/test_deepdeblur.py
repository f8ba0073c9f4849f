"""``deepdeblur`` itself, the shipped configurations, and how fast a mistake is told."""

import ast
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands.conftest import import_command
from tf_deepdeblur import cli, commands

ROOT = Path(__file__).parents[2]
TOOLS = {"import_weights": "import_torch_weights", "pack": "pack_dataset"}


def deepdeblur(capsys, monkeypatch, *arguments):
    """(exit code, stdout, stderr) of ``deepdeblur ARGUMENTS``."""
    monkeypatch.setattr(sys, "argv", ["deepdeblur", *arguments])
    code = 0
    try:
        commands.main()
    except SystemExit as ended:
        code = ended.code
    return (code, *capsys.readouterr())


def test_alone_it_lists_every_command_with_a_line(capsys, monkeypatch):
    code, out, err = deepdeblur(capsys, monkeypatch)
    assert (code, err) == (0, "")
    lines = [line.split(maxsplit=1) for line in out.splitlines() if line.startswith("  ")]
    assert [name for name, _ in lines] == list(commands.COMMANDS)
    modules = {path.stem for path in Path(commands.__file__).parent.glob("[a-z]*.py")}
    assert modules == set(commands.COMMANDS)
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize("arguments", [[], ["pack", "--help"]])
def test_a_reader_who_has_seen_enough_causes_no_error(arguments):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "tf_deepdeblur", *arguments]
    finished = subprocess.run(command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (finished.returncode, finished.stderr) == (0, "")


@pytest.mark.parametrize(
    ("word", "hint"), [("tran", "did you mean train?"), ("?", "deepdeblur --help lists the commands")]
)
def test_an_unknown_command_is_one_line(capsys, monkeypatch, word, hint):
    assert deepdeblur(capsys, monkeypatch, word) == (2, "", f"deepdeblur: no command {word!r}; {hint}\n")


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_help_shows_the_docstring_and_every_flag(run_here, name):
    shown = run_here(name, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    module = import_command(name)
    assert module.__doc__ in shown.stdout
    own = cli.flags.FLAGS.get_key_flags_for_module(module)
    assert own
    assert all(f"--{flag.name}:" in shown.stdout or f"--[no]{flag.name}:" in shown.stdout for flag in own)


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_the_old_path_runs_the_command(name):
    """The file under tools/ does nothing but run the command of its name."""
    tree = ast.parse((ROOT / "tools" / f"{TOOLS.get(name, name)}.py").read_text())
    calls = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert calls == [f"run({name!r})"]


@pytest.mark.parametrize("arguments", [["train", "--num_scales=4"], ["deblur"], ["export", "--output_dir=x", "a"]])
def test_a_usage_error_does_not_wait_for_tensorflow(arguments):
    code = (
        f"import sys; sys.argv = {['deepdeblur', *arguments]}\n"
        "from tf_deepdeblur.commands import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert ended.code == 2, ended.code\n"
        "assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules), 'imported'"
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert len(finished.stderr.splitlines()) == 1


def test_a_shipped_config_is_found_where_there_is_none(run_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad_size = run_here("train", "--flagfile", "configs/demo.cfg", "--patch_size=97")
    assert bad_size.stderr == (
        "deepdeblur train: --patch_size must be a multiple of 4 with --num_scales=3 and --space_to_depth=1, got 97\n"
    )
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "demo.cfg").write_text("--num_scales=9\n")
    assert "--num_scales must be one of 1, 2, 3, got 9" in run_here("train", "--flagfile=configs/demo.cfg").stderr
    missing = run_here("train", "--flagfile=configs/none.cfg")
    assert missing.returncode == 2
    assert missing.stderr.startswith(
        "deepdeblur train: configs/none.cfg: no such file; give a file of flags, or one of"
    )
    assert "demo.cfg" in missing.stderr
    assert len(missing.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [["--flagfile", "flags"], ["--flagfile=flags"]])
def test_a_flagfile_that_cannot_be_read_is_named(run_here, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    flagfile = tmp_path / "flags"
    flagfile.mkdir()
    assert run_here("deblur", *words).stderr.startswith("deepdeblur deblur: flags: cannot be read (Is a directory); ")
    flagfile.rmdir()
    flagfile.write_bytes(b"\xff\xd8\xff")
    finished = run_here("deblur", *words)
    assert (finished.returncode, finished.stderr) == (2, "deepdeblur deblur: flags: is not a text file of flags\n")


def test_arguments_in_backticks_are_shown_as_flags(capsys):
    import_command("train")
    cli.complain("deepdeblur train", "use a larger `patch_size`, `adversarial_weight=0` or `no_flag`\nor none")
    assert (
        capsys.readouterr().err
        == "deepdeblur train: use a larger --patch_size, --adversarial_weight=0 or no_flag or none\n"
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_sigterm_is_not_lost_if_it_arrives_in_a_finaliser(capsys):
    """What is raised there goes nowhere, so it is raised again."""

    class Finalised:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    def main(_):
        Finalised()
        time.sleep(10)

    handler = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            cli._run_main(main, ["deepdeblur"])
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert ended.value.code == 143
    assert capsys.readouterr().err == "deepdeblur: stopped by SIGTERM\n"
