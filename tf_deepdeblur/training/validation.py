"""Scores and pictures of whole validation frames."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_deepdeblur.data.packed import PackedStore
from tf_deepdeblur.data.pairs import PairFolder
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.pixels import to_float, to_uint8
from tf_deepdeblur.metrics import psnr, ssim
from tf_deepdeblur.sampling import evenly_spaced
from tf_deepdeblur.training.gan import DeblurGAN

_NUM_PICTURES = 3

Triplet = tuple[str, list[np.ndarray]]  # name, [blurry, restored, sharp] uint8 images


class Validation:
    """Scores a DeblurGAN on up to ``limit`` whole frames, spread evenly over a source.

    Args:
        source: where the frames come from.
        limit: how many frames.
        model: DeblurGAN.
    """

    def __init__(self, source: PairFolder | PackedStore, limit: int, model: DeblurGAN):
        self._source = source
        self._indices = evenly_spaced(range(len(source)), limit)

        def restore_and_score(blurry, sharp):
            losses, restored = model.compute_losses(model.generator, to_float(blurry), to_float(sharp))
            restored = to_uint8(restored)
            return {**losses, "psnr": psnr(restored, sharp)[0], "ssim": ssim(restored, sharp)[0]}, restored

        frames = tf.TensorSpec([1, None, None, 3], tf.uint8)
        self._restore_and_score = tf.function(restore_and_score, input_signature=[frames, frames], autograph=False)

    def blurry_scores(self) -> dict[str, float]:
        """{"blurry_psnr", "blurry_ssim"}: mean scores of the blurry input frames."""
        pairs = [[frame[None] for frame in self._source.read_pair(i)] for i in self._indices]
        return _mean([{"blurry_psnr": psnr(*pair)[0], "blurry_ssim": ssim(*pair)[0]} for pair in pairs])

    def run(self) -> tuple[dict[str, float], list[Triplet]]:
        """Restores every frame once.

        Returns:
            (scores, pictures): the means over the frames of all losses, PSNR in dB and SSIM (gaussian) of the rounded
            uint8 pixels; and a few frames to look at.

        Raises:
            InputError: naming the frame, if it cannot be read or does not fit into memory.
        """
        rows, pictures = [], []
        shown = evenly_spaced(self._indices, _NUM_PICTURES)
        for index in self._indices:
            blurry, sharp = self._source.read_pair(index)
            try:
                scores, restored = self._restore_and_score(blurry[None], sharp[None])
            except tf.errors.ResourceExhaustedError as error:
                height, width = sharp.shape[:2]
                raise InputError(
                    f"{self._source.name(index)}: out of memory, because validation frames ({height}x{width} pixels, "
                    "height x width) are restored as a whole; use smaller ones, or a data set without any"
                ) from error
            rows.append(scores)
            if index in shown:
                name = str(Path(self._source.name(index)).with_suffix(""))
                pictures.append((name, [blurry, restored.numpy()[0], sharp]))
        return _mean(rows), pictures


def _mean(rows):
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
