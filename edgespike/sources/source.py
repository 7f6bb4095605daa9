"""What all live sources have in common: a thread that receives, and a backlog that is bounded."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from edgespike.events import Sensor
from edgespike.sources.clock import SourceClock

PATIENCE_S = 0.2  # what has waited longer is dropped and counted
BACKLOG_EVENTS = 1_000_000  # and what waits beyond so many events
RETRY_S = 0.25  # between two attempts to get back a source that is gone


@dataclass
class SourceCounts:
    """What has come from a source, and what went wrong on the way.

    ``events``: received. ``late``: given a later time, see :class:`SourceClock`. ``restarts``: of
    its clock. ``malformed``: datagrams, bytes or lines that make no sense. ``dropped``: events that
    nobody took in time. ``disconnects`` and ``blind_s``: how often and how long it was gone.
    """

    events: int = 0
    late: int = 0
    restarts: int = 0
    malformed: int = 0
    dropped: int = 0
    disconnects: int = 0
    blind_s: float = 0.0


class Feed(Protocol):
    """One kind of source: opens it and receives pieces of its stream."""

    name: str
    sensor: Sensor | None
    dtype: np.dtype[Any]  # EVENT; of a sensor: fields t and values, see edgespike.sources.samples
    clock_bits: int  # 0: without times, events get the time of their arrival
    waits: bool  # whether the sender waits for us: then nothing is dropped

    def open(self) -> None:
        """Connect. Raises DeviceError, or OSError when the source is not there."""

    def receive(self, timeout: float) -> tuple[NDArray[Any] | None, int]:
        """Events (with the source's own times) and a number of malformed pieces.

        None at the end of the stream. Raises OSError when the source is gone.
        """

    def close(self) -> None:
        """Let go."""


class Source:
    """A live source. A thread receives; ``read`` gives what has come.

    Times are microseconds since the first event and never decrease. Events that have waited for
    too long are dropped and counted, so that what is read is fresh however slow the reader is.

    Args:
        feed: where events come from. It is opened here, so that a source that is not there is
            told at once; when it goes away later, it is opened again until it is back.
        patience: seconds that events may wait to be read.
        speed: microseconds of the source's time that pass in one of this host's.

    Raises:
        DeviceError: the source cannot be opened.
    """

    def __init__(self, feed: Feed, patience: float = PATIENCE_S, speed: float = 1.0) -> None:
        self.name = feed.name
        self.dtype = feed.dtype
        self.waits = feed.waits
        self.counts = SourceCounts()
        self.on_change: Callable[[str], None] = lambda text: None  # called by another thread
        self.epoch: float | None = None  # time.perf_counter() at stream time 0, as the quickest event says
        self._over = False
        self._feed = feed
        self._patience = patience
        self._speed = speed
        self._waiting: deque[tuple[float, NDArray[Any]]] = deque()  # when it came
        self._size = 0
        self._lock = threading.Condition()
        self._closing = False
        self._clock = SourceClock(feed.clock_bits or 64)
        self._error: BaseException | None = None
        feed.open()
        self.sensor = feed.sensor
        self._thread = threading.Thread(target=self._run, name=f"source {feed.name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, timeout: float) -> NDArray[Any]:
        """Events (or samples) that have come; empty when none come for ``timeout`` seconds."""
        with self._lock:
            self._lock.wait_for(lambda: self._waiting or self._over, timeout)
            if self._error is not None and not self._waiting:
                raise self._error
            self._drop_old()
            pieces = [events for _, events in self._waiting]
            self._waiting.clear()
            self._size = 0
            self._lock.notify_all()
        return np.concatenate(pieces) if pieces else np.zeros(0, self.dtype)

    @property
    def ended(self) -> bool:
        """Whether the stream has ended and all of it was read."""
        with self._lock:
            return self._over and not self._waiting and self._error is None

    def now_us(self) -> int:
        """The stream's time now: as much later than its first event as this host's clock says."""
        if self.epoch is None:
            return 0
        return max(self._clock.now, int((time.perf_counter() - self.epoch) * 1e6))

    def close(self) -> None:
        """Stop receiving and let go of the source."""
        self._closing = True
        with self._lock:
            self._lock.notify_all()
        self._thread.join(5.0)
        self._feed.close()

    # ---- the receiving thread

    def _run(self) -> None:
        try:
            while not self._closing and self._step():
                pass
        except BaseException as error:
            self._error = error
        with self._lock:
            self._over = True
            self._lock.notify_all()

    def _step(self) -> bool:
        try:
            events, malformed = self._feed.receive(0.05)
        except OSError:
            self._return_to(self._feed.open)
            return True
        self.counts.malformed += malformed
        if events is None:
            return False
        if len(events):
            self._take(events)
        return True

    def _return_to(self, open_feed: Callable[[], None]) -> None:
        """Wait until a source that is gone is back."""
        gone = time.perf_counter()
        self.on_change(f"{self.name} is gone; it is opened again as soon as it is back")
        self.counts.disconnects += 1
        before = self.counts.blind_s
        self._feed.close()
        while not self._closing:
            time.sleep(RETRY_S)
            self.counts.blind_s = before + time.perf_counter() - gone
            try:
                open_feed()
                self.on_change(f"{self.name} is back; {time.perf_counter() - gone:.1f} s blind")
                return
            except Exception:  # not back yet, for whatever reason
                continue

    def _take(self, events: NDArray[Any]) -> None:
        now, late = time.perf_counter(), self._clock.late
        if self._feed.clock_bits:
            events["t"] = self._clock.convert(events["t"])
        else:
            self._clock.now = int((now - (self.epoch or now)) * 1e6)
            events["t"] = self._clock.now
        start = now - self._clock.now / 1e6 / self._speed
        self.epoch = start if self.epoch is None else min(self.epoch, start)
        self.counts.events += len(events)
        self.counts.late += self._clock.late - late
        self.counts.restarts = self._clock.restarts
        with self._lock:
            self._waiting.append((now, events))
            self._size += len(events)
            self._lock.notify_all()
            if self._feed.waits:
                self._lock.wait_for(lambda: self._size < BACKLOG_EVENTS or self._closing)
            else:
                self._drop_old()

    def _drop_old(self) -> None:
        oldest = time.perf_counter() - self._patience
        while not self._feed.waits and self._waiting:
            came, events = self._waiting[0]
            if came >= oldest and self._size <= BACKLOG_EVENTS:
                break
            self._waiting.popleft()
            self._size -= len(events)
            self.counts.dropped += len(events)
