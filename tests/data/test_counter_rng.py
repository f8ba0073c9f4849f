import numpy as np
import pytest
from scipy import stats

from tf_deepdeblur.data.counter_rng import EPOCHS, GROUPS, SAMPLES, CounterRNG, permutation


def test_numbers_are_what_they_always_were():
    """A new version of this package, or of NumPy, must not change the samples that a seed stands for."""
    rng = CounterRNG(5, 1234567890123)
    np.testing.assert_array_equal(rng.uniforms(3), UNIFORMS)
    np.testing.assert_array_equal(rng.normals(3), np.float32(NORMALS))
    assert permutation(10, 5, 2, EPOCHS).tolist() == ORDER


UNIFORMS = [0.09151603818248943, 0.30628667258287334, 0.36672404407516757]
NORMALS = [-0.2949649691581726, 0.6891841292381287, -0.7203683853149414]
ORDER = [9, 2, 3, 5, 1, 7, 4, 6, 0, 8]


def test_numbers_depend_on_seed_number_and_kind():
    keys = [(5, 7, SAMPLES), (5, 8, SAMPLES), (6, 7, SAMPLES), (7, 5, SAMPLES), (5, 7, EPOCHS), (5, 7, GROUPS)]
    assert len({CounterRNG(*key).uniforms(1)[0] for key in keys}) == len(keys)
    np.testing.assert_array_equal(CounterRNG(5, 7).uniforms(9), CounterRNG(5, 7).uniforms(9))


def test_uniforms_are_uniform():
    draws = np.concatenate([CounterRNG(3, number).uniforms(40) for number in range(500)])
    assert (draws.min() >= 0, draws.max() < 1) == (True, True)
    assert stats.kstest(draws, "uniform").pvalue > 0.01


def test_normals_are_normal():
    draws = np.concatenate([CounterRNG(3, number).normals(403) for number in range(50)])
    assert draws.dtype == np.float32
    assert stats.kstest(draws, "norm").pvalue > 0.01
    assert draws.var() == pytest.approx(1, abs=0.02)


def test_permutations_hold_every_number_once():
    orders = [permutation(7, 3, number, EPOCHS) for number in range(4)]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert len({tuple(order) for order in orders}) > 1
