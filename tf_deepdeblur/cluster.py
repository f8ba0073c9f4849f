"""Work divided over the actors of a Ray cluster; Ray is imported inside the functions.

An actor is a process with a GPU, or some cores, somewhere in the cluster. It opens a worker once, which loads a network
for example, and then does one batch of items after the other. The largest items come first, so that none of them is
still running when all else is done. An actor that is lost is replaced where there is room, and its items are done again
one by one; after three losses an item is given up.
"""

import contextlib
import functools
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from tqdm import tqdm

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.runtime import num_cores

Item = TypeVar("Item")
Worker = Callable[[list, Callable[[float], None]], Any]
"""Does a batch of items, calls a function with how much of their size is done, and returns what became of them."""

_CPUS = 4  # cores of an actor without a GPU: more speed one network up less than several networks do
_ATTEMPTS = 3
_BATCH = 8  # items at most, so that not much is done again when an actor is lost
_BATCHES = 4  # for each actor, at least, of the work that is left
_POLL_S = 0.5
_ANSWER_S = 10.0
_PATIENCE_S = 120.0  # for a machine to come back when there is none left
_STOP_S = 60.0  # for actors to stop what they are doing, before they are killed


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

    def options(self) -> dict[str, float]:
        """What Ray is asked for to start an actor."""
        return {"num_cpus": self.needs["CPU"], "num_gpus": self.needs.get("GPU", 0)}

    def setting(self) -> tuple[str, str, int]:
        """What an actor needs to know: working folder, a file that it must see, and its threads (0: any number)."""
        return str(Path.cwd()), str(self._token.resolve()), 0 if "GPU" in self.needs else int(self.needs["CPU"])

    def call(self, function: Callable[[], Item]) -> Item:
        """The result of a function that is called once, in an actor."""
        import ray

        actor = _new_actor(self)
        try:
            ray.get(actor.open.remote(functools.partial(_calling, function), *self.setting()))
            return ray.get(actor.work.remote([]))
        except InputError as error:
            raise InputError(_first_line(error)) from error
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
        run = _Run(self, make_worker, items, sizes)
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

    def _resources(self):
        cores = [node["CPU"] for node in _nodes() if node.get("CPU")]
        has_gpus = self._use_gpus and any(node.get("GPU") for node in _nodes())
        if has_gpus:
            return {"CPU": self._cluster.cpus or 1, "GPU": 1}
        return {"CPU": self._cluster.cpus or int(min([_CPUS, *cores]))}


class _Run:
    """One ``map``: what is still to be done, and who is doing what."""

    def __init__(self, pool, make_worker, items, sizes):
        self._pool = pool
        self._make_worker = make_worker
        self._items = items
        self._sizes = sizes
        self._queue = deque(sorted(range(len(items)), key=lambda index: -sizes[index]))
        self._losses = Counter()
        self._actors = []
        self._evicted = 0  # actors whose memory a machine needed: there is room for so many fewer than its cores say
        self._finished = 0.0
        self._has_opened = False
        self._failed_openings = 0
        self._last_seen = time.monotonic()
        self._last_shown = 0.0
        self.lost = []

    def is_done(self):
        return not self._queue and not any(actor.batch for actor in self._actors)

    def hire(self):
        """Starts actors, also in place of lost ones and on machines that have joined."""
        capacity = self._pool.capacity()
        room = min(capacity, max(1, capacity - self._evicted))
        wanted = min(room, len(self._queue) + sum(bool(actor.batch) for actor in self._actors))
        while len(self._actors) < wanted:
            handle = _new_actor(self._pool)
            self._actors.append(_Hired(handle, handle.open.remote(self._make_worker, *self._pool.setting())))
        if capacity:
            self._last_seen = time.monotonic()
        elif time.monotonic() - self._last_seen > _PATIENCE_S:
            raise InputError(f"no machine of the cluster is left, and {len(self._queue)} items are not done")

    def hand_out(self):
        """Gives every idle actor a batch: a share of what is left, or a single item that was lost before."""
        for actor in self._actors:
            if not self._queue or not actor.is_open or actor.batch:
                continue
            share = sum(self._sizes[index] for index in self._queue) / (_BATCHES * len(self._actors))
            actor.batch = [self._queue.popleft()]
            while self._queue and len(actor.batch) < _BATCH and not self._losses[actor.batch[0]]:
                size = sum(self._sizes[index] for index in [*actor.batch, self._queue[0]])
                if size > share or self._losses[self._queue[0]]:
                    break
                actor.batch.append(self._queue.popleft())
            actor.answer = actor.handle.work.remote([self._items[index] for index in actor.batch])

    def collect(self):
        """Waits a little for an actor to answer; yields (items, result) if it did a batch."""
        import ray

        waiting = {actor.answer: actor for actor in self._actors if actor.batch or not actor.is_open}
        if not waiting:
            time.sleep(_POLL_S)
            return
        for answer in ray.wait(list(waiting), timeout=_POLL_S)[0]:
            actor = waiting[answer]
            try:
                result = ray.get(answer)
            except Exception as error:  # a worker's, of any kind, or Ray's
                self._note_failure(actor, error)
                continue
            if actor.is_open:
                yield [self._items[index] for index in actor.batch], result
                self._finished += sum(self._sizes[index] for index in actor.batch)
                actor.batch, actor.progress = [], 0.0
            actor.is_open = self._has_opened = True

    def show(self, bar):
        """Moves the bar to what is finished and what the actors say of their batches."""
        import ray

        if time.monotonic() - self._last_shown < _POLL_S:
            return
        self._last_shown = time.monotonic()
        for actor in self._actors:
            if actor.status and ray.wait([actor.status], timeout=0)[0]:
                with contextlib.suppress(ray.exceptions.RayError):
                    actor.progress = ray.get(actor.status) if actor.batch else 0.0
                actor.status = None
            if actor.batch and not actor.status:
                actor.status = actor.handle.progress.remote()
        bar.update(max(self._finished + sum(actor.progress for actor in self._actors) - bar.n, 0))

    def stop(self):
        """Has the actors stop in order, so that they leave no temporary file, then ends them."""
        import ray

        busy = [actor for actor in self._actors if actor.batch]
        for actor in busy:
            actor.handle.stop.remote()
        if busy:
            ray.wait([actor.answer for actor in busy], num_returns=len(busy), timeout=_STOP_S)
        for actor in self._actors:
            ray.kill(actor.handle)

    def _note_failure(self, actor, error):
        import ray

        # Ray's own errors, such as that of its memory monitor; a RayTaskError is what the worker has raised.
        is_ray = isinstance(error, ray.exceptions.RayError)
        is_lost = is_ray and not isinstance(error, ray.exceptions.RayTaskError)
        self._evicted += isinstance(error, ray.exceptions.OutOfMemoryError)
        if is_lost or not actor.is_open:
            self._actors.remove(actor)
            ray.kill(actor.handle)  # it may only be out of reach, and must not write any more
        if not actor.is_open:
            self._failed_openings += 1
            if isinstance(error, InputError) or (self._failed_openings >= _ATTEMPTS and not self._has_opened):
                raise InputError(_first_line(error)) from error
        for index in reversed(actor.batch):
            self._losses[index] += 1
            if self._losses[index] < _ATTEMPTS:
                self._queue.appendleft(index)
            else:
                reason = "the process that worked on it died, perhaps for lack of memory"
                reason = reason if is_lost else _first_line(error)
                self.lost.append((self._items[index], f"given up after {_ATTEMPTS} attempts: {reason}"))
        actor.batch, actor.progress = [], 0.0


