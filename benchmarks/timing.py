"""How long something takes here, and how much memory it took."""

import resource
import statistics
import time


def alternate(functions, repeats):
    """Median seconds of each function; one call of each in turn, so that all meet the same machine.

    Args:
        functions: dict of functions without arguments. Each is called once before the clock runs.
        repeats: timed calls of each.

    Returns:
        Dict with the same keys.
    """
    seconds = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_gib():
    """The most memory that this process has had so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
