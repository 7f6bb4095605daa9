"""The promises of docs/security.md are those that the harnesses require, by number; libFuzzer builds."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
HARNESSES = {
    "The core": ["tests/core/fuzz.c"],
    "The link": ["tests/link/fuzz_board.h", "tests/link/fuzz_stream.c", "tests/link/fuzz_device.c"],
    "Python": ["tests/core/test_buffers.py"],
}


def numbers(text: str) -> set[str]:
    return set(re.findall(r"\bS\d+\b", text))


@pytest.mark.parametrize("part", HARNESSES)
def test_every_promise_is_required_by_a_harness(part: str) -> None:
    section = PAGE.split(f"## {part}\n")[1].split("\n## ")[0]
    promised = set(re.findall(r"^\| (S\d+) \|", section, re.MULTILINE))
    assert len(promised) >= 4
    code = "".join((ROOT / path).read_text() for path in HARNESSES[part])
    assert numbers(code) == promised


def test_no_number_is_given_twice() -> None:
    rows = re.findall(r"^\| (S\d+) \|", PAGE, re.MULTILINE)
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize("harness", ["tests/core/fuzz.c", "tests/link/fuzz_stream.c"])
def test_the_harnesses_take_the_bytes_of_libfuzzer(
    harness: str, tmp_path: Path, need: Callable[[object, str], None]
) -> None:
    """The entry that libFuzzer calls, called once: clang itself is not needed."""
    need(shutil.which("gcc"), "gcc is not installed (apt install gcc)")
    model = ROOT / "tests" / "golden" / "seed_2.esg"
    (tmp_path / "main.c").write_text(
        """#include <stdint.h>
#include <stdio.h>
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int main(int argc, char **argv)
{
    static uint8_t bytes[1 << 14];
    FILE *file = fopen(argv[argc - 1], "rb");
    return LLVMFuzzerTestOneInput(bytes, fread(bytes, 1, sizeof bytes, file));
}
"""
    )
    core = ROOT / "edgespike" / "core"
    command = ["gcc", "-std=c99", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command += ["-DLIBFUZZER", "-D_POSIX_C_SOURCE=200112L", f"-I{core}", "-o", str(tmp_path / "fuzz")]
    sources = [tmp_path / "main.c", ROOT / harness, *sorted(core.glob("*.c"))]
    subprocess.run([*command, *map(str, sources)], check=True)
    subprocess.run([tmp_path / "fuzz", model], check=True, env={"FUZZ_MODEL": str(model)}, timeout=60)
