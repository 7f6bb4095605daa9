"""The most work that an input event, or a tick, can cause: bounds from the graph alone.

**One event.** It changes or is one value of one input neuron, so it reaches the targets that the
input's projections name, and no others. Until its tick has closed, a neuron can send because of it
only if a chain of projections without delay leads there from its input neuron; populations are
evaluated once a tick in the order of their numbers, so each such neuron sends at most once, one
event of whatever value. Every event sent costs the synaptic operations of its fan-out. What the
window of a projection joins is a set of rows, one of columns and one of channels, each depending
on the source's row, column or channel alone; where several projections meet in a population, the
products of the united sets contain the union. So the counts below are never too small, and exact
in a chain of projections as far as every neuron reached does send.

A neuron is evaluated when its pixel is touched, all channels of it. A spike that waits in a delayed
projection, or a membrane that fires again in later ticks, is work of those ticks.

**One tick.** However many events come, every neuron is evaluated at most once and sends at most
once, so it costs at most what all neurons together can send, and the input events their fan-out.
Where all work is done in the tick of its event (no integrate-and-fire populations, no delays),
``n`` events cause at most ``n`` times the work of one, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgespike.graph import (
    Accumulator,
    Connection,
    Convolution,
    Dense,
    Graph,
    LevelInput,
    OneToOne,
    Shape,
    SpikeInput,
)
from edgespike.linear_maps import overlap

__all__ = ["PopulationWork", "Reach", "Work", "work_of_event", "work_of_tick", "works_at_once"]

Matrix = NDArray[np.bool_]
Counts = NDArray[np.int64]


PIECE = 256  # rows of a matrix that are multiplied at a time


@dataclass(frozen=True)
class PopulationWork:
    """At most so many events that a population sends (or the input takes), synaptic operations that
    they cause, and neurons of it that are evaluated."""

    events: int
    synops: int
    evaluated: int


@dataclass(frozen=True)
class Work:
    """A bound for every population, each by itself, and one for their sum, which may be less than
    the sum of the others: not all are at their worst for the same event."""

    populations: tuple[PopulationWork, ...]
    total: PopulationWork


def work_of_event(graph: Graph) -> Work:
    """The most that one input event causes until its tick has closed, from the worst input neuron."""
    reach = Reach(graph)
    events, synops, evaluated = [], [], []
    for number in range(len(graph.populations)):
        events.append(reach.neurons(number))
        evaluated.append(reach.evaluated(number))
        parts = [reach.synops(index) for index, p in enumerate(graph.projections) if p.source == number]
        synops.append(sum(parts, start=np.zeros(reach.shape, np.int64)))
    by_population = zip(events, synops, evaluated, strict=True)
    return Work(
        tuple(PopulationWork(*(int(counts.max()) for counts in kinds)) for kinds in by_population),
        PopulationWork(*(int(np.sum(counts, axis=0).max()) for counts in (events, synops, evaluated))),
    )


def work_of_tick(graph: Graph, input_events: int) -> Work:
    """The most that a tick with so many input events costs."""
    one = work_of_event(graph)
    populations = [_times(one.populations[0], input_events)]
    at_once = works_at_once(graph)
    for number in range(1, len(graph.populations)):
        everything = _whole(graph, number)
        if at_once:
            everything = _least(everything, _times(one.populations[number], input_events))
        populations.append(everything)
    total = PopulationWork(
        sum(work.events for work in populations),
        sum(work.synops for work in populations),
        sum(work.evaluated for work in populations),
    )
    if at_once:
        total = _least(total, _times(one.total, input_events))
    return Work(tuple(populations), total)


def works_at_once(graph: Graph) -> bool:
    """Whether all that an event causes happens before its tick has closed."""
    return not graph.is_spiking and not any(projection.delay for projection in graph.projections)


def _times(work: PopulationWork, count: int) -> PopulationWork:
    return PopulationWork(work.events * count, work.synops * count, work.evaluated * count)


def _least(a: PopulationWork, b: PopulationWork) -> PopulationWork:
    return PopulationWork(min(a.events, b.events), min(a.synops, b.synops), min(a.evaluated, b.evaluated))


def _whole(graph: Graph, number: int) -> PopulationWork:
    """A population of which every neuron is evaluated and sends."""
    population = graph.populations[number]
    if isinstance(population.neuron, Accumulator):
        return PopulationWork(0, 0, 0)
    synops = 0
    for projection in graph.outgoing(number):
        joins = joined(projection.connection, population.shape, graph.populations[projection.target].shape)
        synops += int(np.prod([int(counts.sum()) for counts in joins.fan_outs]))
    return PopulationWork(population.size, synops, population.size)


# ---- what projections join ---------------------------------------------------


@dataclass(frozen=True)
class Joined:
    """What a projection joins along rows and columns: bool arrays (source, target).

    ``fan_outs``: how many target rows, columns and channels each source row, column and channel
    reaches; their product is the fan-out of a neuron.
    """

    rows: Matrix
    columns: Matrix
    fan_outs: tuple[Counts, Counts, Counts]


def joined(connection: Connection, source: Shape, target: Shape) -> Joined:
    """The pairs of a connection between populations of these shapes."""
    reached = 1  # channels
    if isinstance(connection, Dense):
        rows, columns = np.ones((source[0], 1), bool), np.ones((source[1], 1), bool)
        reached = target[2]
    elif isinstance(connection, OneToOne):
        rows, columns = np.eye(source[0], dtype=bool), np.eye(source[1], dtype=bool)
    else:
        rows, columns = (_window(connection, source, target, axis) for axis in (0, 1))
        if isinstance(connection, Convolution):
            reached = target[2] // connection.groups
    channels = np.full(source[2], reached, np.int64)
    return Joined(rows, columns, (rows.sum(axis=1), columns.sum(axis=1), channels))


def _window(connection: Connection, source: Shape, target: Shape, axis: int) -> Matrix:
    assert not isinstance(connection, Dense | OneToOne)
    kernel = connection.weight.shape[1:3] if isinstance(connection, Convolution) else connection.kernel
    joins = np.zeros((source[axis], target[axis]), bool)
    for k in range(kernel[axis]):
        offset = k * connection.dilation[axis] - connection.padding[axis]
        to, sources = overlap(source[axis], target[axis], offset, connection.stride[axis])
        joins[np.arange(source[axis])[sources], np.arange(target[axis])[to]] = True
    return joins


def _reached_channels(connection: Connection, sources: Matrix, targets: int) -> Matrix:
    """Target channels (input channel, target channel) reached from source channels."""
    groups = 1
    if isinstance(connection, Convolution):
        groups = connection.groups
    elif not isinstance(connection, Dense):
        return sources
    by_group = sources.reshape(len(sources), groups, -1).any(axis=2)
    return np.repeat(by_group, targets // groups, axis=1)


class Reach:
    """Which neurons one event can make send within its tick, by its input neuron.

    For each population bool arrays: ``rows`` (input row, row), ``columns`` and ``channels`` alike.
    Results are int64 arrays of ``shape``, that of the input: a count for an event of each neuron.
    Input channels that all projections treat alike are one: a long vector that only dense
    projections read has one channel here.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        shapes = [population.shape for population in graph.populations]
        height, width, channels = shapes[0]
        self.shape = height, width, _kinds_of_channel(graph, channels)
        self.joins = [joined(p.connection, shapes[p.source], shapes[p.target]) for p in graph.projections]
        self.rows, self.columns, self.channels = (
            [np.zeros((self.shape[axis], shape[axis]), bool) for shape in [self.shape, *shapes[1:]]]
            for axis in range(3)
        )
        for sets in (self.rows, self.columns, self.channels):
            np.fill_diagonal(sets[0], True)
        # Sorted by source, projections without delay lead to later populations: one pass is enough.
        for projection, joins in zip(graph.projections, self.joins, strict=True):
            if projection.delay == 0:
                source, target = projection.source, projection.target
                self.rows[target] |= _product(self.rows[source], joins.rows)
                self.columns[target] |= _product(self.columns[source], joins.columns)
                self.channels[target] |= _reached_channels(
                    projection.connection, self.channels[source], shapes[target][2]
                )

    def pixels(self, number: int) -> Counts:
        """Pixels of a population that are touched."""
        counts = np.outer(self.rows[number].sum(axis=1), self.columns[number].sum(axis=1))
        return np.broadcast_to(counts[:, :, None], self.shape)

    def neurons(self, number: int) -> Counts:
        """Neurons of a population that can send; for the input, the event itself."""
        if isinstance(self.graph.populations[number].neuron, Accumulator):
            return np.zeros(self.shape, np.int64)
        counts: Counts = self.pixels(number) * self.channels[number].sum(axis=1)
        return counts

    def evaluated(self, number: int) -> Counts:
        """Neurons of a population that are evaluated. Inputs and accumulators are not."""
        population = self.graph.populations[number]
        if isinstance(population.neuron, LevelInput | SpikeInput | Accumulator):
            return np.zeros(self.shape, np.int64)
        return self.pixels(number) * population.shape[2]

    def synops(self, index: int) -> Counts:
        """Synaptic operations of projection ``index``, if all neurons reached do send."""
        source = self.graph.projections[index].source
        rows, columns, channels = self.joins[index].fan_outs
        by_row: Counts = self.rows[source] @ rows
        by_column: Counts = self.columns[source] @ columns
        by_channel: Counts = self.channels[source] @ channels[: self.channels[source].shape[1]]
        return by_row[:, None, None] * by_column[:, None] * by_channel


def _kinds_of_channel(graph: Graph, channels: int) -> int:
    """How many kinds of input channels there are: channels of a kind reach the same neurons.

    Dense projections treat all alike, convolutions those of a group; the others each by itself.
    """
    groups = [1]
    for projection in graph.outgoing(0):
        connection = projection.connection
        if isinstance(connection, Convolution):
            groups.append(connection.groups)
        elif not isinstance(connection, Dense):
            groups.append(channels)
    return math.lcm(*groups)


def _product(first: Matrix, second: Matrix) -> Matrix:
    """Boolean matrix product of band matrices, in pieces that keep to the band.

    In float32, whose multiplication is fast; no sum can vanish.
    """
    product = np.zeros((len(first), second.shape[1]), bool)
    for begin in range(0, len(first), PIECE):
        rows = slice(begin, begin + PIECE)
        inner = _span(first[rows])
        outer = _span(second[inner])
        some = first[rows, inner].astype(np.float32) @ second[inner, outer].astype(np.float32)
        product[rows, outer] = some > 0
    return product


def _span(matrix: Matrix) -> slice:
    """The columns from the first to the last that has anything."""
    used = np.flatnonzero(matrix.any(axis=0))
    return slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 0)
