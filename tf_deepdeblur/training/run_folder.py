"""What is in the folder of a training run, for whoever reads or writes one.

config.cfg                      the flags of the newest start, written before its first step
config_history.jsonl            which flags were changed at which step, if any were
initial_weights.json            name and SHA-256 of the weights that the run started from, if any
precision.json                  the precision that the run trains in, and why
checkpoints/last, best          see ``checkpoint.py``; starting again with the same folder resumes
metrics.jsonl, tensorboard/     losses, learning rate, speed, PSNR and SSIM of the validation frames
samples/                        blurry | restored | sharp
generator.keras                 the newest weights (their average, if one is kept), at every checkpoint
generator_best.keras            the weights with the highest PSNR of the validation frames
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tf_deepdeblur.config import (
    ARCHITECTURE,
    TrainConfig,
    changed_values,
    describe_changes,
    read_flagfile,
    shapes_the_model,
    to_flagfile,
)
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.atomic import locked, write_atomically
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.models.saving import save_generator

_REMEDY = "restore it or use another folder"
_BEFORE = {"space_to_depth": "1", "optimizer": "adam"}  # flags that older runs do not name: what they were trained with


class RunFolder:
    """The files of one run; nothing is made or read before a method is called.

    Args:
        path: the folder; ``~`` is expanded.

    Attributes:
        path, config, config_history, initial_weights, precision, checkpoints, metrics, tensorboard, samples,
            generator, best_generator: paths, see the module's docstring.
        demo_data: folder that the demo's data set is made in.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path).expanduser()
        self.config = self.path / "config.cfg"
        self.config_history = self.path / "config_history.jsonl"
        self.initial_weights = self.path / "initial_weights.json"
        self.precision = self.path / "precision.json"
        self.checkpoints = self.path / "checkpoints"
        self.metrics = self.path / "metrics.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self.samples = self.path / "samples"
        self.generator = self.path / "generator.keras"
        self.best_generator = self.path / "generator_best.keras"
        self.demo_data = self.path / "data"

    @property
    def has_checkpoint(self) -> bool:
        """Whether anything was trained and saved, be it damaged."""
        return self.generator.exists() or any(self.checkpoints.glob("*/*.index"))

    def changes(self, config: TrainConfig) -> dict[str, tuple[str, str]]:
        """{name: (before, now)} of the flags that were changed since the run was last started; empty for a new run.

        Raises:
            InputError: if the run has checkpoints of another model, or config.cfg is damaged.
        """
        if not self.config.exists():
            return {}
        saved = self.flags()
        changes = changed_values(saved, config)
        try:
            barred = {name: values for name, values in changes.items() if shapes_the_model(name, *values)}
        except ValueError as error:
            raise InputError(f"{self.config}: is damaged ({error}); {_REMEDY}") from error
        if not saved.keys() >= set(ARCHITECTURE):
            raise InputError(f"{self.config}: is damaged (flags are missing); {_REMEDY}")
        if barred and self.has_checkpoint:
            raise InputError(f"{self.path} holds another model ({describe_changes(barred)}); use a new `run_dir`")
        return changes

    def flags(self) -> dict[str, str]:
        """{name: value} of config.cfg; of flags that are newer than the run, what it was trained with.

        Raises:
            InputError: if it is not text.
        """
        try:
            return {**_BEFORE, **read_flagfile(self.config.read_text())}
        except UnicodeDecodeError as error:
            raise InputError(f"{self.config}: is damaged (not text); {_REMEDY}") from error

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """Makes the folder and keeps other trainings out until the block ends.

        Raises:
            InputError: if another training is writing to it, or it cannot be written.
        """
        with contextlib.ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.path))
            except OSError as error:
                raise InputError(
                    f"{self.path}: cannot be written ({error.strerror}); choose another `run_dir`"
                ) from error
            yield

    def write_config(self, config: TrainConfig, step: int) -> dict[str, tuple[str, str]]:
        """Writes config.cfg, and to config_history.jsonl what it changes; returns the changes.

        Args:
            config: the configuration of this start.
            step: steps that the run has done before.
        """
        changes = self.changes(config)
        if changes:
            with self.config_history.open("a") as file:
                file.write(json.dumps({"step": step, "changes": changes}) + "\n")
        write_atomically(self.config, to_flagfile(config))
        return changes

    def save_generator(self, generator: Generator, path: Path) -> None:
        """Writes ``generator.keras`` or ``generator_best.keras``.

        Raises:
            InputError: if it cannot be written.
        """
        try:
            save_generator(generator, path)
        except OSError as error:
            raise InputError(f"{path}: could not be written ({error}); make room, then resume") from error


def read_records(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The records of a metrics.jsonl, oldest first, and how many of its lines are damaged.

    A record has at least a "step" and a "kind": "train" or "eval". A last line without an end is left out: a run that
    goes on may be writing it, or a crash cut it off.
    """
    if not path.is_file():
        return [], 0
    lines = [line for line in path.read_text(errors="replace").splitlines(keepends=True) if line.endswith("\n")]
    values = map(_record, lines)
    records = [value for value in values if value is not None]
    return records, len(lines) - len(records)


def read_training(generator: str | os.PathLike) -> dict[str, Any] | None:
    """What is known of the training of a .keras file in a run folder; None if it lies in none.

    Returns:
        A dict: "flags", {name: value}; "held_out", the scores of the file's weights on the validation frames (of the
        best ones for ``generator_best.keras``), or None; and "initial_weights", see ``assign_initial_weights``, or
        None if the run started from random ones.

    Raises:
        InputError: if config.cfg, metrics.jsonl or initial_weights.json is damaged.
    """
    generator = Path(generator)
    folder = RunFolder(generator.parent)
    if not folder.config.is_file():
        return None
    records, damaged = read_records(folder.metrics)
    scores = [record for record in records if record["kind"] == "eval"]
    if damaged or not all(isinstance(record.get("psnr"), float) for record in scores):
        raise InputError(f"{folder.metrics}: is damaged; {_REMEDY}")
    is_best = generator.name == folder.best_generator.name
    left_out = ("run_dir", "dry_run", "data_dir", "initial_weights")  # nobody else has these paths
    try:
        origin = json.loads(folder.initial_weights.read_text()) if folder.initial_weights.is_file() else None
    except ValueError as error:
        raise InputError(f"{folder.initial_weights}: is damaged; {_REMEDY}") from error
    return {
        "flags": {name: value for name, value in folder.flags().items() if name not in left_out},
        "held_out": max(scores, key=lambda record: record["psnr" if is_best else "step"], default=None),
        "initial_weights": origin,
    }


def _record(line):
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_record = isinstance(value, dict) and type(value.get("step")) is int and isinstance(value.get("kind"), str)
    return value if is_record else None
