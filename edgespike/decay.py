"""How long the core takes to bring a membrane through a silence: rounds of the loop in es_decayed.

The loop (es_neuron.c) takes several ticks at once where all make the same change: twice as many
each time that succeeds, half as many where it does not.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.graph import Rounding

__all__ = ["decay_steps", "most_decay_steps"]

Values = NDArray[np.int64]

ONE = 1 << 30  # a decay that keeps a membrane as it is


def decay_steps(membrane: Values, decay: Values, rounding: Rounding, ticks: Values) -> Counter[str]:
    """Rounds that change something, and products: int64 arrays (neurons,), ticks at least 1."""
    together = np.ones_like(ticks)
    count: Counter[str] = Counter()
    while len(ticks):
        change = _decayed(membrane, decay, rounding) - membrane
        together = np.minimum(together, ticks)
        last = membrane + (together - 1) * change
        same_sign = (last < 0) == (membrane < 0)
        looks_ahead = (together > 1) & same_sign & (change != 0)
        count["decay step"] += int(np.count_nonzero(change))
        count["decay product"] += len(ticks) + int(np.count_nonzero(looks_ahead))
        fits = (together == 1) | (same_sign & (_decayed(last, decay, rounding) - last == change))
        membrane = np.where(fits, last + change, membrane)
        ticks = np.where(fits, ticks - together, ticks)
        together = np.where(fits, np.minimum(2 * together, 1 << 30), together // 2)
        going = (ticks > 0) & (change != 0)
        membrane, decay, ticks, together = (values[going] for values in (membrane, decay, ticks, together))
    return count


def _decayed(membrane: Values, decay: Values, rounding: Rounding) -> Values:
    product: Values = membrane * decay
    if rounding == Rounding.TOWARD_ZERO:
        product = product + np.where(product < 0, (1 << 30) - 1, 0)
    return (product + ((1 << 29) if rounding == Rounding.NEAREST else 0)) >> 30


def most_decay_steps(greatest: int, decay: NDArray[Any]) -> tuple[int, int]:
    """At most so many rounds and products for one neuron, whatever the silence.

    A round fails only after one that succeeded (the count of ticks halves, from 1 and never below
    it), so there are at most twice as many as successes. A tick takes away about 1 / width of a
    membrane; width + 1 neighbouring membranes at most change by the same, c. So above width**2 no
    change comes twice: a success a tick, in a geometric series. Below, n ticks in a row with the
    same change are at most (width + 1) / c + 1, and take at most 2 log2(n) + 2 successes.

    Args:
        greatest: no membrane has a greater magnitude.
        decay: int32, the decays there are.
    """
    widths = np.unique(-(-ONE // np.maximum(ONE - decay.astype(np.int64), 1)))
    found = [_most_for_width(greatest, int(width)) for width in widths]
    return max(rounds for rounds, _ in found), max(products for _, products in found)


@cache
def _most_for_width(greatest: int, width: int) -> tuple[int, int]:
    alone = 0
    if greatest > width**2 and width > 1:
        alone = math.ceil(math.log(greatest / width**2) / -math.log1p(-1 / width + 1 / width**2)) + 1
    changes = np.arange(1, min(width, greatest // width + 1) + 2)
    ticks = (width + 1) // changes + 1
    together = int(np.minimum(ticks, 2 * np.log2(ticks).astype(np.int64) + 2).sum())
    return 2 * (alone + together), 3 * alone + 4 * together + 1
