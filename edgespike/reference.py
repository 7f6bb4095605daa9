"""The NumPy reference interpreter: the executable specification of a network.

Every backend gives these bits. It follows docs/architecture.md literally: events are
added up as they come, and when a tick closes every population is evaluated in
topological order, all neurons of it at once. It is written to be read, in wide
integers, and checks that no value leaves the accumulator that the converter proved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import DataError, MismatchError, UsageError
from edgespike.graph import (
    NEVER,
    Activation,
    Compare,
    Connection,
    Convolution,
    Dense,
    Graph,
    IntegrateAndFire,
    LevelInput,
    MaxPool,
    MaxPoolWindow,
    OneToOne,
    Population,
    Readout,
    Reset,
    Rounding,
    Shape,
    SpikeInput,
    SumPool,
)

__all__ = ["ReferenceNetwork", "fan_out", "project"]

Values = NDArray[np.int64]

TICKS = 1 << 32  # events name ticks modulo this; half of it ahead is later, the other half earlier


# ---- projections ------------------------------------------------------------


@dataclass(frozen=True)
class Taps:
    """The (source, target) index pairs that one kernel position connects along one axis."""

    source: slice
    target: slice


def taps(source: int, target: int, kernel: int, stride: int, dilation: int, padding: int) -> list[Taps]:
    """For each kernel position k, the targets t with 0 <= t * stride + k * dilation - padding < source."""
    result = []
    for k in range(kernel):
        shift = k * dilation - padding
        first = max(0, -(shift // stride))
        last = min(target - 1, (source - 1 - shift) // stride)
        count = max(0, last - first + 1)
        begin = first * stride + shift
        result.append(
            Taps(
                slice(begin, begin + count * stride, stride) if count else slice(0, 0),
                slice(first, first + count) if count else slice(0, 0),
            )
        )
    return result


def _window_taps(connection: Connection, source: Shape, target: Shape) -> list[tuple[int, int, Taps, Taps]]:
    if isinstance(connection, Convolution):
        kernel = connection.weight.shape[1:3]
    else:
        assert isinstance(connection, SumPool | MaxPoolWindow)
        kernel = connection.kernel
    rows, columns = (
        taps(
            source[axis],
            target[axis],
            kernel[axis],
            connection.stride[axis],
            connection.dilation[axis],
            connection.padding[axis],
        )
        for axis in (0, 1)
    )
    return [(ky, kx, row, column) for ky, row in enumerate(rows) for kx, column in enumerate(columns)]


def project(connection: Connection, values: Values, target: Shape) -> Values:
    """What source values add to the targets: int64 arrays (height, width, channels).

    Matrix products run in float64, which is exact here: every partial sum stays far
    below 2**53, because the accumulators it ends in have at most 32 bits.
    """
    if isinstance(connection, Dense):
        product = values.reshape(-1).astype(np.float64) @ connection.weight.astype(np.float64)
        return product.astype(np.int64).reshape(target)
    if isinstance(connection, OneToOne):
        return values * connection.weight.astype(np.int64)
    out = np.zeros(target, np.int64)
    groups = connection.groups if isinstance(connection, Convolution) else 1
    for ky, kx, row, column in _window_taps(connection, values.shape, target):
        part = values[row.source, column.source]
        if isinstance(connection, Convolution):
            split = part.reshape(*part.shape[:2], groups, part.shape[2] // groups).astype(np.float64)
            weight = connection.weight[:, ky, kx].reshape(groups, *split.shape[3:], -1)
            product = np.einsum("yxgi,gio->yxgo", split, weight.astype(np.float64), optimize=True)
            part = product.astype(np.int64).reshape(*part.shape[:2], target[2])
        out[row.target, column.target] += part
    return out


def maximum(window: MaxPoolWindow, levels: Values, target: Shape) -> Values:
    """The greatest source level in each target's window; padding does not take part."""
    out = np.full(target, np.iinfo(np.int64).min)
    for _, _, row, column in _window_taps(window, levels.shape, target):
        here = out[row.target, column.target]
        np.maximum(here, levels[row.source, column.source], out=here)
    return out


