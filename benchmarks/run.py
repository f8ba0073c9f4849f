"""Measures the system on this machine; prints one JSON line per measurement.

    python benchmarks/run.py --limit_minutes 20
    python benchmarks/run.py --peers    # beside PyTorch, OpenVINO and ONNX Runtime; writes docs/performance.md
    python benchmarks/run.py --what inference --model runs/gopro --size 720x1280
    python benchmarks/run.py --what train --filters 16 --num_res_blocks 4 --batch_size 2
    python benchmarks/run.py --what pipeline --dataset reds --data_dir ~/REDS

inference: seconds per image, uint8 array in and out, in each precision, and how far the precisions are apart; of
--model, or of the flags' architecture with random weights. train: seconds per step, without and with the discriminator.
pipeline: patches per second of the loader; without --data_dir also how it grows with cores. video, make_blur, start_up:
the commands. convolution: the network's convolution alone, of whose GFLOP/s the other rows name their share.

Every contender has a process of its own, and unless calls take minutes the contenders take turns. --peers needs
pip install -e ".[peers]", checks that all compute the same from the same weights, and records the rows in
--results_dir/MACHINE.json, where those of other runs stay; from it, docs/performance.md is made.
"""

import json
import math
import re
import sys
import tempfile
import time
from pathlib import Path

import cases
import contest
import loader_scaling
import numpy as np
import page
import results
from absl import flags
from tqdm import tqdm

from tf_deepdeblur import cli, runtime
from tf_deepdeblur.config import TrainConfig
from tf_deepdeblur.errors import InputError

_SIZES = ("256x256", "720x1280", "3000x4000")
_PATCHES = ((128, 2), (128, 16), (256, 2), (256, 16))
_PROGRAMS = "start_up", "make_blur"  # start processes, whose memory and time are not those of the contender
_SCALING_SECONDS = 120.0  # that ``loader_scaling`` takes
_BAR = "{desc} |{bar}| {elapsed}<{remaining}"
_RATES = {"float32": 200.0, "bfloat16": 400.0, "float16": 400.0}  # GFLOP/s until the convolution is measured

_WHAT = flags.DEFINE_list("what", list(cases.ALL), f"What to measure, of {', '.join(cases.ALL)}.")
_PEERS = flags.DEFINE_bool("peers", False, "Let PyTorch, OpenVINO and ONNX Runtime do the same work; record it all.")
_REPEATS = flags.DEFINE_integer("repeats", 10, "Most timed calls of each; the median counts.", lower_bound=1)
_LIMIT = flags.DEFINE_float("limit_minutes", 0.0, "Leave out what does not fit into so much time; 0 measures all.", 0.0)
_MODEL = flags.DEFINE_string("model", None, "For inference: a run folder or a .keras file; not with --peers.")
_CONTENDERS = flags.DEFINE_list("contenders", [], "Of the peers only those whose names contain one of these words.")
_SIZE = flags.DEFINE_list("size", list(_SIZES), "For inference: height x width of the images.")
_RESULTS_DIR = flags.DEFINE_string("results_dir", str(results.FOLDER), "Where --peers keeps its rows.")
flags.register_validator(_WHAT, lambda what: set(what) <= set(cases.ALL), f"must be of {', '.join(cases.ALL)}")


def main(argv):
    cli.reject_arguments(argv)
    deadline = time.monotonic() + 60 * _LIMIT.value if _LIMIT.value else float("inf")
    recorded = results.Results(Path(_RESULTS_DIR.value)) if _PEERS.value else None
    rows, restored = list(recorded.rows) if recorded else [], {}
    with tempfile.TemporaryDirectory() as folder, tqdm(bar_format=_BAR, disable=None) as bar:
        settings = _settings(Path(folder))
        todo = _plan(settings, _WHAT.value, rows)
        while todo:
            case = cases.for_this_machine(todo.pop(0), rows)
            bar.set_description_str(f"{case.what} {case.name}")
            bar.total = bar.n + case.expected_total + sum(other.expected_total for other in todo)
            for row in _measure(case, deadline, restored):
                tqdm.write(json.dumps(row))
                rows.append(row)
                if recorded:
                    recorded.add(row)
            bar.update(case.expected_total)
            is_last = not todo or todo[0].what != "convolution"
            if case.what == "convolution" and is_last:  # from now on it is known how long the rest takes
                todo = _plan(settings, {other.what for other in todo}, rows)
    grows = "pipeline" in _WHAT.value and not settings.config.data.data_dir
    if grows and time.monotonic() + _SCALING_SECONDS < deadline:
        _measure_scaling(settings.config)
    if recorded and _RESULTS_DIR.value == str(results.FOLDER):
        page.write_page(recorded.content)
    return 0


