"""Counts instructions of jobs on emulated Cortex-M boards (tools/instruction_probe.c).

Programs have the flags of the firmware and run in QEMU with -icount, where an instruction takes
256 ns of the board's clock. Needs qemu-system-arm and arm-none-eabi-gcc.
"""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIRMWARE = ROOT / "firmware"
# A core's code runs on a board with that core, or one that has its instructions too.
CORES = {
    "cortex-m0": "mps2-an385",
    "cortex-m0plus": "mps2-an385",
    "cortex-m3": "mps2-an385",
    "cortex-m4": "mps2-an386",
    "cortex-m7": "mps2-an500",
    "cortex-m55": "mps3-an547",
}
SHIFT = 8  # an instruction takes 2**8 ns
BATCH = 1_900_000  # bytes of jobs that the smallest board has room for


def job_of(model: bytes, rest: bytes, kind: int) -> bytes:
    """For the probe: a model and its events (kind 0), or what a host sends (kind 1)."""
    parts = (struct.pack("<III", len(model), len(rest), kind), model, rest)
    return b"".join(part + bytes(-len(part) % 16) for part in parts)


def run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def build(core: str, folder: Path) -> Path:
    """The probe for a core, made by the firmware's Makefile with other sources."""
    run(
        "make",
        "--silent",
        "-C",
        FIRMWARE,
        f"BOARD={CORES[core]}",
        f"CPU=-mcpu={core} -mthumb -mfloat-abi=soft",
        f"OUT={folder}",
        "SOURCES=instruction_probe.c cortex-m/startup.c $(BOARD_SOURCES) $(wildcard $(CORE)/*.c)",
        "VPATH=. cortex-m drivers boards/$(BOARD) $(CORE) ../tools",
    )
    return folder / "edgespike.elf"


def measure(core: str, jobs: list[bytes]) -> list[int]:
    """Instructions of each job on a core."""
    with tempfile.TemporaryDirectory() as name:
        elf = build(core, Path(name))
        symbols = [line.split() for line in run("arm-none-eabi-nm", elf).splitlines()]
        (address,) = (int(row[0], 16) for row in symbols if row[-1] == "before_jobs")
        counts: list[int] = []
        for batch in batches(jobs):
            file = Path(name) / "jobs.bin"
            file.write_bytes(b"".join(batch) + bytes(16))
            counts += emulate(CORES[core], elf, file, address + 16)
    assert len(counts) == len(jobs)
    return counts


def batches(jobs: list[bytes]) -> Iterator[list[bytes]]:
    """The jobs in the same order, in parts that a board has room for."""
    batch: list[bytes] = []
    for job in jobs:
        if batch and sum(map(len, batch)) + len(job) > BATCH:
            yield batch
            batch = []
        batch.append(job)
    yield batch


def emulate(board: str, elf: Path, file: Path, address: int) -> list[int]:
    """Runs the jobs of one file."""
    command = ["qemu-system-arm", "-M", board, "-kernel", str(elf), "-display", "none", "-monitor", "none"]
    command += ["-icount", f"shift={SHIFT},align=off,sleep=off", "-serial", "stdio"]
    command += ["-device", f"loader,file={file},addr={address:#x},force-raw=on"]
    said = b""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as qemu:
        assert qemu.stdout is not None
        while not said.endswith(b"end"):
            byte = qemu.stdout.read(1)
            if not byte:
                raise SystemExit(f"QEMU ended after {said!r}")
            said += byte
        qemu.kill()
    numbers = [int(word) for word in said[:-3].split()]
    failed = [status for status in numbers[::2] if status]
    if failed:
        raise SystemExit(f"jobs failed with the codes {failed}")
    return [round(microseconds * 1000 / 2**SHIFT) for microseconds in numbers[1::2]]
