"""Random valid graphs and events for tests of every backend.

Everything comes from one NumPy generator, so a seed names a case::

    rng = np.random.default_rng(seed)
    graph = random_graph(rng, spiking=True)
    events = random_events(rng, graph, 100)

The initial state is at rest on a random input, worked out by the reference's projections.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.convert.narrow import in_words
from edgespike.graph import (
    CORE_EVENT,
    Accumulator,
    Activation,
    Adaptation,
    Compare,
    Connection,
    Convolution,
    Dense,
    EarlyExit,
    EventCounts,
    Graph,
    InputSpec,
    IntegrateAndFire,
    LevelInput,
    LevelTable,
    MaxPool,
    MaxPoolWindow,
    OneToOne,
    Population,
    Projection,
    Readout,
    Reset,
    Rounding,
    Shape,
    SpikeInput,
    SumPool,
    SynapticCurrent,
    narrowest_accumulator,
)
from edgespike.reference import level, maximum, project

Generator = np.random.Generator
ShapeMaker = Callable[[Generator], Shape]

GREATEST_BOUND = 1 << 30  # what accumulators are asked to hold, below 2**31 with bias and step
LONGEST = 4000  # ticks of a sample (random_events): accumulators fed by spikes grow all the time


def number(rng: Generator, low: int, high: int) -> int:
    """A random integer from low to high, both included."""
    return int(rng.integers(low, high, endpoint=True))


def choose(rng: Generator, *options: Any) -> Any:
    return options[number(rng, 0, len(options) - 1)]


def chance(rng: Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


# ---- shapes and connections -------------------------------------------------


@dataclass
class Plan:
    """A graph in the making: shapes, connections, and which populations are max pools."""

    shapes: list[Shape]
    projections: list[Projection]
    pools: set[int]


def random_shape(rng: Generator) -> Shape:
    channels = choose(rng, 1, 2, 3, 4, 5, 8, number(rng, 60, 130))
    if chance(rng, 0.3):
        return (1, 1, channels)
    return (number(rng, 1, 9), number(rng, 1, 9), min(channels, 8))


def pair(rng: Generator, low: int, high: int) -> tuple[int, int]:
    return number(rng, low, high), number(rng, low, high)


def weights(rng: Generator, shape: tuple[int, ...], bits: int) -> NDArray[np.int8]:
    spread = choose(rng, 2, 8) if bits == 4 else choose(rng, 2, 20, 128)
    return rng.integers(-spread, spread - 1, shape, np.int8, endpoint=True)


def random_connection(rng: Generator, source: Shape, target: Shape) -> Connection:
    """Any connection that goes from one shape to the other; a convolution always does."""
    options = ["convolution", "convolution"]
    if target[:2] == (1, 1):
        options += ["dense"] * 2
    if source == target:
        options += ["one to one"] * 2
    if source[2] == target[2]:
        options += ["sum pool"]
    kind = choose(rng, *options)
    bits = choose(rng, 8, 8, 4)
    if kind == "dense":
        return Dense(weights(rng, (source[0] * source[1] * source[2], target[2]), bits), bits)
    if kind == "one to one":
        return OneToOne(rng.integers(-700, 700, source[2], np.int16))
    kernel, stride, dilation, padding = pair(rng, 1, 4), pair(rng, 1, 3), pair(rng, 1, 3), pair(rng, 0, 3)
    if kind == "sum pool":
        return SumPool(kernel, stride, padding, dilation)
    groups = choose(rng, 1, int(np.gcd(source[2], target[2])))
    weight = weights(rng, (source[2], *kernel, target[2] // groups), bits)
    return Convolution(weight, stride, dilation, padding, groups, bits)


def add_max_pool(rng: Generator, plan: Plan, source: int) -> None:
    """A max pool population over a window that fits its source."""
    height, width, channels = plan.shapes[source]
    kernel = (number(rng, 1, min(3, height)), number(rng, 1, min(3, width)))
    stride = pair(rng, 1, 3)
    padding = (number(rng, 0, kernel[0] - 1), number(rng, 0, kernel[1] - 1))
    targets = [
        (size + before - 1) // step + 1
        for size, before, step in zip((height, width), padding, stride, strict=True)
    ]
    shape = (number(rng, 1, targets[0]), number(rng, 1, targets[1]), channels)
    connection = MaxPoolWindow(kernel, stride, padding)
    plan.projections.append(Projection(source, len(plan.shapes), connection))
    plan.pools.add(len(plan.shapes))
    plan.shapes.append(shape)


def add_population(rng: Generator, plan: Plan, source: int, new_shape: ShapeMaker) -> None:
    shape = plan.shapes[source] if chance(rng, 0.3) else new_shape(rng)
    target = len(plan.shapes)
    others = [number(rng, 0, target - 1) for _ in range(choose(rng, 0, 0, 1, 2))]  # perhaps the same one
    for start in (source, *others):
        plan.projections.append(Projection(start, target, random_connection(rng, plan.shapes[start], shape)))
    plan.shapes.append(shape)


def random_plan(
    rng: Generator, input_shape: Shape, count: int, pools: bool, new_shape: ShapeMaker = random_shape
) -> Plan:
    plan = Plan([input_shape], [], set())
    while len(plan.shapes) < count:
        last = len(plan.shapes) - 1
        source = last if chance(rng, 0.7) else number(rng, 0, last)
        if pools and chance(rng, 0.3):
            add_max_pool(rng, plan, source)
        else:
            add_population(rng, plan, source, new_shape)
    sources = {projection.source for projection in plan.projections}
    idle = [number for number in range(len(plan.shapes) - 1) if number not in sources]
    if idle and len(plan.shapes) - 1 in plan.pools:  # a max pool takes no second projection
        add_population(rng, plan, len(plan.shapes) - 1, new_shape)
    for source in idle:
        target = len(plan.shapes) - 1
        connection = random_connection(rng, plan.shapes[source], plan.shapes[target])
        plan.projections.append(Projection(source, target, connection))
    plan.projections.sort(key=lambda projection: (projection.source, projection.target))
    return plan


# ---- neurons and their state at rest ----------------------------------------


def parameter_length(rng: Generator, shape: Shape) -> int:
    """Parameters are by channel, or by neuron."""
    return shape[2] if chance(rng, 0.7) else shape[0] * shape[1] * shape[2]


def parameter(rng: Generator, length: int, low: int, high: int) -> NDArray[np.int32]:
    return rng.integers(low, high, length, np.int32, endpoint=True)


def by_rows_and_columns(rng: Generator, values: NDArray[np.int32]) -> NDArray[np.int32]:
    """The same values, with rows and columns alike as in a blank background."""
    height, width, _ = values.shape
    rows = np.sort(rng.integers(0, height, height)) if chance(rng, 0.5) else np.arange(height)
    columns = np.sort(rng.integers(0, width, width)) if chance(rng, 0.5) else np.arange(width)
    return values[np.ix_(rows, columns)]


def level_range(rng: Generator) -> tuple[int, int]:
    low, high = choose(rng, (0, 15), (0, 255), (-128, 127), (-7, 300), (0, 1), (-1000, 1500), (5, 9))
    return low, high


def random_level_input(rng: Generator, shape: Shape) -> Population:
    low, high = level_range(rng)
    initial = by_rows_and_columns(rng, rng.integers(low, high, shape, np.int32, endpoint=True))
    return Population("input", shape, LevelInput(low, high), None, initial)


def random_spike_input(rng: Generator, shape: Shape) -> Population:
    low, high = choose(rng, (0, 1), (1, 1), (-1, 1), (-100, 200))
    return Population("input", shape, SpikeInput(low, high, choose(rng, 20, 1000)))


def random_event_counts(rng: Generator, shape: Shape) -> tuple[Population, EventCounts]:
    """An event-counting input; its channels are those of the shape where they can be."""
    low, high = level_range(rng)
    polarities = choose(rng, 1, 2)
    slices = max(1, shape[2] // polarities)
    shape = (shape[0], shape[1], slices * polarities)
    saturation = choose(rng, 1, 3, 15, 255, 256, 300)
    table = rng.integers(low, high, (shape[2], saturation + 1), np.int16, endpoint=True)
    counts = EventCounts(polarities, slices, number(rng, 1, 20), saturation, table)
    initial = np.broadcast_to(table[:, 0].astype(np.int32), shape).copy()
    return Population("input", shape, LevelInput(low, high), None, initial), counts


def random_integrate_and_fire(rng: Generator, shape: Shape) -> IntegrateAndFire:
    reset = choose(rng, *Reset)
    rounding = choose(rng, *Rounding)
    one = 1 << 30
    decay = choose(rng, (one, one), (0, one), (one * 8 // 10, one), (one - 2000, one - 1), (0, 0))
    driven = chance(rng, 0.3)
    length = parameter_length(rng, shape)
    return IntegrateAndFire(
        threshold=parameter(rng, length, 1, choose(rng, 5, 300)),
        decay=parameter(rng, length, *decay),
        drive=parameter(rng, length, -20, 40) if driven else np.zeros(length, np.int32),
        reset_value=parameter(rng, length, -30, 30),
        compare=choose(rng, *Compare),
        reset=reset,
        rounding=rounding,
        max_spikes=choose(rng, 1, 3, 200) if reset == Reset.SUBTRACT else 1,
        membrane_min=choose(rng, 0, -50, -(1 << 24)),
        membrane_max=choose(rng, 100, 1000, 1 << 24),
    )


def with_current(rng: Generator, neuron: IntegrateAndFire) -> IntegrateAndFire:
    """The same neurons with a synaptic current, and perhaps all that goes with one."""
    one = 1 << 30
    length = neuron.threshold.size
    current = SynapticCurrent(
        decay=parameter(rng, length, 0, choose(rng, 0, one * 9 // 10)),
        drive=parameter(rng, length, -10, 20) if neuron.is_driven else np.zeros(length, np.int32),
        rounding=choose(rng, Rounding.NEAREST, Rounding.FLOOR, Rounding.TOWARD_ZERO),
    )
    adaptation = Adaptation(
        decay=parameter(rng, length, 0, choose(rng, 0, one * 9 // 10, one)),
        increment=parameter(rng, length, 0, choose(rng, 10, 200)),
        rounding=choose(rng, *Rounding),
    )
    delayed = chance(rng, 0.3)
    return replace(
        neuron,
        current=current,
        adaptation=adaptation if chance(rng, 0.4) else None,
        refractory=0 if delayed else choose(rng, 0, 0, 1, 5, 300),
        reset_delayed=delayed,
    )


def as_output(rng: Generator, neuron: IntegrateAndFire) -> IntegrateAndFire:
    """The same neurons with any readout."""
    neuron = replace(neuron, readout=choose(rng, *Readout))
    return replace(neuron, max_spikes=0) if chance(rng, 0.3) else neuron


def at_rest(rng: Generator, neuron: IntegrateAndFire, shape: Shape) -> NDArray[np.int32]:
    """Random membranes that do not fire by themselves."""
    highest = np.minimum(np.resize(neuron.threshold, shape) - 1, neuron.membrane_max)
    lowest = max(neuron.membrane_min, -100)
    values = rng.integers(lowest, np.maximum(highest, lowest), endpoint=True)
    return np.asarray(values, np.int32)


def sends_spikes(population: Population) -> bool:
    return isinstance(population.neuron, IntegrateAndFire | SpikeInput)


def greatest_event(population: Population) -> int:
    """What a neuron sends in one tick, and its level, are at most this."""
    neuron = population.neuron
    if isinstance(neuron, IntegrateAndFire):
        return neuron.max_spikes
    if isinstance(neuron, SpikeInput):
        return neuron.budget
    assert isinstance(neuron, LevelInput | Activation | MaxPool)
    return max(abs(neuron.level_min), abs(neuron.level_max), neuron.level_max - neuron.level_min)


def bound_of(projection: Projection, source: Population, target: Shape) -> int:
    """What one target gets in one tick, and from the levels of the source, is at most this."""
    everything = np.full(source.shape, greatest_event(source), np.int64)
    connection: Any = projection.connection
    if not isinstance(connection, SumPool | MaxPoolWindow):
        connection = replace(connection, weight=np.abs(connection.weight.astype(np.int32)))
    return int(project(connection, everything, target).max(initial=0))


def summed(projections: list[Projection], populations: list[Population], shape: Shape) -> NDArray[np.int64]:
    """What the levels of the sources add up to."""
    total = np.zeros(shape, np.int64)
    for projection in projections:
        levels = populations[projection.source].initial_level
        if levels is not None:
            total += project(projection.connection, levels.astype(np.int64), shape)
    return total


def random_level_shift(rng: Generator, most: int) -> int:
    """A shift that keeps accumulators, of at most so much, within 32 bits."""
    room = 30 - most.bit_length()
    return number(rng, 0, min(15, room)) if room > 0 and chance(rng, 0.3) else 0


def with_table(rng: Generator, neuron: Activation, channels: int, most: int) -> Activation:
    """Perhaps with a table: for some of the quotients that there are, or for more than that."""
    if chance(rng, 0.6):
        return neuron
    reach = (most << neuron.shift) // int(neuron.step.max()) + 1
    count = min(number(rng, 1, 2 * reach), choose(rng, 1, 50, 400))
    first = number(rng, max(-reach, -32768), 0)
    shape = (choose(rng, 1, channels), count)
    levels = rng.integers(neuron.level_min, neuron.level_max, shape, np.int16, endpoint=True)
    return replace(neuron, table=LevelTable(first, levels))


def random_activation(
    rng: Generator, shape: Shape, sums: NDArray[np.int64], bound: int, connections: list[Connection]
) -> Population:
    """An activation population at rest, with a bias."""
    bias = rng.integers(-bound // 4 - 1, bound // 4 + 1, shape[2])
    step = parameter(rng, parameter_length(rng, shape), 1, max(1, choose(rng, bound // 500, bound // 20, 3)))
    low, high = choose(rng, (0, 15), (0, 255), (-128, 127), (-300, 700))
    most = bound + int(np.abs(bias).max())
    neuron = with_table(rng, Activation(step, low, high, random_level_shift(rng, most)), shape[2], most)
    levels = level(neuron, sums + bias).astype(np.int32)
    bits = narrowest_accumulator(most + int(step.max()), shape[2], connections)
    return Population("", shape, neuron, (sums + bias).astype(np.int32), levels, bits)


def random_population(
    rng: Generator, plan: Plan, number: int, populations: list[Population], spiking: bool
) -> Population:
    shape = plan.shapes[number]
    incoming = [projection for projection in plan.projections if projection.target == number]
    sources = [populations[projection.source] for projection in incoming]
    if number in plan.pools:
        first = sources[0]
        assert isinstance(incoming[0].connection, MaxPoolWindow) and first.initial_level is not None
        assert isinstance(first.neuron, LevelInput | Activation | MaxPool)
        levels = maximum(incoming[0].connection, first.initial_level.astype(np.int64), shape)
        pool = MaxPool(first.neuron.level_min, first.neuron.level_max)
        return Population("", shape, pool, None, levels.astype(np.int32))
    bound = sum(bound_of(p, source, shape) for p, source in zip(incoming, sources, strict=True))
    if any(map(sends_spikes, sources)):  # what they send adds up over ticks
        bound *= LONGEST
    if bound > GREATEST_BOUND or (spiking and chance(rng, 0.85)):
        neuron = random_integrate_and_fire(rng, shape)
        if chance(rng, 0.5):
            neuron = with_current(rng, neuron)
        if number == len(plan.shapes) - 1:
            neuron = as_output(rng, neuron)
        return Population("", shape, neuron, at_rest(rng, neuron, shape), None, 32)
    population = random_activation(
        rng, shape, summed(incoming, populations, shape), bound, [p.connection for p in incoming]
    )
    if number == len(plan.shapes) - 1 and chance(rng, 0.6):
        return replace(population, neuron=Accumulator(), initial_level=None)
    return population


def random_delay(rng: Generator, projection: Projection) -> int:
    """Ticks of delay of a projection that leads to a later population."""
    delay: int = choose(rng, 0, 0, 0, 1, 2, 5, 255)
    return 0 if isinstance(projection.connection, MaxPoolWindow) else delay


def random_loops(rng: Generator, populations: list[Population]) -> list[Projection]:
    """Projections of spikes back to spiking populations before them, or to themselves."""
    spiking = [i for i, p in enumerate(populations) if isinstance(p.neuron, IntegrateAndFire)]
    loops = []
    for _ in range(choose(rng, 0, 1, 3) if spiking else 0):
        target, source = sorted((choose(rng, *spiking), choose(rng, *spiking)))
        connection = random_connection(rng, populations[source].shape, populations[target].shape)
        loop = Projection(source, target, connection, 0, choose(rng, 1, 1, 2, 7))
        if bound_of(loop, populations[source], populations[target].shape) < GREATEST_BOUND // 8:
            loops.append(loop)
    return loops


def random_shift(rng: Generator, projection: Projection, populations: list[Population]) -> int:
    """Only membranes have fractional bits."""
    source, target = populations[projection.source], populations[projection.target]
    shift: int = choose(rng, 0, 2, 8)
    if isinstance(target.neuron, IntegrateAndFire):
        return shift if bound_of(projection, source, target.shape) << shift < GREATEST_BOUND // 8 else 0
    return 0


def random_graph(
    rng: Generator,
    spiking: bool = False,
    counts: bool | None = None,
    new_shape: ShapeMaker = random_shape,
    most: int = 7,
) -> Graph:
    """A random valid graph.

    Args:
        rng: the only source of randomness.
        spiking: with integrate-and-fire populations, and mostly spike inputs.
        counts: whether the input counts events; None: sometimes.
        new_shape: gives the shapes of populations.
        most: has at most so many populations (now and then one more).
    """
    shape = new_shape(rng)
    event_counts = None
    if counts or (counts is None and chance(rng, 0.3)):
        first, event_counts = random_event_counts(rng, shape)
    elif spiking and chance(rng, 0.8):
        first = random_spike_input(rng, shape)
    else:
        first = random_level_input(rng, shape)
    plan = random_plan(rng, first.shape, number(rng, 2, most), not spiking, new_shape)
    populations = [first]
    for i in range(1, len(plan.shapes)):
        population = random_population(rng, plan, i, populations, spiking)
        populations.append(replace(population, name=f"population {i}"))
    window_ticks = choose(rng, 0, 1, 7, 50)
    if event_counts:
        window_ticks = event_counts.slices * event_counts.slice_ticks
    delayed = spiking and chance(rng, 0.4)  # levels without spikes settle within their tick
    projections = [
        replace(p, shift=random_shift(rng, p, populations), delay=random_delay(rng, p) if delayed else 0)
        for p in plan.projections
    ]
    projections += random_loops(rng, populations)
    projections = [in_words(p, populations[p.target]) if chance(rng, 0.3) else p for p in projections]
    return Graph(
        tuple(populations),
        tuple(sorted(projections, key=lambda p: (p.source, p.target))),
        InputSpec(number(rng, 1, 1000), window_ticks, event_counts),
        {"populations": [population.name for population in populations]},
        rng.bytes(32),
    )


def exiting_graph(seed: int, longest: int) -> Graph:
    """A random network whose windows, or samples of so many ticks, may be decided early."""
    rng = np.random.default_rng(seed)
    while True:
        graph = random_graph(rng, spiking=bool(rng.integers(4)))
        if graph.populations[-1].size < 2:
            continue
        window = graph.input.window_ticks
        if not graph.input.event_counts and rng.random() < 0.5:
            window = int(rng.choice([0, 20, 100]))
        most = window or longest
        every = int(rng.integers(1, max(2, min(most, 10))))
        looks = max(1, (most - 1) // every)
        if every >= most:
            continue
        margin = int(rng.choice([1, 1, 2, 5, 50, 3000, 1 << 31]))
        rule = EarlyExit(margin, every, int(rng.integers(1, min(looks, 6) + 1)))
        return replace(graph, input=replace(graph.input, window_ticks=window, early_exit=rule))


# ---- events -----------------------------------------------------------------


def random_ticks(rng: Generator, count: int, longest: int) -> NDArray[np.int64]:
    """Ticks that mostly stay, often move a little, and sometimes move far."""
    steps = rng.choice([0, 0, 0, 0, 1, 2, longest], count)
    steps = np.where(chance(rng, 0.3), 0, steps)
    return np.cumsum(steps)


def random_events(rng: Generator, graph: Graph, count: int, longest: int = 40) -> NDArray[Any]:
    """Events (dtype CORE_EVENT) that a network just reset accepts, in order of time."""
    height, width, channels = graph.populations[0].shape
    events = np.zeros(count, CORE_EVENT)
    events["tick"] = random_ticks(rng, count, longest)
    few = chance(rng, 0.3)  # a few neurons change again and again
    events["y"] = rng.integers(0, 1 if few else height, count)
    events["x"] = rng.integers(0, 2 if few and width > 1 else width, count)
    neuron = graph.populations[0].neuron
    if graph.input.event_counts:
        events["channel"] = rng.integers(0, 2, count)
        events["value"] = choose(rng, 1, rng.integers(1, 20, count), rng.integers(1, 32767, count))
        return events
    events["channel"] = rng.integers(0, channels, count)
    if isinstance(neuron, SpikeInput):
        events["value"] = rng.integers(neuron.value_min, neuron.value_max, count, endpoint=True)
        return within_budget(events, neuron.budget)
    return with_level_changes(rng, graph, events)


def within_budget(events: NDArray[Any], budget: int) -> NDArray[Any]:
    """Without the events that overdraw their tick."""
    kept = []
    tick, spent = -1, 0
    for event in events:
        spent = (spent if event["tick"] == tick else 0) + abs(int(event["value"]))
        tick = int(event["tick"])
        kept.append(spent <= budget)
    return np.asarray(events[np.array(kept, bool)])


def with_level_changes(rng: Generator, graph: Graph, events: NDArray[Any]) -> NDArray[Any]:
    """Values that take every input neuron from one random level to another."""
    first = graph.populations[0]
    assert isinstance(first.neuron, LevelInput) and first.initial_level is not None
    window_ticks = graph.input.window_ticks
    levels: NDArray[np.int32] = first.initial_level.copy()
    window = 0
    for event in events:
        if window_ticks and int(event["tick"]) // window_ticks != window:
            window = int(event["tick"]) // window_ticks
            levels = first.initial_level.copy()
        place = (event["y"], event["x"], event["channel"])
        goal = number(rng, first.neuron.level_min, first.neuron.level_max)
        event["value"] = np.clip(goal - int(levels[place]), -32768, 32767)
        levels[place] += event["value"]
    return events


def shuffled(rng: Generator, graph: Graph, events: NDArray[Any]) -> NDArray[Any]:
    """The events of each tick in another order, those of one neuron in the same."""
    neuron = (events["y"].astype(np.int64) << 32) | (events["x"].astype(np.int64) << 16)
    if graph.input.event_counts is None:  # a counting neuron may have two polarities
        neuron |= events["channel"]
    _, place = np.unique(neuron, return_inverse=True)
    rank = rng.permutation(len(events))[place]
    return np.asarray(events[np.lexsort((rank, events["tick"]))])
