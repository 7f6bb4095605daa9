"""Networks trained on event counts: the front end's table, its options, and the whole way to scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from small_networks import Writer

from edgespike.convert import Calibration, EventOptions, convert_onnx
from edgespike.convert.float_network import FloatNetwork
from edgespike.errors import DataError, UsageError
from edgespike.events import EVENT, count_events
from edgespike.graph import LevelInput
from edgespike.importers.onnx import read_onnx
from edgespike.session import InferenceSession

OPTIONS = EventOptions(height=6, width=5, window_us=30_000, slices=3, polarities=2, saturation=4)


def counts_network(scale: float = 1.0, normalized: bool = False, flat: bool = False) -> Writer:
    """A network on (slices * polarities, height, width) = (6, 6, 5) counts."""
    net = Writer(("N", 180) if flat else ("N", 6, 6, 5))
    if normalized:
        net.add("Sub", net.constant(np.array(0.5 * scale)))
        net.add("Div", net.constant(np.linspace(0.5, 2, 6).reshape(6, 1, 1) * scale))
    if flat:
        net.gemm(180, 8)
    else:
        net.conv(6, 8, 3, 3, pads=[1, 1, 1, 1])
        net.add("Relu")
        net.add("Flatten")
        net.gemm(240, 8)
    net.add("Relu")
    net.gemm(8, 3)
    return net


def recording(seed: int, events: int = 150) -> NDArray[Any]:
    """Random events within one window; some pixels are busy."""
    random = np.random.default_rng(seed)
    made = np.zeros(events, EVENT)
    made["t"] = np.sort(random.integers(0, 30_000, events))
    made["t"][0] = 0
    made["x"] = np.minimum(random.geometric(0.4, events) - 1, 4)
    made["y"], made["p"] = random.integers(0, 6, events), random.integers(0, 2, events)
    return made


def counted(made: NDArray[Any], options: EventOptions = OPTIONS) -> NDArray[Any]:
    """The network's input for a recording."""
    return count_events(
        made,
        options.height,
        options.width,
        polarities=options.polarities,
        slices=options.slices,
        slice_us=options.window_us // options.slices,
        saturation=options.saturation or 255,
    )


@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("flat", [False, True])
def test_events_give_what_the_counts_give(scale: float, normalized: bool, flat: bool, tmp_path: Path) -> None:
    if flat and normalized:
        return
    path = tmp_path / "network.onnx"
    onnx.save(counts_network(scale, normalized, flat).model(), path)
    options = EventOptions(6, 5, 30_000, slices=3, saturation=4, event_scale=scale)
    recordings = [recording(seed) for seed in range(60)]
    x = (np.stack([counted(made) for made in recordings]) * scale).astype(np.float32)
    x = x.reshape(60, -1) if flat else x
    graph, report = convert_onnx(path, Calibration(x), events=options)
    assert graph.populations[0].shape == (6, 5, 6)
    assert (graph.input.tick_us, graph.input.window_ticks) == (10_000, 3)
    error = report.layers[-1].error
    assert error is not None and error < 0.03

    cpu, reference = InferenceSession(graph), InferenceSession(graph, "reference")
    for made, sample in zip(recordings[:4], x, strict=False):
        by_events = cpu.classify(made)
        assert np.array_equal(by_events.scores, reference.classify(made).scores)
        assert np.array_equal(by_events.scores, cpu.scores(sample[None])[0])
    expected = FloatNetwork(read_onnx(path)).scores(x)
    distance = cpu.run(None, {"x": x})[0] - expected
    assert np.sqrt(np.square(distance).mean() / np.square(expected).mean()) < 0.03


def test_plain_counts_are_levels_themselves(tmp_path: Path) -> None:
    onnx.save(counts_network().model(), tmp_path / "network.onnx")
    x = np.stack([counted(recording(seed)) for seed in range(20)])
    graph, _ = convert_onnx(tmp_path / "network.onnx", Calibration(x), events=OPTIONS)
    counts = graph.input.event_counts
    assert counts is not None
    assert counts.table.tolist() == [[0, 1, 2, 3, 4]] * 6
    assert graph.populations[0].neuron == LevelInput(0, 4)


def test_saturation_is_the_greatest_count_seen(tmp_path: Path) -> None:
    onnx.save(counts_network().model(), tmp_path / "network.onnx")
    x = np.zeros((20, 6, 6, 5))
    x[3, 2, 1, 0] = 9
    options = EventOptions(6, 5, 30_000, slices=3)
    graph, _ = convert_onnx(tmp_path / "network.onnx", Calibration(x), events=options)
    counts = graph.input.event_counts
    assert counts is not None and counts.saturation == 9


def test_counts_that_are_no_counts(tmp_path: Path) -> None:
    onnx.save(counts_network().model(), tmp_path / "network.onnx")
    for wrong in (0.5, -1.0):
        x = np.ones((20, 6, 6, 5)) * wrong
        with pytest.raises(DataError, match="no counts of events") as caught:
            convert_onnx(tmp_path / "network.onnx", Calibration(x), events=OPTIONS)
        assert caught.value.code == "calibration-counts"


def test_network_of_another_layout(tmp_path: Path) -> None:
    onnx.save(counts_network().model(), tmp_path / "network.onnx")
    options = EventOptions(5, 6, 30_000, slices=3)
    with pytest.raises(UsageError, match=r"events make \(6, 5, 6\)"):
        convert_onnx(tmp_path / "network.onnx", Calibration(np.zeros((9, 6, 6, 5))), events=options)


@pytest.mark.parametrize(
    "wrong",
    [
        {"height": 0},
        {"slices": 0},
        {"polarities": 3},
        {"saturation": 0},
        {"saturation": 32768},
        {"event_scale": 0.0},
        {"event_scale": float("nan")},
        {"tick_us": 0},
        {"window_us": 1_000_001},
        {"slices": 7},
    ],
)
def test_options(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        EventOptions(**{"height": 6, "width": 5, "window_us": 30_000, "slices": 3, **wrong})