def _measure_scaling(config):
    """The loader with one core and all, in threads and in processes, and the ceiling that follows."""
    rows, sizes = [], (config.data.patch_size, config.optimizer.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        for row in loader_scaling.measure(Path(folder), *sizes, seconds=2.0):
            print(json.dumps({"what": "loader_scaling", **row}), flush=True)
            rows.append(row)
    print(loader_scaling.table(rows))


def _settings(folder):
    config, given = cli.build(TrainConfig), {name for name in flags.FLAGS if flags.FLAGS[name].present}
    if _MODEL.value and _PEERS.value:
        raise cli.UsageError("--peers compares networks of random weights; leave out --model")
    if config.model.global_residual and _PEERS.value:
        raise cli.UsageError("--peers compares the paper's network, which has no --global_residual")
    if config.model.space_to_depth > 1:
        raise cli.UsageError("the benchmarks start from weights of the paper's layers; leave out --space_to_depth")
    if config.optimizer.optimizer != "adam" and _PEERS.value:
        raise cli.UsageError("--peers trains with Adam; leave out --optimizer")
    precision = config.runtime.precision.removeprefix("mixed_")
    patches = (
        {(config.data.patch_size, config.optimizer.batch_size)} if given & {"patch_size", "batch_size"} else _PATCHES
    )
    return cases.Settings(
        config=config,
        precisions=(precision,) if precision != "auto" else ("float32", "bfloat16", *["float16"] * results.has_gpu()),
        sizes=tuple(_size(text) for text in _SIZE.value),
        patches=patches,
        peers=_PEERS.value,
        model=_model_file(),
        folder=folder,
    )


def _size(text):
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if not match:
        raise cli.UsageError(f"--size must be height x width in pixels like 720x1280, got {text!r}")
    return int(match[1]), int(match[2])


def _model_file():
    if _MODEL.value is None:
        return None
    runtime.import_tensorflow_quietly()
    from tf_deepdeblur.models.saving import find_model

    path = find_model(_MODEL.value)
    if path.suffix != ".keras":
        raise InputError(f"{path}: is an export, whose precision is fixed; give a run folder or a .keras file")
    return path


def _plan(settings, chosen, rows):
    rates = _RATES | results.convolution_rates(rows)
    plan = [case for what in cases.ALL if what in chosen for case in cases.ALL[what](settings, rates)]
    return [case._replace(contenders=list(filter(_takes_part, case.contenders))) for case in plan]


def _takes_part(contender):
    words = _CONTENDERS.value
    return not words or not cases.is_peer(contender) or any(word in contender.name for word in words)


def _measure(case, deadline, restored):
    """The rows of a case, the first contender's first.

    Args:
        case: Case.
        deadline: of ``time.monotonic()``.
        restored: first image of each name of a case, which the images of others are compared with; is added to.
    """
    facts = {"what": case.what, "case": case.name}
    left = deadline - time.monotonic()
    if case.expected_total > left:
        yield {
            **facts,
            "failed": f"left out: takes about {case.expected_total / 60:.0f} minutes, {left / 60:.0f} are left",
        }
        return
    outcomes = contest.compete(case.contenders, _REPEATS.value, case.expected_seconds, deadline)
    for outcome in outcomes:
        contender = outcome.contender
        row = {**facts, "name": contender.name, "precision": contender.precision}
        if outcome.failed:
            yield {**row, "failed": outcome.failed}
            continue
        row |= {"seconds": round(outcome.seconds, 4), "calls": outcome.calls}
        if case.what not in _PROGRAMS:
            row |= {"cpu_seconds": round(outcome.cpu_seconds, 4), "peak_gib": round(outcome.peak_gib, 2)}
        row["ratio"] = round(outcome.seconds / outcomes[0].seconds, 3) if outcomes[0].seconds else None
        row[f"{case.unit.lower()}_per_second"] = round(case.amount / outcome.seconds, 2)
        yield row | _agreement(case, outcome, outcomes[0], restored)


def _agreement(case, outcome, first, restored):
    """How far a contender's results are from the first one's: grey levels and dB, or the relative error of the loss."""
    if case.what == "inference":
        reference = restored.setdefault(case.name, outcome.first).astype(float)
        errors = np.abs(outcome.first - reference)
        mean_square = np.square(errors).mean()
        psnr = round(10 * math.log10(255**2 / mean_square), 2) if mean_square else None
        return {"max_difference": int(errors.max()), "psnr": psnr}
    if case.what == "train" and first.first:
        return {"first_loss": outcome.first, "loss_error": round(abs(outcome.first / first.first - 1), 6)}
    return {}


if __name__ == "__main__":
    cli.define(TrainConfig, __name__)
    flags.FLAGS.set_default("dataset", "demo")  # needs no folder
    cli.run(sys.modules[__name__], sys.argv)
