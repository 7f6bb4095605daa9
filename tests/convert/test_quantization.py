"""What the quantizer promises: exact scales, weights in range, proved bounds, free references."""

from __future__ import annotations

import hashlib
import itertools
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_networks import NETWORKS, Writer

from edgespike.convert import Calibration, convert_onnx
from edgespike.convert.bounds import extremes, worst_accumulator
from edgespike.convert.dense import level_range, settle
from edgespike.convert.quantize import level_scale, quantize_input
from edgespike.convert.reference_state import at_rest, mode, with_best_reference, work
from edgespike.errors import ModelError
from edgespike.graph import (
    Activation,
    Convolution,
    Dense,
    Graph,
    LevelInput,
    OneToOne,
    Population,
    Projection,
    SumPool,
    narrowest_accumulator,
)
from edgespike.modelfile import encode_model
from edgespike.reference import ReferenceNetwork, project
from edgespike.session import InferenceSession


def converted(net: Writer, folder: Path, levels: int = 255, seed: int = 1) -> tuple[Graph, NDArray[Any]]:
    """A network's graph, and the samples that it was calibrated on."""
    onnx.save(net.model(), folder / "network.onnx")
    x = np.random.default_rng(seed).normal(0, 1, (60, *net.shape[1:])).astype(np.float32)
    return convert_onnx(folder / "network.onnx", Calibration(x), levels=levels)[0], x


def input_levels(graph: Graph, count: int, seed: int = 5) -> NDArray[np.int32]:
    """Random levels within the input's range."""
    low, high = level_range(graph.populations[0])
    shape = (count, *graph.populations[0].shape)
    return np.random.default_rng(seed).integers(low, high + 1, shape).astype(np.int32)


# ---- scales ------------------------------------------------------------------------


@pytest.mark.parametrize("pool", [True, False])
def test_levels_fit_what_max_pools_leave(pool: bool, tmp_path: Path) -> None:
    """One in sixteen values is large: what is small matters only where no pool drops it."""
    net = Writer((1, 1, 8, 8))
    net.add("Conv", net.constant(np.ones((1, 1, 1, 1))))
    net.add("Relu")
    if pool:
        net.add("MaxPool", kernel_shape=[4, 4], strides=[4, 4])
    net.add("Flatten")
    net.gemm(4 if pool else 64, 3)
    onnx.save(net.model(), tmp_path / "network.onnx")
    random = np.random.default_rng(3)
    x = random.uniform(0, 0.4, (80, 1, 8, 8))
    x[:, :, ::4, ::4] = random.uniform(1, 5, (80, 1, 2, 2))
    graph, _ = convert_onnx(tmp_path / "network.onnx", Calibration(x.astype(np.float32)), levels=3)
    session = InferenceSession(graph)
    inputs = np.stack([session.quantize(sample.astype(np.float32)) for sample in x]).reshape(80, 8, 8, 1)
    levels = settle(graph, inputs)[1]
    peaks = x.transpose(0, 2, 3, 1)[:, ::4, ::4]
    seen = peaks if pool else x.transpose(0, 2, 3, 1)
    scale, low, high = level_scale(seen.reshape(-1, 1), 3, 1.0)
    expected = np.clip(np.rint(x.transpose(0, 2, 3, 1) / scale), low, high)
    assert (levels == expected).mean() > 0.95


@pytest.mark.parametrize(("levels", "least", "most"), [(15, 45, 60), (255, 15, 30)])
def test_few_levels_before_a_depthwise_convolution_are_each_channels_own(
    levels: int, least: float, most: float, tmp_path: Path
) -> None:
    net = Writer((1, 2, 6, 6))
    net.add("Conv", net.constant(np.array([1.0, 0, 0, 50.0]).reshape(2, 2, 1, 1)))
    net.add("Relu")
    net.conv(2, 2, 3, 3, group=2, bias=False)
    net.add("Relu")
    net.add("Flatten")
    net.gemm(32, 3)
    graph, x = converted(net, tmp_path, levels)
    session = InferenceSession(graph)
    inputs = np.stack([session.quantize(sample) for sample in x]).reshape(len(x), 6, 6, 2)
    states = settle(graph, inputs)[1]
    real = np.maximum(x.transpose(0, 2, 3, 1), 0) * [1.0, 50.0]
    inner = (states > 0) & (states < levels)
    sizes = [np.median((real / np.maximum(states, 1))[..., c][inner[..., c]]) for c in (0, 1)]
    assert least < sizes[1] / sizes[0] < most  # their values differ by 50


