"""The multi-scale deblurring network (section 3.1, Figure 4).

Images are float32 [N, H, W, 3] in [-0.5, 0.5]; pyramids are lists of them, finest first, each half the size of the one
before. The coarsest scale is restored first; its result passes an upconvolution and is concatenated to the next finer
blurry image, and so on. With the paper's values each scale has 40 convolutions of 5x5.

Rules of thumb: ``num_scales`` 3 sees the largest blur and is the fastest to train well; halving ``filters`` quarters
the time; ``global_residual`` (not in the paper) adds the blurry image to each scale's output, which small networks and
short trainings need: such a network starts as the identity. ``space_to_depth=2`` (not in the paper either) computes
each scale at half its resolution, on blocks of 2x2 pixels: a quarter of the time and memory, and twice the reach.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from tf_deepdeblur.models.layers import ScaleNetwork, UpConv, check_images, check_sizes, register, trim
from tf_deepdeblur.pyramid import Tensor, gaussian_pyramid, pad_for_pyramid


@register
class Generator(keras.Model):
    """Blurry images in, restored images out; or a blurry pyramid in, the restored pyramid out.

    >>> generator = Generator(num_scales=3)
    >>> restored = generator(images)                             # [N, H, W, 3] in [-0.5, 0.5], any size from 1x1
    >>> restored_pyramid = generator(gaussian_pyramid(images, 3))       # what training compares (Eq. 4)

    Args:
        num_scales: K of the paper: 1, 2 or 3.
        num_res_blocks: ResBlocks per scale, 1 to 100; 19 in the paper.
        filters: feature maps, 1 to 2048; 64 in the paper.
        kernel_size: odd side of every convolution, 1 to 31; 5 in the paper.
        global_residual: whether each scale's output is added to its blurry input; False in the paper.
        space_to_depth: side of the blocks of pixels that each scale takes as one pixel: 2, or 1 as in the paper.
        **kwargs: ``name`` and ``dtype`` of ``keras.Model``. Under a mixed policy each scale's last convolution and
            the upconvolutions stay float32.

    Raises:
        ValueError: naming the argument that is out of range.
    """

    def __init__(
        self,
        num_scales: int = 3,
        num_res_blocks: int = 19,
        filters: int = 64,
        kernel_size: int = 5,
        global_residual: bool = False,
        space_to_depth: int = 1,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        check_arguments(num_scales, num_res_blocks, filters, kernel_size, global_residual, space_to_depth)
        self.num_scales = num_scales
        self.num_res_blocks = num_res_blocks
        self.filters = filters
        self.kernel_size = kernel_size
        self.global_residual = global_residual
        self.space_to_depth = space_to_depth
        policy = self.dtype_policy
        self.scales = [
            ScaleNetwork(
                num_res_blocks, filters, kernel_size, global_residual, space_to_depth, dtype=policy, name=f"scale{k}"
            )
            for k in range(num_scales)
        ]
        self.upconvs = [UpConv(kernel_size, dtype="float32", name=f"upconv{k}") for k in range(num_scales - 1)]
        self.build()

    def build(self, input_shape: Any = None) -> None:
        """Creates all weights; they do not depend on the images' size."""
        coarsest = self.num_scales - 1
        for k, scale in enumerate(self.scales):
            scale.build((None, None, None, 3 if k == coarsest else 6))
        for upconv in self.upconvs:
            upconv.build((None, None, None, 3))
        self.built = True

    def call(self, blurry: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
        """Restores images, or every level of a pyramid.

        Args:
            blurry: float tensor [N, H, W, 3] in [-0.5, 0.5], of any size from 1x1; or a list of ``num_scales`` such
                tensors, finest first, each half the size of the one before, with sides that are multiples of
                ``space_to_depth``.

        Returns:
            The restored images, or the restored pyramid as a list: float32, of the shapes that came in. Images are
            padded for the pyramid inside and cropped again. Values are not clipped.

        Raises:
            ValueError: if the images are not floats with 3 channels, or the list is not such a pyramid.
        """
        self._check(blurry)
        if isinstance(blurry, (list, tuple)):
            return self._restore_pyramid([ops.cast(level, "float32") for level in blurry])
        images = ops.cast(blurry, "float32")
        padded = pad_for_pyramid(images, self.num_scales, self.space_to_depth)
        restored = self._restore_pyramid(gaussian_pyramid(padded, self.num_scales))[0]
        if padded is images:
            return restored
        height, width = ops.shape(images)[1:3]
        return restored[:, :height, :width]

    def compute_output_spec(self, blurry: Any) -> Any:
        """Shapes and types for symbolic inputs; Keras would find them by a trial, which JAX cannot do for any size."""
        self._check(blurry)
        return keras.tree.map_structure(lambda images: keras.KerasTensor(images.shape, dtype="float32"), blurry)

    def restore_scale(
        self, k: int, blurry: Tensor, upconvolved: Tensor | None = None, cut: Tensor | None = None
    ) -> Tensor:
        """Restores level k alone, whole or a tile of it.

        Args:
            k: number of the level; 0 is the finest.
            blurry: float32 [N, H, W, 3].
            upconvolved: the coarser result, upconvolved to the same size; None at the coarsest level.
            cut: which sides of a tile lie inside the image, and so lose the scale's radius; see ``ScaleNetwork.call``.
        """
        scale = self.scales[k]
        inputs = blurry if upconvolved is None else ops.concatenate([blurry, upconvolved], axis=-1)
        restored = scale(inputs, cut=cut)
        return trim(blurry, scale.radius, cut) + restored if self.global_residual else restored

    def with_weights(self, weights: Sequence[Tensor], function: Callable[..., Any] | None = None) -> Callable[..., Any]:
        """The network as a function that computes with ``weights`` in place of its variables, as exports need it.

        Args:
            weights: tensors or variables in the order of ``self.weights``.
            function: a part of the network instead, such as ``self.restore_scale``.
        """

        def compute(*inputs):
            with keras.StatelessScope(state_mapping=zip(self.weights, weights, strict=True)):
                return (function or self)(*inputs)

        return compute

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, so that a ``.keras`` file carries its architecture."""
        return {
            **super().get_config(),
            "num_scales": self.num_scales,
            "num_res_blocks": self.num_res_blocks,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "global_residual": self.global_residual,
            "space_to_depth": self.space_to_depth,
        }

    def _restore_pyramid(self, blurry):
        restored = [self.restore_scale(self.num_scales - 1, blurry[-1])]
        for k in reversed(range(self.num_scales - 1)):
            restored.insert(0, self.restore_scale(k, blurry[k], self.upconvs[k](restored[0])))
        return restored

    def _check(self, blurry):
        """Raises ValueError unless ``blurry`` is a batch of images, or a pyramid as far as its sizes are known."""
        for images in keras.tree.flatten(blurry):
            check_images(images)
        if not isinstance(blurry, (list, tuple)):
            return
        sides = [tuple(level.shape[1:3]) for level in blurry]
        if len(sides) != self.num_scales:
            raise ValueError(f"a generator of {self.num_scales} scales needs as many images, got {len(sides)}")
        for fine, coarse in itertools.pairwise(sides):
            if any(a is not None and b is not None and a != 2 * b for a, b in zip(fine, coarse, strict=True)):
                raise ValueError(f"each level must be half the size of the one before, got {sides}")
        if any(side is not None and side % self.space_to_depth for side in sides[-1]):
            raise ValueError(f"with space_to_depth={self.space_to_depth} every side must be even, got {sides}")


def check_arguments(
    num_scales: int, num_res_blocks: int, filters: int, kernel_size: int, global_residual: bool, space_to_depth: int
) -> None:
    """Raises ValueError naming the first of a Generator's arguments that is of another type or out of range."""
    check_sizes(num_scales=num_scales, num_res_blocks=num_res_blocks, filters=filters, kernel_size=kernel_size)
    if num_scales > 3:
        raise ValueError(f"`num_scales` must be 1, 2 or 3, got {num_scales}")
    # Far more than can be trained: a damaged or malicious file must not ask for hours of building.
    largest = {"num_res_blocks": (num_res_blocks, 100), "filters": (filters, 2048), "kernel_size": (kernel_size, 31)}
    for name, (value, most) in largest.items():
        if value > most:
            raise ValueError(f"`{name}` must be at most {most}, got {value}")
    if not isinstance(global_residual, bool):
        raise ValueError(f"`global_residual` must be True or False, got {global_residual!r}")
    if type(space_to_depth) is not int or space_to_depth not in (1, 2):
        raise ValueError(f"`space_to_depth` must be 1 or 2, got {space_to_depth!r}")


def count_parameters(
    num_scales: int,
    num_res_blocks: int,
    filters: int,
    kernel_size: int,
    global_residual: bool = False,
    space_to_depth: int = 1,
) -> int:
    """The number of a Generator's parameters, by arithmetic alone: nothing is built. ``global_residual`` adds none."""
    area, colours = kernel_size**2, 3 * space_to_depth**2
    block = 2 * (area * filters + 1) * filters
    tail = (area * filters + 1) * colours
    heads = (area * colours + 1) * filters + (num_scales - 1) * (area * 2 * colours + 1) * filters
    upconvs = (num_scales - 1) * (area * 3 + 1) * 12
    return heads + num_scales * (num_res_blocks * block + tail) + upconvs
