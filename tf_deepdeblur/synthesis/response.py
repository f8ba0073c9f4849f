"""Camera response functions g: what a sensor's signal looks like in the file (section 2, Eq. 2 and 3).

Signals are linear light in [0, 1], levels are the file's 0 ... 255. Without a measured curve the paper takes
g(x) = x^(1/2.2); ``linear_response`` is the one that many later papers assume.
"""

import csv
import math
import os
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
    observe: Callable[[np.ndarray], np.ndarray]


def camera_response(name: str, gamma: float = GAMMA) -> Response:
    """The response that a user asks for.

    Args:
        name: "gamma", "linear", or the CSV file of a measured curve, see ``table_response``; ``~`` is expanded.
        gamma: exponent of "gamma".

    Raises:
        InputError: as ``table_response`` does.
    """
    if name == "gamma":
        return gamma_response(gamma)
    return linear_response() if name == "linear" else table_response(Path(name).expanduser())


def linearise(image: np.ndarray, gamma: float = GAMMA) -> np.ndarray:
    """Observed uint8 image -> sensor signal S = g^-1(image) in [0, 1], float64; gamma 1 is the linear response."""
    return ((_LEVELS / 255.0) ** gamma)[np.asarray(image)]


def respond(signal: np.ndarray, gamma: float = GAMMA) -> np.ndarray:
    """Sensor signal in [0, 1] -> observed uint8 image, g(x) = x^(1/gamma) (Eq. 3), rounded half up."""
    levels = np.clip(signal, 0.0, 1.0) ** (1.0 / gamma)
    levels *= 255.0
    levels += 0.5
    return levels.astype(np.uint8)


def gamma_response(gamma: float = GAMMA) -> Response:
    """g(x) = x^(1/gamma) (Eq. 3)."""
    return Response(linearise(_LEVELS, gamma)[:, None], partial(respond, gamma=gamma))


def linear_response() -> Response:
    """g(x) = x: the mean of the frames as they are in the file."""
    return gamma_response(1.0)


def table_response(path: str | os.PathLike) -> Response:
    """A measured curve from a CSV file.

    Each row is a level and its signal, or a level and the signals of R, G and B; a first row of words is skipped.
    Levels rise from 0 to 255, signals rise with them in any unit (exposure, not its logarithm); between rows the curve
    is straight.

    Raises:
        InputError: naming the file and the row that does not fit.
    """
    path = Path(path)
    expected = "expected rows of level,signal or level,red,green,blue with levels rising from 0 to 255"
    try:
        with path.open(newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a response curve ({error}); {expected}") from error
    if rows and not _is_number(rows[0][0]):
        rows = rows[1:]
    for row in rows:
        if len(row) not in (2, 4) or len(row) != len(rows[0]) or not all(map(_is_number, row)):
            raise InputError(f"{path}: row {','.join(row)!r} does not fit; {expected}")
    table = np.array(rows, np.float64)
    if len(table) < 2 or table[0, 0] != 0 or table[-1, 0] != 255:
        raise InputError(f"{path}: does not go from level 0 to level 255; {expected}")
    falling = np.flatnonzero((np.diff(table, axis=0) <= 0).any(axis=1))
    if len(falling) or table[0].min() < 0:
        row = rows[falling[0] + 1] if len(falling) else rows[0]
        raise InputError(f"{path}: row {','.join(row)!r}: levels and signals must rise from 0 or more; {expected}")
    signals = np.stack([np.interp(_LEVELS, table[:, 0], curve) for curve in table.T[1:]], axis=1)
    signals /= signals[-1]

    def observe(signal):
        columns = np.broadcast_to(signals, (256, signal.shape[-1]))
        seen = [np.interp(signal[..., i], columns[:, i], _LEVELS) for i in range(signal.shape[-1])]
        return np.floor(np.stack(seen, axis=-1) + 0.5).astype(np.uint8)

    return Response(signals, observe)


def _is_number(word):
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
