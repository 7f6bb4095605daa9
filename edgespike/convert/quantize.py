"""Turns a float network into integer populations, layer by layer on calibration samples.

For a layer with K levels of real size ``scale``: each channel's accumulator counts units
of ``unit = scale / step``, with an integer ``step`` chosen first, so that the level function
divides by a whole number and no scale is rounded. An int8 weight then means
``unit / source scale``; the largest step that keeps every weight within int8 is taken.
The bias takes up the mean error of what comes in, measured with the quantized levels of
the layers before (bias correction; Nagel et al., "Data-Free Quantization", 2019).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.convert.bounds import worst_accumulator
from edgespike.convert.dense import State, apply, evaluate, level_range
from edgespike.convert.float_network import FloatNetwork
from edgespike.errors import ModelError
from edgespike.graph import (
    Accumulator,
    Activation,
    Connection,
    LevelInput,
    MaxPoolWindow,
    OneToOne,
    Population,
    Projection,
    SumPool,
)
from edgespike.graph import Convolution as ConvolutionWeights
from edgespike.graph import Dense as DenseWeights
from edgespike.graph import MaxPool as MaxPoolNeuron
from edgespike.importers.network import AveragePool, Convolution, Dense, Float, Layer, MaxPool, Network, Scale

INPUT_LEVELS = 255
POOL_LEVELS = 255
STEP_LIMIT = 1 << 15  # a finer accumulator than this part of a level gains nothing
WEIGHT_LIMIT = {Dense: 127, Convolution: 127, Scale: 32767}
SAMPLED_VALUES = 1 << 18


@dataclass(frozen=True, eq=False)
class Statistics:
    """A layer on the calibration samples: mean before the clip, and a random choice of values after it."""

    mean: Float
    values: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Quantized:
    """Populations and projections before a reference is chosen (every level 0, so ``initial`` is the bias).

    ``scales[i]``: real value of a level, or of an accumulator unit of the last population.
    """

    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    scales: tuple[float, ...]


# ---- what the float network does -------------------------------------------------


def measure(network: Network, run: FloatNetwork, x: NDArray[Any]) -> list[Statistics]:
    """Statistics of layers 1, 2, ... over all samples."""
    layers = network.layers[1:]
    random = np.random.default_rng(0)
    totals = [np.zeros(layer.shape) for layer in layers]
    chosen: list[list[NDArray[np.float32]]] = [[] for _ in layers]
    each = max(1, SAMPLED_VALUES // len(x))
    for _, values in run.values(x):
        for number, (layer, value) in enumerate(zip(layers, values, strict=True)):
            if not np.isfinite(value).all():
                raise ModelError(
                    f"{layer.name}: the network computes NaN or infinity on the calibration samples",
                    "check the samples' range, and that the network works in onnxruntime",
                    "not-finite",
                )
            totals[number] += value.sum(axis=0, dtype=np.float64)
            flat = value.reshape(-1)
            picked = flat if layer.size <= each else random.choice(flat, each * len(value))
            chosen[number].append(np.clip(picked, layer.minimum, layer.maximum))
    return [
        Statistics(total / len(x), np.concatenate(parts)) for total, parts in zip(totals, chosen, strict=True)
    ]


# ---- scales ----------------------------------------------------------------------


def level_scale(values: NDArray[Any], levels: int) -> tuple[float, int, int]:
    """Scale and level range with the least mean squared error over the values.

    Returns:
        The real value of a level, the least and the greatest level; ``levels`` apart, 0 among them.
    """
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if low == high:
        return 1.0, 0, levels
    best = (math.inf, 1.0, 0)
    for part in np.geomspace(0.05, 1.0, 80):
        scale = part * (high - low) / levels
        lowest = round(part * low / scale)
        error = np.clip(np.rint(values / scale), lowest, lowest + levels) * scale - values
        best = min(best, (float(np.square(error, dtype=np.float64).mean()), scale, lowest))
    return best[1], best[2], best[2] + levels


def input_scale(values: NDArray[Any]) -> tuple[float, int, int]:
    """Scale and level range of the input, given real values that it takes.

    Values on a grid of at most 256 steps, such as pixels, get levels that hit it exactly.
    """
    distinct = np.unique(values.astype(np.float64))
    span = distinct[-1] - distinct[0]
    low, high = min(float(distinct[0]), 0.0), max(float(distinct[-1]), 0.0)
    if span > 0:
        steps = max(1, round(span / np.diff(distinct).min()))
        places = (distinct - distinct[0]) * steps / span
        scale = span / steps
        on_grid = float(np.abs(places - np.rint(places)).max()) < 0.01
        if on_grid and round(high / scale) - round(low / scale) <= INPUT_LEVELS:
            return scale, round(low / scale), round(high / scale)
    return level_scale(values, INPUT_LEVELS)


def quantize_input(real: NDArray[Any], scale: float, low: int, high: int) -> State:
    """Input levels of real values, rounded half up as docs/metadata.md says."""
    return np.clip(np.floor(real / scale + 0.5), low, high).astype(np.int32)


# ---- layer by layer --------------------------------------------------------------


@dataclass
class Quantizer:
    """What has been quantized so far, and its levels on the calibration samples."""

    network: Network
    statistics: list[Statistics]
    levels: int
    populations: list[Population]
    projections: list[Projection]
    scales: list[float]
    states: dict[int, NDArray[np.int16]]

    def run(self) -> Quantized:
        """All layers."""
        for number in range(1, len(self.network.layers)):
            self.add_layer(number)
        order = sorted(self.projections, key=lambda projection: (projection.source, projection.target))
        return Quantized(tuple(self.populations), tuple(order), tuple(self.scales))

    def add_layer(self, number: int) -> None:
        """Quantizes one layer and evaluates it on the samples."""
        layer = self.network.layers[number]
        if isinstance(layer.links[0].map, MaxPool):
            made = self.max_pool(layer)
        elif isinstance(layer.links[0].map, AveragePool):
            made = self.average_pool(layer, self.statistics[number - 1], number)
        else:
            made = self.weighted(layer, self.statistics[number - 1], number)
        population, connections, scale = made
        projections = [
            Projection(link.source, number, connection)
            for link, connection in zip(layer.links, connections, strict=True)
        ]
        incoming = [(projection, self.populations[projection.source]) for projection in projections]
        if population.initial is not None:
            worst = worst_accumulator(population, incoming)
            if worst >= 1 << 31:
                raise ModelError(
                    f"{layer.name}: its accumulators would need more than 32 bits (bound {worst})",
                    "this layer's bias is out of all proportion to its weights: check the training",
                    "accumulator-range",
                )
            population = replace(population, accumulator_bits=16 if worst < 1 << 15 else 32)
        self.populations.append(population)
        self.projections += projections
        self.scales.append(scale)
        self.keep_state(number, incoming)

    def keep_state(self, number: int, incoming: list[tuple[Projection, Population]]) -> None:
        """Levels of a new layer on the samples; those that nobody reads any more are dropped."""
        readers = {
            link.source: reader for reader, layer in enumerate(self.network.layers) for link in layer.links
        }
        if number in readers:
            population, count = self.populations[number], len(self.states[incoming[0][0].source])
            state = np.empty((count, *population.shape), np.int16)
            for start in range(0, count, 64):
                part = slice(start, start + 64)
                arriving = [(p, source, self.states[p.source][part]) for p, source in incoming]
                state[part] = evaluate(population, arriving)
            self.states[number] = state
        for source in list(self.states):
            if readers.get(source, 0) <= number:
                del self.states[source]

    def is_last(self, number: int) -> bool:
        """Whether this layer gives the scores."""
        return number == len(self.network.layers) - 1

    def max_pool(self, layer: Layer) -> tuple[Population, list[Connection], float]:
        """A max pool shares the levels of its source."""
        (link,) = layer.links
        assert isinstance(link.map, MaxPool)
        neuron = MaxPoolNeuron(*level_range(self.populations[link.source]))
        zero = np.zeros(layer.shape, np.int32)
        window = MaxPoolWindow(link.map.kernel, link.map.stride, link.map.padding, link.map.dilation)
        return Population(layer.name, layer.shape, neuron, None, zero), [window], self.scales[link.source]

    def average_pool(
        self, layer: Layer, statistics: Statistics, number: int
    ) -> tuple[Population, list[Connection], float]:
        """A sum pool; every sum is a level of its own where 255 levels are enough."""
        (link,) = layer.links
        pool = link.map
        assert isinstance(pool, AveragePool)
        connection = SumPool(pool.kernel, pool.stride, pool.padding, pool.dilation)
        bias = np.zeros(layer.shape, np.int32)
        common = reduce(math.gcd, pool.divisor.ravel().tolist())
        unit = self.scales[link.source] / common
        if self.is_last(number) and layer.is_linear and (pool.divisor == common).all():
            return Population(layer.name, layer.shape, Accumulator(), bias, None), [connection], unit
        lowest, highest = (float(limit * common) for limit in level_range(self.populations[link.source]))
        factor = 1
        if highest - lowest > POOL_LEVELS:
            lowest = max(lowest, float(statistics.values.min(initial=0.0)) / unit)
            highest = min(highest, float(statistics.values.max(initial=0.0)) / unit)
            factor = max(1, math.ceil((highest - lowest) / (POOL_LEVELS - 1)))
        low = math.floor(max(lowest, layer.minimum / unit) / factor + 0.5)
        high = max(low + 1, math.floor(min(highest, layer.maximum / unit) / factor + 0.5))
        step = np.broadcast_to((pool.divisor // common * factor)[:, :, None], layer.shape).astype(np.int32)
        step = step[0, 0] if (step == step[0, 0]).all() else step.ravel()
        neuron = Activation(step, low, high)
        return (
            Population(layer.name, layer.shape, neuron, bias, np.zeros_like(bias)),
            [connection],
            unit * factor,
        )

    def weighted(
        self, layer: Layer, statistics: Statistics, number: int
    ) -> tuple[Population, list[Connection], float]:
        """Dense, convolution and one-to-one links into one population."""
        least = np.max([self.least_unit(link.source, link.map) for link in layer.links], axis=0)
        neuron: Activation | Accumulator
        if self.is_last(number) and layer.is_linear:
            scale = float(least.max()) or 1.0
            unit = np.full(layer.shape[2], scale)
            neuron = Accumulator()
        else:
            scale, low, high = level_scale(statistics.values, self.levels)
            scale = max(scale, float(least.max()))
            step = np.minimum(np.floor(scale / np.maximum(least, scale / STEP_LIMIT)), STEP_LIMIT).astype(
                np.int32
            )
            unit = scale / step
            neuron = Activation(step, low, high)
        connections = [self.integer_weights(link.source, link.map, unit) for link in layer.links]
        arriving = np.zeros(layer.shape)
        for link, connection in zip(layer.links, connections, strict=True):
            mean = self.states[link.source].mean(axis=0, dtype=np.float64)
            arriving += apply(connection, mean[None], layer.shape)[0] * unit
        error = (statistics.mean - layer.bias - arriving).mean(axis=(0, 1))
        bias = np.rint((layer.bias + error) / unit)
        if np.abs(bias).max() >= 1 << 31:
            raise ModelError(
                f"{layer.name}: its bias does not fit 32 bits in units of its weights",
                "check the training of this layer",
                "accumulator-range",
            )
        initial = bias.astype(np.int32)
        zero = None if isinstance(neuron, Accumulator) else np.zeros_like(initial)
        return Population(layer.name, layer.shape, neuron, initial, zero), connections, scale

    def least_unit(self, source: int, link: Any) -> Float:
        """By target channel, the smallest accumulator unit that keeps the integer weights within range."""
        weight = np.abs(link.weight)
        if isinstance(link, Dense):
            largest = weight.max(axis=0)
        elif isinstance(link, Convolution):
            grouped = weight.reshape(link.groups, -1, weight.shape[3])
            largest = grouped.max(axis=1).ravel()
        else:
            largest = weight
        return np.asarray(largest * self.scales[source] / WEIGHT_LIMIT[type(link)])

    def integer_weights(self, source: int, link: Any, unit: Float) -> Connection:
        """Weights in units of each target channel's accumulator."""
        real = link.weight * self.scales[source]
        if isinstance(link, Dense):
            return DenseWeights(np.rint(real / unit).astype(np.int8))
        if isinstance(link, Scale):
            return OneToOne(np.rint(real / unit).astype(np.int16))
        by_group = np.repeat(unit.reshape(link.groups, -1), len(real) // link.groups, axis=0)
        weight = np.rint(real / by_group[:, None, None, :]).astype(np.int8)
        return ConvolutionWeights(weight, link.stride, link.dilation, link.padding, link.groups)


def quantize(
    network: Network,
    statistics: list[Statistics],
    inputs: State,
    neuron: LevelInput,
    scale: float,
    levels: int,
) -> Quantized:
    """Integer populations for a network.

    Args:
        network: the float network.
        statistics: of its layers, on the calibration samples.
        inputs: input levels of these samples, (samples, height, width, channels).
        neuron: the input population's level range.
        scale: real value of an input level.
        levels: greatest level of an activation, 1 to 255.
    """
    layer = network.layers[0]
    first = Population(layer.name, layer.shape, neuron, None, np.zeros(layer.shape, np.int32))
    states = {0: inputs.astype(np.int16)}
    return Quantizer(network, statistics, levels, [first], [], [scale], states).run()
