"""Runs a C program on an emulated board that prints through the debugger."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

LINKER_SCRIPT = """
MEMORY { CODE (rx) : ORIGIN = 0, LENGTH = 4M  DATA (rw) : ORIGIN = 0x20000000, LENGTH = 4M }
__stack = ORIGIN(DATA) + LENGTH(DATA);
ENTRY(_start)
SECTIONS
{
    .text :
    {
        LONG(__stack) LONG(_start + 1)
        *(.text .text.* .rodata .rodata.*)
        KEEP(*(.init)) KEEP(*(.fini))
        __init_array_start = .; KEEP(*(.init_array*)) __init_array_end = .;
        __fini_array_start = .; KEEP(*(.fini_array*)) __fini_array_end = .;
    } > CODE
    .ARM.exidx : { *(.ARM.exidx*) } > CODE
    .data : { *(.data .data.*) } > DATA
    .bss : { __bss_start__ = .; *(.bss .bss.* COMMON) __bss_end__ = .; } > DATA
    end = ALIGN(8);
    __end__ = end;
}
"""


def run_on_board(
    arm_gcc: str, qemu: str, board: str, flags: Sequence[str], sources: Sequence[Path], folder: Path
) -> str:
    """What the program prints; ``folder`` takes what is built."""
    (folder / "board.ld").write_text(LINKER_SCRIPT)
    program = folder / "program.elf"
    link = ["--specs=rdimon.specs", "-T", folder / "board.ld"]
    run(arm_gcc, "-mthumb", *flags, *link, *sources, "-o", program)
    quiet = ["-display", "none", "-monitor", "none", "-serial", "none"]
    return run(qemu, "-M", board, *quiet, "-semihosting", "-kernel", program)


def run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
