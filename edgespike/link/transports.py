"""Byte pipes to boards: serial ports, sockets, the emulated board, QEMU."""

from __future__ import annotations

import errno
import select
import socket
import time
from typing import Any, Protocol

from edgespike._link import EmulatedBoard
from edgespike.errors import DeviceError, UsageError

WRITE_SECONDS = 10.0
_READ_BYTES = 1 << 16


class Transport(Protocol):
    """A byte pipe. ``patience``: seconds that the board may take until it first answers.
    ``baud``: bits per second; None where there is no such thing.

    Reading and writing raise DeviceError (code ``vanished``) when the other end is gone.
    """

    name: str
    patience: float
    baud: int | None

    def write(self, data: bytes) -> None:
        """Send all of `data`."""

    def read(self, timeout: float) -> bytes:
        """What has come; empty if nothing comes for `timeout` seconds."""

    def set_baud(self, baud: int) -> None:
        """Change the baud, where there is one. Raises UsageError when this end cannot do it."""

    def close(self) -> None:
        """Let go of the port."""


def open_transport(port: str, baud: int = 921600) -> Transport:
    """Open a port.

    Args:
        port: ``emulated``; ``qemu``, ``qemu:BOARD`` or ``qemu:ELF``; ``socket://HOST:PORT``;
            a serial device such as ``/dev/ttyACM0``, or another URL that pyserial knows.
        baud: for serial devices, bits per second.

    Raises:
        DeviceError: the port cannot be opened; code and hint say why.
        UsageError: this is no port.
    """
    if port == "emulated":
        return EmulatedTransport(EmulatedBoard())
    if port == "qemu" or port.startswith("qemu:"):
        from edgespike.link.qemu import open_qemu

        return open_qemu(port[5:] or None)
    if port.startswith("socket://"):
        return SocketTransport(_connect_socket(port), port)
    return SerialTransport(_open_serial(port, baud), port)


def vanished(name: str, error: object) -> DeviceError:
    """The error for a port that is gone while in use."""
    return DeviceError(
        f"the board at {name} is gone: {error}", "check cable and power, then start again", "vanished"
    )


# ---- inside this process ------------------------------------------------------


class EmulatedTransport:
    """The emulated board. It runs while it is read. At another baud than the board's all bytes are noise."""

    patience = 1.0

    def __init__(self, board: EmulatedBoard, name: str = "emulated") -> None:
        self.board = board
        self.name = name
        self.baud: int | None = board.baud
        self._received = bytearray()

    def write(self, data: bytes) -> None:
        data = self._on_the_line(data, self.board.baud)
        try:
            while data:
                data = data[self.board.write(data) :]
                if data:
                    self._run()
        except OSError as error:
            raise vanished(self.name, error) from None

    def _run(self) -> None:
        baud = self.board.baud  # a change comes after what it sends
        self._received += self._on_the_line(self.board.read(), baud)

    def _on_the_line(self, data: bytes, baud: int) -> bytes:
        return data if baud == self.baud else b"\xe6" * len(data)

    def set_baud(self, baud: int) -> None:
        self.baud = baud

    def read(self, timeout: float) -> bytes:
        try:
            self._run()
        except OSError as error:
            raise vanished(self.name, error) from None
        if not self._received and timeout > 0:
            time.sleep(timeout)
        data = bytes(self._received)
        self._received.clear()
        return data

    def close(self) -> None:
        self._received.clear()


# ---- sockets -------------------------------------------------------------------


class SocketTransport:
    """A connected stream socket."""

    patience = 5.0
    baud: int | None = None

    def __init__(self, connection: socket.socket, name: str) -> None:
        self.name = name
        self._socket = connection
        self._socket.settimeout(WRITE_SECONDS)

    def write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise vanished(self.name, error) from None

    def read(self, timeout: float) -> bytes:
        try:
            ready, _, _ = select.select([self._socket], [], [], timeout)
            if not ready:
                return b""
            data = self._socket.recv(_READ_BYTES)
        except (OSError, ValueError) as error:
            raise vanished(self.name, error) from None
        if not data:
            raise vanished(self.name, "the connection was closed")
        return data

    def set_baud(self, baud: int) -> None:
        raise UsageError(f"port {self.name} has no baud rate")

    def close(self) -> None:
        self._socket.close()


def _connect_socket(url: str) -> socket.socket:
    host, separator, port = url.removeprefix("socket://").rstrip("/").rpartition(":")
    if not separator or not host or not port.isdecimal():
        raise UsageError(f"{url} is no address", "write socket://HOST:PORT")
    try:
        connection = socket.create_connection((host.strip("[]"), int(port)), timeout=5.0)
    except (OSError, OverflowError) as error:
        hint = "check that something listens there"
        raise DeviceError(f"{url} cannot be reached: {error}", hint, "port-missing") from None
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


# ---- serial ports ----------------------------------------------------------------


class SerialTransport:
    """A port opened by pyserial. Opening restarts some boards, so they may take a while to answer."""

    patience = 5.0

    def __init__(self, port: Any, name: str) -> None:
        self.name = name
        self.baud: int | None = port.baudrate
        self._port = port
        try:
            self._handle: int | None = port.fileno()
        except (OSError, AttributeError):
            self._handle = None  # loop://, rfc2217://, Windows

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except OSError as error:  # of which SerialException is one
            raise vanished(self.name, error) from None

    def read(self, timeout: float) -> bytes:
        try:
            if self._handle is not None:
                select.select([self._handle], [], [], timeout)
            elif not self._port.in_waiting:
                time.sleep(min(timeout, 0.001))
            return bytes(self._port.read(_READ_BYTES))
        except (OSError, TypeError, ValueError) as error:
            raise vanished(self.name, error) from None

    def set_baud(self, baud: int) -> None:
        try:
            self._port.baudrate = baud
            self._port.reset_input_buffer()
        except ValueError as error:
            raise UsageError(f"port {self.name} cannot be set to {baud} baud: {error}") from None
        except OSError as error:
            raise vanished(self.name, error) from None
        self.baud = baud

    def close(self) -> None:
        self._port.close()


def _open_serial(port: str, baud: int) -> Any:
    import serial

    try:
        return serial.serial_for_url(
            port, baudrate=baud, timeout=0, write_timeout=WRITE_SECONDS, exclusive=True
        )
    except ValueError as error:
        raise UsageError(f"port {port} at {baud} baud: {error}") from None
    except OSError as error:  # of which SerialException is one
        raise _open_error(port, error) from None


def _open_error(port: str, error: OSError) -> DeviceError:
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return DeviceError(f"there is no port {port}", _known_ports(), "port-missing")
    if error.errno in (errno.EACCES, errno.EPERM):
        hint = "add yourself to the port's group (often: sudo usermod -aG dialout $USER), then log in again"
        return DeviceError(f"port {port} may not be opened by you", hint, "port-permission")
    if error.errno in (errno.EBUSY, errno.EAGAIN):
        hint = f"close the other program that uses it; `edgespike doctor --port {port}` names it"
        return DeviceError(f"port {port} is in use", hint, "port-busy")
    return DeviceError(f"port {port} cannot be opened: {error}", _known_ports(), "port")


def _known_ports() -> str:
    from serial.tools.list_ports import comports

    names = sorted(port.device for port in comports())
    found = "serial ports here: " + ", ".join(names) if names else "no serial port was found here"
    return f"{found}; without a board use --port emulated"
