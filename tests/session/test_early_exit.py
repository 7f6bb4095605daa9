"""Windows that are decided before they end: the same results everywhere, in any chunking."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from random_graphs import exiting_graph, random_events

from edgespike.events import EVENT
from edgespike.graph import (
    CORE_EVENT,
    Compare,
    Dense,
    EarlyExit,
    Graph,
    InputSpec,
    IntegrateAndFire,
    Population,
    Projection,
    Readout,
    Reset,
    Rounding,
    SpikeInput,
)
from edgespike.modelfile import decode_model, encode_model
from edgespike.session import InferenceSession

BACKENDS: dict[str, dict[str, Any]] = {
    "reference": {"backend": "reference"},
    "cpu": {"backend": "cpu"},
    "emulated": {"backend": "device", "port": "emulated"},
}


def results_of(graph: Graph, events: Any, chunk: int, **where: Any) -> list[Any]:
    """All that a session tells of a stream, and its statistics."""
    told = []
    with InferenceSession(graph, **where) as session:
        for start in range(0, len(events), chunk):
            told += session._push(events[start : start + chunk])
        last = int(events["tick"][-1]) if len(events) else 0
        told += session.advance((last + 30) * session.tick_us)
        told.append(session.finish())
        stats = session.stats()
        counts = {name: stats[name] for name in ("input_events", "events", "synops", "ticks", "windows")}
    rows: list[Any] = [
        (r.label, r.margin, r.scores.tolist(), r.time_us, r.windows, r.events, r.ticks, r.early) for r in told
    ]
    return [*rows, counts]


@settings(max_examples=25, phases=(Phase.explicit, Phase.generate))
@given(seed=st.integers(0, 1 << 31), chunk=st.integers(1, 60), long=st.booleans())
def test_the_same_results_everywhere(seed: int, chunk: int, long: bool) -> None:
    graph = exiting_graph(seed, 60)
    events = random_events(np.random.default_rng(seed), graph, 120, longest=40 if long else 3)
    expected = results_of(graph, events, len(events) or 1, **BACKENDS["reference"])
    for where in (BACKENDS["cpu"], BACKENDS["emulated"]):
        assert results_of(graph, events, len(events) or 1, **where) == expected
    assert decode_model(encode_model(graph)).input.early_exit == graph.input.early_exit
    # in pieces, the pieces' own events are told with the result
    pieces = [results_of(graph, events, chunk, **where) for where in BACKENDS.values()]
    assert pieces[1] == pieces[0] and pieces[2] == pieces[0]
    assert [row[:5] + row[6:] for row in pieces[0][:-1]] == [row[:5] + row[6:] for row in expected[:-1]]
    assert pieces[0][-1] == expected[-1]


def test_some_of_them_are_decided() -> None:
    early = []
    for seed in range(40):
        graph = exiting_graph(seed, 60)
        events = random_events(np.random.default_rng(seed), graph, 120, longest=3)
        early += [row[-1] for row in results_of(graph, events, 50, **BACKENDS["cpu"])[:-1]]
    assert 0.05 < np.mean(early) < 0.95


def counting_graph(rule: EarlyExit | None, window: int, readout: Readout = Readout.SPIKES) -> Graph:
    """Two neurons that spike for every event of theirs; and keep half of what is left."""
    one = np.ones(2, np.int32)
    neuron = IntegrateAndFire(
        one * 100, one << 29, one * 0, one * 0, Compare.GREATER_OR_EQUAL, Reset.SUBTRACT,
        Rounding.FLOOR, 1, -(1 << 20), 1 << 20, readout=readout,
    )  # fmt: skip
    shape = (1, 1, 2)
    populations = (
        Population("in", shape, SpikeInput(0, 10, 100)),
        Population("out", shape, neuron, np.zeros(shape, np.int32), accumulator_bits=32),
    )
    weight = np.diag([100, 100]).astype(np.int8)
    metadata = {
        "input": {"name": "x", "shape": [2], "grid": [2, 1, 1], "axes": [1, 2, 0], "multiply": 1.0,
                  "add": 0.0, "scale": 1.0, "time_axis": True},
        "output": {"name": "y", "shape": [2], "scale": 1.0, "transform": "none"},
    }  # fmt: skip
    spec = InputSpec(1000, window, early_exit=rule)
    return Graph(populations, (Projection(0, 1, Dense(weight)),), spec, metadata)


def spikes(*rows: tuple[int, int]) -> Any:
    """Rows of tick and channel, as a recording."""
    return np.array([(1000 * tick, 0, 0, channel) for tick, channel in rows], EVENT)


@pytest.mark.parametrize("where", BACKENDS.values(), ids=BACKENDS)
def test_windows_stay_aligned(where: dict[str, Any]) -> None:
    """A decided window tells its result at once, skips its rest, and the next one begins in time."""
    with InferenceSession(counting_graph(EarlyExit(2), 10), **where) as session:
        # two spikes ahead after tick 3; the spikes of ticks 4 and 5 would turn it
        (first,) = session.push(spikes((0, 0), (2, 1), (2, 0), (3, 0), (4, 1), (5, 1), (5, 1), (6, 1)))
        assert (first.scores.tolist(), first.time_us, first.ticks, first.early) == ([3, 1], 4000, 4, True)
        assert (first.windows, first.events) == (1, 4)
        assert session.push(spikes((9, 1))) == []
        assert session.backend.output().tolist() == [3, 1]
        assert session.push(spikes((10, 1), (13, 1))) == []
        (second,) = session.push(spikes((17, 0)))
        assert (second.scores.tolist(), second.time_us, second.ticks) == ([0, 2], 14000, 4)
        third, fourth = session.push(spikes((40, 0)))
        assert (third.time_us, third.ticks, third.early, third.scores.tolist()) == (30000, 10, False, [0, 0])
        assert (fourth.time_us, fourth.scores.tolist()) == (40000, [0, 0])
        stats = session.stats()
    assert (stats["windows"], stats["input_events"], stats["ticks"]) == (4, 13, 4 + 4 + 20)


@pytest.mark.parametrize("where", BACKENDS.values(), ids=BACKENDS)
def test_a_sample_without_windows(where: dict[str, Any]) -> None:
    x = np.zeros((3, 40, 2), np.float32)
    x[0, [1, 2, 3], 0], x[0, 4:, 1] = 1, 1
    x[1, ::2], x[2, 39, 1] = 1, 1
    with InferenceSession(counting_graph(EarlyExit(2), 0), **where) as session:
        results = list(session.iterate(x))
        assert [(r.scores.tolist(), r.ticks, r.early) for r in results] == [
            ([2, 0], 3, True),
            ([20, 20], 40, False),
            ([0, 1], 40, False),
        ]
        assert [r.events for r in results] == [39, 40, 1]
        assert session.stats()["input_events"] == 39 + 40 + 1


def test_when_it_looks() -> None:
    rows = ((0, 0), (1, 0), (2, 0), (3, 0), (9, 1))
    for rule, ticks in ((EarlyExit(1), 1), (EarlyExit(3), 3), (EarlyExit(1, 4), 4), (EarlyExit(1, 2, 3), 6)):
        for where in BACKENDS.values():
            with InferenceSession(counting_graph(rule, 10), **where) as session:
                (result,) = session.push(spikes(*rows))
                assert (result.ticks, result.time_us) == (ticks, 1000 * ticks), rule


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_membranes_may_decide_while_they_decay(backend: str) -> None:
    """In silence the second forgets faster: some ticks later the first is far enough ahead."""
    graph = counting_graph(EarlyExit(60, 3), 0, Readout.MEMBRANE)
    neuron = graph.populations[1].neuron
    assert isinstance(neuron, IntegrateAndFire)
    decay = np.array([(1 << 30) - 1, 1 << 28], np.int32)
    neuron = replace(neuron, decay=decay, threshold=np.full(2, 10000, np.int32))
    graph = replace(graph, populations=(graph.populations[0], replace(graph.populations[1], neuron=neuron)))
    network = InferenceSession(graph, backend).backend
    network.push(np.array([(2, 0, 0, 0, 1), (2, 0, 0, 1, 1)], CORE_EVENT))
    assert network.advance(1000)
    assert network.decided == 6
    assert not network.advance(1 << 30)
    assert network.output().tolist()[0] >= 96 and network.output()[1] <= 1


def test_the_first_spike_decides() -> None:
    graph = counting_graph(EarlyExit(1), 0, Readout.FIRST_SPIKE)
    x = np.zeros((1, 30, 2))
    x[0, 11, 1], x[0, 12, 0] = 1, 1
    (result,) = InferenceSession(graph).iterate(x)
    assert (result.label, result.ticks, result.margin) == (1, 12, (1 << 31) - 11)


def test_on_a_board_in_qemu(firmware: Any) -> None:
    for seed in range(6):
        graph = exiting_graph(seed, 60)
        events = random_events(np.random.default_rng(seed), graph, 60, longest=3)
        expected = results_of(graph, events, 17, **BACKENDS["reference"])
        assert results_of(graph, events, 17, backend="device", port=f"qemu:{firmware}") == expected
