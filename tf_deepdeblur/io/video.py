"""Video files, frame by frame: few frames are in memory at a time, however long the video is.

A video that is read and written again keeps its clock (also a variable frame rate), its sound, which is copied and not
encoded anew, its colour description and its bits per channel. The rotation that phones write beside the picture is
applied to the pixels. Subtitles and data tracks are left out. AVI files say when a frame is stored, not when it is
shown: players that guess the latter may show each frame of one with H.264 a frame too late.
"""

import contextlib
import io
import itertools
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import av
import numpy as np
from av.sidedata.sidedata import Type

from tf_deepdeblur.errors import InputError, first_line
from tf_deepdeblur.io.paths import require_regular_file

_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".avi": "avi"}
_CONTAINERS |= {".ts": "mpegts", ".mts": "mpegts", ".m2ts": "mpegts"}
VIDEO_SUFFIXES = frozenset(_CONTAINERS)

# Playlists and scripts, which FFmpeg would follow to other files or the network, are no videos.
_OPEN = {"protocol_whitelist": "file", "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts"}
_H264 = ("libx264", {"crf": "16", "preset": "medium"})
_HEVC = ("libx265", {"crf": "18", "preset": "medium", "x265-params": "log-level=error"})
_VP9 = ("libvpx-vp9", {"crf": "22", "b:v": "0", "row-mt": "1", "deadline": "good", "cpu-used": "4"})
_SUBSAMPLINGS = ("420", "422", "444")
_AS_STORED = (1, 0, 0, 0, 1)  # a display matrix that moves nothing


class Frame(NamedTuple):
    """One frame: upright RGB [H, W, 3], uint8, or uint16 where the video has more bits; and when it is shown.

    ``pts`` counts units of the reader's ``time_base``.
    """

    image: np.ndarray
    pts: int


