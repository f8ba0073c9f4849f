"""TFLite files: one uint8 image in, one out, builtin operators only, the pyramid and the padding inside.

Signature ``serving_default``: ``image`` uint8 [1, H, W, 3] -> ``restored`` uint8 of the same shape. H and W are free,
from 1x1, or fixed for the delegates of GPUs and NPUs. Free sizes must be set before the tensors are allocated, which
``get_signature_runner()`` does by itself; the size that such a file states before it has run is 1x1.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_deepdeblur.export import int8
from tf_deepdeblur.io.atomic import write_atomically
from tf_deepdeblur.io.checksum import sha256
from tf_deepdeblur.io.pixels import to_float, to_uint8
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.runtime import dropped_stderr

QUANTIZATIONS = ("none", "float16", "dynamic", "int8")


def convert(
    generator: Generator,
    quantize: str = "none",
    fixed_size: tuple[int, int] | None = None,
    ranges: int8.Ranges | None = None,
) -> bytes:
    """Converts a generator to TFLite.

    Args:
        generator: float32 Generator.
        quantize: "none" (float32), "float16" (weights), "dynamic" (int8 weights, activations when it runs) or "int8".
        fixed_size: (height, width) of the only image size, or None for any size.
        ranges: result of ``calibration_ranges``; needed for "int8".

    Returns:
        Bytes of a TFLite file.

    Raises:
        ValueError: for another ``quantize``, or "int8" without ranges.
    """
    if quantize not in QUANTIZATIONS:
        raise ValueError(f"`quantize` must be one of {', '.join(QUANTIZATIONS)}, got {quantize!r}")
    if quantize == "int8" and not ranges:
        raise ValueError("`quantize='int8'` needs the `ranges` of calibration_ranges")
    restore = constant_weights(generator)
    image = tf.TensorSpec([1, *(fixed_size or (None, None)), 3], tf.uint8, name="image")
    return convert_function(lambda image: {"restored": to_pixels(restore(to_float(image)))}, [image], quantize, ranges)


def to_pixels(restored: tf.Tensor) -> tf.Tensor:
    """Float images -> uint8, in the same steps in every file."""
    # What is darker than black is clipped anyway. But without an operator of its own here, and only where no cropping
    # comes before, the converter would fold the steps into the last convolution's weights, and round ties otherwise.
    return to_uint8(tf.maximum(restored, -0.5))


def constant_weights(generator: Generator, function: Callable | None = None) -> Callable:
    """A generator, or a ``function`` of it, as a function whose weights are constants of the graph.

    TFLite's own freezing misses the variables of Keras.
    """
    return generator.with_weights([tf.constant(weight) for weight in generator.get_weights()], function)


def convert_function(
    function: Callable, signature: Sequence[tf.TensorSpec], quantize: str, ranges: int8.Ranges | None = None
) -> bytes:
    """Converts a function without variables to TFLite.

    Args:
        function: returns a dict of tensors; the arguments are called as in the signature.
        signature: named specifications of the arguments.
        quantize: see ``convert``.
        ranges: of the function's integer operators; needed for "int8".

    Returns:
        Bytes of a TFLite file.
    """
    module = tf.Module()
    module.function = tf.function(function, input_signature=signature, autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.function.get_concrete_function()], module)
    if quantize in ("float16", "dynamic"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    with dropped_stderr():  # TensorFlow 2.20 tells which of its own options it ignores
        content = converter.convert()
    return int8.quantize(content, ranges) if quantize == "int8" else content


def calibration_ranges(generator: Generator, images: Iterable[np.ndarray]) -> int8.Ranges:
    """The ranges of a generator's features on typical images, for "int8".

    Args:
        generator: float32 Generator.
        images: uint8 arrays [1, H, W, 3]: real blurry crops.
    """
    return int8.calibrate(convert(generator), images)


def export_tflite(
    generator: Generator,
    path: str | os.PathLike,
    metadata: dict,
    quantize: str = "none",
    fixed_size: tuple[int, int] | None = None,
    ranges: int8.Ranges | None = None,
) -> None:
    """Writes a TFLite file and its metadata beside it: the same name with ``.json``.

    Args:
        generator: float32 Generator.
        path: the ``.tflite`` file.
        metadata: result of ``bundle.metadata``. The ``.json`` file adds "format", "quantize", "interface", "operators"
            (how many of each) and "sha256", that of the ``.tflite`` file.
        quantize: see ``convert``.
        fixed_size: see ``convert``.
        ranges: see ``convert``.

    Raises:
        OSError: if a file cannot be written.
    """
    path, content = Path(path), convert(generator, quantize, fixed_size, ranges)
    height, width = fixed_size or ("H", "W")
    # Killed between the two writes, this leaves a .tflite file without a .json file, never with that of another one.
    path.with_suffix(".json").unlink(missing_ok=True)
    write_atomically(path, content)
    details = {
        "format": "TFLite",
        "quantize": quantize,
        "interface": {
            "serving_default": {
                "image": f"uint8 [1, {height}, {width}, 3], RGB" + ("" if fixed_size else ", any H and W from 1"),
                "restored": f"uint8 [1, {height}, {width}, 3]",
                "padding": "none needed",
            }
        },
        "operators": dict(sorted(Counter(int8.operator_names(content)).items())),
        "sha256": sha256(path),
    }
    write_atomically(path.with_suffix(".json"), json.dumps({**metadata, **details}, indent=2, allow_nan=False) + "\n")
