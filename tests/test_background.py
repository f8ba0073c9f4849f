"""The order is kept, memory is bounded, errors arrive, and nothing runs after the block."""

import itertools
import threading

import pytest

from tf_deepdeblur.background import WriteBehind, read_ahead


def test_items_come_in_order():
    with read_ahead(range(20), ahead=3) as items:
        assert list(items) == list(range(20))


def test_items_are_made_while_the_caller_works_but_not_too_many():
    made, enough = [], threading.Event()

    def numbers():
        for number in itertools.count():
            made.append(number)
            if number == 3:
                enough.set()
            yield number

    with read_ahead(numbers(), ahead=3) as items:
        assert next(items) == 0
        assert enough.wait(10)  # the caller holds 0; 1 to 3 are made meanwhile, in the other thread
        threading.Event().wait(0.05)
        assert made == [0, 1, 2, 3]


def test_an_error_is_raised_where_it_is_reached():
    def failing():
        yield 1
        raise OSError("no more")

    with read_ahead(failing(), ahead=4) as items:
        assert next(items) == 1
        with pytest.raises(OSError, match="no more"):
            next(items)


def test_nothing_is_read_after_the_block_even_if_it_is_interrupted():
    made = []
    with pytest.raises(KeyboardInterrupt), read_ahead(map(made.append, itertools.count()), ahead=2) as items:
        next(items)
        raise KeyboardInterrupt
    assert len(made) <= 3
    before = len(made)
    threading.Event().wait(0.05)
    assert len(made) == before


def test_a_thread_that_an_exception_left_behind_does_nothing_and_ends(monkeypatch):
    """The exception of a signal that comes while the thread starts, after which the executor does not know of it."""
    start, started, touched = threading.Thread.start, [], threading.Event()

    def start_and_be_interrupted(thread):
        start(thread)
        started.append(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", start_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt) as reading, read_ahead((touched.set() for _ in range(9)), ahead=2):
        pass
    with pytest.raises(KeyboardInterrupt) as writing, WriteBehind(limit=2) as behind:
        behind.call(touched.set)
    for thread in started:
        thread.join(10)
    assert [thread.is_alive() for thread in started] == [False, False]
    assert not touched.is_set()
    del reading, writing  # until now their tracebacks have kept the executors: without one, a thread ends by itself


def test_calls_are_made_in_order_and_have_returned_when_the_block_ends():
    done = []
    with WriteBehind(limit=2) as writing:
        for number in range(20):
            writing.call(done.append, number)
    assert done == list(range(20))


def test_the_caller_waits_when_too_many_calls_are_under_way():
    proceed, started = threading.Event(), threading.Event()

    def wait():
        started.set()
        assert proceed.wait(10)

    with WriteBehind(limit=1) as writing:
        writing.call(wait)  # returns at once
        assert started.wait(10)
        helper = threading.Timer(0.05, proceed.set)
        helper.start()
        writing.call(lambda: None)
        assert proceed.is_set()
        helper.join()


def test_an_error_of_a_call_is_raised_by_the_next_one_or_at_the_end():
    def fail():
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), WriteBehind(limit=1) as writing:
        writing.call(fail)
        writing.call(lambda: pytest.fail("not handed over"))
    with pytest.raises(OSError, match="disk full"), WriteBehind(limit=3) as writing:
        writing.call(fail)


def test_finished_work_is_written_even_if_the_block_is_interrupted():
    done = []
    with pytest.raises(KeyboardInterrupt), WriteBehind(limit=2) as writing:
        for number in range(2):
            writing.call(done.append, number)
        raise KeyboardInterrupt
    assert done == [0, 1]
