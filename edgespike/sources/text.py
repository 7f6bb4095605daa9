"""Events as lines of text, ``t,x,y,p``, from standard input or any other stream of bytes."""

from __future__ import annotations

import os
import select
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.events import EVENT, Sensor

_LATEST = (10**17, 65535, 65535, 127)  # t, x, y, p


class TextFeed:
    """Lines of four whole numbers: microseconds, column, row, polarity or channel.

    Separated by commas or blanks; empty lines and what follows ``#`` mean nothing. Other lines
    count as malformed, but for a first one with names.
    """

    clock_bits = 64
    waits = True

    def __init__(self, descriptor: int | None = None, sensor: Sensor | None = None) -> None:
        self.name = "standard input" if descriptor is None else f"file descriptor {descriptor}"
        self.sensor = sensor
        self._descriptor = descriptor
        self._rest = b""
        self._lines = 0

    def open(self) -> None:
        """Standard input is open already."""
        if self._descriptor is None:
            self._descriptor = sys.stdin.fileno()

    def receive(self, timeout: float) -> tuple[NDArray[Any] | None, int]:
        """The lines that are complete now."""
        assert self._descriptor is not None
        ready, _, _ = select.select([self._descriptor], [], [], timeout)
        if not ready:
            return np.zeros(0, EVENT), 0
        data = os.read(self._descriptor, 1 << 16)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if not data:
            if not self._rest:
                return None, 0
            lines, self._rest = [self._rest], b""
        rows, malformed = [], 0
        for line in lines:
            row = _parse_line(line)
            if row:
                rows.append(row)
            elif row is None and self._lines:
                malformed += 1
            self._lines += 1
        return np.array(rows, EVENT), malformed

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
