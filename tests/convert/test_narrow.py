"""Accumulators of 16 bits where a coarser unit costs little, and weights that take 16 bits for speed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from small_networks import Writer

from edgespike import InferenceSession
from edgespike.convert import Calibration, convert_onnx, narrow
from edgespike.convert.bounds import accumulator_bounds
from edgespike.errors import ModelError, UsageError
from edgespike.graph import Convolution, Dense, Graph
from edgespike.modelfile import decode_model, encode_model

Converted = tuple[Graph, NDArray[np.float32]]


def network() -> Writer:
    """Two convolutions whose sums of 8-bit weights would pass 16 bits at 15 levels, and a dense layer."""
    net = Writer((1, 1, 9, 9))
    net.conv(1, 16, 3, 3, pads=[1, 1, 1, 1])
    net.add("Relu")
    net.conv(16, 12, 3, 3, pads=[1, 1, 1, 1])
    net.add("Relu")
    net.add("Flatten")
    net.add("Gemm", net.normal(12 * 81, 6, scale=0.05))
    return net


def convert(folder: Path, **options: Any) -> Converted:
    onnx.save(network().model(), folder / "network.onnx")
    x = np.random.default_rng(1).normal(0, 1, (120, 1, 9, 9)).astype(np.float32)
    return convert_onnx(folder / "network.onnx", Calibration(x), **options)[0], x


def bits(graph: Graph) -> list[int]:
    return [population.accumulator_bits for population in graph.populations[1:]]


def errors(graph: Graph, x: NDArray[np.float32], folder: Path) -> float:
    """Mean squared error of the scores against onnxruntime."""
    import onnxruntime

    original = onnxruntime.InferenceSession(str(folder / "network.onnx"))
    wanted = np.concatenate([original.run(None, {"x": sample[None]})[0] for sample in x])
    return float(np.mean((InferenceSession(graph).run(None, {"x": x})[0] - wanted) ** 2))


def test_few_levels_fit_two_bytes_at_hardly_a_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a coarser unit the same layers need four; the scores are about as near."""
    graph, x = convert(tmp_path, levels=15)
    assert bits(graph)[:2] == [16, 16]
    assert all(bound < 1 << 15 for bound in accumulator_bounds(graph)[1:3])
    monkeypatch.setattr(narrow, "MOST_COARSE", 1.0)
    wide, _ = convert(tmp_path, levels=15)
    assert bits(wide)[:2] == [32, 32]
    assert errors(graph, x, tmp_path) < 1.1 * errors(wide, x, tmp_path)


def test_a_layer_that_would_lose_stays_as_it_is(tmp_path: Path) -> None:
    """At 255 levels the second layer's weights would lose most of their bits."""
    graph, x = convert(tmp_path, levels=255)
    assert bits(graph)[1] == 32
    assert errors(graph, x, tmp_path) < 0.1 * errors(convert(tmp_path, levels=15)[0], x, tmp_path)


def test_weights_of_sixteen_bits_are_those_of_eight(tmp_path: Path) -> None:
    """The same scores on every backend, twice the bytes where accumulators lie in pairs, and only there."""
    graph, x = convert(tmp_path, levels=15)
    fast, _ = convert(tmp_path, levels=15, weights=16)
    for one, other in zip(graph.projections, fast.projections, strict=True):
        assert isinstance(one.connection, Convolution | Dense)
        assert isinstance(other.connection, Convolution | Dense)
        np.testing.assert_array_equal(one.connection.weight, other.connection.weight)
        in_pairs = fast.populations[other.target].accumulator_bits == 16
        assert other.connection.weight_bits == (16 if in_pairs else 8)
    assert [p.connection.weight_bits for p in fast.projections] == [16, 16, 8]  # type: ignore[union-attr]
    longer = len(encode_model(fast)) - len(encode_model(graph))
    assert abs(longer - (9 * 16 + 16 * 9 * 12)) < 32  # sections end at a multiple of 16
    expected = InferenceSession(graph).scores(x[:5])
    for backend in ("reference", "cpu"):
        np.testing.assert_array_equal(InferenceSession(fast, backend).scores(x[:5]), expected)
    with InferenceSession(fast, "device", port="emulated") as board:
        np.testing.assert_array_equal(board.scores(x[:5]), expected)


def test_one_layer_by_name(tmp_path: Path) -> None:
    graph, _ = convert(tmp_path, levels=15)
    names = [population.name for population in graph.populations]
    fast, _ = convert(tmp_path, levels=15, weights={names[2]: 16})
    assert [p.connection.weight_bits for p in fast.projections] == [8, 16, 8]  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="weights of 12 bits"):
        convert(tmp_path, weights=12)


def test_a_file_keeps_them(tmp_path: Path) -> None:
    """Words are read back as the weights that they are; one that needs more than 8 bits is refused."""
    fast, _ = convert(tmp_path, levels=15, weights=16)
    data = encode_model(fast)
    again = decode_model(data)
    for one, other in zip(fast.projections, again.projections, strict=True):
        assert isinstance(one.connection, Convolution | Dense)
        assert isinstance(other.connection, Convolution | Dense)
        np.testing.assert_array_equal(one.connection.weight, other.connection.weight)
    assert encode_model(again) == data


def test_they_need_accumulators_in_pairs(tmp_path: Path) -> None:
    graph, _ = convert(tmp_path, levels=255, weights=16)
    (first, second, last) = graph.projections
    assert isinstance(second.connection, Convolution) and second.connection.weight_bits == 8
    forced = replace(second, connection=replace(second.connection, weight_bits=16))
    with pytest.raises(ModelError, match="weights of 16 bits"):
        encode_model(replace(graph, projections=(first, forced, last)))
