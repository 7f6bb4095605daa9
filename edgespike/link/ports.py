"""What is at the ports of this machine. Nothing but HELLO is ever sent to a port that is looked at."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from edgespike.errors import DeviceError, EdgespikeError
from edgespike.link.connection import Connection
from edgespike.link.messages import HelloInfo
from edgespike.link.transports import open_transport

PATIENCE = 1.5  # seconds until a board that is up, or starts because its port was opened, has answered
QEMU_PATIENCE = 10.0
_OPENING_SECONDS = 5.0  # more than any port takes that opens at all


@dataclass(frozen=True)
class PortReport:
    """What answers at a port: a board (``info``), or why there is none (``error``)."""

    port: str
    description: str
    info: HelloInfo | None
    error: EdgespikeError | None


def list_ports() -> list[tuple[str, str]]:
    """Name and description of each port: serial devices first, then what stands in for a board."""
    from serial.tools.list_ports import comports

    serial = sorted((port.device, port.description or "serial port") for port in comports())
    return [*serial, ("emulated", "a board inside this program"), ("qemu", "the firmware on QEMU")]


def look_at(port: str, baud: int = 921600, patience: float | None = None) -> HelloInfo:
    """Greet what is at a port, and let go of it again.

    Raises:
        DeviceError: the port cannot be opened, or no board answers there within `patience` seconds.
    """
    transport = open_transport(port, baud)
    try:
        return Connection(transport, timeout=PATIENCE, retry=0.25).hello(patience)
    finally:
        transport.close()


def look_at_all(ports: Sequence[tuple[str, str]], baud: int = 921600) -> list[PortReport]:
    """Look at ports (see list_ports) all at once; takes some seconds whatever is there."""
    found: dict[str, HelloInfo | EdgespikeError] = {}

    def look(port: str) -> None:
        try:
            found[port] = look_at(port, baud, QEMU_PATIENCE if port.startswith("qemu") else PATIENCE)
        except EdgespikeError as error:
            found[port] = error

    # Not a pool: it would wait for a driver that never returns from opening its port.
    threads = [threading.Thread(target=look, args=(port,), daemon=True) for port, _ in ports]
    for thread in threads:
        thread.start()
    end = time.monotonic() + QEMU_PATIENCE + _OPENING_SECONDS
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    reports = []
    for port, description in ports:
        what = found.get(port) or DeviceError(f"port {port} does not open", "check its driver", "silent")
        info, error = (what, None) if isinstance(what, HelloInfo) else (None, what)
        reports.append(PortReport(port, description, info, error))
    return reports
