"""Which blur sequences to make: their sources, names, M and place in ``train`` or ``test``."""

import math
import os
import random
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.images import image_size
from tf_deepdeblur.synthesis.frames import FolderFrames, VideoFrames, find_sources, image_files, open_frames
from tf_deepdeblur.synthesis.response import GAMMA

SPLITS = ("train", "test")
_GAMMAS = (0.1, 10.0)


@dataclass(frozen=True)
class Settings:
    """What the pixels depend on, besides the sources.

    Attributes:
        min_frames: least M; M is odd, and drawn once per sequence.
        max_frames: greatest M.
        camera_response: "gamma", "linear" or the CSV file of a response curve, see ``response.table_response``.
        gamma: exponent of "gamma", 0.1 to 10.
        stride: frames from one window's start to the next one's; 0 for M - overlap.
        overlap: frames that neighbouring windows share.
        first_frame: number of the first frame to use.
        last_frame: the first one that is not used any more; 0 for all.
        crop: (left, top, width, height) to use of each frame; () for all of it.
        downscale: whole factor by which frames are made smaller first, by the mean of its squares.
        fps: the camera's frames per second where the file does not say; 0 to believe the file.
        from_photos: whether the sources are photographs, shaken by ``camera_shake.shake_photo``.
        takes: pairs from each photograph.
        shake, roll, moving, phone: how photographs are shaken, see ``windows.photo_windows``.
        seed: of all that is drawn.

    Raises:
        InputError: naming the argument, if values are out of their limits or contradict each other.
    """

    min_frames: int = 7
    max_frames: int = 13
    camera_response: str = "gamma"
    gamma: float = GAMMA
    stride: int = 0
    overlap: int = 0
    first_frame: int = 0
    last_frame: int = 0
    crop: tuple[int, ...] = ()
    downscale: int = 1
    fps: float = 0.0
    from_photos: bool = False
    takes: int = 4
    shake: tuple[float, ...] = ()
    roll: float = 1.0
    moving: float = 0.5
    phone: bool = False
    seed: int = 0

    def __post_init__(self):
        if not self.odd_numbers:
            raise InputError(f"no odd number from `min_frames={self.min_frames}` to `max_frames={self.max_frames}`")
        if not _GAMMAS[0] <= self.gamma <= _GAMMAS[1]:
            raise InputError(f"`gamma` must be from {_GAMMAS[0]} to {_GAMMAS[1]}, got {self.gamma}")
        if not math.isfinite(self.fps):
            raise InputError(f"`fps` must be a number of frames per second, got {self.fps}")
        if self.stride and self.overlap:
            raise InputError("`stride` and `overlap` say the same thing: give one of them")
        if self.overlap >= self.odd_numbers[0]:
            raise InputError(f"`overlap` must be below the {self.odd_numbers[0]} frames of the smallest window")
        if self.last_frame and self.last_frame <= self.first_frame:
            raise InputError("`last_frame` must be above `first_frame`, or 0 for all frames")
        if self.crop and (len(self.crop) != 4 or min(self.crop) < 0 or min(self.crop[2:]) < 1):
            raise InputError("`crop` takes four whole numbers: left,top,width,height")
        if self.from_photos and self.odd_numbers[0] < 3:
            raise InputError("`from_photos` needs `min_frames=3` or more: one frame does not move")
        if self.shake and (len(self.shake) != 2 or not 0 <= self.shake[0] <= self.shake[1] < math.inf):
            raise InputError("`shake` takes the shortest and the longest path in pixels, like 0,25")
        if not 0 <= self.roll < math.inf or not 0 <= self.moving <= 1:
            raise InputError(f"`roll` must be degrees and `moving` from 0 to 1, got {self.roll} and {self.moving}")

    @property
    def odd_numbers(self) -> list[int]:
        """Every M that can be drawn."""
        return [number for number in range(max(self.min_frames, 1), self.max_frames + 1) if number % 2]


class Photo(NamedTuple):
    """A still photograph as a source of ``count`` pairs."""

    path: Path
    name: str
    size_bytes: int
    count: int
    rate: None = None
    damage: None = None


class Sequence(NamedTuple):
    """One sequence to make: its folder is ``split``/``name``; M is ``num_frames``."""

    name: str
    split: str
    source: VideoFrames | FolderFrames | Photo
    num_frames: int

    @property
    def key(self) -> str:
        """What all draws of the sequence depend on, besides the seed: the name without M."""
        return re.sub(r"_\d+(_\d+)$", r"\1", self.name)


