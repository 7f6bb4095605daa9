"""When to stop looking: a margin of the scores that decides a sample before its end.

The margin is chosen on one half of the samples, such that at most so many points of
accuracy are lost, and what it saves is measured on the other half.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.convert.calibration import Calibration
from edgespike.errors import DataError, UsageError
from edgespike.graph import EarlyExit, Graph, SelfTest, SpikeInput
from edgespike.modelfile import self_test_events
from edgespike.reference import ReferenceNetwork
from edgespike.session import InferenceSession, Result

__all__ = ["ExitReport", "with_early_exit"]

FEWEST = 40  # samples
FIRST_LOOKS = 4  # that are tried: with more, one is found that fits these samples by chance
MARGINS = 400
COUNTED = 5  # samples lost that say how many of others will be
LEAST_LOSS = 0.05  # samples: what is meant by losing none

Progress = Callable[[float], None]


@dataclass(frozen=True)
class ExitReport:
    """Early exit, measured on ``samples`` that had no part in choosing it (``chosen_on`` others).

    ``points``: the loss that was allowed. ``accuracy_full`` and ``accuracy``: without and with it.
    ``ticks_full`` and ``ticks``: of a sample, on average. ``work``: share of the synaptic
    operations that is left. ``margin``, ``every``, ``first``: see `edgespike.graph.EarlyExit`;
    all 0 where no margin keeps the loss small.
    """

    points: float
    margin: int
    every: int
    first: int
    chosen_on: int
    samples: int
    accuracy_full: float
    accuracy: float
    ticks_full: float
    ticks: float
    work: float

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know."""
        lost = 100 * (self.accuracy_full - self.accuracy)
        if not self.margin:
            return (f"no early exit loses at most {self.points:g} points: the model has none",)
        if lost > self.points + 1e-9:
            return (
                f"early exit lost {lost:.2f} points on {self.samples} samples that it was not chosen on, "
                f"more than {self.points:g}: give more samples",
            )
        return ()


def with_early_exit(
    graph: Graph, calibration: Calibration, points: float, progress: Progress | None = None
) -> tuple[Graph, ExitReport]:
    """The graph with early exit, as much of it as costs no more than so many points of accuracy.

    Args:
        graph: takes events over time: a spike input, or event counts of several slices.
        calibration: samples as the network takes them, with labels.
        points: percentage points of accuracy that may be lost.
        progress: called with the share of the work that is done.

    Raises:
        UsageError: the network's input has no time, or points make no sense.
        DataError: there are no labels, or too few samples.
    """
    if not 0 <= points < 100:
        raise UsageError(f"early exit for {points:g} points of accuracy", "give 0 to 100, such as 0.2")
    if calibration.y is None:
        raise DataError(
            "early exit needs labels: it is chosen by what it costs in accuracy",
            "add y to the calibration data",
            "label-missing",
        )
    if len(calibration.x) < FEWEST:
        raise DataError(
            f"{len(calibration.x)} samples are too few to choose an early exit and to measure it",
            f"give at least {FEWEST}, better some thousand",
            "calibration-few",
        )
    every = look_every(graph)
    samples = calibration.x.reshape(len(calibration.x), *sample_shape(graph, calibration.x))
    tell = progress or (lambda share: None)
    order = np.random.default_rng(0).permutation(len(calibration.x))
    half = len(order) // 2
    chosen, held_out = order[:half], order[half:]
    paths = Paths.follow(graph, samples[chosen], every, lambda share: tell(0.6 * share))
    rule = choose(paths, calibration.y[chosen], points, every)
    exiting = placed(graph, rule)
    x, y = samples[held_out], calibration.y[held_out]
    full, full_work = run(graph, x)
    tell(0.8)
    early, work = run(exiting, x) if rule else (full, full_work)
    report = ExitReport(
        points=points,
        margin=rule.margin if rule else 0,
        every=rule.every if rule else 0,
        first=rule.first if rule else 0,
        chosen_on=len(chosen),
        samples=len(held_out),
        accuracy_full=right(full, y),
        accuracy=right(early, y),
        ticks_full=mean_ticks(graph, full),
        ticks=mean_ticks(graph, early),
        work=work / full_work if full_work else 1.0,
    )
    kept = exiting.metadata.get("conversion") or {}
    metadata = {**exiting.metadata, "conversion": {**kept, "early_exit": asdict(report)}}
    tell(1.0)
    return replace(exiting, metadata=metadata), report


def look_every(graph: Graph) -> int:
    """Ticks from one look at the scores to the next: a tick, or a slice of counted events."""
    counts = graph.input.event_counts
    if counts is not None and counts.slices > 1:
        return counts.slice_ticks
    if counts is None and isinstance(graph.populations[0].neuron, SpikeInput):
        return 1
    raise UsageError(
        "early exit is for networks that take events over time",
        "spiking networks, or ONNX networks with --sensor and --slices above 1",
    )


def placed(graph: Graph, rule: EarlyExit | None) -> Graph:
    """The graph with a rule, and what its self-test gives then."""
    graph = replace(graph, input=replace(graph.input, early_exit=rule))
    if graph.self_test is None:
        return graph
    events = self_test_events(graph, graph.self_test.events)
    reference = ReferenceNetwork(graph)
    reference.push(events)
    reference.finish()
    digest = zlib.crc32(reference.output().astype("<i4").tobytes())
    return replace(graph, self_test=SelfTest(events, digest))


