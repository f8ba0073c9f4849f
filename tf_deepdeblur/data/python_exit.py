"""Python functions in ``tf.data`` pipelines, and the end of the program.

Once Python shuts down, a thread that waits for its lock never gets it. An iterator that is still alive, for example a
global variable, then waits for such threads forever. So before that no such function may be running.
"""

import atexit
import threading
import time
from collections.abc import Callable
from typing import Any

_LULL_S = 0.2  # without a call: TensorFlow's buffers are full
_LONGEST_S = 5.0


class _Calls:
    def __init__(self):
        self._lock = threading.Lock()
        self._running = 0
        self._last_end = 0.0
        self._is_closed = False

    def __enter__(self):
        with self._lock:
            if self._is_closed:
                self._last_end = time.monotonic()
                raise StopIteration  # which TensorFlow takes for the end of the data
            self._running += 1

    def __exit__(self, *_):
        with self._lock:
            self._running -= 1
            self._last_end = time.monotonic()

    def close(self):
        """Lets no call begin any more, and waits for those that have begun or are about to."""
        self._is_closed = True
        self._last_end = time.monotonic()  # or later: buffers that were full may just have been emptied
        limit = self._last_end + _LONGEST_S
        while time.monotonic() < limit and (self._running or time.monotonic() < self._last_end + _LULL_S):
            time.sleep(_LULL_S / 5)


_calls = _Calls()  # of the whole program


def until_python_exits(function: Callable) -> Callable:
    """The function for ``tf.numpy_function``; it ends the data instead of keeping the program from ending."""

    def call(*args: Any) -> Any:
        with _calls:
            return function(*args)

    atexit.unregister(_calls.close)  # once is enough
    atexit.register(_calls.close)
    return call
