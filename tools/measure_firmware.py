"""What the firmware takes of each board: flash, RAM, and the most stack that it can need.

    PYTHONPATH=. python tools/measure_firmware.py             a table
    PYTHONPATH=. python tools/measure_firmware.py --record    keep it in firmware.json and docs/fit.md
    PYTHONPATH=. python tools/measure_firmware.py --probe     also run it in QEMU on a painted stack

Flash and RAM are the linker's. The stack is the deepest chain of calls in GCC's call graph
(-fcallgraph-info), library functions as they are in the ELF, with the deepest interrupt on top.
Needs arm-none-eabi-gcc.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import edgespike
from edgespike.boards import BOARDS, Board
from edgespike.fit import memory_of
from edgespike.link import DeviceClient, open_transport, qemu
from edgespike.modelfile import decode_model

ROOT = Path(__file__).resolve().parents[1]
FIRMWARE = ROOT / "firmware"
GOLDEN = ROOT / "tests" / "golden"
RECORD = Path(edgespike.__file__).parent / "data" / "firmware.json"
PAGE = ROOT / "docs" / "fit.md"
TABLE = re.compile(r"(<!-- made by tools/measure_firmware.py -->\n\n).*?(\n\n)", re.DOTALL)
TOOL = "arm-none-eabi-"
EXCEPTION_FRAME = 36  # registers that a Cortex-M saves, and 4 bytes to align them
# The device loop's commands are called through a pointer, from where they were read; so are the
# functions that main.c configures it with, from anywhere in it.
DISPATCH = ("command", "handle", "read_frame", "es_device_poll")
PAINT = 0xA5


def run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def compiler() -> str:
    return run(f"{TOOL}gcc", "--version").splitlines()[0]


def build(board: str, folder: Path) -> Path:
    """The firmware of a board as it always is, with call graphs beside the objects."""
    flags = re.search(r"CPU = (.*)", (FIRMWARE / "boards" / board / "board.mk").read_text())
    assert flags
    cpu = f"CPU={flags[1]} -fcallgraph-info=su"
    run("make", "--silent", "-C", FIRMWARE, f"BOARD={board}", f"OUT={folder}", cpu)
    return folder / "edgespike.elf"


def measure(elf: Path) -> dict[str, int]:
    """Bytes of flash; of RAM without arena, model and stack; and of the stack, at most."""
    sections = section_sizes(elf)
    graphs = [path.read_text() for path in elf.parent.glob("*.ci")]
    return {
        "flash": sections.get(".boot2", 0) + sections[".text"] + sections[".data"],
        "ram": sections[".data"] + sections[".bss"] + sections[".survives"],
        "stack": Stack(graphs, library_frames(elf)).most(),
    }


def section_sizes(elf: Path) -> dict[str, int]:
    rows = (line.split() for line in run(f"{TOOL}size", "-A", elf).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 3 and row[1].isdigit()}


# ---- stack -------------------------------------------------------------------


def library_frames(elf: Path) -> dict[str, int]:
    """What each function pushes and reserves, from its instructions: for those that GCC says nothing of."""
    frames: dict[str, int] = {}
    name = ""
    for line in run(f"{TOOL}objdump", "-d", "--no-show-raw-insn", elf).splitlines():
        if started := re.match(r"[0-9a-f]+ <(.+)>:", line):
            name = started[1]
            frames[name] = 0
        elif pushed := re.search(r"\t(?:push|stmdb\s+sp!,)\s*\{(.+)\}", line):
            frames[name] += 4 * sum(map(registers, pushed[1].split(", ")))
        elif taken := re.search(r"\tsub(?:\.w|w)?\s+sp, (?:sp, )?#(\d+)", line):
            frames[name] += int(taken[1])
    return frames


def registers(text: str) -> int:
    """How many registers ``r4`` or ``r4-r7`` names."""
    numbers = [int(number) for number in re.findall(r"r(\d+)", text)]
    return numbers[1] - numbers[0] + 1 if len(numbers) == 2 else 1


class Stack:
    """The call graph of a program."""

    def __init__(self, graphs: Iterable[str], library: dict[str, int]) -> None:
        self.frames: dict[str, int] = {}
        self.calls: dict[str, set[str]] = {}
        self.library = library
        for graph in graphs:
            for name, size, kind in re.findall(
                r'node: { title: "([^"]+)" label: "[^"]*\\n(\d+) bytes \((\w+)', graph
            ):
                if kind != "static":
                    raise SystemExit(f"the stack of {name} is not bounded")
                self.frames[name] = int(size)
            for caller, called in re.findall(r'edge: { sourcename: "([^"]+)" targetname: "([^"]+)"', graph):
                self.calls.setdefault(caller, set()).add(called)
        called = set().union(*self.calls.values())
        roots = self.frames.keys() - called
        self.commands = {name for name in roots if "es_device.c:" in name}
        self.configured = {name for name in roots if name.startswith("main.c:")}
        others = re.compile(r"reset_handler|es_\w+\.c:|es_|main\.c")
        self.handlers = {name for name in roots if not others.search(name)}

    def most(self) -> int:
        """From reset on, with the deepest interrupt on top."""
        interrupt = max(self._depth(name, False) for name in self.handlers)
        return self._depth("reset_handler", True) + EXCEPTION_FRAME + interrupt

    @cache  # noqa: B019
    def _depth(self, name: str, dispatches: bool) -> int:
        """Of a function and what it calls; commands are called only once in a chain."""
        deepest = 0
        for called in self.calls.get(name, ()):
            if called != "__indirect_call":
                deepest = max(deepest, self._depth(called, dispatches))
                continue
            targets = list(self.configured)
            if dispatches and name.split(":")[-1] in DISPATCH:
                targets += self.commands
            deepest = max(deepest, *(self._depth(full, False) for full in targets))
        own = self.frames[name] if name in self.frames else self.library.get(name, 0)
        return own + deepest


# ---- a painted stack -----------------------------------------------------------


class Debugger:
    """As much of GDB's remote protocol as reading and writing memory takes."""

    def __init__(self, port: int) -> None:
        self.socket = connect(port)

    def ask(self, command: str) -> str:
        self.tell(command)
        return self.answer()

    def tell(self, command: str) -> None:
        self.socket.sendall(f"${command}#{sum(command.encode()) % 256:02x}".encode())

    def answer(self) -> str:
        received = b""
        while b"#" not in received or len(received) < received.index(b"#") + 3:
            received += self.socket.recv(4096)
        self.socket.sendall(b"+")
        return received[received.index(b"$") + 1 : received.index(b"#")].decode()

    def write(self, address: int, data: bytes) -> None:
        for at in range(0, len(data), 512):
            part = data[at : at + 512]
            assert self.ask(f"M{address + at:x},{len(part):x}:{part.hex()}") == "OK"

    def read(self, address: int, size: int) -> bytes:
        parts = (self.ask(f"m{address + at:x},{min(512, size - at):x}") for at in range(0, size, 512))
        return b"".join(map(bytes.fromhex, parts))


