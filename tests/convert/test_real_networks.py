"""The public MNIST networks, converted, against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgespike import InferenceSession
from edgespike.convert import Calibration, convert_onnx
from edgespike.convert.dense import settle
from edgespike.convert.float_network import FloatNetwork
from edgespike.importers.onnx import read_onnx

NETWORKS = {  # file: what a pixel of 255 is to the network
    "netkit_mnist_mlp.onnx": 1.0,
    "lenet5.onnx": 1.0,
    "mnist-8/model.onnx": 255.0,
}


@pytest.mark.parametrize("file", NETWORKS)
@pytest.mark.parametrize(("levels", "drop"), [(255, 0.001), (15, 0.004)])
def test_accuracy_on_unseen_images(file: str, levels: int, drop: float, data_folder: Path) -> None:
    images = np.load(data_folder / "mnist.npz")
    scale = np.float32(NETWORKS[file] / 255)
    path = data_folder / "onnx" / file
    train = Calibration(images["x_train"][:500] * scale, images["y_train"][:500])
    graph, report = convert_onnx(path, train, levels=levels)
    assert report.accuracy is not None and report.accuracy_float is not None

    test, labels = images["x_test"] * scale, images["y_test"]
    network = read_onnx(path)
    expected = FloatNetwork(network).scores(test.reshape(-1, *network.input.shape)).argmax(axis=1)
    session = InferenceSession(graph)
    shaped = test.reshape(-1, *network.input.shape)
    levels_in = np.stack([session.quantize(sample) for sample in shaped])
    levels_in = levels_in.reshape(-1, *graph.populations[0].shape)
    parts = [settle(graph, levels_in[start : start + 100])[-1] for start in range(0, len(test), 100)]
    scores = np.concatenate(parts).reshape(len(test), -1)
    accuracy, accuracy_float = ((a == labels).mean() for a in (scores.argmax(axis=1), expected))
    assert accuracy >= accuracy_float - drop - 1e-9

    assert np.array_equal(session.scores(shaped[:50]), scores[:50])
