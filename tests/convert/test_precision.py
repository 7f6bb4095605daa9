"""Levels and weight bits by layer, and rounding that is better than to nearest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_networks import NETWORKS, Writer

from edgespike import InferenceSession
from edgespike.cli import main
from edgespike.convert import Calibration, EventOptions, Report, convert_onnx
from edgespike.convert.rounding import LIMITS, change, clipped_units, moments, rounded
from edgespike.errors import UsageError
from edgespike.graph import Activation, Convolution, Dense, Graph


def converted(net: Writer, folder: Path, **options: Any) -> tuple[Graph, Report, NDArray[np.float32]]:
    onnx.save(net.model(), folder / "network.onnx")
    x = np.random.default_rng(1).normal(0, 1, (80, *net.shape[1:])).astype(np.float32)
    return *convert_onnx(folder / "network.onnx", Calibration(x), **options), x


def weight_bits(graph: Graph) -> list[list[int]]:
    """Of the weighted projections that end in each population but the input."""
    kinds = Dense | Convolution
    return [
        [p.connection.weight_bits for p in graph.incoming(number) if isinstance(p.connection, kinds)]
        for number in range(1, len(graph.populations))
    ]


# ---- choices -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["residual_projection", "conv_groups", "channels_last_export"])
def test_weights_of_four_bits_run_alike_everywhere(name: str, tmp_path: Path) -> None:
    graph, report, x = converted(NETWORKS[name](), tmp_path, weights=4, levels=31)
    assert {bits for layer in weight_bits(graph) for bits in layer} == {4}
    for projection in graph.projections:
        if isinstance(projection.connection, Dense | Convolution):
            assert np.abs(projection.connection.weight.astype(int)).max() <= 7
    assert 4 in [layer.weight_bits for layer in report.layers]
    scores = [InferenceSession(graph, backend).scores(x[:4]) for backend in ("reference", "cpu")]
    np.testing.assert_array_equal(*scores)
    with InferenceSession(graph, "device", port="emulated") as board:
        np.testing.assert_array_equal(board.scores(x[:4]), scores[0])


def test_four_bits_take_about_half_the_flash(tmp_path: Path) -> None:
    net = Writer((1, 60))
    net.add("MatMul", net.normal(60, 64, scale=0.2))
    net.add("Relu")
    net.add("MatMul", net.normal(64, 10, scale=0.2))
    eight, four = (converted(net, tmp_path, weights=bits)[1] for bits in (8, 4))
    assert [layer.weight_bytes for layer in eight.layers] == [2 * layer.weight_bytes for layer in four.layers]
    assert eight.flash - four.flash >= (60 * 64 + 64 * 12) // 2


@pytest.mark.parametrize("levels", [1, 3, 7, 31, 63, 127, 255])
def test_any_number_of_levels(levels: int, tmp_path: Path) -> None:
    graph, _, x = converted(NETWORKS["conv_groups"](), tmp_path, levels=levels)
    for population in graph.populations[1:-1]:
        assert isinstance(population.neuron, Activation)
        assert population.neuron.level_max - population.neuron.level_min == levels
    scores = [InferenceSession(graph, backend).scores(x[:3]) for backend in ("reference", "cpu")]
    np.testing.assert_array_equal(*scores)


def test_choices_by_layer(tmp_path: Path) -> None:
    names = [p.name for p in converted(three_layers(), tmp_path)[0].populations]
    graph, report, _ = converted(
        three_layers(), tmp_path, levels={"*": 15, names[2]: 63}, weights={names[1]: 4, names[3]: 4}
    )
    ranges = [getattr(p.neuron, "level_max", 0) for p in graph.populations[1:]]
    assert ranges == [15, 63, 0]
    assert weight_bits(graph) == [[4], [8], [4]]
    assert [layer.weight_bits for layer in report.layers] == [0, 4, 8, 4]
    kept = graph.metadata["conversion"]
    assert (kept["levels"], kept["weights"]) == ({"*": 15, names[2]: 63}, {names[1]: 4, names[3]: 4})


def three_layers() -> Writer:
    net = Writer((1, 12))
    for sources, targets in ((12, 20), (20, 16), (16, 5)):
        net.add("MatMul", net.normal(sources, targets, scale=0.3))
        if targets != 5:
            net.add("Relu")
    return net


def test_levels_of_the_input_are_chosen_by_its_name_alone(tmp_path: Path) -> None:
    def levels_of(**options: Any) -> tuple[Any, Report]:
        graph, report, x = converted(three_layers(), tmp_path, **options)
        scores = [InferenceSession(graph, backend).scores(x[:4]) for backend in ("reference", "cpu")]
        np.testing.assert_array_equal(*scores)
        return graph.populations[0].neuron, report

    for all_layers in (15, {"*": 15}):
        neuron, _ = levels_of(levels=all_layers)
        assert neuron.level_max - neuron.level_min == 255
    for most in (1, 15, 63):
        neuron, report = levels_of(levels={"x": most})
        assert neuron.level_max - neuron.level_min == most
    assert neuron.level_min < 0
    error = report.layers[-1].error
    assert error is not None and error < 0.1


def test_input_levels_of_pixels_and_of_event_counts(tmp_path: Path) -> None:
    net = Writer((1, 2, 6, 6))
    net.add("Conv", net.normal(4, 2, 3, 3, scale=0.3))
    net.add("Relu")
    net.add("Flatten")
    net.gemm(64, 3)
    onnx.save(net.model(), tmp_path / "network.onnx")
    counts = np.random.default_rng(1).integers(0, 30, (60, 2, 6, 6)).astype(np.float32)
    for divided, levels, expected in ((1, 29, (0, 29)), (29, 255, (0, 29)), (29, 7, (0, 7))):
        graph, _ = convert_onnx(
            tmp_path / "network.onnx", Calibration(counts / divided), levels={"x": levels}
        )
        neuron: Any = graph.populations[0].neuron
        assert (neuron.level_min, neuron.level_max) == expected
    graph, _ = convert_onnx(
        tmp_path / "network.onnx", Calibration(counts), levels={"x": 7}, events=EventOptions(6, 6, 1000)
    )
    neuron = graph.populations[0].neuron
    assert (neuron.level_min, neuron.level_max) == (0, 7)
    assert graph.input.event_counts is not None and graph.input.event_counts.table.max() == 7


def test_choices_without_an_effect_are_refused(tmp_path: Path) -> None:
    net = Writer((1, 1, 8, 8))
    net.add("Conv", net.normal(4, 1, 3, 3, scale=0.3))
    net.add("Relu")
    net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    net.add("AveragePool", kernel_shape=[3, 3])
    net.add("Flatten")
    net.gemm(4, 3)
    names = [p.name for p in converted(net, tmp_path)[0].populations]
    for options, words in (
        ({"levels": {names[2]: 15}}, [names[2], "max pool", names[1]]),
        ({"levels": {names[3]: 15}}, [names[3], "average pool"]),
        ({"levels": {names[4]: 15}}, [names[4], "scores"]),
        ({"weights": {names[0]: 4}}, [names[0], "it has none"]),
        ({"weights": {names[2]: 4}}, [names[2], "it has none"]),
    ):
        with pytest.raises(UsageError) as caught:
            converted(net, tmp_path, **options)
        assert all(word in f"{caught.value.message} {caught.value.hint}" for word in words)
    converted(net, tmp_path, levels={"*": 15, names[2]: 255}, weights={"*": 4, names[0]: 8})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"levels": 0}, ["levels is 0"]),
        ({"levels": {"*": 256}}, ["levels is 256"]),
        ({"levels": {"conv9": 15}}, ["levels", "conv9", "layers are"]),
        ({"weights": 5}, ["5 bits"]),
        ({"weights": {"no such": 4}}, ["weights", "no such"]),
    ],
)
def test_choices_that_make_no_sense(options: Any, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        converted(three_layers(), tmp_path, **options)
    assert all(word in f"{caught.value.message} {caught.value.hint}" for word in words)


def test_choices_on_the_command_line(tmp_path: Path) -> None:
    graph, _, x = converted(three_layers(), tmp_path)
    np.savez(tmp_path / "x.npz", x=x)
    first = graph.populations[1].name
    files = [str(tmp_path / name) for name in ("network.onnx", "x.npz", "out.esg")]
    choices = ["--levels", "15", "--levels", f"{first}=7", "--weights", "4"]
    assert main(["convert", files[0], "--calibration", files[1], "-o", files[2], *choices]) == 0
    made = InferenceSession(files[2]).graph
    assert [getattr(p.neuron, "level_max", 0) for p in made.populations[1:]] == [7, 15, 0]
    assert weight_bits(made) == [[4], [4], [4]]


# ---- rounding ----------------------------------------------------------------------


def correlated(seed: int, groups: int = 2) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Places that see correlated levels, and weights."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(0, 1, (groups, 6, 24))
    x = np.rint(np.maximum(rng.normal(0, 4, (groups, 400, 6)) @ mix, 0)) + rng.integers(
        0, 3, (groups, 400, 24)
    )
    return x.astype(np.float32), rng.normal(0, 1, (groups, 24, 5))


@given(st.integers(0, 10**6), st.sampled_from([4, 8]))
def test_rounding_gives_back_more_than_the_nearest_does(seed: int, bits: int) -> None:
    """Of the sums about their mean, what the bias cannot mend."""
    x, weight = correlated(seed)
    first, kept = moments(x, (x @ weight).astype(np.float32))
    h = first.h + kept.h
    unit = np.abs(weight).max(axis=1) / LIMITS[bits]
    chosen = rounded(weight, h, unit, LIMITS[bits])
    assert np.abs(chosen.astype(int)).max() <= LIMITS[bits]

    def error(whole: NDArray[Any]) -> float:
        change = whole * unit[:, None] - weight
        return float(np.einsum("gst,gsr,grt->", change, h, change))

    assert error(chosen) < error(np.rint(weight / unit[:, None]))


@given(st.integers(0, 10**6))
def test_whole_weights_stay_as_they_are(seed: int) -> None:
    x, _ = correlated(seed)
    weight = np.random.default_rng(seed).integers(-7, 8, (2, 24, 5)).astype(np.float64)
    first, kept = moments(x, (x @ weight).astype(np.float32))
    unit = np.full((2, 5), 1.0)
    np.testing.assert_array_equal(rounded(weight, first.h + kept.h, unit, 7), weight)


def test_weights_change_only_where_unseen_places_gain() -> None:
    """Noise is no reason to leave trained weights; a level range that clips is."""
    x, weight = correlated(3)
    rng = np.random.default_rng(4)
    noise = rng.normal(0, 1, (2, 400, 5)).astype(np.float32)
    assert change(*moments(x[:, :60], noise[:, :60])) is None
    clipped = np.minimum(x, 20)
    lacking = ((x - clipped) @ weight).astype(np.float32)
    found = change(*moments(clipped, lacking))
    assert found is not None
    left = lacking - clipped @ found
    assert np.var(left, axis=1).sum() < 0.8 * np.var(lacking, axis=1).sum()


def test_four_bits_are_clipped_where_that_costs_less() -> None:
    weight = np.concatenate([np.full((1, 40, 1), 0.5), np.full((1, 1, 1), 4.0)], axis=1)
    weight[:, ::2] *= -1
    (unit,) = clipped_units(weight, np.ones((1, 41)), 7)[0]
    assert unit < 4 / 7
    assert clipped_units(np.zeros((1, 3, 1)), np.ones((1, 3)), 7)[0, 0] == 0
