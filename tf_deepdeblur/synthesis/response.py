"""Camera response functions g: what a sensor's signal looks like in the file (section 2, Eq. 2 and 3).

Signals are linear light in [0, 1], levels are the file's 0 ... 255. Without a measured curve the paper takes
g(x) = x^(1/2.2); ``linear_response`` is the one that many later papers assume.
"""

import csv
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tf_deepdeblur.errors import InputError

GAMMA = 2.2
_LEVELS = np.arange(256)


class Response(NamedTuple):
    """One camera's curve, both ways.

    ``signals`` is g^-1 of every level: float64 [256, 1], or [256, 3] for a curve per colour channel. ``observe`` is g:
    float64 signals [H, W, 3] -> uint8 levels, rounded half up.
    """

    signals: np.ndarray
    observe: Callable


def linearise(image, gamma=GAMMA):
    """Observed uint8 image -> sensor signal S = g^-1(image) in [0, 1], float64; gamma 1 is the linear response."""
    return ((_LEVELS / 255.0) ** gamma)[np.asarray(image)]


def respond(signal, gamma=GAMMA):
    """Sensor signal in [0, 1] -> observed uint8 image, g(x) = x^(1/gamma) (Eq. 3), rounded half up."""
    return np.floor(np.clip(signal, 0.0, 1.0) ** (1.0 / gamma) * 255.0 + 0.5).astype(np.uint8)


def gamma_response(gamma=GAMMA):
    """g(x) = x^(1/gamma) (Eq. 3)."""
    return Response(linearise(_LEVELS, gamma)[:, None], partial(respond, gamma=gamma))


def linear_response():
    """g(x) = x: the mean of the frames as they are in the file."""
    return gamma_response(1.0)


def table_response(path):
    """A measured curve from a CSV file.

    Each row is a level and its signal, or a level and the signals of R, G and B; a first row of words is skipped.
    Levels rise from 0 to 255, signals rise with them in any unit (exposure, not its logarithm); between rows the curve
    is straight.

    Raises:
        InputError: naming the file and the row that does not fit.
    """
    rows = _read_rows(Path(path))
    levels, curves = rows[:, 0], rows[:, 1:]
    signals = np.stack([np.interp(_LEVELS, levels, curve) for curve in curves.T], axis=1)
    signals /= signals[-1]
    return Response(signals, partial(_observe_by_table, signals))


def _observe_by_table(signals, signal):
    columns = np.broadcast_to(signals, (256, signal.shape[-1]))
    levels = [np.interp(signal[..., i], columns[:, i], _LEVELS) for i in range(signal.shape[-1])]
    return np.floor(np.stack(levels, axis=-1) + 0.5).astype(np.uint8)


def _read_rows(path):
    expected = "expected rows of level,signal or level,red,green,blue with levels rising from 0 to 255"
    try:
        with path.open(newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a response curve ({error}); {expected}") from error
    if rows and not _is_number(rows[0][0]):
        rows = rows[1:]
    for row in rows:
        if len(row) not in (2, 4) or len(row) != len(rows[0]) or not all(map(_is_finite, row)):
            raise InputError(f"{path}: row {','.join(row)!r} does not fit; {expected}")
    table = np.array(rows, np.float64)
    if len(table) < 2 or table[0, 0] != 0 or table[-1, 0] != 255:
        raise InputError(f"{path}: does not go from level 0 to level 255; {expected}")
    falling = np.flatnonzero((np.diff(table, axis=0) <= 0).any(axis=1))
    if len(falling) or table[0].min() < 0:
        row = rows[falling[0] + 1] if len(falling) else rows[0]
        raise InputError(f"{path}: row {','.join(row)!r}: levels and signals must rise from 0 or more; {expected}")
    return table


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_finite(text):
    return _is_number(text) and math.isfinite(float(text))
