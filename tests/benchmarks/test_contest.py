"""Contenders take turns, each in a process of its own; what fails is told and does not end the others."""

import time

import contest
import pytest
from contest import Contender

pytestmark = pytest.mark.slow  # each starts processes


def contender(name, function, **arguments):
    return Contender(name, "float32", f"tests.benchmarks.contenders.prepare_{function}", arguments)


@pytest.fixture(scope="module")
def outcomes():
    """Of one contest in which everything happens."""
    contenders = [
        contender("slow", "sleep", seconds=0.05, result="slow"),
        contender("fast", "sleep", seconds=0.01, result="fast"),
        contender("counter", "counter"),
        contender("large", "memory", gib=0.3),
        contender("unprepared", "nothing", message="no such\nthing"),
        contender("failing", "failure", message="not today"),
        contender("dying", "death"),
    ]
    return {outcome.contender.name: outcome for outcome in contest.compete(contenders, 4, 0.1)}


def test_seconds_are_those_of_the_calls(outcomes):
    assert outcomes["slow"].seconds >= 0.05
    assert 0.01 <= outcomes["fast"].seconds < outcomes["slow"].seconds
    assert {outcome.calls for outcome in outcomes.values() if not outcome.failed} == {4}


def test_the_call_that_warms_up_is_not_timed_but_its_result_is_kept(outcomes):
    assert (outcomes["counter"].first, outcomes["counter"].last) == (0, 4)


def test_the_peak_of_memory_is_each_contenders_own(outcomes):
    assert outcomes["large"].peak_gib > outcomes["fast"].peak_gib + 0.25


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unprepared", "ValueError: no such"),
        ("failing", "ValueError: not today"),
        ("dying", "its process ended with exit code -9, probably for lack of memory"),
    ],
)
def test_a_failure_is_one_line(outcomes, name, message):
    assert outcomes[name].failed == message
    assert outcomes[name].seconds is None


def test_turns_alternate(tmp_path):
    log = tmp_path / "log"
    contest.compete([contender(name, "log", path=str(log), text=name) for name in "ab"], 3, 0.1)
    assert log.read_text() == "ab" + "ba" + "ab" + "ba"


@pytest.mark.parametrize(("seconds", "calls"), [(contest.LONG + 1, "ab" + "baab"), (contest.VERY_LONG + 1, "ab")])
def test_long_calls_are_timed_twice_in_turn_and_very_long_ones_once(tmp_path, seconds, calls):
    log = tmp_path / "log"
    contest.compete([contender(name, "log", path=str(log), text=name) for name in "ab"], 3, seconds)
    assert log.read_text() == calls


def test_what_passes_the_deadline_has_failed():
    sleeper = contender("sleeper", "sleep", seconds=60, result=None)
    (outcome,) = contest.compete([sleeper], 1, 60, time.monotonic() + 1)
    assert outcome.failed == "not done within the time limit"


def test_rounds_that_are_complete_at_the_deadline_count():
    contenders = [contender(name, "sleep", seconds=0.2, result=None) for name in "ab"]
    outcomes = contest.compete(contenders, 1000, 0.2, time.monotonic() + 8)
    assert [outcome.failed for outcome in outcomes] == [None, None]
    assert 1 <= outcomes[0].calls == outcomes[1].calls < 100
