"""Samples of an ordinary sensor: lines of text, from a serial line or a pipe."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import serial
from numpy.typing import NDArray

from edgespike.encoders import sample_times, whole_numbers
from edgespike.errors import DataError, DeviceError
from edgespike.events import Sensor
from edgespike.sources.text import LineSplitter

_SEPARATOR = re.compile(rb"\s*[,;]\s*|\s+")
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Sampling:
    """How a sensor is read.

    ``rate_hz``: samples a second. ``columns``: values of a sample that the network takes.
    ``chosen``: which cells of a line they are, counted from 0; None: all, and there are no others.
    ``scale``: whole numbers to the sensor's unit; None: it gives whole numbers.
    """

    rate_hz: Fraction
    columns: int
    chosen: tuple[int, ...] | None = None
    scale: Fraction | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of samples: t, microseconds since the first line, and values, whole numbers."""
        return np.dtype([("t", "<i8"), ("values", "<i4", (self.columns,))])

    @property
    def period_us(self) -> int:
        """Microseconds from a sample to the next, rounded down."""
        return int(1_000_000 // self.rate_hz)

    def samples(self, numbers: NDArray[np.int64], values: NDArray[Any]) -> NDArray[Any]:
        """Values (n, columns) in the sensor's unit as samples of these numbers.

        Raises:
            DataError: they are no whole numbers, and nobody said a scale.
        """
        if self.scale is None and values.dtype.kind == "f" and (values != np.floor(values)).any():
            first = values[values != np.floor(values)][0]
            raise DataError(
                f"the sensor gives fractions, such as {first:g}",
                "say how fine with --scale: 1000 whole numbers to its unit, for example",
                "sample-scale",
            )
        samples = np.empty(len(values), self.dtype)
        samples["t"] = sample_times(numbers, self.rate_hz)
        samples["values"] = whole_numbers(values, self.scale or Fraction(1))
        return samples


class SampleLines:
    """Lines of numbers, separated by commas, semicolons or blanks; each one is a sample.

    A line that says something else (no number, or another number of cells) counts as malformed. Its
    sample is missing: the next one is as late as if it had been there. Empty lines, what follows
    ``#`` and a first line with names mean nothing.
    """

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self.dtype = sampling.dtype
        self._number = 0  # of the next sample
        self._first = True  # line

    def __call__(self, lines: list[bytes]) -> tuple[NDArray[Any], int]:
        """Samples, and a number of malformed lines."""
        numbers, rows, malformed = [], [], 0
        for line in lines:
            cells = line.partition(b"#")[0].strip()
            if not cells:
                continue
            row = self._parse(cells)
            if row is not None:
                numbers.append(self._number)
                rows.append(row)
            else:
                malformed += not self._first
            self._number += self._number > 0 or row is not None  # time begins with the first sample
            self._first = False
        values = np.array(rows, np.float64).reshape(-1, self.sampling.columns)
        return self.sampling.samples(np.array(numbers, np.int64), values), malformed

    def _parse(self, cells: bytes) -> list[float] | None:
        parts = _SEPARATOR.split(cells)
        chosen = self.sampling.chosen
        if len(parts) != self.sampling.columns if chosen is None else len(parts) <= max(chosen):
            return None
        wanted = parts if chosen is None else [parts[cell] for cell in chosen]
        return [float(part) for part in wanted] if all(map(_NUMBER.fullmatch, wanted)) else None


class SerialLines:
    """A sensor on a serial line that writes a line of text for each sample.

    Args:
        port: serial device, or another URL that pyserial knows.
        baud: bits per second.
        sampling: what its lines are.
    """

    sensor: Sensor | None = None
    clock_bits = 64
    waits = False

    def __init__(self, port: str, baud: int, sampling: Sampling) -> None:
        self.name = f"serial:{port}"
        self.port, self.baud = port, baud
        self.dtype = sampling.dtype
        self._parse = SampleLines(sampling)
        self._line: serial.Serial | None = None
        self._lines = LineSplitter()
        self._begun = False

    def open(self) -> None:
        """Open the line. It may be in the midst of a number: the first line is left out."""
        try:
            self._line = serial.serial_for_url(self.port, self.baud, timeout=0.05)
        except (serial.SerialException, OSError, ValueError) as error:
            raise DeviceError(
                f"cannot open the sensor at {self.port}: {error}",
                "is it plugged in, and is nothing else using it?",
                "source-open",
            ) from error
        self._lines, self._begun = LineSplitter(), False

    def receive(self, timeout: float) -> tuple[NDArray[Any] | None, int]:
        """What the sensor has sent."""
        assert self._line is not None
        self._line.timeout = timeout
        data = self._line.read(1)
        data += self._line.read(self._line.in_waiting)
        lines = self._lines.feed(data)
        if lines and not self._begun:
            self._begun = True
            del lines[0]
        return self._parse(lines)

    def close(self) -> None:
        """Let go."""
        if self._line is not None:
            with suppress(serial.SerialException, OSError):  # it may be gone
                self._line.close()
            self._line = None
