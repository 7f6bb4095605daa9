"""The bounds of work: never too small, and exact where they say so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from random_graphs import random_events, random_graph

from edgespike._core import Model, Network
from edgespike.graph import (
    CORE_EVENT,
    Accumulator,
    Activation,
    Convolution,
    Dense,
    Graph,
    InputSpec,
    LevelInput,
    Population,
    Projection,
)
from edgespike.modelfile import encode_model
from edgespike.reference import fan_out
from edgespike.work import PopulationWork, Reach, Work, work_of_event, work_of_tick, works_at_once


def by_tick(graph: Graph, events: NDArray[Any]) -> list[tuple[int, list[dict[str, int]]]]:
    """For each tick with events, how many, and what the core counts until it has closed."""
    network = Network(Model(encode_model(graph)))
    window = graph.input.window_ticks
    counted = []
    for tick in np.unique(events["tick"]):
        if window and tick // window != events["tick"][0] // window:
            break  # the bounds hold in every window; one is enough
        part = events[events["tick"] == tick]
        while network.advance(int(tick)):
            pass  # a window ended
        network.clear_stats()
        network.push(part)
        network.advance(int(tick) + 1)
        counted.append((len(part), network.stats()["populations"]))
    return counted


def require_within(counted: list[dict[str, int]], bound: Work) -> None:
    for population, most in zip(counted, bound.populations, strict=True):
        assert population["events"] <= most.events
        assert population["synops"] <= most.synops
    assert sum(population["events"] for population in counted) <= bound.total.events
    assert sum(population["synops"] for population in counted) <= bound.total.synops


@pytest.mark.parametrize("spiking", [False, True], ids=["levels", "spikes"])
def test_no_tick_costs_more_than_its_bound(spiking: bool) -> None:
    checked = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng, spiking)
        events = random_events(rng, graph, 40)
        for count, counted in by_tick(graph, events):
            require_within(counted, work_of_tick(graph, count))
            checked += 1
    assert checked > 200


def test_no_event_costs_more_than_its_bound() -> None:
    checked = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng)
        if graph.input.event_counts is None:
            graph = replace(graph, input=InputSpec())  # values that are valid wherever ticks end
        bound = work_of_event(graph)
        events = random_events(rng, graph, 40)
        events["tick"] = 3 * np.arange(len(events))
        assert works_at_once(graph)
        for _, counted in by_tick(graph, events):
            require_within(counted, bound)
            checked += 1
    assert checked > 200


def test_what_an_input_event_reaches_is_exact() -> None:
    for seed in range(100):
        graph = random_graph(np.random.default_rng(seed), spiking=seed % 2 == 0)
        reach = Reach(graph)
        shapes = [population.shape for population in graph.populations]
        for index, projection in enumerate(graph.projections):
            if projection.source == 0:
                expected = fan_out(projection.connection, shapes[0], shapes[projection.target])
                alike = shapes[0][2] // reach.shape[2]
                assert np.array_equal(np.repeat(reach.synops(index), alike, axis=2), expected)


def test_a_chain_is_exact_and_worst_in_the_middle() -> None:
    """A 3x3 convolution from one of two channels to 4, then a dense layer to 10."""
    step = np.array([1], np.int32)
    zeros = np.zeros((8, 9, 4), np.int32)
    graph = Graph(
        (
            Population("in", (8, 9, 2), LevelInput(0, 9), None, np.zeros((8, 9, 2), np.int32)),
            Population("middle", (8, 9, 4), Activation(step.repeat(4), 0, 9), zeros, zeros, 32),
            Population("out", (1, 1, 10), Accumulator(), np.zeros((1, 1, 10), np.int32), None, 32),
        ),
        (
            Projection(0, 1, Convolution(np.ones((2, 3, 3, 4), np.int8), padding=(1, 1))),
            Projection(1, 2, Dense(np.ones((8 * 9 * 4, 10), np.int8))),
        ),
    )
    bound = work_of_event(graph)
    assert bound.populations == (
        PopulationWork(1, 9 * 4, 0),
        PopulationWork(36, 360, 36),
        PopulationWork(0, 0, 0),
    )
    assert bound.total == PopulationWork(37, 396, 36)
    events = np.zeros(2, CORE_EVENT)
    events["y"], events["x"], events["value"] = [4, 0], [4, 0], 9
    for event, work in zip(events, (396, 4 * 4 + 16 * 10), strict=True):
        ((_, counted),) = by_tick(graph, event[None])
        assert sum(population["synops"] for population in counted) == work
    many = work_of_tick(graph, 1000)
    assert many.populations[1] == PopulationWork(288, 2880, 288)
    assert many.populations[0].synops == 36000
