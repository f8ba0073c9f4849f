import json
from pathlib import Path

import pytest

from tests.training.gans import eager
from tf_deepdeblur import runtime
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.training import loop
from tf_deepdeblur.training import precision as precision_module
from tf_deepdeblur.training.precision import training_precision


@pytest.fixture
def machine(monkeypatch):
    """Pretends that the hardware has bfloat16, and trains a block so many times faster in it."""

    def pretend(speedup):
        def choose(requested):
            return "mixed_bfloat16" if requested == "auto" else runtime.choose_precision(requested)

        def measure(works, trials):
            assert all(work() != 0 for work in works.values())  # they can be run: gradients of a block
            return {"float32": 0.1 * speedup, "bfloat16": 0.1}

        monkeypatch.setattr(precision_module, "choose_precision", choose)
        monkeypatch.setattr(precision_module, "alternating_seconds", measure)

    return pretend


@pytest.mark.parametrize("speedup, policy", [(0.6, "float32"), (1.05, "float32"), (5.0, "mixed_bfloat16")])
def test_auto_is_what_trains_a_block_of_the_network_faster(machine, tiny_config, speedup, policy):
    machine(speedup)
    chosen = training_precision(tiny_config(runtime={"precision": "auto"}))
    assert chosen.policy == policy
    assert chosen.reason.endswith(f"takes {100 * speedup:.3g} ms in float32, 100 ms in bfloat16")
    assert training_precision(tiny_config(runtime={"precision": "bfloat16"})) == ("mixed_bfloat16", "")


def test_nothing_is_measured_without_bfloat16_in_hardware(monkeypatch, tiny_config):
    monkeypatch.setattr(precision_module, "choose_precision", lambda requested: "float32")
    monkeypatch.setattr(precision_module, "alternating_seconds", None)
    assert training_precision(tiny_config(runtime={"precision": "auto"})).policy == "float32"


@pytest.mark.slow
@eager
def test_a_run_keeps_its_precision_whatever_the_machine(machine, tiny_config, pairs_dir, capsys):
    """Unless another one is asked for; "auto" after that keeps the new one."""
    record = Path(tiny_config().run_dir) / "precision.json"
    for speedup, asked, expected in (
        (5.0, "auto", "bfloat16"), (0.6, "auto", "bfloat16"), (5.0, "float32", "float32"), (5.0, "auto", "float32"),
    ):  # fmt: skip
        machine(speedup)
        without_validation = {"data_dir": str(pairs_dir / "train")}
        loop.train(tiny_config(data=without_validation, optimizer={"total_steps": 1}, runtime={"precision": asked}))
        assert json.loads(record.read_text())["precision"] == expected
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("precision: ")]
    assert said == [
        "precision: bfloat16 (a block of the network, forward and backward, takes 500 ms in float32, "
        "100 ms in bfloat16)",
        "precision: bfloat16 (as the run began)",
        "precision: float32 (as the run began)",
    ]


@pytest.mark.parametrize("text", ["", "{}", '{"precision": "half"}', '["bfloat16"]', '{"precision": []}'])
def test_a_damaged_record_is_called_so(tiny_config, text):
    path = Path(tiny_config().run_dir) / "precision.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(InputError, match=rf"{path}: is damaged; .* give `precision`"):
        training_precision(tiny_config(runtime={"precision": "auto"}))
