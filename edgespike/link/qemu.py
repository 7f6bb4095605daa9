"""The firmware on an emulated Cortex-M4: QEMU's board mps2-an386, its UART on a socket pair."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import weakref
from pathlib import Path

from edgespike.errors import DeviceError
from edgespike.link.transports import SocketTransport

MACHINE = "mps2-an386"
# Becomes QEMU, with the UART on standard input. A watcher stays: when the lifeline on standard
# output closes, because this process ended in whatever way, it ends QEMU.
_LAUNCHER = '(read _; kill $$) <&1 >/dev/null 2>&1 & exec "$@" >/dev/null'


def find_firmware(elf: str | None = None) -> Path:
    """The firmware to run: `elf`, or the environment's EDGESPIKE_FIRMWARE, or a source checkout's build.

    Raises:
        DeviceError: there is none (code ``firmware-missing``).
    """
    given = elf or os.environ.get("EDGESPIKE_FIRMWARE")
    if given:
        if not Path(given).is_file():
            raise DeviceError(
                f"there is no firmware {given}", "build it: make -C firmware", "firmware-missing"
            )
        return Path(given)
    built = Path(__file__).parents[2] / "firmware" / "build" / MACHINE / "edgespike.elf"
    if not built.is_file():
        raise DeviceError(
            "no firmware for QEMU was found",
            "in a source checkout run `make -C firmware`, or name an ELF: --port qemu:ELF",
            "firmware-missing",
        )
    return built


def open_qemu(elf: str | None = None) -> QemuTransport:
    """Start QEMU with the firmware.

    Raises:
        DeviceError: QEMU or the firmware is missing (code and hint say which).
    """
    firmware = find_firmware(elf)
    program = shutil.which("qemu-system-arm")
    if program is None:
        raise DeviceError(
            "qemu-system-arm is not installed",
            "install it (Debian: sudo apt install qemu-system-arm), or use --port emulated",
            "qemu-missing",
        )
    return QemuTransport(program, firmware)


class QemuTransport(SocketTransport):
    """The UART of an emulated board. Closing it ends QEMU."""

    patience = 30.0

    def __init__(self, program: str, firmware: Path) -> None:
        ours, theirs = socket.socketpair()
        lifeline, our_lifeline = os.pipe()
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115
        arguments = [program, "-M", MACHINE, "-kernel", str(firmware), "-display", "none", "-monitor", "none"]
        # A multiplexed line has a buffer, which doubles the speed. Its escape character, which
        # would take a byte away, is set to what no byte is.
        arguments += ["-chardev", "socket,id=uart,fd=0,mux=on", "-serial", "chardev:uart", "-echr", "256"]
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
        hint = "check that the ELF was built for the board mps2-an386: make -C firmware"
        return DeviceError(f"QEMU ended: {last_line}", hint, "qemu")

    def close(self) -> None:
        super().close()
        self._end()
        self._messages.close()


def _end(process: subprocess.Popen[bytes], lifeline: int) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    os.close(lifeline)
