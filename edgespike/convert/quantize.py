"""Turns a float network into integer populations, layer by layer on calibration samples.

A level of channel c is worth ``scale[c]``. Its accumulator counts units of
``scale / step``, with an integer ``step`` chosen first, so that the level function divides by
a whole number and no scale is rounded; the largest step that keeps every weight within 8 bits,
or the one nearest to the best clipping of 4 bits, is taken. Weights are fitted to the quantized
levels of the layers before (fitting.py, rounding.py). Readers fold the scales of their sources
into their weights, so channels may differ:
the geometric mean of one scale for all and one for each shares the error between levels and
weights (as cross-layer equalization does; Nagel et al., "Data-Free Quantization Through
Weight Equalization and Bias Correction", 2019). The bias takes up the mean error of what comes
in, measured with the quantized levels of the layers before (bias correction, same paper).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.convert import narrow
from edgespike.convert.bounds import worst_accumulator
from edgespike.convert.dense import State, apply, evaluate, level_range
from edgespike.convert.fitting import LinkWeights, fit_weights, trained_weights
from edgespike.convert.given_levels import level_limits, shifted_steps, weight_grid
from edgespike.convert.level_table import is_scalable, level_table, table_of_levels
from edgespike.convert.measure import Statistics
from edgespike.convert.precision import Precision
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
    narrowest_accumulator,
)
from edgespike.graph import MaxPool as MaxPoolNeuron
from edgespike.importers.network import (
    AveragePool,
    Convolution,
    Float,
    Layer,
    Levels,
    Link,
    Map,
    MaxPool,
    Network,
    Scale,
)

POOL_LEVELS = 255
RANGES_APART = 8
# By weight bits of the readers. Measured at 15 levels with 8 bits, signal to noise of the scores: 0.75 gives
# 0.4 to 1.7 dB more than 0.5 and, within 0.5 dB, as much as 1; with 4 bits 1 costs 2.5 dB.
CHANNEL_BALANCE = {8: 0.75, 4: 0.5}
# Up to so many levels, rounding to them outweighs what other samples' peaks will clip: a scale of each
# channel's own before depthwise convolutions gives 0.6 dB at 15 levels (4 bits: 1.2), at 255 it costs 1 to 2.
FEW_LEVELS = 15
EXACT_LEVELS = 512  # of a source, that a function's table has an entry for each of
STEP_LIMIT = 1 << 15  # a finer accumulator than this part of a level gains nothing
ACCUMULATOR_LIMIT = 1 << 28  # of weights and of the bias; correction and rounding stay within 32 bits
NARROWINGS = 4  # looks whether sums fit: rounding may leave one a little too large
ERROR_SAMPLES = 128  # that show whether a layer can do with accumulators of 2 bytes
SCALED_VALUES = 1 << 17  # of a layer, that its scale is chosen on


@dataclass(frozen=True, eq=False)
class Quantized:
    """Populations and projections before a reference is chosen (every level 0, so ``initial`` is the bias).

    ``scales[i]``: by channel, the real value of a level, or of a unit of the last accumulators.
    """

    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    scales: tuple[Float, ...]


# ---- scales ----------------------------------------------------------------------


def level_scale(values: NDArray[Any], levels: int, balance: float) -> tuple[Float, int, int]:
    """Scales with the least mean squared error over values (values, channels).

    Args:
        values: of a layer; 0 is level 0.
        levels: greatest level minus least level, the same for all channels.
        balance: 0 gives all channels one scale, 1 each its own, between them a geometric mean.

    Returns:
        The real value of a level by channel, the least and the greatest level.
    """
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if low == high:
        return np.ones(values.shape[1]), 0, levels
    lowest = round(levels * low / (high - low))
    values = values[:: math.ceil(values.size / SCALED_VALUES)]
    common = least_error_scale(values.reshape(-1, 1), lowest, lowest + levels)
    own = least_error_scale(values, lowest, lowest + levels) if balance else common
    scale = np.where(own > 0, own, common) ** balance * common ** (1 - balance)
    return np.asarray(np.broadcast_to(scale, values.shape[1:]), np.float64), lowest, lowest + levels


def least_error_scale(values: NDArray[Any], low: int, high: int) -> Float:
    """By column, the real value of a level with the least mean squared error; 0 for columns of zeros."""
    greatest, least_value = (limit.astype(np.float64) for limit in (values.max(axis=0), values.min(axis=0)))
    reach = np.maximum(np.maximum(greatest / max(high, 0.5), least_value / min(low, -0.5)), 0.0)
    best: Float = reach.copy()
    least = np.full(len(reach), np.inf)
    for part in np.geomspace(0.05, 1.0, 80):
        scale = np.where(reach > 0, reach * part, 1.0)
        error = np.clip(np.rint(values / scale), low, high) * scale - values
        mean = np.square(error, dtype=np.float64).mean(axis=0)
        better = (mean < least) & (reach > 0)
        best[better], least[better] = scale[better], mean[better]
    return best


def input_scale(values: NDArray[Any], most: int) -> tuple[Float, int, int]:
    """Scale by channel and level range of the input, for real values (values, channels).

    Values on a grid of at most so many steps, such as pixels at 255, get levels that hit it exactly.
    Channels share a scale unless their ranges are far apart, as those of different
    sensors are.
    """
    channels = values.shape[1]
    distinct = np.unique(values.astype(np.float64))
    span = distinct[-1] - distinct[0]
    if span > 0:
        steps = max(1, round(span / np.diff(distinct).min()))
        scale = span / steps
        places = (distinct - distinct[0]) / scale
        low, high = round(min(distinct[0], 0.0) / scale), round(max(distinct[-1], 0.0) / scale)
        if np.abs(places - np.rint(places)).max() < 0.01 and high - low <= most:
            return np.full(channels, scale), low, high
    reach = np.abs(values).max(axis=0)
    apart = reach.max() > RANGES_APART * reach[reach > 0].min(initial=np.inf)
    return level_scale(values, most, 1.0 if apart else 0.0)


def quantize_input(real: NDArray[Any], scale: Float | float, low: int, high: int) -> State:
    """Input levels of real values (..., channels), rounded half up as docs/metadata.md says."""
    return np.clip(np.floor(real / scale + 0.5), low, high).astype(np.int32)


# ---- layer by layer --------------------------------------------------------------


@dataclass
class Quantizer:
    """What has been quantized so far, and its levels on the calibration samples."""

    network: Network
    statistics: list[Statistics]
    precision: Precision
    populations: list[Population]
    projections: list[Projection]
    scales: list[Float]
    states: dict[int, NDArray[np.int16]]

    def run(self, tell: Callable[[float], None]) -> Quantized:
        """All layers; ``tell`` is called with the share that is done."""
        for number in range(1, len(self.network.layers)):
            self.add_layer(number)
            tell(number / (len(self.network.layers) - 1))
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
        incoming = self.incoming(layer, connections, number)
        if population.initial is not None:
            worst = worst_accumulator(population, incoming)
            assert worst < 1 << 31, "least_unit keeps accumulators far below this"
            population = replace(
                population, accumulator_bits=narrowest_accumulator(worst, layer.shape[2], connections)
            )
            if self.precision.weights[number] == 16:
                incoming = [
                    (narrow.in_words(projection, population), source) for projection, source in incoming
                ]
        self.populations.append(population)
        self.projections += [projection for projection, _ in incoming]
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

    def max_pool(self, layer: Layer) -> tuple[Population, list[Connection], Float]:
        """A max pool shares the levels of its source."""
        (link,) = layer.links
        assert isinstance(link.map, MaxPool)
        neuron = MaxPoolNeuron(*level_range(self.populations[link.source]))
        zero = np.zeros(layer.shape, np.int32)
        window = MaxPoolWindow(link.map.kernel, link.map.stride, link.map.padding, link.map.dilation)
        return Population(layer.name, layer.shape, neuron, None, zero), [window], self.scales[link.source]

    def average_pool(
        self, layer: Layer, statistics: Statistics, number: int
    ) -> tuple[Population, list[Connection], Float]:
        """A sum pool; every sum is a level of its own where 255 levels are enough."""
        (link,) = layer.links
        pool = link.map
        assert isinstance(pool, AveragePool)
        connection = SumPool(pool.kernel, pool.stride, pool.padding, pool.dilation)
        bias = np.zeros(layer.shape, np.int32)
        common = reduce(math.gcd, pool.divisor.ravel().tolist())
        unit = self.scales[link.source] / common
        if layer.levels is not None:
            return self.given_pool(layer, layer.levels, connection, unit, pool.divisor // common)
        if self.is_last(number) and layer.is_linear and (pool.divisor == common).all():
            return Population(layer.name, layer.shape, Accumulator(), bias, None), [connection], unit
        limits = level_range(self.populations[link.source])
        lowest, highest = (limit * common * pool.gain for limit in limits)
        factor = 1
        if highest - lowest > POOL_LEVELS:
            lowest = max(lowest, float((statistics.values / unit).min(initial=0.0)))
            highest = min(highest, float((statistics.values / unit).max(initial=0.0)))
            factor = max(1, math.ceil((highest - lowest) / (POOL_LEVELS - 1)))
        low = math.floor(max(lowest, layer.minimum) / factor + 0.5)
        high = max(low + 1, math.floor(highest / factor + 0.5))
        step = np.broadcast_to((pool.divisor // common * factor)[:, :, None], layer.shape).astype(np.int32)
        step = step[0, 0] if (step == step[0, 0]).all() else step.ravel()
        neuron = Activation(step, low, high)
        return (
            Population(layer.name, layer.shape, neuron, bias, np.zeros_like(bias)),
            [connection],
            unit * factor,
        )

    def given_pool(
        self, layer: Layer, levels: Levels, connection: SumPool, unit: Float, parts: NDArray[np.int64]
    ) -> tuple[Population, list[Connection], Float]:
        """A sum pool that brings its levels; ``unit``: real value of one in a sum, divided by ``parts``."""
        (link,) = layer.links
        scale, (low, high) = np.full(layer.shape[2], levels.scale), level_limits(layer)
        most = max(map(abs, level_range(self.populations[link.source])))
        worst = most * connection.kernel[0] * connection.kernel[1]
        step, shift = shifted_steps(scale * parts[:, :, None], np.broadcast_to(unit, layer.shape), worst)
        step = step[0, 0] if (step == step[0, 0]).all() else step.ravel()
        zero = np.zeros(layer.shape, np.int32)
        neuron = Activation(step, low, high, shift)
        return Population(layer.name, layer.shape, neuron, zero, zero), [connection], scale

    def weighted(
        self, layer: Layer, statistics: Statistics, number: int
    ) -> tuple[Population, list[Connection], Float]:
        """Dense, convolution and one-to-one links into one population."""
        if layer.function is not None and self.reads_levels(layer):
            return self.function_of_levels(layer, number)
        if layer.levels is not None and layer.function is None:
            return self.given(layer, layer.levels, number)
        bits = self.precision.quantized_bits(number)
        wanted = (
            self.trained_weights(layer)
            if self.network.is_quantized
            else fit_weights(layer, statistics, self.scales, self.states)
        )
        least = np.max([self.least_unit(weights, bits) for weights in wanted], axis=0)
        least = np.maximum(least, np.abs(layer.bias).max(axis=(0, 1)) / ACCUMULATOR_LIMIT)
        wide = self.in_units_of(least, wanted, layer, statistics, number)
        population, connections, scale = wide
        if bits != 8 or not narrow.can_share_words(population, connections):
            return wide
        assert isinstance(population.neuron, Activation)
        coarser = np.ones(layer.shape[2])
        slim = wide
        for _ in range(NARROWINGS):
            factor = narrow.coarsening(slim[0], self.incoming(layer, slim[1], number))
            if factor.max() == 1.0:
                break
            coarser *= np.where(factor > 1, 1.005 * factor, 1.0)
            if coarser.max() > narrow.MOST_COARSE:
                return wide
            units = scale / population.neuron.step * coarser
            slim = self.in_units_of(np.where(coarser > 1, units, least), wanted, layer, statistics, number)
        else:
            return wide
        if slim is wide:
            return wide
        error, of_wide = (self.squared_error(layer, made, statistics, number) for made in (slim, wide))
        return slim if error <= narrow.MOST_ERROR * of_wide else wide

    def in_units_of(
        self, least: Float, wanted: list[LinkWeights], layer: Layer, statistics: Statistics, number: int
    ) -> tuple[Population, list[Connection], Float]:
        """A layer with accumulators that count units of ``least``, by channel, or little more."""
        bits = self.precision.quantized_bits(number)
        neuron: Activation | Accumulator
        if self.is_last(number) and layer.is_linear:
            scale = unit = np.full(layer.shape[2], float(least.max()) or 1.0)
            neuron = Accumulator()
        elif layer.function is not None:
            balance = self.balance(number) if is_scalable(layer) else 0.0
            scale, low, high = self.function_levels(layer, number, balance)
            grid = level_table(layer, statistics.before, scale, low, high, least)
            step = whole_steps(grid.distance, least, bits)
            unit = grid.distance / step
            neuron = Activation(step, low, high, 0, grid.table)
        else:
            balance = self.balance(number)
            scale, low, high = level_scale(self.seen_values(number), self.precision.levels[number], balance)
            scale = np.maximum(scale, least if balance else least.max())
            step = whole_steps(scale, least, bits)
            unit = scale / step
            neuron = Activation(step, low, high)
        connections = [weights.rounded(unit, bits) for weights in wanted]
        arriving = np.zeros(layer.shape)
        for link, connection in zip(layer.links, connections, strict=True):
            mean = self.states[link.source].mean(axis=0, dtype=np.float64)
            arriving += apply(connection, mean[None], layer.shape)[0] * unit
        error = (statistics.mean - layer.bias - arriving).mean(axis=(0, 1))
        if self.network.is_quantized:
            error = np.zeros_like(error)  # its bias was fitted to its levels
        initial = np.rint((layer.bias + error) / unit).astype(np.int32)
        zero = None if isinstance(neuron, Accumulator) else np.zeros_like(initial)
        return Population(layer.name, layer.shape, neuron, initial, zero), connections, scale

    def given(self, layer: Layer, levels: Levels, number: int) -> tuple[Population, list[Connection], Float]:
        """A layer that brings its levels, and integer weights where they can be found again."""
        scale, (low, high) = np.full(layer.shape[2], levels.scale), level_limits(layer)
        trained = self.trained_weights(layer)
        unit = np.max([self.least_unit(weights, 8) for weights in trained], axis=0)
        if len(trained) == 1:
            grid = weight_grid(trained[0].by_target())
            unit = np.where(grid > 0, grid, unit)
        unit = np.where(unit > 0, unit, scale / 256)
        unit = np.maximum(unit, np.abs(layer.bias).max(axis=(0, 1)) / ACCUMULATOR_LIMIT)
        connections = [weights.rounded(unit, 8) for weights in trained]
        initial = np.rint(layer.bias / unit).astype(np.int32)
        neuron = Activation(np.ones(layer.shape[2], np.int32), low, high)
        population = Population(layer.name, layer.shape, neuron, initial, np.zeros_like(initial))
        worst = worst_accumulator(population, self.incoming(layer, connections, number))
        step, shift = shifted_steps(scale, unit, worst)
        return replace(population, neuron=Activation(step, low, high, shift)), connections, scale

    def incoming(
        self, layer: Layer, connections: list[Connection], number: int
    ) -> list[tuple[Projection, Population]]:
        """The projections that end in a layer, and their sources."""
        return [
            (Projection(link.source, number, connection), self.populations[link.source])
            for link, connection in zip(layer.links, connections, strict=True)
        ]

    def squared_error(
        self,
        layer: Layer,
        made: tuple[Population, list[Connection], Float],
        statistics: Statistics,
        number: int,
    ) -> float:
        """Of a quantized layer, on the first samples at the places that the statistics hold."""
        population, connections, scale = made
        states = [
            (p, source, self.states[p.source][:ERROR_SAMPLES])
            for p, source in self.incoming(layer, connections, number)
        ]
        of = statistics.sample < ERROR_SAMPLES
        levels = evaluate(population, states)[statistics.sample[of], statistics.y[of], statistics.x[of]]
        return narrow.squared_error(levels, scale, statistics.values[of])

    def reads_levels(self, layer: Layer) -> bool:
        """Whether a function's argument is one level of another population, of which there are few."""
        (link, *others) = layer.links
        if others or not isinstance(link.map, Scale) or (layer.bias != layer.bias[:1, :1]).any():
            return False
        low, high = level_range(self.populations[link.source])
        return high - low < EXACT_LEVELS

    def function_of_levels(self, layer: Layer, number: int) -> tuple[Population, list[Connection], Float]:
        """A population that looks up the level of another: nothing is rounded before the function."""
        (link,) = layer.links
        source = level_range(self.populations[link.source])
        (trained,) = self.trained_weights(layer)
        real = np.arange(source[0], source[1] + 1)[:, None] * trained.weight + layer.bias[0, 0]
        scale, low, high = self.function_levels(layer, number, self.balance(number))
        table = table_of_levels(layer, real, source, scale, low, high)
        ones = np.ones(layer.shape[2])
        zero = np.zeros(layer.shape, np.int32)
        neuron = Activation(ones.astype(np.int32), low, high, 0, table)
        return (
            Population(layer.name, layer.shape, neuron, zero, zero),
            [OneToOne(ones.astype(np.int16))],
            scale,
        )

    def function_levels(self, layer: Layer, number: int, balance: float) -> tuple[Float, int, int]:
        """Real value of a level by channel, least and greatest level: given, or chosen on the samples."""
        if layer.levels is not None:
            return np.full(layer.shape[2], layer.levels.scale), *level_limits(layer)
        return level_scale(self.seen_values(number), self.precision.levels[number], balance)

    def seen_values(self, number: int) -> NDArray[np.float32]:
        """What a layer's scale is chosen on: its values, or those that max pools leave of them."""
        readers = self.readers(number)
        if readers and all(isinstance(link.map, MaxPool) for _, link in readers):
            return np.concatenate([self.seen_values(reader) for reader, _ in readers])
        return self.statistics[number - 1].values

    def readers(self, number: int) -> list[tuple[int, Link]]:
        """The links that read a layer, and the numbers of the layers that they lead to."""
        layers = enumerate(self.network.layers)
        return [(reader, link) for reader, layer in layers for link in layer.links if link.source == number]

    def trained_weights(self, layer: Layer) -> list[LinkWeights]:
        """The weights of all links as they are in the file."""
        return [trained_weights(link, self.scales[link.source]) for link in layer.links]

    def balance(self, number: int) -> float:
        """How far a layer's channels may have scales of their own."""
        if number in self.scored():
            return 0.0
        weighted = self.weighted_readers(number)
        few = self.precision.levels[number] <= FEW_LEVELS
        if few and all(reads_one_channel(link) for link, _ in weighted):
            return 1.0  # weights that read one channel are as fine whatever its scale
        return CHANNEL_BALANCE[min(bits for _, bits in weighted)]

    def weighted_readers(self, number: int) -> list[tuple[Map, int]]:
        """The maps with weights that read a layer, directly or through pools, and the bits of the weights."""
        found: list[tuple[Map, int]] = []
        for reader, link in self.readers(number):
            if isinstance(link.map, MaxPool | AveragePool):
                found += self.weighted_readers(reader)
            else:
                found.append((link.map, self.precision.quantized_bits(reader)))
        return found

    def scored(self) -> set[int]:
        """Layers whose levels are scores, directly or through pools, so that their channels share a scale."""
        number = len(self.network.layers) - 1
        result = {number}
        while isinstance(self.network.layers[number].links[0].map, MaxPool | AveragePool):
            number = self.network.layers[number].links[0].source
            result.add(number)
        return result

    def least_unit(self, weights: LinkWeights, bits: int) -> Float:
        """By target channel, the smallest unit that keeps integer weights and accumulators within range."""
        most = max(map(abs, level_range(self.populations[weights.link.source])))
        return np.maximum(weights.least_unit(bits), weights.total() * most / ACCUMULATOR_LIMIT)


