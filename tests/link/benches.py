"""Boards that can be reset and pulled off their cable, again and again: emulated, behind a pty, in QEMU."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import tempfile
import termios
import threading
import time
from pathlib import Path
from shutil import which
from typing import Protocol

from faulty_pipe import Clock, Generator, RealClock
from peers import open_terminal, read_some, running, write_all

from edgespike._link import EmulatedBoard
from edgespike.link import Transport, open_transport
from edgespike.link.qemu import QemuTransport, find_firmware
from edgespike.link.transports import EmulatedTransport, vanished

BOARDS = Path(__file__).resolve().parents[2] / "firmware" / "boards"
BAUD, NEW_BAUD, OTHER_BAUD, IMPOSSIBLE_BAUD = 921_600, 460_800, 115_200, 9_000_000
NOISE = b"\xe6"  # what bytes of another baud look like


class Bench(Protocol):
    """A board. ``retry``, ``timeout``: seconds for clients."""

    clock: Clock
    retry: float
    timeout: float
    longest_run: float

    def open(self) -> Transport:
        """The port, opened as another program would."""

    def reset(self) -> None:
        """The board starts again, with nothing."""

    def pull(self) -> None:
        """Pull the cable; opening the port puts it back. The board goes on."""

    def board_baud(self) -> int:
        """The baud that the board has now."""

    def close(self) -> None: ...


def board_of_a_seed(rng: Generator) -> EmulatedBoard:
    payload = int(rng.choice([128, 256, 1024]))
    ring = int(rng.choice([2048, 4096, 16384]))
    return EmulatedBoard(model_capacity=1 << 16, arena_capacity=1 << 18, max_payload=payload, ring_size=ring)


class EmulatedBench:
    """The emulated board, in time that passes only when someone waits."""

    retry, timeout, longest_run = 0.25, 15.0, 5000.0

    def __init__(self, rng: Generator) -> None:
        self.clock = Clock()
        self._board = board_of_a_seed(rng)
        self._cables = 0

    def open(self) -> Transport:
        bench, cable = self, self._cables

        class InTime(EmulatedTransport):
            def write(self, data: bytes) -> None:
                bench._check(cable)
                super().write(data)

            def read(self, timeout: float) -> bytes:
                bench._check(cable)
                bench._board.set_clock(int(bench.clock() * 1e6) & 0xFFFFFFFF)
                return super().read(0.0)

        transport = InTime(self._board)
        transport.set_baud(BAUD)
        return transport

    def _check(self, cable: int) -> None:
        if cable != self._cables:
            raise vanished("emulated", "the cable was pulled")

    def reset(self) -> None:
        self._board.reboot()

    def pull(self) -> None:
        self._cables += 1

    def board_baud(self) -> int:
        return self._board.baud

    def close(self) -> None:
        pass


class PtyBench:
    """The emulated board in another thread, at one end of a pseudo terminal; programs open the other.

    The terminal knows the baud that a program sets. With another one than the board's bytes are noise.
    """

    retry, timeout, longest_run = 0.05, 1.5, 60.0

    def __init__(self, rng: Generator) -> None:
        self.clock = RealClock()
        self._board = board_of_a_seed(rng)
        self._handle, self._other, self._name = open_terminal()
        self._wishes: dict[str, threading.Event] = {}
        self._context = contextlib.ExitStack()
        self._context.enter_context(running(self._work))

    def _work(self) -> bool:
        """What the board's thread does over and over; it alone touches board and terminal."""
        for wish, done in list(self._wishes.items()):
            if wish == "reset":
                self._board.reboot()
            else:
                self._hang_up()
                self._handle, self._other, self._name = open_terminal()
            del self._wishes[wish]
            done.set()
        waiting = self._on_the_line(read_some(self._handle))
        while waiting:
            waiting = waiting[self._board.write(waiting) :]
            self._run()
        self._run()
        return True

    def _run(self) -> None:
        """Let the board work, and send what it says with the baud that it has before."""
        baud = self._board.baud
        write_all(self._handle, self._on_the_line(self._board.read(), baud))

    def _on_the_line(self, data: bytes, baud: int | None = None) -> bytes:
        if not data:
            return data
        theirs = termios.tcgetattr(self._other)[5]
        return data if theirs == getattr(termios, f"B{baud or self._board.baud}", None) else NOISE * len(data)

    def _hang_up(self) -> None:
        os.close(self._handle)
        os.close(self._other)

    def _wish(self, what: str) -> None:
        done = threading.Event()
        self._wishes[what] = done
        assert done.wait(10), "the board's thread has ended"

    def open(self) -> Transport:
        return open_transport(self._name, BAUD)

    def reset(self) -> None:
        self._wish("reset")

    def pull(self) -> None:
        self._wish("pull")

    def board_baud(self) -> int:
        return self._board.baud

    def close(self) -> None:
        self._context.close()
        self._hang_up()


