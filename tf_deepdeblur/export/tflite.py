"""TFLite files: one uint8 image in, one out, builtin operators only, the pyramid and the padding inside.

Signature ``serving_default``: ``image`` uint8 [1, H, W, 3] -> ``restored`` uint8 of the same shape. H and W are free,
from 1x1, or fixed for the delegates of GPUs and NPUs. Free sizes must be set before the tensors are allocated, which
``get_signature_runner()`` does by itself; the size that such a file states before it has run is 1x1.
"""

from collections import Counter
from pathlib import Path

import tensorflow as tf

from tf_deepdeblur.export import files, graph, int8
from tf_deepdeblur.runtime import dropped_stderr

QUANTIZATIONS = ("none", "float16", "dynamic", "int8")


def convert(generator, quantize="none", fixed_size=None, ranges=None):
    """Converts a generator.

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
        raise ValueError(f"quantize must be one of {', '.join(QUANTIZATIONS)}, got {quantize!r}")
    if quantize == "int8" and not ranges:
        raise ValueError("int8 needs the ranges of calibration_ranges")
    converter = _converter(generator, fixed_size)
    if quantize in ("float16", "dynamic"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    with dropped_stderr():  # TensorFlow 2.20 tells which of its own options it ignores
        content = converter.convert()
    return int8.quantize(content, ranges) if quantize == "int8" else content


def calibration_ranges(generator, images):
    """The ranges of a generator's features on typical images, for "int8".

    Args:
        generator: float32 Generator.
        images: uint8 arrays [1, H, W, 3]: real blurry crops.
    """
    return int8.calibrate(convert(generator), images)


def export_tflite(generator, path, facts, quantize="none", fixed_size=None, ranges=None):
    """Writes a TFLite file and, beside it, its facts: the same name with ``.json``.

    Args:
        generator: float32 Generator.
        path: the ``.tflite`` file.
        facts: result of ``facts.describe``.
        quantize: see ``convert``.
        fixed_size: see ``convert``.
        ranges: see ``convert``.

    Raises:
        InputError: naming the file, if it cannot be written.
    """
    content = convert(generator, quantize, fixed_size, ranges)
    files.write_file(path, content)
    height, width = fixed_size or ("H", "W")
    interface = {
        "image": f"uint8 [1, {height}, {width}, 3], RGB" + ("" if fixed_size else ", any H and W from 1"),
        "restored": f"uint8 [1, {height}, {width}, 3]",
        "padding": "none needed",
    }
    details = {
        "format": "TFLite",
        "quantize": quantize,
        "interface": {"serving_default": interface},
        "operators": dict(sorted(Counter(int8.operator_names(content)).items())),
    }
    files.write_file(Path(path).with_suffix(".json"), {**facts, **details})


def _converter(generator, fixed_size):
    """A converter of ``graph.restore`` with the weights as constants: TFLite's own freezing misses Keras' variables."""
    module = tf.Module()
    network = graph.bind(generator, [tf.constant(weight) for weight in generator.get_weights()])
    image = tf.TensorSpec([1, *(fixed_size or (None, None)), 3], tf.uint8, name="image")
    module.restore = tf.function(
        lambda image: {"restored": graph.restore(image, network, generator.num_scales)}, input_signature=[image]
    )
    return tf.lite.TFLiteConverter.from_concrete_functions([module.restore.get_concrete_function()], module)
