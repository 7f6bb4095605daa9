"""Dense integer evaluation: the state of a network at rest on given inputs, many at once.

The contract of activation populations is that events lead to exactly this state, so it
serves to measure accuracy and activity. Products run in float32 where every partial sum
is below 2**24, else in float64: integers, exact in both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.graph import (
    Accumulator,
    Activation,
    Connection,
    Convolution,
    Dense,
    Graph,
    LevelInput,
    MaxPool,
    MaxPoolWindow,
    OneToOne,
    Population,
    Projection,
    Shape,
    SumPool,
)
from edgespike.linear_maps import convolve, max_pool, sum_pool

State = NDArray[Any]  # integer levels, or a readout's accumulators: (samples, height, width, channels)


def apply(connection: Connection, values: NDArray[Any], target: Shape) -> NDArray[Any]:
    """What source values (samples, height, width, channels) add to the targets, in their float type."""
    kind = values.dtype
    if isinstance(connection, Dense):
        product: NDArray[Any] = values.reshape(len(values), -1) @ connection.weight.astype(kind)
        return product.reshape(-1, *target)
    if isinstance(connection, OneToOne):
        return np.asarray(values * connection.weight.astype(kind))
    assert isinstance(connection, Convolution | SumPool)
    space, geometry = (target[0], target[1]), (connection.stride, connection.dilation, connection.padding)
    if isinstance(connection, Convolution):
        return convolve(values, connection.weight.astype(kind), space, *geometry, connection.groups)
    return sum_pool(values, space, connection.kernel, *geometry)


def signed_part(connection: Connection, sign: int) -> Connection:
    """The connection with only its positive (sign 1) or negative (-1), or with absolute (0) weights."""
    if not isinstance(connection, Dense | Convolution | OneToOne):
        return connection
    real = connection.weight.astype(np.float64)
    weight: Any = np.abs(real) if sign == 0 else np.maximum(real * sign, 0) * sign
    return replace(connection, weight=weight)


def level_range(population: Population) -> tuple[int, int]:
    """Least and greatest level."""
    assert isinstance(population.neuron, LevelInput | Activation | MaxPool)
    return population.neuron.level_min, population.neuron.level_max


def accumulate(population: Population, arriving: list[tuple[Projection, Population, State]]) -> State:
    """Accumulators at rest, for the levels of each projection's source."""
    assert population.initial is not None
    total = population.initial[None].astype(np.int64)
    for projection, source, levels in arriving:
        assert source.initial_level is not None
        low, high = level_range(source)
        full = np.full((1, *source.shape), float(high - low))
        most = apply(signed_part(projection.connection, 0), full, population.shape).max()
        kind = np.float32 if most < 2**24 else np.float64
        change = (levels - source.initial_level).astype(kind)
        total = total + apply(projection.connection, change, population.shape).astype(np.int64)
    return total.astype(np.int32)


def levels_of(neuron: Activation, accumulators: State) -> State:
    """The level that each accumulator means."""
    shape = accumulators.shape[1:]
    step = neuron.step if neuron.step.size == shape[2] else neuron.step.reshape(shape)
    quotient = ((accumulators.astype(np.int64) << neuron.shift) + step // 2) // step
    if neuron.table is None:
        return np.asarray(np.clip(quotient, neuron.level_min, neuron.level_max).astype(np.int32))
    index = np.clip(quotient, neuron.table.index_min, neuron.table.index_max) - neuron.table.index_min
    row = np.arange(shape[2]) % len(neuron.table.levels)
    return np.asarray(neuron.table.levels[row, index], np.int32)


def evaluate(population: Population, arriving: list[tuple[Projection, Population, State]]) -> State:
    """Levels at rest, or a readout's accumulators."""
    if isinstance(population.neuron, MaxPool):
        ((projection, _, levels),) = arriving
        window = projection.connection
        assert isinstance(window, MaxPoolWindow)
        space, geometry = (population.shape[0], population.shape[1]), (window.stride, window.dilation)
        return max_pool(levels, space, window.kernel, *geometry, window.padding, population.neuron.level_min)
    accumulators = accumulate(population, arriving)
    if isinstance(population.neuron, Accumulator):
        return accumulators
    assert isinstance(population.neuron, Activation)
    return levels_of(population.neuron, accumulators)


def settle(graph: Graph, inputs: State) -> list[State]:
    """State of every population at rest on input levels (samples, height, width, channels)."""
    states = [inputs]
    for number in range(1, len(graph.populations)):
        arriving = [(p, graph.populations[p.source], states[p.source]) for p in graph.incoming(number)]
        states.append(evaluate(graph.populations[number], arriving))
    return states
