"""Reading ahead and writing behind: files are read and written in threads while the caller computes.

Decoding, encoding and TensorFlow's operations run outside Python's interpreter lock, so threads suffice. Each direction
has one thread, so that the order is kept, and holds a fixed number of items, so that memory is bounded.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self, TypeVar

Item = TypeVar("Item")
_END = object()


@contextlib.contextmanager
def read_ahead(items: Iterable[Item], ahead: int) -> Iterator[Iterator[Item]]:
    """Iterates over ``items`` in a thread, some items ahead of the caller; a context manager.

    An exception of ``items`` is raised where the caller reaches it. When the block ends, however it ends, the thread
    has finished the item that it was at and does nothing any more: what ``items`` reads from may be closed then.

    Args:
        items: what to iterate over; only the thread touches it.
        ahead: how many items are made before the caller asks for them, at least 1.

    Yields:
        An iterator over the same items.
    """
    source = iter(items)
    with _started_thread() as thread:
        waiting = deque(thread.submit(next, source, _END) for _ in range(ahead))

        def taken() -> Iterator[Item]:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(thread.submit(next, source, _END))
                yield item

        try:
            yield taken()
        finally:
            thread.shutdown(cancel_futures=True)


def _started_thread():
    """An executor whose thread runs, but has nothing to do yet.

    Where the exception of a signal comes while an executor starts a thread, the executor does not know of that thread:
    with something to do it would go on with a file that is closed, and without an end it would keep Python from ending.
    """
    thread = ThreadPoolExecutor(1)
    try:
        thread.submit(bool)
    except BaseException:
        thread.shutdown(wait=False)
        raise
    return thread


class WriteBehind:
    """Makes calls in a thread, one after the other, while the caller goes on; use it in a ``with`` block.

    Every call that was handed over is made, also if an exception ends the block: it concerns finished work. When the
    block ends, all calls have returned.

    Args:
        limit: how many calls may be under way; handing over another one waits. At least 1.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self._thread = _started_thread()
        self._calls: deque[Future] = deque()

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Hands over a call; raises what an earlier one has raised."""
        while len(self._calls) >= self._limit:
            self._calls.popleft().result()
        self._calls.append(self._thread.submit(function, *arguments))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        while self._calls and kind is None:  # else the exception that ended the block is the one to tell
            self._calls.popleft().result()
