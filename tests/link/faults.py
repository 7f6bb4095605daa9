"""A byte pipe that does harm on the way, by seed.

``FaultyPipe`` stands between a client and the transport of a board. What it does to bytes, and when
a board is reset or a cable pulled, is a ``Harm``. With a ``Clock`` time passes only where the client
waits, so that a run is the same every time and takes no time; else it passes as it does.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import numpy as np

from edgespike.link import Transport
from edgespike.link.transports import vanished

Generator = np.random.Generator
TO_BOARD, FROM_BOARD = True, False


class Hang(AssertionError):
    """A run that does not end."""


class Clock:
    """Seconds that pass only when someone waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += max(seconds, 1e-4)

    longest = 3600.0  # seconds until something may have come without anyone's doing


class RealClock(Clock):
    """The seconds that everyone has."""

    def __call__(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        time.sleep(min(max(seconds, 0.0), 0.002))

    longest = 0.05


class Harm:
    """Does none; the others change what they need. ``healed``: has none to do any more."""

    def __init__(self, rng: Generator) -> None:
        self.rng = rng

    def change(self, data: bytes, direction: bool) -> bytes:
        """What becomes of bytes on their way."""
        return data

    def hold(self, direction: bool) -> float:
        """Seconds that these bytes are late, and all behind them."""
        return 0.0

    def happen(self, pipe: FaultyPipe) -> None:
        """What happens now; called again and again."""


class FaultyPipe:
    """A transport with a Harm. ``written``: bytes that the client sent so far.

    ``cut``: bytes are lost both ways. ``gone``: reading and writing raise, as on a pulled USB cable.
    ``deaf_until``: the client reads nothing until then, and its machine keeps ``DEAF_BYTES``.
    """

    DEAF_BYTES = 4096

    def __init__(self, inner: Transport, harm: Harm, clock: Clock, limit: float) -> None:
        self.inner = inner
        self.harm = harm
        self.clock = clock
        self.name = inner.name
        self.patience = min(inner.patience, 3.0)
        self.written = 0
        self.cut = self.gone = False
        self.deaf_until = 0.0
        self._limit = clock() + limit
        self._turns = 0
        self._ways: dict[bool, deque[tuple[float, bytes]]] = {TO_BOARD: deque(), FROM_BOARD: deque()}

    @property
    def baud(self) -> int | None:
        return self.inner.baud

    def set_baud(self, baud: int) -> None:
        self.inner.set_baud(baud)

    def write(self, data: bytes) -> None:
        self._turn()
        self.written += len(data)
        self._put(data, TO_BOARD)
        self._carry()

    def read(self, timeout: float) -> bytes:
        self._turn()
        end = self.clock() + timeout
        while True:
            self._carry()
            received = self._take_due(FROM_BOARD) if self.clock() >= self.deaf_until else b""
            if received or self.clock() >= end:
                return received
            pause = self.deaf_until - self.clock() if self.clock() < self.deaf_until else self._until_due()
            self.clock.wait(min(max(0.0, end - self.clock()), pause))

    def close(self) -> None:
        self.inner.close()

    def _turn(self) -> None:
        self._turns += 1
        if self.clock() > self._limit or self._turns > 300_000:
            raise Hang(f"no end after {self._turns} turns")
        self.harm.happen(self)
        if self.gone:
            raise vanished(self.name, "the cable was pulled")

    def _put(self, data: bytes, direction: bool) -> None:
        data = b"" if self.cut else self.harm.change(data, direction)
        if not data:
            return
        way = self._ways[direction]
        due = self.clock() + self.harm.hold(direction)
        way.append((max(due, way[-1][0] if way else 0.0), data))

    def _carry(self) -> None:
        """Give the board what is due, and take what it sends."""
        data = self._take_due(TO_BOARD)
        if data:
            self.inner.write(data)
        self._put(self.inner.read(0.0), FROM_BOARD)
        if self.clock() < self.deaf_until:
            way = self._ways[FROM_BOARD]
            while sum(len(piece) for _, piece in way) > self.DEAF_BYTES:
                way.pop()

    def _take_due(self, direction: bool) -> bytes:
        way = self._ways[direction]
        pieces = []
        while way and way[0][0] <= self.clock():
            pieces.append(way.popleft()[1])
        return b"".join(pieces)

    def _until_due(self) -> float:
        """Seconds until something comes; at most some, for a board that works by itself."""
        times = [way[0][0] - self.clock() for way in self._ways.values() if way]
        return max(0.0, min([*times, self.clock.longest]))


# ---- harm to bytes and frames -----------------------------------------------------


class ByteHarm(Harm):
    """About one in ``every`` bytes begins a fault of a kind: flip, drop, duplicate, insert, half."""

    def __init__(self, rng: Generator, kinds: list[str], every: float) -> None:
        super().__init__(rng)
        self.kinds = kinds
        self.every = every

    def change(self, data: bytes, direction: bool) -> bytes:
        changed = bytearray(data)
        for _ in range(self.rng.poisson(len(data) / self.every)):
            at = int(self.rng.integers(0, max(1, len(changed))))
            length = int(self.rng.choice([1, 2, 5, 40, 300]))
            kind = self.kinds[int(self.rng.integers(0, len(self.kinds)))]
            if kind == "flip":
                for place in range(at, min(len(changed), at + length // 4 + 1)):
                    changed[place] ^= int(self.rng.integers(1, 256))
            elif kind == "drop":
                del changed[at : at + length]
            elif kind == "duplicate":
                changed[at:at] = changed[at : at + length]
            elif kind == "insert":
                changed[at:at] = self.rng.bytes(length)
            else:
                del changed[at : changed.find(0, at) + 1 or len(changed)]  # the rest of a frame, and its end
        return bytes(changed)


class FrameHarm(Harm):
    """Whole frames are lost, said twice, or overtaken by later ones: a ``share`` of them."""

    def __init__(self, rng: Generator, kinds: list[str], share: float) -> None:
        super().__init__(rng)
        self.kinds = kinds
        self.share = share
        self._part = {TO_BOARD: b"", FROM_BOARD: b""}
        self._overtaken: dict[bool, list[tuple[int, bytes]]] = {TO_BOARD: [], FROM_BOARD: []}

    def change(self, data: bytes, direction: bool) -> bytes:
        *frames, self._part[direction] = (self._part[direction] + data).split(b"\0")
        out = []
        for frame in frames:
            kind = self.kinds[int(self.rng.integers(0, len(self.kinds)))]
            late = [(left - 1, other) for left, other in self._overtaken[direction]]
            if not frame or self.rng.random() > self.share:
                out.append(frame)
            elif kind == "duplicate":
                out += [frame, frame]
                late.append((int(self.rng.integers(1, 30)), frame))
            elif kind == "reorder":
                late.append((int(self.rng.integers(1, 6)), frame))
            out += [other for left, other in late if left <= 0]
            self._overtaken[direction] = [(left, other) for left, other in late if left > 0]
        return b"".join(frame + b"\0" for frame in out)


class Delay(Harm):
    """Some bytes are late, by up to ``longest`` seconds."""

    def __init__(self, rng: Generator, longest: float) -> None:
        super().__init__(rng)
        self.longest = longest

    def hold(self, direction: bool) -> float:
        return float(self.rng.random() ** 3 * self.longest) if self.rng.random() < 0.2 else 0.0


class Garbage(Harm):
    """What is on the line before the first greeting, from both ends."""

    def __init__(self, rng: Generator) -> None:
        super().__init__(rng)
        self.due = {TO_BOARD, FROM_BOARD}

    def change(self, data: bytes, direction: bool) -> bytes:
        if direction not in self.due:
            return data
        self.due.discard(direction)
        noise = self.rng.bytes(int(self.rng.integers(0, 3000)))
        text = b"\r\nBooting...\r\nlogin: " * int(self.rng.integers(0, 30))
        return noise + text + data


class Incident(Harm):
    """Something happens once, when the client has sent so many bytes; and ends ``seconds`` later."""

    def __init__(
        self,
        rng: Generator,
        within: int,
        begin: Callable[[FaultyPipe], None],
        end: Callable[[FaultyPipe], None] | None = None,
        seconds: float = 0.0,
    ) -> None:
        super().__init__(rng)
        self.at = int(rng.integers(0, within))
        self.begin: Callable[[FaultyPipe], None] | None = begin
        self.end = end
        self.seconds = seconds
        self._ends_at = 0.0

    def happen(self, pipe: FaultyPipe) -> None:
        if self.begin is not None:
            if pipe.written >= self.at:
                begin, self.begin = self.begin, None
                self._ends_at = pipe.clock() + self.seconds
                begin(pipe)
        elif self.end is not None and pipe.clock() >= self._ends_at:
            end, self.end = self.end, None
            end(pipe)


class Together(Harm):
    """Several at once."""

    def __init__(self, harms: list[Harm]) -> None:
        super().__init__(harms[0].rng)
        self.harms = harms

    def change(self, data: bytes, direction: bool) -> bytes:
        for harm in self.harms:
            data = harm.change(data, direction)
        return data

    def hold(self, direction: bool) -> float:
        return max(harm.hold(direction) for harm in self.harms)

    def happen(self, pipe: FaultyPipe) -> None:
        for harm in self.harms:
            harm.happen(pipe)


class OtherHost(Harm):
    """Another program at the same line: it sends frames of its own, also into ours, and may take bytes."""

    def __init__(self, rng: Generator, frames: list[bytes], within: int) -> None:
        super().__init__(rng)
        self.frames = deque(frames)
        self.at = int(rng.integers(0, within))
        self.takes = rng.random() < 0.5  # each byte goes to one program only, as on a port without lock
        self.cuts_in = rng.random() < 0.3
        self._written = 0

    def change(self, data: bytes, direction: bool) -> bytes:
        if direction == FROM_BOARD:
            return b"" if self.takes and self.frames and self.rng.random() < 0.3 else data
        self._written += len(data)
        if self._written < self.at or not self.frames:
            return data
        count = min(len(self.frames), int(self.rng.integers(0, 4)))
        theirs = b"".join(self.frames.popleft() for _ in range(count))
        cut = int(self.rng.integers(0, len(data) + 1)) if self.cuts_in and data else len(data)
        return data[:cut] + theirs + data[cut:]
