"""What runs in the cluster."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tf_deepdeblur.errors import InputError

Worker = Callable[[list, Callable[[float], None]], Any]
"""Does a batch of items, calls a function with how much of their size is done, and returns what became of them."""


class Actor:
    """One thread works, another one answers for it."""

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
