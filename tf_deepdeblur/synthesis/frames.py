"""Sharp frames in the order they are shown, from a video file or a folder of images; few are in memory at a time.

A reader has ``path``, ``name``, ``size_bytes``, ``count`` (frames, or None if the file does not say), ``rate`` (frames
per second, or None) and, after it was iterated, ``damage``: None, or what could not be read, in words; as far as it was
iterated, if that was left early. Frames are upright: the rotation that a phone writes beside the picture is applied.
"""

import os
import re
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.images import IMAGE_SUFFIXES, read_image
from tf_deepdeblur.io.video import VIDEO_SUFFIXES, VideoReader
from tf_deepdeblur.runtime import num_cores

_MAX_REORDER = 4  # encoders rarely put more than three frames before one that they refer to
_NUMBERED = 0.8  # part of the steps between the numbers of frames that are equal if they are numbered at all


class Frame(NamedTuple):
    """One frame: its number, its time in seconds (None without a clock), and uint8 RGB [H, W, 3].

    ``follows`` is False for the first frame, and where frames before this one are missing.
    """

    number: int
    time: float | None
    image: np.ndarray
    follows: bool


def find_sources(path: str | os.PathLike) -> list[Path]:
    """The videos and folders of images below a path: itself, or in name order what a folder of such things holds."""
    path = Path(path)
    if not path.is_dir() or image_files(path):
        return [path]
    children = (child for child in sorted(path.iterdir()) if child.is_dir() or child.suffix.lower() in VIDEO_SUFFIXES)
    return [source for child in children for source in find_sources(child)]


def open_frames(path: str | os.PathLike) -> "VideoFrames | FolderFrames":
    """A reader of a video file or of a folder of images.

    Raises:
        InputError: naming the path, if it is neither.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give videos or folders of frames")
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        raise InputError(f"{path}: is one image; give the folder of its frames, or a photograph with `from_photos`")
    return FolderFrames(path) if path.is_dir() else VideoFrames(path)


class VideoFrames:
    """The frames of a video's first picture stream, decoded as they are asked for.

    A damaged packet spoils all frames up to the next key frame: they are left out, and the frame after them does not
    ``follow``.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.name: str = self.path.stem
        self.damage: str | None = None
        self._left_out = 0
        with VideoReader(self.path) as video:
            self.size_bytes: int = self.path.stat().st_size
            self.rate: float | None = float(video.frame_rate)
            self.count: int | None = video.num_frames
            self._promised = video.stream.frames
            self._has_clock = video.stream.container.format.name != "avi"  # which says when a frame is stored

    def __iter__(self) -> Iterator[Frame]:
        self.damage, self._left_out = None, 0
        shown, unreached = 0, self._promised
        try:
            with VideoReader(self.path) as video:
                for frame, follows in self._whole(_decoded(video.stream)):
                    time = frame.time if self._has_clock else None
                    image = frame.to_ndarray(format="rgb24", src_color_range=frame.color_range)
                    yield Frame(shown + self._left_out, time, video.upright(image, frame), follows)
                    shown += 1
            unreached = 0
        finally:
            lost = max(self._left_out, self._promised - unreached - shown)
            if lost:
                self.damage = f"damaged or cut off: {lost} frames that cannot be decoded rightly were left out"
        if not shown:
            raise InputError(f"{self.path}: not one frame can be decoded; the file is damaged, give another")

    def _whole(self, frames):
        """(frame, follows) of the frames that no damage can have reached."""
        held = deque()  # frames that are shown before a damaged one may refer to it
        intact, follows = True, False
        for frame in frames:
            if frame is None or frame.is_corrupt:
                self._left_out += len(held) + 1
                held.clear()
                intact, follows = False, False
            elif not intact and not frame.key_frame:
                self._left_out += 1
            else:
                intact = True
                held.append((frame, follows))
                follows = True
            if len(held) > _MAX_REORDER:
                yield held.popleft()
        yield from held


class FolderFrames:
    """The images of one folder, in the natural order of their names (2 before 10); they have no clock.

    Where their numbers leave some out, the frame after them does not ``follow``.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.name: str = self.path.resolve().name
        self.damage: str | None = None
        self.rate = None
        self._files = image_files(self.path)
        if not self._files:
            raise InputError(f"{self.path}: no images in this folder; give a video or a folder of images")
        self.count: int = len(self._files)
        self.size_bytes: int = sum(file.stat().st_size for file in self._files)

    def __iter__(self) -> Iterator[Frame]:
        self.damage = None
        gaps = _gaps(self._files)
        broken, missing, follows = [], {}, False
        try:
            with ThreadPoolExecutor(num_cores()) as pool:
                for number, image in enumerate(_ahead(pool, self._files)):
                    if number in gaps:
                        missing[self._files[number].name] = gaps[number]
                        follows = False
                    if isinstance(image, InputError):
                        broken.append(image)
                    else:
                        yield Frame(number, None, image, follows)
                    follows = not isinstance(image, InputError)
        finally:
            lines = [f"{len(broken)} images were left out, such as {broken[0]}"] if broken else []
            if missing:
                lines.append(f"{sum(missing.values())} numbers are missing, such as before {next(iter(missing))}")
            self.damage = "; ".join(lines) or None
        if len(broken) == len(self._files):
            raise broken[0]


def image_files(folder: str | os.PathLike) -> list[Path]:
    """The image files of a folder in the natural order of their names."""
    files = (path for path in Path(folder).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    return sorted(files, key=lambda path: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", path.name)])


def _gaps(files):
    """{index of a file: how many numbers are missing before it} of files that are numbered evenly, else {}."""
    numbers = [re.findall(r"\d+", path.stem)[-1:] for path in files]
    if len(files) < 2 or not all(numbers):
        return {}
    steps = [int(after) - int(before) for (before,), (after,) in pairwise(numbers)]
    usual, count = Counter(steps).most_common(1)[0]
    if usual < 1 or count < _NUMBERED * len(steps):
        return {}
    return {index: step // usual - 1 for index, step in enumerate(steps, start=1) if step >= 2 * usual}


def _decoded(stream):
    """All frames of a picture track in the order they are shown; None where the decoder met damage."""
    stream.thread_type = "FRAME"  # sliced decoding conceals damage without saying so
    stream.codec_context.thread_count = min(max(num_cores(), 2), 4)
    packets = stream.container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:  # the file ends in the middle of a packet
            yield from stream.codec_context.decode(None)
            yield None
            return
        if packet is None:
            return
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            yield None


def _ahead(pool, files):
    """The images of files in order, or the InputErrors that they gave; read by a pool a few files in advance."""

    def read(path):
        try:
            return read_image(path)
        except InputError as error:
            return error

    waiting = deque()
    for file in files:
        waiting.append(pool.submit(read, file))
        if len(waiting) > 2 * num_cores():
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
