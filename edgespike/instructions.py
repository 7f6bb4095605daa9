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

from edgespike.arena import has_stamps, inbox_slots, keeps_scores
from edgespike.decay import most_decay_steps
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
    bit,
    decays,
    evaluation,
    group_sent,
    has_quotients,
    input_event,
    passes_twice,
    quotient_digits,
    reading,
    sent,
    settling,
    touching,
)
from edgespike.sending import sending
from edgespike.work import Reach

__all__ = ["costs_of", "instructions", "worst_event", "worst_push", "worst_reading", "worst_tick"]

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
    settled = instructions(_closing(graph), core)
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
            name = bit(graph.populations[number])
            parts.append((costs[name] * rows.sum(axis=1), spans, touched))
    total = sum(
        (row[:, None, None] * column[:, None] * channel for row, column, channel in parts),
        start=np.zeros(reach.shape),
    )
    event: Operations = Counter({input_event(graph): 1, "push": 1})
    if counts := graph.input.event_counts:
        event["quotient digit"] = 2 * int(quotient_digits(np.array(counts.slices - 1)))
    return sum(costs[name] * count for name, count in event.items()) + float(total.max())


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
    height, width, _ = population.shape
    ones = (np.ones(height, np.int64), np.ones(width, np.int64))
    terms = [(Term(group_sent(graph, number), *ones), "group")]
    if has_quotients(population):
        terms.append((Term("four changed", *ones, "fours"), "group"))
    if number > 0:
        terms.append((Term(sent(population), *ones, "each"), "group"))
        if isinstance(population.neuron, IntegrateAndFire):
            greatest = np.array((1 << 31) // int(population.neuron.threshold.min()))
            terms.append((Term("quotient digit", *ones, "each", int(quotient_digits(greatest))), "group"))
        if passes_twice(graph, number):
            again = Term("neuron of a firing group", *ones, factor=population.shape[2])
            terms.append((again, "pixel"))
        terms += [(term, "pixel") for term in evaluation(graph, number, group)]
        most = _most_of_pixel(population)
        terms += [(Term(name, *ones, factor=count), "pixel") for name, count in most.items() if count]
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


def _most_of_pixel(population: Population) -> Operations:
    """What evaluating a pixel costs beside what `evaluation` says, at most: it depends on values."""
    neuron = population.neuron
    count: Operations = Counter()
    if isinstance(neuron, Activation):
        greatest = min(1 << (population.accumulator_bits - 1 + neuron.shift), 1 << 31)
        count["quotient digit"] = int(quotient_digits(np.array(greatest // int(neuron.step.min()))))
    elif isinstance(neuron, IntegrateAndFire):
        if neuron.current is not None:
            count["cell integrated"] = 1
            count["decay in a cell"] = int(neuron.rounding != Rounding.NONE)
        if has_stamps(population):
            count += _most_of_decay(population)
        elif decays(population):
            count += Counter({"neuron decayed": 1, "decay step": 1, "decay product": 1})
    for name in count:
        count[name] *= population.shape[2]
    count["pixel decayed"] = int("neuron decayed" in count)
    return count


def _most_of_decay(population: Population) -> Operations:
    """What bringing one neuron to a tick costs, at most: from the greatest membrane, after any silence."""
    neuron = population.neuron
    assert isinstance(neuron, IntegrateAndFire)
    greatest = max(neuron.membrane_max, -neuron.membrane_min)
    steps, products = most_decay_steps(greatest, neuron.decay)
    return Counter({"neuron decayed": 1, "decay step": steps, "decay product": products})


def worst_reading(graph: Graph) -> Operations:
    """What reading the scores costs, at most."""
    count = reading(graph)
    population = graph.populations[-1]
    if has_stamps(population) and not keeps_scores(graph, len(graph.populations) - 1):
        most = _most_of_decay(population)
        count += Counter({name: each * population.size for name, each in most.items()})
    return count


def _closing(graph: Graph) -> Operations:
    """What closing a tick costs beside its neurons."""
    count = settling(graph) + Counter({"time moved": 1})
    if graph.input.early_exit:
        count += worst_reading(graph) + Counter({"score compared": graph.populations[-1].size})
    return count


# ---- one tick --------------------------------------------------------------------


def worst_tick(graph: Graph, core: str, group: int = GROUP) -> float:
    """Most instructions of closing one tick: every neuron is evaluated and sends."""
    count = _closing(graph)
    for number, population in enumerate(graph.populations):
        if number == 0 or isinstance(population.neuron, Accumulator):
            continue
        height, width, channels = population.shape
        sizes = _group_sizes(np.ones((1, channels), bool), group)[0]
        for term, how_many in _population_terms(graph, number, group):
            each = 1 if how_many == "pixel" else int(term.of_sizes(sizes).sum())
            count[term.name] += term.factor * int(term.rows.sum()) * int(term.columns.sum()) * each
        count[bit(population)] += height * width
        if inbox_slots(graph, number):
            count["inbox pixel"] += height * width
            count["inbox value"] += population.size
            count[touching(population)] += height * width if decays(population) else 0
    return instructions(count, core)
