"""The workers of a training, told of each other: who is there, whether they agree, who is lost.

TensorFlow waits for ever for a worker that never comes, says nothing when their flags differ, and when one is lost it
ends the others with a traceback that does not name it. So the workers talk first: each connects to the chief, on the
port where TensorFlow's own server will be, and says what it is about to train. The connections stay open until the run
ends; one that breaks or falls silent is a worker that is lost, and the chief tells the others. Messages are lines of
JSON; an empty one is a sign of life.
"""

import contextlib
import json
import math
import queue
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from absl import logging

from tf_deepdeblur.errors import InputError, TemporaryError
from tf_deepdeblur.training.worker_cluster import WorkerCluster

_PATIENCE = 10.0  # seconds for an answer, and between two lines about who is missing
# A machine that is gone, or a process that is stopped, does not close its connections. Less than a minute, so that all
# others end within one; more than a busy machine takes to run a thread again.
_SILENCE = 30.0
_SIGN_OF_LIFE = 5.0


class Workers:
    """All workers, from the roll call to the end of the run; a context manager.

    Args:
        cluster: the workers; with a single one no connection is made.
        facts: what must be the same everywhere, {name: value}.
        timeout: seconds to wait until all are there; once the chief is there, its own count.
        on_failure: called once, from another thread, when another worker is lost or fails, with the error that this
            process should end with. Its own step in progress will not come to an end.

    Attributes:
        error: what ``on_failure`` was called with, or None.

    Raises:
        InputError: on every worker, if they disagree.
        TemporaryError: naming who is missing, if not all of them are there in time, or who was there and is gone.
    """

    def __init__(
        self, cluster: WorkerCluster, facts: dict[str, str], timeout: float, on_failure: Callable[[InputError], None]
    ):
        self.error: InputError | None = None
        self._cluster = cluster
        self._on_failure = on_failure
        self._is_chief = cluster.index == 0
        self._shared: queue.Queue = queue.Queue()
        self._left = threading.Semaphore(0)
        self._has_error = threading.Event()
        # While TensorFlow connects the workers it holds Python's lock, and a process says nothing. It has a limit.
        self._silence = math.inf
        self._ends = threading.Lock()
        self._peers: dict[int, _Connection] = {}
        if len(cluster.addresses) > 1:
            facts = {"cluster": " ".join(cluster.addresses), **facts}
            deadline = time.monotonic() + timeout
            self._peers = _roll_call(cluster, facts, deadline) if self._is_chief else _report(cluster, facts, deadline)
        for index, peer in self._peers.items():
            threading.Thread(target=self._watch, args=(index, peer), daemon=True).start()

    @property
    def count(self) -> int:
        """How many there are, this one included."""
        return len(self._cluster.addresses)

    def share(self, make: Callable[[], Any]) -> Any:
        """The chief's result of ``make``, which other workers do not call; something that JSON can express.

        Call it when TensorFlow has connected the workers: from then on, one that is silent is lost.

        Raises:
            InputError: if the chief is lost before.
        """
        self._watch_closely()
        if self._is_chief:
            value = make()
            _tell(self._peers, {"shared": value})
        else:
            value = self._shared.get()
        if self.error is not None:
            raise self.error
        return value

    def wait_for_error(self) -> InputError | None:
        """``error``, or None if there is none after the time that a silent worker is given.

        TensorFlow notices lost workers too, some of them earlier, but does not name them.
        """
        self._watch_closely()
        self._has_error.wait(_SILENCE + _PATIENCE)
        return self.error

    def _watch_closely(self):
        """From now on, one that is silent is lost."""
        if self._silence == math.inf:
            for peer in self._peers.values():
                peer.heard = time.monotonic()
            self._silence = _SILENCE

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        """Leaves together with all others; or tells them why this one does not go on."""
        try:
            if kind is not None:
                self._end_others(error)
            elif self._is_chief:  # the others stay until it has saved the last step
                self._wait_for_peers()
                _tell(self._peers, {"left": True})
            else:
                _tell(self._peers, {"left": True})
                self._wait_for_peers()
        finally:
            with self._ends:
                self._on_failure = None
            for peer in self._peers.values():
                peer.close()

    def _wait_for_peers(self):
        for _ in self._peers:
            self._left.acquire()
        if self.error is not None:
            raise self.error

    def _end_others(self, error):
        own = self._cluster.name(self._cluster.index)
        if not isinstance(error, Exception):  # SystemExit, KeyboardInterrupt
            error = TemporaryError(f"{own} was stopped")
        elif not isinstance(error, TemporaryError):
            error = InputError(f"{own} failed: {error}")
        _tell(self._peers, _end_message(error))

    def _watch(self, index, peer):
        """Reads what another worker says until it leaves, fails, or its connection breaks."""
        error = _lost(self._cluster, index)
        with contextlib.suppress(OSError, ValueError):
            while True:
                is_readable = select.select([peer], [], [], 0.5)[0]
                if not is_readable and time.monotonic() - peer.heard > self._silence:
                    break
                message = peer.receive_any() if is_readable else {}
                if "left" in message:
                    self._left.release()
                    return
                if "end" in message:
                    error = _error(message)
                    break
                if "shared" in message:
                    self._shared.put(message["shared"])
        with self._ends:
            on_failure, self._on_failure = self._on_failure, None
        if on_failure is None:
            return
        self.error = error
        if self._is_chief:
            _tell(self._peers, _end_message(error))
        # Before whoever waits goes on: it may end the process, which should not end twice at once.
        on_failure(error)
        self._has_error.set()
        self._shared.put(None)
        self._left.release(len(self._peers))


