"""What commonly goes wrong between a host and a board, and what to do about it."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import edgespike
from edgespike import _link
from edgespike.errors import DeviceError, EdgespikeError
from edgespike.link.connection import Connection
from edgespike.link.messages import HelloInfo
from edgespike.link.ports import PATIENCE, QEMU_PATIENCE, list_ports, look_at, look_at_all
from edgespike.link.qemu import find_firmware
from edgespike.link.transports import open_transport
from edgespike.link.upload import check_fit

USUAL_BAUDS = (921600, 115200, 460800, 1_000_000, 2_000_000, 3_000_000, 230400, 57600, 38400, 19200, 9600)
_GREETINGS = 20
_WRONG_BAUD = ("silent", "not-a-board")  # what a wrong baud looks like


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``problem`` is None when it is fine."""

    message: str
    problem: EdgespikeError | None = None


def examine(port: str | None, baud: int, model: bytes | None) -> Iterator[Finding]:
    """Look at one port (None: at all) and say what is found, as it is found.

    Args:
        port: see open_transport.
        baud: bits per second of a serial device.
        model: the bytes of a model file that the board shall hold.
    """
    if port is None:
        yield from _examine_all(baud)
        return
    if port.startswith("qemu"):
        yield from _examine_qemu(port[5:] or None)
    yield from _other_programs(port)
    try:
        info = look_at(port, baud, QEMU_PATIENCE if port.startswith("qemu") else None)
    except EdgespikeError as error:
        yield _problem(_try_bauds(port, baud) if error.code in _WRONG_BAUD else error, error)
        return
    yield Finding(f"{info.name} answers at {port}")
    yield _firmware(info)
    yield _model(info)
    yield from _line(port, baud)
    if model is not None:
        try:
            check_fit(info, port, model)
            yield Finding(f"the model fits: {len(model):,} of {info.model_capacity:,} bytes")
        except EdgespikeError as error:
            yield _problem(error)


def _problem(error: EdgespikeError | None, otherwise: EdgespikeError | None = None) -> Finding:
    shown = error or otherwise
    assert shown is not None
    return Finding(shown.message, shown)


# ---- ports --------------------------------------------------------------------


def _examine_all(baud: int) -> Iterator[Finding]:
    serial = [(port, description) for port, description in list_ports() if port not in ("emulated", "qemu")]
    if not serial:
        hint = "connect the board with a cable that carries data; on a Pi enable the serial port first"
        yield _problem(DeviceError("this machine has no serial port", hint, "port-missing"))
    for report in look_at_all(serial, baud):
        if report.info is not None:
            yield Finding(f"{report.info.name} answers at {report.port}")
            yield _firmware(report.info)
            yield _model(report.info)
        else:
            assert report.error is not None
            yield _problem(report.error)
    info = look_at("emulated", baud)
    yield Finding(f"{info.name} answers at emulated, where no hardware is needed")


def _other_programs(port: str) -> Iterator[Finding]:
    """Programs that have the port open, with or without a lock (Linux, and only those of this user)."""
    if not port.startswith("/"):
        return
    device = os.path.realpath(port)
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        process = link.parts[2]
        try:
            if int(process) == os.getpid() or str(link.readlink()) != device:
                continue
            name = (link.parents[1] / "comm").read_text().strip()
        except OSError:
            continue
        hint = f"close it: it takes bytes away that are for edgespike (kill {process} ends it)"
        yield _problem(DeviceError(f"{name} (process {process}) has {port} open", hint, "port-busy"))
        return


def _try_bauds(port: str, baud: int) -> DeviceError | None:
    """What to say when a board answers at another baud."""
    if "://" in port or port.startswith("qemu"):
        return None
    for other in USUAL_BAUDS:
        if other == baud:
            continue
        try:
            info = look_at(port, other, PATIENCE / 2)
        except EdgespikeError:
            continue
        return DeviceError(
            f"{info.name} answers at {port} with {other} baud, not with {baud}", f"add --baud {other}", "baud"
        )
    return None


# ---- a board ------------------------------------------------------------------


def _firmware(info: HelloInfo) -> Finding:
    board, protocol, ours = (".".join(map(str, v)) for v in (info.version, info.protocol, _link.PROTOCOL))
    said = f"its firmware is of edgespike {board}, link protocol {protocol}"
    if info.protocol < _link.PROTOCOL:
        hint = f"update it: this program speaks {ours} and uses what is new there"
        return _problem(DeviceError(f"{said}, which is older", hint, "firmware-old"))
    here = "" if board == edgespike.__version__ else f"; here is {edgespike.__version__}: that works"
    return Finding(said + here)


def _model(info: HelloInfo) -> Finding:
    room = f"there is room for {info.model_capacity:,} bytes, and {info.arena_capacity:,} of arena"
    if info.model_size == 0:
        return Finding(f"it holds no model; {room}")
    return Finding(f"it holds a model of {info.model_size:,} bytes, CRC-32 {info.model_crc:08x}; {room}")


def _line(port: str, baud: int) -> Iterator[Finding]:
    """Greets a board that is known to be one, some times."""
    transport = open_transport(port, baud)
    try:
        connection = Connection(transport, timeout=PATIENCE, retry=0.25)
        trips = []
        for _ in range(_GREETINGS):
            began = time.perf_counter()
            connection.hello(QEMU_PATIENCE)
            trips.append(time.perf_counter() - began)
        reader = connection.reader
    except EdgespikeError as error:
        yield _problem(error)
        return
    finally:
        transport.close()
    # The frame that opening cut in two, and a greeting in the midst of it, may be damaged.
    damaged = reader.bad_crc + reader.malformed + reader.too_long
    said = f"{_GREETINGS} greetings took {1e3 * statistics.median(trips):.1f} ms each"
    if damaged > 1:
        hint = "use a shorter cable, connect the grounds, or choose a lower baud rate"
        yield _problem(DeviceError(f"{said}, and {damaged} frames came damaged", hint, "line"))
    else:
        yield Finding(f"{said}, and none was damaged")


# ---- QEMU ---------------------------------------------------------------------


def _examine_qemu(choice: str | None) -> Iterator[Finding]:
    programs = {
        "qemu-system-arm": ("install it (Debian: sudo apt install qemu-system-arm)", "qemu-missing"),
        "arm-none-eabi-gcc": (
            "install it (Debian: sudo apt install gcc-arm-none-eabi libnewlib-arm-none-eabi), "
            "or name a built program: --port qemu:FILE.elf",
            "toolchain-missing",
        ),
    }
    try:
        board, elf = find_firmware(choice)
        del programs["arm-none-eabi-gcc"]  # there is nothing to build
        yield Finding(f"the firmware of {board} is {elf}")
    except EdgespikeError as error:
        yield _problem(error)
    for program, (hint, code) in programs.items():
        path = shutil.which(program)
        if path:
            yield Finding(f"{program} is {path}")
        else:
            yield _problem(DeviceError(f"{program} is not installed", hint, code))
