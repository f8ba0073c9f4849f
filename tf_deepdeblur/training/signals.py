"""Ending a run: on request (SIGTERM and Ctrl-C), or when it is stuck."""

import contextlib
import signal
import subprocess
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Yields an event that SIGTERM and Ctrl-C set; a second Ctrl-C interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(signal_number, frame):
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    previous = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def time_limit(seconds: float, message: str) -> Iterator[None]:
    """Writes a message to stderr and kills this process (SIGKILL), if the block takes longer.

    For TensorFlow's waiting for other workers: for an hour it holds Python's lock and takes no signal. So another
    process watches, which ends when its input does: after the block, or with this process.
    """
    script = 'timeout "$1" cat; if [ $? -eq 124 ]; then echo "$2" >&2; kill -9 "$PPID"; fi'
    with subprocess.Popen(["sh", "-c", script, "sh", str(seconds), message], stdin=subprocess.PIPE):
        yield
