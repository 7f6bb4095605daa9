"""Accumulators of 2 bytes: a coarser unit for the channels whose sums would not fit.

Two such accumulators share a word, which halves their memory, and processors without vector
instructions add to both at once. A channel whose greatest sum needs more than 16 bits gets a unit
that is coarser by what it lacks: its weights lose the lowest bit or so. Layers of few levels
hardly feel it; those of many would lose most of their weights' bits, and stay as they are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgespike.convert.bounds import extremes
from edgespike.graph import (
    Activation,
    Connection,
    Convolution,
    Dense,
    Population,
    Projection,
    narrowest_accumulator,
)
from edgespike.importers.network import Float

LIMIT = (1 << 15) - 1
MOST_COARSE = 8.0  # of a weight's eight bits at most three
MOST_ERROR = 1.05  # of the squared error with accumulators of 4 bytes: 0.2 dB


def can_share_words(population: Population, connections: list[Connection]) -> bool:
    """Whether its accumulators could have 2 bytes, if their sums were small enough."""
    return (
        isinstance(population.neuron, Activation)
        and population.neuron.table is None
        and narrowest_accumulator(0, population.shape[2], connections) == 16
    )


def in_words(projection: Projection, target: Population) -> Projection:
    """The projection with its weights in 16 bits of the file, where that makes it faster."""
    connection = projection.connection
    if (
        not isinstance(connection, Dense | Convolution)
        or target.accumulator_bits != 16
        or connection.weight.shape[-1] % 2
    ):
        return projection
    return replace(projection, connection=replace(connection, weight_bits=16))


def coarsening(population: Population, incoming: list[tuple[Projection, Population]]) -> Float:
    """By channel, how much coarser its unit must be for 16 bits; 1 where the sums fit."""
    assert isinstance(population.neuron, Activation)
    least, greatest = extremes(population, incoming)
    step = population.neuron.step
    half = (step if step.size == population.shape[2] else step.reshape(population.shape)) // 2
    worst = np.maximum(greatest + half, -least).max(axis=(0, 1))
    return np.asarray(np.where(worst <= LIMIT, 1.0, worst / LIMIT), np.float64)


def squared_error(levels: NDArray[np.int32], scale: Float, wanted: NDArray[np.float32]) -> float:
    """Of levels (places, channels) as real numbers, from the float network's."""
    return float(np.square(levels * scale - wanted, dtype=np.float64).sum())
