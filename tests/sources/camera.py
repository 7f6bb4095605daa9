"""An emulated eDVS: the far end of a pseudo terminal that knows the camera's commands."""

from __future__ import annotations

import os
import pty
import select
import threading
import tty
from typing import Any

import numpy as np
from numpy.typing import NDArray


def encode(form: str, events: NDArray[Any]) -> bytes:
    """Events as the camera sends them."""
    data, last = bytearray(), 0
    for t, x, y, p in events.tolist():
        data += bytes([0x80 | y, p << 7 | x])
        if form == "E1":
            delta, last = t - last, t
            groups = [delta & 0x7F | 0x80]
            while delta := delta >> 7:
                groups.append(delta & 0x7F)
            data += bytes(reversed(groups))
        else:
            size = {"E0": 0, "E2": 2, "E3": 3, "E4": 4}[form]
            data += (t % (1 << 8 * size)).to_bytes(size, "big")
    return bytes(data)


class EmulatedEdvs:
    """Listens to commands; sends what it is told while events are switched on.

    ``port``: the device to open. ``commands``: what was heard.
    """

    def __init__(self) -> None:
        self.ours, self._theirs = pty.openpty()
        tty.setraw(self._theirs)
        self.port = os.ttyname(self._theirs)
        self.commands: list[str] = []
        self.on = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        rest = b""
        while not self._closing:
            ready, _, _ = select.select([self.ours], [], [], 0.02)
            if ready:
                *lines, rest = (rest + os.read(self.ours, 4096)).split(b"\n")
                for line in lines:
                    self.commands.append(line.decode())
                    if line in (b"E+", b"E-"):
                        (self.on.set if line == b"E+" else self.on.clear)()

    def send(self, data: bytes) -> None:
        """Bytes to whoever has the port open."""
        assert self.on.wait(5)
        while data:
            data = data[os.write(self.ours, data[:512]) :]

    def close(self) -> None:
        """Pull the plug."""
        self._closing = True
        self._thread.join()
        os.close(self.ours)
        os.close(self._theirs)


def some_events(count: int, seed: int = 0) -> NDArray[Any]:
    """Events of a 128x128 sensor, up to 60 ms apart: less than the shortest clock's turn."""
    from edgespike.events import make_events

    rng = np.random.default_rng(seed)
    steps = rng.choice([0, 1, 100, 127, 128, 3000, 20_000], count)
    return make_events(
        np.cumsum(steps), rng.integers(0, 128, count), rng.integers(0, 128, count), rng.integers(0, 2, count)
    )