class _Connection:
    """Sends and receives dicts, and signs of life by itself.

    Attributes:
        heard: when the other end was last heard, as ``time.monotonic`` counts; None if it never was.
    """

    def __init__(self, connection: socket.socket):
        self.heard: float | None = None
        self._socket = connection
        self._lines = connection.makefile("rb", buffering=0)  # for ``select``, which does not see a buffer
        self._sends = threading.Lock()
        self._is_closed = threading.Event()
        threading.Thread(target=self._live, daemon=True).start()

    def fileno(self):
        """For ``select``."""
        return self._socket.fileno()

    def send(self, message):
        with self._sends:
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, timeout=None):
        """The next message that is no sign of life; see ``receive_any``."""
        while True:
            message = self.receive_any(timeout)
            if message:
                return message

    def receive_any(self, timeout=None):
        """The next message; OSError if the connection is broken or silent, ValueError if it is not one of ours."""
        self._socket.settimeout(timeout or _SILENCE)
        line = self._lines.readline(1_000_000)
        if not line:
            raise ConnectionError("closed")
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError("not a message")
        self.heard = time.monotonic()
        return message

    def is_alive(self):
        """Whether what there is to read now is a message."""
        try:
            self.receive_any()
        except (OSError, ValueError):
            return False
        return True

    def _live(self):
        with contextlib.suppress(OSError):
            while True:
                self.send({})
                if self._is_closed.wait(_SIGN_OF_LIFE):
                    return

    def close(self):
        self._is_closed.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes up whoever reads; an error if the other end is gone
        self._lines.close()
        self._socket.close()


def _roll_call(cluster, facts, deadline):
    """The chief waits for all others and compares what they are about to train; returns their connections."""
    with _listen(cluster.addresses[0]) as server:
        peers, theirs = _gather(cluster, server, deadline)
    for index in sorted(theirs):
        names = sorted({name for name in {**facts, **theirs[index]} if facts.get(name) != theirs[index].get(name)})
        if names:
            values = ", ".join(f"`{name}` is {facts.get(name)} and {theirs[index].get(name)}" for name in names)
            names = f"{cluster.name(0)} and {cluster.name(index)}"
            raise _refusal(peers, InputError(f"{names} disagree: {values}; start all with the same command"))
    _tell(peers, {"go": True})
    return peers


def _gather(cluster, server, deadline):
    """The connections of all other workers and their facts, {index: ...}; one that is gone may soon come back."""
    expected = range(1, len(cluster.addresses))
    peers, facts, heard = {}, {}, {}
    said = time.monotonic()
    while missing := [index for index in expected if index not in peers]:
        readable, _, _ = select.select([server, *peers.values()], [], [], 0.5)
        for index, peer in list(peers.items()):
            if peer in readable and not peer.is_alive():
                peers.pop(index).close()
        if server in readable:
            _greet(_Connection(server.accept()[0]), expected, peers, facts)
        heard |= {index: peer.heard for index, peer in peers.items()}
        now = time.monotonic()
        lost = [index for index, last in heard.items() if now - last > _SILENCE]
        if lost:
            raise _refusal(peers, _lost(cluster, lost[0]))
        names = " and ".join(cluster.name(index) for index in missing)
        if now > deadline:
            raise _refusal(peers, _not_in_time(names))
        if now - said > _PATIENCE:
            said = now
            logging.warning("waiting for %s", names)
    return peers, facts


def _greet(peer, expected, peers, facts):
    """Takes a new connection among the others, if it says that it is one of the expected workers."""
    try:
        hello = peer.receive(_PATIENCE)
        index = expected[expected.index(hello["index"])]
        facts[index] = hello["facts"]
    except (OSError, ValueError, LookupError):
        peer.close()  # not one of ours, or gone again
        return
    if index in peers:
        peers[index].close()  # was started again since
    peers[index] = peer


def _report(cluster, facts, deadline):
    """Another worker connects to the chief, which may come later, and waits for its answer; returns the connection."""
    host, _, port = cluster.addresses[0].rpartition(":")
    said, heard = time.monotonic(), None
    while time.monotonic() < deadline:
        answer, chief = {}, None
        with contextlib.suppress(OSError, ValueError):
            chief = _Connection(socket.create_connection((host.strip("[]"), int(port)), _PATIENCE))
            chief.send({"index": cluster.index, "facts": facts})
            answer = chief.receive()  # the chief waits for the others; its clock decides for how long
        if "go" in answer:
            return {0: chief}
        if chief is not None:
            chief.close()
            heard = chief.heard or heard
        if "end" in answer:
            raise _error(answer)
        if heard is not None and time.monotonic() - heard > _SILENCE:
            raise _lost(cluster, 0)
        if time.monotonic() - said > _PATIENCE:
            said = time.monotonic()
            logging.warning("waiting for %s", cluster.name(0))
        time.sleep(0.2)
    raise _not_in_time(cluster.name(0))


def _listen(address):
    port = int(address.rpartition(":")[2])
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise InputError(f"{address}: cannot be listened on ({error.strerror}); choose another port") from error


def _tell(peers, message):
    for peer in peers.values():
        with contextlib.suppress(OSError):  # whoever watches it will notice
            peer.send(message)


def _refusal(peers, error):
    """The error, after all who are there were told it."""
    _tell(peers, _end_message(error))
    for peer in peers.values():
        peer.close()
    return error


def _end_message(error):
    return {"end": str(error), "temporary": isinstance(error, TemporaryError)}


def _error(message):
    return (TemporaryError if message.get("temporary") else InputError)(message["end"])


def _lost(cluster, index):
    return TemporaryError(f"{cluster.name(index)} was lost")


def _not_in_time(names):
    return TemporaryError(f"{names} did not come in time (`worker_timeout`)")
