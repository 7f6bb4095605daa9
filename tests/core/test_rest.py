"""At rest, every state is that of a dense evaluation of the present input, whatever came before.

The dense evaluation below is written as plain sums over the targets, from
docs/architecture.md alone; it shares nothing with the reference or the core.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from random_graphs import number, random_events, random_graph

from edgespike import _core
from edgespike.graph import (
    Accumulator,
    Activation,
    Convolution,
    Dense,
    Graph,
    MaxPoolWindow,
    OneToOne,
    Projection,
    Shape,
    SumPool,
)
from edgespike.modelfile import encode_model

Array = NDArray[Any]


def window(connection: Convolution | SumPool | MaxPoolWindow, y: int, x: int, source: Array) -> list[Any]:
    """(kernel row, kernel column, source pixel) for all of a target's window that is not padding."""
    kernel = connection.weight.shape[1:3] if isinstance(connection, Convolution) else connection.kernel
    pixels = []
    for ky in range(kernel[0]):
        for kx in range(kernel[1]):
            sy = y * connection.stride[0] + ky * connection.dilation[0] - connection.padding[0]
            sx = x * connection.stride[1] + kx * connection.dilation[1] - connection.padding[1]
            if 0 <= sy < source.shape[0] and 0 <= sx < source.shape[1]:
                pixels.append((ky, kx, source[sy, sx]))
    return pixels


def convolved(connection: Convolution, ky: int, kx: int, pixel: Array) -> Array:
    weight = connection.weight[:, ky, kx].astype(np.int64)
    size = len(pixel) // connection.groups
    parts = [
        pixel[group * size : (group + 1) * size] @ weight[group * size : (group + 1) * size]
        for group in range(connection.groups)
    ]
    return np.concatenate(parts)


def weighted_sum(projection: Projection, levels: Array, shape: Shape) -> Array:
    connection = projection.connection
    if isinstance(connection, Dense):
        product: Array = levels.reshape(-1) @ connection.weight.astype(np.int64)
        return product.reshape(shape)
    if isinstance(connection, OneToOne):
        return levels * connection.weight.astype(np.int64)
    total = np.zeros(shape, np.int64)
    assert isinstance(connection, Convolution | SumPool)
    for y, x in np.ndindex(*shape[:2]):
        for ky, kx, pixel in window(connection, y, x, levels):
            total[y, x] += (
                convolved(connection, ky, kx, pixel) if isinstance(connection, Convolution) else pixel
            )
    return total


def summed(graph: Graph, population: int, levels: list[Array]) -> Array:
    shape = graph.populations[population].shape
    parts = [weighted_sum(p, levels[p.source], shape) for p in graph.incoming(population)]
    return np.asarray(np.sum(parts, axis=0, dtype=np.int64))


def dense(graph: Graph, input_levels: Array) -> list[Array]:
    """Levels (accumulators of a readout) of all populations for one input."""
    initial = [p.initial_level if p.initial_level is not None else p.initial for p in graph.populations]
    before = [np.asarray(values).astype(np.int64) for values in initial]
    levels = [input_levels.astype(np.int64)]
    for i, population in enumerate(graph.populations[1:], start=1):
        neuron = population.neuron
        if isinstance(neuron, Activation | Accumulator):
            assert population.initial is not None
            bias = population.initial.astype(np.int64) - summed(graph, i, before)
            now = bias + summed(graph, i, levels)
        if isinstance(neuron, Activation):
            step = np.resize(neuron.step.astype(np.int64), population.shape)
            now = (now * 2**neuron.shift + step // 2) // step
            if neuron.table is None:
                now = np.clip(now, neuron.level_min, neuron.level_max)
            else:
                table = neuron.table.levels
                rows = np.broadcast_to(table, (population.shape[2], table.shape[1]))
                place = np.clip(now - neuron.table.index_min, 0, rows.shape[1] - 1)
                now = np.stack([row[place[..., c]] for c, row in enumerate(rows)], axis=-1).astype(np.int64)
        elif not isinstance(neuron, Accumulator):
            (projection,) = graph.incoming(i)
            assert isinstance(projection.connection, MaxPoolWindow)
            now = np.empty(population.shape, np.int64)
            for y, x in np.ndindex(*population.shape[:2]):
                pixels = window(projection.connection, y, x, levels[projection.source])
                now[y, x] = np.max([pixel for _, _, pixel in pixels], axis=0)
        levels.append(now)
    return levels


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_rest_does_not_depend_on_history(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng)
    events = random_events(rng, graph, number(rng, 0, 60))
    window_ticks = graph.input.window_ticks
    if window_ticks:
        events = events[events["tick"] < window_ticks]
    network = _core.Network(_core.Model(encode_model(graph)))
    assert network.push(events) == (len(events), False)
    network.finish()
    shapes = [population.shape for population in graph.populations]
    states = [network.state(i).reshape(shape) for i, shape in enumerate(shapes)]
    for expected, state in zip(dense(graph, states[0]), states, strict=True):
        np.testing.assert_array_equal(state, expected)
