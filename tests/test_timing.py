"""Medians of calls that take turns."""

import time

import pytest

from tf_deepdeblur import timing


def test_the_calls_take_turns_and_the_first_do_not_count():
    calls = []

    def function(name, seconds):
        def call():
            calls.append(name)
            time.sleep(0.5 if len(calls) <= 2 else seconds)

        return call

    seconds = timing.alternate({"slow": function("slow", 0.04), "fast": function("fast", 0.01)}, repeats=3)
    assert calls == ["slow", "fast"] * 4
    assert 0.04 <= seconds["slow"] < 0.5
    assert seconds["fast"] == pytest.approx(0.01, abs=0.02)


def test_the_peak_is_what_this_process_has_had():
    before = timing.peak_gib()
    block = bytearray(b"x" * 2**28)
    assert before + 0.2 < timing.peak_gib() < 64
    del block
