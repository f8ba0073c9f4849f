"""Cases know how long they take here, and leave slow peers out where a call takes minutes."""

import cases
import pytest
from contest import VERY_LONG, Contender

NAMES = [cases.OURS, "PyTorch compiled", "OpenVINO"]
MODULES = ["ours", "pytorch_peer", "onnx_peers"]
CONTENDERS = [Contender(name, "float32", f"{module}.prepare", {}) for name, module in zip(NAMES, MODULES, strict=True)]


def case(gflop):
    return cases.Case("inference", "large", CONTENDERS, gflop, "GFLOP", 1.0)


def row(name, rate, precision="float32", what="inference"):
    return {"what": what, "case": "small", "name": name, "precision": precision, "gflop_per_second": rate}


ROWS = [row(cases.OURS, 4.0), row(cases.OURS, 2.0), row("PyTorch compiled", 1.0), row("OpenVINO", 3.0)]
OTHERS = [row("PyTorch compiled", 90.0, precision="bfloat16"), row("PyTorch compiled", 90.0, what="train")]


def test_the_time_follows_from_the_slowest_measurement_of_ours():
    assert cases.for_this_machine(case(10.0), ROWS).expected_seconds == pytest.approx(5.0)
    assert cases.for_this_machine(case(10.0), OTHERS) == case(10.0)


def test_calls_of_minutes_are_made_by_ours_and_the_fastest_peer():
    long = cases.for_this_machine(case(2.0 * VERY_LONG + 1), ROWS + OTHERS)
    assert [contender.name for contender in long.contenders] == [cases.OURS, "OpenVINO"]
    short = cases.for_this_machine(case(2.0 * VERY_LONG - 1), ROWS + OTHERS)
    assert short.contenders == CONTENDERS
