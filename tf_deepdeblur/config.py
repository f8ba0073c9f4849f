"""What a training run is: frozen dataclasses that check their values; standard library only.

Every field is a command-line flag of the same name (``cli.py``) and carries its own help and limits. A run folder
keeps the configuration as an absl flagfile, ``config.cfg``.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tf_deepdeblur.errors import InputError

# What to say to somebody who does not have the data set, or not where we look.
WHERE_TO_GET = {
    "gopro": "; GOPRO_Large is at https://seungjunnah.github.io/Datasets/gopro, and docs/data.md shows its layout",
    "reds": "; REDS is at https://seungjunnah.github.io/Datasets/reds, and docs/data.md shows its layout",
}


def _flag(default, help, *, choices=None, minimum=None, above=None, maximum=None):
    limits = {"choices": choices, "minimum": minimum, "above": above, "maximum": maximum}
    return field(default=default, metadata={"help": help, **limits})


class _Checked:
    """Checks every field against its limits; the message names the field."""

    def __post_init__(self):
        for item in dataclasses.fields(self):
            name, value, limits = item.name, getattr(self, item.name), item.metadata
            if "help" not in limits:
                continue
            for number in value if isinstance(value, tuple) else (value,):
                if limits["choices"] is not None and number not in limits["choices"]:
                    raise InputError(f"`{name}` must be one of {', '.join(map(str, limits['choices']))}, got {number}")
                if limits["minimum"] is not None and not number >= limits["minimum"]:
                    raise InputError(f"`{name}` must be at least {limits['minimum']}, got {number}")
                if limits["above"] is not None and not number > limits["above"]:
                    raise InputError(f"`{name}` must be above {limits['above']}, got {number}")
                if limits["maximum"] is not None and not number <= limits["maximum"]:
                    raise InputError(f"`{name}` must be at most {limits['maximum']}, got {number}")


@dataclass(frozen=True)
class ModelConfig(_Checked):
    """The generator (section 3.1); changing any of these needs a new run folder."""

    num_scales: int = _flag(3, "K, the number of scales.", choices=(1, 2, 3))
    num_res_blocks: int = _flag(19, "ResBlocks per scale; 19 make 40 convolutions.", minimum=1)
    filters: int = _flag(64, "Feature maps of every convolution.", minimum=1)
    kernel_size: int = _flag(5, "Side of every convolution, odd.", choices=(1, 3, 5, 7, 9, 11))
    global_residual: bool = _flag(False, "Add the blurry image to each scale's output (not in the paper).")
    space_to_depth: int = _flag(
        1, "2 computes each scale on blocks of 2x2 pixels: a quarter of the time (not in the paper).", choices=(1, 2)
    )


ARCHITECTURE = tuple(item.name for item in dataclasses.fields(ModelConfig))


@dataclass(frozen=True)
class DataConfig(_Checked):
    """Training and validation images (sections 2 and 3.2)."""

    dataset: str = _flag(
        "gopro",
        "Layout of the data set: a folder, a packed store or the demo's own images.",
        choices=("gopro", "reds", "pairs", "store", "demo"),
    )
    data_dir: str = _flag(
        "", "Folder of the data set, or file of a packed store; the demo makes its own in the run folder."
    )
    blur_key: str = _flag(
        "blur_gamma", "GOPRO_Large's blur: blur_gamma is the paper's.", choices=("blur_gamma", "blur")
    )
    patch_size: int = _flag(256, "Side of the random crops in pixels.", minimum=8)
    crops_per_image: int = _flag(
        1, "Crops of each image per epoch. More than 1 reduces decoding; useless with a packed store.", minimum=1
    )
    eval_images: int = _flag(20, "Validation frames per evaluation, spread evenly over the data set.", minimum=1)


@dataclass(frozen=True)
class LossConfig(_Checked):
    """Equations 4 to 6."""

    content_loss: str = _flag(
        "mse", "Error in Eq. 4; mse is the paper's; log_mse follows the mean PSNR.", choices=("mse", "mae", "log_mse")
    )
    adversarial_weight: float = _flag(1e-4, "Lambda of Eq. 6; 0 trains without a discriminator.", minimum=0.0)
    adversarial_loss: str = _flag(
        "non_saturating",
        "What the generator minimises: -log D(G(B)), or Eq. 5 literally (minimax).",
        choices=("non_saturating", "minimax"),
    )


@dataclass(frozen=True)
class OptimizerConfig(_Checked):
    """The optimisers and their schedule (section 3.2)."""

    optimizer: str = _flag(
        "adam",
        "Of the generator: adam is the paper's; muon (not in the paper) learned more per step in our trials.",
        choices=("adam", "muon"),
    )
    batch_size: int = _flag(2, "Patches per step, over all devices together.", minimum=1)
    total_steps: int = _flag(900_000, "Steps to train in all.", minimum=1)
    learning_rate: float = _flag(5e-5, "First learning rate of both optimisers.", above=0.0)
    decay_steps: tuple[int, ...] = _flag(
        (300_000,), "One number: decay every so many steps. Several: decay at these steps.", minimum=1
    )
    decay_rate: float = _flag(0.1, "Factor of each decay.", above=0.0, maximum=1.0)
    clip_norm: float = _flag(
        0.0, "Largest global norm of each network's gradient; 0, as in the paper, does not clip.", minimum=0.0
    )
    divergence_factor: float = _flag(
        1000.0, "A loss so many times above its running median ends the run; 0 is off.", minimum=0.0
    )
    ema_decay: float = _flag(
        0.0,
        "Decay per step of the averaged weights that are evaluated and saved; 0 is off.",
        minimum=0.0,
        maximum=0.99999,
    )


@dataclass(frozen=True)
class RuntimeConfig(_Checked):
    """Devices, random numbers, and how often to write."""

    precision: str = _flag(
        "auto",
        "auto measures which of float32 and bfloat16 trains faster here; mixed_bfloat16 is the same as bfloat16.",
        choices=("auto", "float32", "bfloat16", "float16", "mixed_bfloat16", "mixed_float16"),
    )
    strategy: str = _flag(
        "auto",
        "auto is mirrored over all GPUs or virtual devices, else single; multi_worker reads TF_CONFIG or Slurm's.",
        choices=("auto", "single", "mirrored", "multi_worker"),
    )
    worker_timeout: int = _flag(180, "Seconds that multi_worker waits until all workers are there.", minimum=1)
    virtual_devices: int = _flag(0, "Split the CPU into so many devices to try replication; 0 is off.", minimum=0)
    seed: int = _flag(0, "Seed of the weights and of all samples.", minimum=0, maximum=2**31 - 1)
    deterministic: bool = _flag(False, "Bit-identical results from run to run on one machine; slower on a GPU.")
    log_every: int = _flag(100, "Steps between records of losses.", minimum=1)
    checkpoint_every: int = _flag(5_000, "Steps between checkpoints.", minimum=1)
    eval_every: int = _flag(5_000, "Steps between evaluations on the validation frames.", minimum=1)


@dataclass(frozen=True)
class TrainConfig(_Checked):
    """One training run.

    Raises:
        InputError: naming the argument, if a value is out of its limits or two of them contradict each other.
    """

    run_dir: str = _flag("runs/default", "Folder that the run is written to; the same folder again resumes.")
    dry_run: bool = _flag(False, "Check the data, print what would be trained, and stop.")
    initial_weights: str = _flag(
        "", "Start from these weights: a run folder, a .keras file, the name of shipped weights, or hf://user/name."
    )
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    def __post_init__(self):
        super().__post_init__()
        if self.data.dataset != "demo" and not self.data.data_dir:
            where = WHERE_TO_GET.get(self.data.dataset, "; docs/data.md shows the layouts")
            raise InputError(f"`dataset={self.data.dataset}` needs `data_dir`, the folder of the data set{where}")
        multiple = self.model.space_to_depth * 2 ** (self.model.num_scales - 1)
        if self.data.patch_size % multiple:
            raise InputError(
                f"`patch_size` must be a multiple of {multiple} with `num_scales={self.model.num_scales}` and "
                f"`space_to_depth={self.model.space_to_depth}`, got {self.data.patch_size}"
            )
        steps = self.optimizer.decay_steps
        if not steps or list(steps) != sorted(set(steps)):
            raise InputError("`decay_steps` must be one number, or several in increasing order")

    @property
    def adversarial(self) -> bool:
        """Whether a discriminator is trained."""
        return self.loss.adversarial_weight > 0

    @property
    def averages_weights(self) -> bool:
        """Whether an exponential moving average of the weights is kept."""
        return self.optimizer.ema_decay > 0


def flag_fields(config_class: type = TrainConfig) -> Iterator[tuple[str | None, dataclasses.Field]]:
    """Yields (group, field) of every flag; ``group`` names the nested dataclass, or is None at the top."""
    for item in dataclasses.fields(config_class):
        if dataclasses.is_dataclass(item.type):
            yield from ((item.name, nested) for _, nested in flag_fields(item.type))
        else:
            yield None, item


def flag_values(config: Any) -> dict[str, str]:
    """{flag name: value as it is written on the command line} of a configuration or one of its groups."""
    fields = flag_fields(type(config))
    texts = {}
    for group, item in fields:
        value = getattr(config if group is None else getattr(config, group), item.name)
        value = ",".join(map(str, value)) if isinstance(value, tuple) else value
        texts[item.name] = str(value).lower() if isinstance(value, bool) else str(value)
    return texts


def to_flagfile(config: TrainConfig) -> str:
    """The text of an absl flagfile that gives this configuration again."""
    return "".join(f"--{name}={value}\n" for name, value in flag_values(config).items())


def read_flagfile(text: str) -> dict[str, str]:
    """{flag name: value} of a flagfile that ``to_flagfile`` wrote."""
    pairs = (line[2:].partition("=") for line in text.splitlines() if line.startswith("--"))
    return {name: value for name, _, value in pairs}


def changed_values(saved: dict[str, str], config: TrainConfig) -> dict[str, tuple[str, str]]:
    """{name: (saved value, value now)} of all flags that differ, except `run_dir` and `dry_run`.

    Args:
        saved: result of ``read_flagfile``; flags that it does not have count as unchanged.
        config: the configuration now.
    """
    now = flag_values(config)
    names = [name for name in now if name in saved and name not in ("run_dir", "dry_run")]
    return {name: (saved[name], now[name]) for name in names if saved[name] != now[name]}


def shapes_the_model(name: str, before: str, now: str) -> bool:
    """Whether a changed flag changes which variables a run has, or what they began as: its checkpoints are no use then.

    Raises:
        ValueError: if a value is not a number where one is expected.
    """
    if name in ("adversarial_weight", "ema_decay"):  # switch the discriminator, and the average, on and off
        return (float(before) > 0) != (float(now) > 0)
    return name in ("initial_weights", "optimizer") or name in ARCHITECTURE


def describe_changes(changes: dict[str, tuple[str, str]]) -> str:
    """Changed values, a result of ``changed_values``, for messages."""
    return ", ".join(
        f"`{name}` was {before or 'empty'}, is now {now or 'empty'}" for name, (before, now) in changes.items()
    )
