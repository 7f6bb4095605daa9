"""Searches levels and weight bits, layer by layer, for the cheapest graph within a budget.

Quantization noise of the layers adds up in the scores, nearly. So every layer is measured once,
alone, at every choice: the noise that it leaves in the scores, and what it saves. From the finest
graph on, a greedy descent then takes the step that saves most for the noise it adds: first bytes
of weights, as far as the flash demands, then synaptic operations, then bytes again. Along these
paths the graph that is still good enough is looked for by bisection, each time with a real
quantization. Half of the calibration samples set the scales, the other half measures accuracy,
so nothing is promised on samples that it was fitted to. All of it is deterministic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgespike.boards import Board
from edgespike.convert.diagnosis import Examination
from edgespike.convert.precision import Precision
from edgespike.convert.report import LayerReport, Search, Trial, short_name

LEVELS = (255, 63, 31, 15, 7, 3)
AS_CHEAP = 1.01  # graphs whose work differs by less are told apart by their flash
SENSITIVITY_SAMPLES = 64
BISECTIONS = 6  # of a path: enough for 64 steps
USUAL_TRIALS = 20

Steps = list[Precision]


@dataclass(frozen=True)
class Budget:
    """Bytes, or None where they do not matter, and how much accuracy may be lost, as a share.

    ``flash``: for the model file. ``ram``: for the arena, in the streaming plan or else the
    one-shot plan. ``events_per_second``: what the ``board`` must work off; nothing to search by,
    since the graph with the least work is the fastest, but to check.
    """

    flash: int | None = None
    ram: int | None = None
    max_drop: float = 0.005
    board: Board | None = None
    events_per_second: float | None = None


@dataclass(frozen=True, eq=False)
class Attempt:
    """A graph with the costs of its layers, as quantized on half of the samples."""

    layers: tuple[LayerReport, ...]
    flash: int
    ram_streaming: int
    ram_one_shot: int
    synops_of: tuple[float, ...]
    result: float
    examination: Examination | None


Quantize = Callable[[Precision, bool], Attempt]


@dataclass
class Searcher:
    """A search under way. ``attempt`` makes and measures a graph; its flag asks for the layers alone."""

    names: tuple[str, ...]
    sharers: tuple[tuple[int, ...], ...]  # by layer, itself and the pools that its levels decide; none: fixed
    weighted: tuple[bool, ...]  # by layer, whether it has weights that may have 4 bits
    budget: Budget
    result_float: float
    attempt: Quantize
    tell: Callable[[str, float], None]

    def __post_init__(self) -> None:
        self.tried: dict[Precision, Attempt] = {}

    def run(self) -> Precision | None:
        """The best precision found, or None if none is within the budget."""
        self.measure_alone()
        start = self.with_less_flash(self.finest)
        best = self.last_good([start, *self.descend(start, self.level_steps)])
        self.last_good([best, *self.descend(best, self.weight_steps)])
        fitting = [precision for precision in self.tried if self.fits(precision)]
        least = min((self.cost(precision)[0] for precision in fitting), default=0.0)
        cheap = [precision for precision in fitting if self.cost(precision)[0] <= AS_CHEAP * least]
        return min(cheap, key=lambda precision: self.tried[precision].flash, default=None)

    # ---- what each layer costs alone

    def measure_alone(self) -> None:
        """Noise in the scores, synaptic operations and weight bytes, by layer and choice."""
        noise: dict[tuple[int, int], list[float]] = {}
        self.synops: dict[tuple[int, int], list[float]] = {}
        self.bytes: dict[int, list[int]] = {}
        for levels, bits in [*((levels, 8) for levels in LEVELS), (LEVELS[0], 4)]:
            self.say(f"measuring {levels} levels, {bits}-bit weights")
            precision = self.all_at(levels, bits)
            made = self.try_(precision, alone=True)
            assert made.examination is not None
            noise[levels, bits] = [tally.noise["scores"] for tally in made.examination.tallies]
            self.synops[levels, bits] = [
                sum(made.synops_of[place] for place in places) for places in self.sharers
            ]
            self.bytes[bits] = [layer.weight_bytes for layer in made.layers]
        finest = noise[LEVELS[0], 8]
        self.level_noise = {levels: noise[levels, 8] for levels in LEVELS}
        self.weight_noise = [
            max(0.0, more - less) for more, less in zip(noise[LEVELS[0], 4], finest, strict=True)
        ]
        self.finest = self.all_at(LEVELS[0], 8)

    def all_at(self, levels: int, bits: int) -> Precision:
        """The same for all layers that have a choice; the others keep the finest."""
        return Precision(
            tuple(levels if places else LEVELS[0] for places in self.sharers),
            tuple(bits if weighted else 8 for weighted in self.weighted),
        )

    def say(self, step: str) -> None:
        """Tells what is being done; most searches try about `USUAL_TRIALS` graphs."""
        self.tell(step, min(0.99, len(self.tried) / USUAL_TRIALS))

    def try_(self, precision: Precision, alone: bool = False) -> Attempt:
        """Makes a graph, unless it has been made."""
        if precision not in self.tried or (alone and self.tried[precision].examination is None):
            self.tried[precision] = self.attempt(precision, alone)
        return self.tried[precision]

    # ---- steps: what a change saves, for the noise that it adds

    def level_steps(self, precision: Precision) -> list[tuple[float, Precision]]:
        """Fewer levels in one layer: synaptic operations saved for the noise added."""
        steps = []
        for number, levels in enumerate(precision.levels):
            for fewer in LEVELS[LEVELS.index(levels) + 1 :]:
                saved = self.synops[levels, 8][number] - self.synops[fewer, 8][number]
                added = self.level_noise[fewer][number] - self.level_noise[levels][number]
                if saved > 0:
                    steps.append((ratio(saved, added), with_one(precision, number, levels=fewer)))
        return steps

    def weight_steps(self, precision: Precision) -> list[tuple[float, Precision]]:
        """4-bit weights in one layer: bytes saved for the noise added."""
        steps = []
        for number, bits in enumerate(precision.weights):
            saved = self.bytes[8][number] - self.bytes[4][number]
            if bits == 8 and saved > 0:
                steps.append(
                    (ratio(saved, self.weight_noise[number]), with_one(precision, number, weights=4))
                )
        return steps

    def descend(
        self, start: Precision, steps_of: Callable[[Precision], list[tuple[float, Precision]]]
    ) -> Steps:
        """All steps down from a precision, at each place that which saves most for its noise."""
        path = []
        steps = steps_of(start)
        while steps:
            best = max(steps, key=lambda step: step[0])[1]
            path.append(best)
            steps = steps_of(best)
        return path

    # ---- trials

    def with_less_flash(self, start: Precision) -> Precision:
        """The first on the path of fewer weight bytes whose file fits, or the last."""
        limit = self.budget.flash
        path = [start, *self.descend(start, self.weight_steps)]
        if limit is None or self.try_(start).flash <= limit:
            return start
        low, high = 0, len(path) - 1  # path[low] is too large
        while high - low > 1:
            middle = (low + high) // 2
            self.say("fitting the flash")
            low, high = (low, middle) if self.try_(path[middle]).flash <= limit else (middle, high)
        return path[high]

    def last_good(self, path: Steps) -> Precision:
        """The last on a path that is accurate enough; the first if none is."""
        low, high = 0, len(path)
        for _ in range(BISECTIONS):
            if high - low <= 1:
                break
            middle = (low + high) // 2
            self.say("descending")
            low, high = (middle, high) if self.is_good(path[middle]) else (low, middle)
        self.try_(path[low])
        return path[low]

    def is_good(self, precision: Precision) -> bool:
        """Whether the accuracy is kept."""
        return self.result_float - self.try_(precision).result <= self.budget.max_drop + 1e-9

    def fits(self, precision: Precision) -> bool:
        """Whether a graph that was tried is within the whole budget."""
        made, budget = self.tried[precision], self.budget
        small = budget.flash is None or made.flash <= budget.flash
        return small and (budget.ram is None or ram_of(made) <= budget.ram) and self.is_good(precision)

    def cost(self, precision: Precision) -> tuple[Any, ...]:
        """Work, then flash; after that any order that is always the same."""
        made = self.tried[precision]
        return sum(made.synops_of), made.flash, precision.levels, precision.weights

    # ---- what came of it

    def report(self, measure: str, samples: int, chosen: Precision | None) -> Search:
        """All graphs that were tried, from the most to the least work."""
        order = sorted(self.tried, key=self.cost, reverse=True)
        trials = [
            Trial(
                levels=precision.levels,
                weights=precision.weights,
                result=self.tried[precision].result,
                synops=sum(self.tried[precision].synops_of),
                ram_streaming=self.tried[precision].ram_streaming,
                ram_one_shot=self.tried[precision].ram_one_shot,
                flash=self.tried[precision].flash,
                fits=self.fits(precision),
            )
            for precision in order
        ]
        return Search(
            layers=self.names,
            has_levels=tuple(bool(places) for places in self.sharers),
            has_weights=self.weighted,
            measure=measure,
            samples=samples,
            result_float=self.result_float,
            max_drop=self.budget.max_drop,
            ram=self.budget.ram,
            flash=self.budget.flash,
            trials=tuple(trials),
            chosen=None if chosen is None else order.index(chosen),
            obstacle="" if chosen is not None else self.obstacle(),
        )

    def obstacle(self) -> str:
        """Which layer is in the way, and what to change."""
        budget, tried = self.budget, list(self.tried.values())
        smallest = min(tried, key=lambda made: made.flash)
        if budget.flash is not None and smallest.flash > budget.flash:
            worst = max(smallest.layers, key=lambda layer: layer.weight_bytes)
            return (
                f"the smallest model file has {smallest.flash:,} bytes, {budget.flash:,} are allowed; "
                f"{short_name(worst.name)} has {worst.weight_bytes:,} bytes of weights: make it narrower, "
                "or pool before it"
            )
        leanest = min(tried, key=ram_of)
        if budget.ram is not None and ram_of(leanest) > budget.ram:
            worst = max(leanest.layers, key=lambda layer: layer.state_bytes)
            return (
                f"the smallest arena has {ram_of(leanest):,} bytes, {budget.ram:,} are allowed; "
                f"{short_name(worst.name)} has {worst.state_bytes:,} bytes of state: give it fewer channels "
                "or a larger stride, or a smaller input"
            )
        within = [made for precision, made in self.tried.items() if self.is_small(precision)]
        best = max(within or tried, key=lambda made: made.result)
        place = self.noisiest(best)
        lost = 100 * (self.result_float - best.result)
        return (
            f"the best graph of that size loses {lost:.1f} points, {100 * budget.max_drop:.1f} are allowed; "
            f"{short_name(self.names[place])} adds most noise: allow more, or fine-tune the network with "
            "less noise there (weight decay, batch normalization, Relu6)"
        )

    def is_small(self, precision: Precision) -> bool:
        """Whether flash and RAM suffice, whatever the accuracy."""
        made, budget = self.tried[precision], self.budget
        return (budget.flash is None or made.flash <= budget.flash) and (
            budget.ram is None or ram_of(made) <= budget.ram
        )

    def noisiest(self, made: Attempt) -> int:
        """The layer that adds most noise at a precision, as measured alone."""
        precision = next(precision for precision, attempt in self.tried.items() if attempt is made)
        noise = [
            self.level_noise[levels][number] + (self.weight_noise[number] if bits == 4 else 0.0)
            for number, (levels, bits) in enumerate(zip(precision.levels, precision.weights, strict=True))
        ]
        return int(np.argmax(noise))


def ratio(saved: float, added: float) -> float:
    """What is saved for the noise added."""
    return saved / max(added, 1e-12)


def with_one(precision: Precision, number: int, **change: int) -> Precision:
    """A precision with another number of levels or bits of weights in one layer."""
    changed: dict[str, tuple[int, ...]] = {}
    for name, value in change.items():
        values = list(getattr(precision, name))
        values[number] = value
        changed[name] = tuple(values)
    return replace(precision, **changed)


def ram_of(made: Attempt | Trial) -> int:
    """Bytes of the smaller plan."""
    return min(made.ram_streaming, made.ram_one_shot or made.ram_streaming)
