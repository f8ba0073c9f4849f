"""Hands out the items of a ``Pool.map``.

The largest items come first, so that none of them is still running when all else is done. An actor that is lost is
replaced where there is room, and its items are done again one by one; after three losses an item is given up.
"""

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from tf_deepdeblur.errors import InputError

_ATTEMPTS = 3
_BATCH = 8  # items at most, so that not much is done again when an actor is lost
_BATCHES = 4  # for each actor, at least, of the work that is left
_POLL_S = 0.5
_PATIENCE_S = 120.0  # for a machine to come back when there is none left
_STOP_S = 60.0  # for actors to stop what they are doing, before they are killed


class Run:
    """What is still to be done, and who is doing what.

    Args:
        capacity: tells how many actors there is room for now.
        start: starts an actor; returns its handle, and the reference of the answer that it is open.
        items: what to do.
        sizes: how much work each item is.

    Attributes:
        lost: pairs of an item that was given up and the reason in words.
    """

    def __init__(
        self, capacity: Callable[[], int], start: Callable[[], tuple[Any, Any]], items: Sequence, sizes: Sequence[float]
    ):
        self._capacity = capacity
        self._start = start
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
        self.lost: list[tuple[Any, str]] = []

    def is_done(self) -> bool:
        """Whether every item is done or given up."""
        return not self._queue and not any(actor.batch for actor in self._actors)

    def hire(self) -> None:
        """Starts actors, also in place of lost ones and on machines that have joined.

        Raises:
            InputError: if there has been no machine for a while.
        """
        capacity = self._capacity()
        room = min(capacity, max(1, capacity - self._evicted))
        wanted = min(room, len(self._queue) + sum(bool(actor.batch) for actor in self._actors))
        while len(self._actors) < wanted:
            self._actors.append(_Hired(*self._start()))
        if capacity:
            self._last_seen = time.monotonic()
        elif time.monotonic() - self._last_seen > _PATIENCE_S:
            raise InputError(f"no machine of the cluster is left, and {len(self._queue)} items are not done")

    def hand_out(self) -> None:
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

    def collect(self) -> Iterator[tuple[list, Any]]:
        """Waits a little for an actor to answer; yields (items, result) if it did a batch.

        Raises:
            InputError: if a worker cannot be opened.
        """
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

    def show(self, bar: tqdm) -> None:
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

    def stop(self) -> None:
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
                raise InputError(first_line(error)) from error
        for index in reversed(actor.batch):
            self._losses[index] += 1
            if self._losses[index] < _ATTEMPTS:
                self._queue.appendleft(index)
            else:
                reason = "the process that worked on it died, perhaps for lack of memory"
                reason = reason if is_lost else first_line(error)
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


def first_line(error: Exception) -> str:
    """What an error says; of one that an actor raised, without Ray's traceback around it."""
    cause = getattr(error, "cause", None) or error
    return next(iter(str(cause).strip().splitlines()), type(cause).__name__)
