"""InferenceSession on small networks made by hand, over the backends that need no port."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgespike import DataError, EdgespikeError, InferenceSession, ModelError, UsageError, _core
from edgespike.benchmark import classify, prepare
from edgespike.graph import (
    Accumulator,
    Activation,
    Compare,
    Dense,
    EventCounts,
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
from edgespike.modelfile import decode_model, encode_model, read_model, write_model

BACKENDS = ("reference", "cpu")
EVENT = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "<i1")])
GRADED = np.dtype([*EVENT.descr, ("value", "<i2")])


def metadata(shape: list[int], grid: list[int], axes: list[int], scores: int, **more: Any) -> dict[str, Any]:
    tensor = {"name": "image", "shape": shape, "grid": grid, "axes": axes}
    return {
        "producer": "test",
        "input": {**tensor, "multiply": 1.0, "add": 0.0, "scale": 0.5, "event_scale": 1.0} | more,
        "output": {"name": "class", "shape": [scores], "scale": 0.25, "transform": "none"},
        "populations": ["image", "hidden", "class"][: 2 + (scores == 3)],
        "classes": None,
    }


def image_graph() -> Graph:
    """A (2, 2, 3) image in ONNX order (channels first), a hidden layer and three scores."""
    rng = np.random.default_rng(7)
    zero = np.zeros((1, 1, 5), np.int32)
    reference = np.full((2, 3, 2), 2, np.int32)  # (height, width, channels)
    first = rng.integers(-20, 21, (12, 5)).astype(np.int8)
    hidden = Activation(np.array([30, 31, 32, 33, 34], np.int32), 0, 15)
    start = (reference.reshape(-1).astype(np.int64) @ first).reshape(1, 1, 5)
    level = np.clip((start + hidden.step // 2) // hidden.step, 0, 15).astype(np.int32)
    second = rng.integers(-20, 21, (5, 3)).astype(np.int8)
    return Graph(
        populations=(
            Population("image", (2, 3, 2), LevelInput(-4, 10), initial_level=reference),
            Population("hidden", (1, 1, 5), hidden, start.astype(np.int32) + zero, level, 32),
            Population(
                "class",
                (1, 1, 3),
                Accumulator(),
                (level.reshape(-1).astype(np.int64) @ second).reshape(1, 1, 3).astype(np.int32),
                accumulator_bits=32,
            ),
        ),
        projections=(Projection(0, 1, Dense(first)), Projection(1, 2, Dense(second))),
        metadata=metadata([2, 2, 3], [2, 2, 3], [1, 2, 0], 3),
    )


def by_hand(graph: Graph, image: Any) -> Any:
    """Scores of one image by plain matrix arithmetic."""
    levels = np.clip(np.floor(image / 0.5 + 0.5), -4, 10).transpose(1, 2, 0).reshape(-1).astype(np.int64)
    first, second = (projection.connection.weight.astype(np.int64) for projection in graph.projections)
    step = graph.populations[1].neuron.step
    return np.clip((levels @ first + step // 2) // step, 0, 15) @ second


@pytest.mark.parametrize("backend", [*BACKENDS, "one-shot"])
def test_run_gives_the_real_scores_of_each_sample(backend: str) -> None:
    graph = image_graph()
    images = np.random.default_rng(1).uniform(-3, 6, (20, 2, 2, 3))
    if backend == "one-shot":
        session = InferenceSession(graph, plan="one-shot")
    else:
        session = InferenceSession(graph, backend)
    expected = np.stack([by_hand(graph, image) for image in images])
    assert np.array_equal(session.scores(images), expected)
    (real,) = session.run(None, {"image": images})
    assert real.dtype == np.float32
    assert np.array_equal(real, (expected * 0.25).astype(np.float32))
    (again,) = session.run(["class"], {"image": images[3:4]})
    assert np.array_equal(again, real[3:4])


def test_softmax_is_applied_when_the_source_has_one() -> None:
    graph = image_graph()
    output = graph.metadata["output"] | {"transform": "softmax"}
    session = InferenceSession(replace(graph, metadata=graph.metadata | {"output": output}))
    images = np.random.default_rng(2).uniform(-3, 6, (4, 2, 2, 3))
    (probabilities,) = session.run(None, {"image": images})
    powers = np.exp(session.scores(images) * 0.25)
    assert np.allclose(probabilities, powers / powers.sum(axis=1, keepdims=True), atol=1e-6)


def test_inputs_and_outputs_are_named_and_shaped() -> None:
    session = InferenceSession(image_graph())
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape, given.type) == ("image", (None, 2, 2, 3), "tensor(float)")
    assert (made.name, made.shape) == ("class", (None, 3))


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ({"image": np.zeros((2, 2, 3))}, "input-shape"),
        ({"image": np.zeros((1, 2, 3, 2))}, "input-shape"),
        ({"image": np.full((1, 2, 2, 3), np.nan)}, "input-nan"),
        ({"image": np.full((1, 2, 2, 3), "a")}, "input-type"),
        ({"picture": np.zeros((1, 2, 2, 3))}, "usage"),
        ({}, "usage"),
    ],
)
def test_bad_inputs_are_named(inputs: dict[str, Any], code: str) -> None:
    session = InferenceSession(image_graph())
    with pytest.raises((DataError, UsageError)) as caught:
        session.run(None, inputs)
    assert caught.value.code == code
    assert caught.value.hint


def test_unknown_output_backend_and_port_are_refused(tmp_path: Path) -> None:
    session = InferenceSession(image_graph())
    with pytest.raises(UsageError, match="logits"):
        session.run(["logits"], {"image": np.zeros((1, 2, 2, 3))})
    with pytest.raises(UsageError, match="gpu"):
        InferenceSession(image_graph(), "gpu")
    with pytest.raises(UsageError, match="port"):
        InferenceSession(image_graph(), port="emulated")
    with pytest.raises(ModelError, match="missing"):
        InferenceSession(tmp_path / "missing.esg")


def window_graph() -> Graph:
    """Counts ON and OFF events of two pixels in two slices of 10 ms; scores: ON, OFF."""
    shape = (1, 2, 4)
    table = np.tile(np.arange(8), (4, 1)).astype(np.int16)
    weight = np.tile(np.eye(2, dtype=np.int8), (4, 1))
    return Graph(
        populations=(
            Population("image", shape, LevelInput(0, 7), initial_level=np.zeros(shape, np.int32)),
            Population(
                "hidden", (1, 1, 2), Accumulator(), np.zeros((1, 1, 2), np.int32), accumulator_bits=16
            ),
        ),
        projections=(Projection(0, 1, Dense(weight)),),
        input=InputSpec(5000, 4, EventCounts(2, 2, 2, 7, table)),
        metadata=metadata([4, 1, 2], [4, 1, 2], [1, 2, 0], 2),
    )


def recording(*rows: tuple[int, int, int, int]) -> Any:
    """Rows of t in microseconds, x, y, p."""
    return np.array(list(rows), EVENT)


@pytest.mark.parametrize("backend", BACKENDS)
def test_recordings_are_classified_by_their_complete_windows(backend: str) -> None:
    session = InferenceSession(window_graph(), backend)
    short = recording((500, 0, 0, 1), (700, 1, 0, 1), (9000, 1, 0, 0))
    result = session.classify(short)
    assert (result.label, result.scores.tolist(), result.windows, result.events) == (1, [1, 2], 0, 3)
    long = recording((500, 0, 0, 0), (700, 0, 0, 0), (21_000, 0, 0, 1), (41_000, 1, 0, 1), (42_000, 1, 0, 1))
    result = session.classify(long)
    assert result.scores.tolist() == [2, 1]  # the two events of the third, unfinished window do not count
    assert (result.windows, result.time_us, result.events, result.margin) == (2, 40_000, 5, 1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_windows_come_as_they_close(backend: str) -> None:
    session = InferenceSession(window_graph(), backend)
    assert session.push(recording((0, 0, 0, 1), (1, 0, 0, 1))) == []
    (first,) = session.advance(20_000)
    assert (first.scores.tolist(), first.time_us, first.events) == ([0, 2], 20_000, 2)
    second, third = session.push(recording((65_000, 0, 0, 0)))
    assert (second.time_us, third.time_us, third.scores.tolist()) == (40_000, 60_000, [0, 0])
    last = session.finish()
    assert (last.scores.tolist(), last.time_us, last.events) == ([1, 0], 65_000, 1)
    session.reset()
    assert session.push(recording((0, 0, 0, 1))) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_tensors_of_counts_equal_the_events_they_count(backend: str) -> None:
    session = InferenceSession(window_graph(), backend)
    counts = np.random.default_rng(3).integers(0, 10, (5, 4, 1, 2))
    scores = session.scores(counts)
    for sample, expected in zip(counts, scores, strict=True):
        rows = []
        for channel, _, x in np.ndindex(4, 1, 2):
            in_slice, polarity = divmod(channel, 2)
            rows += [(in_slice * 10_000 + 77, x, 0, polarity)] * int(sample[channel, 0, x])
        events = recording(*sorted(rows))
        session.reset()
        session.push(events)
        assert np.array_equal(session.finish().scores, expected)


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ((-1, 0, 0, 1), "event-range"),
        ((5000 << 31, 0, 0, 1), "event-range"),
        ((0, 2, 0, 1), "event-range"),
        ((0, 0, 0, -1), "event-range"),
        ((0, 0, 0, 2), "event-range"),
    ],
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_events_outside_are_refused(backend: str, event: tuple[int, ...], code: str) -> None:
    session = InferenceSession(window_graph(), backend)
    with pytest.raises(DataError, match="event 1") as caught:
        session.push(recording((0, 0, 0, 1), event))
    assert caught.value.code == code
    with pytest.raises(DataError, match="t, x, y, p"):
        session.push(np.zeros(3, [("x", "<u2"), ("y", "<u2")]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_streams_go_on_when_ticks_wrap_around(backend: str) -> None:
    session = InferenceSession(spiking_graph(), backend)
    for time_us in (1 << 30, 1 << 31, 3 << 30, (1 << 32) - 1):
        assert session.advance(time_us) == []
    late = (1 << 32) + 5
    assert session.push(np.array([((1 << 32), 0, 0, 0, 7), (late, 0, 0, 0, 6)], GRADED)) == []
    result = session.finish()
    assert (result.scores.tolist(), result.time_us) == ([2], late)


@pytest.mark.parametrize("backend", BACKENDS)
def test_events_that_go_back_are_refused(backend: str) -> None:
    session = InferenceSession(window_graph(), backend)
    with pytest.raises(DataError, match="event 1") as caught:
        session.push(recording((6000, 0, 0, 1), (4000, 0, 0, 1)))
    assert caught.value.code == "event-time"


def spiking_graph() -> Graph:
    one = np.ones(1, np.int32)
    neuron = IntegrateAndFire(
        one * 100,
        one * (1 << 29),
        one * 0,
        one * 0,
        Compare.GREATER,
        Reset.TO_VALUE,
        Rounding.NEAREST,
        1,
        -(1 << 20),
        1 << 20,
    )
    shape = (1, 1, 1)
    return Graph(
        populations=(
            Population("image", shape, SpikeInput(-8, 7, 1000)),
            Population("hidden", shape, neuron, np.zeros(shape, np.int32), accumulator_bits=32),
        ),
        projections=(Projection(0, 1, Dense(np.array([[10]], np.int8)), shift=1),),
        metadata=metadata([1], [1, 1, 1], [0, 1, 2], 1, scale=0.5),
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_spiking_samples_have_a_time_axis(backend: str) -> None:
    session = InferenceSession(spiking_graph(), backend)
    assert session.get_inputs()[0].shape == (None, None, 1)
    # Payloads 7 (3.5 / 0.5), 2, 3 and -8 (clipped): membranes 140 fires, 40, 80, 40 - 160.
    samples = np.array([[[3.5], [1.0], [1.5], [-9.0]], [[3.5], [0.0], [3.5], [0.0]]])
    (counts,) = session.run(None, {"image": samples})
    assert counts.tolist() == [[0.25], [0.5]]
    assert session.scores(np.zeros((1, 3, 1))).tolist() == [[0]]
    ticks = session.stats()["ticks"]
    session.scores(np.zeros((1, 9, 1)))
    assert session.stats()["ticks"] == ticks + 9


@pytest.mark.parametrize("graph", [image_graph(), window_graph(), spiking_graph()])
def test_model_files_keep_every_bit(graph: Graph, tmp_path: Path) -> None:
    path = tmp_path / "model.esg"
    size = write_model(graph, path)
    assert path.stat().st_size == size
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.esg"]
    again = read_model(path)
    assert encode_model(again) == path.read_bytes()
    assert again.metadata == graph.metadata
    for before, after in zip(graph.populations, again.populations, strict=True):
        assert (before.name, before.shape, before.accumulator_bits) == (
            after.name,
            after.shape,
            after.accumulator_bits,
        )
        for name in ("initial", "initial_level"):
            array = getattr(before, name)
            assert (array is None) == (getattr(after, name) is None)
            assert array is None or np.array_equal(array, getattr(after, name))
    assert decode_model(encode_model(graph)).input.window_ticks == graph.input.window_ticks


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EdgespikeError, match="cannot write"):
        write_model(image_graph(), tmp_path / "no" / "model.esg")
    assert list(tmp_path.iterdir()) == []


# ---- several at once ----------------------------------------------------------


def test_a_prepared_sample_gives_the_same_scores() -> None:
    session = InferenceSession(image_graph())
    network = _core.Network(_core.Model(session.model))
    batch = np.random.default_rng(0).integers(-2, 6, (5, *session.get_inputs()[0].shape[1:]))
    for sample, scores in zip(batch, session.scores(batch), strict=True):
        assert np.array_equal(classify(network, prepare(session, sample)), scores)


@pytest.mark.parametrize("backend", BACKENDS)
def test_many_sessions_in_many_threads_give_the_same_bits(backend: str) -> None:
    session = InferenceSession(image_graph(), backend)
    batch = np.random.default_rng(1).integers(-2, 6, (40, *session.get_inputs()[0].shape[1:]))
    expected = [session.scores(batch[:number]) for number in range(1, 41)]
    sessions = [session.another() for _ in range(40)]
    with ThreadPoolExecutor(16) as pool:
        scores = list(pool.map(lambda n: sessions[n].scores(batch[: n + 1]), range(40)))
    assert all(map(np.array_equal, scores, expected))
    assert all(each.stats()["input_events"] <= session.stats()["input_events"] for each in sessions)


def test_another_session_begins_anew_on_the_same_model() -> None:
    session = InferenceSession(image_graph())
    (name,) = (info.name for info in session.get_inputs())
    session.run(None, {name: np.zeros((1, *session.get_inputs()[0].shape[1:]))})
    other = session.another()
    assert isinstance(session.backend, _core.Network) and isinstance(other.backend, _core.Network)
    assert other.backend.model is session.backend.model
    assert other.stats()["input_events"] == 0 < session.stats()["input_events"]


def test_a_board_has_one_session() -> None:
    with (
        InferenceSession(image_graph(), "device", port="emulated") as session,
        pytest.raises(UsageError, match="one session"),
    ):
        session.another()


# ---- samples in one call ---------------------------------------------------------


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        (3, 2, 2, 3),
        elements=st.floats(-30, 30, width=32) | st.sampled_from([0.25, 0.75, -0.25, 7.25, 1e30, -1e30]),
    ),
    st.sampled_from([1.0, 0.1, [0.3, -7.0]]),
    st.sampled_from([0.0, 0.25, -1 / 3]),
)
def test_samples_in_one_call_are_those_one_by_one(values: Any, multiply: Any, add: float) -> None:
    graph = image_graph()
    graph.metadata["input"] |= {"multiply": multiply, "add": add, "scale": 0.7}
    session = InferenceSession(graph)
    expected = np.stack([result.scores for result in session.another().iterate(values)])
    assert np.array_equal(session.scores(values), expected)
    assert np.array_equal(session.scores(values[:, :, ::-1][:, :, ::-1]), expected)
    assert session.scores(values[:0]).shape == (0, 3)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_sample_that_is_not_finite_is_refused(number: float, dtype: Any) -> None:
    values = np.zeros((2, 2, 2, 3), dtype)
    values[1, 1, 1, 2] = number
    with pytest.raises(DataError, match="NaN or infinite") as caught:
        InferenceSession(image_graph()).scores(values)
    assert caught.value.code == "input-nan"
