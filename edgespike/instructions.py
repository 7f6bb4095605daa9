"""How many instructions a core takes for a network: predictions from calibrated costs.

Instructions are a sum over kinds of operations (`edgespike/operations.py`): how often each happens
times what it costs. The costs are in ``data/instructions.json``; ``tools/measure_instructions.py``
found them by counting instructions in QEMU. They are those of the firmware's build (-O3), and
instructions, not cycles.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.activity import decay_steps
from edgespike.arena import has_stamps, inbox_slots
from edgespike.graph import (
    Accumulator,
    Activation,
    Graph,
    IntegrateAndFire,
    LevelInput,
    MaxPool,
    Population,
    Projection,
    Rounding,
    SpikeInput,
)
from edgespike.operations import (
    GROUP,
    WORD,
    Operations,
    Term,
    decays,
    evaluation,
    input_event,
    sending,
    sent,
    settling,
)
from edgespike.work import Reach

__all__ = ["costs_of", "instructions", "worst_event", "worst_push", "worst_tick"]

Costs = dict[str, float]
Sizes = NDArray[np.int64]


@cache
def costs_of(core: str) -> Costs:
    """Instructions of each kind of operation on a core, such as "cortex-m4"."""
    record = json.loads((Path(__file__).parent / "data" / "instructions.json").read_text())
    costs: Costs = record["cores"][core]["costs"]
    return costs


def instructions(operations: Mapping[str, float], core: str) -> float:
    """What operations take on a core."""
    costs = costs_of(core)
    return sum(costs[name] * count for name, count in operations.items())


# ---- one event -----------------------------------------------------------------


def worst_push(graph: Graph, core: str) -> float:
    """Most instructions of taking one event, before its tick closes."""
    return _worst(graph, costs_of(core), GROUP, with_tick=False)


def worst_event(graph: Graph, core: str, group: int = GROUP) -> float:
    """Most instructions that one event causes until its tick has closed.

    All neurons that the event reaches send, after a long silence (`edgespike/work.py`); what others
    do in that tick does not count.
    """
    settled = instructions(settling(graph), core)
    return settled + _worst(graph, costs_of(core), group, with_tick=True)


def _worst(graph: Graph, costs: Costs, group: int, with_tick: bool) -> float:
    """The greatest sum over all input neurons; a part is a product of numbers by row, column, channel."""
    reach = Reach(graph)
    parts: list[tuple[Any, Any, Any]] = []
    for number in range(len(graph.populations) if with_tick else 1):
        rows, columns, channels = reach.rows[number], reach.columns[number], reach.channels[number]
        sizes = _group_sizes(channels, group)
        touched = channels.any(axis=1).astype(np.int64)
        for term, how_many in _population_terms(graph, number, group):
            each = touched if how_many == "pixel" else term.of_sizes(sizes).sum(axis=1)
            cost = costs[term.name] * term.factor
            parts.append((cost * (rows @ term.rows), columns @ term.columns, each))
        if number > 0 and not isinstance(graph.populations[number].neuron, Accumulator):
            spans = np.minimum(_spans(columns) + WORD - 1, columns.shape[1] + WORD)
            parts.append((costs["bit"] * rows.sum(axis=1), spans, touched))
    total = sum(
        (row[:, None, None] * column[:, None] * channel for row, column, channel in parts),
        start=np.zeros(reach.shape),
    )
    return costs[input_event(graph)] + float(total.max())


def _group_sizes(channels: NDArray[np.bool_], group: int) -> Sizes:
    """Events in each group of a pixel (input channel, group), if all of these channels send."""
    padded = np.pad(channels, ((0, 0), (0, -channels.shape[1] % group)))
    sizes: Sizes = padded.reshape(len(channels), -1, group).sum(axis=2)
    return sizes


def _spans(columns: NDArray[np.bool_]) -> Sizes:
    """From the first to the last of each row's columns; 0 where there is none."""
    first = columns.argmax(axis=1)
    last = columns.shape[1] - columns[:, ::-1].argmax(axis=1)
    return np.where(columns.any(axis=1), last - first, 0)


def _population_terms(graph: Graph, number: int, group: int) -> list[tuple[Term, str]]:
    """What evaluated pixels cost ("pixel"), and what their neurons cost when they send ("group")."""
    population = graph.populations[number]
    height, width, channels = population.shape
    ones = (np.ones(height, np.int64), np.ones(width, np.int64))
    terms = [(Term("group", *ones), "group")]
    if number > 0:
        terms.append((Term(sent(population), *ones, "each"), "group"))
        terms += [(term, "pixel") for term in evaluation(graph, number, group)]
        steps = _most_decay_steps(population)
        if steps:
            terms.append((Term("neuron decayed", *ones, factor=channels), "pixel"))
            terms.append((Term("decay step", *ones, factor=channels * steps), "pixel"))
    if isinstance(population.neuron, Accumulator):
        return []
    for projection in graph.outgoing(number):
        wide = _may_be_wide(population, projection)
        terms += [(term, "group") for term in sending(graph, projection, wide)]
    return terms


def _may_be_wide(population: Population, projection: Projection) -> bool:
    neuron = population.neuron
    if isinstance(neuron, LevelInput | Activation | MaxPool):
        greatest = neuron.level_max - neuron.level_min
    elif isinstance(neuron, SpikeInput):
        greatest = max(abs(neuron.value_min), abs(neuron.value_max))
    else:
        greatest = neuron.max_spikes if isinstance(neuron, IntegrateAndFire) else 0
    return greatest << projection.shift > 0x7FFF


def _most_decay_steps(population: Population) -> int:
    """Rounds of the decay loop for one neuron: of the slowest decay, from the greatest membrane, after a
    silence without end."""
    neuron = population.neuron
    if not isinstance(neuron, IntegrateAndFire) or neuron.rounding == Rounding.NONE:
        return 0
    if not has_stamps(population):
        return 1 if neuron.current is None else 0
    slowest = neuron.decay[neuron.decay < 1 << 30]
    if not slowest.size:
        return 1
    decay = np.array([slowest.max()], np.int64)
    ends = (neuron.membrane_min, neuron.membrane_max)
    long = np.array([(1 << 31) - 1])
    return max(decay_steps(np.array([end], np.int64), decay, neuron.rounding, long) for end in ends)


# ---- one tick --------------------------------------------------------------------


def worst_tick(graph: Graph, core: str, group: int = GROUP) -> float:
    """Most instructions of closing one tick: every neuron is evaluated and sends."""
    count: Operations = Counter(settling(graph))
    for number, population in enumerate(graph.populations):
        if number == 0 or isinstance(population.neuron, Accumulator):
            continue
        height, width, channels = population.shape
        sizes = _group_sizes(np.ones((1, channels), bool), group)[0]
        for term, how_many in _population_terms(graph, number, group):
            each = 1 if how_many == "pixel" else int(term.of_sizes(sizes).sum())
            count[term.name] += term.factor * int(term.rows.sum()) * int(term.columns.sum()) * each
        count["bit"] += height * width
        if inbox_slots(graph, number):
            count["inbox pixel"] += height * width
            count["inbox value"] += population.size
            count["touch decaying"] += height * width if decays(population) else 0
    return instructions(count, core)