def test_scales_are_exact_where_weights_are_whole(tmp_path: Path) -> None:
    """Identity weights and inputs on the level grid: a scale that was rounded would show."""
    net = Writer((1, 4))
    net.add("MatMul", net.constant(np.eye(4)))
    net.add("Relu")
    net.add("MatMul", net.constant(np.eye(4)))
    onnx.save(net.model(), tmp_path / "network.onnx")
    x = np.random.default_rng(0).integers(0, 256, (400, 4)) / np.float32(255)
    x[0] = 1.0
    graph, _ = convert_onnx(tmp_path / "network.onnx", Calibration(x), levels=255)
    output = InferenceSession(graph).run(None, {"x": x})[0]
    np.testing.assert_allclose(output, x, atol=0.5 / 255 / 127)


@pytest.mark.parametrize(
    "name", ["residual_projection", "conv_groups", "average_pool", "channels_last_export"]
)
@pytest.mark.parametrize("levels", [3, 15, 255])
def test_ranges(name: str, levels: int, tmp_path: Path) -> None:
    graph, _ = converted(NETWORKS[name](), tmp_path, levels)
    for number, population in enumerate(graph.populations[1:], 1):
        if isinstance(population.neuron, Activation):
            assert population.neuron.step.min() >= 1
            low, high = level_range(population)
            assert low <= 0 <= high
            pooled = any(isinstance(p.connection, SumPool) for p in graph.incoming(number))
            assert high - low <= 255 if pooled else high - low == levels
        for projection in graph.incoming(number):
            weight = getattr(projection.connection, "weight", None)
            if isinstance(projection.connection, Dense | Convolution):
                assert np.abs(projection.connection.weight.astype(int)).max() <= 127
            if weight is not None:
                assert weight.dtype == (np.int16 if isinstance(projection.connection, OneToOne) else np.int8)


@given(
    st.lists(st.floats(-5, 5, allow_nan=False), min_size=1, max_size=40),
    st.integers(1, 255),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_level_scale_never_does_worse_than_the_full_range(
    values: list[float], levels: int, balance: float
) -> None:
    data = np.array(values, np.float32).reshape(-1, 1)
    (scale,), low, high = level_scale(data, levels, balance)
    assert scale > 0 and high - low == levels and low <= 0 <= high
    full = max((data.max(initial=0.0) - data.min(initial=0.0)) / levels, 1e-30)
    lowest = round(float(min(data.min(), 0.0)) / full)

    def error(size: float, least: int) -> float:
        return float(np.square(np.clip(np.rint(data / size), least, least + levels) * size - data).mean())

    assert error(scale, low) <= error(full, lowest) * 1.5 + (full / 2) ** 2 + 1e-12


def test_sums_of_pools_are_lossless_where_levels_suffice(tmp_path: Path) -> None:
    net = Writer((1, 1, 4, 4))
    net.conv(1, 2, 1, 1)
    net.add("Relu")
    net.add("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    net.conv(2, 2, 1, 1)
    graph, _ = converted(net, tmp_path, levels=15)
    pool = graph.populations[2].neuron
    assert isinstance(pool, Activation)
    assert pool.step.tolist() == [1, 1] and (pool.level_min, pool.level_max) == (0, 60)
    graph, _ = converted(net, tmp_path, levels=255)
    pool = graph.populations[2].neuron
    assert isinstance(pool, Activation)
    assert 1 < pool.step[0] <= 5 and pool.level_max <= 255


def test_channels_without_activity_and_without_weights(tmp_path: Path) -> None:
    net = Writer((1, 3))
    weight = np.array([[1.0, 0.0, 1e-7, -5.0], [0.5, 0.0, 0.0, -5.0], [0.2, 0.0, 0.0, -5.0]])
    net.add("Gemm", net.constant(weight), net.constant(np.array([0.0, 0.3, 100.0, -50.0])))
    net.add("Relu")
    net.gemm(4, 2)
    graph, x = converted(net, tmp_path)
    session = InferenceSession(graph)
    assert np.array_equal(session.scores(x[:5]), InferenceSession(graph, "reference").scores(x[:5]))


# ---- bounds ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "conv_stride_beyond_pads",
        "conv_groups",
        "residual_projection",
        "average_pool_pads_left_out",
        "linear_after_linear",
    ],
)
def test_bound_is_reached_by_the_worst_source_levels_and_by_none_exceeded(name: str, tmp_path: Path) -> None:
    graph, _ = converted(NETWORKS[name](), tmp_path, levels=15)
    random = np.random.default_rng(7)
    for number, population in enumerate(graph.populations):
        if population.initial is None:
            continue
        incoming = [(p, graph.populations[p.source]) for p in graph.incoming(number)]
        least, greatest = extremes(population, incoming)
        for _ in range(30):
            total = population.initial.astype(np.int64)
            for projection, source in incoming:
                low, high = level_range(source)
                levels = random.choice([low, high], source.shape)
                total = total + project(
                    projection.connection, levels - source.initial_level, population.shape
                )
            assert (total >= least).all() and (total <= greatest).all()
        neuron = random.integers(population.size)
        reached = population.initial.reshape(-1)[neuron].astype(np.int64)
        for projection, source in incoming:
            low, high = level_range(source)
            unit = np.eye(source.size, dtype=np.int64).reshape(-1, *source.shape)
            column = np.array(
                [project(projection.connection, u, population.shape).reshape(-1)[neuron] for u in unit]
            )
            best = np.where(column > 0, high, low) - source.initial_level.reshape(-1)
            reached += int((column * best).sum())
        assert reached == greatest.reshape(-1)[neuron]


