"""Whole held-out frames, and how well a model restores them."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_deepdeblur.inference.deblurrer import Deblurrer
from tf_deepdeblur.io.pixels import to_float
from tf_deepdeblur.metrics import psnr, ssim
from tf_deepdeblur.sampling import evenly_spaced

_NUM_PICTURES = 3


class HeldOut:
    """Scores a DeblurGAN on up to ``limit`` whole frames, spread evenly over a source.

    Args:
        source: has ``len``, ``name(index)`` and ``read_pair(index)`` -> (blurry, sharp) uint8 [H, W, 3].
        limit: how many frames.
        model: DeblurGAN.
    """

    def __init__(self, source, limit, model):
        self._source = source
        self._indices = evenly_spaced(range(len(source)), limit)
        frames = tf.TensorSpec([None, None, None, 3], tf.float32)
        self._test_step = tf.function(model.test_step, input_signature=[(frames, frames)])
        self._deblur = Deblurrer(model.deployed_generator)

    def blurry_scores(self):
        """{"blurry_psnr", "blurry_ssim"}: the means over the frames as they are."""
        pairs = [[frame[None] for frame in self._source.read_pair(i)] for i in self._indices]
        return _mean([{"blurry_psnr": psnr(*pair)[0], "blurry_ssim": ssim(*pair)[0]} for pair in pairs])

    def scores(self):
        """Means over the frames of what ``DeblurGAN.test_step`` measures; one frame is in memory at a time."""
        frames = ([to_float(frame[None]) for frame in self._source.read_pair(i)] for i in self._indices)
        return _mean([self._test_step(tuple(pair)) for pair in frames])

    def triplets(self):
        """[(name, [blurry, restored, sharp])] of a few frames, to look at."""
        chosen = evenly_spaced(self._indices, _NUM_PICTURES)
        return [
            (str(Path(self._source.name(i)).with_suffix("")), self._triplet(*self._source.read_pair(i))) for i in chosen
        ]

    def _triplet(self, blurry, sharp):
        return [blurry, self._deblur(blurry), sharp]


def _mean(rows):
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
