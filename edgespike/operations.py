"""What the C core does, in kinds of operations that each cost about the same number of instructions.

A kind is a name, such as "convolution pixel": one pixel that one group of events reaches through a
convolution. How often each happens follows from which neurons send, by arithmetic on shapes alone.
Neurons of one pixel that send at once, up to 32 of them (ES_GROUP), form a **group**: what it costs in a
projection is a product of something that depends on its row, its column and its size. Such
products are written down here once, as `Term`, and counted in `edgespike/activity.py` for groups
that were sent, and in `edgespike/instructions.py` for all that could be.

This module mirrors es_project.c, es_neuron.c, es_net.c and es_input.c, and changes with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgespike.arena import has_stamps, inbox_slots, keeps_scores, level_bytes, state_bytes
from edgespike.graph import (
    Accumulator,
    Activation,
    Convolution,
    Dense,
    Graph,
    IntegrateAndFire,
    MaxPool,
    MaxPoolWindow,
    OneToOne,
    Population,
    Projection,
    Readout,
    Rounding,
    SpikeInput,
    SumPool,
)
from edgespike.modelfile import alike
from edgespike.work import joined

__all__ = [
    "GROUP",
    "Operations",
    "Term",
    "cleared",
    "decays",
    "evaluation",
    "input_event",
    "passes_twice",
    "quotient_digits",
    "reading",
    "reset",
    "sending",
    "sent",
    "settling",
    "touching",
]

Operations = Counter[str]
Counts = NDArray[np.int64]

GROUP = 32  # neurons of a pixel that are evaluated at once, unless a board says otherwise
WORD = 32  # pixels in a word of touched bits

SCORES = {
    Readout.SPIKES: "spikes",
    Readout.GREATEST_MEMBRANE: "greatest membrane",
    Readout.FIRST_SPIKE: "first spike",
}


@dataclass(frozen=True)
class Term:
    """A kind of operation: ``factor * rows[y] * columns[x] * size`` times for a group at pixel (y, x).

    ``size``: "one" for every group, "each" its events, "pairs" its events two by two, "odd" the
    one that is left.
    """

    name: str
    rows: Counts
    columns: Counts
    size: str = "one"
    factor: int = 1

    def of_sizes(self, sizes: Counts) -> Counts:
        """The last factor for groups of these sizes (0: there is no group)."""
        if self.size == "each":
            return sizes
        if self.size == "pairs":
            return sizes // 2
        return sizes % 2 if self.size == "odd" else (sizes > 0).astype(np.int64)


# ---- memory ------------------------------------------------------------------


def cleared(size: int) -> Operations:
    """A call of memset: 16 bytes at a time, then 4."""
    return Counter({"clear": 1, "block cleared": size // 16, "word cleared": size % 16 // 4})


def _copied(size: int, aligned: int, unaligned: int) -> Operations:
    """Calls of memcpy, one for each pixel of ``size`` bytes: how it copies depends on size and alignment."""
    count: Operations = Counter({"pixel copied": aligned + unaligned})
    if size < 16:
        count["word copied alone"] = aligned * (size // 4)
    else:
        count["long copy"] = aligned
        count["block copied"] = aligned * (size // 16)
        count["word copied"] = aligned * (size % 16 // 4)
    length = "short" if size < 8 else "long"
    count[f"{length} unaligned copy"] = unaligned
    count[f"byte of a {length} unaligned copy"] = unaligned * size
    return count


def _spread(graph: Graph, number: int, value_bytes: int) -> Operations:
    """A population's initial values, from a table that has rows and columns that are alike once."""
    population = graph.populations[number]
    height, width, channels = population.shape
    size = channels * value_bytes
    pixels = height * width
    aligned = pixels
    if size % 4:
        counted = number == 0 and graph.input.event_counts is not None  # all zeros
        levels = None if population.initial_level is None else population.initial_level * (not counted)
        rows, columns = alike(population.initial, levels)
        index = rows.classes[:, None] * len(columns.first) + columns.classes
        to = np.arange(pixels).reshape(height, width)
        aligned = int(np.count_nonzero((index * size % 4 == 0) & (to * size % 4 == 0)))
    return _copied(size, aligned, pixels - aligned) + Counter({"table copied": 1, "row copied": height})


# ---- projections -------------------------------------------------------------


def touching(population: Population) -> str:
    """What it is called that membranes are brought to the open tick before something arrives."""
    return "stamped touch" if has_stamps(population) else "decaying touch"


def decays(population: Population) -> bool:
    """Whether a touch brings membranes to the open tick."""
    neuron = population.neuron
    return (
        isinstance(neuron, IntegrateAndFire) and neuron.rounding != Rounding.NONE and neuron.current is None
    )


