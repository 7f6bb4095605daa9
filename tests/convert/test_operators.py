"""Every operator, in small random networks, against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from small_networks import IMPORTED, NETWORKS, Writer, float_twin

from edgespike import InferenceSession
from edgespike.convert import Calibration, convert_onnx
from edgespike.convert.dense import settle
from edgespike.convert.float_network import FloatNetwork
from edgespike.importers.onnx import read_onnx

# What jumps, or grows ever faster, makes much of a small difference before it.
STEEP = {"sign", "cube"}


def saved(name: str, folder: Path) -> tuple[Path, NDArray[np.float32]]:
    """A network's file, and random samples for it."""
    net = (NETWORKS | IMPORTED)[name]()
    path = folder / "network.onnx"
    onnx.save(net.model(), path)
    shape = (120, *net.shape[1:])
    return path, np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)


@pytest.mark.parametrize("name", NETWORKS | IMPORTED)
def test_imported_network_computes_what_onnxruntime_does(name: str, tmp_path: Path) -> None:
    path, x = saved(name, tmp_path)
    read = read_onnx(path)
    run = FloatNetwork(read)
    twin = float_twin(read, x)
    for part, values in run.values(x):
        for number, (layer, value) in enumerate(zip(read.layers[1:], values, strict=True), 1):
            expected = layer.activated(value)
            np.testing.assert_allclose(twin[number][part], expected, rtol=1e-3, atol=2e-4, err_msg=layer.name)
    scores = twin[-1].transpose(0, *(axis + 1 for axis in read.output.axes)).reshape(len(x), -1)
    if read.output.transform != "none":
        scores = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        scores = np.log(scores) if read.output.transform == "log_softmax" else scores
    np.testing.assert_allclose(scores, run.scores(x), rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_converted_network_is_near_and_all_backends_agree(name: str, tmp_path: Path) -> None:
    path, x = saved(name, tmp_path)
    graph, report = convert_onnx(path, Calibration(x), levels=255)
    error = report.layers[-1].error
    assert error is not None and error < (0.1 if name in STEEP else 0.03)
    coarse = convert_onnx(path, Calibration(x), levels=15)[1].layers[-1].error
    assert coarse is not None and coarse < (0.4 if name in STEEP else 0.25)

    cpu, reference = InferenceSession(graph), InferenceSession(graph, "reference")
    scores = cpu.scores(x[:5])
    assert np.array_equal(scores, reference.scores(x[:5]))
    levels = np.stack([cpu.quantize(sample) for sample in x[:5]]).reshape(5, *graph.populations[0].shape)
    assert np.array_equal(scores, settle(graph, levels)[-1].reshape(5, -1))

    (output,) = cpu.run(None, {"x": x})
    expected = FloatNetwork(read_onnx(path)).scores(x).reshape(output.shape)
    distance = np.sqrt(np.square(output - expected).mean() / np.square(expected).mean())
    assert distance < (0.12 if name in STEEP else 0.04)


@pytest.mark.parametrize("kept", [0, 1])
def test_the_label_itself(kept: int, tmp_path: Path) -> None:
    net = Writer((1, 6))
    net.gemm(6, 5)
    net.add("Relu")
    net.gemm(5, 3)
    net.add("Softmax", axis=1)
    net.add("ArgMax", axis=1, keepdims=kept)
    model = net.model()
    del model.graph.output[:]
    shape = [1, 1] if kept else [1]
    model.graph.output.append(onnx.helper.make_tensor_value_info(net.tensor, onnx.TensorProto.INT64, shape))
    onnx.save(model, tmp_path / "network.onnx")
    x = np.random.default_rng(1).normal(0, 1, (100, 6)).astype(np.float32)
    session = InferenceSession(convert_onnx(tmp_path / "network.onnx", Calibration(x))[0])
    original = onnxruntime.InferenceSession(model.SerializeToString())
    expected = np.concatenate([original.run(None, {"x": sample[None]})[0] for sample in x])
    (said,) = session.run(None, {"x": x})
    assert said.shape == expected.shape and said.dtype == np.int64
    assert session.get_outputs()[0].shape == (None, *expected.shape[1:])
    assert (said == expected).mean() > 0.97