@dataclass(eq=False)
class _Hired:
    """An actor as the driver sees it; ``answer`` is of the call that it is busy with, which opens it at first."""

    handle: Any
    answer: Any
    is_open: bool = False
    batch: Sequence[int] = ()
    progress: float = 0.0
    status: Any = None


class Actor:
    """What runs in the cluster: one thread works, another one answers for it."""

    def __init__(self):
        self._worker: Worker | None = None
        self._progress = 0.0
        self._is_stopped = False

    def open(self, make_worker: Callable[[], Worker], folder: str, token: str, threads: int) -> None:
        """Opens the worker.

        Raises:
            InputError: if this machine does not have the driver's folders.
        """
        os.environ["TQDM_DISABLE"] = "1"  # the driver has the bar
        try:
            os.chdir(folder)
        except OSError as error:
            raise InputError(f"{folder}: not on {socket.gethostname()}; all machines need the same folders") from error
        if not Path(token).is_file():
            raise InputError(f"{Path(token).parent}: is another folder on {socket.gethostname()}; share its storage")
        if threads:  # of NumPy and other libraries, of TensorFlow, and of ``runtime.num_cores``
            os.environ["OMP_NUM_THREADS"] = os.environ["TF_NUM_INTRAOP_THREADS"] = str(threads)
        self._worker = make_worker()

    def work(self, batch: list) -> object:
        """What the worker returns for a batch."""
        self._progress = 0.0
        return self._worker(batch, self._report)

    def progress(self) -> float:
        """How much of the batch's size is done."""
        return self._progress

    def stop(self) -> None:
        """Ends the work at the next report, as Ctrl-C would."""
        self._is_stopped = True

    def _report(self, done):
        self._progress = done
        if self._is_stopped:
            raise KeyboardInterrupt


def _calling(function):
    """A worker that ignores its batch."""
    return lambda batch, report: function()


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
        raise InputError(f"`ray_address={address}`: no Ray cluster to work with ({_first_line(error)})") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # which Ray has replaced by one that says nothing
    # Else a lost actor is ten lines of advice on stdout; nothing public turns them off.
    ray._private.worker._worker_logs_enabled = False


def _nodes():
    """The resources of every machine that is alive."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _new_actor(pool):
    import ray

    # No restarts by Ray: an actor that comes back has to be opened again, and its item counts as lost.
    return ray.remote(Actor).options(max_restarts=0, max_concurrency=2, **pool.options()).remote()


def _first_line(error):
    cause = getattr(error, "cause", None) or error  # what an actor raised, without Ray's traceback around it
    return next(iter(str(cause).strip().splitlines()), type(cause).__name__)
