"""The diagnosis: its numbers, computed again in plain ways, and the layer that it names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from small_networks import NETWORKS, Writer, flat_gemm

from edgespike.convert import Calibration, Report, convert_onnx
from edgespike.convert import activation as conversion
from edgespike.convert.quantize import Quantized
from edgespike.graph import Activation, Convolution, Dense, Graph
from edgespike.session import InferenceSession


def three_layers() -> Writer:
    net = Writer(("N", 1, 6, 6), seed=4)
    net.conv(1, 6, 3, 3, pads=[1, 1, 1, 1])
    net.add("Relu")
    net.conv(6, 6, 3, 3, pads=[1, 1, 1, 1])
    net.add("Relu")
    net.conv(6, 6, 3, 3, pads=[1, 1, 1, 1])
    net.add("Relu")
    return flat_gemm(net, 216)


def samples(net: Writer, count: int = 300) -> NDArray[np.float32]:
    return np.random.default_rng(7).uniform(0, 1, (count, *net.shape[1:])).astype(np.float32)


def labelled(path: Path, x: NDArray[np.float32]) -> Calibration:
    """Labels that the float network gets right."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return Calibration(x, session.run(None, {"x": x})[0].argmax(axis=1))


def converted(net: Writer, folder: Path, **options: Any) -> tuple[Graph, Report, Calibration]:
    onnx.save(net.model(), folder / "network.onnx")
    calibration = labelled(folder / "network.onnx", samples(net))
    return *convert_onnx(folder / "network.onnx", calibration, **options), calibration


def decibels(exact: NDArray[Any], other: NDArray[Any]) -> float:
    return float(10 * np.log10(np.square(exact).sum() / np.square(other - exact).sum()))


