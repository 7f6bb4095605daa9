"""The reference interpreter against arithmetic done by hand or by plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgespike.errors import DataError, MismatchError, UsageError
from edgespike.graph import (
    CORE_EVENT,
    Accumulator,
    Activation,
    Compare,
    Convolution,
    Dense,
    EventCounts,
    Graph,
    InputSpec,
    IntegrateAndFire,
    LevelInput,
    LevelTable,
    MaxPool,
    MaxPoolWindow,
    Population,
    Projection,
    Reset,
    Rounding,
    SpikeInput,
    SumPool,
)
from edgespike.reference import (
    NeuronState,
    ReferenceNetwork,
    decayed,
    fan_out,
    level,
    maximum,
    project,
    step,
)


def events(*rows: tuple[int, int, int, int, int]) -> Any:
    """Rows of tick, x, y, channel, value."""
    return np.array(list(rows), CORE_EVENT)


def fill(shape: tuple[int, int, int], value: int = 0) -> Any:
    return np.full(shape, value, np.int32)


def neuron(**settings: Any) -> IntegrateAndFire:
    values: dict[str, Any] = {
        "threshold": [100],
        "decay": [1 << 30],
        "drive": [0],
        "reset_value": [0],
        "compare": Compare.GREATER,
        "reset": Reset.SUBTRACT,
        "rounding": Rounding.NONE,
        "max_spikes": 1,
        "membrane_min": -1000,
        "membrane_max": 1000,
    } | settings
    arrays = {k: np.array(values[k], np.int32) for k in ("threshold", "decay", "drive", "reset_value")}
    return IntegrateAndFire(**(values | arrays))


def spiking_graph(window_ticks: int = 0, weight: int = 60, **settings: Any) -> Graph:
    one = (1, 1, 1)
    return Graph(
        populations=(
            Population("in", one, SpikeInput(-10, 10, 100)),
            Population("out", one, neuron(**settings), fill(one), accumulator_bits=32),
        ),
        projections=(Projection(0, 1, Dense(np.array([[weight]], np.int8))),),
        input=InputSpec(window_ticks=window_ticks),
    )


windows = st.tuples(
    st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.integers(0, 2)
)


@given(rows=windows, columns=windows, groups=st.sampled_from([1, 2]), seed=st.integers(0, 999))
def test_convolution_and_pools_equal_plain_loops(
    rows: tuple[int, ...], columns: tuple[int, ...], groups: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    (height, kernel_y, stride_y, dilation_y, top), (width, kernel_x, stride_x, dilation_x, left) = (
        rows,
        columns,
    )
    source = (height, width, 2)
    target = (int(rng.integers(1, 7)), int(rng.integers(1, 7)), 4)
    weight = rng.integers(-127, 128, (2, kernel_y, kernel_x, 4 // groups)).astype(np.int8)
    geometry: dict[str, Any] = {
        "stride": (stride_y, stride_x),
        "dilation": (dilation_y, dilation_x),
        "padding": (top, left),
    }
    values = rng.integers(-300, 301, source)
    convolution = Convolution(weight, groups=groups, **geometry)
    added, reached = np.zeros(target, np.int64), np.zeros(source, np.int64)
    pooled, best = np.zeros((*target[:2], 2), np.int64), np.full((*target[:2], 2), -(10**9))
    for ty, tx, ky, kx in np.ndindex(target[0], target[1], kernel_y, kernel_x):
        sy, sx = ty * stride_y + ky * dilation_y - top, tx * stride_x + kx * dilation_x - left
        if not (0 <= sy < height and 0 <= sx < width):
            continue
        for c in range(2):
            pooled[ty, tx, c] += values[sy, sx, c]
            best[ty, tx, c] = max(best[ty, tx, c], values[sy, sx, c])
            group = c * groups // 2
            for k in range(4 // groups):
                added[ty, tx, group * (4 // groups) + k] += int(weight[c, ky, kx, k]) * values[sy, sx, c]
                reached[sy, sx, c] += 1
    assert np.array_equal(project(convolution, values, target), added)
    assert np.array_equal(fan_out(convolution, source, target), reached)
    kernel = (kernel_y, kernel_x)
    assert np.array_equal(project(SumPool(kernel, **geometry), values, (*target[:2], 2)), pooled)
    window = maximum(MaxPoolWindow(kernel, **geometry), values, (*target[:2], 2))
    assert np.array_equal(np.maximum(window, -(10**9)), best)


def test_level_rounds_half_up_and_clips() -> None:
    activation = Activation(np.array([10], np.int32), -2, 3)
    accumulators = np.array([-100, -26, -25, -15, -6, -5, 4, 5, 14, 15, 34, 35, 100]).reshape(1, -1, 1)
    assert level(activation, accumulators).ravel().tolist() == [-2, -2, -2, -1, -1, 0, 0, 1, 1, 2, 3, 3, 3]
    odd = Activation(np.array([3], np.int32), -9, 9)
    assert level(odd, np.array([-2, -1, 0, 1, 2]).reshape(1, -1, 1)).ravel().tolist() == [-1, 0, 0, 0, 1]
    shifted = Activation(np.array([10], np.int32), -2, 3, shift=2)  # a level is 2.5 units
    assert level(shifted, np.array([-2, -1, 0, 1, 2, 3, 4]).reshape(1, -1, 1)).ravel().tolist() == [
        *(-1, 0, 0, 0, 1, 1, 2)
    ]


def test_level_tables_are_clipped_at_their_ends_and_by_channel() -> None:
    rows = np.array([[7, -4, 0, 9], [1, 2, 3, 4]], np.int16)
    accumulators = np.repeat(np.arange(-40, 41, 10), 2).reshape(1, -1, 2)
    own = Activation(np.array([10, 20], np.int32), -4, 9, 0, LevelTable(-1, rows))
    assert level(own, accumulators)[0, :, 0].tolist() == [7, 7, 7, 7, -4, 0, 9, 9, 9]
    assert level(own, accumulators)[0, :, 1].tolist() == [1, 1, 1, 2, 2, 3, 3, 4, 4]
    shared = Activation(np.array([10, 20], np.int32), -4, 9, 0, LevelTable(-1, rows[:1]))
    assert level(shared, accumulators)[0, :, 1].tolist() == [7, 7, 7, -4, -4, 0, 0, 9, 9]


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        (Rounding.NEAREST, [-2, -1, -1, 0, 0, 1, 2, 2]),
        (Rounding.FLOOR, [-3, -2, -1, -1, 0, 0, 1, 2]),
        (Rounding.TOWARD_ZERO, [-2, -1, -1, 0, 0, 0, 1, 2]),
        (Rounding.NONE, [-5, -3, -2, -1, 0, 1, 3, 4]),
    ],
)
def test_decay_by_a_half(rounding: Rounding, expected: list[int]) -> None:
    membrane = np.array([-5, -3, -2, -1, 0, 1, 3, 4]).reshape(1, -1, 1)
    half = np.array([1 << 29], np.int32)
    assert decayed(membrane, half, rounding).ravel().tolist() == expected


def fire(neurons: IntegrateAndFire, membrane: Any) -> tuple[Any, Any]:
    """Spikes of membranes that get nothing more in the tick, and the membranes after it."""
    zero = np.zeros_like(membrane)
    spikes, after = step(neurons, NeuronState(membrane, zero, zero, zero), zero)
    return spikes, after.membrane


@pytest.mark.parametrize(
    ("compare", "most", "expected"),
    [
        (Compare.GREATER, 1, [0, 0, 1, 1, 1, 1]),
        (Compare.GREATER_OR_EQUAL, 1, [0, 1, 1, 1, 1, 1]),
        (Compare.GREATER, 3, [0, 0, 1, 1, 2, 3]),
        (Compare.GREATER_OR_EQUAL, 3, [0, 1, 1, 2, 2, 3]),
    ],
)
def test_spikes_in_one_tick(compare: Compare, most: int, expected: list[int]) -> None:
    membrane = np.array([99, 100, 101, 200, 201, 900]).reshape(1, -1, 1)
    spikes, after = fire(neuron(compare=compare, max_spikes=most), membrane)
    assert spikes.ravel().tolist() == expected
    assert np.array_equal(after, membrane - 100 * spikes)


def test_reset_to_value_and_clamp() -> None:
    membrane = np.array([101, 99, -5000]).reshape(1, -1, 1)
    spikes, after = fire(neuron(reset=Reset.TO_VALUE, reset_value=[-7]), membrane)
    assert spikes.ravel().tolist() == [1, 0, 0]
    assert after.ravel().tolist() == [-7, 99, -1000]
    spikes, after = fire(neuron(reset=Reset.NONE), membrane)
    assert after.ravel().tolist() == [101, 99, -1000]


def test_order_within_a_tick_is_decay_integrate_compare() -> None:
    network = ReferenceNetwork(spiking_graph(decay=[1 << 29], rounding=Rounding.FLOOR))
    network.push(events((0, 0, 0, 0, 1), (1, 0, 0, 0, 1), (2, 0, 0, 0, 1)))
    network.finish()  # 60, 30 + 60 = 90, 45 + 60 = 105 fires
    assert network.output().tolist() == [1]
    assert network.state(1).tolist() == [5]


def test_a_neuron_above_threshold_fires_on_in_silence() -> None:
    network = ReferenceNetwork(spiking_graph())
    network.push(events((0, 0, 0, 0, 6)))  # 360: fires at ticks 0, 1 and 2, then 60 stays
    assert not network.advance(2_000_000_000)
    assert network.output().tolist() == [3]
    assert network.stats()["ticks"] == 2_000_000_000
    assert network.stats()["populations"][1]["events"] == 3


def test_drive_works_without_input() -> None:
    network = ReferenceNetwork(spiking_graph(drive=[50]))
    network.advance(6)  # 50, 100, 150 fires, 100, 150 fires, 100
    assert network.output().tolist() == [2]


def test_windows_close_latch_and_start_afresh() -> None:
    network = ReferenceNetwork(spiking_graph(window_ticks=10))
    stream = events((0, 0, 0, 0, 2), (25, 0, 0, 0, 4), (25, 0, 0, 0, 1))
    assert network.push(stream) == (1, True)
    assert network.output().tolist() == [1]
    assert network.push(stream[1:]) == (0, True)
    assert network.output().tolist() == [0]
    assert network.push(stream[1:]) == (2, False)
    assert network.advance(30)
    assert network.output().tolist() == [2]
    assert network.stats()["windows"] == 3
    assert not network.advance(30)
    with pytest.raises(DataError, match="before the open tick 30"):
        network.advance(29)


def test_finish_ends_a_sample_until_reset() -> None:
    network = ReferenceNetwork(spiking_graph())
    network.finish()
    for call in (lambda: network.push(events()), lambda: network.advance(5), network.finish):
        with pytest.raises(UsageError) as caught:
            call()
        assert caught.value.code == "state"
    network.reset()
    network.push(events((0, 0, 0, 0, 2)))


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ((4, 0, 0, 0, 1), "event-time"),
        ((5, 1, 0, 0, 1), "event-range"),
        ((5, 0, 1, 0, 1), "event-range"),
        ((5, 0, 0, 1, 1), "event-range"),
        ((5, 0, 0, 0, 11), "event-value"),
        ((5, 0, 0, 0, -11), "event-value"),
    ],
)
def test_bad_events_are_refused_and_the_rest_stands(event: tuple[int, int, int, int, int], code: str) -> None:
    network = ReferenceNetwork(spiking_graph())
    with pytest.raises(DataError, match="event 1 ") as caught:
        network.push(events((5, 0, 0, 0, 1), event))
    assert caught.value.code == code
    assert network.stats()["input_events"] == 1


def test_budget_bounds_one_tick() -> None:
    network = ReferenceNetwork(spiking_graph(weight=1))
    network.push(events(*[(0, 0, 0, 0, -10)] * 10))
    with pytest.raises(DataError) as caught:
        network.push(events((0, 0, 0, 0, 1)))
    assert caught.value.code == "tick-full"
    network.push(events((1, 0, 0, 0, 1)))


def counting_graph() -> Graph:
    shape = (2, 2, 4)
    table = np.arange(4) * np.array([[1], [2], [3], [4]])
    return Graph(
        populations=(
            Population("in", shape, LevelInput(0, 12), initial_level=fill(shape)),
            Population("out", (1, 1, 1), Accumulator(), fill((1, 1, 1)), accumulator_bits=32),
        ),
        projections=(Projection(0, 1, Dense(np.ones((16, 1), np.int8))),),
        input=InputSpec(1000, 20, EventCounts(2, 2, 10, 3, table.astype(np.int16))),
    )


def test_events_are_counted_by_pixel_polarity_and_slice() -> None:
    network = ReferenceNetwork(counting_graph())
    network.push(
        events((0, 1, 0, 0, 1), (9, 1, 0, 1, 1), (10, 1, 0, 0, 1), (12, 1, 0, 0, 1), (19, 0, 1, 1, 5))
    )
    network.finish()
    levels = network.state(0).reshape(2, 2, 4)
    assert levels[0, 1].tolist() == [1, 2, 2 * 3, 0]
    assert levels[1, 0].tolist() == [0, 0, 0, 3 * 4]  # saturated at three
    assert network.output().tolist() == [1 + 2 + 6 + 12]
    assert network.stats()["events"] == 5


def test_a_saturated_pixel_sends_nothing() -> None:
    network = ReferenceNetwork(counting_graph())
    network.push(events((0, 0, 0, 0, 3), (0, 0, 0, 0, 1)))
    assert network.stats()["input_events"] == 2
    assert network.stats()["events"] == 1


def test_max_pool_follows_levels_down() -> None:
    source, target = (2, 2, 1), (1, 1, 1)
    graph = Graph(
        populations=(
            Population("in", source, LevelInput(0, 9), initial_level=fill(source)),
            Population("pool", target, MaxPool(0, 9), initial_level=fill(target)),
            Population("out", target, Accumulator(), fill(target), accumulator_bits=16),
        ),
        projections=(
            Projection(0, 1, MaxPoolWindow((2, 2), (2, 2))),
            Projection(1, 2, Dense(np.array([[10]], np.int8))),
        ),
    )
    network = ReferenceNetwork(graph)
    network.push(events((0, 0, 0, 0, 7), (0, 1, 1, 0, 4), (1, 0, 0, 0, -6)))
    assert network.output().tolist() == [70]
    network.advance(2)
    assert network.output().tolist() == [40]
    assert network.stats()["populations"][1] == {"events": 2, "synops": 2}


def test_a_wrong_bound_is_noticed() -> None:
    one = (1, 1, 1)
    graph = Graph(
        populations=(
            Population("in", one, LevelInput(0, 1000), initial_level=fill(one)),
            Population("out", one, Accumulator(), fill(one), accumulator_bits=16),
        ),
        projections=(Projection(0, 1, Dense(np.array([[127]], np.int8))),),
    )
    network = ReferenceNetwork(graph)
    network.push(events((0, 0, 0, 0, 1000)))
    with pytest.raises(MismatchError, match="'out'"):
        network.finish()
