"""The golden self-test ends soon, however large the input and however long the sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgespike import _core
from edgespike.convert.early_exit import placed
from edgespike.convert.self_test import golden_self_test
from edgespike.errors import ModelError
from edgespike.graph import (
    CORE_EVENT,
    Accumulator,
    Dense,
    EarlyExit,
    EventCounts,
    Graph,
    InputSpec,
    LevelInput,
    Population,
    Projection,
    SelfTest,
)
from edgespike.modelfile import encode_model


def graph_of(shape: tuple[int, int, int], spec: InputSpec) -> Graph:
    """Linear scores of the input."""
    pixels = Population("input", shape, LevelInput(0, 9), None, np.zeros(shape, np.int32))
    output = Population("output", (1, 1, 3), Accumulator(), np.zeros((1, 1, 3), np.int32), None, 32)
    weight = np.random.default_rng(0).integers(-9, 10, (pixels.size, 3), np.int8)
    return Graph((pixels, output), (Projection(0, 1, Dense(weight)),), spec, {"populations": []})


def check(graph: Graph, events: int) -> None:
    """So many events, and the core gives the digest."""
    assert graph.self_test is not None and len(graph.self_test.events) == events
    _core.Network(_core.Model(encode_model(graph))).self_test()


def test_a_large_image_gives_a_part_of_its_events() -> None:
    graph = graph_of((80, 80, 1), InputSpec())
    inputs = np.random.default_rng(1).integers(0, 10, (3, 80, 80, 1))
    check(replace(graph, self_test=golden_self_test(graph, inputs)), 4096)


def counting_graph(slice_ticks: int) -> Graph:
    counts = EventCounts(2, 3, slice_ticks, 9, np.tile(np.arange(10, dtype=np.int16), (6, 1)))
    return graph_of((4, 5, 6), InputSpec(1, 3 * slice_ticks, counts))


def test_slices_may_be_far_apart_where_silence_is_no_work() -> None:
    graph = counting_graph(100_000)
    inputs = np.full((1, 4, 5, 6), 7)
    check(replace(graph, self_test=golden_self_test(graph, inputs)), 120)


def test_with_early_exit_the_first_ticks_count() -> None:
    graph = counting_graph(3000)
    graph = replace(graph, self_test=golden_self_test(graph, np.full((1, 4, 5, 6), 7)))
    check(placed(graph, EarlyExit(margin=1 << 20, every=3000, first=1)), 80)


def test_more_is_refused() -> None:
    graph = graph_of((4, 4, 1), InputSpec())
    events = np.zeros(4097, CORE_EVENT)
    with pytest.raises(ModelError) as caught:
        _core.Model(encode_model(replace(graph, self_test=SelfTest(events, 0))))
    assert caught.value.code == "model-test"
