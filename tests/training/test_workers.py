"""Workers as threads of one process: what each of them is told when another one is missing, different or lost."""

import socket
import threading
import time

import pytest

from tests.training.test_strategy import free_ports
from tf_deepdeblur.errors import InputError, TemporaryError
from tf_deepdeblur.training import workers as module
from tf_deepdeblur.training.worker_cluster import ALONE, WorkerCluster
from tf_deepdeblur.training.workers import Workers


class Member(threading.Thread):
    """One worker that runs ``work(workers)``; keeps what it raised and what it was told from outside."""

    def __init__(self, cluster, work=lambda workers: None, facts=(), timeout=10.0):
        super().__init__(daemon=True)
        self.cluster, self.work, self.facts, self.timeout = cluster, work, dict(facts), timeout
        self.result = self.raised = None
        self.told = []
        self.was_told = threading.Event()

    def run(self):
        try:
            with Workers(self.cluster, self.facts, self.timeout, self._end) as self.workers:
                self.result = self.work(self.workers)
        except Exception as error:
            self.raised = error

    def _end(self, error):
        self.told.append(error)
        self.was_told.set()


@pytest.fixture
def clusters():
    addresses = tuple(f"localhost:{port}" for port in free_ports(3))
    return [WorkerCluster(addresses, index) for index in range(3)]


def together(*members):
    for member in members:
        member.start()
    for member in members:
        member.join(20)
        assert not member.is_alive()


def test_all_share_what_the_chief_made_and_leave_together(clusters):
    ends = []

    def work(workers):
        value = workers.share(lambda: ["bfloat16", threading.get_ident()])
        if threading.get_ident() == value[1]:
            time.sleep(0.3)  # the chief saves
            ends.append("chief")
        return value

    members = [Member(cluster, work) for cluster in clusters]
    for member in members:
        member.start()
    members[1].join(0.15)
    assert members[1].is_alive()  # waits for the chief
    for member in members:
        member.join(10)
    assert ends == ["chief"]
    assert {tuple(member.result) for member in members} == {("bfloat16", members[0].ident)}
    assert [(member.raised, member.told) for member in members] == [(None, [])] * 3


def test_a_single_process_needs_nobody():
    with Workers(ALONE, {}, 1.0, pytest.fail) as workers:
        assert workers.share(lambda: 5) == 5


def test_a_late_worker_is_waited_for(clusters):
    members = [Member(cluster) for cluster in clusters]
    members[1].start()  # before the chief, too
    time.sleep(0.5)
    together(members[0], members[2])
    members[1].join(10)
    assert [member.raised for member in members] == [None] * 3


def test_everybody_is_told_who_never_comes(clusters):
    members = [Member(cluster, timeout=0.5) for cluster in clusters[:2]]
    together(*members)
    name = clusters[0].name(2)
    for member in members:
        assert isinstance(member.raised, TemporaryError)
        assert str(member.raised).startswith(f"{name} did not come in time")


def test_a_chief_that_never_comes_is_named(clusters):
    member = Member(clusters[1], timeout=0.5)
    together(member)
    assert isinstance(member.raised, TemporaryError)
    assert str(member.raised).startswith(f"{clusters[0].name(0)} did not come in time")


def test_everybody_is_told_who_differs_in_what(clusters):
    facts = [{"filters": "4", "data": "a"}, {"filters": "4", "data": "a"}, {"filters": "8", "data": "a"}]
    members = [Member(cluster, facts=fact) for cluster, fact in zip(clusters, facts, strict=True)]
    together(*members)
    expected = f"{clusters[0].name(0)} and {clusters[0].name(2)} disagree: `filters` is 4 and 8; start all"
    for member in members:
        assert not isinstance(member.raised, TemporaryError)
        assert str(member.raised).startswith(expected)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_lost_worker_is_named_to_every_other_one(clusters, lost):
    """Its connections break, as they do when the system ends a process, which itself says nothing any more."""
    enough = threading.Event()

    def work(workers):
        enough.wait(10)
        raise SystemError("is over")  # the lost one would wait for the others

    members = [Member(cluster, work) for cluster in clusters]
    for member in members:
        member.start()
    while not all(hasattr(member, "workers") for member in members):
        time.sleep(0.01)
    start = time.monotonic()
    members[lost].workers._on_failure = None
    for peer in members[lost].workers._peers.values():
        peer.close()
    others = [member for index, member in enumerate(members) if index != lost]
    for member in others:
        assert member.was_told.wait(2)
        (error,) = member.told
        assert isinstance(error, TemporaryError)
        assert str(error) == f"{clusters[0].name(lost)} was lost"
    assert time.monotonic() - start < 2
    enough.set()
    for member in members:
        member.join(10)


