"""What this machine computes on, and how precisely.

TensorFlow is imported inside the functions: the first of them exists to import it without its start-up messages.
"""

import contextlib
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from tf_deepdeblur.errors import InputError

_Name = TypeVar("_Name")

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
_STDERR = threading.RLock()  # two threads that redirect it may each restore what the other one set
_FAST_BFLOAT16_GPU = (8, 0)  # compute capability of NVIDIA's first tensor cores for bfloat16
_FAST_BFLOAT16_CPU = re.compile(r"\b(avx512_bf16|amx_bf16)\b")


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow and Keras without what their C++ libraries print while loading, or afterwards at level 3.

    On a machine without a GPU that includes "errors" about CUDA. What fails in earnest raises a Python exception.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with dropped_stderr():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401


def num_cores() -> int:
    """How many processor cores this process may use, or OMP_NUM_THREADS of them if that is less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(threads)) if threads.isdecimal() and int(threads) else cores


def split_cpu(count: int) -> None:
    """Splits the CPU into ``count`` virtual devices; must come before TensorFlow's first operation.

    Raises:
        InputError: if TensorFlow has already started with another number of devices.
    """
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:
        raise InputError(f"`virtual_devices={count}` must be the first thing a process does with TensorFlow") from error


def choose_precision(requested: str) -> str:
    """The Keras dtype policy for ``requested``: "auto", "float32", "bfloat16", "float16" or a policy's name.

    "auto" is "mixed_bfloat16" where every device multiplies bfloat16 in hardware, else "float32". Whether it is faster,
    too, only ``alternating_seconds`` can tell.

    Raises:
        InputError: for float16 without a GPU, because a CPU computes it more slowly than float32; for unknown names.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if requested != "auto":
        name = requested.removeprefix("mixed_")
        if name not in POLICIES or requested not in (name, POLICIES[name]):
            raise InputError(f"`precision` must be auto or one of {', '.join(POLICIES)}, got {requested!r}")
        if name == "float16" and not gpus:
            raise InputError(
                f"`precision={requested}` needs a GPU: on a CPU it is slower than float32; use auto or bfloat16"
            )
        return POLICIES[name]
    if gpus:
        details = map(tf.config.experimental.get_device_details, gpus)
        is_fast = all(device.get("compute_capability", (0, 0)) >= _FAST_BFLOAT16_GPU for device in details)
    else:
        cpuinfo = Path("/proc/cpuinfo")  # Linux only: elsewhere float32 is the safe answer
        is_fast = cpuinfo.exists() and bool(_FAST_BFLOAT16_CPU.search(cpuinfo.read_text()))
    return "mixed_bfloat16" if is_fast else "float32"


def alternating_seconds(works: Mapping[_Name, Callable[[], object]], trials: int) -> dict[_Name, float]:
    """The shortest time that each of several functions takes, in seconds.

    They are called in turns, so that all of them meet the same machine, after one call each that is not timed: it may
    trace or compile.

    Args:
        works: {name: function}; a function must wait for its result.
        trials: timed calls of each.
    """
    seconds = {name: [] for name in works}
    for _ in range(1 + trials):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return {name: min(timed) for name, (_, *timed) in seconds.items()}


def free_memory() -> int | None:
    """Bytes of memory that are free on the first GPU, or in the machine if it has none; None if unknown."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        from tensorflow.python.client import device_lib  # private, but nothing public tells the limit

        gpu = next(device for device in device_lib.list_local_devices() if device.device_type == "GPU")
        return gpu.memory_limit - tf.config.experimental.get_memory_info("GPU:0")["current"]
    free = []
    with contextlib.suppress(OSError):  # Linux only
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        free += [int(found[1]) * 1024] if found else []
    with contextlib.suppress(OSError, ValueError):  # a container's limit (control groups, version 2), if it has one
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        # Files that were read count as used memory, too; the kernel gives up those that it calls inactive when needed.
        found = re.search(r"^inactive_file (\d+)$", Path("/sys/fs/cgroup/memory.stat").read_text(), re.MULTILINE)
        free.append(limit - used + (int(found[1]) if found else 0))
    return min(free, default=None)


@contextlib.contextmanager
def dropped_stderr(shown_on_error: bool = True) -> Iterator[None]:
    """Drops what is written to file descriptor 2, unless an exception leaves the block and it is to be shown then.

    What other threads write meanwhile is dropped, too; a second thread that enters such a block waits.
    """
    with _STDERR, tempfile.TemporaryFile() as sink:
        saved = os.dup(2)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        except BaseException:
            if shown_on_error:
                sink.seek(0)
                os.write(saved, sink.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
