"""Which workers train together: from TF_CONFIG, or from the environment that Slurm gives to its tasks."""

import json
import os
import re
from collections.abc import MutableMapping
from typing import NamedTuple

from tf_deepdeblur.errors import InputError

_EXAMPLE = '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"type": "worker", "index": 0}}'
# 700 jobs can share a node without two of them meeting, each with up to 16 tasks there; below the ports that
# Linux gives to outgoing connections.
_FIRST_PORT, _JOBS, _PORTS_PER_JOB = 20_000, 700, 16


class WorkerCluster(NamedTuple):
    """All workers of a training, and which of them this process is.

    Attributes:
        addresses: host:port of each; the first is the chief, which writes the run folder.
        index: this process's place among them.
    """

    addresses: tuple[str, ...]
    index: int

    def name(self, index: int) -> str:
        """A worker for messages."""
        return f"worker {index} ({self.addresses[index]})"


ALONE = WorkerCluster(("",), 0)


def find_cluster(environment: MutableMapping[str, str] = os.environ) -> WorkerCluster:
    """The cluster that TF_CONFIG describes; in a Slurm job TF_CONFIG is set first if it is not there.

    Where Slurm shows all GPUs of a node to several tasks, each is given its share in CUDA_VISIBLE_DEVICES.

    Args:
        environment: ``os.environ``, which TensorFlow reads later on.

    Raises:
        InputError: naming the variable, if there is no cluster or no place in it.
    """
    if "TF_CONFIG" not in environment and "SLURM_PROCID" in environment:
        _adopt_slurm(environment)
    try:
        setting = json.loads(environment["TF_CONFIG"])
        jobs, task = setting["cluster"], setting["task"]
        own_address = jobs[task["type"]][task["index"]]
        addresses = [*jobs.get("chief", []), *jobs["worker"]] if "worker" in jobs else jobs["chief"]
        return WorkerCluster(tuple(addresses), addresses.index(own_address))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"`strategy=multi_worker` needs TF_CONFIG in the environment, such as {_EXAMPLE}, or to be started by srun"
        ) from error


def expand_nodes(nodes: str) -> list[str]:
    """The names in a list of Slurm's, in its order: "a[1,08-10],b" stands for a1, a08, a09, a10 and b.

    Raises:
        ValueError: if it cannot be read.
    """
    if not re.fullmatch(r"([^\[\],\s]|\[[\d,-]+\]|,(?!,|$))+", nodes):
        raise ValueError(f"{nodes!r} is not a list of nodes")
    return [name for word in re.findall(r"(?:\[[^\]]*\]|[^,\[])+", nodes) for name in _expand_word(word)]


def _expand_word(word):
    """The names of one word; each bracket multiplies them, the last one runs fastest."""
    before, bracket, rest = re.fullmatch(r"([^\[]*)(\[[^\]]*\])?(.*)", word).groups()
    if bracket is None:
        return [before]
    numbers = []
    for part in bracket[1:-1].split(","):
        first, _, last = part.partition("-")
        numbers += [f"{number:0{len(first)}}" for number in range(int(first), int(last or first) + 1)]
    return [before + number + end for number in numbers for end in _expand_word(rest)]


def _adopt_slurm(environment):
    """Sets TF_CONFIG, and this task's GPUs, from the variables of a Slurm step."""
    try:
        nodes = expand_nodes(environment.get("SLURM_STEP_NODELIST") or environment["SLURM_JOB_NODELIST"])
        counts = _tasks_per_node(environment, len(nodes))
        rank, job = int(environment["SLURM_PROCID"]), int(environment["SLURM_JOB_ID"])
        places = [(node, local) for node, count in enumerate(counts) for local in range(count)]
        node, local = places[rank]
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(
            f"Slurm's environment does not describe this task's cluster ({error}); set TF_CONFIG"
        ) from error
    found = tuple(int(environment.get(name, expected)) for name, expected in zip(_PLACE, (node, local), strict=True))
    if found != (node, local):
        raise InputError("Slurm's tasks are not in the order of the nodes; start them with srun --distribution=block")
    port = _FIRST_PORT + job % _JOBS * _PORTS_PER_JOB
    addresses = [f"{nodes[node]}:{port + local}" for node, local in places]
    task = {"type": "worker", "index": rank}
    environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
    gpus = [gpu for gpu in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    share = len(gpus) // counts[node]
    if counts[node] > 1 and share and str(len(gpus)) == environment.get("SLURM_GPUS_ON_NODE"):
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[local * share : (local + 1) * share])


_PLACE = ("SLURM_NODEID", "SLURM_LOCALID")


def _tasks_per_node(environment, num_nodes):
    """How many tasks each node runs: "2(x3),1" stands for 2, 2, 2 and 1."""
    text = environment.get("SLURM_STEP_TASKS_PER_NODE") or environment.get("SLURM_TASKS_PER_NODE")
    if text is None:
        return [int(environment["SLURM_NTASKS_PER_NODE"])] * num_nodes
    parts = [re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part) for part in text.split(",")]
    if not all(parts):
        raise ValueError(f"{text!r} is not a list of tasks per node")
    counts = [int(part[1]) for part in parts for _ in range(int(part[2] or 1))]
    if len(counts) != num_nodes:
        raise ValueError(f"{num_nodes} nodes, but tasks for {len(counts)}")
    return counts
