"""One device, two virtual devices and two worker processes train the same weights: sampling is stateless."""

import json
import random
import re
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.processes import Forked
from tests.training import small_train
from tests.training.small_train import small
from tf_deepdeblur.config import to_flagfile
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.models.saving import load_generator
from tf_deepdeblur.training import strategy, train
from tf_deepdeblur.training.agreement import facts_to_agree_on
from tf_deepdeblur.training.setup import open_sources
from tf_deepdeblur.training.strategy import make_strategy
from tf_deepdeblur.training.worker_cluster import WorkerCluster
from tf_deepdeblur.training.workers import Workers

STEPS = 30


@pytest.fixture(scope="module")
def configuration(make_config):
    """Makes the TrainConfig of a run with a discriminator, an average and two patches a step; all runs have one seed.

    The learning rate is low: at the paper's, rounding alone moves the discriminator by 1e-3 within 20 steps (measured
    on one device, with and without oneDNN).
    """

    def make(run_dir, **runtime):
        return make_config(
            run_dir,
            num_scales=1,
            data={"eval_images": 1},
            loss={"adversarial_weight": 1e-2},
            optimizer={
                "optimizer": "muon",
                "batch_size": 2,
                "total_steps": STEPS,
                "learning_rate": 1e-6,
                "ema_decay": 0.9,
            },
            runtime={"log_every": 10, "checkpoint_every": 5, "eval_every": 100, **runtime},
        )

    return make


def start(config, environment=(), program=small_train.run):
    flagfile = Path(f"{config.run_dir}.cfg")
    flagfile.write_text(to_flagfile(config))
    return Forked(flagfile.parent, program, f"--flagfile={flagfile}", environment=environment)


def finish(*processes):
    for process in processes:
        _, stderr = process.communicate()
        assert process.returncode == 0, stderr


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start_workers(config):
    """Two, in a Slurm step on this machine."""
    step = {"SLURM_JOB_ID": str(random.randrange(10**6)), "SLURM_JOB_NODELIST": "localhost", "SLURM_NTASKS": "2",
            "SLURM_TASKS_PER_NODE": "2", "SLURM_NODEID": "0"}  # fmt: skip
    return [start(config, {**step, "SLURM_PROCID": str(index), "SLURM_LOCALID": str(index)}) for index in range(2)]


@pytest.fixture(scope="module")
def by_workers(configuration, tmp_path_factory):
    """The folder of a run of two workers."""
    config = configuration(tmp_path_factory.mktemp("workers") / "run", strategy="multi_worker", deterministic=True)
    finish(*start_workers(config))
    return Path(config.run_dir)


def saved_values(run_dir, part):
    """All weights of a network, or all moments of an optimiser, after the last step, as one vector."""
    reader = tf.train.load_checkpoint(str(run_dir / "checkpoints" / "last" / f"step-{STEPS}"))
    names = sorted(name for name in reader.get_variable_to_shape_map() if name.startswith(f"{part}/"))
    tensors = map(reader.get_tensor, names)
    return np.concatenate([tensor.ravel() for tensor in tensors if tensor.size > 1])  # not the optimiser's step


@pytest.mark.slow
def test_replication_does_not_change_the_result(configuration, by_workers, tmp_path):
    """Weights to 1e-5, and the moments roughly: Adam's steps do not show a gradient twice as large, its moments do."""
    on_two_devices = start(configuration(tmp_path / "two", strategy="auto", virtual_devices=2))
    with small():
        train(configuration(tmp_path / "one"))
    finish(on_two_devices)
    tolerances = {"generator": 1e-5, "discriminator": 1e-5, "average": 1e-5,
                  "generator_optimizer": 0.2, "discriminator_optimizer": 0.2}  # fmt: skip
    for part, tolerance in tolerances.items():
        expected = saved_values(tmp_path / "one", part)
        for run_dir in (tmp_path / "two", by_workers):
            difference = saved_values(run_dir, part) - expected
            assert np.linalg.norm(difference) <= tolerance * np.linalg.norm(expected), (part, run_dir)


@pytest.mark.slow
def test_a_lost_worker_ends_the_other_one_and_both_go_on_when_started_again(configuration, by_workers, tmp_path):
    config = configuration(tmp_path / "killed", strategy="multi_worker", deterministic=True)
    checkpoints = Path(config.run_dir) / "checkpoints" / "last"
    chief, other = start_workers(config)
    while not (checkpoints / "step-5.index").exists() and chief.returncode is None:
        time.sleep(0.02)
    other.send_signal(signal.SIGKILL)
    _, stderr = chief.communicate(timeout=60)
    other.communicate()
    assert chief.returncode == 75, stderr
    line = rf"worker 1 \(localhost:\d+\) was lost; .*{checkpoints}/step-\d+: start all workers again"
    assert re.search(line, stderr), stderr
    assert "Traceback" not in stderr
    finish(*start_workers(config))
    folders = (Path(config.run_dir), by_workers)
    for ours, theirs in zip(
        *(load_generator(folder / "generator.keras").get_weights() for folder in folders), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def run_impatiently(*flags):
    strategy._CONNECT_S = 2
    small_train.run(*flags)


@pytest.mark.slow
def test_a_worker_that_is_lost_while_tensorflow_connects_is_named(configuration, tmp_path):
    """TensorFlow holds Python's lock there, so that the chief cannot hear of it until TensorFlow's limit is over."""
    config = configuration(tmp_path / "run", strategy="multi_worker")
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    setting = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 0}}
    chief = start(config, {"TF_CONFIG": json.dumps(setting)}, run_impatiently)
    with small():
        facts = facts_to_agree_on(config, open_sources(config))
    met = Workers(WorkerCluster(tuple(addresses), 1), facts, 60, on_failure=lambda error: None)
    for peer in met._peers.values():
        peer.close()  # as the system does when a process is killed
    _, stderr = chief.communicate(timeout=60)
    assert chief.returncode == 75, stderr
    assert f"worker 1 ({addresses[1]}) was lost" in stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize("setting", [None, "no json", '{"cluster": {}}', '{"cluster": {"worker": ["a"]}, "task": {}}'])
def test_a_cluster_that_is_not_described_is_refused(setting, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if setting is not None:
        monkeypatch.setenv("TF_CONFIG", setting)
    with pytest.raises(InputError, match="TF_CONFIG"):
        make_strategy("multi_worker")
