"""What a made data set says about itself: a table of all pairs, and a picture of some.

``manifest.csv`` has a row for each pair; what is not known is empty:

    sequence, file                  the pair's folder, and its name in blur/, blur_gamma/ and sharp/
    source                          the video, folder or photograph
    first_frame, frames             the window: number of its first frame in the source, counted from 0, and M
    fps, exposure_s                 the camera's frames per second, and the exposure that M of them make, in seconds
    psnr_blur_gamma, psnr_blur      of either blurry image against the sharp one, in dB; inf if they are equal
    motion_px                       motion between the two frames in the middle of the window, in pixels: the 90th
                                    percentile over the picture's tiles
"""

import csv
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tf_deepdeblur.io.atomic import write_atomically
from tf_deepdeblur.io.images import read_image, side_by_side
from tf_deepdeblur.io.png import write_png
from tf_deepdeblur.sampling import evenly_spaced
from tf_deepdeblur.synthesis.sequences import SPLITS

COLUMNS = (
    "sequence", "file", "source", "first_frame", "frames",
    "fps", "exposure_s", "psnr_blur_gamma", "psnr_blur", "motion_px",
)  # fmt: skip
_MOST_ROWS = 16
_WIDTH, _HEIGHT, _LABEL = 320, 200, 14


def write_manifest(path: str | os.PathLike, rows: list[dict]) -> None:
    """Writes dicts with the keys ``COLUMNS`` as CSV, atomically."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_atomically(path, text.getvalue())


def write_summary(folder: Path) -> None:
    """Writes ``manifest.csv`` and ``contact_sheet.png`` of all complete sequences of a data set, if there are any.

    Each row of the sheet shows the blurry and the sharp image, then where they differ most, pixel by pixel. Several
    machines may do this at the same time: in the end both files are of all sequences.
    """
    seen = None
    # Another machine may complete a sequence, and write a newer summary, before this one has written its own.
    while (paths := sorted(path for split in SPLITS for path in folder.glob(f"{split}/*/manifest.csv"))) != seen:
        pairs = []
        for path in paths:
            with path.open(newline="") as file:
                pairs += [(path.parent, row) for row in csv.DictReader(file)]
        if pairs:
            write_manifest(folder / "manifest.csv", [row for _, row in pairs])
            sheet = np.concatenate([_sheet_row(folder, *pair) for pair in evenly_spaced(pairs, _MOST_ROWS)])
            write_png(folder / "contact_sheet.png", sheet)
        seen = paths


def _sheet_row(folder, sequence, row):
    """A label above four pictures of one pair, uint8 [H, W, 3]."""
    blurry, sharp = (read_image(sequence / kind / row["file"]) for kind in ("blur_gamma", "sharp"))
    top, left = _busiest(blurry, sharp)
    details = [image[top : top + _HEIGHT, left : left + _WIDTH] for image in (blurry, sharp)]
    pictures = []
    for image in (blurry, sharp, *details):
        picture = Image.fromarray(image)
        picture.thumbnail((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)
        pictures.append(Image.new("RGB", (_WIDTH, _HEIGHT), "white"))
        pictures[-1].paste(picture)
    joined = side_by_side([np.asarray(picture) for picture in pictures])
    text = f"{sequence.relative_to(folder)}/{row['file']}   {row['source']} frame {row['first_frame']}"
    text += f"   M = {row['frames']}   exposure {row['exposure_s'] or '?'} s   {row['psnr_blur_gamma']} dB"
    text += f"   motion {row['motion_px'] or '?'} px"
    label = Image.new("RGB", (joined.shape[1], _LABEL), "white")
    ImageDraw.Draw(label).text((2, 1), text, fill="black")
    return np.concatenate([np.asarray(label), joined])


def _busiest(blurry, sharp):
    """(top, left) of the window where the two images differ most, on a coarse grid."""
    error = np.abs(blurry.astype(np.int16) - sharp).sum(axis=-1, dtype=np.int64)
    total = np.pad(error.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    height, width = min(_HEIGHT, error.shape[0]), min(_WIDTH, error.shape[1])
    tops = np.arange(0, error.shape[0] - height + 1, 16)[:, None]
    lefts = np.arange(0, error.shape[1] - width + 1, 16)[None]
    sums = (
        total[tops + height, lefts + width]
        - total[tops, lefts + width]
        - total[tops + height, lefts]
        + total[tops, lefts]
    )
    row, column = np.unravel_index(sums.argmax(), sums.shape)
    return int(tops[row, 0]), int(lefts[0, column])
