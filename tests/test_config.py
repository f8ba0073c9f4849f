import dataclasses

import pytest

from tf_deepdeblur.config import (
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    RuntimeConfig,
    TrainConfig,
    changed_model_flags,
    flag_fields,
    read_flagfile,
    to_flagfile,
)
from tf_deepdeblur.errors import InputError

PAPER = TrainConfig(data=DataConfig(data_dir="x"))


def test_defaults_are_the_papers():
    assert (PAPER.model.num_scales, PAPER.model.num_res_blocks, PAPER.model.filters, PAPER.model.kernel_size) == (
        3, 19, 64, 5,
    )  # fmt: skip
    assert (PAPER.optimizer.batch_size, PAPER.optimizer.learning_rate, PAPER.optimizer.total_steps) == (
        2,
        5e-5,
        900_000,
    )
    assert (PAPER.optimizer.decay_steps, PAPER.optimizer.decay_rate) == ((300_000,), 0.1)
    assert (PAPER.loss.adversarial_weight, PAPER.data.patch_size, PAPER.data.blur_key) == (1e-4, 256, "blur_gamma")


@pytest.mark.parametrize(
    ("make", "flag"),
    [
        (lambda: ModelConfig(num_scales=4), "--num_scales"),
        (lambda: ModelConfig(kernel_size=4), "--kernel_size"),
        (lambda: ModelConfig(filters=0), "--filters"),
        (lambda: DataConfig(dataset="imagenet"), "--dataset"),
        (lambda: DataConfig(patch_size=7), "--patch_size"),
        (lambda: LossConfig(adversarial_weight=-1.0), "--adversarial_weight"),
        (lambda: OptimizerConfig(learning_rate=0.0), "--learning_rate"),
        (lambda: OptimizerConfig(learning_rate=float("nan")), "--learning_rate"),
        (lambda: OptimizerConfig(ema_decay=1.0), "--ema_decay"),
        (lambda: RuntimeConfig(seed=-1), "--seed"),
        (lambda: TrainConfig(data=DataConfig()), "--data_dir"),
        (lambda: TrainConfig(data=DataConfig(data_dir="x", patch_size=258)), "--patch_size"),
        (
            lambda: TrainConfig(data=DataConfig(data_dir="x"), optimizer=OptimizerConfig(decay_steps=(5, 3))),
            "--decay_steps",
        ),
    ],
)
def test_a_value_out_of_range_names_its_flag(make, flag):
    with pytest.raises(InputError, match=flag):
        make()


def test_flagfile_round_trip():
    text = to_flagfile(dataclasses.replace(PAPER, optimizer=OptimizerConfig(decay_steps=(10, 20))))
    values = read_flagfile(text)
    assert values["decay_steps"] == "10,20"
    assert values["global_residual"] == "false"
    assert set(values) == {item.name for _, item in flag_fields()}


def test_only_flags_that_shape_the_variables_bar_a_resume():
    saved = read_flagfile(to_flagfile(PAPER))
    longer = dataclasses.replace(PAPER, optimizer=OptimizerConfig(total_steps=7, learning_rate=1e-3))
    thinner = dataclasses.replace(PAPER, model=ModelConfig(filters=32))
    content_only = dataclasses.replace(PAPER, loss=LossConfig(adversarial_weight=0.0))
    weaker = dataclasses.replace(PAPER, loss=LossConfig(adversarial_weight=1e-5))
    assert changed_model_flags(saved, longer) == changed_model_flags(saved, weaker) == []
    assert changed_model_flags(saved, thinner) == ["--filters was 64, is now 32"]
    assert changed_model_flags(saved, content_only) == ["--adversarial_weight was 0.0001, is now 0.0"]
