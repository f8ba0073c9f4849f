"""The multi-scale deblurring network (section 3.1, Figure 4).

Pyramids are lists, finest first, of float32 [N, H/2^k, W/2^k, 3] images in [-0.5, 0.5]. The coarsest scale is restored
first; its result passes an upconvolution and is concatenated to the next finer blurry image, and so on. With the
paper's values each scale has 40 convolutions of 5x5.

Rules of thumb: ``num_scales`` 3 sees the largest blur and is the fastest to train well; halving ``filters`` quarters
the time; ``global_residual`` (not in the paper) adds the blurry image to each scale's output, which small networks and
short trainings need: such a network starts as the identity.
"""

import itertools

import keras
from keras import ops

from tf_deepdeblur.models.layers import ScaleNetwork, UpConv, register, require_at_least


@register
class Generator(keras.Model):
    """Blurry pyramid in, restored pyramid out.

    Args:
        num_scales: K of the paper: 1, 2 or 3.
        num_res_blocks: ResBlocks per scale; 19 in the paper.
        filters: feature maps; 64 in the paper.
        kernel_size: odd side of every convolution; 5 in the paper.
        global_residual: whether each scale's output is added to its blurry input; False in the paper.
        **kwargs: ``name`` and ``dtype`` of ``keras.Model``. Under a mixed policy each scale's last convolution and
            the upconvolutions stay float32.

    Raises:
        ValueError: naming the argument that is out of range.
    """

    def __init__(self, num_scales=3, num_res_blocks=19, filters=64, kernel_size=5, global_residual=False, **kwargs):
        super().__init__(autocast=False, **kwargs)
        if num_scales not in (1, 2, 3):
            raise ValueError(f"num_scales must be 1, 2 or 3, got {num_scales!r}")
        require_at_least(1, num_res_blocks=num_res_blocks, filters=filters, kernel_size=kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        self.num_scales = num_scales
        self.num_res_blocks = num_res_blocks
        self.filters = filters
        self.kernel_size = kernel_size
        self.global_residual = global_residual
        policy = self.dtype_policy
        self.scales = [
            ScaleNetwork(num_res_blocks, filters, kernel_size, global_residual, dtype=policy, name=f"scale{k}")
            for k in range(num_scales)
        ]
        self.upconvs = [UpConv(kernel_size, dtype="float32", name=f"upconv{k}") for k in range(num_scales - 1)]
        self.build()

    def build(self, input_shape=None):
        """Creates all weights; they do not depend on the images' size."""
        coarsest = self.num_scales - 1
        for k, scale in enumerate(self.scales):
            scale.build((None, None, None, 3 if k == coarsest else 6))
        for upconv in self.upconvs:
            upconv.build((None, None, None, 3))
        self.built = True

    def call(self, blurry_pyramid):
        """Restores every level of a pyramid.

        Args:
            blurry_pyramid: list of ``num_scales`` tensors [N, H/2^k, W/2^k, 3], finest first.

        Returns:
            The restored pyramid: a list of tensors of the same shapes.

        Raises:
            ValueError: if the list has another length, or a level is not half the size of the one before.
        """
        self._check(blurry_pyramid)
        restored = [self.restore_scale(self.num_scales - 1, blurry_pyramid[-1])]
        for k in reversed(range(self.num_scales - 1)):
            restored.insert(0, self.restore_scale(k, blurry_pyramid[k], self.upconvs[k](restored[0])))
        return restored

    def restore_scale(self, k, blurry, upconvolved=None):
        """Restores level k alone: ``upconvolved`` is the coarser result at this size, None at the coarsest level."""
        inputs = blurry if upconvolved is None else ops.concatenate([blurry, upconvolved], axis=-1)
        restored = self.scales[k](inputs)
        return blurry + restored if self.global_residual else restored

    def get_config(self):
        """The constructor's arguments, so that a ``.keras`` file carries its architecture."""
        return {
            **super().get_config(),
            "num_scales": self.num_scales,
            "num_res_blocks": self.num_res_blocks,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "global_residual": self.global_residual,
        }

    def _check(self, pyramid):
        sides = [tuple(level.shape[1:3]) for level in pyramid]
        if len(sides) != self.num_scales:
            raise ValueError(f"a generator of {self.num_scales} scales needs as many images, got {len(sides)}")
        for fine, coarse in itertools.pairwise(sides):
            if any(a is not None and b is not None and a != 2 * b for a, b in zip(fine, coarse, strict=True)):
                raise ValueError(f"each level must be half the size of the one before, got {sides}")
