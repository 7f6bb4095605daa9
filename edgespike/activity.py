"""What the core does for given events: counted exactly, tick by tick, by the reference interpreter.

The reference tells which neurons send; which pixels are touched, evaluated and decayed follows.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.arena import has_stamps, inbox_slots, keeps_scores
from edgespike.decay import decay_steps
from edgespike.graph import Activation, Compare, Graph, IntegrateAndFire, Readout, Rounding
from edgespike.operations import (
    GROUP,
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
    reset,
    sent,
    settling,
    touching,
)
from edgespike.reference import ReferenceNetwork, Values, decayed, per_neuron
from edgespike.sending import sending
from edgespike.work import joined

__all__ = ["Activity", "count_operations"]

Mask = NDArray[np.bool_]


def count_operations(graph: Graph, events: NDArray[Any], ticks: int = 0, group: int = GROUP) -> Operations:
    """What the core does for one sample, from reset to its scores.

    Args:
        events: dtype CORE_EVENT, in order; they fit the input.
        ticks: the sample has at least so many ticks, silent ones at its end too.
        group: neurons of a pixel that the firmware evaluates at once (ES_GROUP).
    """
    network = Activity(graph, group)
    while len(events):
        used, _ = network.push(events)
        events = events[used:]
    while ticks and network.tick < ticks - 1:
        network.advance(ticks - 1)
    network.finish()
    network.read()
    return network.operations


class Activity(ReferenceNetwork):
    """A reference network that counts ``operations`` as it runs."""

    def __init__(self, graph: Graph, group: int = GROUP) -> None:
        self.group = group
        self.operations: Operations = Counter()
        self._closed = 0  # ticks, one by one
        self._settling = settling(graph)
        self._reset = reset(graph)
        self._reading = reading(graph)
        output = graph.populations[-1]
        self._fades = has_stamps(output) and not keeps_scores(graph, len(graph.populations) - 1)
        self._sending = [
            [(p, [list(sending(graph, p, wide)) for wide in (False, True)]) for p in graph.outgoing(number)]
            for number in range(len(graph.populations))
        ]
        self._evaluation = [
            list(evaluation(graph, number, group)) for number in range(len(graph.populations))
        ]
        shapes = [population.shape for population in graph.populations]
        self._joins = {
            (p.source, p.target, number): joined(p.connection, shapes[p.source], shapes[p.target])
            for source in range(len(shapes))
            for number, p in enumerate(graph.outgoing(source))
        }
        super().__init__(graph)

    def _start_window(self) -> None:
        super()._start_window()
        self.operations.update(self._reset)
        populations = self.graph.populations
        self._touched: list[Mask] = [np.zeros(p.shape[:2], bool) for p in populations]
        self._arriving: dict[tuple[int, int], Mask] = {}  # touched later, by target and tick
        self._awake: list[Mask] = [
            np.full(p.shape[:2], isinstance(p.neuron, IntegrateAndFire) and p.neuron.works_every_tick)
            for p in populations
        ]
        self._stamps = [np.full(p.shape[:2], self.tick) for p in populations]
        self._kept = [self.neurons[number].membrane for number in range(len(populations))]
        self._pending = any(mask.any() for mask in self._awake)  # es_net.pending and under_way
        self._under_way = 0
        self._looks = True  # es_net.look
        self._taken: list[tuple[int, int, int]] = []  # row, column and change of the open tick's events

    # ---- what is sent

    def push(self, events: NDArray[Any]) -> tuple[int, bool]:
        """The same; events after early exit has decided are skipped."""
        taken = input_event(self.graph)
        others = self.input_events - self.operations[taken]
        self.operations["push"] += 1
        result = super().push(events)
        self.operations["event skipped"] += self.input_events - self.operations[taken] - others
        return result

    def _take(self, x: int, y: int, channel: int, value: int) -> None:
        before, events = int(self.sent[y, x].sum()), self.events[0]
        super()._take(x, y, channel, value)
        self.operations[input_event(self.graph)] += 1
        if counts := self.graph.input.event_counts:  # the core finds the slice twice
            in_slice = np.array((self.tick - self.window_start) // counts.slice_ticks)
            self.operations["quotient digit"] += 2 * int(quotient_digits(in_slice))
        if self.events[0] != events:
            self._taken.append((y, x, int(self.sent[y, x].sum()) - before))

    def _send(self, number: int, emitted: Values, arriving: dict[int, Any]) -> None:
        super()._send(number, emitted, arriving)
        if number > 0 and emitted.any():
            self._count_groups(number, *_groups(emitted, self.group))
            self.operations[sent(self.graph.populations[number])] += int(np.count_nonzero(emitted))
            if has_quotients(self.graph.populations[number]):
                fours = emitted.reshape(*emitted.shape[:2], -1, 4).any(axis=3)
                self.operations["four changed"] += int(np.count_nonzero(fours))
            if passes_twice(self.graph, number):
                self.operations["neuron of a firing group"] += _neurons_of_groups(emitted, self.group)

    def _count_groups(self, number: int, y: Values, x: Values, sizes: Values, greatest: Values) -> None:
        """Groups at (y, x) with so many events, the greatest of which is ``greatest`` (negative: -1 - it)."""
        self.operations[group_sent(self.graph, number)] += len(y)
        mask = np.zeros(self.graph.populations[number].shape[:2], bool)
        mask[y, x] = True
        for place, (projection, terms) in enumerate(self._sending[number]):
            wide = greatest << projection.shift > 0x7FFF
            for which in (False, True):
                chosen = wide == which
                if chosen.any():
                    self._add(terms[which], y[chosen], x[chosen], sizes[chosen])
            joins = self._joins[number, projection.target, place]
            reached = (joins.rows.T.astype(np.float32) @ mask @ joins.columns) > 0
            self._pending = self._pending or bool(reached.any())
            if projection.delay:
                key = (projection.target, self.tick + projection.delay)
                self._arriving[key] = self._arriving.get(key, False) | reached
                self._under_way = max(self._under_way, projection.delay)
            else:
                self._touched[projection.target] |= reached

    def _add(self, terms: list[Term], y: Values, x: Values, sizes: Values) -> None:
        for term in terms:
            counts = term.rows[y] * term.columns[x] * term.of_sizes(sizes)
            self.operations[term.name] += term.factor * int(counts.sum())

    # ---- what is read

    def read(self) -> None:
        """Count the reading of the scores."""
        self.operations.update(self._reading)
        number = len(self.graph.populations) - 1
        population = self.graph.populations[number]
        neuron = population.neuron
        if not isinstance(neuron, IntegrateAndFire) or not has_stamps(population):
            return
        if neuron.readout == Readout.MEMBRANE:
            self._count_steps(number, neuron, self.tick - self._stamps[number])

    # ---- what is evaluated

    def _look(self) -> None:
        super()._look()
        self._count_looks(1)

    def _count_looks(self, ticks: int) -> None:
        """Where early exit compares the scores, in the last so many ticks, which were all alike."""
        rule = self.graph.input.early_exit
        if rule is None or not self._looks:
            return
        last = self.tick - self.window_start
        if last == self.graph.input.window_ticks:
            last, ticks = last - 1, ticks - 1
        looks = last // rule.every - max((last - ticks) // rule.every, rule.first - 1)
        if looks <= 0:
            return
        self._looks = self._fades
        for _ in range(looks if self._looks or self._pending else 1):
            self.read()
            self.operations["score compared"] += self.graph.populations[-1].size

    def _advance(self, tick: int) -> bool:
        ticks = self.ticks - self._closed
        self.operations["time moved"] += tick != self.tick and not self.decided
        leaves = super()._advance(tick)
        self._count_alike(self.ticks - self._closed - ticks)
        return leaves

    def _count_alike(self, ticks: int) -> None:
        """Ticks that the reference leaves out, because all are like the last one."""
        self._count_looks(ticks)
        if not ticks or not self._pending:
            return
        again, self._under_way = self._under_way + 1, max(self._under_way - ticks, 0)
        self._pending = any(mask.any() for mask in self._awake)
        each, count = (self._last_tick, ticks) if self._pending else (self._settling, min(ticks, again))
        self.operations.update({name: count * number for name, number in each.items()})

    def _close_tick(self) -> bool:
        before = self.operations.copy()
        if self._taken:
            y, x, change = np.array(self._taken).T
            self._count_groups(0, y, x, np.ones_like(y), np.where(change < 0, -1 - change, change))
            self._taken = []
        settles = self._pending
        if settles:
            self.operations.update(self._settling)
            self._looks = True
        at_rest = super()._close_tick()
        if settles:
            self._pending = self._under_way > 0 or any(mask.any() for mask in self._awake)
            self._under_way = max(self._under_way - 1, 0)
        self._closed += 1
        self._last_tick = self.operations - before
        return at_rest

    def _evaluate(self, number: int, arriving: Any) -> tuple[Values, bool]:
        delivered = self._arriving.pop((number, self.tick), None)
        if delivered is not None and inbox_slots(self.graph, number):
            self._deliver(number, delivered)
        mask = self._touched[number] | self._awake[number]
        self._touched[number] = np.zeros_like(mask)
        if mask.any() and self._evaluation[number]:
            self._count_evaluation(number, mask)
        neuron = self.graph.populations[number].neuron
        if isinstance(neuron, IntegrateAndFire) and neuron.current is not None:
            self._count_cells(neuron, int(np.count_nonzero(self.neurons[number].refractory[mask] == 0)))
        result = super()._evaluate(number, arriving)
        if isinstance(neuron, Activation):
            step = per_neuron(neuron.step, self.accumulators[number].shape)[mask]
            quotients = (self.accumulators[number][mask] << neuron.shift) // step
            self._count_quotients(quotients)
        if isinstance(neuron, IntegrateAndFire):
            self._kept[number] = np.where(mask[:, :, None], self.neurons[number].membrane, self._kept[number])
            self._stamps[number][mask] = self.tick + 1
            self._awake[number] = np.full_like(mask, neuron.works_every_tick) | (
                mask & self._works_again(number, neuron).any(axis=2)
            )
        return result

    def _fire(self, number: int, neuron: IntegrateAndFire, arriving: Values) -> tuple[Values, bool]:
        before = self.neurons[number]
        spikes, changed = super()._fire(number, neuron, arriving)
        fired = spikes > 0
        if fired.any():
            drives = [neuron.drive] if neuron.current is None else [neuron.drive, neuron.current.drive]
            driven = sum(per_neuron(drive, fired.shape) for drive in drives)
            membrane = decayed(before.membrane, neuron.decay, neuron.rounding) + before.current + arriving
            threshold = per_neuron(neuron.threshold, fired.shape) + before.adaptation
            self._count_quotients((membrane + driven)[fired] // threshold[fired])
        return spikes, changed

    def _count_quotients(self, quotients: Values) -> None:
        self.operations["quotient digit"] += int(quotient_digits(quotients).sum())

    def _deliver(self, number: int, delivered: Mask) -> None:
        pixels = int(np.count_nonzero(delivered))
        self.operations["inbox pixel"] += pixels
        population = self.graph.populations[number]
        self.operations["inbox value"] += pixels * population.shape[2]
        if decays(population):
            self.operations[touching(population)] += pixels
        self._touched[number] |= delivered

    def _count_evaluation(self, number: int, mask: Mask) -> None:
        y, x = np.nonzero(mask)
        self._add(self._evaluation[number], y, x, np.ones_like(y))
        population = self.graph.populations[number]
        neuron = population.neuron
        pixels = y * population.shape[1] + x
        _, last = np.unique(pixels[::-1] // 32, return_index=True)  # highest bit of each word
        self.operations[bit(population)] += int((pixels[::-1][last] % 32 + 1).sum())
        if isinstance(neuron, IntegrateAndFire) and neuron.rounding != Rounding.NONE:
            self._count_decay(number, neuron, mask)

    def _count_decay(self, number: int, neuron: IntegrateAndFire, mask: Mask) -> None:
        """Ticks that pixels slept through, and this one, which a population with a current does by itself."""
        population = self.graph.populations[number]
        if neuron.current is not None and not has_stamps(population):
            return
        ticks = np.ones(mask.shape, np.int64)
        if has_stamps(population):
            ticks = self.tick - self._stamps[number] + (neuron.current is None)
        ticks = np.where(mask, ticks, 0)
        self.operations["pixel decayed"] += int(np.count_nonzero(ticks))
        self._count_steps(number, neuron, ticks)

    def _count_steps(self, number: int, neuron: IntegrateAndFire, ticks: Values) -> None:
        """Membranes brought forward by so many ticks (height, width); 0: not at all."""
        mask = ticks > 0
        membrane = self._kept[number][mask]
        each = np.broadcast_to(ticks[mask][:, None], membrane.shape)
        decay = per_neuron(neuron.decay, self.graph.populations[number].shape)[mask]
        self.operations["neuron decayed"] += membrane.size
        self.operations.update(
            decay_steps(membrane.reshape(-1), decay.reshape(-1), neuron.rounding, each.reshape(-1))
        )

    def _count_cells(self, neuron: IntegrateAndFire, cells: int) -> None:
        """Neurons with a current that are not refractory."""
        self.operations["cell integrated"] += cells
        if neuron.rounding != Rounding.NONE:
            self.operations["decay in a cell"] += cells

    def _works_again(self, number: int, neuron: IntegrateAndFire) -> Mask:
        """Neurons that will do something in the next tick by themselves."""
        state = self.neurons[number]
        threshold = per_neuron(neuron.threshold, state.membrane.shape) + state.adaptation
        above = state.membrane - threshold + (neuron.compare == Compare.GREATER_OR_EQUAL)
        again: Mask = (above > 0) & (neuron.max_spikes > 0)
        if neuron.current is not None:
            again = again | (state.current != 0) | (state.adaptation != 0) | (state.refractory != 0)
        return again


def _neurons_of_groups(emitted: Values, group: int) -> int:
    """How many neurons the groups have in which one sends."""
    starts = range(0, emitted.shape[2], group)
    parts = [emitted[:, :, first : first + group] for first in starts]
    return sum(part.shape[2] * int(np.count_nonzero(part.any(axis=2))) for part in parts)


def _groups(emitted: Values, group: int) -> tuple[Values, Values, Values, Values]:
    """Row, column, size and greatest value (of negative ones: -1 - it) of the groups of one emission."""
    y, x = np.nonzero((emitted != 0).any(axis=2))
    values = emitted[y, x]
    padding = -values.shape[1] % group
    values = np.pad(values, ((0, 0), (0, padding))).reshape(len(y), -1, group)
    sizes = np.count_nonzero(values, axis=2)
    greatest = np.where(values < 0, -1 - values, values).max(axis=2)
    pixel, place = np.nonzero(sizes)
    return y[pixel], x[pixel], sizes[pixel, place], greatest[pixel, place]
