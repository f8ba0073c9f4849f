"""Sharp high-speed footage, or photographs -> a data set in the layout of GOPRO_Large (section 2).

    train|test/<source>_<M>_<n>/{blur,blur_gamma,sharp}/000001.png    M frames averaged; n counts sources of one name
    train|test/<source>_<M>_<n>/manifest.csv, settings.json           the sequence's pairs, and how they were made
    train|test/<source>_<M>_<n>/warnings.txt                          what speaks against its footage, if anything does
    manifest.csv, contact_sheet.png                                   all pairs; some of them to look at

``blur_gamma`` is the mean in linear light seen through the response curve again, ``blur`` the mean of the levels as
they are. A sequence is made in ``.unfinished`` and moves into place when it is complete: training never sees a half of
it. Started again, complete sequences and images are kept. Equal sources and settings give equal bytes, however often it
was stopped.
"""

import contextlib
import functools
import os
import shutil
import threading
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tf_deepdeblur.cluster import Cluster, Pool
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.atomic import is_full, locked, write_atomically
from tf_deepdeblur.io.images import read_image
from tf_deepdeblur.runtime import num_cores
from tf_deepdeblur.shards import ALL, WorkShard
from tf_deepdeblur.synthesis import made
from tf_deepdeblur.synthesis.footage import Footage, unusable
from tf_deepdeblur.synthesis.manifest import write_manifest, write_summary
from tf_deepdeblur.synthesis.pair import BLUR_KEYS, cut, write_pair
from tf_deepdeblur.synthesis.response import camera_response, linear_response
from tf_deepdeblur.synthesis.sequences import Sequence, Settings
from tf_deepdeblur.synthesis.windows import photo_windows, windows

_WARNINGS = "warnings.txt"


def make_blur(
    sequences: list[Sequence],
    output_dir: str | os.PathLike,
    settings: Settings,
    shard: WorkShard = ALL,
    cluster: Cluster | None = None,
) -> tuple[list[str], list[str]]:
    """Makes the sequences that are not there yet, on all cores; see the module's docstring for what is written.

    Args:
        sequences: list of Sequence, from ``sequences.plan``.
        output_dir: folder of the data set.
        settings: Settings.
        shard: the part of the sequences to make, while other machines make other parts in the same folder.
        cluster: None, or where actors make them instead of this process.

    Returns:
        (warnings, failures): one line each. Warnings say what speaks against the footage, also that of sequences which
        were there, failures which source was not made and why; the others are.

    Raises:
        InputError: if the folder cannot be written, for example because the disk is full, or if another program is
            writing to it.
    """
    output_dir = Path(output_dir)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        with locked(output_dir, shared=shard.count > 1):
            own = shard.of(sequences)
            if cluster:
                warnings, failures = _make_on(cluster, own, output_dir, settings)
            else:
                warnings, failures = _Maker(output_dir, settings, own).make(own)
            write_summary(output_dir)
            folders = [output_dir / sequence.split / sequence.name for sequence in sequences]
            # Else another machine may be about to begin its next sequence there.
            if shard.count == 1 or all(folder.is_dir() for folder in folders):
                with contextlib.suppress(OSError):
                    (output_dir / ".unfinished").rmdir()  # stays while something is in it
    except OSError as error:
        remedy = "choose another folder"
        if is_full(error):
            remedy = "what is whole is kept: make room, then start the same command again"
        raise InputError(f"{output_dir}: cannot be written ({error.strerror}); {remedy}") from error
    return warnings, failures


def _make_on(cluster, sequences, output_dir, settings):
    """(warnings, failures) of sequences that actors make, the longest first."""

    def open_worker():
        return lambda batch, report: _Maker(output_dir, settings, batch, report).make(batch)

    warnings, failures = [], []
    lengths = [_num_steps(sequence.source, settings) or 1 for sequence in sequences]
    bar = functools.partial(
        tqdm, desc="make blur", unit="pair" if settings.from_photos else "frame", dynamic_ncols=True
    )
    with Pool(cluster, output_dir, use_gpus=False) as pool:
        for _, (warned, failed) in pool.map(open_worker, sequences, lengths, bar):
            warnings += warned
            failures += failed
        failures += [f"{sequence.source.path}: {reason}" for sequence, reason in pool.lost]
    return sorted(warnings), sorted(failures)


class _StoppedError(Exception):
    """Another sequence met an error that ends the whole run."""


