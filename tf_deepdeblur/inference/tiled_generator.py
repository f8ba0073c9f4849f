"""A generator on images of any size, in bounded memory, with the pixels of the untiled network.

See ``scale_by_scale`` for the way; here a tile drops its halo layer by layer, in ``ScaleNetwork``. An image that suits
one tile is restored at once, by the function that an export computes.

In float32 the pixels are those of the untiled network but for rounding: sums may be taken in another order, which shows
where a value lies on the edge between two grey levels.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tf_deepdeblur import runtime
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.inference import scale_by_scale, tile_geometry
from tf_deepdeblur.inference.scale_by_scale import OUT_OF_MEMORY, SMALLEST_TILE, to_float_batch
from tf_deepdeblur.io.pixels import to_float, to_integers
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.pyramid import gaussian_pyramid

_MAPS = 2.5  # float32 feature maps that a scale holds at a time; oneDNN takes as much for 16-bit ones
_CPU_BUDGET = 2**30  # twice as much would save 5 % of the arithmetic of a network of 64 filters
_GPU_BUDGET = 2**33  # beyond it, feature maps have more values than 32-bit indices can count
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
        self.num_scales = generator.num_scales
        self.space_to_depth = generator.space_to_depth
        self.halo = generator.scales[0].radius
        self.tile = tile
        self._max_side = None  # tiles must not be larger, as memory has run out
        self._area = None  # pixels that a tile may see, chosen at the first image

        def restore(images):
            restored = generator(to_float(images))
            return to_integers(restored, images.dtype), tf.reduce_all(tf.math.is_finite(restored))

        self._whole = {
            dtype: tf.function(restore, input_signature=[tf.TensorSpec([None, None, None, 3], dtype)], autograph=False)
            for dtype in ("uint8", "uint16")
        }
        self._halve = tf.function(
            lambda image: gaussian_pyramid(image, 2)[1], input_signature=[_IMAGE], autograph=False
        )
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
        if 0 < self.tile_side(0, *image.shape[:2]) < max(image.shape):
            return scale_by_scale.restore_by_scales(self, image, progress)
        try:
            restored, is_finite = (result.numpy() for result in self._whole[image.dtype.name](image[None]))
        except OUT_OF_MEMORY as error:
            self.shrink_tiles(max(image.shape), error)
            return scale_by_scale.restore_by_scales(self, image, progress)
        if not is_finite:
            raise NotFinite("The network gives values that are not finite")
        if progress:
            progress(1.0)
        return restored[0]

    def halve(self, window: np.ndarray) -> np.ndarray:
        """The next level of a float32 window [H, W, 3]."""
        return self._halve(window[None]).numpy()[0]

    def restore_tile(
        self, k: int, tile: tile_geometry.Tile, blurry: np.ndarray, coarse: np.ndarray | None
    ) -> np.ndarray:
        """The pixels of level k that a tile keeps, in the type of ``blurry``; see ``scale_by_scale.Scales``.

        Raises:
            NotFinite: if the network gives a value that is not finite.
        """
        rows, columns = tile
        arguments = [to_float_batch(blurry[rows.seen, columns.seen]), (*rows.cut, *columns.cut)]
        if coarse is not None:
            parts, skipped = zip(
                *(tile_geometry.coarser(span, self.generator.kernel_size // 2) for span in tile), strict=True
            )
            arguments += [to_float_batch(coarse[parts]), skipped]
        restored = self._scales[k](*arguments).numpy()[0]
        if not np.isfinite(restored).all():
            raise NotFinite(f"Scale {k} of the network gives values that are not finite")
        pixels = restored[rows.kept_in_trimmed_window, columns.kept_in_trimmed_window]
        return pixels if blurry.dtype == np.float32 else to_integers(pixels, blurry.dtype)

    def tile_side(self, k: int, height: int, width: int) -> int:
        """Side of the tiles for an image of scale k; 0 for the whole image."""
        side = self.tile
        if side == "auto":
            if self._area is None:
                budget = _GPU_BUDGET if tf.config.list_physical_devices("GPU") else _CPU_BUDGET
                free = runtime.free_memory()
                budget = budget if free is None else min(budget, free // 2)
                values = self.generator.filters / self.space_to_depth**2  # of a feature map, for each pixel
                self._area = int(budget / (_MAPS * 4 * values))
            side = max(tile_geometry.largest_side(height, width, self.halo, self._area), SMALLEST_TILE)
        return min(side or self._max_side, self._max_side) if self._max_side else side

    def shrink_tiles(self, side: int, error: Exception) -> int:
        """Halves the tiles from now on, after memory has run out with ``side`` pixels; returns the new side.

        Raises:
            InputError: if the tiles are the smallest already.
        """
        self._max_side = scale_by_scale.halved_side(side, error)
        return self._max_side


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
    return tf.function(restore, input_signature=signature, autograph=False)