def fan_out(connection: Connection, source: Shape, target: Shape) -> Values:
    """How many targets an event of each source neuron reaches: its synaptic operations."""
    if isinstance(connection, Dense):
        return np.full(source, target[2], np.int64)
    if isinstance(connection, OneToOne):
        return np.ones(source, np.int64)
    per_tap = connection.weight.shape[3] if isinstance(connection, Convolution) else 1
    count = np.zeros(source, np.int64)
    for _, _, row, column in _window_taps(connection, source, target):
        count[row.source, column.source] += per_tap
    return count


# ---- neurons ----------------------------------------------------------------


def per_neuron(parameter: NDArray[Any], shape: Shape) -> Values:
    """A parameter array of length channels, or of all neurons, as (height, width, channels)."""
    if parameter.size == shape[2]:
        return np.broadcast_to(parameter.astype(np.int64), shape)
    return parameter.astype(np.int64).reshape(shape)


def level(neuron: Activation, accumulator: Values) -> Values:
    """The level that an accumulator means."""
    step = per_neuron(neuron.step, accumulator.shape)
    quotient = ((accumulator << neuron.shift) + step // 2) // step
    if neuron.table is None:
        return np.asarray(np.clip(quotient, neuron.level_min, neuron.level_max))
    index = np.clip(quotient, neuron.table.index_min, neuron.table.index_max) - neuron.table.index_min
    row = np.arange(accumulator.shape[2]) % len(neuron.table.levels)
    return np.asarray(neuron.table.levels[row, index], np.int64)


def decayed(values: Values, decay: NDArray[np.int32], rounding: Rounding) -> Values:
    """Membranes, currents or adaptations after one tick of decay."""
    product: Values = values * per_neuron(decay, values.shape)
    if rounding == Rounding.NEAREST:
        product = (product + (1 << 29)) >> 30
    elif rounding == Rounding.FLOOR:
        product = product >> 30
    elif rounding == Rounding.TOWARD_ZERO:
        product = np.sign(product) * (np.abs(product) >> 30)
    else:
        product = values
    return product


def spikes_of(neuron: IntegrateAndFire, membrane: Values, threshold: Values) -> Values:
    """How many spikes a membrane means."""
    above = membrane - threshold + (neuron.compare == Compare.GREATER_OR_EQUAL)
    spikes: Values = np.clip(-(-above // threshold), 0, neuron.max_spikes)  # ceil: above > 0 fires once
    return spikes


def after_reset(neuron: IntegrateAndFire, membrane: Values, spikes: Values, threshold: Values) -> Values:
    """The membrane after a number of spikes, not clamped."""
    if neuron.reset == Reset.SUBTRACT:
        return membrane - spikes * threshold
    if neuron.reset == Reset.TO_VALUE:
        return np.where(spikes > 0, per_neuron(neuron.reset_value, membrane.shape), membrane)
    return membrane


@dataclass
class NeuronState:
    """What integrate-and-fire neurons keep: int64 arrays (height, width, channels).

    ``current`` is what is left of it, plus the input of the open tick. ``refractory`` counts ticks.
    """

    membrane: Values
    current: Values
    adaptation: Values
    refractory: Values

    def equals(self, other: NeuronState) -> bool:
        """Whether all is the same."""
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in vars(self))


def step(neuron: IntegrateAndFire, state: NeuronState, arriving: Values) -> tuple[Values, NeuronState]:
    """One tick of a neuron with all that it may have: its spikes and what it keeps.

    docs/architecture.md, "Integrate-and-fire populations", line by line. Where there is no
    synaptic current, the current is the input of the tick.
    """
    shape = arriving.shape
    base = per_neuron(neuron.threshold, shape)
    due = np.zeros(shape, np.int64)
    if neuron.reset_delayed:
        due = spikes_of(neuron, state.membrane, base + state.adaptation)
    adaptation = state.adaptation
    if neuron.adaptation:
        adaptation = decayed(adaptation, neuron.adaptation.decay, neuron.adaptation.rounding)
        adaptation = adapted(neuron, adaptation, due)
    threshold = base + adaptation
    current = state.current + arriving
    if neuron.current:
        current = current + per_neuron(neuron.current.drive, shape)
    held = state.refractory > 0
    membrane = decayed(state.membrane, neuron.decay, neuron.rounding) + current
    membrane = membrane + per_neuron(neuron.drive, shape)
    membrane = after_reset(neuron, membrane, due, threshold)
    require_32_bits(np.where(held, 0, membrane), current)
    spikes = np.where(held, 0, spikes_of(neuron, membrane, threshold))
    if not neuron.reset_delayed:
        membrane = after_reset(neuron, membrane, spikes, threshold)
        adaptation = adapted(neuron, adaptation, spikes)
    membrane = np.clip(membrane, neuron.membrane_min, neuron.membrane_max)
    return spikes, NeuronState(
        membrane=np.where(held, state.membrane, membrane),
        current=(
            decayed(current, neuron.current.decay, neuron.current.rounding)
            if neuron.current
            else np.zeros_like(current)
        ),
        adaptation=adaptation,
        refractory=np.where(spikes > 0, neuron.refractory, np.maximum(state.refractory - 1, 0)),
    )


def adapted(neuron: IntegrateAndFire, adaptation: Values, spikes: Values) -> Values:
    """The adaptation after spikes; the threshold with it stays a 32-bit number."""
    if neuron.adaptation is None:
        return adaptation
    raised = adaptation + spikes * per_neuron(neuron.adaptation.increment, spikes.shape)
    return np.minimum(raised, (1 << 31) - 1 - per_neuron(neuron.threshold, spikes.shape))


def require_32_bits(*arrays: Values) -> None:
    """Refuse values that an int32 does not hold."""
    if any(array.min(initial=0) < -(1 << 31) or array.max(initial=0) >= 1 << 31 for array in arrays):
        raise MismatchError(
            "a membrane or a current left its 32 bits",
            "the model's bound proof is wrong: convert the network again",
            "bound",
        )


# ---- the network ------------------------------------------------------------


class ReferenceNetwork:
    """Runs a graph. The interface is that of every backend (see session.py)."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.outgoing = [graph.outgoing(number) for number in range(len(graph.populations))]
        self.incoming = [graph.incoming(number) for number in range(len(graph.populations))]
        shapes = [population.shape for population in graph.populations]
        self.fan_outs = [
            [(p.target, fan_out(p.connection, shapes[p.source], shapes[p.target])) for p in projections]
            for projections in self.outgoing
        ]
        self.clear_stats()
        self.reset()

    def clear_stats(self) -> None:
        """Zero all statistics."""
        self.input_events = self.ticks = self.windows = 0
        self.events = [0] * len(self.graph.populations)
        self.synops = [0] * len(self.graph.populations)

    def reset(self) -> None:
        """Back to the initial state at tick 0; statistics stay."""
        self.tick = 0
        self._start_window()

    def _start_window(self) -> None:
        self.window_start = self.tick
        self.status = "open"
        self.decided = 0  # after so many ticks of the window; 0: not
        self.tick_input = 0
        populations = self.graph.populations
        self.accumulators = [_copy(p.initial, p.shape) for p in populations]
        self.levels = [_copy(p.initial_level, p.shape) for p in populations]
        self.neurons = [_neurons_at_start(population) for population in populations]
        self.under_way: dict[tuple[int, int], Values] = {}  # by target and tick of arrival
        self.scores = np.zeros(populations[-1].shape, np.int64)
        output = populations[-1].neuron
        if isinstance(output, IntegrateAndFire):
            worst = {Readout.GREATEST_MEMBRANE: output.membrane_min, Readout.FIRST_SPIKE: NEVER}
            self.scores += worst.get(output.readout, 0)
        self.seen = np.zeros(populations[0].shape, np.int64)  # events counted, by input neuron
        self.sent = np.zeros(populations[0].shape, np.int64)  # input values of the open tick

    # ---- input

    def push(self, events: NDArray[Any]) -> tuple[int, bool]:
        """Integrate events (dtype CORE_EVENT) in order; later ticks close earlier ones.

        Returns:
            How many events were taken, and whether a window closed before the next one:
            then read the output and push the rest.

        Raises:
            DataError: an event goes backwards, lies outside, or leaves the value range.
                Those before it have been taken.
        """
        self._require_open()
        for number, event in enumerate(events):
            tick, x, y, channel, value = (int(field) for field in event)
            place = f"event {number} (tick {tick}, x {x}, y {y}, channel {channel}, value {value})"
            tick = self._counted_on(tick, f"{place} goes back: tick {self.tick % TICKS} is open")
            self._check_place(place, x, y, channel)
            if self._leaves_window(tick):
                return number, self._advance(tick)
            if self.decided:
                self._advance(tick)
                self.input_events += 1
                continue
            self._check_value(place, tick, x, y, channel, value)
            if self._advance(tick):
                return number, True
            self._take(x, y, channel, value)
            self.input_events += 1
        return len(events), False

    def _check_place(self, place: str, x: int, y: int, channel: int) -> None:
        height, width, channels = self.graph.populations[0].shape
        channels = 2 if self.graph.input.event_counts else channels
        if x >= width or y >= height or channel >= channels:
            raise DataError(
                f"{place} lies outside the {width} x {height} x {channels} input",
                "crop or rescale the events to the sensor that the model was made for",
                "event-range",
            )

    def _check_value(self, place: str, tick: int, x: int, y: int, channel: int, value: int) -> None:
        neuron = self.graph.populations[0].neuron
        if self.graph.input.event_counts:
            fits = value >= 1
        elif isinstance(neuron, LevelInput):
            fits = neuron.level_min <= int(self.levels[0][y, x, channel]) + value <= neuron.level_max
        else:
            assert isinstance(neuron, SpikeInput)
            fits = neuron.value_min <= value <= neuron.value_max
            spent = self.tick_input if tick == self.tick else 0
            if fits and spent + abs(value) > neuron.budget:
                raise DataError(
                    f"{place} exceeds what the overflow proof allows in one tick",
                    "use shorter ticks",
                    "tick-full",
                )
        if not fits:
            raise DataError(
                f"{place} leaves the input's value range", "check the input's scale", "event-value"
            )

    def _take(self, x: int, y: int, channel: int, value: int) -> None:
        counts = self.graph.input.event_counts
        if counts:
            in_slice = (self.tick - self.window_start) // counts.slice_ticks
            channel = in_slice * counts.polarities + (channel if counts.polarities == 2 else 0)
            before = self.seen[y, x, channel]
            after = min(before + value, counts.saturation)
            self.seen[y, x, channel] = after
            value = int(counts.table[channel, after]) - int(counts.table[channel, before])
        if isinstance(self.graph.populations[0].neuron, LevelInput):
            self.levels[0][y, x, channel] += value
        else:
            self.tick_input += abs(value)
        self.sent[y, x, channel] += value
        if value:
            self.events[0] += 1
            self.synops[0] += sum(int(reached[y, x, channel]) for _, reached in self.fan_outs[0])

    # ---- time

    def advance(self, tick: int) -> bool:
        """Close ticks until `tick` is the open one.

        Returns:
            True when it stopped at the end of a window: read the output, call again.
        """
        self._require_open()
        tick = self._counted_on(tick, f"tick {tick} lies before the open tick {self.tick % TICKS}")
        return self._advance(tick)

    def finish(self) -> None:
        """Close the open tick and the sample; then only output, statistics and reset."""
        self._require_open()
        if self.status == "window":
            self._start_window()
        if not self.decided:
            self._close_tick()
        self.status = "finished"

    def _require_open(self) -> None:
        if self.status == "finished":
            raise UsageError("the sample is finished", "reset before the next one", "state")

    def _counted_on(self, tick: int, message: str) -> int:
        """A 32-bit tick, which wraps around, as a number of ticks since reset."""
        ahead = (tick - self.tick) % TICKS
        if ahead >= TICKS // 2:
            hint = "sort events by time; from one to the next it is at most 2**31 - 1 ticks"
            raise DataError(message, hint, "event-time")
        return self.tick + ahead

    def _leaves_window(self, tick: int) -> bool:
        """Whether a tick lies behind the open window; opens the next one if none is.

        Behind a decided one, whose result is told, the next one opens where that ends.
        """
        if self.status == "window":
            self._start_window()
        window_ticks = self.graph.input.window_ticks
        if self.decided and window_ticks and tick - self.window_start >= window_ticks:
            self.tick = self.window_start + window_ticks
            self._start_window()
        return bool(window_ticks) and tick - self.window_start >= window_ticks

    def _advance(self, tick: int) -> bool:
        """Close the ticks before `tick`, or those of the window if it ends before: then True."""
        leaves = self._leaves_window(tick)
        if self.decided:  # what is left of its window is skipped
            self.tick = tick
            return False
        if leaves:
            tick = self.window_start + self.graph.input.window_ticks
        while self.tick < tick and not self.decided:
            if self._close_tick() and not self._is_ahead():
                self.ticks += tick - self.tick  # nothing moves: every further tick is like this one
                self.tick = tick
        if leaves and not self.decided:
            self.status = "window"
        ends = leaves or self.decided != 0
        self.windows += ends
        return ends

    def _look(self) -> None:
        """Early exit: whether the scores of the ticks so far decide the window."""
        rule = self.graph.input.early_exit
        ticks = (self.tick - self.window_start) % TICKS
        if rule is None or ticks % rule.every or ticks // rule.every < rule.first:
            return
        if ticks != self.graph.input.window_ticks and self._is_ahead():
            self.decided = ticks

    def _is_ahead(self) -> bool:
        """Whether the best score is as far ahead of the second as early exit asks."""
        rule = self.graph.input.early_exit
        if rule is None:
            return False
        second, best = np.sort(self.output().astype(np.int64))[-2:]
        return bool(best - second >= rule.margin)

    def _close_tick(self) -> bool:
        """Evaluate all populations; whether the tick left everything as it was."""
        populations = self.graph.populations
        arriving = {number: self.under_way.pop((number, self.tick), 0) for number in range(len(populations))}
        at_rest = not self.sent.any()
        self._send(0, self.sent, arriving)
        for number in range(1, len(populations)):
            emitted, changed = self._evaluate(number, arriving[number])
            at_rest = at_rest and not changed and not emitted.any()
            self.events[number] += int(np.count_nonzero(emitted))
            self.synops[number] += sum(int(r[emitted != 0].sum()) for _, r in self.fan_outs[number])
            self._send(number, emitted, arriving)
        at_rest = at_rest and not self.under_way
        self.sent = np.zeros_like(self.sent)
        self.tick_input = 0
        self.tick += 1
        self.ticks += 1
        self._look()
        return at_rest

    def _send(self, number: int, emitted: Values, arriving: dict[int, Any]) -> None:
        """Carry what a population sent to its targets: in this tick, or in the one that the delay says."""
        if not emitted.any():
            return
        for projection in self.outgoing[number]:
            shape = self.graph.populations[projection.target].shape
            if isinstance(projection.connection, MaxPoolWindow):
                continue  # reads the levels
            added = project(projection.connection, emitted, shape) << projection.shift
            if projection.delay:
                key = (projection.target, self.tick + projection.delay)
                self.under_way[key] = self.under_way.get(key, 0) + added
            else:
                arriving[projection.target] = arriving[projection.target] + added

    def _evaluate(self, number: int, arriving: Any) -> tuple[Values, bool]:
        """What a population sends, and whether its state has changed."""
        population = self.graph.populations[number]
        neuron = population.neuron
        if isinstance(neuron, IntegrateAndFire):
            return self._fire(number, neuron, np.zeros(population.shape, np.int64) + arriving)
        if isinstance(neuron, MaxPool):
            (projection,) = self.incoming[number]
            assert isinstance(projection.connection, MaxPoolWindow)
            now = maximum(projection.connection, self.levels[projection.source], population.shape)
        else:
            before = self.accumulators[number]
            self.accumulators[number] = before + arriving
            self._check_bound(population, self.accumulators[number])
            if not isinstance(neuron, Activation):
                return np.zeros_like(before), not np.array_equal(before, self.accumulators[number])
            now = level(neuron, self.accumulators[number])
        change = now - self.levels[number]
        self.levels[number] = now
        return change, bool(np.any(arriving))

    def _fire(self, number: int, neuron: IntegrateAndFire, arriving: Values) -> tuple[Values, bool]:
        before = self.neurons[number]
        spikes, after = step(neuron, before, arriving)
        self.neurons[number] = after
        self.accumulators[number] = after.membrane
        if number == len(self.graph.populations) - 1:
            if neuron.readout == Readout.SPIKES:
                self.scores += spikes
            elif neuron.readout == Readout.GREATEST_MEMBRANE:
                self.scores = np.maximum(self.scores, after.membrane)
            elif neuron.readout == Readout.FIRST_SPIKE:
                tick = min((self.tick - self.window_start) % TICKS, -NEVER - 1)
                self.scores = np.where((spikes > 0) & (self.scores == NEVER), -tick, self.scores)
        return spikes, not after.equals(before)

    def _check_bound(self, population: Population, values: Values) -> None:
        limit = 1 << (population.accumulator_bits - 1)
        least, greatest = int(values.min(initial=0)), int(values.max(initial=0))
        fits = -limit <= least and greatest < limit
        if isinstance(population.neuron, Activation):
            half = int(population.neuron.step.max()) // 2
            fits = fits and greatest << population.neuron.shift < (1 << 31) - half
            fits = fits and least << population.neuron.shift >= -(1 << 31)
        if not fits:
            raise MismatchError(
                f"population {population.name!r} left its {population.accumulator_bits}-bit accumulator",
                "the model's bound proof is wrong: convert the network again",
                "bound",
            )

    # ---- output

    def output(self) -> NDArray[np.int32]:
        """Scores of the last closed tick, flat int32: accumulators, levels, spike counts or membranes."""
        neuron = self.graph.populations[-1].neuron
        if isinstance(neuron, IntegrateAndFire) and neuron.readout != Readout.MEMBRANE:
            values = self.scores
        elif isinstance(neuron, Activation | MaxPool):
            values = self.levels[-1]
        else:
            values = self.accumulators[-1]
        return values.astype(np.int32).reshape(-1)

    def state(self, population: int) -> NDArray[np.int32]:
        """Levels, membranes or accumulators of one population after the last closed tick, flat int32."""
        neuron = self.graph.populations[population].neuron
        has_levels = isinstance(neuron, LevelInput | Activation | MaxPool)
        values = (self.levels if has_levels else self.accumulators)[population]
        return values.astype(np.int32).reshape(-1)

    def stats(self) -> dict[str, Any]:
        """Counts since the last clear: events and synaptic operations, in all and by population."""
        return {
            "input_events": self.input_events,
            "events": sum(self.events),
            "synops": sum(self.synops),
            "ticks": self.ticks,
            "windows": self.windows,
            "populations": [
                {"events": events, "synops": synops}
                for events, synops in zip(self.events, self.synops, strict=True)
            ],
        }


def _neurons_at_start(population: Population) -> NeuronState:
    zeros = np.zeros(population.shape, np.int64)
    return NeuronState(_copy(population.initial, population.shape), zeros, zeros, zeros)


def _copy(initial: NDArray[np.int32] | None, shape: Shape) -> Values:
    return np.zeros(shape, np.int64) if initial is None else initial.astype(np.int64)