class _Maker:
    """One run: what its sequences share.

    A few sequences are read at the same time, each by a thread of its own; their windows go to a pool of writers, which
    compress images, the larger part of the work. ``_room`` limits the windows that wait in memory.
    """

    def __init__(self, output_dir, settings, sequences, report=None):
        self._output_dir = output_dir
        self._settings = settings
        self._responses = [camera_response(settings.camera_response, settings.gamma), linear_response()]
        self._writers = ThreadPoolExecutor(num_cores())
        self._room = threading.BoundedSemaphore(2 * num_cores())
        self._stop = threading.Event()
        self._report, self._num_done = report, 0
        counts = [_num_steps(sequence.source, settings) for sequence in sequences]
        self._progress = tqdm(
            total=None if None in counts else sum(counts),
            desc="make blur",
            unit="pair" if settings.from_photos else "frame",
            dynamic_ncols=True,
        )
        self._progress_lock = threading.Lock()

    def make(self, sequences):
        """(warnings, failures) of all sequences."""
        warnings, failures = [], []
        # Decoding footage and compressing pairs take about as long; making a photograph's pairs takes longer.
        readers = ThreadPoolExecutor(num_cores() if self._settings.from_photos else max(num_cores() // 2, 1))
        running = {readers.submit(self._make_sequence, sequence): sequence for sequence in sequences}
        try:
            for future in as_completed(running):
                try:
                    warnings += [f"{running[future].source.path}: {line}" for line in future.result()]
                except InputError as error:
                    failures.append(str(error))
        finally:
            self._stop.set()
            readers.shutdown(cancel_futures=True)
            self._writers.shutdown(cancel_futures=True)
            self._progress.close()
        return sorted(warnings), sorted(failures)

    def _make_sequence(self, sequence):
        """Makes one sequence, unless it is there; returns its warnings."""
        record = made.record(sequence.source, self._settings, self._responses[0])
        folder = self._output_dir / sequence.split / sequence.name
        part = self._output_dir / ".unfinished" / sequence.name
        if not folder.is_dir():
            part.mkdir(parents=True, exist_ok=True)
            with locked(part):  # should two machines make the same shard
                if not folder.is_dir():
                    self._complete(part, sequence, record)
                    folder.parent.mkdir(parents=True, exist_ok=True)
                    part.rename(folder)
                else:  # another machine has just completed it
                    part.rmdir()
        else:
            made.require_same(folder, record)
            self._advance(_num_steps(sequence.source, self._settings) or 0)
        return (folder / _WARNINGS).read_text().splitlines() if (folder / _WARNINGS).exists() else []

    def _complete(self, part, sequence, record):
        """Makes what is missing in the folder of an unfinished sequence."""
        if made.read(part) != record:  # else what an interrupted run left is kept
            for entry in part.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for key in (*BLUR_KEYS, "sharp"):
            (part / key).mkdir(exist_ok=True)
        for leftover in part.glob("**/.*.part.*"):  # of a run that was killed: ours has the lock
            leftover.unlink()
        made.write(part, record)
        try:
            rows, warnings = self._write_pairs(sequence, part)
        except InputError:
            shutil.rmtree(part)  # going on would end the same way
            raise
        write_manifest(part / "manifest.csv", rows)
        if warnings:
            write_atomically(part / _WARNINGS, "".join(f"{line}\n" for line in warnings))

    def _write_pairs(self, sequence, part):
        """Writes a sequence's images into a folder; returns (rows of its manifest, warnings)."""
        source, fps = sequence.source, self._settings.fps
        footage = None if self._settings.from_photos else Footage(fps or source.rate)
        jobs, rows = deque(), []

        def collect():
            row, measured = jobs.popleft().result()
            rows.append({"sequence": sequence.name, "source": source.path.name, **row})
            if footage:
                footage.see(*measured)

        number = 0
        try:
            for window in self._windows(sequence):
                reason = footage and unusable(window)
                if reason:
                    footage.skip(reason)
                    continue
                number += 1
                self._room.acquire()
                job = self._writers.submit(write_pair, part, f"{number:06d}.png", window, fps, source.rate)
                job.add_done_callback(lambda _: self._room.release())
                jobs.append(job)
                while jobs and jobs[0].done():
                    collect()
            while jobs:
                collect()
        finally:
            wait(jobs)
        warnings = [source.damage] if source.damage else []
        warnings += footage.warnings() if footage else []
        if not rows:
            raise InputError(
                f"{source.path}: no window of M = {sequence.num_frames} frames "
                f"({'; '.join(warnings) or 'it has fewer frames'}); use a smaller `max_frames` or other footage"
            )
        return rows, warnings

    def _windows(self, sequence):
        settings, source, num_frames = self._settings, sequence.source, sequence.num_frames
        if not settings.from_photos:
            stride = settings.stride or num_frames - settings.overlap
            yield from windows(self._frames(source), num_frames, stride, self._responses)
            return
        photo = cut(read_image(source.path), source.path, settings)
        number = zlib.crc32(sequence.key.encode())

        def generators():
            for take in range(source.count):
                self._advance(1)
                yield np.random.default_rng([settings.seed, number, take])

        shaking = {name: getattr(settings, name) for name in ("shake", "roll", "moving", "phone")}
        try:
            yield from photo_windows(photo, num_frames, self._responses, generators(), **shaking)
        except ValueError as error:
            raise InputError(
                f"{source.path}: {error}; use a larger one or a smaller `shake` or `max_frames`"
            ) from error

    def _frames(self, source):
        """The frames of the wanted range, cut and made smaller."""
        settings, shape, read = self._settings, None, 0
        frames = iter(source)
        for frame in frames:
            if settings.last_frame and frame.number >= settings.last_frame:
                break
            if frame.number >= settings.first_frame:
                if shape not in (None, frame.image.shape):
                    raise InputError(f"{source.path}: frame {frame.number} has another size; give frames of one size")
                shape = frame.image.shape
                yield frame._replace(image=cut(frame.image, source.path, settings))
            self._advance(1)
            read += 1
        frames.close()  # the source tells its damage now
        self._advance((_num_steps(source, self._settings) or read) - read)  # frames that damage left out

    def _advance(self, count):
        """Shows that frames or pairs are done with, unless the run is to end."""
        if self._stop.is_set():
            raise _StoppedError
        with self._progress_lock:
            self._progress.update(count)
            self._num_done += count
            if self._report:
                self._report(self._num_done)


def _num_steps(source, settings):
    """Frames to read, or pairs to make from a photograph; None if the file does not say."""
    last = None if settings.from_photos else settings.last_frame
    return min(source.count, last) if source.count and last else source.count
