"""PyTorch as a contender, in the ways that its users make it fast.

"as written" is the authors' network as it is; "channels_last" stores images by pixel, which CPUs and tensor cores like;
"compiled" is that through ``torch.compile``, with frozen weights where nothing is trained.
"""

import authors_network
import same_weights
import torch
from photographs import photograph

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_ADAM = {"lr": 5e-5, "eps": 1e-8}
_HALF_RANGE = 255.0  # from our pixels to theirs


def prepare_restoring(weights, model, size, precision, way):
    """Times the network on a photograph of ``size`` (height, width), uint8 in and out."""
    if way == "compiled":
        import torch._inductor.config as inductor

        inductor.freezing = True
    network, _ = authors_network.load(weights, model)
    restorer = authors_network.Restorer(network, model.num_scales).eval().requires_grad_(False).to(_device())
    restorer = _as(restorer, way)
    images = torch.from_numpy(photograph(*size))[None]

    def restore():
        with torch.no_grad(), _autocast(precision):
            return restorer(images.to(_device())).cpu().numpy()[0]

    return restore


def prepare_training(weights, model, adversarial_weight, batch_size, patch_size, precision, way):
    """Times a training step as the authors take it; returns the content loss in our units."""
    network, discriminator = (_as(net.to(_device()), way) for net in authors_network.load(weights, model))
    optimizers = [torch.optim.Adam(net.parameters(), **_ADAM) for net in (network, discriminator)]
    scaler = torch.amp.GradScaler(_device(), enabled=precision == "float16")
    batch = same_weights.make_batch(batch_size, patch_size)
    blurry, sharp = (torch.from_numpy(part * _HALF_RANGE).permute(0, 3, 1, 2).to(_device()) for part in batch)
    if way != "as written":
        blurry, sharp = (part.contiguous(memory_format=torch.channels_last) for part in (blurry, sharp))

    def update(optimizer, loss):
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)

    def train():
        blurry_pyramid, sharp_pyramid = (
            authors_network.gaussian_pyramid(part, model.num_scales) for part in (blurry, sharp)
        )
        with _autocast(precision):
            restored = network(blurry_pyramid)
        errors = [(a.float() - b).square().mean() for a, b in zip(restored, sharp_pyramid, strict=True)]
        content = sum(errors) / (2 * len(errors))
        loss = content
        if adversarial_weight:
            with _autocast(precision):
                logits = [discriminator(images).float() for images in (sharp, restored[0].detach())]
            update(optimizers[1], sum(map(_entropy, logits, (1.0, 0.0))))
            with _autocast(precision):
                judged = discriminator(restored[0]).float()
            loss = content + adversarial_weight * _entropy(judged, 1.0)
        update(optimizers[0], loss)
        scaler.update()
        return content.item() / _HALF_RANGE**2

    return train


def _device():
    return "cuda" if torch.cuda.is_available() else "cpu"


def _as(network, way):
    if way == "as written":
        return network
    network = network.to(memory_format=torch.channels_last)
    return torch.compile(network) if way == "compiled" else network


def _autocast(precision):
    return torch.autocast(_device(), dtype=_DTYPES.get(precision, torch.bfloat16), enabled=precision != "float32")


def _entropy(logits, target):
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