def reads_one_channel(link: Map) -> bool:
    """Whether every target of a map reads one channel of its source: one to one, or depthwise."""
    return isinstance(link, Scale) or (isinstance(link, Convolution) and link.groups == len(link.weight))


def whole_steps(distance: Float, least: Float, bits: int) -> NDArray[np.int32]:
    """Accumulator units of about ``least`` in a level, or in what else is told apart.

    They are not smaller where weights have 8 bits; those of 4 may be clipped a little more.
    """
    steps = distance / np.maximum(least, distance / STEP_LIMIT)
    steps = np.floor(steps) if bits == 8 else np.rint(steps)
    return np.asarray(np.maximum(steps, 1), np.int32)


def quantize(
    network: Network,
    statistics: list[Statistics],
    inputs: State,
    neuron: LevelInput,
    scale: Float,
    precision: Precision,
    tell: Callable[[float], None],
) -> Quantized:
    """Integer populations for a network.

    Args:
        network: the float network.
        statistics: of its layers, on the calibration samples.
        inputs: input levels of these samples, (samples, height, width, channels).
        neuron: the input population's level range.
        scale: real value of an input level, by channel.
        precision: levels and weight bits by layer.
        tell: called with the share of the layers that is done.
    """
    layer = network.layers[0]
    first = Population(layer.name, layer.shape, neuron, None, np.zeros(layer.shape, np.int32))
    states = {0: inputs.astype(np.int16)}
    return Quantizer(network, statistics, precision, [first], [], [scale], states).run(tell)