def run(graph: Graph, x: NDArray[Any]) -> tuple[list[Result], int]:
    """Results of samples, and the synaptic operations that they took."""
    session = InferenceSession(graph)
    results = list(session.iterate(x))
    return results, int(session.stats()["synops"])


def sample_shape(graph: Graph, x: NDArray[Any]) -> tuple[int, ...]:
    """That of one sample, as the network takes it."""
    time = x.shape[1:2] if isinstance(graph.populations[0].neuron, SpikeInput) else ()
    return (*time, *graph.metadata["input"]["shape"])


def mean_ticks(graph: Graph, results: list[Result]) -> float:
    """Ticks of a sample; counted events take a whole window unless they are decided before."""
    whole = graph.input.window_ticks if graph.input.event_counts else 0
    return float(np.mean([result.ticks if result.early or not whole else whole for result in results]))


def right(results: list[Result], y: NDArray[Any]) -> float:
    """Share of right answers."""
    return float(np.mean([result.label for result in results] == y))


# ---- choosing ---------------------------------------------------------------


@dataclass(frozen=True)
class Paths:
    """What a network would say of samples at each look: arrays (samples, looks).

    The last look is at the end, and decides by any margin. A sample that ends before the
    last look of the longest one keeps its last answer.
    """

    label: NDArray[np.int64]
    margin: NDArray[np.int64]

    @classmethod
    def follow(cls, graph: Graph, x: NDArray[Any], every: int, tell: Progress) -> Paths:
        """Runs samples one by one, and looks."""
        session = InferenceSession(graph)
        has_time = isinstance(graph.populations[0].neuron, SpikeInput)
        ticks = x.shape[1] if has_time else graph.input.window_ticks
        labels, margins = [], []
        for number, sample in enumerate(x):
            session.reset()
            events = session.sample_events(sample)
            looks = []
            for tick in range(every, ticks, every):
                session.backend.push(events[(events["tick"] >= tick - every) & (events["tick"] < tick)])
                session.backend.advance(tick)
                looks.append(session.backend.output().astype(np.int64))
            session.backend.push(events[events["tick"] >= len(looks) * every])
            session.backend.advance(ticks - 1)
            session.backend.finish()
            looks.append(session.backend.output().astype(np.int64))
            scores = np.array(looks)
            labels.append(scores.argmax(axis=1))
            second, best = np.sort(scores, axis=1)[:, -2:].T
            margins.append(best - second)
            tell((number + 1) / len(x))
        return cls(np.array(labels), np.array(margins))


def choose(paths: Paths, y: NDArray[Any], points: float, every: int) -> EarlyExit | None:
    """The rule that takes the fewest ticks of those that lose at most so many points.

    A sample that early exit gets wrong counts as lost, also where another one is won.
    """
    samples, looks = paths.margin.shape
    rows = np.arange(samples)
    was_right = paths.label[:, -1] == y
    best: EarlyExit | None = None
    fewest = float(looks)
    for first in np.unique(np.linspace(1, max(1, looks - 1), FIRST_LOOKS).astype(int)):
        reached = np.maximum.accumulate(paths.margin[:, first - 1 : looks - 1], axis=1)
        if not reached.size:
            continue
        margins = candidates(reached)
        lost, ticks = np.zeros(len(margins)), np.zeros(len(margins))
        for number, margin in enumerate(margins):
            ahead = reached >= margin
            at = np.where(ahead.any(axis=1), first - 1 + ahead.argmax(axis=1), looks - 1)
            lost[number] = np.count_nonzero(was_right & (paths.label[rows, at] != y))
            ticks[number] = at.mean() + 1
        safe = (lost <= int(points / 100 * samples + 1e-9)) & (
            margins >= least_margin(margins, lost, points / 100 * samples)
        )
        if safe.any() and ticks[safe].min() < fewest:
            fewest = float(ticks[safe].min())
            best = EarlyExit(int(margins[safe][ticks[safe].argmin()]), every, int(first))
    return best


def least_margin(margins: NDArray[np.int64], lost: NDArray[np.float64], allowed: float) -> float:
    """The margin beyond which no more than ``allowed`` samples should be lost in others of the same kind.

    That few samples lose none says little of others. What larger margins lose is taken to fall
    exponentially, as fast as it does between two margins at which enough are lost to be counted
    on: one that still loses `COUNTED`, and one that loses four times as many, or as many as any.
    As that is no more than an estimate, it is to lose half of what is allowed.
    """
    counted = np.flatnonzero(lost >= COUNTED)
    if not len(counted):
        return 0.0
    last = counted[-1]
    before = np.flatnonzero(lost[: last + 1] >= min(4 * lost[last], lost[: last + 1].max()))[-1]
    if lost[last] <= allowed:
        return 0.0
    if lost[before] <= lost[last]:
        return float(margins[last])
    scale = (margins[last] - margins[before]) / np.log(lost[before] / lost[last])
    return float(margins[last] + scale * np.log(lost[last] / max(allowed / 2, LEAST_LOSS)))


def candidates(reached: NDArray[np.int64]) -> NDArray[np.int64]:
    """Margins to try, 1 or more."""
    values = np.unique(reached[(reached >= 1) & (reached < 1 << 32)])
    if len(values) <= MARGINS:
        return values
    return np.asarray(values[np.linspace(0, len(values) - 1, MARGINS).astype(int)])
