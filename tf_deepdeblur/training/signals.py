"""Ending a run: on request (SIGTERM and Ctrl-C), or when it is stuck."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator

_STDERR = 2


class StopRequest:
    """Whether a run was asked to end.

    Attributes:
        signal: "SIGTERM" or "SIGINT", whichever asked first; None if none did.
    """

    def __init__(self):
        self.signal: str | None = None


@contextlib.contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Yields what SIGTERM and Ctrl-C set; the first says that it was heard, a second one interrupts at once."""
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(signal_number, frame):
        if stop.signal is not None:
            raise KeyboardInterrupt
        stop.signal = signal.Signals(signal_number).name
        # Not through sys.stderr, in whose lock this signal may have interrupted a progress bar.
        os.write(_STDERR, b"\nstopping after this step; Ctrl-C once more stops at once, without saving it\n")

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