def _steps(connection: Convolution | SumPool | MaxPoolWindow, size: int, axis: int) -> Counts:
    """Kernel positions that the core walks through for each source row or column."""
    kernel = connection.weight.shape[1:3] if isinstance(connection, Convolution) else connection.kernel
    distance = np.arange(size) + connection.padding[axis]
    return np.minimum(kernel[axis], distance // connection.dilation[axis] + 1)


def _digits_of_taps(connection: Convolution | SumPool | MaxPoolWindow, size: int, axis: int) -> Counts:
    """Of the division that finds the first target of each source row or column."""
    return quotient_digits((np.arange(size) + connection.padding[axis]) // connection.stride[axis])


def quotient_digits(quotients: Counts) -> Counts:
    """Rounds of a division in software, which finds 4 bits of the quotient at a time."""
    bits = np.frexp(np.abs(quotients).astype(np.float64))[1]
    return np.where(bits < 2, 0, (bits + 3) // 4).astype(np.int64)


def sending(graph: Graph, projection: Projection, wide: bool) -> Iterator[Term]:
    """What groups of events cost in a projection.

    Args:
        wide: some value of the group, shifted, needs more than 16 bits.
    """
    source, target = graph.populations[projection.source], graph.populations[projection.target]
    connection = projection.connection
    joins = joined(connection, source.shape, target.shape)
    rows, columns, _ = joins.fan_outs
    ones = (np.ones(source.shape[0], np.int64), np.ones(source.shape[1], np.int64))
    if projection.delay:
        yield Term("delayed", *ones)
    elif decays(target):
        yield Term(touching(target), rows, columns)
    if isinstance(connection, Dense):
        yield Term("dense", *ones)
        yield Term("term", *ones, "each")
        yield from _vectors(target, ones, target.shape[2], connection.weight_bits, wide, grouped=False)
    elif isinstance(connection, OneToOne):
        yield Term("one to one", *ones)
        yield Term("one to one value", *ones, "each")
    else:
        name = {Convolution: "convolution", SumPool: "sum pool", MaxPoolWindow: "max pool"}[type(connection)]
        yield Term(name, *ones)
        yield Term(f"{name} step down", _steps(connection, source.shape[0], 0), ones[1])
        yield Term("quotient digit", _digits_of_taps(connection, source.shape[0], 0), ones[1])
        yield Term(f"{name} row", rows, ones[1])
        yield Term(f"{name} step across", rows, _steps(connection, source.shape[1], 1))
        yield Term("quotient digit", rows, _digits_of_taps(connection, source.shape[1], 1))
        yield Term(f"{name} pixel", rows, columns)
        if isinstance(connection, SumPool):
            yield Term("sum pool value", rows, columns, "each")
        elif isinstance(connection, Convolution):
            yield Term("term", *ones, "each")
            length = target.shape[2] // connection.groups
            grouped = connection.groups > 1
            yield from _vectors(target, (rows, columns), length, connection.weight_bits, wide, grouped)


def _vectors(
    target: Population,
    pixels: tuple[Counts, Counts],
    length: int,
    weight_bits: int,
    wide: bool,
    grouped: bool,
) -> Iterator[Term]:
    """The kernels of es_kernel.c: a call, vectors two by two, the last one, and their elements."""
    bits = target.accumulator_bits
    if grouped:
        yield Term("grouped kernel call", *pixels, "each")
    else:
        yield Term("kernel call", *pixels)
    if weight_bits == 4:
        yield Term(f"{bits}-bit vector of 4-bit weights", *pixels, "each")
        yield Term(f"{bits}-bit 4-bit weight", *pixels, "each", length)
    elif wide and bits == 32:
        yield Term("wide vector", *pixels, "each")
        yield Term("wide weight", *pixels, "each", length)
    elif grouped:
        yield Term(f"{bits}-bit vector", *pixels, "each")
        yield Term(f"{bits}-bit weight", *pixels, "each", length)
    else:
        yield Term(f"{bits}-bit pair", *pixels, "pairs")
        yield Term(f"{bits}-bit pair of weights", *pixels, "pairs", length)
        yield Term(f"{bits}-bit vector", *pixels, "odd")
        yield Term(f"{bits}-bit weight", *pixels, "odd", length)


# ---- input, ticks, neurons -----------------------------------------------------


def input_event(graph: Graph) -> str:
    """What taking one event is called."""
    if graph.input.event_counts:
        return "event counted"
    return "spike taken" if isinstance(graph.populations[0].neuron, SpikeInput) else "level changed"


def settling(graph: Graph) -> Operations:
    """What every tick costs in which something happens, before a neuron is evaluated."""
    count: Operations = Counter({"tick": 1})
    for number, population in enumerate(graph.populations[1:], start=1):
        words = -(-population.shape[0] * population.shape[1] // WORD)
        if isinstance(population.neuron, Accumulator):
            count["readout"] += 1
            count.update(cleared(4 * words))
        else:
            count["population"] += 1
            count["word"] += words
        count["projection passed"] += next(
            index for index, projection in enumerate(graph.projections) if projection.target == number
        )
        if inbox_slots(graph, number):
            count["inbox"] += 1
            count["inbox word"] += words
    return count


def evaluation(graph: Graph, number: int, group: int) -> Iterator[Term]:
    """What evaluated pixels of a population cost, whatever they send; terms of size "one"."""
    population = graph.populations[number]
    neuron = population.neuron
    height, width, channels = population.shape
    ones = (np.ones(height, np.int64), np.ones(width, np.int64))
    groups = -(-channels // group)
    if isinstance(neuron, Accumulator):
        return
    yield Term("pixel", *ones)
    if isinstance(neuron, Activation | MaxPool):
        yield Term(f"{8 * level_bytes(population)}-bit level compared", *ones, factor=channels)
    if isinstance(neuron, Activation):
        yield Term("activation group", *ones, factor=groups)
        yield Term(f"{population.accumulator_bits}-bit activation", *ones, factor=channels)
        if neuron.table:
            yield Term("level looked up", *ones, factor=channels)
    elif isinstance(neuron, MaxPool):
        (projection,) = graph.incoming(number)
        source = graph.populations[projection.source]
        joins = joined(projection.connection, source.shape, population.shape)
        window = (joins.rows.sum(axis=0), joins.columns.sum(axis=0))
        kind = f"maximum of {8 * level_bytes(source)}-bit levels"
        if projection.source == 0 and graph.input.event_counts is not None:
            kind = "maximum of counts"
        yield Term("max pool group", *ones, factor=groups)
        for first in range(0, channels, group):
            for name, count in cleared(2 * min(group, channels - first)).items():
                yield Term(name, *ones, factor=count)
        yield Term("maximum", *window, factor=groups)
        yield Term(kind, *window, factor=channels)
    elif isinstance(neuron, IntegrateAndFire):
        yield from _integration(graph, number, neuron, ones, groups)


def _integration(
    graph: Graph, number: int, neuron: IntegrateAndFire, ones: tuple[Counts, Counts], groups: int
) -> Iterator[Term]:
    """The same of integrate-and-fire neurons."""
    population = graph.populations[number]
    channels = population.shape[2]
    kind = "spiking" if neuron.current is None else "current"
    yield Term(f"{kind} group", *ones, factor=groups)
    fires = "" if neuron.max_spikes else " that never fires"
    scored = "scored " if neuron.current is None and keeps_scores(graph, number) else ""
    yield Term(f"{scored}{kind} neuron{fires}", *ones, factor=channels)
    if keeps_scores(graph, number):
        yield Term(f"{SCORES[neuron.readout]} kept", *ones, factor=channels)
    if decays(population):
        yield Term(touching(population), *ones)
    elif has_stamps(population):
        yield Term("stamped pixel", *ones)
    if neuron.adaptation:
        yield Term("adapting neuron", *ones, factor=channels)
        if neuron.adaptation.rounding != Rounding.NONE:
            yield Term("decay in a cell", *ones, factor=channels)
    if neuron.current and neuron.current.rounding != Rounding.NONE:
        yield Term("decay in a cell", *ones, factor=channels)
    if neuron.refractory:
        yield Term("refractory neuron", *ones, factor=channels)
    if neuron.reset_delayed:
        yield Term("late reset", *ones, factor=channels)


def passes_twice(graph: Graph, number: int) -> bool:
    """Whether a group's neurons are gone through again where one fires: "neuron of a firing group"."""
    neuron = graph.populations[number].neuron
    return isinstance(neuron, IntegrateAndFire) and neuron.current is None and not keeps_scores(graph, number)


def sent(population: Population) -> str:
    """What appending one event to a group is called."""
    return "spike" if isinstance(population.neuron, IntegrateAndFire) else "level told"


# ---- reset and output ------------------------------------------------------------


def reset(graph: Graph) -> Operations:
    """What the beginning of a sample or window costs."""
    count: Operations = Counter({"reset": 1})
    for number, population in enumerate(graph.populations):
        count["reset population"] += 1
        for name, size in state_bytes(graph, number).items():
            if name in ("accumulators", "levels") and size:
                count.update(_spread(graph, number, size // population.size))
            elif name == "scores":
                count["score cleared"] += size // 4
            elif size:
                count.update(cleared(size))
                if name == "inbox":
                    count["projection sought"] += len(graph.projections)
    return count


def reading(graph: Graph) -> Operations:
    """What reading the scores costs."""
    population = graph.populations[-1]
    neuron = population.neuron
    if isinstance(neuron, Activation | MaxPool):
        name = "level read"
    elif keeps_scores(graph, len(graph.populations) - 1):
        name = "score read"
    elif not has_stamps(population):
        name = "membrane read" if isinstance(neuron, IntegrateAndFire) else "accumulator read"
    else:
        neurons = np.arange(population.size)
        parameters = neuron.threshold.size if isinstance(neuron, IntegrateAndFire) else 1
        digits = quotient_digits(neurons // population.shape[2]) + quotient_digits(neurons // parameters)
        return Counter({"stamped membrane read": population.size, "quotient digit": int(digits.sum())})
    return Counter({name: population.size})
