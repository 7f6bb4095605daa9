"""An embedded DVS (eDVS) on a serial line: its commands, and its event formats E0 to E4.

An event is the bytes ``1yyyyyyy pxxxxxxx`` and a time in microseconds: none in E0; in E1 the time
since the last event in groups of 7 bits, the last of which has its highest bit set; in E2, E3 and
E4 16, 24 and 32 bits, big-endian.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import serial
from numpy.typing import NDArray

from edgespike.errors import DeviceError
from edgespike.events import EVENT, Sensor

TIME_BYTES = {"E0": 0, "E1": -1, "E2": 2, "E3": 3, "E4": 4}
_LONGEST_DELTA = 4  # bytes of an E1 time


class EdvsParser:
    """Events from bytes that come in pieces. ``malformed`` counts bytes that belong to no event."""

    def __init__(self, form: str) -> None:
        self.time_bytes = TIME_BYTES[form]
        self.malformed = 0
        self._rest = b""
        self._time = 0  # E1

    def feed(self, data: bytes) -> NDArray[Any]:
        """The events that are complete now; dtype EVENT."""
        data = self._rest + data
        rows: list[tuple[int, int, int, int]] = []
        position = 0
        while position < len(data):
            if not data[position] & 0x80:
                self.malformed += 1
                position += 1
                continue
            time, end = self._time_at(data, position + 2)
            if end > len(data):
                break
            if time is None:
                self.malformed += 1
                position += 1
                continue
            second = data[position + 1]
            rows.append((time, second & 0x7F, data[position] & 0x7F, second >> 7))
            position = end
        self._rest = data[position:]
        return np.array(rows, EVENT)

    def _time_at(self, data: bytes, begin: int) -> tuple[int | None, int]:
        """The time that begins at a byte and where it ends; beyond the data: it is not all there."""
        if self.time_bytes >= 0:
            end = begin + self.time_bytes
            return int.from_bytes(data[begin:end], "big"), end
        delta = 0
        for place in range(begin, begin + _LONGEST_DELTA):
            if place >= len(data):
                return 0, place + 1
            delta = delta << 7 | data[place] & 0x7F
            if data[place] & 0x80:
                self._time += delta
                return self._time, place + 1
        return None, begin


class EdvsFeed:
    """An eDVS behind a serial device.

    Args:
        port: serial device, or another URL that pyserial knows.
        baud: bits per second; the camera comes with 4,000,000.
        form: ``E0`` to ``E4``.
    """

    dtype = EVENT
    sensor: Sensor | None = (128, 128)
    waits = False

    def __init__(self, port: str, baud: int = 4_000_000, form: str = "E3") -> None:
        self.name = f"edvs:{port}"
        self.port, self.baud, self.form = port, baud, form
        self.clock_bits = {"E0": 0, "E1": 64, "E2": 16, "E3": 24, "E4": 32}[form]
        self._line: serial.Serial | None = None
        self._parser = EdvsParser(form)

    def open(self) -> None:
        """Reset the camera, choose the format, and let events come."""
        try:
            line = serial.serial_for_url(self.port, self.baud, timeout=0.05, write_timeout=2.0)
        except (serial.SerialException, OSError, ValueError) as error:
            raise DeviceError(
                f"cannot open the camera at {self.port}: {error}",
                "is it plugged in, and is nothing else using it? `edgespike doctor` looks further",
                "source-open",
            ) from error
        line.write(b"E-\n")
        line.write(f"!U0\n!{self.form}\n!ET0\n".encode())
        line.flush()
        line.reset_input_buffer()
        line.write(b"E+\n")
        self._line = line
        self._parser = EdvsParser(self.form)

    def receive(self, timeout: float) -> tuple[NDArray[Any] | None, int]:
        """What the camera has sent."""
        assert self._line is not None
        self._line.timeout = timeout
        data = self._line.read(1)
        data += self._line.read(self._line.in_waiting)
        before = self._parser.malformed
        events = self._parser.feed(data)
        return events, self._parser.malformed - before

    def close(self) -> None:
        """Let no more events come."""
        if self._line is not None:
            try:
                self._line.write(b"E-\n")
                self._line.flush()
                self._line.close()
            except (serial.SerialException, OSError):
                pass  # it is gone
            self._line = None
