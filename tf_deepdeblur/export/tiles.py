"""TFLite files of the single scales: images of any size, tile by tile, wherever such files run.

``OUT/tiles_<quantize>/`` holds ``halve.tflite`` (one step of the Gaussian pyramid; none for a network of one scale),
``scale_<k>.tflite`` for each scale, 0 being the finest, and ``model.json``, which describes them. Height and width are
free, operators are builtin ones, and a window is as large when it comes out as when it went in: whoever runs the files
cuts the halo. docs/export.md tells how; ``inference.exported_tiles`` is the same in Python.

Pixels are uint8 at the finest scale; whatever else passes between the files is float32. int8 files have the parameters
of the whole network's one calibration, so that tiles quantise as the untiled int8 file does.
"""

import functools
import hashlib
import json
import math
import os
from pathlib import Path

import tensorflow as tf

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.export import int8, tflite
from tf_deepdeblur.inference.exported_tiles import DESCRIPTION, FORMAT, FORMAT_VERSION
from tf_deepdeblur.inference.scale_by_scale import PYRAMID_HALO, SMALLEST_TILE
from tf_deepdeblur.io.atomic import atomic_folder
from tf_deepdeblur.io.pixels import to_float
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.pyramid import gaussian_pyramid, smallest_side

QUANTIZATIONS = ("none", "float16", "int8")  # with "dynamic" the quantisation would differ from tile to tile
_LARGEST_TILE = 512  # pixels; beyond it little is saved, and progress is seen less often
_FLOAT = {"dtype": "float32", "range": [-0.5, 0.5]}
_PIXELS = {"dtype": "uint8", "range": [0, 255]}


def export_tiles(
    generator: Generator,
    folder: str | os.PathLike,
    metadata: dict,
    quantize: str = "none",
    ranges: int8.Ranges | None = None,
) -> None:
    """Writes the files of one quantisation; the folder is replaced atomically.

    Args:
        generator: float32 Generator.
        folder: the folder to write. One of such files is replaced, anything else is not.
        metadata: result of ``bundle.metadata``.
        quantize: one of QUANTIZATIONS.
        ranges: result of ``tflite.calibration_ranges``; needed for "int8".

    Raises:
        InputError: naming the folder, if it holds something else.
        OSError: if the folder cannot be written.
        ValueError: for another ``quantize``, or "int8" without ranges or with those of another network.
    """
    if quantize not in QUANTIZATIONS:
        raise ValueError(f"`quantize` must be one of {', '.join(QUANTIZATIONS)}, got {quantize!r}")
    if quantize == "int8" and not ranges:
        raise ValueError("`quantize='int8'` needs the `ranges` of calibration_ranges")
    folder = Path(folder)
    require_replaceable(folder)
    contents = convert_scales(generator, quantize, ranges)
    description = {**metadata, **_description(generator, quantize), "files": _described_files(generator, contents)}
    with atomic_folder(folder) as part:
        for name, content in contents.items():
            (part / name).write_bytes(content)
        (part / DESCRIPTION).write_text(json.dumps(description, indent=2, allow_nan=False) + "\n")


def convert_scales(generator: Generator, quantize: str = "none", ranges: int8.Ranges | None = None) -> dict[str, bytes]:
    """The TFLite files of one quantisation by name; arguments as for ``export_tiles``."""
    last = generator.num_scales - 1
    image = tf.TensorSpec([1, None, None, 3], tf.float32, name="image")
    contents = {}
    if last > 0:
        halve = lambda image: {"halved": gaussian_pyramid(image, 2)[1]}  # noqa: E731
        float_kind = "none" if quantize == "int8" else quantize
        contents["halve.tflite"] = tflite.convert_function(halve, [image], float_kind)

    def restore_window(k, blurry, coarse=None):
        upconvolved = None if coarse is None else generator.upconvs[k](coarse, has_margin=True)
        restored = generator.restore_scale(k, blurry if k else to_float(blurry), upconvolved)
        return {"restored": restored if k else tflite.to_pixels(restored)}

    parts = _scale_ranges(generator, ranges) if quantize == "int8" else [None] * generator.num_scales
    for k in range(generator.num_scales):
        signature = [tf.TensorSpec([1, None, None, 3], tf.float32 if k else tf.uint8, name="blurry")]
        signature += [tf.TensorSpec([1, None, None, 3], tf.float32, name="coarse")] if k < last else []
        restore = tflite.constant_weights(generator, functools.partial(restore_window, k))
        contents[f"scale_{k}.tflite"] = tflite.convert_function(restore, signature, quantize, parts[k])
    return contents


