"""What is measured: the cases of each kind of work, and who takes part in them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import same_weights
from contest import VERY_LONG, Contender, expected_calls, once

from tf_deepdeblur.config import TrainConfig

OURS = "tf_deepdeblur"
_WAYS = ("as written", "channels_last", "compiled")
_START_SECONDS = 10.0  # of a contender's process
_COMPILING_SECONDS = 45.0
_DISCRIMINATOR_PATCH = 256  # pixels, the paper's; the discriminator refuses much smaller ones


class Case(NamedTuple):
    """One piece of work and its contenders, the one that the others are compared with first.

    ``amount`` is how many of ``unit`` (GFLOP, frames, pairs) a call does; ``expected_seconds`` is of one call.
    """

    what: str
    name: str
    contenders: list[Contender]
    amount: float
    unit: str
    expected_seconds: float

    @property
    def expected_total(self) -> float:
        """Seconds that the case takes about, with the starts of all processes."""
        starts = sum(_START_SECONDS + _COMPILING_SECONDS * ("compiled" in each.name) for each in self.contenders)
        return starts + expected_calls(self.expected_seconds) * self.expected_seconds * len(self.contenders)


@dataclass(frozen=True)
class Settings:
    """What the command line asks for.

    Attributes:
        config: architecture and training.
        precisions: of the network, the first is what the others are compared with.
        sizes: (height, width) of the images to restore.
        patches: (patch size, batch size) of the training steps.
        peers: whether other frameworks take part.
        model: a ``.keras`` file instead of random weights; None with peers.
        folder: for files.
    """

    config: TrainConfig
    precisions: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    patches: tuple[tuple[int, int], ...]
    peers: bool
    model: Path | None
    folder: Path

    @property
    def architecture(self) -> dict[str, int]:
        """Arguments of ``same_weights``."""
        names = ("num_scales", "num_res_blocks", "filters", "kernel_size")
        return {name: getattr(self.config.model, name) for name in names}


def convolution(settings: Settings, rates: dict[str, float]) -> Iterator[Case]:
    """The convolution that the network consists of, alone: what is the most to be had from TensorFlow."""
    filters, side = settings.config.model.filters, settings.config.model.kernel_size
    for size in ((256, 256), (720, 1280)):
        arguments = {"filters": filters, "kernel_size": side, "size": size}
        contenders = [
            Contender("tf.nn.conv2d", precision, "ours.prepare_convolution", {**arguments, "precision": precision})
            for precision in settings.precisions
        ]
        amount = 2 * side**2 * filters**2 * size[0] * size[1] / 1e9
        yield Case("convolution", _named(size), contenders, amount, "GFLOP", amount / 100)


def inference(settings: Settings, rates: dict[str, float]) -> Iterator[Case]:
    """A photograph restored, from uint8 array to uint8 array."""
    weights, path = _files(settings)
    for size in settings.sizes:
        amount = same_weights.flops_per_pixel(**settings.architecture) * size[0] * size[1] / 1e9
        shared = {"weights": weights, "model": settings.config.model, "size": size}
        for precision in settings.precisions:
            ours = {"path": path, "size": size, "precision": precision}
            contenders = [Contender(OURS, precision, "ours.prepare_restoring", ours)]
            if settings.peers:
                contenders += _restoring_peers({**shared, "precision": precision})
            yield Case("inference", _named(size), contenders, amount, "GFLOP", amount / rates[precision])


def train(settings: Settings, rates: dict[str, float]) -> Iterator[Case]:
    """A training step without and, where the patches are large enough, with the discriminator."""
    weights, _ = _files(settings)
    weight = settings.config.loss.adversarial_weight
    for patch_size, batch_size in settings.patches:
        config = replace(
            settings.config,
            data=replace(settings.config.data, patch_size=patch_size),
            optimizer=replace(settings.config.optimizer, batch_size=batch_size),
        )
        amount = 3 * same_weights.flops_per_pixel(**settings.architecture) * batch_size * patch_size**2 / 1e9
        for adversarial_weight in sorted({0.0, weight if patch_size >= _DISCRIMINATOR_PATCH else 0.0}):
            for precision in settings.precisions:
                step = _with_step(config, adversarial_weight, precision)
                contenders = [Contender(OURS, precision, "ours.prepare_training", {"weights": weights, "config": step})]
                if settings.peers:
                    shared = {"weights": weights, "model": config.model, "adversarial_weight": adversarial_weight}
                    shared |= {"batch_size": batch_size, "patch_size": patch_size, "precision": precision}
                    contenders += [
                        Contender(f"PyTorch {way}", precision, "pytorch_peer.prepare_training", {**shared, "way": way})
                        for way in _WAYS
                    ]
                name = f"{batch_size} x {patch_size} px" + (", discriminator" if adversarial_weight else "")
                yield Case("train", name, contenders, amount, "GFLOP", amount / rates[precision])


def video(settings: Settings, rates: dict[str, float]) -> Iterator[Case]:
    """A video restored, from file to file, by a thin network, as phones have it."""
    for size, frames in (((480, 854), 40), ((720, 1280), 20)):
        arguments = {"size": size, "frames": frames, "folder": str(settings.folder)}
        contenders = [Contender(OURS, "auto", "programs.prepare_video", arguments)]
        yield Case("video", f"{_named(size)}, 16 filters", contenders, frames, "frames", frames / 4)


def make_blur(settings: Settings, rates: dict[str, float]) -> Iterator[Case]:
    """Pairs made by ``deepdeblur make_blur``, its start included."""
    for kind, amount, unit in (("photographs", 16, "pairs"), ("video", 240, "frames")):
        arguments = {"kind": kind, "amount": amount, "folder": str(settings.folder)}
        contenders = [Contender(OURS, "", "programs.prepare_make_blur", arguments)]
        yield Case("make_blur", f"from {kind}", contenders, amount, unit, 15.0)


def pipeline(settings: Settings, rates: dict[str, float]) -> Iterator[Case]:
    """Training samples: of --data_dir, or of 720p photographs as PNGs, decoded for each patch, or as a packed store."""
    data, batch_size = settings.config.data, settings.config.optimizer.batch_size
    sources = [data.dataset] if data.data_dir else ["pairs", "store"]
    for dataset in sources:
        samples = batch_size * (8 if dataset != "store" else 200)
        arguments = {"folder": str(settings.folder), "samples": samples}
        ours = {"dataset": dataset, "data_dir": data.data_dir, "patch_size": data.patch_size, "batch_size": batch_size}
        contenders = [Contender(OURS, "", "programs.prepare_loader", {**arguments, **ours})]
        if settings.peers and not data.data_dir and dataset == "pairs":
            contenders.append(Contender("the authors' loader", "", "programs.prepare_authors_loader", arguments))
        yield Case("pipeline", f"{dataset}, {data.patch_size} px", contenders, samples, "patches", 2.0)


def start_up(settings: Settings, rates: dict[str, float]) -> Iterator[Case]:
    """How long a command takes to answer."""
    from tf_deepdeblur.commands import COMMANDS

    commands = {"--help": 0, "deblur": 2, **{f"{command} --help": 0 for command in COMMANDS}}
    for command, exit_code in commands.items():
        arguments = {"command": command, "exit_code": exit_code}
        name = f"deepdeblur {command}" + (" (usage error)" if exit_code else "")
        yield Case("start_up", name, [Contender(OURS, "", "programs.prepare_command", arguments)], 1, "commands", 0.5)
    arguments = {"folder": str(settings.folder)}
    contenders = [Contender(OURS, "auto", "programs.prepare_photograph", arguments)]
    yield Case("start_up", "deepdeblur deblur, a photograph of 256x256", contenders, 1, "commands", 8.0)


ALL = {case.__name__: case for case in (convolution, start_up, inference, train, pipeline, video, make_blur)}


def is_peer(contender: Contender) -> bool:
    """Whether it is another framework."""
    return contender.prepare.split(".")[0] in ("pytorch_peer", "onnx_peers")


def for_this_machine(case: Case, rows: list[dict]) -> Case:
    """The case with the seconds that its calls take here, as far as the same work of another size tells.

    Where a call takes minutes, only the peer takes part that did the same work the fastest.
    """
    precision = case.contenders[0].precision
    rates = {}
    for row in rows:
        if row["what"] == case.what and row.get("precision") == precision and "gflop_per_second" in row:
            rates.setdefault(row["name"], []).append(row["gflop_per_second"])
    if OURS in rates:
        case = case._replace(expected_seconds=case.amount / min(rates[OURS]))
    peers = [contender for contender in case.contenders if is_peer(contender)]
    if case.expected_seconds > VERY_LONG and any(peer.name in rates for peer in peers):
        fastest = max(peers, key=lambda peer: max(rates.get(peer.name, [0])))
        case = case._replace(contenders=[each for each in case.contenders if each is fastest or each not in peers])
    return case


def _restoring_peers(arguments):
    precision = arguments["precision"]
    ways = _WAYS if precision == "float32" else _WAYS[1:]
    for way in ways:
        yield Contender(f"PyTorch {way}", precision, "pytorch_peer.prepare_restoring", {**arguments, "way": way})
    if precision != "float16":
        yield Contender("OpenVINO", precision, "onnx_peers.prepare_openvino", arguments)
    if precision == "float32":
        yield Contender("ONNX Runtime", precision, "onnx_peers.prepare_onnxruntime", arguments)


def _with_step(config, adversarial_weight, precision):
    return replace(
        config,
        loss=replace(config.loss, adversarial_weight=adversarial_weight),
        runtime=replace(config.runtime, precision=precision),
    )


def _files(settings):
    """(weights for all frameworks, the network to restore with), written once."""
    weights, path = settings.folder / "weights.npz", settings.model or settings.folder / "generator.keras"
    if not weights.exists():
        np.savez(weights, **same_weights.make_weights(**settings.architecture))
    if not path.exists():
        arguments = {"weights": str(weights), "model": settings.config.model, "path": str(path)}
        once("ours.prepare_model", arguments)
    return str(weights), str(path)


def _named(size):
    return "{1}x{0}".format(*size)
