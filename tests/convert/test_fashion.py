"""The Fashion-MNIST networks of tests/data on the test images, against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgespike import InferenceSession
from edgespike.convert import Calibration, Report, convert_onnx
from edgespike.convert.dense import settle
from edgespike.convert.float_network import FloatNetwork
from edgespike.importers.onnx import read_onnx

NETWORKS = Path(__file__).resolve().parents[1] / "data"
STANDARD_ERROR = 0.002  # about that of the difference on 2000 images, where 1 % of the answers differ


def drop(name: str, data: Path, levels: int, weights: int) -> tuple[float, Report]:
    """Accuracy lost, with the report."""
    images = np.load(data / "fashion.npz")
    x, test = (images[key][:, None] / np.float32(255) for key in ("x_train", "x_test"))
    path = NETWORKS / f"fashion_{name}.onnx"
    calibration = Calibration(x[:300], images["y_train"][:300].astype(np.int64))
    graph, report = convert_onnx(path, calibration, levels=levels, weights=weights)
    session = InferenceSession(graph)
    shape = graph.populations[0].shape
    inputs: NDArray[np.int32] = np.stack([session.quantize(sample).reshape(shape) for sample in test])
    parts = [settle(graph, inputs[start : start + 100])[-1] for start in range(0, len(test), 100)]
    answers = np.concatenate(parts).reshape(len(test), -1).argmax(axis=1)
    expected = FloatNetwork(read_onnx(path)).scores(test).argmax(axis=1)
    right = [float((found == images["y_test"]).mean()) for found in (expected, answers)]
    return right[0] - right[1], report


@pytest.mark.parametrize(
    ("name", "levels", "weights", "most"),
    [
        ("average", 255, 8, 0.002),
        ("max", 15, 8, 0.004),
        ("residual", 15, 8, 0.004),
        ("average", 15, 4, 0.012),
        ("separable", 255, 8, 0.002),
        ("separable", 15, 4, 0.012),
        ("separable_wide", 15, 8, 0.004),
    ],
)
def test_accuracy(name: str, levels: int, weights: int, most: float, data_folder: Path) -> None:
    assert drop(name, data_folder, levels, weights)[0] <= most + STANDARD_ERROR


def test_a_network_tuned_to_be_sparse_works_less(data_folder: Path) -> None:
    lost, report = drop("average_sparse", data_folder, 15, 8)
    assert lost <= 0.004 + STANDARD_ERROR
    assert report.synops <= 0.30 * report.macs