class VideoReader:
    """The frames of a video's picture track, decoded as they are asked for; close it, or use it in a ``with`` block.

    Args:
        path: the file.

    Attributes:
        path: the file.
        stream: PyAV's picture track.
        num_frames: how many there are, as the file says; an estimate, None if nobody can tell.
        frame_rate: mean number of frames per second, a Fraction.
        time_base: seconds per unit of ``Frame.pts``, a Fraction.

    Raises:
        InputError: naming the file, if it is no video.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = path
        self._container = _open(path)
        self.stream: av.VideoStream = self._container.streams.best("video")
        if self.stream is None:
            self.close()
            raise InputError(f"{path}: has no moving pictures; give a video")
        self.stream.thread_type = "AUTO"
        self._display_matrix = None
        self.time_base: Fraction = self.stream.time_base
        self.frame_rate: Fraction = self.stream.average_rate or self.stream.guessed_rate or Fraction(25)
        self.num_frames: int | None = self.stream.frames or None
        if self.num_frames is None and self.stream.duration is not None:
            self.num_frames = max(1, round(self.stream.duration * self.time_base * self.frame_rate))
        elif self.num_frames is None and self._container.duration is not None:
            self.num_frames = max(1, round(Fraction(self._container.duration, av.time_base) * self.frame_rate))

    def __iter__(self) -> Iterator[Frame]:
        """Yields every Frame in the order they are shown; InputError if the file is damaged on the way.

        All are of the first one's size: in a video that changes its size, the others are scaled.
        """
        count, due, size = 0, 0, {}
        step = max(1, round(1 / (self.frame_rate * self.time_base)))
        has_clock = self._container.format.name != "avi"  # AVI says when a frame is stored, not when it is shown
        try:
            for frame in self._container.decode(self.stream):
                pts = frame.pts if has_clock and frame.pts is not None else due
                size = size or {"width": frame.width, "height": frame.height}
                bits = max(component.bits for component in frame.format.components)
                image = frame.to_ndarray(format="rgb24" if bits <= 8 else "rgb48le", **size)
                yield Frame(self.upright(image, frame), pts)
                count, due = count + 1, pts + step
        except (av.error.FFmpegError, MemoryError) as error:
            raise InputError(f"{self.path}: damaged after {count} frames ({_reason(error)})") from error
        if not count:
            raise InputError(f"{self.path}: not one frame can be decoded; the file is damaged")

    def upright(self, image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
        """The pixels [H, W, C] of a frame, turned and mirrored by quarter turns as the track's display matrix says."""
        if self._display_matrix is None:  # asked once: a frame whose side data are looked at stays in memory for long
            found = frame.side_data.get(Type.DISPLAYMATRIX)
            self._display_matrix = _AS_STORED if found is None else np.frombuffer(found, np.int32).tolist()
        return _shown(image, self._display_matrix)

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class VideoWriter:
    """Writes a video like another one with other pixels; close it, or use it in a ``with`` block.

    The kind of container follows the suffix of ``path``, the codec that of ``source`` as far as it can be written. The
    sound is copied while frames are written, as far as they have come.

    Args:
        path: the file.
        source: VideoReader of the video whose clock, sound and colours are taken over.
        keep_metadata: whether the date, the place and the like are taken over too.

    Raises:
        InputError: naming the file, if such a video cannot be written.
    """

    def __init__(self, path: str | os.PathLike, source: VideoReader, keep_metadata: bool = True):
        path = Path(path)
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            raise InputError(f"{path}: no video has the suffix {path.suffix!r}; use {', '.join(_CONTAINERS)}")
        self._source = source
        self._files = contextlib.ExitStack()
        self._path = path
        self._stream = None
        with self._named_errors():
            kind = _CONTAINERS[path.suffix.lower()]
            self._container = self._files.enter_context(av.open(f"file:{path}", "w", format=kind))
            original = self._files.enter_context(_open(source.path))
            described = original
            codecs = {track.codec_context.name for track in original.streams.audio}
            if kind == "avi" and codecs and codecs <= {"aac", "ac3", "flac"}:
                described = self._files.enter_context(_without_block_size(source.path))
            self._sound = _Sound(original, self._container, described.streams.audio, keep_metadata)
            if keep_metadata:
                self._container.metadata.update(original.metadata)

    def write(self, image: np.ndarray, pts: int) -> None:
        """Appends a frame.

        Args:
            image: RGB [H, W, 3], uint8 or uint16; all frames are of one kind and size.
            pts: when it is shown, in units of the source's ``time_base``.
        """
        with self._named_errors():
            if self._stream is None:
                self._stream = self._add_stream(image)
            frame = av.VideoFrame.from_ndarray(image, "rgb24" if image.dtype == np.uint8 else "rgb48le")
            frame = frame.reformat(format=self._stream.pix_fmt, **self._colours)
            frame.pts, frame.time_base = pts, self._source.time_base
            self._container.mux(self._stream.encode(frame))
            self._sound.copy_until(pts * self._source.time_base)

    def close(self) -> None:
        """Completes the file."""
        with self._files, self._named_errors():
            if self._stream is not None:
                self._container.mux(self._stream.encode())
                self._sound.copy_until(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            with contextlib.suppress(av.error.FFmpegError):  # the error that stopped the writing is the one to tell
                self._files.close()

    def _add_stream(self, image):
        source = self._source.stream.codec_context
        suffix = self._path.suffix.lower()
        codec, options = _HEVC if source.name == "hevc" and suffix != ".avi" else _H264
        if suffix == ".webm":
            codec, options = _VP9
        if suffix == ".avi":
            options = {**options, "bf": "0"}  # AVI has no place for reordered frames
        stream = self._container.add_stream(codec, rate=self._source.frame_rate, options=options)
        stream.height, stream.width = image.shape[:2]
        # The format that is nearest to the source's: its subsampling, which odd sides do not have, and 8 or 10 bits.
        sampling = next((kind for kind in _SUBSAMPLINGS if kind in source.pix_fmt), "420")
        has_odd_side = bool(image.shape[0] % 2 or image.shape[1] % 2)
        stream.pix_fmt = f"yuv{'444' if has_odd_side else sampling}p{'' if image.dtype == np.uint8 else '10le'}"
        target = stream.codec_context
        target.time_base = stream.time_base = self._source.time_base
        target.color_range, target.colorspace = source.color_range, source.colorspace
        target.color_primaries, target.color_trc = source.color_primaries, source.color_trc
        # Of all frames: the decoder, which may be in another thread, may come to frames that are labelled otherwise.
        self._colours = {"dst_colorspace": int(source.colorspace), "dst_color_range": int(source.color_range)}
        return stream

    @contextlib.contextmanager
    def _named_errors(self):
        try:
            yield
        except (av.error.FFmpegError, ValueError) as error:
            raise InputError(
                f"{self._source.path}: cannot be written as {self._path.suffix} ({_reason(error)})"
            ) from error


class _Sound:
    """Copies all sound tracks of ``source`` to ``target``, a little at a time; ``described`` are the same tracks."""

    def __init__(self, source, target, described, keep_metadata):
        tracks = source.streams.audio
        self._target = target
        self._copies = {
            track.index: target.add_stream_from_template(template)
            for track, template in zip(tracks, described, strict=True)
        }
        for track in tracks if keep_metadata else ():
            self._copies[track.index].metadata.update(track.metadata)
        self._packets = source.demux(*tracks) if tracks else iter(())
        self._next = next(self._packets, None)

    def copy_until(self, seconds):
        """Copies what is heard before ``seconds``, or all that is left if that is None."""
        while self._next is not None:
            packet = self._next
            if seconds is not None and packet.dts is not None and packet.dts * packet.time_base > seconds:
                return
            if packet.dts is not None:  # the last one of a track is empty
                packet.stream = self._copies[packet.stream.index]
                self._target.mux(packet)
            self._next = next(self._packets, None)


def _without_block_size(path):
    """The sound tracks of a file as Matroska describes them.

    In AVI they have a block size, with which FFmpeg would write wrong times of AAC, AC-3 and FLAC into the other file.
    """
    content = io.BytesIO()
    with _open(path) as source, av.open(content, "w", format="matroska") as target:
        tracks = source.streams.audio
        copies = {track.index: target.add_stream_from_template(track) for track in tracks}
        for packet in itertools.islice(source.demux(*tracks), 8 * len(tracks)):
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                target.mux(packet)
    content.seek(0)
    return av.open(content)


def _shown(image, matrix):
    """Moves every pixel (x, y) to (a x + c y, b x + d y), where the matrix begins with a, b, 0, c, d."""
    a, b, _, c, d = matrix[:5]
    right, down = a, d
    if abs(b) > abs(a):
        image = image.swapaxes(0, 1)
        right, down = c, b
    return np.ascontiguousarray(image[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1])


def _open(path):
    require_regular_file(path)
    try:
        return av.open(f"file:{path}", container_options=_OPEN, metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = f"cannot be read as a video ({_reason(error)})" if Path(path).stat().st_size else "is empty"
        raise InputError(f"{path}: {reason}; copy it again from the original, or leave it out") from error


def _reason(error):
    return getattr(error, "strerror", None) or first_line(error)
