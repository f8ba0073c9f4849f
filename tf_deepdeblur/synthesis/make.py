"""Sharp high-speed footage, or photographs -> a data set in the layout of GOPRO_Large (section 2).

    train|test/<source>_<M>_<n>/{blur,blur_gamma,sharp}/000001.png    M frames averaged; n counts sources of one name
    train|test/<source>_<M>_<n>/manifest.csv, settings.json           the sequence's pairs, and how they were made
    train|test/<source>_<M>_<n>/warnings.txt                          what speaks against its footage, if anything does
    manifest.csv, contact_sheet.png                                   all pairs; some of them to look at

``blur_gamma`` is the mean in linear light seen through the response curve again, ``blur`` the mean of the levels as
they are. A sequence is made in ``.unfinished`` and moves into place whole: training never sees a half of it. Started
again, whole sequences and whole images are kept. Equal sources and settings give equal bytes, however often it was
stopped.
"""

import contextlib
import json
import shutil
import threading
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.atomic import is_full, locked
from tf_deepdeblur.io.pixels import read_image, write_image
from tf_deepdeblur.metrics import psnr
from tf_deepdeblur.runtime import num_cores
from tf_deepdeblur.synthesis.footage import Footage, brightest, motion, unusable
from tf_deepdeblur.synthesis.manifest import write_manifest, write_summary, write_text
from tf_deepdeblur.synthesis.response import gamma_response, linear_response, table_response
from tf_deepdeblur.synthesis.windows import photo_windows, windows

BLUR_KEYS = ("blur_gamma", "blur")
_CURVES = ("gamma", "linear")
_WARNINGS = "warnings.txt"
_END_OF_PNG = b"IEND\xaeB`\x82"
_COMPRESSION = 2  # of zlib: a third of the time of Pillow's 6 for files 4% larger


