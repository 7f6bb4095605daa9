"""Byte pipes that do harm, and peers that are no boards."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import socket
import threading
import time
import tty
from collections.abc import Callable, Iterator

import numpy as np

from edgespike._link import EmulatedBoard, FrameReader
from edgespike.link.messages import Frame, FrameType
from edgespike.link.transports import EmulatedTransport


class FaultyTransport(EmulatedTransport):
    """An emulated board behind a line that changes, drops, repeats and holds back bytes, by seed.

    About one in ``every`` bytes is hit, in both directions.
    """

    def __init__(self, board: EmulatedBoard, seed: int, every: float) -> None:
        super().__init__(board)
        self.faults = 0
        self._rng = np.random.default_rng(seed)
        self._every = every
        self._held = b""

    def write(self, data: bytes) -> None:
        super().write(self._harm(data))

    def read(self, timeout: float) -> bytes:
        data = self._held + self._harm(super().read(min(timeout, 0.001)))
        keep = int(self._rng.integers(0, len(data) + 1)) if data else 0
        self._held = data[keep:] if self._rng.random() < 0.3 else b""
        return data[: len(data) - len(self._held)]

    def _harm(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self._rng.poisson(len(data) / self._every)):
            at = int(self._rng.integers(0, len(changed))) if changed else 0
            length = int(self._rng.integers(1, 40))
            kind = self._rng.integers(0, 4)
            self.faults += 1
            if kind == 0:
                changed[at : at + 1] = bytes([self._rng.integers(0, 256)])
            elif kind == 1:
                del changed[at : at + length]
            elif kind == 2:
                changed[at:at] = changed[at : at + length]
            else:
                changed[at:at] = self._rng.bytes(length)
        return bytes(changed)


class FrameDropper(EmulatedTransport):
    """An emulated board behind a line that loses whole frames: those that ``loses`` picks.

    ``lost`` has the frames lost on the way to the board.
    """

    def __init__(self, board: EmulatedBoard, loses: Callable[[Frame], bool]) -> None:
        super().__init__(board)
        self.lost: list[Frame] = []
        self._loses = loses

    def write(self, data: bytes) -> None:
        super().write(b"".join(self._pass(data)))

    def read(self, timeout: float) -> bytes:
        return super().read(min(timeout, 0.001))

    def _pass(self, data: bytes) -> Iterator[bytes]:
        for piece in data.split(b"\0")[:-1]:
            frames = [Frame(*fields) for fields in FrameReader().feed(piece + b"\0")]
            if any(self._loses(frame) for frame in frames):
                self.lost += frames
            else:
                yield piece + b"\0"


class Silence(EmulatedTransport):
    """An emulated board that hears nothing any more once ``deaf`` is set."""

    deaf = False

    def write(self, data: bytes) -> None:
        if not self.deaf:
            super().write(data)

    def read(self, timeout: float) -> bytes:
        if self.deaf:
            time.sleep(timeout)
            return b""
        return super().read(timeout)


def is_event_frame(frame: Frame) -> bool:
    return frame.type == FrameType.EVENTS


# ---- ports ---------------------------------------------------------------------


@contextlib.contextmanager
def running(work: Callable[[], bool]) -> Iterator[None]:
    """Calls `work` in a thread until it returns False, or the test is done."""
    done = threading.Event()

    def loop() -> None:
        with contextlib.suppress(OSError):
            while not done.is_set() and work():
                pass

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(5)


def open_terminal() -> tuple[int, int, str]:
    """A pseudo terminal: handles of both ends, and the name of the other, a serial port for programs."""
    handle, other = pty.openpty()
    tty.setraw(other)
    os.set_blocking(handle, False)
    return handle, other, os.ttyname(other)


@contextlib.contextmanager
def pseudo_terminal() -> Iterator[tuple[int, str]]:
    """The handle of one end, and the name of the other."""
    handle, other, name = open_terminal()
    try:
        yield handle, name
    finally:
        for open_handle in (handle, other):
            with contextlib.suppress(OSError):
                os.close(open_handle)


def read_some(handle: int) -> bytes:
    """What has come on a handle that does not block."""
    try:
        return os.read(handle, 4096)
    except BlockingIOError:
        time.sleep(0.0005)
        return b""


def write_all(handle: int, data: bytes) -> None:
    """Send on a handle that does not block; what nobody makes room for is lost, as on a serial line."""
    while data and select.select([], [handle], [], 0.05)[1]:
        with contextlib.suppress(BlockingIOError):
            data = data[os.write(handle, data) :]


def serve_board(handle: int, board: EmulatedBoard) -> Callable[[], bool]:
    """Work that connects a board to a handle."""
    waiting = bytearray()

    def work() -> bool:
        waiting.extend(read_some(handle))
        del waiting[: board.write(bytes(waiting))]
        write_all(handle, board.read())
        return True

    return work


def serve_echo(handle: int) -> Callable[[], bool]:
    def work() -> bool:
        os.write(handle, read_some(handle))
        return True

    return work


def serve_text(handle: int, text: bytes) -> Callable[[], bool]:
    """A peer that says the same at everything."""

    def work() -> bool:
        if read_some(handle):
            os.write(handle, text)
        return True

    return work


@contextlib.contextmanager
def socket_server(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server for one connection; yields its port URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    talk(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"socket://127.0.0.1:{server.getsockname()[1]}"
        thread.join(5)
