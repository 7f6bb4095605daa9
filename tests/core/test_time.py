"""Ticks and windows at their edges; core and reference side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgespike import _core
from edgespike.errors import DataError, EdgespikeError, UsageError
from edgespike.graph import (
    CORE_EVENT,
    Accumulator,
    Compare,
    Dense,
    Graph,
    InputSpec,
    IntegrateAndFire,
    LevelInput,
    Population,
    Projection,
    Reset,
    Rounding,
    SpikeInput,
)
from edgespike.modelfile import encode_model
from edgespike.reference import ReferenceNetwork

Make = Callable[[Graph], Any]
BACKENDS: dict[str, Make] = {
    "reference": ReferenceNetwork,
    "streaming": lambda graph: _core.Network(_core.Model(encode_model(graph))),
    "one-shot": lambda graph: _core.Network(_core.Model(encode_model(graph)), "one-shot"),
}
LEVELS = pytest.mark.parametrize("make", BACKENDS.values(), ids=BACKENDS)
SPIKES = pytest.mark.parametrize(
    "make", [BACKENDS["reference"], BACKENDS["streaming"]], ids=["reference", "core"]
)


def events(*rows: tuple[int, int]) -> NDArray[Any]:
    """Rows of tick and value, for one input neuron."""
    return np.array([(tick, 0, 0, 0, value) for tick, value in rows], CORE_EVENT)


def level_graph(window_ticks: int) -> Graph:
    """One input level, times two."""
    zero = np.zeros((1, 1, 1), np.int32)
    populations = (
        Population("in", (1, 1, 1), LevelInput(0, 100), None, zero),
        Population("out", (1, 1, 1), Accumulator(), zero, None, 32),
    )
    projection = Projection(0, 1, Dense(np.array([[2]], np.int8)))
    return Graph(populations, (projection,), InputSpec(1, window_ticks))


def spiking_graph(window_ticks: int = 0, drive: int = 0, **settings: Any) -> Graph:
    values: dict[str, Any] = {
        "threshold": 1000,
        "decay": 1 << 30,
        "drive": drive,
        "reset_value": 0,
        "compare": Compare.GREATER_OR_EQUAL,
        "reset": Reset.SUBTRACT,
        "rounding": Rounding.NONE,
        "max_spikes": 1,
        "membrane_min": -(1 << 30),
        "membrane_max": 1 << 30,
    } | settings
    for name in ("threshold", "decay", "drive", "reset_value"):
        values[name] = np.array([values[name]], np.int32)
    populations = (
        Population("in", (1, 1, 1), SpikeInput(-1000, 1000, 1000)),
        Population("out", (1, 1, 1), IntegrateAndFire(**values), np.zeros((1, 1, 1), np.int32), None, 32),
    )
    projection = Projection(0, 1, Dense(np.array([[100]], np.int8)))
    return Graph(populations, (projection,), InputSpec(1, window_ticks))


def test_the_size_of_an_event_is_that_of_the_core() -> None:
    assert CORE_EVENT.itemsize == 12


# ---- windows ----------------------------------------------------------------


@LEVELS
def test_a_window_closes_before_the_first_event_behind_it(make: Make) -> None:
    network = make(level_graph(10))
    assert network.push(events((0, 3), (9, 4), (10, 5))) == (2, True)
    assert network.output().tolist() == [14]
    assert network.push(events((10, 5), (19, 1))) == (2, False)
    network.finish()
    assert network.output().tolist() == [12]
    assert network.stats()["windows"] == 1
    assert network.stats()["ticks"] == 20


@LEVELS
def test_every_empty_window_is_told(make: Make) -> None:
    network = make(level_graph(10))
    late = events((0, 3), (35, 4))
    assert network.push(late) == (1, True)
    assert network.output().tolist() == [6]
    for _ in range(2):
        assert network.push(late[1:]) == (0, True)
        assert network.output().tolist() == [0]
    assert network.push(late[1:]) == (1, False)
    network.finish()
    assert network.output().tolist() == [8]
    assert network.stats()["windows"] == 3


@LEVELS
def test_the_output_of_a_window_stays_until_something_happens(make: Make) -> None:
    network = make(level_graph(10))
    network.push(events((0, 3)))
    assert network.advance(10)
    assert network.push(events()) == (0, False)
    assert network.output().tolist() == [6]
    with pytest.raises(DataError):
        network.push(events((9, 1)))  # goes back: as if it had not been given
    assert network.output().tolist() == [6]
    assert not network.advance(10)
    network.finish()
    assert network.output().tolist() == [0]


@LEVELS
def test_advance_stops_at_every_window(make: Make) -> None:
    network = make(level_graph(10))
    assert not network.advance(9)
    assert [network.advance(30) for _ in range(4)] == [True, True, True, False]
    assert network.stats()["ticks"] == 30


@LEVELS
def test_finish_right_behind_a_window_ends_an_empty_one(make: Make) -> None:
    network = make(level_graph(10))
    network.push(events((0, 3)))
    network.advance(10)
    network.finish()
    assert network.output().tolist() == [0]
    assert network.stats()["windows"] == 1


@LEVELS
def test_after_finish_only_reset_goes_on(make: Make) -> None:
    network = make(level_graph(0))
    network.push(events((0, 3)))
    network.finish()
    for call in (lambda: network.push(events((1, 1))), lambda: network.advance(5), network.finish):
        with pytest.raises(UsageError) as caught:
            call()
        assert caught.value.code == "state"
    assert network.output().tolist() == [6]
    network.reset()
    network.push(events((0, 1)))
    network.finish()
    assert network.output().tolist() == [2]


@SPIKES
def test_every_window_starts_from_the_initial_state(make: Make) -> None:
    """Decay begins anew too: a stamp of the window before would be older than the window."""
    network = make(spiking_graph(10, decay=1 << 29, rounding=Rounding.FLOOR))
    network.push(events((7, 8)))
    network.advance(8)
    assert network.state(1).tolist() == [800]
    assert network.advance(10)
    assert network.state(1).tolist() == [200]
    network.push(events((13, 9)))
    network.advance(15)
    assert network.state(1).tolist() == [450]


# ---- refused events ---------------------------------------------------------


@LEVELS
@pytest.mark.parametrize(
    ("row", "code"),
    [
        ((4, 0, 0, 0, 1), "event-time"),
        ((7, 1, 0, 0, 1), "event-range"),
        ((7, 0, 1, 0, 1), "event-range"),
        ((7, 0, 0, 1, 1), "event-range"),
        ((7, 0, 0, 0, 99), "event-value"),
        ((7, 0, 0, 0, -3), "event-value"),
    ],
)
def test_a_refused_event_changes_nothing(make: Make, row: tuple[int, ...], code: str) -> None:
    network = make(level_graph(0))
    batch = np.array([(5, 0, 0, 0, 2), row, (6, 0, 0, 0, 1)], CORE_EVENT)
    with pytest.raises(EdgespikeError) as caught:
        network.push(batch)
    assert caught.value.code == code
    assert "event 1 " in caught.value.message
    assert caught.value.hint
    assert network.push(batch[2:]) == (1, False)  # the refused event has closed no tick
    network.finish()
    assert network.output().tolist() == [6]
    assert network.stats()["input_events"] == 2
    assert network.stats()["ticks"] == 7


@SPIKES
def test_the_budget_of_a_tick(make: Make) -> None:
    network = make(spiking_graph())
    assert network.push(events((0, 600), (0, -400), (1, 1000))) == (3, False)
    with pytest.raises(DataError) as caught:
        network.push(events((1, 1)))
    assert caught.value.code == "tick-full"
    assert network.push(events((2, 1))) == (1, False)


# ---- long times -------------------------------------------------------------


@LEVELS
def test_ticks_wrap_around(make: Make) -> None:
    network = make(level_graph(0))
    half = (1 << 31) - 1
    for turn in range(1, 5):
        assert not network.advance(turn * half % (1 << 32))
    tick = 4 * half % (1 << 32)
    network.push(events((tick, 3), ((tick + 5) % (1 << 32), 4)))
    with pytest.raises(DataError):
        network.advance(tick)
    network.finish()
    assert network.output().tolist() == [14]
    assert network.stats()["ticks"] == 4 * half + 6


@LEVELS
def test_windows_across_the_end_of_the_tick_numbers(make: Make) -> None:
    network = make(level_graph(1 << 30))
    tick = (1 << 32) - 10
    closed = 0
    for goal in (1 << 30, 1 << 31, 3 << 30, tick):
        while network.advance(goal):
            closed += 1
    assert closed == 3
    network.push(events((tick, 3)))
    assert network.push(events((5, 4))) == (0, True)
    assert network.output().tolist() == [6]
    assert network.push(events((5, 4))) == (1, False)
    network.finish()
    assert network.output().tolist() == [8]


@SPIKES
def test_a_membrane_remembers_over_all_tick_numbers(make: Make) -> None:
    """Its last change lies more than 2^32 ticks back, and the decay is so slow that it shows."""
    graph = spiking_graph(decay=(1 << 30) - 1, rounding=Rounding.TOWARD_ZERO, threshold=(1 << 30))
    network = make(graph)
    network.push(events((0, 9)))
    for tick in (1 << 30, 1 << 31, 3 << 30, 0, 100):
        network.advance(tick)
    assert network.state(1).tolist() == [0]
    network.push(events((100, 9)))
    network.advance(600)
    assert network.state(1).tolist() == [900 - 499]


def one_tick(membrane: int, decay: int, rounding: Rounding) -> int:
    product = membrane * decay
    if rounding == Rounding.NEAREST:
        return (product + (1 << 29)) >> 30
    if rounding == Rounding.FLOOR:
        return product >> 30
    return -(-product >> 30) if product < 0 else product >> 30


@given(
    st.integers(-1000, 1000),
    st.integers(0, 1 << 30) | st.integers(0, 1 << 16).map(lambda below: (1 << 30) - below),
    st.sampled_from([Rounding.NEAREST, Rounding.FLOOR, Rounding.TOWARD_ZERO]),
    st.integers(0, 3000),
    st.integers(0, 8),
)
@settings(max_examples=200)
def test_a_silence_decays_as_ticks_one_by_one(
    value: int, decay: int, rounding: Rounding, ticks: int, shift: int
) -> None:
    graph = spiking_graph(decay=decay, rounding=rounding, threshold=1 << 30)
    projections = (Projection(0, 1, graph.projections[0].connection, shift),)
    graph = Graph(graph.populations, projections, graph.input)
    network = BACKENDS["streaming"](graph)
    network.push(events((0, value)))
    membrane = value * 100 << shift
    network.advance(1 + ticks)
    for _ in range(ticks):
        membrane = one_tick(membrane, decay, rounding)
    assert network.state(1).tolist() == [membrane]
    network.push(events((1 + ticks, 1)))  # now the core decays for good
    network.advance(2 + ticks)
    assert network.state(1).tolist() == [one_tick(membrane, decay, rounding) + (100 << shift)]


@SPIKES
def test_what_still_fires_fires_on(make: Make) -> None:
    network = make(spiking_graph())
    network.push(events((0, 35)))
    network.advance(1)
    assert network.output().tolist() == [1]
    network.advance(1000)
    assert network.output().tolist() == [3]
    assert network.state(1).tolist() == [500]
    assert network.stats()["ticks"] == 1000


@SPIKES
def test_a_driven_neuron_works_every_tick(make: Make) -> None:
    graph = spiking_graph(window_ticks=25, drive=100, decay=1 << 29, rounding=Rounding.FLOOR, threshold=180)
    network = make(graph)
    network.push(events((3, 1)))
    membrane = spikes = 0
    for tick in range(25):
        membrane = one_tick(membrane, 1 << 29, Rounding.FLOOR) + 100 * (tick == 3) + 100
        if membrane >= 180:
            membrane -= 180
            spikes += 1
    assert network.advance(25)
    assert network.output().tolist() == [spikes]
    assert network.state(1).tolist() == [membrane]
    assert spikes > 3


def test_a_long_silence_takes_no_time_per_tick() -> None:
    """Two billion ticks, several times over: only as one step are they over before the test's patience."""
    network = BACKENDS["streaming"](spiking_graph(decay=1 << 29, rounding=Rounding.FLOOR))
    for turn in range(1, 20):
        network.push(events((turn * ((1 << 31) - 1) % (1 << 32), 5)))
    assert network.stats()["ticks"] == 19 * ((1 << 31) - 1)
