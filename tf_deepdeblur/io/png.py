"""PNG files written fast: for data sets, which have thousands of them."""

import os
import struct
import zlib

import numpy as np
from isal import isal_zlib

from tf_deepdeblur.io.atomic import write_atomically

END_OF_PNG = b"IEND\xaeB`\x82"  # the last bytes of every complete PNG file
_UP = 2  # the filter: each row minus the one above


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes a uint8 RGB [H, W, 3] image several times faster than Pillow, to a file 7% larger. Writing is atomic.

    Pillow spends half of its time on choosing a filter for each row and the other half in zlib. One filter for all
    rows and Intel's deflate cost little of the size on photographs. Every PNG reader can read the result.
    """
    height, width, _ = image.shape
    rows = np.empty((height, 1 + 3 * width), np.uint8)
    pixels = image.reshape(height, -1)
    rows[:, 0] = _UP
    rows[0, 1:] = pixels[0]
    np.subtract(pixels[1:], pixels[:-1], out=rows[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits of red, green and blue; not interlaced
    chunks = ((b"IHDR", header), (b"IDAT", isal_zlib.compress(rows, 2)), (b"IEND", b""))
    content = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
        for kind, data in chunks
    )
    write_atomically(path, b"\x89PNG\r\n\x1a\n" + content)
