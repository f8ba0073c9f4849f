"""Which files to restore, and where to write them; everything that is wrong with them is found before the first one."""

import tempfile
from pathlib import Path
from typing import NamedTuple

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.photo import PHOTO_SUFFIXES
from tf_deepdeblur.io.video import VIDEO_SUFFIXES

# Pictures and videos that are not supported: in a folder they are named, not passed over.
_REFUSED_SUFFIXES = frozenset(
    {".gif", ".avif", ".jxl", ".jp2", ".psd", ".dng", ".wmv", ".flv", ".mpg", ".mpeg", ".3gp"}
)
_SUFFIXES = PHOTO_SUFFIXES | VIDEO_SUFFIXES | _REFUSED_SUFFIXES


class Job(NamedTuple):
    """A file to restore, the file to write, and that file's path below the output folder."""

    source: Path
    target: Path
    name: Path

    @property
    def is_video(self):
        """Whether it is read as a video; else it is read as a photograph, whatever it is."""
        return self.source.suffix.lower() in VIDEO_SUFFIXES


class Plan(NamedTuple):
    """Jobs, and what is not going to be done: one line for every failure, each beginning with the file's name."""

    jobs: list[Job]
    failures: list[str]
    num_skipped: int


def plan_jobs(inputs, output_dir, recursive=False, skip_existing=False):
    """Looks for photographs and videos.

    A file is written to ``output_dir`` under its name, a file of a folder under its path below the folder. In a folder,
    hidden files and files of other kinds are passed over, and so is ``output_dir``.

    Args:
        inputs: files and folders.
        output_dir: folder to write to; it is made if need be.
        recursive: whether folders in folders are looked into; links are followed, but into no folder twice.
        skip_existing: whether to leave out files that are there already.

    Returns:
        Plan.

    Raises:
        InputError: naming ``output_dir``, if it cannot be made.
    """
    output_dir = Path(output_dir).expanduser()
    _make_folder(output_dir)
    search = _Search(recursive, output_dir.resolve())
    found = [pair for given in inputs for pair in search.find(Path(given).expanduser())]
    jobs, failures = _without_clashes([Job(source, output_dir / name, name) for source, name in found])
    todo = [job for job in jobs if not (skip_existing and job.target.is_file())]
    return Plan(todo, search.failures + failures, len(jobs) - len(todo))


class _Search:
    """Looks into folders, but never into ``output_dir`` and never twice into the same one."""

    def __init__(self, recursive, output_dir):
        self._recursive = recursive
        self._output_dir = output_dir
        self._seen = {output_dir}
        self.failures = []

    def find(self, given):
        """Pairs of (file, path to write it to below the output folder)."""
        if not given.is_dir():
            return [(given, Path(given.name))]
        folders = []
        found = [(path, path.relative_to(given)) for path in self._walk(given, folders)]
        if not found and given.resolve() == self._output_dir:
            self.failures.append(f"{given}: is the folder to write to; give another --output_dir")
        elif not found and not self.failures:
            hint = f"; --recursive looks into its {len(folders)} folders" if folders and not self._recursive else ""
            self.failures.append(f"{given}: no photographs or videos in this folder{hint}")
        return found

    def _walk(self, folder, folders):
        real = folder.resolve()
        if real in self._seen:
            return
        self._seen.add(real)
        for path in self._entries(folder):
            if path.is_dir():
                folders.append(path)
                if self._recursive:
                    yield from self._walk(path, folders)
            elif path.suffix.lower() in _SUFFIXES:
                yield path

    def _entries(self, folder):
        try:
            return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        except OSError as error:
            self.failures.append(f"{folder}: cannot be read ({error.strerror})")
            return []


def _without_clashes(jobs):
    """Jobs of which none writes where another one reads or writes, and a line for each that would."""
    reads = {_real(job.source) for job in jobs}
    writers, failures = {}, []
    for job in {(_real(job.source), job.target): job for job in jobs}.values():
        if _real(job.target) in reads:
            failures.append(f"{job.source}: {job.target} is an input and is not overwritten; give another --output_dir")
        elif job.target in writers:
            other = writers[job.target].source
            failures.append(f"{job.source}: {job.target} is already written from {other}; restore them in two runs")
        else:
            writers[job.target] = job
    return list(writers.values()), failures


def _real(path):
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a loop of links
        return path.absolute()


def _make_folder(path):
    """Makes a folder and tries to write to it: better now than after the first photograph's work."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(f"{path}: cannot be written to ({error.strerror}); choose another --output_dir") from error