def test_numbers_of_a_small_network(tmp_path: Path) -> None:
    """One hidden layer, all of it computed here with NumPy and the C core."""
    net = Writer(("N", 12), seed=2)
    net.gemm(12, 10)
    net.add("Relu")
    net.gemm(10, 4)
    graph, report, calibration = converted(net, tmp_path, levels=7)
    assert report.diagnosis is not None
    assert report.diagnosis.samples == 256
    x = calibration.x[np.unique(np.linspace(0, 299, 256).astype(int))].astype(np.float64)
    w1, b1, w2, b2 = (onnx.numpy_helper.to_array(t).astype(np.float64) for t in net.model().graph.initializer)
    hidden = np.maximum(x @ w1 + b1, 0)
    exact = hidden @ w2 + b2

    session = InferenceSession(graph)
    scores = session.run(None, {"x": x.astype(np.float32)})[0]
    levels = []
    for sample in x:
        session.reset()
        session.backend.push(session.sample_events(sample))
        session.backend.finish()
        levels.append(session.backend.state(1))
    level = np.array(levels)
    row, last = report.diagnosis.layers[1:]
    assert last.snr == pytest.approx(decibels(exact, scores), abs=0.01)
    assert row.active == pytest.approx((level != 0).mean())
    assert row.silent == pytest.approx(1 - (level != 0).any(axis=0).mean())
    spoke = (level != graph.populations[1].initial_level.ravel()).mean(axis=0).sum()  # type: ignore[union-attr]
    assert row.synops == pytest.approx(4 * spoke)
    used = level != 0
    scale = np.where(used.any(0), (hidden * used).sum(0) / np.maximum((level * used).sum(0), 1), 1.0)
    assert row.snr == pytest.approx(decibels(hidden, level * scale), abs=1.0)
    assert row.snr_alone is not None
    assert row.snr_levels is not None
    assert row.snr_alone <= row.snr_levels + 0.5
    assert report.diagnosis.result_float == 1.0
    assert report.diagnosis.result == pytest.approx((scores.argmax(1) == exact.argmax(1)).mean())


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_float_layers_are_those_of_onnxruntime(name: str, tmp_path: Path) -> None:
    """A layer quantized alone is followed by float layers in NumPy: these must be the network's own."""
    from edgespike.convert import float_layers
    from edgespike.convert.float_network import FloatNetwork
    from edgespike.importers.onnx import read_onnx

    net = NETWORKS[name]()
    onnx.save(net.model(), tmp_path / "network.onnx")
    network = read_onnx(tmp_path / "network.onnx")
    x = np.random.default_rng(1).normal(0, 1, (8, *network.input.shape)).astype(np.float32)
    ((_, values),) = FloatNetwork(network).values(x)
    computed = [float_layers.real_input(network, x)]
    for number, value in enumerate(values, 1):
        computed.append(float_layers.evaluate(network, number, computed))
        layer = network.layers[number]
        expected = layer.activated(value)
        np.testing.assert_allclose(computed[number], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def ruined(number: int, how: str) -> Any:
    """A quantizer that spoils one layer."""

    def quantize(*arguments: Any, **options: Any) -> Quantized:
        made = original(*arguments, **options)
        populations, projections = list(made.populations), list(made.projections)
        if how == "weights":
            ((place, projection),) = [(i, p) for i, p in enumerate(projections) if p.target == number]
            assert isinstance(projection.connection, Convolution | Dense)
            weight = projection.connection.weight.copy()
            weight[np.random.default_rng(0).random(weight.shape) < 0.5] = 0
            projections[place] = replace(projection, connection=replace(projection.connection, weight=weight))
        else:
            neuron = populations[number].neuron
            assert isinstance(neuron, Activation)
            populations[number] = replace(populations[number], neuron=replace(neuron, level_max=3))
        return replace(made, populations=tuple(populations), projections=tuple(projections))

    original = conversion.quantize
    return quantize


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("how", ["weights", "clipping"])
def test_the_ruined_layer_is_named(number: int, how: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(conversion, "quantize", ruined(number, how))
    graph, report, _ = converted(three_layers(), tmp_path)
    assert report.diagnosis is not None
    (first, *_) = report.diagnosis.advice
    assert f"most in {graph.populations[number].name}: " in first
    assert ("weights are too coarse" if how == "weights" else "beyond its last level") in first
    alone = [row.snr_alone for row in report.diagnosis.layers]
    assert all(ratio is None or ratio > 25 for place, ratio in enumerate(alone) if place != number)
    assert report.diagnosis.layers[number].result_alone == pytest.approx(report.diagnosis.result, abs=0.05)


def test_too_few_levels_are_named(tmp_path: Path) -> None:
    _, report, _ = converted(three_layers(), tmp_path, levels=2)
    assert report.diagnosis is not None
    assert "it has 2 levels. Try more levels there" in report.diagnosis.advice[0]


def test_too_few_levels_of_the_input_are_named(tmp_path: Path) -> None:
    _, report, _ = converted(three_layers(), tmp_path, levels={"x": 3})
    assert report.diagnosis is not None
    assert "most in x: it has 3 levels. Try more levels there" in report.diagnosis.advice[0]


def test_nothing_is_advised_where_nothing_was_lost(tmp_path: Path) -> None:
    """Of samples that the network is sure of."""
    net = three_layers()
    onnx.save(net.model(), tmp_path / "network.onnx")
    x = samples(net, 800)
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    best = np.sort(session.run(None, {"x": x})[0], axis=1)
    sure = x[best[:, -1] - best[:, -2] > np.median(best[:, -1] - best[:, -2])]
    _, report = convert_onnx(tmp_path / "network.onnx", labelled(tmp_path / "network.onnx", sure))
    assert report.diagnosis is not None
    assert (report.accuracy, report.diagnosis.advice) == (1.0, ())


def test_without_labels_agreement_is_measured(tmp_path: Path) -> None:
    net = three_layers()
    onnx.save(net.model(), tmp_path / "network.onnx")
    _, report = convert_onnx(tmp_path / "network.onnx", Calibration(samples(net)), levels=2)
    assert report.diagnosis is not None
    assert (report.diagnosis.measure, report.diagnosis.result_float) == ("agreement", 1.0)
    assert "says something else" in report.diagnosis.advice[0]
