import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

from tests.helpers import write_pairs
from tf_deepdeblur.config import DataConfig, LossConfig, ModelConfig, OptimizerConfig, RuntimeConfig, TrainConfig

# They start several processes each. What is left for the end is short, so that both of pytest's processes end together.
_FIRST = ("test_strategy.py", "test_ray.py", "test_fit.py", "test_train.py")


def pytest_collection_finish():
    """Leaves what was imported out of the collection of garbage: that took an eighth of the time of the tests."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(10_000, 20, 50)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in _FIRST)


@pytest.fixture
def eagerly():
    """Runs tf.functions as Python: where only files and messages matter, that saves tracing them."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def pairs_dir(tmp_path_factory):
    """A plain data set with train/ and test/; treat it as read-only."""
    root = tmp_path_factory.mktemp("pairs")
    write_pairs(root / "train", 5)
    write_pairs(root / "test", 2, height=45, width=63, seed=1)
    return root


@pytest.fixture(scope="session")
def make_config(pairs_dir):
    """Makes TrainConfigs of a tiny network; keyword arguments replace single values of the groups."""

    def make(run_dir, data=(), loss=(), optimizer=(), runtime=(), initial_weights="", **model):
        shape = {"num_scales": 2, "num_res_blocks": 1, "filters": 4, "kernel_size": 3, **model}
        return TrainConfig(
            run_dir=str(run_dir),
            initial_weights=str(initial_weights),
            model=ModelConfig(**shape),
            data=DataConfig(**{"dataset": "pairs", "data_dir": str(pairs_dir), "patch_size": 16, **dict(data)}),
            loss=LossConfig(**{"adversarial_weight": 0.0, **dict(loss)}),
            optimizer=OptimizerConfig(**{"total_steps": 4, "learning_rate": 1e-3, **dict(optimizer)}),
            runtime=RuntimeConfig(
                **{
                    "precision": "float32",
                    "strategy": "single",
                    "log_every": 2,
                    "checkpoint_every": 2,
                    "eval_every": 2,
                    **dict(runtime),
                }
            ),
        )

    return make


@pytest.fixture
def tiny_config(tmp_path, make_config):
    """``make_config`` with a folder of the test's own."""
    return lambda run_dir=tmp_path / "run", **arguments: make_config(run_dir, **arguments)