def _constant(board: str, name: str) -> int:
    """What memory.h of a board of Arm's MPS family says; they have room for the matrix, and one UART."""
    found = re.search(rf"#define {name} (\w+?)u\n", (BOARDS / board / "memory.h").read_text())
    assert found, f"the matrix does not run on {board}: mps2-an385, mps2-an386, mps2-an500, mps3-an547"
    return int(found[1], 0)


class QemuBench:
    """The firmware on a board of QEMU. A reset takes its power away, so its boot epoch may be what it was.

    QEMU passes bytes at any baud; here what is sent with another than the UART's divider says is noise.
    """

    retry, timeout, longest_run = 0.05, 1.5, 60.0

    def __init__(self, port: str) -> None:
        self.clock = RealClock()
        self._board, self._elf = find_firmware(port.removeprefix("qemu").removeprefix(":") or None)
        program = which("qemu-system-arm")
        assert program, "qemu-system-arm is not installed"
        self._program = program
        self._folder = tempfile.TemporaryDirectory()
        self._cables = 0
        self._start()

    def _start(self) -> None:
        monitor = Path(self._folder.name) / "monitor"
        more = ["-monitor", f"unix:{monitor},server=on,wait=off"]
        self._transport = QemuTransport(self._program, self._board, self._elf, more)
        for _ in range(500):
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                self._monitor = socket.socket(socket.AF_UNIX)
                self._monitor.connect(str(monitor))
                break
            time.sleep(0.01)
        self._answer()

    def _answer(self) -> str:
        """What the monitor says up to its next prompt."""
        said = b""
        while not said.endswith(b"(qemu) "):
            said += self._monitor.recv(4096)
        return said.decode()

    def board_baud(self) -> int:
        uart, clock_hz = (_constant(self._board, name) for name in ("UART_ADDRESS", "UART_CLOCK_HZ"))
        self._monitor.sendall(f"xp /1wx {uart + 16:#x}\n".encode())
        found = re.search(r": 0x([0-9a-f]{8})", self._answer())
        assert found
        divider = int(found[1], 16)  # what driver cmsdk_uart.c wrote last; 0: it has not begun
        return clock_hz // divider if divider else 0

    def open(self) -> Transport:
        bench, cable = self, self._cables

        class Line:
            """The UART, whatever QEMU is behind it."""

            name, patience = str(bench._elf), 5.0

            def __init__(self) -> None:
                self.baud: int | None = BAUD

            def _check(self) -> None:
                if cable != bench._cables:
                    raise vanished(self.name, "the cable was pulled")

            def write(self, data: bytes) -> None:
                self._check()
                assert self.baud is not None
                heard = abs(bench.board_baud() - self.baud) < self.baud // 20
                bench._transport.write(data if heard else NOISE * len(data))

            def read(self, timeout: float) -> bytes:
                self._check()
                return bench._transport.read(timeout)

            def set_baud(self, baud: int) -> None:
                self.baud = baud

            def close(self) -> None:
                pass

        return Line()

    def reset(self) -> None:
        self._stop()
        self._start()

    def pull(self) -> None:
        self._cables += 1

    def _stop(self) -> None:
        self._monitor.close()
        self._transport.close()

    def close(self) -> None:
        self._stop()
        self._folder.cleanup()
