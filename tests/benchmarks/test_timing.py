"""Medians of calls that take turns."""

import itertools

from benchmarks import timing


def test_the_calls_take_turns_and_the_first_do_not_count(monkeypatch):
    calls, clock = [], itertools.count()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(clock)) ** 2)  # each call takes longer
    seconds = timing.alternate({name: lambda name=name: calls.append(name) for name in ("a", "b")}, repeats=3)
    assert calls == ["a", "b"] * 4
    assert seconds == {"a": 5**2 - 4**2, "b": 7**2 - 6**2}  # the second of three calls each


def test_the_peak_is_what_this_process_has_had():
    before = timing.peak_gib()
    block = bytearray(b"x" * 2**28)
    assert before + 0.2 < timing.peak_gib() < 64
    del block
