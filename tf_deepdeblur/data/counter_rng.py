"""Stateless random numbers: they depend on (seed, number) alone, whatever was drawn before.

They come from the raw output of the Philox counter-based generator, which NumPy promises never to change, so results do
not depend on threads, restarts or versions.
"""

import functools
from statistics import NormalDist

import numpy as np

SAMPLES, EPOCHS, GROUPS, SEQUENCES = range(4)  # independent random streams, by what ``number`` counts


class CounterRNG:
    """The random numbers that belong to (seed, number, kind), in a fixed order.

    Args:
        seed: whole number, at least 0.
        number: whole number, at least 0.
        kind: SAMPLES, EPOCHS, GROUPS or SEQUENCES.
    """

    def __init__(self, seed: int, number: int, kind: int = SAMPLES):
        self._bits = np.random.Philox(key=[int(seed), int(number)], counter=[0, 0, 0, kind])

    def uniforms(self, count: int) -> np.ndarray:
        """``count`` numbers in [0, 1), float64."""
        return (self._bits.random_raw(count) >> np.uint64(11)) * 2.0**-53

    def normals(self, count: int) -> np.ndarray:
        """``count`` numbers of the standard normal distribution in 65,536 steps, up to 4.3 sigma; float32."""
        bits = self._bits.random_raw(-(-count // 4)).astype("<u8", copy=False).view("<u2")
        return _normal_table().take(bits[:count])


@functools.lru_cache(maxsize=8)
def permutation(count: int, seed: int, number: int, kind: int) -> np.ndarray:
    """The numbers 0 ... count - 1 in an order that depends on nothing but (seed, number, kind); int64 [count]."""
    return np.argsort(CounterRNG(seed, number, kind).uniforms(count), kind="stable")


@functools.lru_cache(maxsize=8)
def normal_sequence(count: int, which: int) -> np.ndarray:
    """A long sequence of normal numbers, at least four times ``count`` and 2^20; float32. ``which`` picks one."""
    length = 1 << max(4 * count - 1, (1 << 20) - 1).bit_length()
    return CounterRNG(0, which, SEQUENCES).normals(length)


@functools.cache
def _normal_table():
    quantile = NormalDist().inv_cdf
    return np.array([quantile((step + 0.5) / 65536) for step in range(65536)], np.float32)
