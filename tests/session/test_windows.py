"""Windows are built event by event, sample by sample: the same levels as from scratch, for any split."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgespike import _core
from edgespike.encoders import Window, WindowEncoder, sample_times
from edgespike.errors import DataError
from edgespike.events import make_events
from edgespike.graph import (
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
from edgespike.reference_encoders import hold
from edgespike.session import InferenceSession

CUTS = st.lists(st.integers(0, 400), max_size=6)


# ---- events of a camera ---------------------------------------------------------------

HEIGHT, WIDTH, SLICES, SLICE_US, TICK_US = 3, 4, 3, 1000, 250
TABLE = np.array(
    [[0, 2, 5, 6], [-1, 0, 3, 9], [4, 4, 5, 1]] * 2, np.int16
)  # level by count, for each channel


def camera_graph(polarities: int) -> Graph:
    channels = SLICES * polarities
    shape = (HEIGHT, WIDTH, channels)
    table = TABLE[:channels]
    weight = np.random.default_rng(1).integers(-9, 9, (HEIGHT * WIDTH * channels, 3), np.int8)
    start = np.broadcast_to(table[:, 0], shape).astype(np.int32)
    return Graph(
        (
            Population("counts", shape, LevelInput(-1, 9), initial_level=start),
            Population(
                "scores",
                (1, 1, 3),
                Accumulator(),
                (start.ravel() @ weight.astype(np.int32)).reshape(1, 1, 3).astype(np.int32),
                accumulator_bits=32,
            ),
        ),
        (Projection(0, 1, Dense(weight)),),
        InputSpec(
            TICK_US,
            SLICES * SLICE_US // TICK_US,
            EventCounts(polarities, SLICES, SLICE_US // TICK_US, 3, table),
        ),
    )


def levels_from_scratch(events: NDArray[Any], window: int, polarities: int) -> NDArray[np.int64]:
    """The levels of one window, from all of its events at once."""
    inside = events[events["t"] // (SLICES * SLICE_US) == window]
    channel = inside["t"] // SLICE_US % SLICES * polarities + (inside["p"] if polarities == 2 else 0)
    counts = np.zeros((HEIGHT, WIDTH, SLICES * polarities), np.int64)
    np.add.at(counts, (inside["y"], inside["x"], channel), 1)
    return TABLE[: SLICES * polarities][np.arange(SLICES * polarities), np.minimum(counts, 3)].astype(
        np.int64
    )


@settings(max_examples=150)
@given(st.integers(0, 1 << 32), st.sampled_from([1, 2]), CUTS)
def test_counts_of_a_camera_s_windows(seed: int, polarities: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 400))
    times = np.sort(rng.integers(0, 5 * SLICES * SLICE_US, count))
    busy = rng.random(count) < 0.3
    x, y = np.where(busy, 1, rng.integers(0, WIDTH, count)), np.where(busy, 2, rng.integers(0, HEIGHT, count))
    events = make_events(times, x, y, rng.integers(0, 2, count))
    graph = camera_graph(polarities)
    core = InferenceSession(graph).core_events(events)
    network = _core.Network(_core.Model(encode_model(graph)))
    seen = []
    for part in np.split(core, sorted(min(cut, count) for cut in cuts)):
        while len(part):
            used, closed = network.push(part)
            part = part[used:]
            if closed:
                seen.append(network.state(0))
    while network.advance(5 * graph.input.window_ticks):
        seen.append(network.state(0))
    assert len(seen) == 5
    for window, levels in enumerate(seen):
        expected = levels_from_scratch(events, window, polarities)
        np.testing.assert_array_equal(np.reshape(levels, expected.shape), expected)


# ---- samples of a sensor --------------------------------------------------------------


def sensor_graph(shape: tuple[int, ...], rng: np.random.Generator, grid: Any, axes: Any) -> Graph:
    """A network on windows (columns, length), or with time first; scaled by column, resting anywhere."""
    size = int(np.prod(shape))
    neurons = tuple(int(grid[axis]) for axis in axes)
    weight = rng.integers(-20, 20, (size, 4), np.int8)
    start = rng.integers(-7, 8, neurons).astype(np.int32)
    columns = neurons[2] > 1 and len(shape) == 2
    return Graph(
        (
            Population("samples", neurons, LevelInput(-7, 7), initial_level=start),
            Population(
                "scores",
                (1, 1, 4),
                Accumulator(),
                (start.ravel() @ weight.astype(np.int32)).reshape(1, 1, 4).astype(np.int32),
                accumulator_bits=32,
            ),
        ),
        (Projection(0, 1, Dense(weight)),),
        metadata={
            "input": {
                "name": "x",
                "shape": list(shape),
                "grid": list(grid),
                "axes": list(axes),
                "multiply": rng.uniform(0.1, 3, neurons[2]).tolist() if columns else 0.7,
                "add": rng.uniform(-9, 9, neurons[2]).tolist() if columns else -0.3,
                "scale": 1.7,
            },
            "output": {"name": "y", "shape": [4], "scale": 1.0, "transform": "none"},
        },
    )


LAYOUTS = {  # shape of the network's input: its grid, axes, and where time is
    (20,): ((20, 1, 1), (1, 2, 0), "last"),
    (1, 20): ((1, 1, 20), (1, 2, 0), "last"),
    (3, 20): ((3, 1, 20), (1, 2, 0), "last"),
    (20, 3): ((20, 1, 3), (1, 0, 2), "first"),
    (3, 1, 20): ((3, 1, 20), (1, 2, 0), "last"),
}


@settings(max_examples=150)
@given(
    st.integers(0, 1 << 32),
    st.sampled_from(list(LAYOUTS)),
    st.integers(1, 30),
    st.sampled_from([Fraction(1), Fraction(5, 2)]),
    CUTS,
    st.booleans(),
    st.sampled_from([0, 0, 1, 6, 20]),
)
def test_a_sensor_s_sliding_window(
    seed: int, shape: tuple[int, ...], hop: int, scale: Fraction, cuts: list[int], losing: bool, deadband: int
) -> None:
    rng = np.random.default_rng(seed)
    grid, axes, time = LAYOUTS[shape]
    session = InferenceSession(sensor_graph(shape, rng, grid, axes))
    columns = 3 if 3 in shape else 1
    samples = np.cumsum(rng.integers(-4, 5, (int(rng.integers(0, 150)), columns)), axis=0)
    times = sample_times(np.arange(len(samples)), Fraction(360))
    encoder = WindowEncoder(session, Window(hop, deadband, time), scale)
    places = sorted(min(cut, len(samples)) for cut in cuts)
    lost = places[0] if places and losing else 0  # so many samples in, some were lost
    ends = [*range(20, lost + 1, hop), *range(lost + 20, len(samples) + 1, hop)]
    due = []
    for part, when in zip(np.split(samples, places), np.split(times, places), strict=True):
        if 0 < lost < len(times) and when.size and when[0] == times[lost]:
            encoder.restart()
        for time_us, changes in encoder(part, when):
            assert (changes["value"] != 0).all() and (changes["t"] == time_us).all()
            session.push(changes)
            session.advance(time_us + 1)
            due.append((time_us, session.backend.state(0), session.read().scores.tolist()))
    assert [time_us for time_us, _, _ in due] == [int(times[end - 1]) for end in ends]
    held = np.concatenate([hold(samples[:lost], deadband), hold(samples[lost:], deadband)])
    for end, (_, levels, scores) in zip(ends, due, strict=True):
        window = held[end - 20 : end] / float(scale)
        sample = (window.T if time == "last" else window).reshape(shape)
        np.testing.assert_array_equal(np.ravel(levels), session.quantize(sample).ravel())
        assert scores == InferenceSession(session.graph).scores(sample[None])[0].tolist()


def test_a_window_is_told_again_after_reset() -> None:
    rng = np.random.default_rng(1)
    session = InferenceSession(sensor_graph((20,), rng, (20, 1, 1), (1, 2, 0)))
    encoder = WindowEncoder(session)
    samples, times = rng.integers(-9, 9, (30, 1)), np.arange(30)
    first = encoder(samples, times)
    encoder.reset()
    again = encoder(samples, times)
    assert [(time, changes.tolist()) for time, changes in first] == [
        (time, changes.tolist()) for time, changes in again
    ]


def test_networks_without_a_window_of_samples() -> None:
    with pytest.raises(DataError, match="takes events"):
        WindowEncoder(InferenceSession(camera_graph(2)))
    rng = np.random.default_rng(1)
    image = sensor_graph((3, 4, 5), rng, (3, 4, 5), (1, 2, 0))
    with pytest.raises(DataError, match=r"shape \(3, 4, 5\)"):
        WindowEncoder(InferenceSession(image))
