"""Restoring the photograph and video files that ``files.plan_jobs`` found.

One file after the other; a bad one does not stop the others. While the network runs, the next photograph is decoded and
the last one encoded and written, each in a thread; a video's decoder and encoder have a thread each.
"""

import contextlib
import functools
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tf_deepdeblur.background import WriteBehind, read_ahead
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.inference.files import Job, error_line, record_source
from tf_deepdeblur.io.atomic import atomic_write, remove_abandoned, write_atomically
from tf_deepdeblur.io.images import side_by_side, to_eight_bits
from tf_deepdeblur.io.paths import printable
from tf_deepdeblur.io.photo import JPEG_QUALITY, Photo, encode_photo, photo_size, read_photo, write_photo
from tf_deepdeblur.io.video import VideoReader, VideoWriter

BAR = "{l_bar}{bar}| {n:.1f}/{total:.1f} megapixels [{elapsed}<{remaining}]"
_LONGEST_JPEG_SIDE = 65_500
_SUFFIXES = {"JPEG": (".jpg", ".jpeg"), "PNG": (".png",)}
_FRAMES = 4  # that are decoded ahead of the network, and as many that wait to be encoded

Deblur = Callable[[np.ndarray, Callable[[float], object]], np.ndarray]
"""A Deblurrer: takes a uint8 or uint16 image [H, W, 3] and a function to call with the share that is done."""


@dataclass(frozen=True)
class Output:
    """How files are written.

    Attributes:
        quality: of JPEG, HEIF and lossy WebP files, 1 to 100.
        keep_metadata: whether EXIF data, colour profile, and a video's date and place are taken over.
        comparisons: None, or a folder for pictures before | after of every photograph and of every video's middle.
    """

    quality: int = JPEG_QUALITY
    keep_metadata: bool = True
    comparisons: Path | None = None


def restore_files(
    deblur: Deblur, jobs: Sequence[Job], output: Output, *, progress: Callable[..., tqdm] = tqdm
) -> list[str]:
    """Restores files, with a progress bar that tells the time left.

    Args:
        deblur: Deblurrer.
        jobs: of ``plan_jobs``.
        output: how files are written.
        progress: makes the progress bar from the arguments of ``tqdm``; ``functools.partial(tqdm, disable=True)`` shows
            none.

    Returns:
        One line for every file that failed, beginning with its name.

    Raises:
        KeyboardInterrupt: saying how much was done; what was restored is there, and nothing half.
    """
    for folder in {job.target.parent for job in jobs}:
        with contextlib.suppress(OSError):
            remove_abandoned(folder)
    run = _Run(deblur, output)
    try:
        run.restore_all(jobs, progress)
    except KeyboardInterrupt as error:
        done = f"interrupted: {len(run.restored)} of {len(jobs)} files are restored"
        raise KeyboardInterrupt(f"{done}; go on from there with `skip_existing`") from error
    return [run.failures[job] for job in jobs if job in run.failures]


class _Run:
    """Restores jobs, and knows what became of them; the threads that read, restore and write all add to that."""

    def __init__(self, deblur, output):
        self._deblur = deblur
        self._output = output
        self.restored = []
        self.failures = {}  # a line for each job that failed

    def restore_all(self, jobs, progress):
        sizes = [megapixels(job) for job in jobs]
        make_bar = progress if any(sizes) else functools.partial(tqdm, disable=True)
        with (
            make_bar(total=sum(sizes), dynamic_ncols=True, bar_format=BAR) as bar,
            read_ahead(map(self._read, jobs), ahead=1) as photos,
            WriteBehind(limit=1) as writing,
        ):
            for job, size, photo in zip(jobs, sizes, photos, strict=True):
                bar.set_description_str(printable(job.source.name))
                # Moves the bar to a share of the file, from where it is now.
                advance = lambda share, start=bar.n, size=size: bar.update(start + share * size - bar.n)  # noqa: E731
                if job.is_video:
                    self._restore_video(job, advance)
                elif photo is not None:
                    self._restore_photo(job, photo, writing, advance)
                advance(1.0)

    @contextlib.contextmanager
    def _noting_errors(self, job):
        """Notes an error that concerns one file only."""
        try:
            yield
        except (InputError, OSError, MemoryError) as error:
            self.failures[job] = printable(error_line(job, error))

    def _read(self, job):
        """The photograph; None of a video, which is decoded while it is restored, and of a file that cannot be read."""
        with self._noting_errors(job):
            return None if job.is_video else read_photo(job.source)

    def _restore_photo(self, job, photo, writing, advance):
        with self._noting_errors(job):
            writing.call(self._write_photo, job, photo, self._deblur(photo.image, advance))

    def _write_photo(self, job, photo, image):
        with self._noting_errors(job):
            restored = photo.with_image(image)
            if not self._output.keep_metadata:
                restored = restored.without_metadata()
            try:
                content = encode_photo(restored, self._output.quality)  # in the source's format, whatever its suffix
            except (
                ValueError,
                TypeError,
                LookupError,
                struct.error,
            ) as error:  # EXIF data beyond what the format holds
                raise InputError(f"{job.source}: cannot be written ({error}); use `strip_metadata`") from error
            job.target.parent.mkdir(parents=True, exist_ok=True)
            record_source(job)
            write_atomically(job.target, content)
            if self._output.comparisons:
                _compare(job, self._output, photo, restored)
            self.restored.append(job)

    def _restore_video(self, job, advance):
        with self._noting_errors(job), VideoReader(job.source) as reader:
            job.target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(job.target) as part:
                with VideoWriter(part, reader, self._output.keep_metadata) as writer:
                    middle = _restore_frames(self._deblur, reader, writer, advance)
                record_source(job)
            if self._output.comparisons and middle:
                _compare(job, self._output, *middle)
            self.restored.append(job)


def _restore_frames(deblur, reader, writer, advance):
    """Restores all frames; returns the middle one before and after, if the video has as many as its file says."""
    expected, middle = reader.num_frames or 1, None
    with read_ahead(reader, _FRAMES) as frames, WriteBehind(_FRAMES) as writing:
        for number, frame in enumerate(frames):
            restored = deblur(frame.image, lambda share, done=number: advance(min(1.0, (done + share) / expected)))
            writing.call(writer.write, restored, frame.pts)
            if number == (expected - 1) // 2:
                middle = Photo(frame.image), Photo(restored)
    return middle


def _compare(job, output, before, after):
    """Writes a JPEG before | after; what is too long for JPEG is a PNG."""
    joined = side_by_side([to_eight_bits(before.image), to_eight_bits(after.image)])
    kind = "JPEG" if max(joined.shape) <= _LONGEST_JPEG_SIDE else "PNG"
    path = output.comparisons / job.name
    if path.suffix.lower() not in _SUFFIXES[kind]:  # appended, so that a.png and a.tif have a picture each
        path = path.with_name(path.name + _SUFFIXES[kind][0])
    picture = Photo(joined, is_grey=after.is_grey, format=kind, icc_profile=after.icc_profile)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_photo(path, picture, output.quality)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{job.source}: is restored, but {path} cannot be written ({reason})") from error


def megapixels(job: Job) -> float:
    """The work a file makes, for the progress bar; 0 if it cannot be read, which is told when its turn comes."""
    try:
        if not job.is_video:
            return np.prod(photo_size(job.source)) / 1e6
        with VideoReader(job.source) as reader:
            return reader.stream.height * reader.stream.width * (reader.num_frames or 1) / 1e6
    except (InputError, OSError):
        return 0.0
