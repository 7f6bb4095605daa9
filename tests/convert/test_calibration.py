"""Calibration data: what is accepted, and how the rest is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from small_networks import Writer

from edgespike.convert import Calibration, convert_onnx, load_calibration
from edgespike.convert.calibration import samples_for
from edgespike.errors import DataError, EdgespikeError, UsageError

X = np.random.default_rng(0).random((60, 6)).astype(np.float32)


def code_of(caught: pytest.ExceptionInfo[EdgespikeError]) -> str:
    """The error's code; a hint is there too."""
    assert caught.value.hint
    return caught.value.code


def test_round_trip(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=X, y=np.arange(60) % 3, other=np.zeros(1))
    loaded = load_calibration(tmp_path / "data.npz")
    assert np.array_equal(loaded.x, X)
    assert loaded.y is not None and np.array_equal(loaded.y, np.arange(60) % 3)
    np.savez_compressed(tmp_path / "data.npz", x=X)
    assert load_calibration(tmp_path / "data.npz").y is None


@pytest.mark.parametrize(
    ("arrays", "code"),
    [
        ({"y": np.zeros(3)}, "calibration-format"),
        ({}, "calibration-format"),
        ({"x": np.zeros((0, 6))}, "calibration-empty"),
        ({"x": np.zeros((5, 0))}, "calibration-empty"),
        ({"x": np.zeros(6)}, "calibration-empty"),
        ({"x": np.array([["a", "b"]])}, "calibration-dtype"),
        ({"x": np.array([[1, {}]], object)}, "calibration-format"),
        ({"x": np.zeros((3, 6), complex)}, "calibration-dtype"),
        ({"x": np.array([[0.0, np.nan]])}, "calibration-not-finite"),
        ({"x": np.array([[0.0, np.inf]])}, "calibration-not-finite"),
        ({"x": X, "y": np.zeros(59)}, "calibration-labels"),
        ({"x": X, "y": np.zeros((60, 3))}, "calibration-labels"),
        ({"x": X, "y": np.full(60, 0.5)}, "calibration-labels"),
        ({"x": X, "y": np.full(60, -1)}, "calibration-labels"),
        ({"x": X, "y": np.full(60, "cat")}, "calibration-labels"),
    ],
)
def test_refused_arrays(arrays: dict[str, Any], code: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(DataError) as caught:
        load_calibration(tmp_path / "data.npz")
    assert code_of(caught) == code


def test_refused_files(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_calibration(tmp_path / "none.npz")
    assert code_of(caught) == "data-missing"
    np.save(tmp_path / "array.npy", X)
    np.savez(tmp_path / "good.npz", x=X)
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    data = bytearray((tmp_path / "good.npz").read_bytes())
    (tmp_path / "short.npz").write_bytes(data[:400])
    data[300] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(data)
    for name in ("array.npy", "text.npz", "empty.npz", "short.npz", "flipped.npz"):
        with pytest.raises(DataError) as caught:
            load_calibration(tmp_path / name)
        assert code_of(caught) == "calibration-format", name


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        ((28, 28), (1, 28, 28)),
        ((28, 28, 1), (1, 28, 28)),
        ((784,), (1, 28, 28)),
        ((28, 28), (784,)),
        ((1, 28, 28), (784,)),
        ((6, 1), (6,)),
        ((3, 8, 8), (3, 8, 8)),
    ],
)
def test_shapes_that_mean_the_same(given: tuple[int, ...], shape: tuple[int, ...]) -> None:
    x = np.arange(2 * np.prod(given)).reshape(2, *given)
    matched = samples_for(Calibration(x), "input", shape)
    assert matched.shape == (2, *shape)
    assert np.array_equal(matched.ravel(), x.ravel())


