"""What restoring a photograph costs, and how much of it is not the network."""

import math
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
import timing

from tf_deepdeblur.inference.deblurrer import Deblurrer
from tf_deepdeblur.io.pixels import read_image, to_float, to_uint8, write_image
from tf_deepdeblur.metrics import psnr
from tf_deepdeblur.models.saving import with_dtype
from tf_deepdeblur.pyramid import gaussian_pyramid, pad_for_pyramid
from tf_deepdeblur.runtime import POLICIES


def measure(generator, image, precisions, repeats):
    """Measures every precision, alternating in one run: a PNG file in and a PNG file out.

    Args:
        generator: float32 Generator.
        image: uint8 [H, W, 3].
        precisions: of "float32", "bfloat16" and "float16"; the first is what the others are compared with.
        repeats: timed calls of each; the median counts.

    Yields:
        A dict per precision. "beside_network" is the share of "seconds" that is left with a network that does nothing:
        reading, pyramid, rounding, writing. "psnr" (null if all pixels are equal) and "max_difference" are between the
        images restored in this precision and in the first.
    """
    deblurs = {name: Deblurrer(with_dtype(generator, POLICIES[name])) for name in precisions}
    with tempfile.TemporaryDirectory() as folder:
        write_image(Path(folder) / "blurry.png", image)
        functions = {"nothing": _without_network(generator.num_scales), **deblurs}
        seconds = timing.alternate(
            {name: _file_to_file(function, Path(folder)) for name, function in functions.items()}, repeats
        )
    reference = deblurs[precisions[0]](image)
    for name, deblur in deblurs.items():
        restored = deblur(image)
        decibels = float(psnr(restored[None], reference[None])[0])
        yield {
            "name": name,
            "seconds": round(seconds[name], 3),
            "ratio": round(seconds[name] / seconds[precisions[0]], 3),
            "beside_network": round(seconds["nothing"] / seconds[name], 4),
            "psnr": round(decibels, 2) if math.isfinite(decibels) else None,
            "max_difference": int(np.abs(restored.astype(int) - reference).max()),
            "size": "{}x{}".format(*image.shape[:2]),
            "peak_gib_so_far": round(timing.peak_gib(), 2),
        }


def _file_to_file(function, folder):
    return lambda: write_image(folder / "restored.png", function(read_image(folder / "blurry.png")))


def _without_network(num_scales):
    """What a Deblurrer does around its network."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    def restore(images):
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        pyramid = gaussian_pyramid(to_float(pad_for_pyramid(images, num_scales)), num_scales)
        return to_uint8(pyramid[0][:, :height, :width])

    return lambda image: restore(image[None]).numpy()[0]
