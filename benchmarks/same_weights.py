"""Weights and batches that every framework starts from, in NumPy, under the names of the authors' PyTorch tensors."""

from collections.abc import Iterator

import numpy as np

# Table 1 of the paper: filters, kernel size, stride, padding.
DISCRIMINATOR = (
    (32, 5, 2, 2),
    (64, 5, 1, 2),
    (64, 5, 2, 2),
    (128, 5, 1, 2),
    (128, 5, 4, 2),
    (256, 5, 1, 2),
    (256, 5, 4, 2),
    (512, 5, 1, 2),
    (512, 4, 4, 0),
    (1, 1, 1, 0),
)
_BRANCH = 0.1  # of a ResBlock beside its identity: the images that come out stay within the grey levels


def make_weights(
    num_scales: int, num_res_blocks: int, filters: int, kernel_size: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """Random weights of both networks: kernels [out, in, side, side] and biases for images in [0, 255] - 127.5.

    The generator keeps the variance of what it sees, so that rounding shows in its images as in a trained network's.
    """
    rng = np.random.default_rng(seed)
    weights = {}
    for name, filters_in, filters_out, gain in _generator_layers(num_scales, num_res_blocks, filters):
        deviation = gain / np.sqrt(kernel_size**2 * filters_in)
        shape = (filters_out, filters_in, kernel_size, kernel_size)
        weights[f"{name}.weight"] = rng.normal(0, deviation, shape).astype(np.float32)
        weights[f"{name}.bias"] = rng.normal(0, 1, filters_out).astype(np.float32)
    channels = 3
    for number, (count, side, _, _) in enumerate(DISCRIMINATOR):
        shape = (count, channels, side, side)
        weights[f"discriminator.{number}"] = rng.normal(0, (side**2 * channels) ** -0.5, shape).astype(np.float32)
        channels = count
    return weights


def make_batch(batch_size: int, patch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """(blurry, sharp) float32 [N, S, S, 3] in [-0.5, 0.5]."""
    blurry, sharp = np.random.default_rng(1).uniform(-0.5, 0.5, (2, batch_size, patch_size, patch_size, 3))
    return blurry.astype(np.float32), sharp.astype(np.float32)


def flops_per_pixel(num_scales: int, num_res_blocks: int, filters: int, kernel_size: int) -> float:
    """Multiplications and additions of the generator for each pixel of an image."""
    products = 0.0
    for name, filters_in, filters_out, _ in _generator_layers(num_scales, num_res_blocks, filters):
        level = int(name.split(".")[1])
        products += filters_in * filters_out / 4**level
    return 2 * kernel_size**2 * products


def _generator_layers(num_scales, num_res_blocks, filters) -> Iterator[tuple[str, int, int, float]]:
    """(name, channels in, channels out, gain) of every convolution."""
    for k in range(num_scales):
        body = f"body_models.{k}.body"
        yield f"{body}.0", 3 if k == num_scales - 1 else 6, filters, 1.0
        for number in range(1, num_res_blocks + 1):
            yield f"{body}.{number}.body.0", filters, filters, 1.0
            yield f"{body}.{number}.body.2", filters, filters, _BRANCH
        yield f"{body}.{num_res_blocks + 1}", filters, 3, 1.0
    for k in range(1, num_scales):
        yield f"conv_end_models.{k}.uppath.0", 3, 12, 1.0
