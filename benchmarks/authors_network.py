"""The peer: the authors' networks in PyTorch, as they run them; tensors have their names, pixels are [0, 255] - 127.5.

Written from the paper and from the names of the tensors in the authors' checkpoints.
"""

import numpy as np
import same_weights
import torch
from torch import nn
from torch.nn import functional

_HALF = 127.5
_GAUSSIAN = np.exp(-0.5 * (np.arange(-3, 4) * 1.5) ** 2)
_TAPS = torch.from_numpy(np.convolve(_GAUSSIAN / _GAUSSIAN.sum(), [0.5, 0.5]).astype(np.float32))


def _convolution(filters_in, filters_out, kernel_size):
    return nn.Conv2d(filters_in, filters_out, kernel_size, padding=kernel_size // 2)


class ResBlock(nn.Module):
    """Convolution, ReLU, convolution, plus the identity."""

    def __init__(self, filters, kernel_size):
        super().__init__()
        convolutions = [_convolution(filters, filters, kernel_size) for _ in range(2)]
        self.body = nn.Sequential(convolutions[0], nn.ReLU(inplace=True), convolutions[1])

    def forward(self, features):
        """[N, filters, H, W] -> the same."""
        return features + self.body(features)


class ScaleNetwork(nn.Module):
    """The network of one scale."""

    def __init__(self, channels, num_res_blocks, filters, kernel_size):
        super().__init__()
        blocks = [ResBlock(filters, kernel_size) for _ in range(num_res_blocks)]
        ends = _convolution(channels, filters, kernel_size), _convolution(filters, 3, kernel_size)
        self.body = nn.Sequential(ends[0], *blocks, ends[1])

    def forward(self, images):
        """[N, channels, H, W] -> [N, 3, H, W]."""
        return self.body(images)


class UpConv(nn.Module):
    """Convolution 3 -> 12, then pixels from channels."""

    def __init__(self, kernel_size):
        super().__init__()
        self.uppath = nn.Sequential(_convolution(3, 12, kernel_size), nn.PixelShuffle(2))

    def forward(self, images):
        """[N, 3, H, W] -> [N, 3, 2H, 2W]."""
        return self.uppath(images)


class MSResNet(nn.Module):
    """A blurry pyramid in, the restored pyramid out; finest first."""

    def __init__(self, num_scales=3, num_res_blocks=19, filters=64, kernel_size=5):
        super().__init__()
        channels = [6] * (num_scales - 1) + [3]
        self.body_models = nn.ModuleList(
            ScaleNetwork(count, num_res_blocks, filters, kernel_size) for count in channels
        )
        self.conv_end_models = nn.ModuleDict({str(k): UpConv(kernel_size) for k in range(1, num_scales)})

    def forward(self, pyramid):
        """List of [N, 3, H, W] -> the same."""
        coarsest = len(pyramid) - 1
        restored = [self.body_models[coarsest](pyramid[coarsest])]
        for k in reversed(range(coarsest)):
            latent = self.conv_end_models[str(k + 1)](restored[0])
            restored.insert(0, self.body_models[k](torch.cat([pyramid[k], latent], dim=1)))
        return restored


class Restorer(nn.Module):
    """uint8 [N, H, W, 3] in and out, any size that has the pyramid: the whole job, as every contender does it."""

    def __init__(self, network, num_scales):
        super().__init__()
        self.network = network
        self.num_scales = num_scales

    def forward(self, images):
        """Restores images."""
        images = images.permute(0, 3, 1, 2).float() - _HALF
        restored = self.network(gaussian_pyramid(images, self.num_scales))[0].float()
        return (restored + _HALF + 0.5).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


class Discriminator(nn.Module):
    """Table 1; logits."""

    def __init__(self):
        super().__init__()
        channels, layers = 3, []
        for filters, side, stride, padding in same_weights.DISCRIMINATOR:
            layers += [nn.Conv2d(channels, filters, side, stride, padding, bias=False), nn.LeakyReLU(0.2)]
            channels = filters
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, images):
        """[N, 3, H, W] -> [N, 1]."""
        return self.layers(images).mean(dim=(2, 3))


def gaussian_pyramid(images, num_levels):
    """The authors' pyramid: a Gaussian of sigma 2/3 over a mirrored border, then the mean of every 2x2 pixels."""
    kernel = torch.outer(_TAPS, _TAPS).to(images.device).repeat(3, 1, 1, 1)
    pyramid = [images]
    for _ in range(num_levels - 1):
        mirrored = pyramid[-1]
        for axis in (2, 3):
            side = mirrored.shape[axis]
            index = torch.arange(-3, side + 3, device=images.device)
            index = torch.where(index < 0, -1 - index, index)
            mirrored = mirrored.index_select(axis, torch.where(index < side, index, 2 * side - 1 - index))
        pyramid.append(functional.conv2d(mirrored, kernel, stride=2, groups=3))
    return pyramid


def load(weights, model):
    """(MSResNet, Discriminator) of a ModelConfig, with the weights of an ``.npz`` file of ``same_weights``."""
    arrays = np.load(weights)
    tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    discriminator = Discriminator()
    kernels = [tensors.pop(f"discriminator.{number}") for number in range(len(same_weights.DISCRIMINATOR))]
    with torch.no_grad():
        for parameter, kernel in zip(discriminator.parameters(), kernels, strict=True):
            parameter.copy_(kernel)
    network = MSResNet(model.num_scales, model.num_res_blocks, model.filters, model.kernel_size)
    network.load_state_dict(tensors)
    return network, discriminator
