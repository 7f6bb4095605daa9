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
    now: Values = np.clip((accumulator + step // 2) // step, neuron.level_min, neuron.level_max)
    return now


def decayed(neuron: IntegrateAndFire, membrane: Values) -> Values:
    """A membrane after one tick of decay."""
    product: Values = membrane * per_neuron(neuron.decay, membrane.shape)
    if neuron.rounding == Rounding.NEAREST:
        product = (product + (1 << 29)) >> 30
    elif neuron.rounding == Rounding.FLOOR:
        product = product >> 30
    elif neuron.rounding == Rounding.TOWARD_ZERO:
        product = np.sign(product) * (np.abs(product) >> 30)
    else:
        product = membrane
    return product


def spike(neuron: IntegrateAndFire, membrane: Values) -> tuple[Values, Values]:
    """Compare, emit, reset and clamp: the number of spikes and the membrane after them."""
    threshold = per_neuron(neuron.threshold, membrane.shape)
    above = membrane - threshold + (neuron.compare == Compare.GREATER_OR_EQUAL)
    spikes = np.clip(-(-above // threshold), 0, neuron.max_spikes)  # ceil: above > 0 fires once
    if neuron.reset == Reset.SUBTRACT:
        membrane = membrane - spikes * threshold
    elif neuron.reset == Reset.TO_VALUE:
        membrane = np.where(spikes > 0, per_neuron(neuron.reset_value, membrane.shape), membrane)
    return spikes, np.clip(membrane, neuron.membrane_min, neuron.membrane_max)


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
        self.tick_input = 0
        populations = self.graph.populations
        self.accumulators = [_copy(p.initial, p.shape) for p in populations]
        self.levels = [_copy(p.initial_level, p.shape) for p in populations]
        self.counts = np.zeros(populations[-1].shape, np.int64)
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
            self._check_value(place, tick, x, y, channel, value)
            self._advance(tick)
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
        """Whether a tick lies behind the open window; opens the next one if none is."""
        if self.status == "window":
            self._start_window()
        window_ticks = self.graph.input.window_ticks
        return bool(window_ticks) and tick - self.window_start >= window_ticks

    def _advance(self, tick: int) -> bool:
        """Close the ticks before `tick`, or those of the window if it lies behind it: then True."""
        leaves = self._leaves_window(tick)
        if leaves:
            tick = self.window_start + self.graph.input.window_ticks
        while self.tick < tick:
            if self._close_tick():  # nothing moves: every further tick is like this one
                self.ticks += tick - self.tick
                self.tick = tick
        if leaves:
            self.status = "window"
            self.windows += 1
        return leaves

    def _close_tick(self) -> bool:
        """Evaluate all populations; whether the tick left everything as it was."""
        populations = self.graph.populations
        sent: list[Values | None] = [self.sent if self.sent.any() else None]
        at_rest = sent[0] is None
        for number in range(1, len(populations)):
            before = self.accumulators[number]
            self._integrate(number, sent)
            emitted = self._evaluate(number)
            at_rest = at_rest and emitted is None and np.array_equal(before, self.accumulators[number])
            if emitted is not None:
                self.events[number] += int(np.count_nonzero(emitted))
                self.synops[number] += sum(int(r[emitted != 0].sum()) for _, r in self.fan_outs[number])
            sent.append(emitted)
        self.sent = np.zeros_like(self.sent)
        self.tick_input = 0
        self.tick += 1
        self.ticks += 1
        return at_rest

    def _integrate(self, number: int, sent: list[Values | None]) -> None:
        population = self.graph.populations[number]
        values = self.accumulators[number]
        if isinstance(population.neuron, MaxPool):
            return
        if isinstance(population.neuron, IntegrateAndFire):
            drive = per_neuron(population.neuron.drive, population.shape)
            values = decayed(population.neuron, values) + drive
        for projection in self.incoming[number]:
            arriving = sent[projection.source]
            if arriving is not None:
                added = project(projection.connection, arriving, population.shape)
                values = values + (added << projection.shift)
        self._check_bound(population, values)
        self.accumulators[number] = values

    def _evaluate(self, number: int) -> Values | None:
        """What a population sends, None for nothing."""
        neuron = self.graph.populations[number].neuron
        if isinstance(neuron, IntegrateAndFire):
            spikes, self.accumulators[number] = spike(neuron, self.accumulators[number])
            if number == len(self.graph.populations) - 1:
                self.counts += spikes
            return spikes if spikes.any() else None
        if isinstance(neuron, Activation):
            now = level(neuron, self.accumulators[number])
        elif isinstance(neuron, MaxPool):
            (projection,) = self.incoming[number]
            assert isinstance(projection.connection, MaxPoolWindow)
            now = maximum(
                projection.connection, self.levels[projection.source], self.graph.populations[number].shape
            )
        else:
            return None
        change = now - self.levels[number]
        self.levels[number] = now
        return change if change.any() else None

    def _check_bound(self, population: Population, values: Values) -> None:
        limit = 1 << (population.accumulator_bits - 1)
        if values.min(initial=0) < -limit or values.max(initial=0) >= limit:
            raise MismatchError(
                f"population {population.name!r} left its {population.accumulator_bits}-bit accumulator",
                "the model's bound proof is wrong: convert the network again",
                "bound",
            )

    # ---- output

    def output(self) -> NDArray[np.int32]:
        """Scores of the last closed tick, flat int32: accumulators, levels or spike counts."""
        neuron = self.graph.populations[-1].neuron
        if isinstance(neuron, IntegrateAndFire):
            values = self.counts
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


def _copy(initial: NDArray[np.int32] | None, shape: Shape) -> Values:
    return np.zeros(shape, np.int64) if initial is None else initial.astype(np.int64)
