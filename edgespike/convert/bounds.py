"""The proof that no accumulator can overflow.

Between any two events an accumulator equals ``b + sum(w * n)`` with every source level n
within its range, so its extremes are the sums of the terms' own extremes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgespike.convert.dense import apply, level_range, signed_part
from edgespike.graph import Activation, Graph, Population, Projection, SumPool


def extremes(
    population: Population, incoming: list[tuple[Projection, Population]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and greatest value that each accumulator can ever have: arrays of the population's shape."""
    assert population.initial is not None
    least = population.initial.astype(np.float64)
    greatest = least.copy()
    for projection, source in incoming:
        assert source.initial_level is not None
        low, high = (limit - source.initial_level.astype(np.float64) for limit in level_range(source))
        signs = (1,) if isinstance(projection.connection, SumPool) else (1, -1)
        for sign in signs:
            part = signed_part(projection.connection, sign)
            down, up = (low, high) if sign > 0 else (high, low)
            least += apply(part, down[None], population.shape)[0]
            greatest += apply(part, up[None], population.shape)[0]
    return least, greatest


def worst_accumulator(population: Population, incoming: list[tuple[Projection, Population]]) -> int:
    """Greatest absolute value that an accumulator must hold, half a step for rounding included.

    This, shifted as the population says, must fit 32 bits.
    """
    least, greatest = extremes(population, incoming)
    if isinstance(population.neuron, Activation):
        step, shift = population.neuron.step, population.neuron.shift
        half = (step if step.size == population.shape[2] else step.reshape(population.shape)) // 2
        greatest = greatest + (half if shift == 0 else (half >> shift) + 1)
    return int(max(greatest.max(), -least.min(), 0))


def accumulator_bounds(graph: Graph) -> tuple[int, ...]:
    """`worst_accumulator` of every population; 0 where there is no accumulator."""
    bounds = []
    for number, population in enumerate(graph.populations):
        incoming = [(p, graph.populations[p.source]) for p in graph.incoming(number)]
        bounds.append(0 if population.initial is None else worst_accumulator(population, incoming))
    return tuple(bounds)
