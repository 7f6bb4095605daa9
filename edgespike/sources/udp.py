"""Events in UDP datagrams: SPIF (SpiNNaker's interface, also spoken by AEStream and eventcv), and faery.

SPIF: u32 words, little-endian: bit 31 says that no time follows, bits 30..16 are x, bit 15 is the
polarity, bits 14..0 are y; with a time, a second u32 in microseconds. faery: either u64 time, u16
x, u16 y, u8 polarity; or u32 time, u16 x, u16 ``y << 1 | polarity``.
"""

from __future__ import annotations

import select
import socket
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import DeviceError
from edgespike.events import EVENT, Sensor

_RECEIVE_BYTES = 1 << 22  # the kernel's buffer: a fifth of a second of a million events a second
_T64 = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])
_T32 = np.dtype([("t", "<u4"), ("x", "<u2"), ("y", "<u2")])
_NO_TIME = 1 << 31


class UdpFeed:
    """Datagrams that come to a port of this host.

    Args:
        protocol: ``spif``, ``spif-untimed``, ``faery-t64`` or ``faery-t32``.
        host: address to listen on.
        port: number of the port; 0: any.
    """

    dtype = EVENT
    waits = False

    def __init__(self, protocol: str, host: str, port: int, sensor: Sensor | None = None) -> None:
        self.name = f"{protocol}://{host}:{port}"
        self.sensor = sensor
        self.protocol = protocol
        self.clock_bits = {"spif": 32, "spif-untimed": 0, "faery-t64": 64, "faery-t32": 32}[protocol]
        self.address = (host, port)
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Listen."""
        try:
            listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
            listening.bind(self.address)
        except OSError as error:
            raise DeviceError(
                f"cannot listen on UDP port {self.address[1]} of {self.address[0]}: {error.strerror}",
                "another program may have it: close it, or choose another port",
                "source-open",
            ) from error
        self.address = listening.getsockname()
        self._socket = listening

    def receive(self, timeout: float) -> tuple[NDArray[Any] | None, int]:
        """All datagrams that are there."""
        assert self._socket is not None
        pieces: list[NDArray[Any]] = []
        malformed = 0
        ready, _, _ = select.select([self._socket], [], [], timeout)
        while ready and len(pieces) < 1000:
            events, bad = decode_datagram(self._socket.recv(65536), self.protocol)
            pieces.append(events)
            malformed += bad
            ready, _, _ = select.select([self._socket], [], [], 0)
        return np.concatenate(pieces) if pieces else np.zeros(0, EVENT), malformed

    def close(self) -> None:
        """Listen no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def decode_datagram(datagram: bytes, protocol: str) -> tuple[NDArray[Any], int]:
    """Events of a datagram (dtype EVENT, the sender's times; 0 without), and 1 if it makes no sense."""
    if protocol.startswith("spif"):
        return _decode_spif(datagram, timed=protocol == "spif")
    layout = _T64 if protocol == "faery-t64" else _T32
    if len(datagram) % layout.itemsize:
        return np.zeros(0, EVENT), 1
    rows = np.frombuffer(datagram, layout)
    if layout is _T64:
        if (rows["t"] >> 62).any() or (rows["p"] > 1).any():
            return np.zeros(0, EVENT), 1
        return _events(rows["t"], rows["x"], rows["y"], rows["p"]), 0
    return _events(rows["t"], rows["x"], rows["y"] >> 1, rows["y"] & 1), 0


def _decode_spif(datagram: bytes, timed: bool) -> tuple[NDArray[Any], int]:
    size = 8 if timed else 4
    words = np.frombuffer(datagram[: len(datagram) // 4 * 4], "<u4")
    address = words[::2] if timed else words
    untimed = (address & _NO_TIME).astype(bool)
    if len(datagram) % size or (untimed.any() if timed else not untimed.all()):
        return np.zeros(0, EVENT), 1
    times = words[1::2] if timed else np.zeros(len(words), np.int64)
    return _events(times, address >> 16 & 0x7FFF, address & 0x7FFF, address >> 15 & 1), 0


def _events(t: NDArray[Any], x: NDArray[Any], y: NDArray[Any], p: NDArray[Any]) -> NDArray[Any]:
    events = np.empty(len(x), EVENT)
    events["t"], events["x"], events["y"], events["p"] = t, x, y, p
    return events
