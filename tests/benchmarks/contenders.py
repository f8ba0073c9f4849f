"""What the tests of the contest let compete; each function prepares something and returns what is timed."""

import os
import time
from pathlib import Path


def prepare_sleep(seconds, result):
    def call():
        time.sleep(seconds)
        return result

    return call


def prepare_counter():
    results = iter(range(100))
    return lambda: next(results)


def prepare_memory(gib):
    return lambda: len(b"x" * int(gib * 2**30))


def prepare_nothing(message):
    raise ValueError(message)


def prepare_failure(message):
    def call():
        raise ValueError(message)

    return call


def prepare_death():
    return lambda: os.kill(os.getpid(), 9)


def prepare_log(path, text):
    def call():
        with Path(path).open("a") as file:
            file.write(text)

    return call
