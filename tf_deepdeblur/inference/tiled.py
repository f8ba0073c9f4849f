"""A generator on images of any size, in bounded memory, with the pixels of the untiled network.

The whole network sees 572 pixels around a pixel, but each scale alone only 80 of its own pixels (radius 2 times 40
convolutions), and what passes from one scale to the next is a 3-channel image. So the scales run one after the other,
coarsest first, each tile by tile with a halo of the scale's own radius. Inside the image a tile drops after every
ResBlock the pixels that zero padding has spoiled, so that the halo costs half of what it would cost if it were cut off
at the end; where a tile ends at the image's border the zero padding is the network's own. Of whole images there are in
memory only the integers in and out, the coarser levels of the pyramid and the last latent image.

An image that suits one tile is restored at once, by the very function that an export computes.
"""

import numpy as np
import tensorflow as tf
from absl import logging

from tf_deepdeblur import runtime
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.inference import tiling, whole
from tf_deepdeblur.io.pixels import to_float, to_integers
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
        generator: Generator; it computes in its own dtype policy and with the weights that it has at the time.
        tile: side of the tiles in pixels of each scale, without their halo, at least 32; 0 makes one tile of the image;
            "auto" makes the largest tiles that suit the free memory. Where memory runs out the side is halved.

    Raises:
        InputError: if ``tile`` is none of these.
    """

    def __init__(self, generator, tile="auto"):
        self.generator = generator
        self.tile = _checked(tile)
        self._largest = None  # tiles must not be larger, as memory has run out
        self._area = None
        self._halve = tf.function(lambda image: gaussian_pyramid(image, 2)[1], input_signature=[_IMAGE])
        self._whole = {dtype: _whole_function(generator, dtype) for dtype in ("uint8", "uint16")}
        self._scales = [_scale_function(generator, k) for k in range(generator.num_scales)]

    def __call__(self, image, progress=None):
        """Restores one image.

        Args:
            image: uint8 or uint16 [H, W, 3].
            progress: None, or a function that is called after every tile with the share of the work that is done.

        Raises:
            NotFinite: if the network gives a value that is not finite.
            InputError: if memory does not suffice for the smallest tiles.
        """
        if self._is_one_tile(image):
            try:
                return self._restore_whole(image, progress)
            except _OUT_OF_MEMORY as error:
                self._largest = _halved_side(max(image.shape), error)
        return self._restore_in_tiles(image, progress)

    def _is_one_tile(self, image):
        side = self._side(0, image)
        return side == 0 or side >= max(image.shape)

    def _restore_whole(self, image, progress):
        restored, is_finite = self._whole[image.dtype.name](image[None])
        if not is_finite:
            raise NotFinite("The network gives values that are not finite")
        if progress:
            progress(1.0)
        return restored.numpy()[0]

    def _restore_in_tiles(self, image, progress):
        pyramid = [np.asarray(pad_for_pyramid(image[None], self.generator.num_scales))[0]]
        for _ in range(1, self.generator.num_scales):
            pyramid.append(self._halved(pyramid[-1]))
        total, done = sum(map(_area, pyramid)), 0
        restored = None
        while pyramid:
            blurry = pyramid.pop()
            share = _share(progress, done, total)
            restored = self._restore_scale(len(pyramid), blurry, restored, share)
            done += _area(blurry)
        return restored[: image.shape[0], : image.shape[1]]

    def _halved(self, image):
        """The next level of the Gaussian pyramid, float32."""
        height, width = image.shape[:2]
        halved = np.empty((height // 2, width // 2, 3), np.float32)
        for rows, columns in tiling.tiles(height, width, _PYRAMID_TILE, _PYRAMID_HALO):
            window = self._halve(_as_float(image[rows.seen, columns.seen])).numpy()[0]
            halved[_half(rows.kept), _half(columns.kept)] = window[_half(rows.inner), _half(columns.inner)]
        return halved

    def _restore_scale(self, k, blurry, coarse, progress):
        """Level k; when memory runs out all of it is restored anew, in tiles of half the side."""
        side = self._side(k, blurry)
        while True:
            try:
                return self._restore_tiles(k, side, (blurry, coarse), progress)
            except _OUT_OF_MEMORY as error:
                side = self._largest = _halved_side(side or max(blurry.shape), error)

    def _restore_tiles(self, k, side, images, progress):
        blurry = images[0]
        restored, done = np.empty_like(blurry), 0
        for tile in tiling.tiles(*blurry.shape[:2], side, self.generator.scales[k].radius):
            kept = self._restore_tile(k, tile, *images)
            integers = blurry.dtype != np.float32
            restored[tile.rows.kept, tile.columns.kept] = to_integers(kept, blurry.dtype) if integers else kept
            done += tile.area
            progress(done)
        return restored

    def _restore_tile(self, k, tile, blurry, coarse):
        """The pixels of level k that a tile keeps, float32."""
        rows, columns = tile
        window = _as_float(blurry[rows.seen, columns.seen])
        arguments = [window, (*rows.cut, *columns.cut)]
        if coarse is not None:
            parts, skipped = zip(*(tiling.coarser(span, self.generator.kernel_size // 2) for span in tile), strict=True)
            arguments += [_as_float(coarse[parts]), skipped]
        restored = self._scales[k](*arguments).numpy()[0]
        if not np.isfinite(restored).all():
            raise NotFinite(f"Scale {k} of the network gives values that are not finite")
        return restored[_remaining(rows), _remaining(columns)]

    def _side(self, k, image):
        """Side of the tiles for an image of scale k; 0 for the whole image."""
        side = self.tile
        if side == "auto":
            self._area = self._area or _affordable_area(self.generator.filters)
            side = tiling.largest_side(*image.shape[:2], self.generator.scales[k].radius, self._area)
            side = max(side, SMALLEST_TILE)
        return min(side or self._largest, self._largest) if self._largest else side


def _whole_function(generator, dtype):
    """The network on a batch of images of any size, integers in and out, and whether all values were finite."""

    def restore(images):
        restored = whole.restore(images, generator, generator.num_scales)
        return to_integers(restored, dtype), tf.reduce_all(tf.math.is_finite(restored))

    return tf.function(restore, input_signature=[tf.TensorSpec([None, None, None, 3], dtype)])


def _scale_function(generator, k):
    """The network of scale k on a window of an image, as a tf.function that is traced once for windows of all sizes.

    The function takes the blurry window, ``cut`` (which of its sides, top, bottom, left and right, lie inside the
    image) and, unless k is the coarsest scale, a window of the coarser latent image and how many of its up-convolved
    rows and columns to skip. It returns the restored window without the radius of the scale on the sides in ``cut``.
    """

    def restore(blurry, cut, *coarse):
        inputs = [blurry]
        if coarse:
            inputs.append(_rectangle(generator.upconvs[k](coarse[0]), coarse[1], tf.shape(blurry)[1:3]))
        network = generator.scales[k]
        restored = _valid(network, tf.concat(inputs, axis=-1), cut)
        return restored + _trimmed(blurry, network.radius * cut) if generator.global_residual else restored

    signature = [_IMAGE, tf.TensorSpec([4], tf.int32)]
    if k + 1 < generator.num_scales:
        signature += [_IMAGE, tf.TensorSpec([2], tf.int32)]
    return tf.function(restore, input_signature=signature)


def _valid(network, images, cut):
    """``network(images)`` without the pixels that its zero padding reaches from the sides in ``cut``."""
    radius = network.radius // (2 * len(network.blocks) + 2)  # of one convolution
    features = _trimmed(network.head(images), radius * cut)
    for block in network.blocks:
        features = _trimmed(block(features), 2 * radius * cut)
    return _trimmed(network.tail(features), radius * cut)


def _trimmed(images, margins):
    size = tf.shape(images)
    return images[:, margins[0] : size[1] - margins[1], margins[2] : size[2] - margins[3]]


def _rectangle(images, top_left, size):
    bottom_right = top_left + size
    return images[:, top_left[0] : bottom_right[0], top_left[1] : bottom_right[1]]


def _remaining(span):
    """What a tile keeps, counted from the first pixel that a scale's function returns."""
    first = 0 if span.cut[0] else span.start
    return slice(first, first + span.stop - span.start)


