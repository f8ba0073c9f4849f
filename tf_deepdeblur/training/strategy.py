"""Which devices train: a tf.distribute.Strategy from the configuration."""

import json
import os

import tensorflow as tf

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.runtime import split_cpu


def make_strategy(name: str, virtual_devices: int = 0) -> tf.distribute.Strategy:
    """A strategy; must come before TensorFlow's first operation.

    Args:
        name: "auto" (mirrored over all GPUs or virtual devices if there are several, else single), "single",
            "mirrored", or "multi_worker", which reads the cluster from TF_CONFIG.
        virtual_devices: how many devices to split the CPU into; 0 leaves it whole.

    Raises:
        InputError: naming the argument or TF_CONFIG, if the devices cannot be had.
    """
    if name == "multi_worker":
        check_cluster()
        return tf.distribute.MultiWorkerMirroredStrategy()
    if virtual_devices:
        split_cpu(virtual_devices)
    gpus = [] if virtual_devices else tf.config.list_logical_devices("GPU")
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    if name == "mirrored" or (name == "auto" and len(devices) > 1):
        return tf.distribute.MirroredStrategy(devices)
    return tf.distribute.OneDeviceStrategy(devices[0])


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the run folder: the chief, else the first worker, else the only process."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec():
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "chief" or (not has_chief and resolver.task_id == 0)


def check_cluster() -> None:
    """Raises InputError unless TF_CONFIG describes a cluster and this process's place in it."""
    example = '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"type": "worker", "index": 0}}'
    try:
        setting = json.loads(os.environ["TF_CONFIG"])
        addresses = setting["cluster"][setting["task"]["type"]]
        addresses[setting["task"]["index"]]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"`strategy=multi_worker` needs TF_CONFIG in the environment, such as {example}") from error
