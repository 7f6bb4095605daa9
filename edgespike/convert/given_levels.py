"""Layers that bring their levels along, from a network that was quantized before it was exported.

Weights stay the integers that they were: real weights are found to be whole multiples of one
number by channel, and that number is the accumulator's unit. A level is not a whole number of
such units; a shift of the accumulator makes it nearly one. Nothing is measured or corrected.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgespike.importers.network import Float, Layer

GREATEST_SHIFT = 15
ROOM = 30  # bits of a shifted accumulator, half a step included


def level_limits(layer: Layer) -> tuple[int, int]:
    """Least and greatest level: those given, within the layer's clip."""
    assert layer.levels is not None
    low = max(layer.levels.low, math.ceil(layer.minimum / layer.levels.scale - 1e-3))
    high = min(layer.levels.high, math.floor(layer.maximum / layer.levels.scale + 1e-3))
    return low, high


def weight_grid(weights: Float) -> Float:
    """By column, the greatest number of which all weights are multiples by -128..127; 0 where there is none.

    Where few weights leave a choice it is small, for the bias that is counted in it too.
    """
    most = np.abs(weights).max(axis=0)
    safe = np.where(most > 0, most, 1.0)
    result = np.zeros(weights.shape[1])
    for steps in range(128, 0, -1):
        places = weights * (steps / safe)
        whole = np.abs(places - np.rint(places)).max(axis=0) < 2e-3
        fits = (np.rint(places) <= 127).all(axis=0)
        multiple = steps * (127 // steps) if steps <= 127 else 128
        result = np.where(whole & fits & (most > 0), safe / max(multiple, 1), result)
    return result


def shifted_steps(scale: Float, unit: Float, worst: int) -> tuple[NDArray[np.int32], int]:
    """Steps of levels in shifted units, and the shift: the greatest that keeps accumulators in 32 bits."""
    widest = max(float(worst), float((scale / unit).max()))
    shift = int(np.clip(ROOM - math.ceil(math.log2(widest + 1)), 0, GREATEST_SHIFT))
    steps = np.rint(scale / unit * 2.0**shift)
    return np.asarray(np.clip(steps, 1, (1 << 30) - 1), np.int32), shift