def connect(port: int) -> socket.socket:
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=30)
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise SystemExit("QEMU does not answer")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def probe(board: Board, elf: Path, models: Iterable[bytes]) -> int:
    """Bytes of stack that the firmware used in QEMU while models were uploaded and tested themselves."""
    (top,) = (int(line.split()[0], 16) for line in run(f"{TOOL}nm", elf).splitlines() if "stack_top" in line)
    bottom = top - board.stack_bytes
    serial, debug = free_ports(2)
    command = ["qemu-system-arm", "-M", board.name, "-kernel", str(elf), "-display", "none", "-S"]
    command += ["-monitor", "none", "-serial", f"tcp:127.0.0.1:{serial},server=on,wait=off"]
    command += ["-gdb", f"tcp:127.0.0.1:{debug}"]
    with subprocess.Popen(command) as process:
        try:
            debugger = Debugger(debug)
            debugger.write(bottom, bytes([PAINT]) * board.stack_bytes)
            debugger.tell("c")
            client = DeviceClient(open_transport(f"socket://127.0.0.1:{serial}"))
            for model in models:
                client.upload(model)
            client.stats()
            client.close()
            debugger.socket.sendall(b"\x03")
            debugger.answer()
            painted = debugger.read(bottom, board.stack_bytes)
        finally:
            process.kill()
    return board.stack_bytes - (len(painted) - len(painted.lstrip(bytes([PAINT]))))


def table(boards: dict[str, dict[str, int]]) -> str:
    """What was measured, for docs/fit.md."""
    lines = ["| Board | flash | variables | stack, at most | kept |", "|---|---:|---:|---:|---:|"]
    for board in BOARDS:
        sizes = [*boards[board.name].values(), board.stack_bytes]
        lines.append(f"| {board.name} | " + " | ".join(f"{size:,}" for size in sizes) + " |")
    return "\n".join(lines)


def golden_models(board: Board) -> list[bytes]:
    """The golden models that fit a board; each tests itself when it is uploaded."""
    models = [path.read_bytes() for path in sorted(GOLDEN.glob("*.esg"))]
    return [model for model in models if memory_of(decode_model(model), len(model), board).fits]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--probe", action="store_true")
    options = parser.parse_args()
    boards = {}
    print(f"{'bytes':20}{'flash':>9}{'RAM':>9}{'stack':>9}{'kept':>9}" + f"{'used':>9}" * options.probe)
    for board in BOARDS:
        with tempfile.TemporaryDirectory() as name:
            elf = build(board.name, Path(name))
            boards[board.name] = sizes = measure(elf)
            print(f"{board.name:20}" + "".join(f"{size:9,}" for size in sizes.values()), end="")
            print(f"{board.stack_bytes:9,}", end="")
            emulated = options.probe and board.name in qemu.BOARDS
            print(f"{probe(board, elf, golden_models(board)):9,}" if emulated else "", flush=True)
    if options.record:
        RECORD.write_text(json.dumps({"compiler": compiler(), "boards": boards}, indent=1) + "\n")
        PAGE.write_text(TABLE.sub(lambda old: old[1] + table(boards) + old[2], PAGE.read_text()))


if __name__ == "__main__":
    main()
