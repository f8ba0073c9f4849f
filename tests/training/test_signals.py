"""What ends a run from outside of its own thread."""

import subprocess
import sys
import time

import pytest


@pytest.mark.parametrize(("seconds", "ending"), [(0.1, (-9, "gone\n")), (60, (0, ""))])
def test_a_block_that_takes_too_long_ends_the_process(seconds, ending):
    program = "import sys, time; from tf_deepdeblur.training.signals import time_limit\n"
    program += "with time_limit(float(sys.argv[1]), 'gone'): time.sleep(1)"
    start = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", program, str(seconds)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == ending
    assert time.monotonic() - start < 30  # nobody waits for the watching process
