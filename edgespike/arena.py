"""The memory plan of a network, to the byte, as docs/format.md ("The arena") says.

The core computes the same plan and refuses a model file whose header says otherwise, so
these numbers are what a board needs.
"""

from __future__ import annotations

from edgespike.graph import (
    Activation,
    EventCounts,
    Graph,
    IntegrateAndFire,
    LevelInput,
    MaxPool,
    MaxPoolWindow,
    Population,
    Readout,
    Rounding,
    SpikeInput,
)

__all__ = [
    "has_stamps",
    "inbox_slots",
    "keeps_scores",
    "level_bytes",
    "neuron_state_bytes",
    "one_shot_bytes",
    "state_bytes",
    "streaming_bytes",
]


def align(size: int) -> int:
    """The next multiple of 16."""
    return (size + 15) & ~15


def level_bytes(population: Population, event_counts: EventCounts | None = None) -> int:
    """Bytes of one stored level: 0, 1 or 2. ``event_counts``: set for an event-counting input."""
    neuron = population.neuron
    if event_counts is not None:
        return 1 if event_counts.saturation <= 255 else 2
    if isinstance(neuron, LevelInput | Activation | MaxPool):
        return 1 if neuron.level_max - neuron.level_min <= 255 else 2
    return 0


def has_stamps(population: Population) -> bool:
    """Whether pixels remember when they last decayed: decay, and no work in every tick."""
    neuron = population.neuron
    return (
        isinstance(neuron, IntegrateAndFire)
        and neuron.rounding != Rounding.NONE
        and not neuron.works_every_tick
    )


def inbox_slots(graph: Graph, number: int) -> int:
    """Ticks for which a population keeps what is under way to it: a power of two above every delay."""
    longest = max((projection.delay for projection in graph.incoming(number)), default=0)
    return 1 << longest.bit_length() if longest else 0


def keeps_scores(graph: Graph, number: int) -> bool:
    """Whether a population is an output whose scores are not its present state."""
    neuron = graph.populations[number].neuron
    return (
        number == len(graph.populations) - 1
        and isinstance(neuron, IntegrateAndFire)
        and neuron.readout != Readout.MEMBRANE
    )


def state_bytes(graph: Graph, number: int) -> dict[str, int]:
    """Bytes of each buffer of one population in the streaming plan, unaligned."""
    population = graph.populations[number]
    pixels = population.shape[0] * population.shape[1]
    is_input = isinstance(population.neuron, LevelInput | SpikeInput)
    neuron = population.neuron
    spiking = neuron if isinstance(neuron, IntegrateAndFire) else None
    touched = (pixels + 31) // 32 * 4
    slots = inbox_slots(graph, number)
    return {
        "touched": 0 if is_input else touched,
        "levels": population.size
        * level_bytes(population, graph.input.event_counts if number == 0 else None),
        "accumulators": population.size * population.accumulator_bits // 8,
        "stamps": pixels * 4 if has_stamps(population) else 0,
        "scores": population.size * 4 if keeps_scores(graph, number) else 0,
        "currents": population.size * 4 if spiking and spiking.current else 0,
        "adaptation": population.size * 4 if spiking and spiking.adaptation else 0,
        "refractory": population.size * 2 if spiking and spiking.refractory else 0,
        "inbox": 4 + slots * (touched + population.size * population.accumulator_bits // 8) if slots else 0,
    }


def _tables(graph: Graph) -> int:
    count = len(graph.populations)
    return count * 32 + count * 16


def streaming_bytes(graph: Graph) -> int:
    """Arena bytes when the state of every population is kept."""
    buffers = [state_bytes(graph, number) for number in range(len(graph.populations))]
    return _tables(graph) + sum(align(size) for buffer in buffers for size in buffer.values())


def one_shot_bytes(graph: Graph) -> int:
    """Arena bytes for one sample between resets; 0 where time matters: spikes, delays, early exit."""
    if graph.is_spiking or isinstance(graph.populations[0].neuron, SpikeInput):
        return 0
    if graph.input.early_exit or any(projection.delay for projection in graph.projections):
        return 0
    buffers = [state_bytes(graph, number) for number in range(len(graph.populations))]
    fixed = _tables(graph) + align(buffers[0]["levels"]) + sum(align(buffer["touched"]) for buffer in buffers)
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first step, last step
    for number in range(1, len(graph.populations)):
        first = min(projection.source for projection in graph.incoming(number))
        lifetimes = []
        if not isinstance(graph.populations[number].neuron, MaxPool):
            lifetimes.append((buffers[number]["accumulators"], first, number))
        readers = [p.target for p in graph.outgoing(number) if isinstance(p.connection, MaxPoolWindow)]
        if readers:
            lifetimes.append((buffers[number]["levels"], number, max(readers)))
        for size, begin, end in lifetimes:
            offset = _lowest_offset(fixed, align(size), begin, end, placed)
            placed.append((offset, offset + align(size), begin, end))
    return max([fixed, *(end for _, end, _, _ in placed)])


def _lowest_offset(
    fixed: int, size: int, begin: int, end: int, placed: list[tuple[int, int, int, int]]
) -> int:
    busy = sorted((low, high) for low, high, first, last in placed if first <= end and begin <= last)
    offset = fixed
    for low, high in busy:
        if offset + size <= low:
            break
        offset = max(offset, high)
    return offset


def neuron_state_bytes(graph: Graph, number: int) -> int:
    """All state bytes of one population, for reports."""
    return sum(state_bytes(graph, number).values())
