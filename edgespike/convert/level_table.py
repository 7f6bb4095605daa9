"""The level table of a layer with a function: on which grid, and with which levels.

The accumulator is rounded to a grid, and the table holds the function at the grid's points,
rounded to levels. Where the function's steepest place needs it the grid is finer than the
levels: of 1, 2, 4 and 8 grid steps for each level there, the fewest are taken whose mean
squared error on the calibration samples is within `FINE_ENOUGH` of what the levels alone
cost. A piecewise linear function (LeakyRelu, PRelu, Abs) often needs 1 only, and then
rounds exactly as a Relu does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgespike.graph import LevelTable
from edgespike.importers.network import Float, Layer

LONGEST = 2048  # indices of a table
FINER = (1, 2, 4, 8)
FINE_ENOUGH = 1.1
BEYOND = 0.5  # of the calibrated span, which the table reaches out to on either side
PROBES = 4096  # places at which the slope is looked for
SAMPLED = 4096  # values by channel that the error is measured on


@dataclass(frozen=True, eq=False)
class Grid:
    """A table, and the real distance of its grid points: one number for each channel."""

    table: LevelTable
    distance: Float


def level_table(
    layer: Layer, before: NDArray[np.float32], scale: Float, low: int, high: int, least: Float
) -> Grid:
    """The table of a layer with a function.

    Args:
        layer: with a function.
        before: what the function was applied to, (values, channels).
        scale: real value of a level by channel.
        low, high: its least and greatest level.
        least: by channel, the smallest distance that the weights allow.
    """
    before = before[:: max(1, len(before) // SAMPLED)].astype(np.float64)
    span = max(float(np.ptp(before)), 1e-6)
    start, end = float(before.min()) - BEYOND * span, float(before.max()) + BEYOND * span
    unit = scale / scale.max() if is_scalable(layer) else np.ones_like(scale)
    places = np.linspace(start, end, PROBES)
    values = np.clip(levels_at(layer, places, scale), low, high)
    slopes = np.abs(np.diff(values, axis=0)).max(axis=0) / (places[1] - places[0])
    slope = max(float((slopes * unit).max()), 1.0 / span)
    floor = float((least / unit).max())
    exact = layer.activated(before)
    best = error_of(np.rint(np.clip(exact / scale, low, high)) * scale, exact)
    for finer in FINER:
        common = max(1.0 / (slope * finer), (end - start) / LONGEST, floor)
        distance = common * unit
        table = table_at(layer, distance, scale, (start, end), low, high)
        index = np.clip(np.floor(before / distance + 0.5), table.index_min, table.index_max)
        rows = np.broadcast_to(table.levels, (before.shape[1], table.levels.shape[1]))
        looked_up = rows[np.arange(len(rows)), index.astype(int) - table.index_min]
        done = error_of(looked_up * scale, exact) <= FINE_ENOUGH * best
        if done or common > 1.0 / (slope * finer):
            break
    return Grid(table, distance)


def table_of_levels(
    layer: Layer, real: Float, source: tuple[int, int], scale: Float, low: int, high: int
) -> LevelTable:
    """The table of a layer whose argument is the level of another neuron.

    Args:
        layer: with a function and one link, one to one.
        real: (levels, channels), what each level of the source means before the function.
        source: its least and greatest level.
        scale, low, high: of the layer's own levels.
    """
    return LevelTable(source[0], rounded(layer.activated(real) / scale, low, high))


def levels_at(layer: Layer, places: NDArray[np.float64], scale: Float) -> NDArray[np.float64]:
    """Exact levels (places, channels) of arguments (places,) or (places, channels)."""
    spread = np.broadcast_to(places.reshape(len(places), -1), (len(places), len(scale)))
    return np.asarray(layer.activated(spread) / scale)


def table_at(
    layer: Layer, distance: Float, scale: Float, ends: tuple[float, float], low: int, high: int
) -> LevelTable:
    """The function at the points of a grid between two ends, without what is constant at them."""
    greatest = float(distance.max())
    first, last = math.floor(ends[0] / greatest), math.ceil(ends[1] / greatest)
    first, last = max(first, -(1 << 15)), min(last, (1 << 15) - 1)
    points = np.arange(first, last + 1)[:, None] * distance
    rows = rounded(levels_at(layer, points, scale), low, high)
    changes = np.flatnonzero((rows[:, 1:] != rows[:, :-1]).any(axis=0))
    begin, end = (int(changes[0]), int(changes[-1]) + 2) if len(changes) else (0, 1)
    return LevelTable(first + begin, np.ascontiguousarray(rows[:, begin:end]))


def rounded(levels: NDArray[np.float64], low: int, high: int) -> NDArray[np.int16]:
    """Rows of a table: one for each channel, or one where all are the same.

    Where the function has no value (a root of less than 0) the nearest one stands.
    """
    known = np.isfinite(levels)
    if not known.all():
        nearest = np.arange(len(levels))[:, None] - np.flatnonzero(known.all(axis=1))
        levels = levels[np.flatnonzero(known.all(axis=1))[np.abs(nearest).argmin(axis=1)]]
    rows = np.clip(np.floor(levels.T + 0.5), low, high).astype(np.int16)
    return rows[:1] if (rows == rows[:1]).all() else rows


def is_scalable(layer: Layer) -> bool:
    """Whether the function of k times a number is k times the function, for k above 0: as of LeakyRelu.

    Then channels may have levels of different size and yet one table.
    """
    if (
        layer.function is None
        or layer.function.by_channel
        or not np.isinf([layer.minimum, layer.maximum]).all()
    ):
        return False
    column = np.linspace(-8, 8, 33)[:, None]
    values = layer.function(column)
    return all(np.allclose(layer.function(k * column), k * values, rtol=1e-4, atol=1e-6) for k in (0.3, 2.0))


def error_of(values: Float, exact: Float) -> float:
    """Mean squared error."""
    return float(np.square(values - exact).mean())
