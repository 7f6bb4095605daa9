"""A stream of events to a board: sequence numbers, credits, probes, results.

Calls that send do not wait; ``step`` sends what may be sent and takes what has come.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike import _link
from edgespike._core import error_of
from edgespike.errors import DeviceError
from edgespike.link.connection import LONGEST_RETRY, Connection
from edgespike.link.messages import (
    Credit,
    DeviceResult,
    ErrorReport,
    Flag,
    Frame,
    FrameType,
    Mode,
    Reason,
    ResultAssembler,
    ResultPart,
)
from edgespike.link.outgoing import Outgoing

PROBE_SECONDS = 1.0  # how often a live stream asks for the round trip time
GREATEST_WINDOW = 1 << 19  # bytes on their way: not half of the sequence numbers, at 26 bytes a frame
_HALF = 1 << 31


class Halted(Exception):
    """The board refused event number ``event`` of a lossless stream (or a frame, ``code`` says why)."""

    def __init__(self, code: int, event: int) -> None:
        super().__init__(code, event)
        self.code = code
        self.event = event


class Stream:
    """One stream at a time over a connection.

    ``event_number``: events sent since the start. ``sample``: number of the open sample.
    ``ready``: results not taken yet, in order. ``round_trips``: seconds, the last 1024.
    ``failure``: why the stream ended before its time; every call says so until the next start.
    ``results_lost``: those that the board overwrote before they came here, and those of samples
    of which nothing reached it. ``unreported``: events of windows whose results are lost.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        connection.on_frame = self._handle
        self.round_trips: deque[float] = deque(maxlen=1024)
        self.sent_again = 0
        self.results_lost = 0
        self.unreported = 0
        self.lost_at_sender = 0
        self._number = 0  # the board has this one, or none
        self._clear(Mode.LOSSLESS, keep=False)
        self.started = False

    def _clear(self, mode: Mode, keep: bool) -> None:
        now = self.connection.clock()
        self.mode = mode
        self.started = True
        self.failure: DeviceError | None = None
        self.outgoing = Outgoing(0, 0, lossless=mode == Mode.LOSSLESS)
        self.event_number = 0
        if not keep:
            self._begin_sample(0)
            self._to_end = 0  # sample whose end comes next
        self.counts = Credit(0, 0, 0, 0, 0, 0, 0)
        self.ready: deque[DeviceResult] = deque()
        self._sent: Counter[tuple[int, int]] = Counter()  # live: events by sample and window, until told of
        self._discarded: Counter[tuple[int, int]] = Counter()
        self._owed = 0  # events that came in earlier windows than they were sent for
        self._assembler = ResultAssembler()
        self._arrived: dict[int, DeviceResult] = {}  # behind a missing one
        self._next_result = 0
        self._skipped = self._sample_skipped = False  # a result is lost since the last one, or END
        self._acknowledged = 0
        self._halted: Halted | None = None
        self._ping: int | None = None  # request number of the PING to be answered
        self._ping_at = self._ping_began = now
        self._ping_pause = self.connection.retry
        self._probe_wanted = False
        self._moved_at = now
        self._asks = False  # when half of the window is used: the board by itself tells less often
        self._ends_with_end = False  # the last frame was END_SAMPLE
        self._tail_lost = False  # the last frame was lost

    def _begin_sample(self, number: int) -> None:
        self.sample = number
        self._window = 0  # of the last tick sent
        self._window_start = 0

    def start(self, mode: Mode, *, keep: bool = False, backlog: int | None = None) -> None:
        """Begin a stream; the network is reset unless `keep`. What was on its way is forgotten.

        Not more than `backlog` bytes of a live stream are on their way at a time.
        """
        info = self.connection.info
        self.started = False
        former, self._number = self._number, self.connection.random.randrange(1, 1 << 32)
        request = struct.pack("<BBHIII", mode, keep, 0, self._number, former, info.model_crc)
        answer = self.connection.request(FrameType.START, request)
        status, boot_epoch = self.connection.parse(struct.Struct("<iI").unpack_from, answer)
        self.connection.check_epoch(boot_epoch)
        if status < 0 and (keep or (info.model_size and error_of(status).code == "no-model")):
            raise self._taken()
        if status < 0:
            raise error_of(status, f"the board at {self.connection.name}")
        self._clear(mode, keep)
        self.outgoing.window = min(info.window, GREATEST_WINDOW)
        if mode == Mode.LIVE and backlog is not None and backlog < info.window:
            self.outgoing.window = backlog
            self._asks = True
        self.outgoing.result_slots = info.result_slots

    def _taken(self) -> DeviceError:
        return DeviceError(
            f"the board at {self.connection.name} has dropped this stream: another program uses the board, "
            "or it restarted",
            "close the other program, upload the model again and start again",
            "taken",
        )

    def forget(self) -> None:
        """There is no stream, and none has failed."""
        self.started = False
        self.failure = None

    def check(self) -> None:
        """Raise what has ended the stream before its time."""
        if self.failure is not None:
            raise DeviceError(self.failure.message, self.failure.hint, self.failure.code)

    # ---- sending

    def add_events(self, events: NDArray[Any]) -> int:
        """Send events (dtype CORE_EVENT) as credits allow now.

        Returns:
            How many were taken. None of them is taken while the board is being asked what
            it has; an event outside the input is not taken, see ``is_outside``.
        """
        self.check()
        room = self.outgoing.room
        if self._ping is not None or self.outgoing.unsent or (room <= 0 and self.outgoing.in_flight):
            return 0
        info = self.connection.info
        some = events[: max(room, info.max_payload) // 2]
        first = (self.outgoing.sequence, self.event_number, self.sample & 0xFFFF)
        window = self._window, self._window_start
        taken = 0
        for frame, count in _link.pack_events(some, info.input_shape, info.max_payload, *first, self._number):
            if len(frame) > room and (taken or self.outgoing.in_flight):
                break
            room -= len(frame)
            taken += count
            self._queue(frame, self._windows_closed(int(some["tick"][taken - 1])))
        self.event_number = (self.event_number + taken) & 0xFFFFFFFF
        if self.mode == Mode.LIVE:
            self._count(self._sent, some[:taken], *window)
        self._ends_with_end = False
        try:
            self._send_due()
        except DeviceError as failure:  # they are taken; the next call says that it ended here
            self.started = False
            self.failure = failure
        return taken

    def is_outside(self, event: np.void) -> bool:
        """Whether an event (of dtype CORE_EVENT) lies outside the input."""
        height, width, channels = self.connection.info.input_shape
        return bool(event["y"] >= height or event["x"] >= width or event["channel"] >= channels)

    def add_control(self, type: FrameType, tick: int = 0) -> None:
        """Send ADVANCE, END_SAMPLE or READ."""
        self.check()
        prefix = struct.pack("<IHHI", self.event_number, self.sample & 0xFFFF, 0, self._number)
        results = self._windows_closed(tick) if type == FrameType.ADVANCE else 1
        self._queue(_link.encode_frame(type, 0, self.outgoing.sequence, tick, prefix), results)
        self._send_due()
        self._ends_with_end = type == FrameType.END_SAMPLE
        if type == FrameType.END_SAMPLE:
            self._begin_sample(self.sample + 1)

    def discard(self, events: NDArray[Any]) -> None:
        """Count events of the open sample that this host drops; their windows' results say so."""
        self._count(self._discarded, events, self._window, self._window_start)
        self.lost_at_sender += len(events)

    def _count(
        self, counts: Counter[tuple[int, int]], events: NDArray[Any], window: int, window_start: int
    ) -> None:
        """Count events of the open sample by window; a late one is of the window that is open then."""
        ticks = self.connection.info.window_ticks
        if not len(events) or not ticks:
            counts[self.sample, window] += len(events)
            return
        ahead = (events["tick"] - np.uint32(window_start)).astype(np.int32).astype(np.int64)  # modulo 2**32
        windows = np.maximum.accumulate(np.maximum(ahead // ticks, 0))
        ends = np.append(np.flatnonzero(np.diff(windows)) + 1, len(events))
        for end, count in zip(ends, np.diff(ends, prepend=0), strict=True):
            counts[self.sample, window + int(windows[end - 1])] += int(count)

    def _windows_closed(self, tick: int) -> int:
        """How many windows end on the way to a tick."""
        ticks = self.connection.info.window_ticks
        ahead = (tick - self._window_start) & 0xFFFFFFFF
        closed = ahead // ticks if ticks and ahead < _HALF else 0
        self._window += closed
        self._window_start = (self._window_start + closed * ticks) & 0xFFFFFFFF
        return closed

    def _queue(self, frame: bytes, results: int) -> None:
        if self.outgoing.empty:
            self._moved_at = self.connection.clock()
        self.outgoing.add(frame, results)

    def _send_due(self) -> None:
        """Send what may be sent now: acknowledgements, frames, a probe."""
        now = self.connection.clock()
        if self._ping is not None:
            if now >= self._ping_at + self._ping_pause:
                self._ping_pause = min(2 * self._ping_pause, max(LONGEST_RETRY, self.connection.retry))
                self._send_ping(now)
            return
        self._acknowledge()
        frames = self.outgoing.take(self._acknowledged)
        if frames:
            self.connection.send(frames, frames.count(0))
        if self._must_probe(now):
            self._ping_began = now
            self._ping_pause = self.connection.retry
            self._send_ping(now)

    def _must_probe(self, now: float) -> bool:
        half_used = self._asks and self.outgoing.in_flight > self.outgoing.window // 2
        if (self._probe_wanted or half_used) and not self.outgoing.unsent:
            return True
        if self.mode == Mode.LOSSLESS:
            waiting = self.outgoing.in_flight > 0 or self.outgoing.results_due > self._next_result
        else:
            waiting = self.outgoing.in_flight > 0
        if waiting and now - self._moved_at > self.connection.retry:
            return True
        return self.mode == Mode.LIVE and waiting and now - self._ping_at > PROBE_SECONDS

    def _send_ping(self, now: float) -> None:
        self._ping = self.connection.next_request()
        self._ping_at = now
        self._acknowledged = self._next_result
        self.connection.send(_link.encode_frame(FrameType.PING, 0, 0, self._ping, self._result_wanted()))

    def _result_wanted(self) -> bytes:
        return struct.pack("<II", self._next_result & 0xFFFFFFFF, self._number)

    def _acknowledge(self) -> None:
        """Let the board forget results, before half of its room for them is used up."""
        if self.started and self._next_result - self._acknowledged >= max(1, self.outgoing.result_slots // 2):
            frame = _link.encode_frame(FrameType.CREDIT, 0, 0, 0, self._result_wanted())
            self.connection.send(frame)
            self.outgoing.weigh(len(frame))
            self._acknowledged = self._next_result

    # ---- receiving

    def step(self, timeout: float) -> None:
        """Send what may be sent; take what comes within `timeout` seconds.

        Raises:
            Halted: the board refused an event of a lossless stream.
            DeviceError: the board is silent for too long, restarted, or is gone.
        """
        self.check()
        try:
            self._exchange(timeout)
        except DeviceError as failure:
            self.started = False
            self.failure = failure
            raise
        if self._halted is not None:
            halted, self._halted = self._halted, None
            self.started = False
            raise halted

    def _exchange(self, timeout: float) -> None:
        self._send_due()
        now = self.connection.clock()
        if self._ping is not None:
            if now - max(self.connection.heard_at, self._ping_began) > self.connection.timeout:
                raise self.connection.silent()
            timeout = min(timeout, max(0.0, self._ping_at + self._ping_pause - now))
        elif self.outgoing.in_flight:
            timeout = min(timeout, self.connection.retry)
        self.connection.receive(timeout)
        if self._halted is None:
            self._send_due()

    def wait(self, done: Callable[[], bool]) -> None:
        """Step until something has happened; ask the board when nothing moves."""
        self._moved_at = self.connection.clock()
        while not done():
            self.step(self.connection.retry)
            if self.connection.clock() - self._moved_at > self.connection.retry:
                self._probe_wanted = True

    def settle(self) -> None:
        """Wait until the board has handled all that was sent, and all its results are here.

        In live mode what was lost stays lost, but for the end of a sample.
        """
        while True:
            self._probe_wanted = True
            self.wait(lambda: not self._probe_wanted and self._ping is None)
            if self._tail_lost and self._ends_with_end:
                self.sample -= 1
                self.add_control(FrameType.END_SAMPLE)
            elif self.outgoing.empty:
                return

    def _handle(self, frame: Frame) -> None:
        if not self.started:
            return  # of an earlier stream
        if frame.type == FrameType.CREDIT:
            self._handle_credit(frame)
        elif frame.type == FrameType.PING and frame.flags & Flag.RESPONSE and frame.word == self._ping:
            self._handle_pong(frame)
        elif frame.type == FrameType.RESULT:
            self._handle_result(frame)
        elif frame.type == FrameType.ERROR:
            self._handle_error(frame)

    def _handle_credit(self, frame: Frame) -> None:
        counts = Credit.parse(frame.payload)
        self.connection.check_epoch(counts.boot_epoch)
        if counts.stream != self._number:
            return
        self.counts = counts
        self._credit(frame.sequence)
        if frame.flags & Flag.GAP:
            self._probe_wanted = True

    def _credit(self, sequence: int) -> None:
        if self.outgoing.credit(sequence):
            self._moved_at = self.connection.clock()

    def _handle_pong(self, frame: Frame) -> None:
        now = self.connection.clock()
        counts = Credit.parse(frame.payload)
        self.connection.check_epoch(counts.boot_epoch)
        if counts.stream != self._number:
            raise self._taken()
        self.counts = counts
        self.round_trips.append(now - self._ping_at)
        self._ping = None
        self._moved_at = now
        before = self.outgoing.sent_again
        self._tail_lost = self.mode == Mode.LIVE and frame.sequence != self.outgoing.sequence
        self.outgoing.settle(frame.sequence)
        self.sent_again += self.outgoing.sent_again - before
        made = (self.counts.next_result - self._next_result) & 0xFFFFFFFF
        if made < _HALF:  # else the answer was overtaken by results that came after it
            self._give_up_results(made - self.outgoing.result_slots)
        # What the board still keeps was sent before this answer, and if missing lost once more.
        self._probe_wanted = self.counts.next_result != self._next_result & 0xFFFFFFFF

    def _give_up_results(self, count: int) -> None:
        """The board has overwritten the oldest results that are missing here; never when lossless."""
        for number in range(self._next_result, self._next_result + count):
            result = self._arrived.pop(number & 0xFFFFFFFF, None)
            if result is None:
                self._assembler.forget(number & 0xFFFFFFFF)
                self.results_lost += 1
                self._skipped = self._sample_skipped = True
            else:
                self._deliver(result)
        self._next_result += max(0, count)
        self._deliver_arrived()

    def _handle_result(self, frame: Frame) -> None:
        part = ResultPart.parse(frame)
        if part.stream != self._number:
            return
        self._credit((frame.sequence + (part.reason != Reason.WINDOW)) & 0xFFFF)
        if (part.number - self._next_result) & 0xFFFFFFFF >= _HALF:
            return  # known
        result = self._assembler.add(part)
        if result is None:
            return
        if part.reason == Reason.WINDOW and not self.connection.info.window_ticks:
            self.outgoing.results_due += 1  # a sample that was decided early: nobody could foresee it
        self._moved_at = self.connection.clock()
        self._arrived[result.number] = result
        self._deliver_arrived()
        if self._arrived:
            self._probe_wanted = True

    def _deliver_arrived(self) -> None:
        while (self._next_result & 0xFFFFFFFF) in self._arrived:
            self._deliver(self._arrived.pop(self._next_result & 0xFFFFFFFF))
            self._next_result += 1

    def _deliver(self, result: DeviceResult) -> None:
        sample = self.sample - ((self.sample - result.sample) & 0xFFFF)
        result = replace(result, sample=sample)
        self.ready.append(result if result.reason == Reason.READ else self._account(result))

    def _account(self, result: DeviceResult) -> DeviceResult:
        """The result with what was lost in its window. The board only says when it noticed."""
        end = result.reason == Reason.END
        before, discarded = _take(self._discarded, result, end)
        result = replace(result, lost_at_sender=before + discarded)
        if self.mode == Mode.LIVE:
            before, sent = _take(self._sent, result, end)
            if self._skipped:
                self.unreported += before
                before = 0
            lost = before + sent + self._owed - result.input_events - result.rejected
            self._owed = min(lost, 0)
            result = replace(result, lost_on_link=max(lost, 0))
        if end:
            if not self._sample_skipped:  # else it is counted already
                self.results_lost += result.sample - self._to_end
            self._to_end, self._sample_skipped = result.sample + 1, False
        self._skipped = False
        return result

    @property
    def awaited(self) -> int:
        """Events of a live stream, of which no result has told yet."""
        return sum(self._sent.values())

    def _handle_error(self, frame: Frame) -> None:
        report = ErrorReport.parse(frame.payload)
        if report.stream != self._number:
            return
        if error_of(report.code).code == "command":  # the board has not this stream any more
            raise self._taken()
        self._halted = Halted(report.code, frame.word)


def _take(counts: Counter[tuple[int, int]], result: DeviceResult, end: bool) -> tuple[int, int]:
    """Take out what is counted before a result's window, and in it (``end``: to the sample's end)."""
    here = result.sample, result.window
    last = result.sample, 1 << 32 if end else result.window
    before = sum(counts.pop(key) for key in [key for key in counts if key < here])
    return before, sum(counts.pop(key) for key in [key for key in counts if key <= last])
