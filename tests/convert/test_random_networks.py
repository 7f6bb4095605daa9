"""Random networks of all kinds of operators: read as onnxruntime computes them, and converted within a bound.

The bound. Let e be, by neuron, how far a layer's levels are from its float values. A layer
that is given exact values (as fractions of levels) makes an error of its own, which is
measured: rounded weights, corrected bias, rounded and clipped levels. The errors of its
sources move its accumulator by at most E = sum(|w| e / level), so its quotient by at most
floor(E * 2^shift / step) + 1, and a table's level by that many times its greatest step.
So e = own + level * that; a max pool's e is the greatest in its window.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from random_onnx import random_network
from small_networks import float_twin

from edgespike import InferenceSession
from edgespike.convert import Calibration, convert_onnx
from edgespike.convert.activation import levels_of_input
from edgespike.convert.dense import apply, settle, signed_part
from edgespike.convert.float_network import FloatNetwork
from edgespike.convert.measure import measure
from edgespike.convert.precision import precision
from edgespike.convert.quantize import quantize
from edgespike.graph import Activation, Graph, MaxPool
from edgespike.importers.network import Network
from edgespike.importers.onnx import read_onnx
from edgespike.importers.onnx_operators import OPERATORS
from edgespike.linear_maps import max_pool

Array = NDArray[Any]

# Operators on integers are steps on real numbers: test_quantized_networks.py compares them with onnxruntime.
ON_INTEGERS = {
    *("ConvInteger", "DequantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QuantizeLinear"),
    *(name for name in OPERATORS if name.startswith("com.microsoft.Q") and name != "com.microsoft.QuickGelu"),
}


def test_every_operator_occurs() -> None:
    seen = {
        f"{node.domain}.{node.op_type}".lstrip(".")
        for seed in range(600)
        for node in random_network(seed).graph.node
    }
    assert set(OPERATORS) - ON_INTEGERS - seen == set()


def bounds(
    graph: Graph, network: Network, scales: list[Array], exact: list[Array], first: Array
) -> list[Array]:
    """By layer, the greatest error that the module's docstring allows."""
    errors = [first]
    for number in range(1, len(graph.populations)):
        population, neuron = graph.populations[number], graph.populations[number].neuron
        incoming = graph.incoming(number)
        if isinstance(neuron, MaxPool):
            window: Any = incoming[0].connection
            space = (population.shape[0], population.shape[1])
            geometry = (window.stride, window.dilation, window.padding)
            errors.append(max_pool(errors[incoming[0].source], space, window.kernel, *geometry, lowest=0.0))
            continue
        assert population.initial is not None
        at_zero = population.initial[None].astype(np.float64)
        moved = np.zeros((1, *population.shape))
        for projection in incoming:
            source, scale = projection.source, scales[projection.source]
            reference = graph.populations[source].initial_level
            levels = exact[source] / scale - reference
            at_zero = at_zero + apply(projection.connection, levels, population.shape)
            reach = signed_part(projection.connection, 0)
            moved = moved + apply(reach, errors[source] / scale, population.shape)
        if isinstance(neuron, Activation):
            step = (
                neuron.step
                if neuron.step.size == population.shape[2]
                else neuron.step.reshape(population.shape)
            )
            quotient = np.floor((at_zero * 2**neuron.shift + step // 2) / step)
            steepest = 1
            if neuron.table is None:
                levels = np.clip(quotient, neuron.level_min, neuron.level_max)
            else:
                rows, low = neuron.table.levels.astype(int), neuron.table.index_min
                index = np.clip(quotient, low, neuron.table.index_max).astype(int) - low
                levels = rows[np.arange(population.shape[2]) % len(rows), index]
                steepest = int(np.abs(np.diff(rows, axis=1)).max(initial=0))
            moved = (np.floor(moved * 2**neuron.shift / step * (1 + 1e-9)) + 1) * steepest
        else:
            levels = at_zero
        own = np.abs(levels * scales[number] - exact[number])
        errors.append(own + moved * scales[number])
    return errors


@given(st.integers(0, 2**32 - 1), st.sampled_from([15, 255]))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_networks_are_within_the_bound(tmp_path: Path, seed: int, levels: int) -> None:
    path = tmp_path / "network.onnx"
    onnx.save(random_network(seed), path)
    network = read_onnx(path)
    x = np.random.default_rng(seed).normal(0, 1, (30, *network.input.shape)).astype(np.float32)
    exact = float_twin(network, x)
    scores = transformed(network, exact[-1].reshape(len(x), -1))
    expected = FloatNetwork(network).scores(x)
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-4 * max(1.0, np.abs(expected).max()))

    graph, scales = quantized(path, network, x, levels)
    session = InferenceSession(graph)
    inputs = np.stack([session.quantize(sample) for sample in x]).reshape(len(x), *graph.populations[0].shape)
    states = settle(graph, inputs)
    assert np.array_equal(session.scores(x[:3]), states[-1][:3].reshape(3, -1))
    first = np.abs(inputs * scales[0] - exact[0])
    for number, bound in enumerate(bounds(graph, network, scales, exact, first)):
        error = np.abs(states[number] * scales[number] - exact[number])
        slack = 1e-5 * max(1.0, float(np.abs(exact[number]).max()))
        assert (error <= bound + slack).all(), network.layers[number].name


def transformed(network: Network, scores: Array) -> Array:
    """Scores after the softmax at the end, if there is one. An ArgMax leaves them."""
    if network.output.transform in ("none", "argmax"):
        return scores
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True)
    return np.asarray(np.log(shares) if network.output.transform == "log_softmax" else shares)


def quantized(path: Path, network: Network, x: Array, levels: int) -> tuple[Graph, list[Array]]:
    """A converted network, and the real value of a level of each of its populations, by channel."""
    graph, _ = convert_onnx(path, Calibration(x), levels=levels)
    _, neuron, scale, inputs = levels_of_input(network, x, None)
    statistics = measure(network, FloatNetwork(network), x, lambda share: None)
    chosen = precision([layer.name for layer in network.layers], levels, 8)
    made = quantize(network, statistics, inputs, neuron, scale, chosen, lambda share: None)
    return graph, [np.asarray(scale) for scale in made.scales]
