"""The core gives the bits of the reference: random graphs, chunks, orders, windows and plans."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from random_graphs import number, random_events, random_graph, shuffled

from edgespike import _core
from edgespike.graph import Graph
from edgespike.modelfile import encode_model
from edgespike.reference import ReferenceNetwork

SEEDS = st.integers(0, 2**32 - 1)


def stream(network: Any, events: NDArray[Any], rng: np.random.Generator | None = None) -> list[Any]:
    """Push events, in random chunks if `rng` is given, then finish; the scores of all windows."""
    scores = []
    while len(events):
        chunk = events if rng is None else events[: number(rng, 1, 9)]
        used, closed = network.push(chunk)
        events = events[used:]
        if closed:
            scores.append(network.output().tolist())
    network.finish()
    return [*scores, network.output().tolist()]


def states(network: Any, graph: Graph) -> list[Any]:
    return [network.state(population).tolist() for population in range(len(graph.populations))]


@given(SEEDS, st.booleans())
@settings(max_examples=150)
def test_core_equals_reference(seed: int, spiking: bool) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, spiking)
    events = random_events(rng, graph, number(rng, 0, 80))
    reference = ReferenceNetwork(graph)
    expected = stream(reference, events)
    model = _core.Model(encode_model(graph))
    network = _core.Network(model)
    assert stream(network, events) == expected
    assert states(network, graph) == states(reference, graph)
    assert network.stats() == reference.stats()

    network.reset()  # once more, in chunks and in another order
    network.clear_stats()
    assert stream(network, shuffled(rng, graph, events), rng) == expected
    assert states(network, graph) == states(reference, graph)
    assert network.stats() == reference.stats()

    if model.arena_size("one-shot") is not None:
        assert stream(_core.Network(model, "one-shot"), events, rng) == expected
