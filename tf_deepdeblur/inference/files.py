"""Which photograph and video files to restore, and where to write them.

``plan_jobs`` finds what is wrong with the inputs before ``restore.restore_files`` begins with the first one. An input
is never replaced, nor a file that was not made from the same source: beside the files that are written lies
``.made_from.jsonl``, a line for every file with the path of its source.
"""

import contextlib
import functools
import json
import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.atomic import append_line, is_full
from tf_deepdeblur.io.paths import printable, require_regular_file
from tf_deepdeblur.io.photo import PHOTO_SUFFIXES
from tf_deepdeblur.io.video import VIDEO_SUFFIXES
from tf_deepdeblur.shards import ALL, WorkShard

# Pictures and videos that are not supported, with what to do: in a folder they are named, not passed over. Of raw files
# Pillow would read the small preview.
_REMEDIES = {
    "is a raw file; convert it to TIFF or JPEG first": (
        ".dng .cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .orf .rw2 .raf .pef .srw .raw"
    ),
    "is not supported; save it as PNG, JPEG, WebP, TIFF or BMP": ".avif .jxl .jp2 .psd",
    "is not supported; save it as PNG, JPEG, WebP, TIFF or BMP, an animation as MP4": ".gif",
    "is not supported; convert it to MP4 first": ".wmv .flv .mpg .mpeg .3gp",
}
_REFUSED = {suffix: remedy for remedy, suffixes in _REMEDIES.items() for suffix in suffixes.split()}
_SUFFIXES = PHOTO_SUFFIXES | VIDEO_SUFFIXES | _REFUSED.keys()
_RECORD = ".made_from.jsonl"


class Job(NamedTuple):
    """A file to restore, the file to write, and that file's path below the output folder."""

    source: Path
    target: Path
    name: Path

    @property
    def is_video(self) -> bool:
        """Whether it is read as a video; else it is read as a photograph, whatever it is."""
        return self.source.suffix.lower() in VIDEO_SUFFIXES


class Plan(NamedTuple):
    """Jobs, and what is not going to be done: one line for every failure, each beginning with the file's name."""

    jobs: list[Job]
    failures: list[str]
    num_skipped: int


def plan_jobs(
    inputs: Iterable[str | os.PathLike],
    output_dir: str | os.PathLike,
    recursive: bool = False,
    skip_existing: bool = False,
    shard: WorkShard = ALL,
) -> Plan:
    """Looks for photographs and videos.

    A file is written to ``output_dir`` under its name, a file of a folder under its path below the folder. In a folder,
    hidden files and files of other kinds are passed over, and so is ``output_dir``.

    Args:
        inputs: files and folders.
        output_dir: folder to write to; it is made if need be.
        recursive: whether folders in folders are looked into; links are followed, but into no folder twice.
        skip_existing: whether to leave out files that are there already.
        shard: of the files in the order of their names; what is wrong with the inputs themselves is told in each.

    Returns:
        Plan.

    Raises:
        InputError: naming ``output_dir``, if it cannot be written to.
    """
    output_dir = Path(output_dir).expanduser()
    _require_writable(output_dir)
    search = _Search(recursive, output_dir.resolve())
    found = [Job(source, output_dir / name, name) for given in inputs for source, name in search.find(given)]
    found = list({(_real(job.source), job.target): job for job in found}.values())
    sources = {_real(job.source) for job in found}
    first = {job.target: job for job in reversed(found)}
    if shard.count > 1:
        found = shard.of(sorted(found, key=lambda job: (job.name, job.source)))
    recorded = functools.cache(_recorded)
    jobs, failures, num_skipped = [], search.failures, 0
    for job in found:
        try:
            _require_possible(job, sources, first[job.target])
            known = recorded(job.target.parent)
            if job.target.name in known or not skip_existing:
                _require_same_source(job, known)
            if skip_existing and job.target.is_file():
                num_skipped += 1
            else:
                jobs.append(job)
        except (InputError, OSError) as error:
            failures.append(error_line(job, error))
    return Plan(jobs, list(map(printable, failures)), num_skipped)


