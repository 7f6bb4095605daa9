"""Every kind of neuron, reset and readout gives the same bits in every backend, in any chunking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import nir
import numpy as np
import pytest
from literal import Save
from numpy.typing import NDArray

from edgespike.convert.early_exit import placed
from edgespike.convert.spiking import convert_nir
from edgespike.graph import EarlyExit, Graph, IntegrateAndFire, Readout
from edgespike.session import InferenceSession

SIZE = 5
TICKS = 40
DT = 1e-3


def values(low: float, high: float) -> NDArray[np.float64]:
    """One for each neuron, all different."""
    return np.linspace(low, high, SIZE)


def lif(**metadata: Any) -> Any:
    return nir.LIF(
        values(4e-3, 30e-3), values(2.0, 5.0), values(-0.1, 0.1), values(0.2, 0.6), metadata=metadata
    )


def cuba_lif(**metadata: Any) -> Any:
    times = values(3e-3, 9e-3), values(5e-3, 40e-3)
    rest = values(2.0, 6.0), values(0.0, 0.05), values(0.2, 0.5)
    return nir.CubaLIF(*times, *rest, w_in=values(5.0, 9.0), metadata=metadata)


ADAPTS = {"adaptation_tau": values(10e-3, 50e-3), "adaptation_increment": values(0.05, 0.3)}
KINDS: dict[str, Callable[[], Any]] = {
    "IF": lambda: nir.IF(values(500.0, 1500.0), values(0.3, 0.9)),
    "LIF": lif,
    "CubaLIF": cuba_lif,
    "Threshold": lambda: nir.Threshold(values(0.1, 0.8)),
    "adaptive LIF": lambda: lif(**ADAPTS),
    "adaptive CubaLIF": lambda: cuba_lif(**ADAPTS),
    "I": lambda: nir.I(values(500.0, 1500.0)),
    "LI": lambda: nir.LI(values(4e-3, 30e-3), np.full(SIZE, 2.0), values(-0.1, 0.1)),
    "CubaLI": lambda: nir.CubaLI(
        values(3e-3, 9e-3), values(5e-3, 40e-3), np.full(SIZE, 2.0), np.zeros(SIZE), np.ones(SIZE)
    ),
}


@dataclass(frozen=True)
class Case:
    """What is put behind a population of LIF neurons, and how it is read."""

    last: str
    options: dict[str, Any] = field(default_factory=dict)
    delayed: bool = False
    recurrent: bool = False
    exits: bool = False


CASES = {
    **{kind: Case(kind) for kind in KINDS},
    **{f"LIF, reset {reset}": Case("LIF", {"reset": reset}) for reset in ("none", "zero-delayed")},
    "LIF, several spikes": Case("LIF", {"reset": "subtract", "max_spikes": 5}),
    "adaptive LIF, delayed": Case("adaptive LIF", {"reset": "subtract-delayed"}, recurrent=True),
    "IF, subtracting": Case("IF", {"reset": "subtract", "compare": "ge", "max_spikes": 3}),
    "delays by neuron": Case("LIF", delayed=True),
    "delays by neuron, currents": Case("CubaLIF", {"current": "old"}, delayed=True),
    "recurrent Threshold": Case("Threshold", recurrent=True),
    "first spike": Case("LIF", {"readout": "first"}),
    "greatest membrane": Case("LI", {"readout": "greatest"}),
    "membrane of spiking": Case("CubaLIF", {"readout": "membrane"}),
    "early exit": Case("LIF", exits=True),
    "early exit of adaptive": Case("adaptive LIF", {"reset": "subtract-delayed"}, recurrent=True, exits=True),
    "early exit of membranes": Case("CubaLI", exits=True),
}


def graph_of(case: Case, save: Save) -> Graph:
    rng = np.random.default_rng(len(case.last))
    nodes: dict[str, Any] = {
        "input": nir.Input(np.array([4])),
        "enter": nir.Affine(rng.normal(0.1, 0.5, (SIZE, 4)), rng.normal(0, 0.02, SIZE)),
        "hidden": lif(),
        "on": nir.Affine(rng.normal(0.3, 0.6, (SIZE, SIZE)), rng.normal(0.02, 0.02, SIZE)),
        "last": KINDS[case.last](),
        "output": nir.Output(np.array([SIZE])),
    }
    edges = [("input", "enter"), ("enter", "hidden"), ("hidden", "on"), ("on", "last"), ("last", "output")]
    if case.delayed:
        nodes["wait"] = nir.Delay(DT * np.array([0, 3, 1, 17, 3]))
        edges[2:3] = [("hidden", "wait"), ("wait", "on")]
    if case.recurrent:
        nodes["back"] = nir.Linear(rng.normal(0, 0.4, (SIZE, SIZE)))
        edges += [("last", "back"), ("back", "last")]
    options: dict[str, Any] = {"reset": "value", "compare": "gt", **case.options}
    graph, _ = convert_nir(save(nodes, edges), dt=DT, window=TICKS * DT, **options)
    if case.exits:
        graph = placed(graph, EarlyExit(exit_margin(graph), 3, 2))
    return graph


def exit_margin(graph: Graph) -> int:
    """One that is reached on the way."""
    neuron = graph.populations[-1].neuron
    assert isinstance(neuron, IntegrateAndFire)
    return 1 if neuron.readout == Readout.SPIKES else int(0.05 / graph.metadata["output"]["scale"])


def events_of(graph: Graph, seed: int) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    x = (rng.random((1, TICKS, 4)) < np.array([0.2, 0.5, 0.1, 0.4])).astype(np.float32)
    x[:, 12:20] = 0
    return InferenceSession(graph).sample_events(x[0])


def bits(session: InferenceSession, pieces: list[NDArray[Any]]) -> Any:
    """Scores of a window that came in pieces, and all that was done."""
    session.reset()
    before = session.stats()
    for piece in pieces:
        while len(piece):
            used, ended = session.backend.push(piece)
            piece = piece[used:]
            if ended and not used:
                break
    session.backend.finish()
    after = session.stats()
    counts = [
        (late["events"] - early["events"], late["synops"] - early["synops"])
        for late, early in zip(after["populations"], before["populations"], strict=True)
    ]
    return session.backend.output().tolist(), counts


@pytest.mark.parametrize("name", CASES)
def test_reference_cpu_emulated_and_qemu(name: str, save: Save, request: pytest.FixtureRequest) -> None:
    graph = graph_of(CASES[name], save)
    firmware = request.getfixturevalue("firmware")
    with (
        InferenceSession(graph, "device", port="emulated") as emulated,
        InferenceSession(graph, "device", port=f"qemu:{firmware}") as qemu,
    ):
        sessions = [InferenceSession(graph, "reference"), InferenceSession(graph), emulated, qemu]
        active = 0
        for seed in range(2):
            rng = np.random.default_rng(seed)
            events = events_of(graph, seed)
            expected = bits(sessions[0], [events])
            active += sum(sent for sent, _ in expected[1][1:])
            for session in sessions:
                cuts = np.sort(rng.integers(0, len(events), 4))
                assert bits(session, [events]) == expected
                assert bits(session, np.split(events, cuts)) == expected
                assert bits(session, np.split(events, range(1, len(events)))) == expected
        least = 3 if CASES[name].exits else 10  # a window that is decided is soon over
        assert active > least, "the neurons hardly spike: the test shows nothing"


def test_cases_are_what_they_are_called(save: Save) -> None:
    """Each feature is in the graph of its case."""
    graphs = {name: graph_of(case, save) for name, case in CASES.items()}

    def neuron(name: str) -> IntegrateAndFire:
        last = graphs[name].populations[-1].neuron
        assert isinstance(last, IntegrateAndFire)
        return last

    assert neuron("CubaLIF").current and neuron("adaptive LIF").adaptation
    assert (neuron("Threshold").decay == 0).all() and neuron("LI").max_spikes == 0
    assert neuron("first spike").readout == Readout.FIRST_SPIKE
    assert neuron("adaptive LIF, delayed").reset_delayed
    delays = {p.delay for p in graphs["delays by neuron"].projections if p.source == 1}
    assert delays == {0, 1, 3, 17}
    for name, case in CASES.items():
        assert (graphs[name].input.early_exit is not None) == case.exits
        exits = replace(graphs[name], input=replace(graphs[name].input, early_exit=None))
        if case.exits:
            events = events_of(exits, 0)
            work, whole = (bits(InferenceSession(graph), [events])[1] for graph in (graphs[name], exits))
            assert work != whole, name
