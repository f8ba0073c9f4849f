import dataclasses
import subprocess
import sys

import pytest

from tf_deepdeblur.config import (
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    RuntimeConfig,
    TrainConfig,
    changed_values,
    flag_fields,
    read_flagfile,
    shapes_the_model,
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
    ("make", "argument"),
    [
        (lambda: ModelConfig(num_scales=4), "`num_scales`"),
        (lambda: ModelConfig(kernel_size=4), "`kernel_size`"),
        (lambda: ModelConfig(filters=0), "`filters`"),
        (lambda: DataConfig(dataset="imagenet"), "`dataset`"),
        (lambda: DataConfig(patch_size=7), "`patch_size`"),
        (lambda: LossConfig(adversarial_weight=-1.0), "`adversarial_weight`"),
        (lambda: OptimizerConfig(learning_rate=0.0), "`learning_rate`"),
        (lambda: OptimizerConfig(learning_rate=float("nan")), "`learning_rate`"),
        (lambda: OptimizerConfig(ema_decay=1.0), "`ema_decay`"),
        (lambda: RuntimeConfig(seed=-1), "`seed`"),
        (lambda: TrainConfig(data=DataConfig()), "`data_dir`"),
        (lambda: TrainConfig(data=DataConfig(data_dir="x", patch_size=258)), "`patch_size`"),
        (
            lambda: TrainConfig(data=DataConfig(data_dir="x"), optimizer=OptimizerConfig(decay_steps=(5, 3))),
            "`decay_steps`",
        ),
    ],
)
def test_a_value_out_of_range_names_its_argument(make, argument):
    with pytest.raises(InputError, match=argument):
        make()


def test_flagfile_round_trip():
    text = to_flagfile(dataclasses.replace(PAPER, optimizer=OptimizerConfig(decay_steps=(10, 20))))
    values = read_flagfile(text)
    assert values["decay_steps"] == "10,20"
    assert values["global_residual"] == "false"
    assert set(values) == {item.name for _, item in flag_fields()}


def test_only_flags_that_shape_the_variables_bar_a_resume():
    saved = read_flagfile(to_flagfile(PAPER))

    def barred(**groups):
        changes = changed_values(saved, dataclasses.replace(PAPER, run_dir="elsewhere", **groups))
        return {name: shapes_the_model(name, *values) for name, values in changes.items()}

    assert barred() == {}
    assert barred(optimizer=OptimizerConfig(total_steps=7, learning_rate=1e-3)) == {
        "total_steps": False, "learning_rate": False,
    }  # fmt: skip
    assert barred(model=ModelConfig(filters=32)) == {"filters": True}
    assert barred(loss=LossConfig(adversarial_weight=0.0)) == {"adversarial_weight": True}
    assert barred(loss=LossConfig(adversarial_weight=1e-5)) == {"adversarial_weight": False}
    assert barred(optimizer=OptimizerConfig(ema_decay=0.9)) == {"ema_decay": True}


def test_checking_a_configuration_does_not_start_tensorflow():
    code = "import sys, tf_deepdeblur.config; assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
