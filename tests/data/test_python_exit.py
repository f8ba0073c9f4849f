"""Before Python shuts down, no call of Python is running or about to begin."""

import threading
import time

import pytest

from tf_deepdeblur.data import python_exit


@pytest.fixture
def calls():
    return python_exit._Calls()


def later(function):
    """Runs the function in a thread, a little later."""

    def run():
        time.sleep(python_exit._LULL_S / 2)
        function()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_closing_waits_for_a_call_that_is_about_to_begin_although_there_was_none_for_long(calls):
    refused = []

    def call():
        try:
            with calls:
                refused.append(False)
        except StopIteration:
            refused.append(True)

    thread = later(call)
    calls.close()
    assert refused == [True]
    thread.join()


def test_closing_waits_for_a_call_that_is_running(calls):
    calls.__enter__()
    ended = []

    def end():
        ended.append(True)
        calls.__exit__()

    thread = later(end)
    calls.close()
    assert ended == [True]
    thread.join()