def _require_writable(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # better now than after the first photograph's work
            pass
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({error.strerror}); choose another `output_dir`") from error


def _require_possible(job, sources, first):
    """Raises InputError if a job cannot be done; ``first`` is the first one of all that write the same file."""
    if job.source.suffix.lower() in _REFUSED:
        raise InputError(_REFUSED[job.source.suffix.lower()])
    if _real(job.target) in sources:
        raise InputError(f"{job.target} is an input and is not overwritten; choose another `output_dir`")
    if first is not job:
        raise InputError(f"{job.target} is already written from {first.source}; restore them into two folders")


class _Search:
    """Looks into folders, but never into ``output_dir`` and never twice into the same one."""

    def __init__(self, recursive, output_dir):
        self._recursive = recursive
        self._output_dir = output_dir
        self._seen = {output_dir}
        self.failures = []

    def find(self, given):
        """Pairs of (file, path to write it to below the output folder)."""
        path = Path(given)
        with contextlib.suppress(RuntimeError):  # its name begins with ~, but that is no user's
            path = path.expanduser()
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except OSError as error:
            is_missing = isinstance(error, FileNotFoundError)
            reason = "no such file or folder" if is_missing else f"cannot be read ({error.strerror})"
            self.failures.append(f"{os.fspath(given)}: {reason}{_hint(os.fspath(given))}")
            return []
        if not is_folder:
            return [(path, Path(path.name))]
        if path.resolve() in self._seen - {self._output_dir}:  # given twice: all that is in it is found already
            return []
        folders, num_failures = [], len(self.failures)
        found = [(file, file.relative_to(path)) for file in self._walk(path, folders)]
        if not found and path.resolve() == self._output_dir:
            self.failures.append(f"{path}: is the folder to write to; choose another `output_dir`")
        elif not found and len(self.failures) == num_failures:
            hint = f"; `recursive` looks into its {len(folders)} folders" if folders and not self._recursive else ""
            self.failures.append(f"{path}: no photographs or videos in this folder{hint}")
        return found

    def _walk(self, folder, folders):
        real = folder.resolve()
        if real in self._seen:
            return
        self._seen.add(real)
        try:
            entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        except OSError as error:
            self.failures.append(f"{folder}: cannot be read ({error.strerror})")
            return
        for path in entries:
            if path.is_dir():
                folders.append(path)
                if self._recursive:
                    yield from self._walk(path, folders)
            elif path.suffix.lower() in _SUFFIXES:
                yield path


def _hint(given):
    """What may be wrong with an input that does not exist."""
    if given == "-":
        return "; standard input is not read, give files"
    if "://" in given:
        return "; addresses are not opened, download it first"
    if any(character in given for character in "*?["):
        return "; the shell replaces a pattern by names only without quotes"
    return ""


def _real(path):
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a loop of links
        return path.absolute()


# Which source a file was made from.


def _recorded(folder):
    """{name of a file in ``folder``: path of its source, relative to ``folder``}, as far as the lines are sound."""
    found = {}
    with contextlib.suppress(InputError, OSError):
        require_regular_file(folder / _RECORD)
        for line in (folder / _RECORD).read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
                row = json.loads(line)
                found[row["file"]] = row["source"]
    return found


def _require_same_source(job, recorded):
    """Raises InputError if a job would replace a file that was made from another source."""
    source = recorded.get(job.target.name)
    if not job.target.is_file() or source == _relative_source(job):
        return
    if isinstance(source, str):
        known = f"{job.target} was made from {os.path.normpath(job.target.parent / source)}"
    else:
        known = f"{job.target} exists already and its source is unknown"
    raise InputError(f"{known}; choose another `output_dir` or remove it")


def record_source(job: Job) -> None:
    """Records which source a file is made from, before the file is written.

    Raises:
        InputError: if another program just wrote that file, from another source, or the record cannot be written.
    """
    recorded = _recorded(job.target.parent)
    _require_same_source(job, recorded)
    if recorded.get(job.target.name) != _relative_source(job):
        path = job.target.parent / _RECORD
        try:  # appended, so that programs that write into one folder keep each other's lines
            append_line(path, json.dumps({"file": job.target.name, "source": _relative_source(job)}))
        except OSError as error:
            remedy = "make room, then go on with `skip_existing`" if is_full(error) else "remove it"
            raise InputError(f"{path} cannot be written ({error.strerror}); {remedy}") from error


def _relative_source(job):
    """The path of the source, relative to the target's folder: both can be moved together."""
    source = _real(job.source)
    try:
        return os.path.relpath(source, _real(job.target.parent))
    except ValueError:  # on another drive
        return str(source)


def error_line(job: Job, error: InputError | OSError | MemoryError) -> str:
    """What went wrong with a job, in one line that begins with the name of its source."""
    if isinstance(error, InputError):
        reason = str(error)
        return reason if reason.startswith(f"{job.source}: ") else f"{job.source}: {reason}"
    if isinstance(error, MemoryError):
        return f"{job.source}: does not fit into memory"
    reason = error.strerror or error
    if str(error.filename) == str(job.source):
        return f"{job.source}: cannot be read ({reason})"
    remedy = "; make room, then go on with `skip_existing`" if is_full(error) else ""
    return f"{job.source}: {job.target} cannot be written ({reason}){remedy}"
