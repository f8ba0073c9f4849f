"""Images to measure speed with: photographs that scikit-image carries in its wheel, in any size.

Without TensorFlow, whose memory must not count where another framework is measured.
"""

import os
from pathlib import Path

import av
import numpy as np
from PIL import Image
from skimage.data import data_dir

_PHOTOS = "chelsea.png", "motorcycle_left.png", "astronaut.png", "coffee.png", "rocket.jpg"


def photograph(height: int, width: int, number: int = 0) -> np.ndarray:
    """A photograph, enlarged or reduced to uint8 [height, width, 3]."""
    with Image.open(Path(data_dir) / _PHOTOS[number % len(_PHOTOS)]) as photo:
        return np.array(photo.convert("RGB").resize((width, height), Image.Resampling.BICUBIC))


def write_photograph(path: Path, height: int, width: int, number: int = 0) -> Path:
    """Writes a photograph as a file; returns the path."""
    Image.fromarray(photograph(height, width, number)).save(path)
    return path


def make_pairs(folder: str | os.PathLike, count: int = 24, height: int = 720, width: int = 1280) -> Path:
    """Writes plain pairs of GOPRO_Large's size: enlarged photographs with a camera's noise. Returns the folder."""
    for number in range(count):
        frame = np.float32(photograph(height, width, number))
        noise = np.random.default_rng(number).normal(0.0, 2.0, (2, height, width, 3))
        pair = np.clip(frame + noise, 0, 255).astype(np.uint8)
        for kind, image in zip(("blur", "sharp"), pair, strict=True):
            (Path(folder) / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(Path(folder) / kind / f"{number:03d}.png")
    return Path(folder)


def write_video(path: Path, frames: int, height: int, width: int, rate: int = 240) -> Path:
    """Writes a video (H.264) of a camera that pans over a photograph; returns the path."""
    scene = photograph(height + 512, width + 512)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            left, top = (round(255 + 255 * np.sin(number * speed)) for speed in (0.004, 0.003))
            frame = np.ascontiguousarray(scene[top : top + height, left : left + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path
