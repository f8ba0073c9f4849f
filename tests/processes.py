"""Processes that start at once: forked from one that has imported TensorFlow, which takes seconds."""

import gc
import multiprocessing
import os
import signal
import tempfile
from pathlib import Path

import pytest

from tests.training import small_train  # noqa: F401  imports TensorFlow and most of the package

ROOT = Path(__file__).parents[1]
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


class Forked:
    """A process that calls a function; used like ``subprocess.Popen`` that captures stdout and stderr.

    What a process does only once, TensorFlow's first operation included, is still to come in it.

    Args:
        folder: for what it writes to stdout and stderr.
        function: one of a module.
        arguments: of the function.
        environment: variables to set besides those of this process.
    """

    def __init__(self, folder, function, *arguments, environment=()):
        own = Path(tempfile.mkdtemp(dir=folder))
        self._outputs = [own / "stdout", own / "stderr"]
        for path in self._outputs:
            path.touch()  # it may be killed before it opens them
        variables = {**os.environ, **dict(environment)}
        self._process = _CONTEXT.Process(target=_call, args=(self._outputs, variables, function, arguments))
        self._process.start()

    @property
    def returncode(self):
        return self._process.exitcode

    def send_signal(self, number):
        os.kill(self._process.pid, number)

    def communicate(self, timeout=300):
        self._process.join(timeout)
        if self.returncode is None:
            self.send_signal(signal.SIGKILL)
            self._process.join()
            pytest.fail(f"the process did not end within {timeout} s")
        return [path.read_text() for path in self._outputs]


def returned(folder, function, *arguments):
    """What a function returns in a process of its own; see ``Forked``."""
    ours, theirs = multiprocessing.Pipe()
    process = Forked(folder, _send, theirs, function, *arguments)
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    return ours.recv()


def _send(pipe, function, *arguments):
    pipe.send(function(*arguments))


def _call(outputs, environment, function, arguments):
    gc.freeze()  # what was imported stays
    gc.enable()
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path in enumerate(outputs, 1):
        with path.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    function(*arguments)
