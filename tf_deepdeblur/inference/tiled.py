"""A generator on images of any size, in bounded memory, with the pixels of the untiled network.

The whole network sees 572 pixels around a pixel, but each scale alone only 80 of its own pixels (radius 2 times 40
convolutions), and what passes from one scale to the next is a 3-channel image. So the scales run one after the other,
coarsest first, each tile by tile with a halo of the scale's own radius, which ``ScaleNetwork`` drops as it goes. Of
whole images there are in memory only the integers in and out, the coarser levels of the pyramid and the last latent
image. An image that suits one tile is restored at once, by the function that an export computes.

In float32 the pixels are those of the untiled network but for rounding: sums may be taken in another order, which shows
where a value lies on the edge between two grey levels.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import logging

from tf_deepdeblur import runtime
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.inference import tiling
from tf_deepdeblur.io.pixels import to_float, to_integers
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.pyramid import gaussian_pyramid, pad_for_pyramid

SMALLEST_TILE = 32
_PYRAMID_TILE = 1024  # even; the memory it takes does not count beside the network's
_PYRAMID_HALO = 4  # the blur sees 3 pixels; even
_MAPS = 2.5  # float32 feature maps that a scale holds at a time; oneDNN takes as much for 16-bit ones
_CPU_BUDGET = 2**30  # twice as much would save 5 % of the arithmetic of a network of 64 filters
_GPU_BUDGET = 2**33  # beyond it, feature maps have more values than 32-bit indices can count
_OUT_OF_MEMORY = (tf.errors.ResourceExhaustedError, MemoryError)
_IMAGE = tf.TensorSpec([1, None, None, 3], tf.float32)


class NotFinite(ArithmeticError):
    """A restored image has values that are not finite."""


class TiledGenerator:
    """A callable: blurry integer image [H, W, 3] in, restored image of the same size and type out.

    Args:
        generator: computes in its own dtype policy and with the weights that it has at the time.
        tile: side of the tiles in pixels of each scale, without their halo, at least 32; 0 makes one tile of the image;
            "auto" makes the largest tiles that suit the free memory. Where memory runs out the side is halved.

    Raises:
        InputError: if ``tile`` is none of these.
    """

    def __init__(self, generator: Generator, tile: int | str = "auto"):
        if tile != "auto" and not (isinstance(tile, int) and (tile == 0 or tile >= SMALLEST_TILE)):
            raise InputError(f"`tile` must be auto, 0 (off) or at least {SMALLEST_TILE} pixels, got {tile!r}")
        self.generator = generator
        self.tile = tile
        self._largest = None  # tiles must not be larger, as memory has run out
        self._area = None  # pixels that a tile may see, chosen at the first image

        def restore(images):
            restored = generator(to_float(images))
            return to_integers(restored, images.dtype), tf.reduce_all(tf.math.is_finite(restored))

        self._whole = {
            dtype: tf.function(restore, input_signature=[tf.TensorSpec([None, None, None, 3], dtype)])
            for dtype in ("uint8", "uint16")
        }
        self._halve = tf.function(lambda image: gaussian_pyramid(image, 2)[1], input_signature=[_IMAGE])
        self._scales = [_scale_function(generator, k) for k in range(generator.num_scales)]

    def __call__(self, image: np.ndarray, progress: Callable[[float], object] | None = None) -> np.ndarray:
        """Restores one image.

        Args:
            image: uint8 or uint16 [H, W, 3].
            progress: None, or a function that is called after every tile with the share of the work that is done.

        Raises:
            NotFinite: if the network gives a value that is not finite.
            InputError: if memory does not suffice for the smallest tiles.
        """
        if 0 < self._side(0, image) < max(image.shape):
            return self._restore_in_tiles(image, progress)
        try:
            restored, is_finite = (result.numpy() for result in self._whole[image.dtype.name](image[None]))
        except _OUT_OF_MEMORY as error:
            self._largest = _halved_side(max(image.shape), error)
            return self._restore_in_tiles(image, progress)
        if not is_finite:
            raise NotFinite("The network gives values that are not finite")
        if progress:
            progress(1.0)
        return restored[0]

    def _restore_in_tiles(self, image, progress):
        pyramid = [np.asarray(pad_for_pyramid(image[None], self.generator.num_scales))[0]]
        while len(pyramid) < self.generator.num_scales:
            pyramid.append(self._halved(pyramid[-1]))
        areas = [level.shape[0] * level.shape[1] for level in pyramid]
        restored = None
        for k in reversed(range(len(pyramid))):
            before = sum(areas[k + 1 :])
            report = lambda area, before=before: progress and progress((before + area) / sum(areas))  # noqa: E731
            restored = self._restore_scale(k, pyramid.pop(), restored, report)
        return restored[: image.shape[0], : image.shape[1]]

    def _halved(self, image):
        """The next level of the Gaussian pyramid, float32."""
        height, width = image.shape[:2]
        halved = np.empty((height // 2, width // 2, 3), np.float32)
        for rows, columns in tiling.tiles(height, width, _PYRAMID_TILE, _PYRAMID_HALO):
            window = self._halve(_as_float(image[rows.seen, columns.seen])).numpy()[0]
            halved[_half(rows.kept), _half(columns.kept)] = window[_half(rows.inner), _half(columns.inner)]
        return halved

    def _restore_scale(self, k, blurry, coarse, report):
        """Level k in the type of ``blurry``; when memory runs out it is begun again in tiles of half the side.

        Args:
            k: number of the level.
            blurry: [H, W, 3]: the image itself or a coarser level of its pyramid, float32.
            coarse: the restored level k + 1, float32; None at the coarsest level.
            report: called after every tile with the number of this level's pixels that are done.
        """
        side = self._side(k, blurry)
        while True:
            restored, done = np.empty_like(blurry), 0
            try:
                for tile in tiling.tiles(*blurry.shape[:2], side, self.generator.scales[k].radius):
                    pixels = self._restore_tile(k, tile, blurry, coarse)
                    is_level = blurry.dtype == np.float32
                    restored[tile.rows.kept, tile.columns.kept] = (
                        pixels if is_level else to_integers(pixels, blurry.dtype)
                    )
                    done += tile.area
                    report(done)
                return restored
            except _OUT_OF_MEMORY as error:
                side = self._largest = _halved_side(side or max(blurry.shape), error)

    def _restore_tile(self, k, tile, blurry, coarse):
        """The pixels of level k that a tile keeps, float32."""
        rows, columns = tile
        arguments = [_as_float(blurry[rows.seen, columns.seen]), (*rows.cut, *columns.cut)]
        if coarse is not None:
            parts, skipped = zip(*(tiling.coarser(span, self.generator.kernel_size // 2) for span in tile), strict=True)
            arguments += [_as_float(coarse[parts]), skipped]
        restored = self._scales[k](*arguments).numpy()[0]
        if not np.isfinite(restored).all():
            raise NotFinite(f"Scale {k} of the network gives values that are not finite")
        return restored[rows.remaining, columns.remaining]

    def _side(self, k, image):
        """Side of the tiles for an image of scale k; 0 for the whole image."""
        side = self.tile
        if side == "auto":
            if self._area is None:
                budget = _GPU_BUDGET if tf.config.list_physical_devices("GPU") else _CPU_BUDGET
                free = runtime.free_memory()
                budget = budget if free is None else min(budget, free // 2)
                self._area = int(budget / (_MAPS * 4 * self.generator.filters))
            side = tiling.largest_side(*image.shape[:2], self.generator.scales[k].radius, self._area)
            side = max(side, SMALLEST_TILE)
        return min(side or self._largest, self._largest) if self._largest else side


def _scale_function(generator, k):
    """The network of scale k on a window of an image, as a tf.function that is traced once for windows of all sizes.

    The function takes the blurry window, ``cut`` (which of its sides, top, bottom, left and right, lie inside the
    image) and, unless k is the coarsest scale, a window of the coarser latent image and how many of its up-convolved
    rows and columns to skip. It returns the restored window without the radius of the scale on the sides in ``cut``.
    """

    def restore(blurry, cut, *coarse):
        upconvolved = None
        if coarse:
            latent, skipped = coarse
            stop = skipped + tf.shape(blurry)[1:3]
            upconvolved = generator.upconvs[k](latent)[:, skipped[0] : stop[0], skipped[1] : stop[1]]
        return generator.restore_scale(k, blurry, upconvolved, cut)

    signature = [_IMAGE, tf.TensorSpec([4], tf.int32)]
    if k + 1 < generator.num_scales:
        signature += [_IMAGE, tf.TensorSpec([2], tf.int32)]
    return tf.function(restore, input_signature=signature)


def _as_float(window):
    """[H, W, 3] integers, or float32 that are so already -> float32 [1, H, W, 3]."""
    return window[None] if window.dtype == np.float32 else to_float(window[None])


def _half(part):
    return slice(part.start // 2, part.stop // 2)


def _halved_side(side, error):
    if side // 2 < SMALLEST_TILE:
        raise InputError(f"memory does not suffice even for tiles of {side} pixels; free some of it") from error
    half = side // 4 * 2
    logging.warning("Out of memory with tiles of %d pixels: going on with %d", side, half)
    return half
