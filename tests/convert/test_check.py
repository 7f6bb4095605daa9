"""`check` says what a network is, without data and without refusing it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from small_networks import NETWORKS, Writer, flat_gemm

from edgespike.convert import Calibration, convert_onnx
from edgespike.convert.check import Check, check


def checked(net: Writer, folder: Path, calibration: Calibration | None = None) -> Check:
    onnx.save(net.model(), folder / "network.onnx")
    return check(folder / "network.onnx", calibration)


def conv_net() -> Writer:
    net = Writer(("N", 2, 8, 8))
    net.conv(2, 4, 3, 3, strides=[2, 2])
    net.add("Relu")
    return flat_gemm(net, 36)


def test_layers_are_counted_by_hand(tmp_path: Path) -> None:
    found = checked(conv_net(), tmp_path)
    assert found.problem is None
    assert [(row.kind, row.shape, row.range, row.weights, row.macs) for row in found.layers] == [
        ("conv 3x3 /2", (3, 3, 4), "relu", 72, 9 * 72),
        ("dense", (1, 1, 5), "", 180, 180),
    ]
    assert (found.parameters, found.macs) == (72 + 4 + 180 + 5, 9 * 72 + 180)
    assert (found.input_shape, found.output_shape, found.classes) == ((2, 8, 8), (5,), 5)
    assert found.operators == {"Conv": 1, "Flatten": 1, "Gemm": 1, "Relu": 1}


@pytest.mark.parametrize("name", ["residual_projection", "conv_depthwise", "average_pool"])
def test_estimates_are_near_the_truth(name: str, tmp_path: Path) -> None:
    net = NETWORKS[name]()
    found = checked(net, tmp_path)
    random = np.random.default_rng(3)
    x = random.uniform(0, 1, (80, *net.shape[1:])) * (random.random((80, *net.shape[1:])) < 0.5)
    _, report = convert_onnx(tmp_path / "network.onnx", Calibration(x.astype(np.float32)))
    eight, four = found.estimates
    assert eight.flash == pytest.approx(report.flash, rel=0.25)
    assert eight.ram_streaming == pytest.approx(report.ram_streaming, rel=0.25)
    assert four.flash <= eight.flash and four.ram_streaming <= eight.ram_streaming


def test_all_unsupported_operators_are_named_at_once(tmp_path: Path) -> None:
    net = Writer(("N", 8))
    net.gemm(8, 8)
    net.add("Hardmax")
    net.gemm(8, 8)
    net.add("CumSum", net.constant(np.array(1, np.int64)))
    found = checked(net, tmp_path)
    assert found.problem is not None
    assert "Hardmax" in found.problem.message
    assert "CumSum" in found.problem.message
    assert found.operators["CumSum"] == 1
    assert found.layers == found.estimates == ()


def test_open_sizes(tmp_path: Path) -> None:
    net = Writer(("N", 1, "height", 8))
    net.conv(1, 2, 3, 3)
    found = checked(net, tmp_path)
    assert found.problem is not None
    assert found.problem.code == "dynamic-shape"
    assert found.input_shape == (1, 0, 8)
    found = check(tmp_path / "network.onnx", shape=(1, 1, 6, 8))
    assert found.problem is None
    assert (found.input_shape, found.layers[0].shape) == ((1, 6, 8), (4, 6, 2))


def test_dead_and_zero_channels(tmp_path: Path) -> None:
    net = Writer(("N", 6))
    weight = np.random.default_rng(0).normal(0, 1, (6, 5))
    weight[:, 1] = 0
    net.add("Gemm", net.constant(weight), net.constant(np.array([0, 1, -1e6, 0, 0.0])))
    net.add("Relu")
    net.gemm(5, 3)
    warnings = checked(net, tmp_path).warnings
    assert [warning.partition(": ")[2] for warning in warnings] == [
        "all weights into 1 of 5 channels are 0",
        "2 of 5 channels are dead on random inputs",
    ]


def test_constant_output(tmp_path: Path) -> None:
    net = Writer(("N", 6))
    net.gemm(6, 5)
    net.add("Clip", net.constant(0.0), net.constant(1e-9))
    net.add("Gemm", net.constant(np.zeros((5, 3))))
    assert "the output is the same for all random inputs" in checked(net, tmp_path).warnings


def test_nan_is_named_by_layer(tmp_path: Path) -> None:
    net = Writer(("N", 4))
    net.add("Gemm", net.constant(np.full((4, 4), 3e38)))
    net.add("Gemm", net.constant(np.full((4, 4), 3e38)))
    found = checked(net, tmp_path)
    assert any("computes NaN or infinity on random inputs" in warning for warning in found.warnings)
    assert found.estimates == ()


def test_calibration_samples_of_another_shape(tmp_path: Path) -> None:
    samples = Calibration(np.zeros((60, 8, 8, 2), np.float32))
    found = checked(conv_net(), tmp_path, samples)
    assert found.problem is not None
    assert found.problem.code == "calibration-shape"


def test_nir(tmp_path: Path, data_folder: Path) -> None:
    found = check(data_folder / "nir" / "braille_noDelay_bias_zero.nir")
    assert found.problem is None
    assert [(row.range, row.shape, row.macs) for row in found.layers] == [
        ("spikes", (1, 1, 38), 12 * 38 + 38 * 38),
        ("spikes", (1, 1, 7), 38 * 7),
    ]
    assert found.estimates
