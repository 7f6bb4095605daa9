"""Samples in another range than the network was trained on are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from small_networks import Writer

from edgespike.convert import Calibration, convert_onnx
from edgespike.convert.calibration import samples_for
from edgespike.errors import DataError


@pytest.mark.parametrize(("trained", "given", "advice"), [(1.0, 255.0, "divide"), (255.0, 1.0, "multiply")])
def test_pixels_of_255_meet_a_network_of_1(trained: float, given: float, advice: str, tmp_path: Path) -> None:
    """Class 1 is a bright pixel, as far as the network's range goes; class 0 is no light at all."""
    net = Writer((1, 2))
    weight = np.array([[0.0, 1.0], [0.0, 1.0]]) / trained
    bias = np.array([0.0, -0.5])
    net.add("Gemm", net.constant(weight), net.constant(bias))
    onnx.save(net.model(), tmp_path / "network.onnx")
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 100)
    x = np.where(y, random.uniform(0.6, 1, 100), random.uniform(0, 0.1, 100))
    x = np.stack([x, x * 0.1], axis=1).astype(np.float32)
    x[0, 0] = 1.0
    right = convert_onnx(tmp_path / "network.onnx", Calibration(x * np.float32(trained), y))[1]
    assert right.accuracy_float == 1.0
    assert not any("out of range" in warning for warning in right.warnings)
    wrong = convert_onnx(tmp_path / "network.onnx", Calibration(x * np.float32(given), y))[1]
    assert any(f"{advice} them by 255" in warning for warning in wrong.warnings)


def test_the_order_of_axes_is_told() -> None:
    with pytest.raises(DataError) as caught:
        samples_for(Calibration(np.zeros((4, 32, 24, 3))), "x", (3, 32, 24))
    assert "x.transpose(0, 3, 1, 2)" in caught.value.hint
