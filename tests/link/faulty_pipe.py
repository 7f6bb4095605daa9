"""A byte pipe that does harm on the way, by seed.

``FaultyPipe`` stands between a client and the transport of a board. What it does to bytes, and when
a board is reset or a cable pulled, is a ``Harm``: at byte positions that the seed chooses for each way,
however the bytes come in pieces. With a ``Clock`` time passes only where the client waits, so that a
run is the same every time and takes no time; else it passes as it does.
"""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from edgespike.link import Transport

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

    def hold(self, count: int, direction: bool) -> float:
        """Seconds that these bytes, so many, are late, and all behind them."""
        return 0.0

    def happen(self, pipe: FaultyPipe) -> None:
        """What happens now; called again and again."""

    def rate(self, baud: int) -> int:
        """The baud that this end takes when it is set to one."""
        return baud


class FaultyPipe:
    """A transport with a Harm. ``written``: bytes that the client sent so far.

    ``cut``: bytes are lost both ways. ``deaf``: the client reads nothing, and its machine keeps
    ``DEAF_BYTES``.
    """

    DEAF_BYTES = 4096

    def __init__(self, inner: Transport, harm: Harm, clock: Clock, limit: float) -> None:
        self.inner = inner
        self.harm = harm
        self.clock = clock
        self.name = inner.name
        self.patience = min(inner.patience, 3.0)
        self.baud = inner.baud
        self.written = 0
        self.cut = self.deaf = False
        self._limit = clock() + limit
        self._turns = 0
        self._ways: dict[bool, deque[tuple[float, bytes]]] = {TO_BOARD: deque(), FROM_BOARD: deque()}

    def set_baud(self, baud: int) -> None:
        self.inner.set_baud(self.harm.rate(baud))
        self.baud = baud

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
            received = b"" if self.deaf else self._take_due(FROM_BOARD)
            if received or self.clock() >= end:
                return received
            self.clock.wait(min(max(0.0, end - self.clock()), self._until_due()))

    def close(self) -> None:
        self.inner.close()

    def _turn(self) -> None:
        self._turns += 1
        if self.clock() > self._limit or self._turns > 300_000:
            raise Hang(f"no end after {self._turns} turns")
        self.harm.happen(self)

    def _put(self, data: bytes, direction: bool) -> None:
        data = b"" if self.cut else self.harm.change(data, direction)
        if not data:
            return
        way = self._ways[direction]
        due = self.clock() + self.harm.hold(len(data), direction)
        way.append((max(due, way[-1][0] if way else 0.0), data))

    def _carry(self) -> None:
        """Give the board what is due, and take what it sends."""
        data = self._take_due(TO_BOARD)
        if data:
            self.inner.write(data)
        self._put(self.inner.read(0.0), FROM_BOARD)
        if self.deaf:
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
        heard = (TO_BOARD,) if self.deaf else (TO_BOARD, FROM_BOARD)
        times = [self._ways[way][0][0] - self.clock() for way in heard if self._ways[way]]
        return max(0.0, min([*times, self.clock.longest]))
