"""What the bits of encoded samples must be: the encoders of docs/sensors.md in plain NumPy.

The specification of core/sensor/es_encode.c and es_window.c, for whole streams: slow and easy to
read. Use ``edgespike.encoders``, which runs the C code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.encoders import SENSOR_EVENT, Code, Delta, Gaussian, Latency, Rate

LARGEST = (1 << 30) - 1
_Row = tuple[int, int, int, int, int]  # time, x, y, channel, value
_GAUSSIAN = np.floor(255 * np.exp(-((np.arange(226) / 64) ** 2) / 2) + 0.5).astype(np.int64)


def encode(code: Code, samples: NDArray[np.int64], times: NDArray[np.int64], period_us: int) -> NDArray[Any]:
    """Events (dtype SENSOR_EVENT) of a whole stream: samples (n, columns), taken at times (n,)."""
    if not len(samples):
        return np.zeros(0, SENSOR_EVENT)
    values = np.clip(samples, -LARGEST, LARGEST)
    rows = _delta(code, values, times) if isinstance(code, Delta) else _steps(code, values, times, period_us)
    return np.array(rows, SENSOR_EVENT)


def _delta(code: Delta, samples: NDArray[np.int64], times: NDArray[np.int64]) -> list[_Row]:
    """An event for each threshold that a value has gone since the one told last, at most ``most``."""
    rows: list[_Row] = []
    told = samples[0].tolist()
    for sample, time in zip(samples, times.tolist(), strict=True):
        for column, value in enumerate(sample.tolist()):
            count = min(abs(value - told[column]) // code.threshold, code.most)
            on = int(value > told[column])
            told[column] += count * code.threshold * (1 if on else -1)
            rows += [(time, column, 0, on, 1)] * count
    return rows


def _steps(
    code: Rate | Latency | Gaussian, samples: NDArray[np.int64], times: NDArray[np.int64], period_us: int
) -> list[_Row]:
    """Rate and latency: a sample's time has ``steps`` steps, in each of which a neuron may send."""
    above, span, units = _above(code, samples)
    above = above.reshape(len(times), -1)  # (samples, neurons)
    rows: list[_Row] = []
    if isinstance(code, Rate) or (isinstance(code, Gaussian) and code.spikes == "rate"):
        spans = np.cumsum(np.repeat(above, code.steps, axis=0), axis=0) // span
        sends = np.diff(spans, axis=0, prepend=0).reshape(len(times), code.steps, above.shape[1]) > 0
    else:
        chosen = np.where(above > 0, (span - above) * code.steps // span, -1)
        sends = chosen[:, None] == np.arange(code.steps)[:, None]
    for number, step, neuron in np.argwhere(sends).tolist():
        column, unit = divmod(neuron, units)
        rows.append((int(times[number]) + step * period_us // code.steps, column, unit, 0, 1))
    return rows


def _above(code: Rate | Latency | Gaussian, samples: NDArray[np.int64]) -> tuple[NDArray[np.int64], int, int]:
    """How far each neuron's input (samples, columns, units) is above the least; how far it can be; units."""
    span = code.high - code.low
    if not isinstance(code, Gaussian):
        return np.clip(samples, code.low, code.high)[..., None] - code.low, span, 1
    centres = code.low + np.arange(code.units, dtype=np.int64) * span // (code.units - 1)
    distance = np.abs(samples[..., None] - centres) * 64 // code.width
    return np.where(distance < 226, _GAUSSIAN[np.minimum(distance, 225)], 0), 255, code.units


def hold(samples: NDArray[np.int64], deadband: int) -> NDArray[np.int64]:
    """Samples (n, columns) as a sliding window takes them: each counts as the one before until it is away."""
    held = samples.copy()
    for number in range(1, len(samples)):
        stays = np.abs(samples[number] - held[number - 1]) < deadband
        held[number] = np.where(stays, held[number - 1], samples[number])
    return held