def make_blur(sequences, output_dir, settings):
    """Makes the sequences that are not there yet, on all cores; see the module's docstring for what is written.

    Args:
        sequences: list of Sequence, from ``sequences.plan``.
        output_dir: folder of the data set.
        settings: Settings.

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
        with locked(output_dir):
            warnings, failures = _Maker(output_dir, settings, sequences).make(sequences)
            write_summary(output_dir)
            with contextlib.suppress(OSError):
                (output_dir / ".unfinished").rmdir()  # stays while something is in it
    except OSError as error:
        remedy = "choose another folder"
        if is_full(error):
            remedy = "what is whole is kept: make room, then start the same command again"
        raise InputError(f"{output_dir}: cannot be written ({error.strerror}); {remedy}") from error
    return warnings, failures


class _StoppedError(Exception):
    """Another sequence met an error that ends the whole run."""


class _Maker:
    """One run: what its sequences share."""

    def __init__(self, output_dir, settings, sequences):
        self._output_dir = output_dir
        self._settings = settings
        self._responses = [_response(settings), linear_response()]
        self._writers = ThreadPoolExecutor(num_cores())
        self._room = threading.BoundedSemaphore(2 * num_cores())  # windows that wait to be written
        self._stop = threading.Event()
        self._progress = _Progress(sequences, settings.from_photos)

    def make(self, sequences):
        """(warnings, failures) of all sequences; a few of them are made at the same time."""
        warnings, failures = [], []
        threads = ThreadPoolExecutor(max(num_cores() // 2, 1))
        running = {threads.submit(self._make_one, sequence): sequence for sequence in sequences}
        try:
            for future in as_completed(running):
                try:
                    warnings += [f"{running[future].source.path}: {line}" for line in future.result()]
                except InputError as error:
                    failures.append(str(error))
        finally:
            self._stop.set()
            threads.shutdown(cancel_futures=True)
            self._writers.shutdown(cancel_futures=True)
            self._progress.close()
        return sorted(warnings), sorted(failures)

    def _make_one(self, sequence):
        """Makes one sequence, unless it is there; returns its warnings."""
        folder = self._output_dir / sequence.split / sequence.name
        record = _record(sequence, self._settings, self._responses[0])
        if folder.is_dir():
            _check_record(folder, record)
            self._progress.advance(sequence.source.count or 0)
            return _read_warnings(folder)
        part = self._output_dir / ".unfinished" / sequence.name
        _prepare(part, record)
        try:
            rows, warnings = self._write_sequence(sequence, part)
        except InputError:
            shutil.rmtree(part)  # going on would end the same way
            raise
        write_manifest(part / "manifest.csv", rows)
        if warnings:
            write_text(part / _WARNINGS, "".join(f"{line}\n" for line in warnings))
        folder.parent.mkdir(parents=True, exist_ok=True)
        part.rename(folder)
        return warnings

    def _write_sequence(self, sequence, part):
        """Writes a sequence's pairs; returns (rows of its manifest, warnings)."""
        footage = None if self._settings.from_photos else Footage(self._settings.fps or sequence.source.rate)
        jobs = deque()
        try:
            rows = list(self._rows(sequence, part, footage, jobs))
        finally:
            wait(jobs)
        warnings = [sequence.source.damage] if sequence.source.damage else []
        warnings += footage.warnings() if footage else []
        if not rows:
            raise InputError(
                f"{sequence.source.path}: no window of M = {sequence.num_frames} frames "
                f"({'; '.join(warnings) or 'it has fewer frames'}); use a smaller --max_frames or other footage"
            )
        return rows, warnings

    def _rows(self, sequence, part, footage, jobs):
        """Hands a sequence's windows to the writers, through the queue ``jobs``; yields the rows that come back."""
        number = 0
        for window in self._windows(sequence):
            reason = footage and unusable(window)
            if reason:
                footage.skip(reason)
                continue
            number += 1
            self._room.acquire()
            jobs.append(self._writers.submit(_write_pair, part, f"{number:06d}.png", window, self._clock(sequence)))
            jobs[-1].add_done_callback(lambda _: self._room.release())
            while jobs and jobs[0].done():
                yield _collect(jobs.popleft(), sequence, footage)
        while jobs:
            yield _collect(jobs.popleft(), sequence, footage)

    def _windows(self, sequence):
        settings, source, num_frames = self._settings, sequence.source, sequence.num_frames
        if settings.from_photos:
            return self._photo_windows(source, num_frames, zlib.crc32(sequence.key.encode()))
        stride = settings.stride or num_frames - settings.overlap
        return windows(self._frames(source), num_frames, stride, self._responses)

    def _photo_windows(self, source, num_frames, number):
        photo = _cut(read_image(source.path), source.path, self._settings)
        seeds = ([self._settings.seed, number, take] for take in range(source.count))
        generators = (self._counted(np.random.default_rng(seed)) for seed in seeds)
        try:
            yield from photo_windows(photo, num_frames, self._responses, generators)
        except ValueError as error:
            raise InputError(f"{source.path}: {error}; use a larger one or a smaller --max_frames") from error

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
                yield frame._replace(image=_cut(frame.image, source.path, settings))
            self._counted(frame)
            read += 1
        frames.close()  # the source tells its damage now
        self._progress.advance((source.count or read) - read)  # what the range or damage left out

    def _counted(self, item):
        """Notes that a frame or take is done with, unless the run is to end."""
        if self._stop.is_set():
            raise _StoppedError
        self._progress.advance(1)
        return item

    def _clock(self, sequence):
        """(frames per second that the user gave, what the file says); 0 for unknown."""
        return self._settings.fps, sequence.source.rate or 0.0


class _Progress:
    """A progress bar that several threads advance."""

    def __init__(self, sequences, from_photos):
        counts = [sequence.source.count for sequence in sequences]
        total = None if None in counts else sum(counts)
        self._bar = tqdm(total=total, desc="make blur", unit="pair" if from_photos else "frame", dynamic_ncols=True)
        self._lock = threading.Lock()

    def advance(self, count):
        with self._lock:
            self._bar.update(count)

    def close(self):
        self._bar.close()


def _response(settings):
    if settings.crf in _CURVES:
        return gamma_response(settings.gamma) if settings.crf == "gamma" else linear_response()
    return table_response(Path(settings.crf).expanduser())


