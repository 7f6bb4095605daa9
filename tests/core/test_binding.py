"""The Cython binding: what it accepts, what it says, and threads."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from random_graphs import random_events, random_graph

from edgespike import _core
from edgespike.arena import one_shot_bytes, streaming_bytes
from edgespike.errors import (
    BudgetError,
    DataError,
    DeviceError,
    EdgespikeError,
    MismatchError,
    ModelError,
    UsageError,
)
from edgespike.graph import (
    CORE_EVENT,
    Accumulator,
    Dense,
    EventCounts,
    Graph,
    InputSpec,
    LevelInput,
    Population,
    Projection,
)
from edgespike.modelfile import encode_model

ERRORS_H = Path(__file__).resolve().parents[2] / "edgespike" / "core" / "es_errors.h"


def zeros(*shape: int) -> NDArray[np.int32]:
    return np.zeros(shape, np.int32)


def counting_graph(window_slices: int = 2) -> Graph:
    """A 3 x 5 sensor, two polarities, two slices of ten ticks."""
    counts = EventCounts(2, window_slices, 10, 3, np.tile(np.arange(4, dtype=np.int16), (4, 1)))
    populations = (
        Population("in", (3, 5, 4), LevelInput(0, 3), None, zeros(3, 5, 4)),
        Population("out", (1, 1, 2), Accumulator(), zeros(1, 1, 2), None, 32),
    )
    projections = (Projection(0, 1, Dense(np.ones((60, 2), np.int8))),)
    source = hashlib.sha256(b"network").digest()
    return Graph(populations, projections, InputSpec(1000, 20, counts), {"classes": ["ä", "b"]}, source)


def network_of(graph: Graph, plan: str = "streaming") -> _core.Network:
    return _core.Network(_core.Model(encode_model(graph)), plan)


# ---- errors -----------------------------------------------------------------


def test_errors_are_those_of_the_header() -> None:
    rows = re.findall(r'ES_ERROR\((\w+), (-\d+), (\w+), "([^"]+)", "([^"]+)"\)', ERRORS_H.read_text())
    assert len(rows) == len(_core.ERRORS)
    assert {
        int(code): (name, family, slug, message) for name, code, family, slug, message in rows
    } == _core.ERRORS
    assert len({slug for _, _, slug, _ in _core.ERRORS.values()}) == len(rows)


def test_every_code_is_an_exception_of_its_family() -> None:
    families = {
        "MODEL": ModelError,
        "DATA": DataError,
        "BUDGET": BudgetError,
        "USAGE": UsageError,
        "LINK": DeviceError,
    }
    for code, (_, family, slug, message) in _core.ERRORS.items():
        error = _core.error_of(code)
        assert type(error) is families[family]
        assert (error.code, error.message) == (slug, message)
        assert error.exit_code != MismatchError.exit_code
    error = _core.error_of(-4, "there", "do this")
    assert error.message.startswith("there: ")
    assert error.hint == "do this"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ((3, 0, 0, 0, 1), ["event 1 ", "tick 3", "open tick 4"]),
        ((5, 7, 0, 0, 1), ["event 1 ", "x 7", "5 x 3 x 2"]),
        ((5, 0, 0, 2, 1), ["channel 2", "5 x 3 x 2"]),
        ((5, 0, 0, 0, 0), ["value 0"]),
        ((5, 0, 0, 0, -1), ["value -1"]),
    ],
)
def test_a_refused_event_is_named(row: tuple[int, ...], said: list[str]) -> None:
    network = network_of(counting_graph())
    with pytest.raises(DataError) as caught:
        network.push(np.array([(4, 0, 0, 0, 1), row], CORE_EVENT))
    for part in said:
        assert part in caught.value.message
    assert caught.value.hint


def test_wrong_arguments() -> None:
    network = network_of(counting_graph())
    with pytest.raises(DataError) as caught:
        network.push(np.zeros(3, np.int32))
    assert caught.value.code == "event-dtype"
    with pytest.raises(DataError):
        network.push(np.zeros((2, 2), CORE_EVENT))
    for tick in (-1, 1 << 32):
        with pytest.raises(UsageError):
            network.advance(tick)
    for population in (-1, 2):
        with pytest.raises(UsageError):
            network.state(population)
    with pytest.raises(UsageError):
        network_of(counting_graph(), "dense")
    with pytest.raises(TypeError):
        _core.Network(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _core.Model(3.5)  # type: ignore[arg-type]


def test_one_shot_has_no_scores_before_the_end_and_no_states() -> None:
    network = network_of(counting_graph(), "one-shot")
    with pytest.raises(UsageError):
        network.output()
    with pytest.raises(UsageError):
        network.state(0)
    network.finish()
    assert network.output().tolist() == [0, 0]


def test_a_spiking_network_has_no_one_shot_plan() -> None:
    graph = random_graph(np.random.default_rng(3), spiking=True)
    assert graph.is_spiking
    assert _core.Model(encode_model(graph)).arena_size("one-shot") is None
    with pytest.raises(UsageError, match="no one-shot plan"):
        network_of(graph, "one-shot")


# ---- models -----------------------------------------------------------------


def test_a_model_tells_what_it_is() -> None:
    graph = counting_graph()
    model = _core.Model(encode_model(graph))
    assert model.output_size == 2
    assert model.population_count == 2
    assert model.source_hash == graph.source_hash
    assert json.loads(model.metadata) == graph.metadata
    assert model.arena_size("streaming") == streaming_bytes(graph)
    assert model.arena_size("one-shot") == one_shot_bytes(graph)
    assert _core.FORMAT_VERSION == (2, 0)


def test_a_model_does_not_need_its_source_any_more() -> None:
    data = bytearray(encode_model(counting_graph()))
    model = _core.Model(memoryview(data))
    data[:] = bytes(len(data))
    network = _core.Network(model)
    del model
    network.push(np.array([(0, 1, 1, 0, 2)], CORE_EVENT))
    network.finish()
    assert network.output().tolist() == [2, 2]


# ---- event counts -----------------------------------------------------------


def test_counts_saturate_by_pixel_polarity_and_slice() -> None:
    network = network_of(counting_graph())
    rows = [
        (0, 1, 2, 0, 2),
        (0, 1, 2, 0, 2),
        (0, 1, 2, 1, 1),
        (9, 1, 2, 0, 1),
        (10, 1, 2, 0, 1),
        (19, 4, 0, 1, 30000),
    ]
    network.push(np.array(rows, CORE_EVENT))
    network.finish()
    levels = network.state(0).reshape(3, 5, 4)
    assert levels[2, 1].tolist() == [3, 1, 1, 0]
    assert levels[0, 4].tolist() == [0, 0, 0, 3]
    assert levels.sum() == 8
    assert network.output().tolist() == [8, 8]
    stats = network.stats()
    assert stats["input_events"] == 6
    assert stats["events"] == 5  # the fourth changed nothing: the count was full
    assert stats["synops"] == 10
    network.clear_stats()
    assert network.stats()["populations"] == [{"events": 0, "synops": 0}] * 2


@pytest.mark.parametrize("plan", ["streaming", "one-shot"])
def test_read_only_and_strided_events(plan: str) -> None:
    network = network_of(counting_graph(), plan)
    events = np.array([(0, 1, 1, 0, 1), (0, 9, 9, 9, 9), (0, 2, 1, 0, 1)], CORE_EVENT)
    events.flags.writeable = False
    assert network.push(events[::2]) == (2, False)
    network.finish()
    assert network.output().tolist() == [2, 2]


def test_a_batch_is_one_call_and_is_not_copied_as_a_whole() -> None:
    network, events = network_of(counting_graph()), np.zeros(200_000, CORE_EVENT)
    events["value"] = 1
    strided = np.repeat(events, 2)[::2]
    for given, least, most in ((events, 0, 10_000), (strided, events.nbytes, 2 * events.nbytes)):
        network.reset()
        tracemalloc.start()
        assert network.push(given) == (len(events), False)
        assert least <= tracemalloc.get_traced_memory()[1] <= most
        tracemalloc.stop()


def test_a_model_at_any_address_is_copied_to_an_aligned_one() -> None:
    data = encode_model(counting_graph())
    for offset in range(1, 17):
        model = _core.Model(memoryview(bytes(offset) + data)[offset:])
        network = _core.Network(model)
        network.push(np.array([(0, 1, 1, 0, 2)], CORE_EVENT))
        network.finish()
        assert network.output().tolist() == [2, 2]


# ---- threads ----------------------------------------------------------------


def busy_graph() -> Graph:
    """Every event reaches 60,000 neurons."""
    populations = (
        Population("in", (1, 1, 1), LevelInput(-30000, 30000), None, zeros(1, 1, 1)),
        Population("out", (1, 1, 60000), Accumulator(), zeros(1, 1, 60000), None, 32),
    )
    return Graph(populations, (Projection(0, 1, Dense(np.ones((1, 60000), np.int8))),))


def up_and_down(count: int) -> NDArray[Any]:
    events = np.zeros(count, CORE_EVENT)
    events["value"] = np.resize([1, -1], count)
    return events


def test_a_second_thread_is_refused_and_others_run_on() -> None:
    """While one thread pushes, the GIL is free; the same network is not."""
    model = _core.Model(encode_model(busy_graph()))
    network, other = _core.Network(model), _core.Network(model)
    refused = []
    worker = threading.Thread(target=network.push, args=(up_and_down(10_000),))
    worker.start()
    while worker.is_alive():
        other.push(up_and_down(2))
        try:
            network.stats()
        except UsageError as error:
            refused.append(error)
    worker.join()
    assert refused
    assert {error.code for error in refused} == {"busy"}
    assert network.stats()["input_events"] == 10_000


def test_networks_of_one_model_are_independent() -> None:
    rng = np.random.default_rng(11)
    graph = random_graph(rng, counts=False)
    model = _core.Model(encode_model(graph))
    batches = [random_events(np.random.default_rng(seed), graph, 50) for seed in range(4)]

    def run(network: _core.Network, events: NDArray[Any], outputs: list[Any]) -> None:
        while len(events):
            used, _ = network.push(events[:3])
            events = events[used:]
        network.finish()
        outputs.append(zlib.crc32(network.output().tobytes()))

    alone: list[Any] = []
    for batch in batches:
        run(_core.Network(model), batch, alone)
    networks = [_core.Network(model) for _ in batches]
    together: list[list[Any]] = [[] for _ in batches]
    threads = [
        threading.Thread(target=run, args=part) for part in zip(networks, batches, together, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [outputs[0] for outputs in together] == alone


def test_errors_leave_the_network_usable() -> None:
    network = network_of(counting_graph())
    with pytest.raises(EdgespikeError):
        network.push(np.array([(0, 99, 0, 0, 1)], CORE_EVENT))
    assert network.push(np.array([(0, 1, 0, 0, 1)], CORE_EVENT)) == (1, False)