def require_replaceable(folder: Path) -> None:
    """Raises InputError naming the folder, if it exists and holds anything but an export of tiles."""
    if folder.exists() and not (folder / DESCRIPTION).is_file():
        raise InputError(f"{folder}: exists but holds no tiles; remove it or use another `output_dir`")


def _scale_ranges(generator, ranges):
    """The ranges of each scale's operators, finest first; the whole network runs from the coarsest to the finest."""
    parts, start = [], 0
    for k in reversed(range(generator.num_scales)):
        has_upconvolution, has_integer_tail = k < generator.num_scales - 1, k > 0
        stop = start + has_upconvolution + 1 + 3 * generator.num_res_blocks + has_integer_tail
        parts.insert(0, ranges[start:stop])
        start = stop
    if start != len(ranges):
        raise ValueError("`ranges` are those of another network")
    return parts


def _description(generator, quantize):
    """What whoever runs the files has to know, and what to compare them with; see docs/export.md."""
    halo, last = generator.scales[0].radius, generator.num_scales - 1
    narrow, wide = (_bytes_per_pixel(generator, quantize, pointer_bytes) for pointer_bytes in (4, 8))
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "quantize": quantize,
        "num_scales": generator.num_scales,
        "multiple": generator.space_to_depth * 2**last,
        "smallest_side": smallest_side(generator.num_scales),
        "halo": halo,
        "coarse_margin": generator.kernel_size // 2,
        "pyramid_halo": PYRAMID_HALO,
        "tile": min(_LARGEST_TILE, max(SMALLEST_TILE, math.isqrt(2**30 // narrow) - 2 * halo)) // 2 * 2,
        "bytes_per_pixel": wide,
    }


def _described_files(generator, contents):
    """{name: SHA-256, size, inputs and outputs} of the files."""
    interfaces = {
        "halve.tflite": ({"image": _described(_FLOAT, "h", "w")}, {"halved": _described(_FLOAT, "h/2", "w/2")})
    }
    margins = [f"{side}/2+{generator.kernel_size // 2 * 2}" for side in "hw"]
    for k in range(generator.num_scales):
        window = _described(_FLOAT if k else _PIXELS, "h", "w")
        is_coarsest = k == generator.num_scales - 1
        coarse = {} if is_coarsest else {"coarse": _described({**_FLOAT, "clipped": False}, *margins)}
        clipped = {"clipped": False} if k else {}
        interfaces[f"scale_{k}.tflite"] = ({"blurry": window, **coarse}, {"restored": {**window, **clipped}})
    return {
        name: {
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "inputs": interfaces[name][0],
            "outputs": interfaces[name][1],
        }
        for name, content in contents.items()
    }


def _bytes_per_pixel(generator, quantize, pointer_bytes):
    """Memory that LiteRT takes for each pixel of a window, with pointers of ``pointer_bytes``, as measured.

    Most of it is pointers: each convolution keeps one for every pixel that an output pixel sees.
    """
    convolutions = 2 * generator.num_res_blocks + 2
    pointers = convolutions * generator.kernel_size**2 * pointer_bytes
    return (pointers + generator.filters * (8 if quantize == "int8" else 16)) // generator.space_to_depth**2


def _described(kind, height, width):
    return {**kind, "shape": [1, height, width, 3]}
