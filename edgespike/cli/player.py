"""Gives recordings, at their own pace, or what a live source sends to a network here or on a board."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgespike.cli.failure import about
from edgespike.cli.samples import Sample
from edgespike.errors import DataError
from edgespike.events import rebase
from edgespike.journal import BEGIN, END, READ, SEND, JournalWriter
from edgespike.link import DeviceClient, DeviceResult, LinkStatistics, Mode, Reason
from edgespike.session import InferenceSession, Result
from edgespike.sources import Source

__all__ = ["Answer", "Player"]

STEP_S = 0.002  # at a pace, events go out in pieces of this length
FRAME_BYTES, FRAME_SHARE = 26, 0.1  # or longer ones, where their frames would take more of a serial line
PIECE_US, PIECE_EVENTS = 10_000, 2000  # without a pace, pieces are at least so long or have so many events
BACKLOG_S = 0.06  # a live stream has no more than this on a serial line: what waits there cannot be dropped
LATE_S = 0.1  # a live stream drops what cannot go out within this time, others fall behind their pace
SWITCH_S = 0.0005  # a stream waits no longer than this for threads that load recordings or draw views
READS = 8  # results that a board may owe; more would only make them old
REMEMBERED = 1000  # recordings whose answers may still come

Reply = tuple[int, Result]  # number of the recording, what the network said


@dataclass(frozen=True)
class Answer:
    """A classification. ``delay_s``: seconds after its time; None where there is no pace.

    ``number``: of the recording, or of the part of a live stream, since the player began.
    """

    recording: Sample
    result: Result
    delay_s: float | None
    number: int


class Player:
    """Plays to one network. ``sent``: events given to it; ``outside``: left out, not on its sensor.

    ``behind_s``: seconds that recordings began later than at their pace, to wait for a slow board.

    A recording, which begins at the network's initial state, gives a result at the end of each
    complete window. One that is shorter than a window, or for a network without windows, gives
    one at its end.

    Args:
        session: the network.
        speed: of recordings; 1 is real time; infinity does not wait.
        live: a board is not waited for; what it gets too late is dropped and counted.
        journal: keeps what the network is given.
    """

    def __init__(
        self,
        session: InferenceSession,
        speed: float,
        live: bool = False,
        journal: JournalWriter | None = None,
    ) -> None:
        sys.setswitchinterval(SWITCH_S)
        self.session = session
        self.speed = speed
        self.paced = math.isfinite(speed)
        self.live = live
        self.sent = self.outside = 0
        self.behind_s = 0.0
        self.on_events: Callable[[NDArray[Any]], None] = lambda events: None  # on their way
        board = session.backend
        self.lane: Lane = HereLane(session)
        if isinstance(board, DeviceClient):
            self.lane = BoardLane(session, board, live)
        if journal:
            self.lane = JournalLane(self.lane, journal)
        self._begun: dict[int, tuple[Sample, float]] = {}  # recordings and when they began

    def play(self, recordings: Iterable[Sample]) -> Iterator[Answer]:
        """Answers as they come.

        Raises:
            DataError: naming the recording that cannot be used.
        """
        start = time.perf_counter()
        ahead = _Ahead(recordings)
        for number, (recording, load) in enumerate(ahead):
            events = rebase(load())
            late = time.perf_counter() - start
            if not self.live and (late > LATE_S or not self.paced):  # wait; a live source does not
                start += late
                self.behind_s += late if self.paced else 0.0
            self._begun[number] = recording, start
            self._begun.pop(number - REMEMBERED, None)
            with about(recording.name, DataError):
                yield from self._play_one(number, events, start, ahead)
            start += duration_us(events) / 1e6 / self.speed
        yield from self._answers(self.lane.drain())

    def listen(
        self,
        source: Source,
        given: Iterable[tuple[NDArray[Any], int]],
        every_us: int,
        seconds: float,
    ) -> Iterator[Answer]:
        """Answers to a live source as they come, until it ends or for so many seconds.

        Args:
            given: what comes from it, filtered or encoded: events, and the time until which they are all.
            every_us: 0: an answer for each window of the network. Else one for each such time,
                from the network's initial state.
        """
        until_host = time.perf_counter() + seconds
        recording = Sample(source.name, None, lambda: source.read(0))
        number, base = 0, 0
        self.lane.begin(0)
        for events, known in given:
            begun = time.perf_counter() if source.epoch is None else source.epoch
            self._begun[number] = recording, begun + base / 1e6 / self.speed
            while every_us and known >= base + every_us:
                end = int(np.searchsorted(events["t"], base + every_us))
                yield from self._give(events[:end], base, base + every_us)
                yield from self._answers(self.lane.end())
                events, base, number = events[end:], base + every_us, number + 1
                self._begun[number] = recording, begun + base / 1e6 / self.speed
                self._begun.pop(number - REMEMBERED, None)
                self.lane.begin(number)
            yield from self._give(events, base, known)
            if time.perf_counter() > until_host:
                break
        if self.sent and not every_us:
            yield from self._answers(self.lane.end())
        yield from self._answers(self.lane.drain())

    def slide(
        self,
        source: Source,
        updates: Iterable[list[tuple[int, NDArray[Any]]]],
        seconds: float,
    ) -> Iterator[Answer]:
        """Answers to a sensor whose newest samples the network sees, until it ends or for so many seconds.

        Args:
            updates: for each answer its time, and the changes of input levels before it, as they come.
        """
        until_host = time.perf_counter() + seconds
        recording = Sample(source.name, None, lambda: source.read(0))
        self.lane.begin(0)
        for due in updates:
            self._begun[0] = recording, time.perf_counter() if source.epoch is None else source.epoch
            for time_us, changes in due:
                self.sent += len(changes)
                self.on_events(changes)
                # The tick of the changes closes; until the next ones nothing happens.
                yield from self._answers(self.lane.send(changes, time_us + 1, time.perf_counter()))
                yield from self._answers(self.lane.read())
            if time.perf_counter() > until_host:
                break
        yield from self._answers(self.lane.drain())

    def _give(self, events: NDArray[Any], base: int, until: int) -> Iterator[Answer]:
        inside = self.session.is_inside(events)
        self.outside += len(events) - int(inside.sum())
        events = events[inside]
        events["t"] -= base
        self.sent += len(events)
        self.on_events(events)
        yield from self._answers(self.lane.send(events, until - base, time.perf_counter()))

    @property
    def busy_s(self) -> float | None:
        """Seconds that the network has computed, as far as results have told; None: a board without clock."""
        return self.lane.busy_s

    def link(self) -> LinkStatistics | None:
        """How the link to a board does."""
        board = self.session.backend
        return board.statistics() if isinstance(board, DeviceClient) else None

    def _play_one(self, number: int, events: NDArray[Any], start: float, ahead: _Ahead) -> Iterator[Answer]:
        self.lane.begin(number)
        first, half_us = 0, duration_us(events) // 2
        for until, last in self._pieces(events):
            due = start + until / 1e6 / self.speed if self.paced else time.perf_counter()
            yield from self._wait(due)
            self.sent += last - first
            self.on_events(events[first:last])
            yield from self._answers(self.lane.send(events[first:last], until, due))
            first = last
            if self.paced and until > half_us:  # not when results come that may not wait
                ahead.prepare()
        yield from self._answers(self.lane.end())

    def _pieces(self, events: NDArray[Any]) -> Iterator[tuple[int, int]]:
        """Where a recording is cut, at the ends of windows too: times, and numbers of events until then."""
        end_us, window_us = duration_us(events), self.session.window_us
        step_us = max(PIECE_US, end_us * PIECE_EVENTS // max(len(events), 1))
        if self.paced:
            step_us = max(1, round(1e6 * self.lane.step_s * self.speed))
        cuts = set(range(step_us, end_us, step_us))
        if window_us and self.paced:
            cuts.update(range(window_us, end_us, window_us))
        times = np.array(sorted(cuts | {end_us}), np.int64)
        counts = np.searchsorted(np.ascontiguousarray(events["t"]), times)
        yield from zip(times.tolist(), counts.tolist(), strict=True)

    def _wait(self, due: float) -> Iterator[Answer]:
        """Answers, as they come, until it is time to go on."""
        while True:
            yield from self._answers(self.lane.wait(due))
            if time.perf_counter() >= due:
                return

    def _answers(self, replies: list[Reply]) -> Iterator[Answer]:
        for number, result in replies:
            recording, start = self._begun[number]
            delay = time.perf_counter() - start - result.time_us / 1e6 / self.speed
            yield Answer(recording, result, max(0.0, delay) if self.paced else None, number)


class _Ahead:
    """Recordings, the next of which can be loaded while one is played."""

    def __init__(self, recordings: Iterable[Sample]) -> None:
        self._recordings = iter(recordings)
        self._loader = ThreadPoolExecutor(1)
        self._next: tuple[Sample, Callable[[], NDArray[Any]]] | None = None

    def prepare(self) -> None:
        """Begin to load the next one in another thread."""
        if self._next is None and (recording := next(self._recordings, None)):
            self._next = recording, self._loader.submit(recording.load).result

    def __iter__(self) -> Iterator[tuple[Sample, Callable[[], NDArray[Any]]]]:
        """Recordings, and how to get their events."""
        with self._loader:
            for recording in self._recordings:
                self._next = recording, recording.load
                while self._next:
                    prepared, self._next = self._next, None
                    yield prepared


def duration_us(events: NDArray[Any]) -> int:
    """How long a recording is that begins at 0."""
    return int(events["t"][-1]) + 1 if len(events) else 0


# ---- where the network runs -------------------------------------------------


class Lane(Protocol):
    """The way to a network. Every call returns what has come back since the last one; ``wait``, as soon
    as something has, or when it is time.

    ``busy_s``: seconds that the network has computed; None: unknown. ``step_s``: how long the pieces
    of a stream shall be that are sent together.
    """

    step_s: float

    @property
    def busy_s(self) -> float | None: ...
    def begin(self, number: int) -> None: ...
    def wait(self, due: float) -> list[Reply]: ...
    def send(self, events: NDArray[Any], until_us: int, due: float) -> list[Reply]: ...
    def read(self) -> list[Reply]: ...
    def end(self) -> list[Reply]: ...
    def drain(self) -> list[Reply]: ...


class HereLane:
    """A network in this process: it answers at once."""

    def __init__(self, session: InferenceSession) -> None:
        self.session = session
        self.number = 0
        self.answered = False
        self.busy_s = 0.0
        self.step_s = STEP_S

    def begin(self, number: int) -> None:
        self.session.reset()
        self.number, self.answered = number, False

    def wait(self, due: float) -> list[Reply]:
        time.sleep(max(0.0, due - time.perf_counter()))
        return []

    def send(self, events: NDArray[Any], until_us: int, due: float) -> list[Reply]:
        begin = time.perf_counter()
        results = self.session.push(events) + self.session.advance(until_us)
        self.busy_s += time.perf_counter() - begin
        self.answered |= bool(results)
        return [(self.number, result) for result in results]

    def read(self) -> list[Reply]:
        return [(self.number, self.session.read())]

    def end(self) -> list[Reply]:
        return [] if self.answered else [(self.number, self.session.finish())]

    def drain(self) -> list[Reply]:
        return []


class BoardLane:
    """A board: what is sent and what comes back overtake each other."""

    def __init__(self, session: InferenceSession, client: DeviceClient, live: bool) -> None:
        self.session, self.client = session, client
        self.live = live
        self.number = 0
        self.end_us: dict[int, int] = {}  # of recordings: how long they are so far
        self.reads: deque[int] = deque()  # times of the results that were asked for
        self.read_before: tuple[int, int] = 0, 0  # events, and microseconds of computing, that they have told
        self.busy_s = 0.0 if client.info.measures_time else None
        self.step_s = STEP_S
        if client.baud:
            self.step_s = max(STEP_S, FRAME_BYTES * 10 / client.baud / FRAME_SHARE)
        backlog = round(BACKLOG_S * client.baud / 10) if client.baud else None
        self.client.start(Mode.LIVE if live else Mode.LOSSLESS, backlog=backlog)

    def begin(self, number: int) -> None:
        # The end of a sample has begun the next one, and samples count from 0 as recordings do.
        self.number = number
        self.end_us[number] = 0
        self.end_us.pop(number - REMEMBERED, None)

    def wait(self, due: float) -> list[Reply]:
        replies = self._poll(0.0)
        while not replies and (left := due - time.perf_counter()) > 0:
            replies = self._poll(left)
        return replies

    def send(self, events: NDArray[Any], until_us: int, due: float) -> list[Reply]:
        rest = self.session.core_events(events)
        replies: list[Reply] = []
        while len(rest := rest[self.client.send_events(rest) :]):
            if self.live and time.perf_counter() > due + LATE_S:
                self.client.discard(rest)
                break
            replies += self._poll(0.005)
        window_us = self.session.window_us
        if window_us and until_us // window_us > self.end_us[self.number] // window_us:
            self.client.send_advance(until_us // self.session.tick_us)  # a window ends, event or not
        self.end_us[self.number] = until_us
        return replies + self._poll(0.0)

    def read(self) -> list[Reply]:
        self.client.send_advance(self.end_us[self.number] // self.session.tick_us % (1 << 32))
        self.client.send_read()
        self.reads.append(self.end_us[self.number])
        replies = self._poll(0.0)
        while len(self.reads) > READS:
            replies += self._poll(0.005)
        return replies

    def end(self) -> list[Reply]:
        self.client.end_sample()
        return self._poll(0.0)

    def drain(self) -> list[Reply]:
        return self._replies(self.client.drain())

    def _poll(self, timeout: float) -> list[Reply]:
        return self._replies(self.client.poll(timeout))

    def _replies(self, results: list[DeviceResult]) -> list[Reply]:
        replies = []
        for came in results:
            if came.reason == Reason.READ:
                replies.append((came.sample, self._read_result(came)))
                continue
            if self.busy_s is not None:
                self.busy_s += came.compute_us / 1e6
            closed = came.reason == Reason.WINDOW
            if closed or came.window == 0:  # behind a complete window the rest is no answer of its own
                time_us = came.tick * self.session.tick_us if closed else self.end_us[came.sample]
                window_ticks = self.session.graph.input.window_ticks
                result = Result.from_scores(
                    came.scores,
                    time_us,
                    int(closed and window_ticks > 0),
                    came.input_events,
                    came.lost,
                    (came.tick - came.window * window_ticks) & 0xFFFFFFFF,
                    came.early,
                )
                replies.append((came.sample, result))
        return replies

    def _read_result(self, came: DeviceResult) -> Result:
        """Of a network that goes on: the board counts from the sample's begin."""
        events, compute_us = self.read_before
        self.read_before = came.input_events, came.compute_us
        if self.busy_s is not None:
            self.busy_s += (came.compute_us - compute_us) / 1e6
        time_us = self.reads.popleft()
        ticks = time_us // self.session.tick_us
        return Result.from_scores(came.scores, time_us, 0, came.input_events - events, came.lost, ticks)


class JournalLane:
    """Another lane, whose calls are kept in a journal."""

    def __init__(self, lane: Lane, journal: JournalWriter) -> None:
        self.lane, self.journal = lane, journal
        self.step_s = lane.step_s
        self.number = 0

    @property
    def busy_s(self) -> float | None:
        return self.lane.busy_s

    def begin(self, number: int) -> None:
        self.number = number
        self.journal.add(BEGIN, number)
        self.lane.begin(number)

    def wait(self, due: float) -> list[Reply]:
        return self.lane.wait(due)

    def send(self, events: NDArray[Any], until_us: int, due: float) -> list[Reply]:
        self.journal.add(SEND, self.number, until_us, events)
        return self.lane.send(events, until_us, due)

    def read(self) -> list[Reply]:
        self.journal.add(READ, self.number)
        return self.lane.read()

    def end(self) -> list[Reply]:
        self.journal.add(END, self.number)
        return self.lane.end()

    def drain(self) -> list[Reply]:
        return self.lane.drain()