def _as_float(window):
    """[H, W, 3] integers, or float32 that are so already -> float32 [1, H, W, 3]."""
    return window[None] if window.dtype == np.float32 else to_float(window[None])


def _half(part):
    return slice(part.start // 2, part.stop // 2)


def _area(image):
    return image.shape[0] * image.shape[1]


def _share(progress, done, total):
    """A function of the pixels of one scale that are done, which tells ``progress`` the share of the whole work."""
    return lambda area: progress and progress((done + area) / total)


def _affordable_area(filters):
    """Pixels that a tile may see."""
    budget = _GPU_BUDGET if tf.config.list_physical_devices("GPU") else _CPU_BUDGET
    free = runtime.free_memory()
    return int(min(budget, budget if free is None else free // 2) / (_MAPS * 4 * filters))


def _halved_side(side, error):
    if side // 2 < SMALLEST_TILE:
        raise InputError(f"memory does not suffice even for tiles of {side} pixels; free some of it") from error
    half = side // 4 * 2
    logging.warning("Out of memory with tiles of %d pixels: going on with %d", side, half)
    return half


def _checked(tile):
    if tile == "auto" or (isinstance(tile, int) and (tile == 0 or tile >= SMALLEST_TILE)):
        return tile
    raise InputError(f"tile must be auto, 0 (off) or at least {SMALLEST_TILE} pixels, got {tile!r}")