@pytest.mark.parametrize(
    ("given", "shape", "hint"),
    [
        ((8, 8, 3), (3, 8, 8), "transpose"),
        ((8, 9), (9, 8), "transpose"),
        ((192,), (3, 8, 8), "shape"),
        ((3, 8, 8), (192,), "shape"),
        ((5,), (6,), "shape"),
    ],
)
def test_shapes_that_do_not(given: tuple[int, ...], shape: tuple[int, ...], hint: str) -> None:
    with pytest.raises(DataError, match="takes") as caught:
        samples_for(Calibration(np.zeros((2, *given))), "input", shape)
    assert code_of(caught) == "calibration-shape"
    assert hint in caught.value.hint


# ---- with a network ----------------------------------------------------------------


@pytest.fixture(scope="module")
def perceptron(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small network."""
    net = Writer(("N", 6))
    net.gemm(6, 5)
    net.add("Relu")
    net.gemm(5, 3)
    path = tmp_path_factory.mktemp("network") / "network.onnx"
    onnx.save(net.model(), path)
    return path


def test_labels_and_names_beyond_the_scores(perceptron: Path) -> None:
    with pytest.raises(DataError, match="class 3") as caught:
        convert_onnx(perceptron, Calibration(X, np.arange(60) % 4))
    assert code_of(caught) == "calibration-labels"
    with pytest.raises(UsageError, match="2 class names for 3 scores"):
        convert_onnx(perceptron, Calibration(X), classes=["a", "b"])
    for levels in (0, 256):
        with pytest.raises(UsageError, match="levels"):
            convert_onnx(perceptron, Calibration(X), levels=levels)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int64, np.float16, np.float64, bool])
def test_number_types(kind: type, perceptron: Path) -> None:
    x = (X * 2).astype(kind)
    _, report = convert_onnx(perceptron, Calibration(x), levels=255)
    error = report.layers[-1].error
    assert error is not None and error < 0.02


def test_one_sample_and_samples_that_are_all_alike(perceptron: Path) -> None:
    for x in (X[:1], np.repeat(X[:1], 30, axis=0), np.zeros((10, 6))):
        _, report = convert_onnx(perceptron, Calibration(x))
        assert report.samples == len(x)
        assert any("constant" in warning for warning in report.warnings)


# ---- input levels ------------------------------------------------------------------


def input_of(path: Path, x: NDArray[Any]) -> tuple[int, int, dict[str, Any]]:
    """Level range and metadata of the input, calibrated on x."""
    graph, _ = convert_onnx(path, Calibration(x), levels=15)
    neuron: Any = graph.populations[0].neuron
    return neuron.level_min, neuron.level_max, graph.metadata["input"]


def test_input_levels_hit_the_grid_of_the_samples(perceptron: Path) -> None:
    random = np.random.default_rng(2)
    pixels = random.integers(0, 256, (200, 6))
    low, high, described = input_of(perceptron, (pixels / 255).astype(np.float32))
    assert (low, high) == (0, 255)
    assert described["scale"] == pytest.approx(1 / 255, rel=1e-6)
    assert input_of(perceptron, pixels)[:2] == (0, 255)
    assert input_of(perceptron, pixels // 8 * 0.25 - 2.0)[:2] == (-8, 23)
    assert input_of(perceptron, (pixels > 99).astype(np.uint8))[:2] == (0, 255)  # what uint8 can hold
    assert input_of(perceptron, pixels > 99)[:2] == (0, 1)


def test_input_off_the_grid_has_256_levels(perceptron: Path) -> None:
    low, high, _ = input_of(perceptron, np.random.default_rng(3).normal(0, 1, (300, 6)))
    assert high - low == 255
    assert low < -80 and high > 80


def test_input_channels_of_different_size_have_scales_of_their_own(perceptron: Path) -> None:
    spread = np.array([1e-3, 1.0, 50.0, 1.0, 1000.0, 1.0])
    x = np.random.default_rng(4).normal(0, 1, (300, 6)) * spread
    low, high, described = input_of(perceptron, x)
    levels = np.floor((x * described["multiply"] + described["add"]) / described["scale"] + 0.5)
    assert described["scale"] == 1.0
    assert high - low == 255
    assert (np.abs(levels).max(axis=0) > 90).all()
