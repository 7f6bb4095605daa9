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
from small_networks import Writer, float_twin, join

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
from edgespike.linear_maps import max_pool

Array = NDArray[Any]

FUNCTIONS: dict[str, dict[str, Any]] = {
    "Relu": {},
    "LeakyRelu": {"alpha": 0.3},
    "Sigmoid": {},
    "Tanh": {},
    "HardSwish": {},
    "Elu": {},
    "Softplus": {},
    "Abs": {},
    "Neg": {},
    "Softsign": {},
    "HardSigmoid": {},
    "Gelu": {},
}


def random_network(seed: int) -> Writer:
    """A few layers on an image, with branches, and a dense layer at the end."""
    rng = np.random.default_rng(seed)
    net = Writer((1, int(rng.integers(1, 4)), 6, 6), seed=seed, opset=20)
    channels, size = net.shape[1], 6
    for _ in range(int(rng.integers(1, 6))):
        kind = rng.choice(
            ["conv", "depthwise", "function", "norm", "pool", "residual", "concat", "spelled", "pad"]
        )
        before = net.tensor
        if kind == "conv":
            targets = int(rng.integers(1, 5))
            net.conv(channels, targets, 3, 3, pads=[1, 1, 1, 1])
            channels = targets
        elif kind == "depthwise":
            net.conv(channels, channels, 3, 3, pads=[1, 1, 1, 1], group=channels)
        elif kind == "function":
            name = str(rng.choice(list(FUNCTIONS)))
            net.add(name, **FUNCTIONS[name])
        elif kind == "norm":
            net.batch_norm(channels)
        elif kind == "pool" and size > 2:
            net.add(str(rng.choice(["MaxPool", "AveragePool"])), kernel_shape=[2, 2], strides=[2, 2])
            size //= 2
        elif kind == "residual":
            net.conv(channels, channels, 3, 3, pads=[1, 1, 1, 1])
            net.add(str(rng.choice(["Add", "Sub", "Sum"])), before)
        elif kind == "concat":
            net.conv(channels, 2, 1, 1)
            join(net, before, net.add("Tanh"))
            channels += 2
        elif kind == "spelled":
            net.add("Sigmoid")
            net.add("Mul", before)
        elif kind == "pad" and size < 6:
            net.add("Pad", net.constant(np.array([0, 0, 1, 0, 0, 0, 0, 1])))
            size += 1
    net.add("Flatten")
    net.gemm(channels * size * size, 3)
    return net


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
    net = random_network(seed)
    path = tmp_path / "network.onnx"
    onnx.save(net.model(), path)
    x = np.random.default_rng(seed).normal(0, 1, (30, *net.shape[1:])).astype(np.float32)
    network = read_onnx(path)
    exact = float_twin(network, x)
    scores = exact[-1].reshape(len(x), -1)
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


def quantized(path: Path, network: Network, x: Array, levels: int) -> tuple[Graph, list[Array]]:
    """A converted network, and the real value of a level of each of its populations, by channel."""
    graph, _ = convert_onnx(path, Calibration(x), levels=levels)
    _, neuron, scale, inputs = levels_of_input(network, x, None)
    statistics = measure(network, FloatNetwork(network), x, lambda share: None)
    chosen = precision([layer.name for layer in network.layers], levels, 8)
    made = quantize(network, statistics, inputs, neuron, scale, chosen, lambda share: None)
    return graph, [np.asarray(scale) for scale in made.scales]
