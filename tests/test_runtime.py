import functools
import os
import threading
import time

import numpy as np
import pytest

from tf_deepdeblur import runtime
from tf_deepdeblur.errors import InputError


@pytest.fixture
def machine(monkeypatch):
    """Pretends that the machine has these GPUs (compute capabilities) and the CPU bfloat16 or not, or these flags."""

    def pretend(gpus=(), cpu=False):
        import tensorflow as tf

        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(gpus) if kind == "GPU" else ["cpu"])
        monkeypatch.setattr(
            tf.config.experimental, "get_device_details", lambda gpu: {"compute_capability": gpu} if gpu else {}
        )
        flags = "avx512f" if not cpu else "avx512f avx512_bf16" if cpu is True else cpu
        monkeypatch.setattr(runtime.Path, "exists", lambda path: True)
        monkeypatch.setattr(runtime.Path, "read_text", lambda path: f"flags : {flags} sse")

    return pretend


@pytest.mark.parametrize(
    ("gpus", "cpu", "expected"),
    [
        ([], False, "float32"),
        ([], True, "mixed_bfloat16"),
        ([], "amx_bf16", "mixed_bfloat16"),
        ([(8, 0)], False, "mixed_bfloat16"),
        ([(9, 0), (7, 5)], True, "float32"),
        ([None], True, "float32"),
    ],
)
def test_auto_follows_the_slowest_device(machine, gpus, cpu, expected):
    machine(gpus, cpu)
    assert runtime.choose_precision("auto") == expected


@pytest.mark.parametrize(
    ("requested", "policy"),
    [
        ("float32", "float32"),
        ("bfloat16", "mixed_bfloat16"),
        ("mixed_bfloat16", "mixed_bfloat16"),
        ("float16", "mixed_float16"),
        ("mixed_float16", "mixed_float16"),
    ],
)
def test_a_named_precision_is_kept(machine, requested, policy):
    machine(gpus=[(7, 0)])
    assert runtime.choose_precision(requested) == policy


@pytest.mark.parametrize("requested", ["float16", "mixed_float16"])
def test_float16_needs_a_gpu(machine, requested):
    machine()
    with pytest.raises(InputError, match=f"`precision={requested}` needs a GPU"):
        runtime.choose_precision(requested)


@pytest.mark.parametrize("requested", ["half", "mixed_float32", "mixed_mixed_bfloat16"])
def test_unknown_precisions_are_refused(machine, requested):
    machine()
    message = f"`precision` must be auto or one of float32, bfloat16, float16, got '{requested}'"
    with pytest.raises(InputError, match=message):
        runtime.choose_precision(requested)


@pytest.mark.parametrize(
    ("limit", "expected"), [("max", 9000 * 1024), ("5000000", 4_300_000), ("99000000", 9000 * 1024)]
)
def test_free_memory_is_what_the_machine_and_its_container_leave(machine, monkeypatch, limit, expected):
    machine()
    files = {"/proc/meminfo": "MemFree: 1 kB\nMemAvailable:    9000 kB\nBuffers: 7 kB"}
    files |= {"/sys/fs/cgroup/memory.max": limit, "/sys/fs/cgroup/memory.current": "1000000"}
    # Of the used memory, 300,000 bytes are files that nothing needs at present.
    files["/sys/fs/cgroup/memory.stat"] = "anon 600000\ninactive_anon 7\ninactive_file 300000\nactive_file 100000\n"
    monkeypatch.setattr(runtime.Path, "read_text", lambda path: files[str(path)])
    assert runtime.free_memory() == expected


def test_two_threads_that_drop_stderr_leave_it_where_it_was():
    before, entered = os.fstat(2), threading.Event()

    def second():
        entered.set()
        with runtime.dropped_stderr():
            time.sleep(0.05)

    other = threading.Thread(target=second)
    with runtime.dropped_stderr():
        other.start()
        entered.wait()
        time.sleep(0.02)
    other.join()
    assert os.path.samestat(os.fstat(2), before)


def test_devices_cannot_be_split_after_the_start():
    import tensorflow as tf

    tf.zeros(1)
    with pytest.raises(InputError, match="`virtual_devices=2`"):
        runtime.split_cpu(2)


def test_each_function_has_its_own_least_time_and_a_call_that_does_not_count(monkeypatch):
    clock = iter(np.cumsum([0, 9, 0, 8, 0, 2, 0, 5, 0, 3, 0, 4]))  # start and end of the calls: a, b, a, b, a, b
    monkeypatch.setattr(runtime.time, "perf_counter", lambda: next(clock))
    calls = []
    works = {name: functools.partial(calls.append, name) for name in "ab"}
    assert runtime.alternating_seconds(works, trials=2) == {"a": 2, "b": 4}
    assert calls == list("ababab")
