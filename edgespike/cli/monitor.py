"""What is known of a stream that runs: one state for the live view, the web page, and ``--json``."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.cli.output import percentiles_ms
from edgespike.cli.player import Answer, Player
from edgespike.cli.samples import class_name
from edgespike.events import CAUSES, EVENT
from edgespike.link import LinkStatistics
from edgespike.session import InferenceSession
from edgespike.sources import Source, SourceCounts

__all__ = ["ClassState", "Flow", "Monitor", "State"]

SHOWN_US = 50_000  # the picture has the events of so long
SPAN_S = 2.0  # rates and load are those of so long
STEP_S = 0.1  # they are looked at this often, at most
RECENT = 200  # results of which the views tell delays
HISTORY = 60  # results whose scores are kept for the views
CLASSES = 10  # shown at most
DELAYS = 100_000  # results of which the summary tells delays
SECONDS = 120  # shown of what is told of every second


@dataclass(frozen=True)
class ClassState:
    """A class: its score in the last result, and its ``share`` of the way from the lowest to the highest.

    ``history``: the shares of the results before, oldest first, and of this one.
    """

    name: str
    score: int
    share: float
    best: bool
    history: list[float]


@dataclass(frozen=True)
class Flow:
    """Events that came (``in``), went to the network (``sent``), or were lost for the cause ``name``.

    ``count`` in all, ``rate`` a second, lately.
    """

    name: str
    count: int
    rate: float


@dataclass(frozen=True)
class State:
    """What both views show. Delays in milliseconds, ``load`` a share of the time, None where unknown.

    ``classes``: in their order, but the best ones, best first, where they are too many. ``last``:
    the last result as ``--json`` tells it. ``before``: classes of the results before it, the latest
    first. ``events``: the last ``SHOWN_US`` of them, of a sensor ``(width, height)``. ``timeline``:
    for every second the time, the rates in, sent and lost, the delays p50 and p95, and the load.
    """

    title: str
    seconds: float
    results: int
    accuracy: float | None
    classes: list[ClassState]
    last: dict[str, Any] | None
    before: list[str]
    window_ticks: int
    flows: list[Flow]
    delay_ms: dict[str, float] | None
    load: float | None
    source: SourceCounts | None
    link: LinkStatistics | None
    sensor: tuple[int, int]
    events: NDArray[Any]
    timeline: list[tuple[float | None, ...]]


class Monitor:
    """Watches a player and its answers.

    One thread feeds it (``add``, and the player); others may ask for its ``state``.

    Args:
        session: the network.
        player: plays to it.
        title: model, backend, source.
        source: a live source, if it is one.
        removed: tells how many events filters took away, by cause.
        sensor: how samples are encoded, if they are, as JSON values.
    """

    def __init__(
        self,
        session: InferenceSession,
        player: Player,
        title: str = "",
        source: Source | None = None,
        removed: Callable[[], Mapping[str, int]] = dict,
        sensor: dict[str, Any] | None = None,
    ) -> None:
        self.session, self.player, self.title, self.source = session, player, title, source
        self.removed, self.sensor = removed, sensor
        self.results = self.labelled = self.right = 0
        self._begun = time.perf_counter()
        self._delays: deque[float] = deque(maxlen=DELAYS)
        self._last: dict[str, Any] | None = None
        self._labels: deque[int] = deque(maxlen=HISTORY)
        self._scores: deque[NDArray[Any]] = deque(maxlen=HISTORY)
        self._busy: deque[tuple[float, float]] = deque([(self._begun, 0.0)])  # when, and busy until then
        self._picture: deque[tuple[int, NDArray[Any]]] = deque()  # pieces, and when they end
        self._now_us = self._ahead_us = 0  # of the picture; more than the times of the present recording
        self._counted: deque[tuple[float, dict[str, int]]] = deque()
        self._timeline: deque[tuple[float | None, ...]] = deque(maxlen=SECONDS)
        self._lock = threading.Lock()  # what the stream tells
        self._asking = threading.Lock()  # what is kept of earlier states
        player.on_events = self._see

    # ---- what happens

    def add(self, answer: Answer) -> dict[str, Any]:
        """Counts an answer, and gives it as JSON values."""
        line = self._describe(answer)
        with self._lock:
            self.results += 1
            self.labelled += answer.recording.label is not None
            self.right += answer.recording.label == answer.result.label
            if answer.delay_s is not None:
                self._delays.append(answer.delay_s)
            self._last = line
            self._labels.append(answer.result.label)
            self._scores.append(answer.result.scores)
            if self.player.busy_s is not None:
                self._busy.append((time.perf_counter(), self.player.busy_s))
                _forget(self._busy, self._busy[-1][0] - SPAN_S)
        return line

    def _see(self, events: NDArray[Any]) -> None:
        """Events on their way to the network."""
        if not len(events):
            return
        with self._lock:
            first, last = int(events["t"][0]), int(events["t"][-1])
            if first + self._ahead_us < self._now_us:  # another recording
                self._ahead_us = self._now_us - first
            self._now_us = last + self._ahead_us
            self._picture.append((self._now_us, events))
            while self._picture[0][0] <= self._now_us - SHOWN_US:
                self._picture.popleft()

    def _describe(self, answer: Answer) -> dict[str, Any]:
        result = answer.result
        return {
            "type": "result",
            "recording": answer.recording.name,
            "time_us": result.time_us,
            "label": result.label,
            "class": class_name(self.session, result.label),
            "expected": answer.recording.label,
            "margin": result.margin,
            "scores": result.scores.tolist(),
            "events": result.events,
            "lost": result.lost,
            "ticks": result.ticks,
            "early": result.early,
            "delay_ms": None if answer.delay_s is None else 1e3 * answer.delay_s,
        }

    # ---- what is said of it

    @property
    def seconds(self) -> float:
        """Since the stream began."""
        return time.perf_counter() - self._begun

    @property
    def accuracy(self) -> float | None:
        """Share of right answers to labelled recordings."""
        return self.right / self.labelled if self.labelled else None

    def summary(self) -> dict[str, Any]:
        """The end, as JSON values."""
        seconds, player, source, link = self.seconds, self.player, self.source, self.player.link()
        removed, delays = self.removed(), list(self._delays)
        return {
            "type": "summary",
            "results": self.results,
            "accuracy": self.accuracy,
            "seconds": seconds,
            "behind_s": player.behind_s,
            "events": player.sent,
            "events_per_second": player.sent / seconds,
            "delay_ms": percentiles_ms(delays, (50, 90, 95, 99)) if delays else None,
            "load": None if player.busy_s is None else player.busy_s / seconds,
            "source": source and {"name": source.name, **asdict(source.counts), "outside": player.outside},
            "sensor": self.sensor,
            "filtered": {cause: removed.get(cause, 0) for cause in CAUSES},
            "link": link and asdict(link),
        }

    def state(self) -> State:
        """What is known now."""
        with self._lock:  # not for long: the stream waits
            results, accuracy, last = self.results, self.accuracy, self._last
            labels, scores = list(self._labels), list(self._scores)
            recent, busy = list(self._delays)[-RECENT:], (self._busy[0], self._busy[-1])
            pieces = [events for _, events in self._picture]
        height, width, _ = self.session.graph.populations[0].shape
        delay_ms = percentiles_ms(recent, (50, 95)) if recent else None
        load = None if self.player.busy_s is None else _share(*busy)
        with self._asking:
            flows = self._flows(self._counts())
            self._mark(flows, delay_ms, load)
            timeline = list(self._timeline)
        return State(
            title=self.title,
            seconds=self.seconds,
            results=results,
            accuracy=accuracy,
            classes=self._classes(scores, labels),
            last=last,
            before=[class_name(self.session, label) for label in labels[-2::-1]],
            window_ticks=self.session.graph.input.window_ticks,
            flows=flows,
            delay_ms=delay_ms,
            load=load,
            source=self.source.counts if self.source else None,
            link=self.player.link(),
            sensor=(width, height),
            events=np.concatenate(pieces) if pieces else np.zeros(0, EVENT),
            timeline=timeline,
        )

    def _counts(self) -> dict[str, int]:
        """Events by what became of them, as far as that can happen here; times do not matter."""
        player, link, counts = self.player, self.player.link(), {}
        removed = {name: count for name, count in self.removed().items() if count}
        late = link.lost_at_sender if link else 0
        if self.source:
            counts["too old"] = self.source.counts.dropped
            counts["off sensor"] = player.outside
        counts |= removed
        if link:
            counts |= {"too late": late, "link lost": link.lost_on_link, "rejected": link.rejected}
        came = self.source.counts.events if self.source else player.sent + sum(removed.values())
        return {"in": came, "sent": player.sent - late, **counts}

    def _flows(self, counts: dict[str, int]) -> list[Flow]:
        """Counts, and how they grew lately."""
        now = time.perf_counter()
        if not self._counted or now > self._counted[-1][0] + STEP_S:
            self._counted.append((now, counts))
            _forget(self._counted, now - SPAN_S)
        then, before = self._counted[0]
        seconds = max(now - then, STEP_S)
        return [
            Flow(name, count, max(0, count - before.get(name, 0)) / seconds) for name, count in counts.items()
        ]

    def _classes(self, history: list[NDArray[Any]], labels: list[int]) -> list[ClassState]:
        if not history:
            return []
        scores = np.array(history, np.float64)
        low = scores.min(axis=1, keepdims=True)
        shares = (scores - low) / np.maximum(scores.max(axis=1, keepdims=True) - low, 1.0)
        last = history[-1]
        shown = list(range(len(last)))
        if len(last) > CLASSES:
            shown = np.argsort(-last.astype(np.int64), kind="stable")[:CLASSES].tolist()
        return [
            ClassState(
                class_name(self.session, label),
                int(last[label]),
                float(shares[-1, label]),
                label == labels[-1],
                shares[:, label].round(3).tolist(),
            )
            for label in shown
        ]

    def _mark(self, flows: list[Flow], delay_ms: dict[str, float] | None, load: float | None) -> None:
        """Keeps a line of every second."""
        second = self.seconds
        if int(second) == int((self._timeline and self._timeline[-1][0]) or 0):
            return
        came, sent, *lost = (flow.rate for flow in flows)
        p50, p95 = (delay_ms["p50"], delay_ms["p95"]) if delay_ms else (None, None)
        self._timeline.append((second, came, sent, sum(lost), p50, p95, load))


def _share(first: tuple[float, float], last: tuple[float, float]) -> float | None:
    """Share of the time that the network computed between two results."""
    (then, before), (now, busy) = first, last
    return min(1.0, (busy - before) / (now - then)) if now > then else None


def _forget(samples: deque[Any], before: float) -> None:
    """Leave out samples, whose first item is their time, but for one from before a time."""
    while len(samples) > 2 and samples[1][0] < before:
        samples.popleft()
