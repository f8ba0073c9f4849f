"""Measures contenders at the same work, side by side: each in a process of its own, their calls in turn.

A process of its own gives every contender its own peak of memory and its own threads, and keeps the failure of one,
an exhausted memory included, from ending the others: it becomes a row that says what went wrong.
"""

import contextlib
import importlib
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import timing

LONG = 20.0  # seconds: calls that take longer are timed twice
VERY_LONG = 80.0  # calls that take longer are made once, by processes that have the machine's memory to themselves
_FEWEST = 3  # timed calls of each contender, however long they take; more until all of them have taken
_CASE_SECONDS = 40.0
_END = "end"
_LATE = "not done within the time limit"


class Contender(NamedTuple):
    """Who does the work: ``prepare`` is "module.function"; it returns a function without arguments that is timed."""

    name: str
    precision: str
    prepare: str
    arguments: dict[str, Any]


class Outcome(NamedTuple):
    """What a contender needed, or why it ``failed``.

    ``cpu_seconds`` are those of all threads, which tells more than ``seconds`` where other programs run at the time.
    ``first`` and ``last`` are what its first and its last call returned.
    """

    contender: Contender
    seconds: float | None = None
    cpu_seconds: float | None = None
    calls: int = 0
    peak_gib: float | None = None
    first: Any = None
    last: Any = None
    failed: str | None = None


def compete(
    contenders: Sequence[Contender], repeats: int, expected_seconds: float, deadline: float = float("inf")
) -> list[Outcome]:
    """Outcomes in the order of the contenders; ``seconds`` is the median of the timed calls.

    Args:
        contenders: who takes part.
        repeats: most timed calls of each; fewer where they take long.
        expected_seconds: about what a call takes. Above ``VERY_LONG`` the contenders come one after the other, and the
            first call of each, which may trace or compile, is the one that counts.
        deadline: of ``time.monotonic()``; a contender without a timed call by then has failed.
    """
    if expected_seconds > VERY_LONG:
        outcomes = [outcome for contender in contenders for outcome in _race([contender], 1, False, deadline)]
    else:
        outcomes = _race(contenders, min(repeats, 2) if expected_seconds > LONG else repeats, True, deadline)
    return [outcome if outcome.calls or outcome.failed else outcome._replace(failed=_LATE) for outcome in outcomes]


def expected_calls(seconds: float) -> float:
    """About how often ``compete`` calls a contender whose calls take so long."""
    if seconds > LONG:
        return 1 if seconds > VERY_LONG else 3
    return 1 + max(_FEWEST, min(10, _CASE_SECONDS / 4 / seconds))


def once(prepare: str, arguments: dict[str, Any]) -> Any:
    """What ``prepare`` (see ``Contender``) returns when it is called once, in a process of its own.

    Raises:
        RuntimeError: if it fails.
    """
    (outcome,) = _race([Contender("", "", prepare, arguments)], 0, True, float("inf"))
    if outcome.failed:
        raise RuntimeError(outcome.failed)
    return outcome.first


def _race(contenders, repeats, warm_up, deadline):
    entrants = [_Entrant(contender, deadline) for contender in contenders]
    try:
        for entrant in entrants:
            entrant.prepare()
            if warm_up:
                entrant.call()
        start = time.monotonic()
        for number in range(repeats):
            now = time.monotonic()
            if (number and now > deadline) or (number >= _FEWEST and now > start + _CASE_SECONDS):
                break  # the rounds that are complete count
            for entrant in entrants[:: 1 if number % 2 else -1]:
                entrant.call()
        return [entrant.outcome(int(warm_up)) for entrant in entrants]
    finally:
        for entrant in entrants:
            entrant.close()


class _Entrant:
    """A contender's process."""

    def __init__(self, contender, deadline):
        self.contender = contender
        self.seconds = []
        self._cpu_seconds = []
        self._deadline = deadline
        self._results = []
        self._failed = None
        context = multiprocessing.get_context("spawn")
        self._pipe, far_end = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(far_end, contender.prepare, contender.arguments)
        )  # not daemonic, as it may start processes itself; it ends when the pipe is closed
        self._process.start()
        far_end.close()

    def prepare(self):
        self._receive()

    def call(self):
        if not self._failed:
            self._pipe.send("call")
            if answer := self._receive(limited=len(self.seconds) < 2):  # short ones count once a timed one is done
                seconds, cpu_seconds, result = answer
                self.seconds.append(seconds)
                self._cpu_seconds.append(cpu_seconds)
                self._results = [*self._results[:1], result]

    def outcome(self, warm_ups):
        peak = None
        if not self._failed:
            self._pipe.send(_END)
            peak = self._receive(limited=False)
        if self._failed:
            return Outcome(self.contender, failed=self._failed)
        calls = len(self.seconds) - warm_ups
        medians = [None, None]
        if calls:
            medians = [statistics.median(timed[warm_ups:]) for timed in (self.seconds, self._cpu_seconds)]
        return Outcome(self.contender, *medians, calls, peak, self._results[0], self._results[-1])

    def close(self):
        self._pipe.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _receive(self, limited=True):
        wait = self._deadline - time.monotonic() if limited else float("inf")
        try:
            if not self._pipe.poll(None if wait == float("inf") else max(0.0, wait)):
                self._failed = _LATE
                self._process.kill()
                return None
            kind, content = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(timeout=5)
            memory = ", probably for lack of memory" if self._process.exitcode == -9 else ""
            self._failed = f"its process ended with exit code {self._process.exitcode}{memory}"
            return None
        if kind == "error":
            self._failed = content
            return None
        return content


def _serve(pipe, prepare, arguments):
    """Runs in the contender's process: prepares, and calls whenever it is told to."""
    with contextlib.suppress(OSError):  # Linux: if memory runs out, it is this process that has to go
        Path("/proc/self/oom_score_adj").write_text("1000")
    module, name = prepare.rsplit(".", 1)
    try:
        call = getattr(importlib.import_module(module), name)(**arguments)
        pipe.send(("ready", None))
        while pipe.recv() != _END:
            start, cpu_start = time.perf_counter(), time.process_time()
            result = call()
            pipe.send(("called", (time.perf_counter() - start, time.process_time() - cpu_start, result)))
        pipe.send(("ended", timing.peak_gib()))
    except EOFError:  # whoever asked is gone
        pass
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0]
        pipe.send(("error", f"{type(error).__name__}: {line}"[:200]))