def _cut(image, path, settings):
    """The part of a frame that is wanted, made smaller."""
    if settings.crop:
        left, top, width, height = settings.crop
        if top + height > image.shape[0] or left + width > image.shape[1]:
            raise InputError(f"{path}: --crop reaches beyond the frame of {image.shape[1]}x{image.shape[0]}")
        image = image[top : top + height, left : left + width]
    factor = settings.downscale
    if factor == 1:
        return image
    height, width = (side - side % factor for side in image.shape[:2])
    if not height or not width:
        raise InputError(f"{path}: --downscale={factor} leaves nothing of {image.shape[1]}x{image.shape[0]}")
    return np.asarray(Image.fromarray(np.ascontiguousarray(image[:height, :width])).reduce(factor))


def _write_pair(folder, name, window, clock):
    """Writes one window's images, unless they are there; returns (row, what Footage.see wants to know)."""
    pixels = motion(window.before, window.sharp)
    row = {"file": name, "first_frame": window.first, "frames": len(window.times), **_exposure(window, *clock)}
    for key, image in [*zip(BLUR_KEYS, window.blurry, strict=True), ("sharp", window.sharp)]:
        if not _is_whole(folder / key / name):
            write_image(folder / key / name, image, compress_level=_COMPRESSION)
        if key in BLUR_KEYS:
            row[f"psnr_{key}"] = f"{float(psnr(image[None], window.sharp[None])[0]):.2f}"
    row["motion_px"] = "" if np.isnan(pixels) else f"{pixels:.1f}"
    return row, (window.differences, pixels, brightest(window.sharp), float(row["psnr_blur_gamma"]))


def _collect(job, sequence, footage):
    row, measured = job.result()
    if footage:
        footage.see(*measured)
    return {"sequence": sequence.name, "source": sequence.source.path.name, **row}


def _exposure(window, fps, rate):
    """{"fps", "exposure_s"} of a window; empty if nothing tells the time."""
    times = [time for time in window.times if time is not None]
    if not fps:
        fps = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else rate
    if not fps:
        return {"fps": "", "exposure_s": ""}
    return {"fps": f"{fps:.6g}", "exposure_s": f"{len(window.times) / fps:.6g}"}


def _is_whole(path):
    """Whether a PNG is there to its end; a power failure can leave the name of a file without its content."""
    try:
        with path.open("rb") as file:
            file.seek(-len(_END_OF_PNG), 2)
            return file.read() == _END_OF_PNG
    except OSError:
        return False


def _record(sequence, settings, response):
    """What a sequence's pixels depend on."""
    source = {"source": sequence.source.path.name, "size_bytes": sequence.source.size_bytes}
    curve = "" if settings.crf in _CURVES else zlib.crc32(response.signals.tobytes())
    return {**source, **asdict(settings), "crop": list(settings.crop), "crf_crc32": curve}


def _check_record(folder, record):
    made = _read_record(folder)
    if made is None:
        raise InputError(f"{folder}: was not made by this tool (it has no settings.json); use a new --output_dir")
    changed = [f"{key} was {made.get(key)}, is now {record[key]}" for key in record if made.get(key) != record[key]]
    if changed:
        raise InputError(f"{folder}: was made otherwise ({'; '.join(changed)}); remove it or use a new --output_dir")


def _prepare(part, record):
    """Makes the folders of an unfinished sequence; what an interrupted run left stays if it is of the same making."""
    if part.exists() and _read_record(part) != record:
        shutil.rmtree(part)
    for key in (*BLUR_KEYS, "sharp"):
        (part / key).mkdir(parents=True, exist_ok=True)
    write_text(part / "settings.json", json.dumps(record, indent=1) + "\n")


def _read_warnings(folder):
    try:
        return (folder / _WARNINGS).read_text().splitlines()
    except FileNotFoundError:
        return []


def _read_record(folder):
    try:
        return json.loads((folder / "settings.json").read_text())
    except (OSError, ValueError):
        return None
