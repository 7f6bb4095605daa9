"""``DeviceClient``: a board at the other end of a port, as a backend and as a stream.

One thread uses a client. Nothing here waits for ever: a board that stays silent longer
than ``timeout`` is a DeviceError. What goes over the line is in docs/link.md.
"""

from __future__ import annotations

import statistics
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike._core import ERRORS, error_of
from edgespike.errors import DataError, EdgespikeError, UsageError
from edgespike.graph import CORE_EVENT
from edgespike.link.baud import change_baud
from edgespike.link.connection import Connection
from edgespike.link.messages import DeviceResult, FrameType, HelloInfo, Mode, SelfTestReport
from edgespike.link.stream import Halted, Stream
from edgespike.link.transports import Transport, open_transport
from edgespike.link.upload import SELF_TEST_SECONDS, Progress, upload_model

_OUTSIDE = next(code for code, row in ERRORS.items() if row[0] == "ES_ERR_RANGE")
_DIGEST = next(code for code, row in ERRORS.items() if row[0] == "ES_ERR_DIGEST")
_STATE = next(code for code, row in ERRORS.items() if row[0] == "ES_ERR_STATE")
_HALF = 1 << 31
_BATCH = 1 << 14  # events that are waited for together
_STATS = struct.Struct("<6Q9I4H")
_STATS_NAMES = ("input_events", "events", "synops", "ticks", "windows", "compute_us")


def connect(
    port: str, baud: int = 921600, *, switch_baud: int | None = None, timeout: float = 15.0
) -> DeviceClient:
    """Open a port (see open_transport) and greet the board there.

    Args:
        port, baud: see open_transport.
        switch_baud: change to this baud afterwards.
        timeout: seconds of silence after which the board counts as gone.

    Raises:
        DeviceError: the port cannot be opened, no board answers there, or it cannot change its baud.
    """
    transport = open_transport(port, baud)
    client = DeviceClient(transport, timeout=timeout)
    try:
        client.hello()
        if switch_baud is not None:
            client.change_baud(switch_baud)
    except BaseException:
        transport.close()
        raise
    return client


@dataclass(frozen=True)
class LinkStatistics:
    """Counts since the client was made; round trip times in microseconds, 0 if unknown.

    ``bad_crc``, ``malformed``, ``too_long``: received frames that were dropped.
    ``sent_again``: frames. ``lost_on_link`` and ``rejected``: events of the present
    stream, as the board last said. ``lost_at_sender``: events dropped by this host.
    ``results_lost``: results that will not come; ``unreported``: events that they would have
    told of. ``awaited``: events of a live stream of which no result has told yet.
    ``in_flight`` of ``window`` bytes are on their way.
    """

    bytes_sent: int
    bytes_received: int
    frames_sent: int
    frames_received: int
    bad_crc: int
    malformed: int
    too_long: int
    sent_again: int
    round_trip_us: int
    round_trip_median_us: int
    lost_on_link: int
    rejected: int
    lost_at_sender: int
    results_lost: int
    unreported: int
    awaited: int
    in_flight: int
    window: int


