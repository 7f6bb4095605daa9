"""The reference state: what reset copies.

Any state at rest is a sound start, since events say differences. The nearer it is to what
the network usually sees, the fewer neurons speak.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.convert.dense import State, accumulate, evaluate, level_range, levels_of, settle
from edgespike.graph import Activation, Graph, MaxPool, Population
from edgespike.reference import fan_out

PLAIN_BONUS = 0.9  # a reference that differs by pixel must save a tenth of the work to be worth its flash


@dataclass(frozen=True)
class Work:
    """What samples cost from reset, by population.

    ``synops_of``: synaptic operations a sample that its events cause. ``activity``: share of
    neurons that speak.
    """

    synops_of: tuple[float, ...]
    activity: tuple[float, ...]

    @property
    def synops(self) -> float:
        """Synaptic operations a sample."""
        return sum(self.synops_of)


def at_rest(graph: Graph, inputs: State) -> Graph:
    """The graph with the state at rest on one input (height, width, channels) as its initial state."""
    populations: list[Population] = [replace(graph.populations[0], initial_level=inputs.astype(np.int32))]
    old = graph.populations
    for number in range(1, len(old)):
        population = old[number]
        arriving = [(p, old[p.source], levels_now(populations[p.source])) for p in graph.incoming(number)]
        if isinstance(population.neuron, MaxPool):
            population = replace(population, initial_level=evaluate(population, arriving)[0])
        else:
            accumulators = accumulate(population, arriving)
            population = replace(population, initial=accumulators[0])
            if isinstance(population.neuron, Activation):
                population = replace(population, initial_level=levels_of(population.neuron, accumulators)[0])
        populations.append(population)
    return replace(graph, populations=tuple(populations))


def levels_now(population: Population) -> State:
    """The initial levels, as a batch of one."""
    assert population.initial_level is not None
    return population.initial_level[None]


def with_best_reference(graph: Graph, inputs: State) -> Graph:
    """The graph with the reference that costs least on samples of input levels.

    An event-counting input starts from no events, so its reference is given.
    """
    if graph.input.event_counts is not None:
        empty = graph.input.event_counts.table[:, 0].astype(np.int32)
        return at_rest(graph, np.broadcast_to(empty, graph.populations[0].shape))
    states = settle(graph, inputs)
    best, least = graph, np.inf
    for plain, candidate in candidates(graph, inputs):
        placed = at_rest(graph, candidate)
        cost = work(placed, states).synops * (PLAIN_BONUS if plain else 1.0)
        if cost < least:
            best, least = placed, cost
    return best


def candidates(graph: Graph, inputs: State) -> Iterator[tuple[bool, State]]:
    """Typical inputs, and whether they are the same for all pixels."""
    shape = graph.populations[0].shape
    low, high = level_range(graph.populations[0])
    yield True, np.full(shape, np.clip(0, low, high), np.int32)
    yield True, np.broadcast_to(mode(inputs.reshape(-1, shape[2])), shape)
    yield False, mode(inputs)
    yield False, np.floor(np.median(inputs, axis=0)).astype(np.int32)


def mode(values: NDArray[Any]) -> State:
    """The most frequent integer along the first axis, the least such."""
    flat = values.reshape(len(values), -1)
    low = int(flat.min())
    count = int(flat.max()) - low + 1
    best = np.empty(flat.shape[1], np.int32)
    block = max(1, (1 << 22) // count)
    for start in range(0, len(best), block):
        part = flat[:, start : start + block] - low
        cells = part + np.arange(part.shape[1]) * count
        frequency = np.bincount(cells.ravel(), minlength=part.shape[1] * count).reshape(-1, count)
        best[start : start + block] = frequency.argmax(axis=1) + low
    return best.reshape(values.shape[1:])


def work(graph: Graph, states: list[State]) -> Work:
    """What it takes to get from reset to each of these states (of every population, by sample)."""
    synops, activity = [], []
    for number, population in enumerate(graph.populations):
        caused, share = 0.0, 0.0
        if population.initial_level is not None:
            speaks = (states[number] != population.initial_level).mean(axis=0)
            share = float(speaks.mean())
            for projection in graph.outgoing(number):
                target = graph.populations[projection.target].shape
                caused += float((speaks * fan_out(projection.connection, population.shape, target)).sum())
        synops.append(caused)
        activity.append(share)
    return Work(tuple(synops), tuple(activity))