def test_a_worker_that_falls_silent_is_lost(clusters, monkeypatch):
    """As when its machine vanishes: the connections stay, and nothing comes through them."""
    monkeypatch.setattr(module, "_SIGN_OF_LIFE", 0.05)
    monkeypatch.setattr(module, "_SILENCE", 0.5)
    enough = threading.Event()
    members = [Member(cluster, lambda workers: (workers.share(int), enough.wait(10))) for cluster in clusters]
    for member in members:
        member.start()
    while not all(hasattr(member, "workers") for member in members):
        time.sleep(0.01)
    time.sleep(0.7)
    assert not any(member.told for member in members)  # training says nothing either, but it lives
    members[1].workers._peers[0]._is_closed.set()  # ends the signs of life alone
    for member in (members[0], members[2]):
        assert member.was_told.wait(3)
        assert str(member.told[0]) == f"{clusters[0].name(1)} was lost"
        assert member.workers.wait_for_error() is member.told[0]
    enough.set()


def test_silence_means_nothing_while_tensorflow_connects_the_workers(clusters, monkeypatch):
    monkeypatch.setattr(module, "_SIGN_OF_LIFE", 10.0)
    monkeypatch.setattr(module, "_SILENCE", 0.5)

    def work(workers):
        time.sleep(0.9)
        return workers.share(lambda: 5)

    members = [Member(cluster, work) for cluster in clusters]
    together(*members)
    assert [(member.result, member.raised) for member in members] == [(5, None)] * 3


@pytest.mark.parametrize("gone", [0, 1])
def test_one_that_was_there_and_is_gone_is_missed_before_all_have_met(clusters, gone, monkeypatch):
    monkeypatch.setattr(module, "_SIGN_OF_LIFE", 0.05)
    monkeypatch.setattr(module, "_SILENCE", 0.5)
    host, port = clusters[0].addresses[0].split(":")
    if gone:
        member = Member(clusters[0])
        member.start()
        time.sleep(0.1)
        there = module._Connection(socket.create_connection((host, int(port)), 1))
        there.send({"index": gone, "facts": {}})
    else:
        with module._listen(clusters[0].addresses[0]) as server:
            member = Member(clusters[1])
            member.start()
            there = module._Connection(server.accept()[0])
    time.sleep(0.2)
    there.close()
    member.join(5)
    assert isinstance(member.raised, TemporaryError)
    assert str(member.raised) == f"{clusters[0].name(gone)} was lost"


def test_the_reason_of_a_worker_that_fails_reaches_the_others(clusters):
    def fail(workers):
        raise InputError("a.png: cannot be read")

    failing = Member(clusters[1], fail)
    others = [Member(clusters[index]) for index in (0, 2)]
    together(failing, *others)
    for member in others:
        (error,) = member.told
        assert not isinstance(error, TemporaryError)
        assert str(error) == f"{clusters[0].name(1)} failed: a.png: cannot be read"
        assert member.raised is error


def test_strangers_at_the_chiefs_port_are_ignored(clusters):
    """A port scanner, and TensorFlow's server of a run that is not over yet."""
    members = [Member(cluster) for cluster in clusters]
    members[0].start()
    host, port = clusters[0].addresses[0].split(":")
    for junk in (b"GET / HTTP/1.1\r\n\r\n", b"5\n", b"{}\n", b"\xff\n"):
        for _ in range(100):
            try:
                stranger = socket.create_connection((host, int(port)), 1)
                break
            except OSError:
                time.sleep(0.02)
        stranger.sendall(junk)
        stranger.close()
    together(*members[1:])
    members[0].join(10)
    assert [member.raised for member in members] == [None] * 3
