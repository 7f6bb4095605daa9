"""Networks of every kind to count instructions of (tools/measure_instructions.py)."""

from __future__ import annotations

import numpy as np
from random_graphs import (
    Generator,
    at_rest,
    bound_of,
    chance,
    choose,
    exiting_graph,
    number,
    random_graph,
    random_integrate_and_fire,
    random_shape,
)

from edgespike.convert.narrow import in_words
from edgespike.graph import (
    Accumulator,
    Activation,
    Connection,
    Convolution,
    Dense,
    Graph,
    LevelInput,
    OneToOne,
    Population,
    Projection,
    Shape,
    SumPool,
    narrowest_accumulator,
)


def calibration_graph(seed: int) -> Graph:
    """One population after the input, whose costs are alone; small networks and larger ones; some with
    early exit, and some that do nearly all in one kernel."""
    rng = np.random.default_rng(seed)
    if seed % 5 == 4:
        return exiting_graph(seed, longest=100)
    if seed % 5 in (2, 3):
        return kernel_graph(rng)
    new_shape = random_shape if seed % 4 == 0 else larger_shape
    return random_graph(rng, spiking=seed % 2 == 1, new_shape=new_shape, most=2 if seed % 3 == 0 else 7)


def larger_shape(rng: Generator) -> Shape:
    """Shapes as networks for microcontrollers have them."""
    if chance(rng, 0.4):
        return (1, 1, number(rng, 10, choose(rng, 40, 600)))
    side = number(rng, 4, choose(rng, 10, 26))
    channels = number(rng, 1, choose(rng, 8, 16, 64))
    if chance(rng, 0.5):  # as most networks have them
        channels = 4 * -(-channels // 4)
    return (side, number(rng, max(4, side - 2), side + 2), channels)


def kernel_graph(rng: Generator) -> Graph:
    """An input level that a population of many channels repeats, and one projection from there.

    So groups have up to 32 events, and most of the work is what the projection does with them.
    """
    channels, greatest = number(rng, 1, 64), choose(rng, 15, 15, 255)
    connection, shape = kernel_connection(rng, channels)
    zeros = np.zeros((1, 1, channels), np.int32)
    repeat = Activation(np.ones(channels, np.int32), 0, greatest)
    first = Population("input", (1, 1, 1), LevelInput(0, greatest), None, zeros[:, :, :1])
    narrow = 16 if channels % 2 == 0 else 32
    middle = Population("middle", (1, 1, channels), repeat, zeros, zeros, narrow)
    shift = delay = 0
    if chance(rng, 0.5):
        bound = bound_of(Projection(1, 2, connection), middle, shape)
        bits = narrowest_accumulator(bound, shape[2], [connection])
        last = Population("last", shape, Accumulator(), np.zeros(shape, np.int32), None, bits)
    else:
        shift, delay = choose(rng, 0, 8, 10), choose(rng, 0, 0, 3)
        neuron = random_integrate_and_fire(rng, shape)
        last = Population("last", shape, neuron, at_rest(rng, neuron, shape), None, 32)
    second = Projection(1, 2, connection, shift, delay)
    projections = (
        Projection(0, 1, Dense(np.ones((1, channels), np.int8))),
        in_words(second, last) if chance(rng, 0.5) else second,
    )
    return Graph((first, middle, last), projections)


def kernel_connection(rng: Generator, channels: int) -> tuple[Connection, Shape]:
    """From one pixel to all pixels, and the shape of these."""
    kind = choose(rng, "dense", "convolution", "grouped", "one to one", "sum pool")
    side, bits = choose(rng, 1, 3), choose(rng, 8, 8, 4)
    groups = choose(rng, channels, int(np.gcd(channels, 4))) if kind == "grouped" else 1
    length = number(rng, 1, 4 if groups > 1 else choose(rng, 20, 600))
    if chance(rng, 0.8):  # so that accumulators can lie in pairs
        length = -(-length // 2) * choose(rng, 2, 2, 8 if groups == 1 else 4)
    spread = choose(rng, 2, 8)
    weight = rng.integers(-spread, spread, (channels, side, side, length), np.int8)
    padding = (side - 1, side - 1)
    if kind == "dense":
        return Dense(weight[:, 0, 0], bits), (1, 1, length)
    if kind == "one to one":
        return OneToOne(rng.integers(-700, 700, channels, np.int16)), (1, 1, channels)
    if kind == "sum pool":
        return SumPool((side, side), (1, 1), padding), (side, side, channels)
    connection = Convolution(weight, padding=padding, groups=groups, weight_bits=bits)
    return connection, (side, side, groups * length)
