"""Kernels in assembly give the bits of their twins in C."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from semihosting import run_on_board

import edgespike

CORE = Path(edgespike.__file__).parent / "core"
PROGRAM = Path(__file__).with_name("kernels.c")
BOARDS = [
    ("cortex-m3", "mps2-an385", 0),
    ("cortex-m4", "mps2-an386", 1),
    ("cortex-m7", "mps2-an500", 1),
]


@pytest.mark.parametrize(("processor", "board", "assembly"), BOARDS, ids=[row[0] for row in BOARDS])
@pytest.mark.parametrize("level", ["-O1", "-O2", "-O3", "-O2 -fno-omit-frame-pointer"])
def test_equal_bits(
    need: Callable[[object, str], None], processor: str, board: str, assembly: int, level: str, tmp_path: Path
) -> None:
    """All lengths up to 140 and up to five events; only these processors have the instructions."""
    for program in ("arm-none-eabi-gcc", "qemu-system-arm"):
        need(
            shutil.which(program),
            f"{program} is not installed (apt install gcc-arm-none-eabi qemu-system-arm)",
        )
    flags = [f"-mcpu={processor}", "-std=c99", *level.split(), f"-I{CORE}"]
    printed = run_on_board("arm-none-eabi-gcc", "qemu-system-arm", board, flags, [PROGRAM], tmp_path)
    assert printed.split("\n") == [f"846 compared, assembly {assembly}", ""]
