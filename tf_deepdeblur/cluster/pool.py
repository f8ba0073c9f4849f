"""A connection to a Ray cluster, or to one that is started on this machine alone."""

import functools
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from tqdm import tqdm

from tf_deepdeblur.cluster.actor import Actor, Worker
from tf_deepdeblur.cluster.run import Run, first_line
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.runtime import num_cores

Item = TypeVar("Item")

_CPUS = 4  # cores of an actor without a GPU: more speed one network up less than several networks do
_ANSWER_S = 10.0


@dataclass(frozen=True)
class Cluster:
    """Where Ray runs, and what an actor gets.

    Attributes:
        address: of a running cluster ("auto", "host:6379"), or None to start Ray on this machine alone.
        cpus: cores of an actor; 0 for one if there are GPUs, else four, or all of a smaller machine.
    """

    address: str | None = None
    cpus: int = 0


class Pool:
    """A connection to a cluster, for use in a ``with`` block; when it ends, nothing of it runs any more.

    Args:
        cluster: Cluster.
        folder: folder on storage that all machines must share, which is checked.
        use_gpus: whether an actor gets a GPU where the cluster has any.

    Raises:
        InputError: if Ray is not installed, nothing answers at the address, or no machine is large enough.

    Attributes:
        lost: after ``map``, pairs of an item that was given up and the reason in words.
    """

    def __init__(self, cluster: Cluster, folder: Path, use_gpus: bool = True):
        self._cluster = cluster
        self._use_gpus = use_gpus
        self._token = folder / f".{secrets.token_hex(8)}.part"  # a name that remove_abandoned knows
        self.lost: list[tuple[Any, str]] = []

    def __enter__(self) -> Self:
        _connect(self._cluster.address)
        try:
            self.needs = self._resources()
            if not self.capacity():
                raise InputError(f"`ray_cpus={self.needs['CPU']}`: no machine of the cluster has so many cores")
            self._token.parent.mkdir(parents=True, exist_ok=True)
            self._token.touch()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        self._token.unlink(missing_ok=True)
        ray.shutdown()

    def capacity(self) -> int:
        """How many actors there is room for on the machines that are alive."""
        return sum(int(min(node.get(key, 0) // need for key, need in self.needs.items())) for node in _nodes())

    def call(self, function: Callable[[], Item]) -> Item:
        """The result of a function that is called once, in an actor."""
        import ray

        actor, is_open = self._start(lambda: lambda batch, report: function())
        try:
            ray.get(is_open)
            return ray.get(actor.work.remote([]))
        except InputError as error:
            raise InputError(first_line(error)) from error
        finally:
            ray.kill(actor)

    def map(
        self,
        make_worker: Callable[[], Worker],
        items: Sequence[Item],
        sizes: Sequence[float],
        bar: Callable[..., tqdm] = tqdm,
    ) -> Iterator[tuple[list[Item], Any]]:
        """Does all items.

        Args:
            make_worker: opens a worker, once in each actor; it must be possible to pickle it.
            items: what to do, possible to pickle.
            sizes: how much work each item is, in any unit.
            bar: makes the progress bar, whose total is the sum of ``sizes``.

        Yields:
            (items, what the worker returned for them), a batch at a time in any order. What was given up is in ``lost``
            at the end.

        Raises:
            InputError: if a worker cannot be opened, or no machine is left.
        """
        run = Run(self.capacity, functools.partial(self._start, make_worker), items, sizes)
        with bar(total=sum(sizes), disable=not any(sizes)) as shown:
            try:
                while not run.is_done():
                    run.hire()
                    run.hand_out()
                    yield from run.collect()
                    run.show(shown)
            finally:
                self.lost = run.lost
                run.stop()

    def _start(self, make_worker):
        """Starts an actor; returns its handle, and the reference of the answer that its worker is open."""
        import ray

        cpus, gpus = self.needs["CPU"], self.needs.get("GPU", 0)
        # No restarts by Ray: an actor that comes back has to be opened again, and its item counts as lost.
        options = {"max_restarts": 0, "max_concurrency": 2, "num_cpus": cpus, "num_gpus": gpus}
        actor = ray.remote(Actor).options(**options).remote()
        threads = 0 if gpus else int(cpus)  # any number with a GPU
        return actor, actor.open.remote(make_worker, str(Path.cwd()), str(self._token.resolve()), threads)

    def _resources(self):
        cores = [node["CPU"] for node in _nodes() if node.get("CPU")]
        has_gpus = self._use_gpus and any(node.get("GPU") for node in _nodes())
        if has_gpus:
            return {"CPU": self._cluster.cpus or 1, "GPU": 1}
        return {"CPU": self._cluster.cpus or int(min([_CPUS, *cores]))}


def _connect(address):
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise InputError("Ray is not installed: pip install 'tf_deepdeblur[ray]'") from error
    options = {"address": address} if address else {"address": "local", "num_cpus": num_cores()}
    if not address:
        options |= {"include_dashboard": False, "object_store_memory": 100 * 2**20}  # only names go through it
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if address and ":" in address:  # Ray itself would try for minutes, then end the process
            host, _, port = address.rpartition("/")[2].rpartition(":")
            socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"`ray_address={address}`: no Ray cluster to work with ({first_line(error)})") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # which Ray has replaced by one that says nothing
    # Else a lost actor is ten lines of advice on stdout; nothing public turns them off.
    ray._private.worker._worker_logs_enabled = False


def _nodes():
    """The resources of every machine that is alive."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
