"""Lines of text, from standard input or any other stream of bytes: events as ``t,x,y,p``."""

from __future__ import annotations

import os
import select
import sys
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgespike.events import EVENT, Sensor

_LONGEST_LINE = 1 << 16
_LATEST = (10**17, 65535, 65535, 127)  # t, x, y, p


class LineParser(Protocol):
    """What lines of text mean."""

    dtype: np.dtype[Any]

    def __call__(self, lines: list[bytes]) -> tuple[NDArray[Any], int]:
        """What complete lines say, and how many make no sense."""


class EventLines:
    """Lines of four whole numbers: microseconds, column, row, polarity or channel.

    Separated by commas or blanks; empty lines and what follows ``#`` mean nothing. Other lines
    count as malformed, but for a first one with names.
    """

    dtype = EVENT

    def __init__(self) -> None:
        self._lines = 0

    def __call__(self, lines: list[bytes]) -> tuple[NDArray[Any], int]:
        """Events, and a number of malformed lines."""
        rows, malformed = [], 0
        for line in lines:
            row = _parse_line(line)
            if row:
                rows.append(row)
            elif row is None and self._lines:
                malformed += 1
            self._lines += 1
        return np.array(rows, EVENT), malformed


class LineSplitter:
    """Lines from bytes that come in pieces. What has no end after 64 KiB is no line."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete now, without their ends."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        if len(self.rest) > _LONGEST_LINE:
            lines.append(self.rest)
            self.rest = b""
        return lines


class TextFeed:
    """Lines from standard input, or any other file descriptor."""

    clock_bits = 64
    waits = True

    def __init__(
        self, descriptor: int | None = None, sensor: Sensor | None = None, parse: LineParser | None = None
    ) -> None:
        self.name = "standard input" if descriptor is None else f"file descriptor {descriptor}"
        self.sensor = sensor
        self._descriptor = descriptor
        self._parse = parse or EventLines()
        self.dtype = self._parse.dtype
        self._lines = LineSplitter()

    def open(self) -> None:
        """Standard input is open already."""
        if self._descriptor is None:
            self._descriptor = sys.stdin.fileno()

    def receive(self, timeout: float) -> tuple[NDArray[Any] | None, int]:
        """The lines that are complete now."""
        assert self._descriptor is not None
        ready, _, _ = select.select([self._descriptor], [], [], timeout)
        if not ready:
            return np.zeros(0, self.dtype), 0
        data = os.read(self._descriptor, 1 << 16)
        if not data and not self._lines.rest:
            return None, 0
        return self._parse(self._lines.feed(data or b"\n"))

    def close(self) -> None:
        """Standard input stays as it is."""


def _parse_line(line: bytes) -> tuple[int, ...] | None:
    """Four numbers; none of them for an empty line; None for a line that makes no sense."""
    cells = line.partition(b"#")[0].replace(b",", b" ").split()
    if not cells:
        return ()
    try:
        values = tuple(int(cell) for cell in cells)
    except ValueError:
        return None
    if values[3:] == (-1,):
        values = (*values[:3], 0)
    fits = len(values) == 4 and all(0 <= value <= limit for value, limit in zip(values, _LATEST, strict=True))
    return values if fits else None
