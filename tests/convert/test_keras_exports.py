"""What Keras and tf2onnx exported (tests/data/keras): read as onnxruntime computes it, and converted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from small_networks import float_twin

from edgespike import InferenceSession
from edgespike.convert import Calibration, convert_onnx
from edgespike.importers.onnx import read_onnx

EXPORTS = sorted((Path(__file__).resolve().parents[1] / "data" / "keras").glob("*.onnx"))


def test_both_exporters_are_there() -> None:
    assert len(EXPORTS) == 10
    assert {path.stem.rsplit("_", 1)[1] for path in EXPORTS} == {"keras", "tf2onnx"}


@pytest.mark.parametrize("path", EXPORTS, ids=lambda path: path.stem)
def test_exports_are_read_and_converted(path: Path) -> None:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    network = read_onnx(path)
    assert network.input.shape == tuple(given.shape[1:])
    random = np.random.default_rng(0)
    high = 255 if path.stem.startswith("depthwise") else 1
    x = (high * random.random((80, *network.input.shape))).astype(np.float32)
    (expected,) = session.run(None, {given.name: x})
    twin = float_twin(network, x)[-1].transpose(0, *(axis + 1 for axis in network.output.axes))
    if network.output.transform == "none":
        np.testing.assert_allclose(twin.reshape(expected.shape), expected, rtol=1e-3, atol=1e-4)
    else:
        assert np.array_equal(twin.reshape(len(x), -1).argmax(axis=1), expected.argmax(axis=1))

    graph, _ = convert_onnx(path, Calibration(x))
    (scores,) = InferenceSession(graph).run(None, {given.name: x[:20]})
    assert scores.shape == expected[:20].shape
    error = np.sqrt(np.square(scores - expected[:20]).mean() / expected.var())
    assert error < 0.1, f"relative error {error:.3f}"


def test_a_layout_with_channels_last_costs_no_layer() -> None:
    """NHWC networks begin with a Transpose, and have more of them around every convolution."""
    by_kind = {}
    for path in EXPORTS:
        name, kind = path.stem.rsplit("_", 1)
        by_kind[name, kind] = [(layer.shape, len(layer.links)) for layer in read_onnx(path).layers]
    for name in {name for name, _ in by_kind}:
        assert by_kind[name, "keras"] == by_kind[name, "tf2onnx"]