def plan(
    inputs: Iterable[str | os.PathLike],
    output_dir: str | os.PathLike,
    settings: Settings,
    test_fraction: float = 0.33,
    test_sequences: Collection[str] = (),
) -> tuple[list[Sequence], list[str]]:
    """Turns paths into sequences.

    M and the split are drawn per sequence from the seed and the sequence's name, so that they depend neither on the
    order of the inputs nor on what is done already. What is in the folder stays in its part of it, and is not made a
    second time with another M, which could put the same footage in both parts.

    Args:
        inputs: videos, folders of images, or folders of such; with ``from_photos`` photographs or folders of them.
        output_dir: folder of the data set.
        settings: Settings.
        test_fraction: part of the sequences that goes to ``test``; at least one of several unless it is 0.
        test_sequences: names of the sources that go there instead, without folder and suffix.

    Returns:
        (sequences, failures): a list of Sequence, and a line for each input that cannot be used.

    Raises:
        InputError: if ``test_sequences`` names what is not there, or what is in ``train`` already; if the folder has a
            sequence with another M.
    """
    if not 0 <= test_fraction <= 1:
        raise InputError(f"`test_fraction` must be from 0 to 1, got {test_fraction}")
    sources, failures = _open_all(inputs, settings)
    missing = set(test_sequences) - {source.name for source in sources}
    if missing:
        raise InputError(f"`test_sequences`: no input is called {', '.join(sorted(missing))}")

    keys = _keys(sources)
    if test_sequences:
        tests = {key for key, source in zip(keys, sources, strict=True) if source.name in test_sequences}
    else:
        tests = _draw_tests(keys, test_fraction, settings.seed)
    sequences = []
    for key, source in zip(keys, sources, strict=True):
        num_frames = _random(settings.seed, key).choice(settings.odd_numbers)
        name = re.sub(r"(_\d+)$", rf"_{num_frames:02d}\1", key)
        split, made = SPLITS[key in tests], _made_before(output_dir, key)
        if made and made.name != name:
            raise InputError(
                f"{made}: was made with another M, now it would be {name}; remove it or use a new `output_dir`"
            )
        if made and made.parent.name != split and test_sequences:
            raise InputError(f"{made}: `test_sequences` wants it in {split}/; move it there")
        sequences.append(Sequence(name, made.parent.name if made else split, source, num_frames))
    return sequences, failures


def _open_all(inputs, settings):
    """(sources in name order, failures)."""
    sources, failures = {}, []
    for path in map(Path, inputs):
        if settings.from_photos:
            found = image_files(path) if path.is_dir() else [path]
            expected = "photographs (folders in it are not read)"
        else:
            found = find_sources(path)
            expected = "videos or folders of images"
        if not found:
            failures.append(f"{path}: nothing to use in this folder; give {expected}")
        for item in found:
            try:
                if settings.from_photos:
                    image_size(item)
                    source = Photo(item, item.stem, item.stat().st_size, settings.takes)
                else:
                    source = open_frames(item)
                sources[item.resolve()] = source
            except InputError as error:
                failures.append(str(error))
    return sorted(sources.values(), key=lambda source: (source.name, source.path)), failures


def _keys(sources):
    """<name>_<n> for each source, where n counts those of the same name."""
    seen, keys = Counter(), []
    for source in sources:
        name = re.sub(r"[^\w.-]+", "-", source.name)
        keys.append(f"{name}_{seen[name]:02d}")
        seen[name] += 1
    return keys


def _draw_tests(keys, test_fraction, seed):
    """The keys of the sequences that go to ``test``; some are left for ``train``."""
    least = 1 if test_fraction > 0 and len(keys) > 1 else 0
    count = min(max(round(test_fraction * len(keys)), least), max(len(keys) - 1, 0))
    return set(sorted(keys, key=lambda key: _random(seed, f"split/{key}").random())[:count])


def _made_before(output_dir, key):
    """The folder of a sequence, whatever its M and its part; None if there is none."""
    pattern = re.compile(re.sub(r"_(\d+)$", r"_\\d+_\1", re.escape(key)))
    folders = (path for part in SPLITS for path in (Path(output_dir) / part).glob("*"))
    return next((path for path in folders if pattern.fullmatch(path.name)), None)


def _random(seed, key):
    return random.Random(f"{seed}/{key}")
