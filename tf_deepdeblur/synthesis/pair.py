"""The images of one window of frames: cut, written, and measured for the manifest."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.png import END_OF_PNG, write_png
from tf_deepdeblur.synthesis.footage import brightest, motion
from tf_deepdeblur.synthesis.sequences import Settings
from tf_deepdeblur.synthesis.windows import Window

BLUR_KEYS = ("blur_gamma", "blur")


def cut(image: np.ndarray, path: Path, settings: Settings) -> np.ndarray:
    """The part of a frame that is wanted, made smaller.

    Raises:
        InputError: naming ``path``, if the frame is too small for that.
    """
    size = "{}x{} (height x width)".format(*image.shape)
    if settings.crop:
        left, top, width, height = settings.crop
        if top + height > image.shape[0] or left + width > image.shape[1]:
            raise InputError(f"{path}: `crop` reaches beyond the frame of {size}")
        image = image[top : top + height, left : left + width]
    factor = settings.downscale
    if factor == 1:
        return image
    height, width = (side - side % factor for side in image.shape[:2])
    if not height or not width:
        raise InputError(f"{path}: `downscale={factor}` leaves nothing of {size}")
    return np.asarray(Image.fromarray(np.ascontiguousarray(image[:height, :width])).reduce(factor))


def write_pair(folder: Path, name: str, window: Window, fps: float, rate: float | None) -> tuple[dict, tuple]:
    """Writes one window's images, unless they are there.

    Args:
        folder: folder of the sequence.
        name: of the images.
        window: Window.
        fps: frames per second that the user gave, 0 if none.
        rate: frames per second that the file says, or None.

    Returns:
        (row of the manifest without its first columns, arguments of ``Footage.see``).
    """
    times = [time for time in window.times if time is not None]
    fps = fps or ((len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else rate)
    pixels = motion(*window.neighbours)
    row = {
        "file": name,
        "first_frame": window.first,
        "frames": len(window.times),
        "fps": f"{fps:.6g}" if fps else "",
        "exposure_s": f"{len(window.times) / fps:.6g}" if fps else "",
        "motion_px": "" if np.isnan(pixels) else f"{pixels:.1f}",
    }
    for key, image in [*zip(BLUR_KEYS, window.blurry, strict=True), ("sharp", window.sharp)]:
        path = folder / key / name
        # A power failure can leave the name of a file without its content.
        if not (path.exists() and path.read_bytes().endswith(END_OF_PNG)):
            write_png(path, image)
        if key in BLUR_KEYS:
            psnr = np.inf if np.array_equal(image, window.sharp) else cv2.PSNR(image, window.sharp)
            row[f"psnr_{key}"] = f"{psnr:.2f}"
    return row, (window.differences, pixels, brightest(window.sharp), float(row["psnr_blur_gamma"]))
