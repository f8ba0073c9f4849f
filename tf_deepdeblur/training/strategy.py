"""Which devices train: a tf.distribute.Strategy from the configuration."""

import tensorflow as tf
from tensorflow.python.eager import context  # private, but nothing public configures the coordination service

from tf_deepdeblur.runtime import split_cpu
from tf_deepdeblur.training.worker_cluster import find_cluster

# All workers have just met, so what one may take longer than another is to set up its devices.
_CONNECT_S = 25


def make_strategy(name: str, virtual_devices: int = 0) -> tf.distribute.Strategy:
    """A strategy; must come before TensorFlow's first operation.

    Args:
        name: "auto" (mirrored over all GPUs or virtual devices if there are several, else single), "single",
            "mirrored", or "multi_worker", which reads the cluster from TF_CONFIG or Slurm's environment.
        virtual_devices: how many devices to split the CPU into; 0 leaves it whole.

    Raises:
        InputError: naming the argument or TF_CONFIG, if the devices cannot be had.
        tf.errors.DeadlineExceededError: if another worker does not connect within 25 seconds.
    """
    if name == "multi_worker":
        find_cluster()  # in a Slurm job this sets TF_CONFIG, which TensorFlow reads
        _limit_connecting()
        return tf.distribute.MultiWorkerMirroredStrategy()
    if virtual_devices:
        split_cpu(virtual_devices)
    gpus = [] if virtual_devices else tf.config.list_logical_devices("GPU")
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    if name == "mirrored" or (name == "auto" and len(devices) > 1):
        return tf.distribute.MirroredStrategy(devices)
    return tf.distribute.OneDeviceStrategy(devices[0])


def _limit_connecting():
    """Has all workers connect at one barrier that gives up after a while.

    TensorFlow's own setting lets each worker through when it has found the chief, to wait for an hour for one that is
    gone, with Python's lock held and no signal taken.
    """
    jobs = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec()
    service = context.context()
    leader = "chief" if "chief" in jobs.jobs else "worker"
    service.configure_coordination_service(
        "standalone", f"/job:{leader}/replica:0/task:0", cluster_register_timeout_in_ms=_CONNECT_S * 1000
    )
    service.coordination_service.cluster_register_with_barrier = True
    for job in sorted({"chief", "worker"} & set(jobs.jobs)):
        service.coordination_service.coordinated_job_list.add(name=job, num_tasks=jobs.num_tasks(job))


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the run folder: the chief, else the first worker, else the only process."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec():
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "chief" or (not has_chief and resolver.task_id == 0)


def describe_devices(strategy: tf.distribute.Strategy) -> str:
    """The devices of this process that train, for people."""
    devices = strategy.extended.worker_devices
    if "CPU" in devices[0]:
        return "the CPU" if len(devices) == 1 else f"{len(devices)} virtual devices of the CPU"
    gpus = tf.config.list_physical_devices("GPU")[: len(devices)]
    return ", ".join(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus)