class DeviceClient:
    """A board.

    It is a backend of InferenceSession: ``reset``, ``push``, ``advance``, ``finish``,
    ``output``, ``stats`` (lossless; each call waits for the board). And it is a stream:
    ``start``, ``send_events``, ``send_advance``, ``send_read``, ``end_sample``, ``discard``,
    ``poll``, ``drain`` (calls that send do not wait). ``reset`` goes from the stream back to the
    backend.

    Args:
        transport: an open byte pipe.
        timeout: seconds of silence after which the board counts as gone.
        retry: seconds without progress after which the board is asked again.
        clock: seconds since some moment.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        timeout: float = 15.0,
        retry: float = 0.25,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = Connection(transport, timeout, retry, clock)
        self._first_baud = transport.baud
        self._stream = Stream(self._connection)
        self._begin_backend()
        self._at_start = False  # the board's network is in its initial state, for a lossless stream

    @property
    def name(self) -> str:
        """The port's name."""
        return self._connection.name

    @property
    def baud(self) -> int | None:
        """Bits per second of the line; None: it has none, like a socket."""
        return self._connection.transport.baud

    @property
    def info(self) -> HelloInfo:
        """What the board last said about itself."""
        return self._connection.info

    def hello(self, patience: float | None = None) -> HelloInfo:
        """Greet the board, patiently: it may just be starting.

        Args:
            patience: seconds of silence to wait, unless the transport's.

        Raises:
            DeviceError: nothing answers, something else does, or a board of another
                major protocol version.
        """
        self._forget_stream()
        return self._connection.hello(patience)

    def _forget_stream(self) -> None:
        self._stream.forget()
        self._at_start = False

    def upload(self, data: bytes, progress: Progress | None = None) -> None:
        """Give the board a model; nothing is sent if it has that model already.

        An upload that was interrupted goes on where it stopped.

        Args:
            data: the bytes of an ``.esg`` file.
            progress: called with bytes uploaded and bytes in all.

        Raises:
            BudgetError: the model does not fit the board.
            ModelError: the board does not accept it.
            DeviceError: the board is gone.
        """
        self._forget_stream()
        upload_model(self._connection, data, progress)

    def self_test(self) -> SelfTestReport:
        """Let the board check the model that it holds, and run the model's golden self-test.

        Afterwards the network is in its initial state. When the test fails, the board holds no
        model any more.

        Raises:
            ModelError: the model is damaged.
            DeviceError: the board holds no model, is too old for this, or is gone.
        """
        self._forget_stream()
        limit = max(SELF_TEST_SECONDS, self._connection.timeout)
        answer = self._connection.request(FrameType.SELF_TEST, b"", limit)
        report = self._connection.parse(SelfTestReport.parse, answer)
        if report.status < 0 and report.status != _DIGEST:
            raise error_of(report.status, f"the board at {self.name}")
        return report

    def change_baud(self, baud: int) -> None:
        """Change the baud of the line; when that fails it keeps the one it has.

        Raises:
            DeviceError: the board or the line cannot do it (code ``baud``), or the board is gone.
            UsageError: the port has no baud.
        """
        self._forget_stream()
        change_baud(self._connection, baud)

    def close(self) -> None:
        """Let go of the port. The board keeps its model, and gets the baud that it started with."""
        transport = self._connection.transport
        if self._first_baud is not None and transport.baud != self._first_baud:
            with suppress(EdgespikeError):
                self._connection.timeout = 0.5
                change_baud(self._connection, self._first_baud)
        transport.close()

    # ---- as a backend

    def _begin_backend(self) -> None:
        self._finished = False
        self._tick = self._window_start = 0  # the open tick, and its window's first
        self._result: DeviceResult | None = None  # its scores are those of the last closed tick
        self._skipping = False  # the open window is decided
        self._ahead = 0  # events that the board was sent, and skipped, before they are pushed here
        self.decided = 0
        self.lost = 0

    def reset(self) -> None:
        """Back to the initial state at tick 0; statistics stay."""
        if not self._at_start or not self._stream.started or self._stream.mode != Mode.LOSSLESS:
            self._stream.start(Mode.LOSSLESS)
        self._begin_backend()
        self._at_start = True

    def _check_open(self) -> None:
        self._stream.check()
        if not self._stream.started or self._stream.mode != Mode.LOSSLESS:
            self.reset()
        if self._finished:
            raise error_of(_STATE)

    def push(self, events: NDArray[Any]) -> tuple[int, bool]:
        """Integrate events (dtype CORE_EVENT) in order; later ticks close earlier ones.

        Returns:
            How many events were taken, and whether a window closed before the next one:
            then read the output and push the rest.

        Raises:
            DataError: an event goes backwards, lies outside, or leaves the value range.
                Those before it have been taken.
        """
        self._check_open()
        if events.dtype != CORE_EVENT or events.ndim != 1:
            raise DataError(
                f"events have dtype {events.dtype} and {events.ndim} dimensions",
                "give a one-dimensional array of dtype CORE_EVENT",
                "event-dtype",
            )
        used = min(self._ahead, len(events))
        self._ahead -= used
        while used < len(events):
            some = events[used : used + _BATCH]
            count = self._events_of_window(some)
            first = self._stream.event_number
            self._take(some[:count], used)
            if self._stream.ready:
                taken = (self._take_decision().next_event - first) & 0xFFFFFFFF
                self._ahead = count - taken
                return used + taken, True
            used += count
            if count < len(some):
                if self._stream.is_outside(events[used]):
                    raise self._refusal(_OUTSIDE, used, events[used])
                if not self._pass_window():
                    return used, True
        return used, False

    def _take_decision(self) -> DeviceResult:
        """The result of a window (or a sample) whose scores have decided it: the board skips the rest."""
        self._result = self._stream.ready.popleft()
        self.decided = (self._result.tick - self._window_start) & 0xFFFFFFFF
        self.lost = self._result.lost
        self._skipping = True
        return self._result

    def _pass_window(self) -> bool:
        """Go on to the next window; False where the open one was not decided: its result has come now."""
        if not self._skipping:
            self._close_window()
            return False
        self._window_start = (self._window_start + self.info.window_ticks) & 0xFFFFFFFF
        self._skipping = False
        return True

    def _events_of_window(self, events: NDArray[Any]) -> int:
        """How many events come before the first one behind the open window.

        Ticks wrap around: what lies less than half of 2**32 ahead is later.
        """
        ticks = self.info.window_ticks
        if not ticks:
            return len(events)
        step = np.diff(events["tick"], prepend=np.uint32(self._tick))
        in_window = events["tick"] - np.uint32(self._window_start)
        behind = (step < _HALF) & (in_window >= ticks)
        return int(behind.argmax()) if behind.any() else len(events)

    def _take(self, events: NDArray[Any], number: int) -> None:
        """Send events of the open window, numbered from `number`; wait until the board has handled them."""
        first = self._stream.event_number
        sent = 0
        self._touched()
        try:
            while sent < len(events):
                taken = self._stream.add_events(events[sent:])
                if not taken and self._stream.is_outside(events[sent]):
                    break
                sent += taken
                if not taken:
                    self._stream.step(self._connection.retry)
            self._stream.settle()
        except Halted as halted:
            taken = (halted.event - first) & 0xFFFFFFFF
            if taken:
                self._tick = int(events["tick"][taken - 1])
            self._stream.start(Mode.LOSSLESS, keep=True)
            raise self._refusal(halted.code, number + taken, events[taken]) from None
        if sent:
            self._tick = int(events["tick"][sent - 1])
        if sent < len(events):
            raise self._refusal(_OUTSIDE, number + sent, events[sent])

    def _refusal(self, code: int, number: int, event: np.void) -> EdgespikeError:
        tick, x, y, channel, value = event.tolist()
        where = f"event {number} (tick {tick}, x {x}, y {y}, channel {channel}, value {value})"
        if code == _OUTSIDE:
            height, width, channels = self.info.input_shape
            where += f" on a {width} x {height} x {channels} input"
        return error_of(code, where)

    def _touched(self) -> None:
        self._at_start = False
        if not self._skipping:
            self._result = None
            self.decided = 0

    def _result_of(self, type: FrameType, tick: int = 0) -> DeviceResult:
        """Send a frame that makes one result, and wait for it."""
        self._stream.add_control(type, tick)
        try:
            self._stream.wait(lambda: bool(self._stream.ready))
        except Halted as halted:
            self._stream.start(Mode.LOSSLESS, keep=True)
            raise error_of(halted.code) from None
        return self._stream.ready.popleft()

    def _close_window(self) -> None:
        self._touched()
        end = (self._window_start + self.info.window_ticks) & 0xFFFFFFFF
        self._result = self._result_of(FrameType.ADVANCE, end)
        if self._result.early:
            self.decided = (self._result.tick - self._window_start) & 0xFFFFFFFF
        self._tick = self._window_start = end
        self.lost = self._result.lost

    def advance(self, tick: int) -> bool:
        """Close ticks until `tick` is the open one.

        Returns:
            True when it stopped at the end of a window: read the output, call again.
        """
        self._check_open()
        if not 0 <= tick < 1 << 32:
            raise UsageError(f"tick {tick} is not a 32-bit number", "count ticks modulo 2**32", "argument")
        ticks = self.info.window_ticks
        later = (tick - self._tick) & 0xFFFFFFFF < _HALF
        while ticks and later and (tick - self._window_start) & 0xFFFFFFFF >= ticks:
            if not self._pass_window():
                return True
        self._touched()
        self._stream.add_control(FrameType.ADVANCE, tick)
        try:
            self._stream.settle()
        except Halted as halted:
            self._stream.start(Mode.LOSSLESS, keep=True)
            raise error_of(halted.code, f"tick {tick}", "ticks only grow") from None
        self._tick = tick
        if self._stream.ready:
            self._tick = self._take_decision().tick
            return True
        return False

    def finish(self) -> None:
        """Close the open tick and the sample; then only output, statistics and reset."""
        self._check_open()
        self._result = self._result_of(FrameType.END_SAMPLE)
        self.decided = (self._result.tick - self._window_start) & 0xFFFFFFFF if self._result.early else 0
        self.lost = self._result.lost
        self._finished = True
        self._at_start = True  # the board has reset itself

    def output(self) -> NDArray[np.int32]:
        """Scores of the last closed tick, flat int32: accumulators, levels or spike counts."""
        if not self._finished:
            self._check_open()
        if self._result is None:
            self._result = self._result_of(FrameType.READ)
        return self._result.scores

    def state(self, population: int) -> NDArray[np.int32]:
        """Not available: a board does not send its inner state."""
        raise UsageError("a board does not send its inner state", "use backend='cpu': it has the same bits")

    def stats(self) -> dict[str, Any]:
        """Counts since the last clear: events and synaptic operations, in all and by population.

        ``compute_us`` is the time that the board computed, 0 if it does not measure it.
        """
        return self._ask_stats(clear=False)

    def clear_stats(self) -> None:
        """Zero all statistics of the board."""
        self._ask_stats(clear=True)

    def _ask_stats(self, clear: bool) -> dict[str, Any]:
        populations: list[dict[str, int]] = []
        while True:
            request = struct.pack("<HBB", len(populations), clear, 0)
            answer = self._connection.request(FrameType.STATS, request)
            stats, total, here = self._connection.parse(_parse_stats, answer)
            populations += here
            if not here or len(populations) >= total:
                return stats | {"populations": populations}

    # ---- as a stream

    def start(self, mode: Mode, *, backlog: int | None = None) -> None:
        """Begin a stream: the network is reset, and events go out as fast as they are given.

        ``Mode.LOSSLESS`` repairs damage and gives the offline result bit for bit.
        ``Mode.LIVE`` never sends an event again; results say what was lost.

        Args:
            backlog: live: how many bytes may be on their way; None: as many as the board has room for.
                On a slow line that may be a second's, and under overload results are as late.
        """
        self._stream.start(mode, backlog=backlog)
        self._begin_backend()
        self._at_start = False

    def send_events(self, events: NDArray[Any]) -> int:
        """Send events (dtype CORE_EVENT) as far as credits allow now.

        Returns:
            How many were taken; give the others again later, or ``discard`` them. Events
            outside the input are discarded here when the stream is live.

        Raises:
            DataError: lossless, when the board refused an event, or one lies outside.
            DeviceError: the board is gone; no event was taken.
        """
        sent = 0
        while sent < len(events):
            if sent and self._stream.failure is not None:
                break  # the next call says so
            taken = self._stream.add_events(events[sent:])
            sent += taken
            if taken:
                continue
            if not self._stream.is_outside(events[sent]):
                break
            if self._stream.mode == Mode.LOSSLESS:
                raise self._refusal(_OUTSIDE, sent, events[sent])
            self._stream.discard(events[sent : sent + 1])
            sent += 1
        return sent

    def discard(self, events: NDArray[Any]) -> None:
        """Count events that are not sent because the link is too slow; results say how many."""
        self._stream.discard(events)

    def send_advance(self, tick: int) -> None:
        """Close ticks until `tick` is the open one; windows that end send their results."""
        self._stream.add_control(FrameType.ADVANCE, tick)

    def send_read(self) -> None:
        """Ask for a result of what is there, which changes nothing: of the ticks that are closed."""
        self._stream.add_control(FrameType.READ)

    def end_sample(self) -> None:
        """Close the sample: its result follows, and the next sample begins at tick 0."""
        self._stream.add_control(FrameType.END_SAMPLE)

    def poll(self, timeout: float = 0.0) -> list[DeviceResult]:
        """Keep the stream going, and take the results that have come.

        Args:
            timeout: seconds to wait if nothing has come.

        Raises:
            DataError: lossless, the board refused an event; the stream has ended.
            DeviceError: the board is silent, restarted or gone.
        """
        try:
            self._stream.step(timeout)
        except Halted as halted:
            raise error_of(halted.code, f"event {halted.event} of the stream") from None
        return self._take_ready()

    def drain(self) -> list[DeviceResult]:
        """Wait until the board has handled all that was sent; the results not taken before."""
        try:
            self._stream.settle()
        except Halted as halted:
            raise error_of(halted.code, f"event {halted.event} of the stream") from None
        return self._take_ready()

    def _take_ready(self) -> list[DeviceResult]:
        results = list(self._stream.ready)
        self._stream.ready.clear()
        return results

    def statistics(self) -> LinkStatistics:
        """How the link does."""
        connection, stream = self._connection, self._stream
        trips = stream.round_trips
        return LinkStatistics(
            bytes_sent=connection.bytes_sent,
            bytes_received=connection.bytes_received,
            frames_sent=connection.frames_sent,
            frames_received=connection.reader.good,
            bad_crc=connection.reader.bad_crc,
            malformed=connection.reader.malformed,
            too_long=connection.reader.too_long,
            sent_again=stream.sent_again,
            round_trip_us=round(1e6 * trips[-1]) if trips else 0,
            round_trip_median_us=round(1e6 * statistics.median(trips)) if trips else 0,
            lost_on_link=stream.counts.lost,
            rejected=stream.counts.rejected,
            lost_at_sender=stream.lost_at_sender,
            results_lost=stream.results_lost,
            unreported=stream.unreported,
            awaited=stream.awaited,
            in_flight=stream.outgoing.in_flight,
            window=stream.outgoing.window,
        )


def _parse_stats(payload: bytes) -> tuple[dict[str, Any], int, list[dict[str, int]]]:
    """Counts in all, how many populations there are, and the counts of those that are told here."""
    fields = _STATS.unpack_from(payload)
    total, _, here, _ = fields[-4:]
    pairs = struct.iter_unpack("<2Q", payload[_STATS.size : _STATS.size + 16 * here])
    rows = [{"events": events, "synops": synops} for events, synops in pairs]
    return dict(zip(_STATS_NAMES, fields, strict=False)), total, rows
