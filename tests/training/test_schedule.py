import pytest

from tf_deepdeblur.training.schedule import step_decay


def rate(schedule, step):
    return float(schedule(step))


def test_the_papers_schedule():
    schedule = step_decay(5e-5, (300_000,), 0.1)
    rates = {0: 5e-5, 299_999: 5e-5, 300_000: 5e-6, 599_999: 5e-6, 600_000: 5e-7, 899_999: 5e-7}
    assert {step: rate(schedule, step) for step in rates} == pytest.approx(rates, rel=1e-5)


def test_several_steps_are_boundaries():
    schedule = step_decay(1e-4, (50, 75, 90), 0.5)
    rates = {0: 1e-4, 49: 1e-4, 50: 5e-5, 74: 5e-5, 75: 2.5e-5, 89: 2.5e-5, 90: 1.25e-5, 99: 1.25e-5}
    assert {step: rate(schedule, step) for step in rates} == pytest.approx(rates, rel=1e-5)
