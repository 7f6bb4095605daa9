"""What the C core does, in kinds of operations that each cost about the same number of instructions.

A kind is a name, such as "convolution pixel": one pixel that one group of events reaches through a
convolution. How often each happens follows from which neurons send, by arithmetic on shapes alone.
Neurons of one pixel that send at once, up to 32 of them (ES_GROUP), form a **group**: what it costs in a
projection is a product of something that depends on its row, its column and its size. Such
products are written down once, as `Term`, here and for projections in `edgespike/sending.py`. They are
counted in `edgespike/activity.py` for groups that were sent, and in `edgespike/instructions.py` for
all that could be.

This module mirrors es_level.c, es_neuron.c, es_net.c and es_input.c, and changes with them.
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
    Graph,
    IntegrateAndFire,
    MaxPool,
    Population,
    Readout,
    Rounding,
    SpikeInput,
)
from edgespike.modelfile import alike
from edgespike.work import joined

__all__ = [
    "GROUP",
    "Counts",
    "Operations",
    "Term",
    "bit",
    "cleared",
    "decays",
    "evaluation",
    "group_sent",
    "has_only_route",
    "has_quotients",
    "input_event",
    "passes_twice",
    "quotient_digits",
    "reading",
    "reset",
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
    one that is left, "fours" as many fours of neurons as they can lie in.
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
        if self.size == "fours":
            return np.minimum(sizes, GROUP // 4)
        return sizes % 2 if self.size == "odd" else (sizes > 0).astype(np.int64)


# ---- memory ------------------------------------------------------------------


def cleared(size: int) -> Operations:
    """A call of memset: 16 bytes at a time, then 4."""
    return Counter({"clear": 1, "block cleared": size // 16, "word cleared": size % 16 // 4})


def _copied(size: int, aligned: int, unaligned: int) -> Operations:
    """Calls of es_copy with ``size`` bytes each: how it copies depends on size and alignment."""
    count: Operations = Counter({"copy": aligned + unaligned})
    if size < 16:
        count["word copied alone"] = aligned * (size // 4)
    else:
        count["long copy"] = aligned
        count["block copied"] = aligned * (size // 16)
        count["rest copied"] = aligned * (size % 16 > 0)
        count["word copied"] = aligned * (size % 16 // 4)
    length = "short" if size < 8 else "long"
    count[f"{length} unaligned copy"] = unaligned
    count[f"byte of a {length} unaligned copy"] = unaligned * size
    return count


def _spread(graph: Graph, number: int, value_bytes: int) -> Operations:
    """A population's initial values, from a table that has rows and columns that are alike once.

    A row that is like the one before is copied from there, others pixel by pixel.
    """
    population = graph.populations[number]
    height, width, channels = population.shape
    size = channels * value_bytes
    counted = number == 0 and graph.input.event_counts is not None  # all zeros
    levels = None if population.initial_level is None else population.initial_level * (not counted)
    rows, columns = alike(population.initial, levels)
    as_before = np.concatenate([[False], rows.classes[1:] == rows.classes[:-1]])
    like = int(np.count_nonzero(as_before))
    index = rows.classes[:, None] * len(columns.first) + columns.classes
    to = np.arange(height * width).reshape(height, width)
    aligned = int(np.count_nonzero(((index * size % 4 == 0) & (to * size % 4 == 0))[~as_before]))
    row_size = width * size
    row_aligned = (
        int(np.count_nonzero(as_before[np.arange(height) * row_size % 4 == 0])) if row_size % 4 == 0 else 0
    )
    return (
        _copied(size, aligned, (height - like) * width - aligned)
        + _copied(row_size, row_aligned, like - row_aligned)
        + Counter({"table copied": 1, "row copied": height, "pixel copied": (height - like) * width})
    )


# ---- what a population is ----------------------------------------------------


def touching(population: Population) -> str:
    """What it is called that membranes are brought to the open tick before something arrives."""
    return "stamped touch" if has_stamps(population) else "decaying touch"


def decays(population: Population) -> bool:
    """Whether a touch brings membranes to the open tick."""
    neuron = population.neuron
    return (
        isinstance(neuron, IntegrateAndFire) and neuron.rounding != Rounding.NONE and neuron.current is None
    )


def quotient_digits(quotients: Counts) -> Counts:
    """Rounds of a division in software, which finds 4 bits of the quotient at a time."""
    bits = np.frexp(np.abs(quotients).astype(np.float64))[1]
    return np.where(bits < 2, 0, (bits + 3) // 4).astype(np.int64)


def has_quotients(population: Population) -> bool:
    """Whether es_level.c tells its levels four at a time."""
    neuron = population.neuron
    return (
        isinstance(neuron, Activation)
        and level_bytes(population) == 1
        and neuron.level_min == 0
        and neuron.table is None
        and population.shape[2] % 4 == 0
    )


def has_only_route(graph: Graph, number: int) -> bool:
    """Whether the core finds out once where the events of a population go, not for each group."""
    population = graph.populations[number]
    outgoing = graph.outgoing(number)
    told = number == 0 or has_quotients(population)
    return told and len(outgoing) == 1 and outgoing[0].delay == 0


def group_sent(graph: Graph, number: int) -> str:
    """What sending a group of events is called, whatever the projections."""
    return "group along a route" if has_only_route(graph, number) else "group"


def bit(population: Population) -> str:
    """What looking at a bit of the touched ones is called."""
    return "bit told" if has_quotients(population) else "bit"


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
            count["population told" if has_quotients(population) else "population"] += 1
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
    if has_quotients(population):
        yield Term("pixel told", *ones)
        yield Term("group told", *ones, factor=groups)
        yield Term(_four_levels(population), *ones, factor=channels // 4)
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


def _four_levels(population: Population) -> str:
    """What telling four levels is called: es_level.c has loops for the usual numbers of levels."""
    neuron = population.neuron
    assert isinstance(neuron, Activation)
    if neuron.shift:
        return "four shifted levels"
    if population.accumulator_bits == 16:
        return "four levels to 15" if neuron.level_max == 15 else "four levels of 16 bits"
    return "four levels to 255" if neuron.level_max == 255 else "four levels of 32 bits"


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
    if has_quotients(population):
        return "quotient told"
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