def small_graph(weight: NDArray[np.int8], bias: NDArray[np.int32], step: int) -> Graph:
    """Three inputs of -1 to 2, two neurons."""
    zero = np.zeros((1, 1, 2), np.int32)
    neuron = Activation(np.full(2, step, np.int32), -3, 3)
    first = Population("input", (1, 1, 3), LevelInput(-1, 2), None, np.zeros((1, 1, 3), np.int32))
    second = Population("layer", (1, 1, 2), neuron, bias.reshape(1, 1, 2), zero, 32)
    return Graph((first, second), (Projection(0, 1, Dense(weight)),))


@given(st.lists(st.integers(-127, 127), min_size=6, max_size=6), st.integers(-500, 500), st.integers(1, 99))
def test_bound_against_all_inputs(weights: list[int], bias: int, step: int) -> None:
    weight = np.array(weights, np.int8).reshape(3, 2)
    graph = small_graph(weight, np.array([bias, -bias], np.int32), step)
    inputs = np.array(list(itertools.product(range(-1, 3), repeat=3)))
    totals = inputs @ weight.astype(np.int64) + [bias, -bias]
    expected = max(int((totals + step // 2).max()), int(-totals.min()), 0)
    assert worst_accumulator(graph.populations[1], [(graph.projections[0], graph.populations[0])]) == expected


@pytest.mark.parametrize("name", NETWORKS)
def test_accumulators_are_as_wide_as_the_bound_needs(name: str, tmp_path: Path) -> None:
    graph, _ = converted(NETWORKS[name](), tmp_path, levels=3)
    for number, population in enumerate(graph.populations):
        if population.initial is not None:
            incoming = [(p, graph.populations[p.source]) for p in graph.incoming(number)]
            worst, connections = worst_accumulator(population, incoming), [p.connection for p, _ in incoming]
            assert population.accumulator_bits == narrowest_accumulator(
                worst, population.shape[2], connections
            )


# ---- reference ---------------------------------------------------------------------


def test_mode() -> None:
    values = np.array([[3, -1, 0], [3, 2, 5], [1, 2, 0], [1, -1, 7]])
    assert mode(values).tolist() == [1, -1, 0]


@pytest.mark.parametrize("name", ["residual_identity", "max_pool_pads_signed", "batch_norm_at_the_input"])
def test_any_reference_leads_to_the_same_state(name: str, tmp_path: Path) -> None:
    graph, _ = converted(NETWORKS[name](), tmp_path)
    samples = input_levels(graph, 4)
    expected = settle(graph, samples)
    for reference in input_levels(graph, 3, seed=9):
        moved = at_rest(graph, reference)
        assert all(np.array_equal(a, b) for a, b in zip(settle(moved, samples), expected, strict=True))
        still = settle(moved, reference[None])
        for state, population in zip(still, moved.populations, strict=True):
            rest = population.initial if population.initial_level is None else population.initial_level
            assert np.array_equal(state[0], rest)


def test_reference_of_a_constant_background_costs_least(tmp_path: Path) -> None:
    graph, _ = converted(NETWORKS["conv_same_upper"](), tmp_path)
    low, high = level_range(graph.populations[0])
    background = np.full((30, *graph.populations[0].shape), high // 2, np.int32)
    background[np.arange(30), np.arange(30) % 8, np.arange(30) % 7] = low
    chosen = with_best_reference(graph, background)
    assert (chosen.populations[0].initial_level == high // 2).all()
    states = settle(graph, background)
    zeros = at_rest(graph, np.zeros(graph.populations[0].shape, np.int32))
    assert work(chosen, states).synops < 0.5 * work(zeros, states).synops


def test_work_is_what_the_reference_interpreter_counts(tmp_path: Path) -> None:
    graph, x = converted(NETWORKS["residual_projection"](), tmp_path)
    session = InferenceSession(graph, "reference")
    session.scores(x[:6])
    levels = np.stack([session.quantize(sample) for sample in x[:6]])
    counted = work(graph, settle(graph, levels))
    stats = session.stats()
    assert counted.synops * 6 == pytest.approx(stats["synops"])
    for row, population, activity in zip(
        stats["populations"], graph.populations, counted.activity, strict=True
    ):
        assert activity * 6 * population.size == pytest.approx(row["events"])


# ---- the whole conversion ----------------------------------------------------------


def test_self_test_digest(tmp_path: Path) -> None:
    graph, _ = converted(NETWORKS["max_pool"](), tmp_path)
    assert graph.self_test is not None and len(graph.self_test.events)
    network = ReferenceNetwork(graph)
    network.push(graph.self_test.events)
    network.finish()
    assert zlib.crc32(network.output().astype("<i4").tobytes()) == graph.self_test.digest


def test_conversion_is_reproducible(tmp_path: Path) -> None:
    first, _ = converted(NETWORKS["residual_projection"](), tmp_path)
    second, _ = converted(NETWORKS["residual_projection"](), tmp_path)
    assert encode_model(first) == encode_model(second)


def test_report_and_metadata(tmp_path: Path) -> None:
    net = NETWORKS["batch_norm_after_conv"]()
    onnx.save(net.model(), tmp_path / "network.onnx")
    x = np.random.default_rng(1).normal(0, 1, (70, *net.shape[1:]))
    steps = []
    names = list("abcde")
    graph, report = convert_onnx(
        tmp_path / "network.onnx",
        Calibration(x, np.arange(70) % 5),
        classes=names,
        progress=lambda step, share: steps.append((step, share)),
    )
    assert json.loads(report.to_json())["samples"] == 70
    assert [layer.kind for layer in report.layers] == ["LevelInput", "Activation", "Accumulator"]
    assert [layer.weights for layer in report.layers] == [0, 72, 720]
    assert report.macs == InferenceSession(graph).graph.metadata["conversion"]["macs"]
    assert report.agreement is not None and report.agreement > 0.9
    assert report.flash > 792 and report.ram_one_shot <= report.ram_streaming
    assert graph.metadata["classes"] == names
    assert [share for _, share in steps] == sorted(share for _, share in steps)
    assert steps[-1] == ("done", 1.0)
    assert any("by chance" in warning for warning in report.warnings) or report.accuracy_float > 0.3


def test_quantize_input_rounds_half_up() -> None:
    levels = quantize_input(np.array([-0.75, -0.25, 0.25, 0.74, 9.0]), 0.5, -1, 3)
    assert levels.tolist() == [-1, 0, 1, 1, 3]


def test_dead_channels_are_reported(tmp_path: Path) -> None:
    net = Writer((1, 4))
    weight = np.random.default_rng(0).normal(0, 1, (4, 4))
    weight[:, 1:] = 0
    net.add("Gemm", net.constant(weight), net.constant(np.array([0.0, -1.0, -1.0, -1.0])))
    net.add("Relu")
    net.gemm(4, 2)
    onnx.save(net.model(), tmp_path / "network.onnx")
    x = np.random.default_rng(1).normal(0, 1, (60, 4))
    _, report = convert_onnx(tmp_path / "network.onnx", Calibration(x))
    assert any("75% of its channels are constant" in warning for warning in report.warnings)


def test_huge_biases_and_sums_coarsen_the_accumulator(tmp_path: Path) -> None:
    net = Writer((1, 3))
    net.add("Gemm", net.normal(3, 3), net.constant(np.array([1e12, 0.0, -1e12])))
    net.add("Relu")
    net.add("Gemm", net.normal(3, 2, scale=1e20), net.normal(2))
    graph, x = converted(net, tmp_path)
    scores = InferenceSession(graph, "reference").scores(x[:5])  # checks the bound as it runs
    assert np.array_equal(scores, InferenceSession(graph).scores(x[:5]))

    wide = Writer((1, 60_000))
    wide.add("MatMul", wide.constant(np.ones((60_000, 2)) * np.array([1.0, -1.0])))
    graph, x = converted(wide, tmp_path)
    incoming = [(graph.projections[0], graph.populations[0])]
    assert (1 << 27) < worst_accumulator(graph.populations[1], incoming) < 1 << 31


def test_network_that_overflows_in_float_is_refused(tmp_path: Path) -> None:
    net = Writer((1, 3))
    net.add("Gemm", net.constant(np.full((3, 3), 1e30)))
    net.add("Relu")
    net.add("Gemm", net.constant(np.full((3, 2), 1e30)))
    with pytest.raises(ModelError, match="NaN or infinity") as caught:
        converted(net, tmp_path)
    assert caught.value.code == "not-finite"


def test_source_hash(tmp_path: Path) -> None:
    graph, _ = converted(NETWORKS["gemm_transposed_scaled"](), tmp_path)
    assert graph.source_hash == hashlib.sha256((tmp_path / "network.onnx").read_bytes()).digest()
