"""Restores photograph and video files, one after the other; a bad one does not stop the others."""

import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.atomic import atomic_write
from tf_deepdeblur.io.photo import JPEG_QUALITY, Photo, photo_size, read_photo, write_photo
from tf_deepdeblur.io.pixels import side_by_side
from tf_deepdeblur.io.video import VideoReader, VideoWriter

_BAR = "{l_bar}{bar}| {n:.1f}/{total:.1f} megapixels [{elapsed}<{remaining}]"
_WIDEST_JPEG = 65_500


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


def restore_files(deblur, jobs, output):
    """Restores files, with a progress bar that tells the time left.

    Args:
        deblur: Deblurrer.
        jobs: list of inputs.Job.
        output: Output.

    Returns:
        One line for every file that failed, beginning with its name.
    """
    failures = []
    sizes = [_megapixels(job) for job in jobs]
    with tqdm(total=sum(sizes), dynamic_ncols=True, bar_format=_BAR, disable=not any(sizes)) as bar:
        for job, size in zip(jobs, sizes, strict=True):
            bar.set_description_str(job.source.name)
            advance = _advance(bar, size)
            try:
                _restore(deblur, job, output, advance)
            except (InputError, OSError, MemoryError) as error:
                failures.append(_line(job, error))
            advance(1.0)
    return failures


def _restore(deblur, job, output, advance):
    _require_file(job.source)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    if job.is_video:
        _restore_video(deblur, job, output, advance)
    else:
        _restore_photo(deblur, job, output, advance)


def _restore_photo(deblur, job, output, advance):
    photo = read_photo(job.source)
    restored = photo.with_image(deblur(photo.image, advance))
    if not output.keep_metadata:
        restored = restored.without_metadata()
    if output.comparisons:
        _compare(job, output, photo, restored)
    write_photo(job.target, restored, output.quality)


def _restore_video(deblur, job, output, advance):
    with (
        VideoReader(job.source) as reader,
        atomic_write(job.target) as part,
        VideoWriter(part, reader, output.keep_metadata) as writer,
    ):
        expected = reader.num_frames or 1
        for number, frame in enumerate(reader):
            restored = deblur(frame.image, lambda share, done=number: advance(min(1.0, (done + share) / expected)))
            writer.write(restored, frame.pts)
            if output.comparisons and number == (expected - 1) // 2:
                _compare(job, output, Photo(frame.image), Photo(restored))


def _compare(job, output, before, after):
    """Writes a JPEG before | after; what is too wide for JPEG is a PNG."""
    joined = side_by_side([_eight_bits(before.image), _eight_bits(after.image)])
    kind = "JPEG" if joined.shape[1] <= _WIDEST_JPEG else "PNG"
    path = output.comparisons / f"{job.name}.{'jpg' if kind == 'JPEG' else 'png'}"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Photo(joined, is_grey=after.is_grey, format=kind, icc_profile=after.icc_profile)
    write_photo(path, picture, output.quality)


def _eight_bits(image):
    return image if image.dtype == np.uint8 else ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _require_file(path):
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"{path}: is not a regular file")


def _megapixels(job):
    """The work a file makes, for the progress bar; 0 if it cannot be read, which is told when its turn comes."""
    try:
        _require_file(job.source)
        if not job.is_video:
            return np.prod(photo_size(job.source)) / 1e6
        with VideoReader(job.source) as reader:
            return reader.stream.height * reader.stream.width * (reader.num_frames or 1) / 1e6
    except (InputError, OSError):
        return 0.0


def _advance(bar, size):
    """A function that moves the bar to a share of a file of ``size`` megapixels, from where it is now."""
    start = bar.n
    return lambda share: bar.update(start + share * size - bar.n)


def _line(job, error):
    """One line that begins with the name of the file."""
    if isinstance(error, InputError):
        reason = str(error)
        return reason if reason.startswith(str(job.source)) else f"{job.source}: {reason}"
    if isinstance(error, MemoryError):
        return f"{job.source}: does not fit into memory"
    name = error.filename if isinstance(error, OSError) and error.filename else job.target
    verb = "read" if str(name) == str(job.source) else "written"
    return f"{job.source}: {'' if verb == 'read' else f'{job.target} '}cannot be {verb} ({error.strerror or error})"
