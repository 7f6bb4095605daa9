"""The firmware on a board that QEMU emulates, its UART on a socket pair."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path

from edgespike.errors import DeviceError
from edgespike.link.transports import SocketTransport

BOARD = "mps2-an386"  # unless the port names another
# Folders of firmware/boards that QEMU has a machine for, of the same name.
BOARDS = (
    "mps2-an385",
    "mps2-an386",
    "mps2-an500",
    "mps3-an547",
    "netduinoplus2",
    "stm32vldiscovery",
    "microbit",
)
# Becomes QEMU, with the UART on standard input. A watcher stays: when the lifeline on standard
# output closes, because this process ended in whatever way, it ends QEMU.
_LAUNCHER = '(read _; kill $$) <&1 >/dev/null 2>&1 & exec "$@" >/dev/null'


def board_of(elf: Path) -> str:
    """The board that an ELF is for: its folder or the ELF is named after it, else mps2-an386."""
    return next((name for name in (elf.parent.name, elf.stem) if name in BOARDS), BOARD)


def find_firmware(choice: str | None = None) -> tuple[str, Path]:
    """A board, and the firmware to run on it.

    Args:
        choice: one of BOARDS, for what `make -C firmware` built in a source checkout (the current
            folder, or the one that this package lies in), or the path of an ELF. None: what the
            environment's EDGESPIKE_FIRMWARE chooses, else the board mps2-an386.

    Raises:
        DeviceError: there is none (code ``firmware-missing``).
    """
    chosen = choice or os.environ.get("EDGESPIKE_FIRMWARE") or BOARD
    if chosen in BOARDS:
        board = chosen
        checkouts = (Path.cwd(), Path(__file__).parents[2])
        built = [checkout / "firmware" / "build" / board / "edgespike.elf" for checkout in checkouts]
        elf = next(filter(Path.is_file, built), built[0])
        hint = f"in a source checkout run `make -C firmware BOARD={board}`, or name an ELF: --port qemu:ELF"
    else:
        elf = Path(chosen)
        board = board_of(elf.absolute())
        hint = f"name an ELF, or one of the boards {', '.join(BOARDS)}"
    if not elf.is_file():
        raise DeviceError(f"there is no firmware {elf}", hint, "firmware-missing")
    return board, elf


def open_qemu(choice: str | None = None) -> QemuTransport:
    """Start QEMU with the firmware (`choice`: see find_firmware).

    Raises:
        DeviceError: QEMU or the firmware is missing (code and hint say which).
    """
    board, firmware = find_firmware(choice)
    program = shutil.which("qemu-system-arm")
    if program is None:
        raise DeviceError(
            "qemu-system-arm is not installed",
            "install it (Debian: sudo apt install qemu-system-arm), or use --port emulated",
            "qemu-missing",
        )
    return QemuTransport(program, board, firmware)


class QemuTransport(SocketTransport):
    """The UART of an emulated board. Closing it ends QEMU. ``more``: arguments for QEMU, beside the usual."""

    patience = 30.0

    def __init__(self, program: str, board: str, firmware: Path, more: Sequence[str] = ()) -> None:
        ours, theirs = socket.socketpair()
        lifeline, our_lifeline = os.pipe()
        self._board = board
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115
        arguments = [program, "-M", board, "-kernel", str(firmware), "-display", "none", "-monitor", "none"]
        # A multiplexed line has a buffer, which doubles the speed. Its escape character, which
        # would take a byte away, is set to what no byte is.
        arguments += [
            "-chardev",
            "socket,id=uart,fd=0,mux=on",
            "-serial",
            "chardev:uart",
            "-echr",
            "256",
            *more,
        ]
        self._process = subprocess.Popen(
            ["sh", "-c", _LAUNCHER, "sh", *arguments],
            stdin=theirs.fileno(),
            stdout=lifeline,
            stderr=self._messages,
            start_new_session=True,  # Ctrl-C is for us
        )
        theirs.close()
        os.close(lifeline)
        self._end = weakref.finalize(self, _end, self._process, our_lifeline)
        super().__init__(ours, f"qemu:{firmware}")

    def read(self, timeout: float) -> bytes:
        try:
            return super().read(timeout)
        except DeviceError:
            raise self._ended() from None

    def write(self, data: bytes) -> None:
        try:
            super().write(data)
        except DeviceError:
            raise self._ended() from None

    def _ended(self) -> DeviceError:
        self._messages.seek(0)
        message = self._messages.read().decode(errors="replace").strip()
        last_line = message.splitlines()[-1] if message else "it gave no reason"
        hint = (
            f"check that the ELF was built for the board {self._board}: make -C firmware BOARD={self._board}"
        )
        return DeviceError(f"QEMU ended: {last_line}", hint, "qemu")

    def close(self) -> None:
        super().close()
        self._end()
        self._messages.close()


def _end(process: subprocess.Popen[bytes], lifeline: int) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    os.close(lifeline)
