"""Every line of the loader is reached by the files of this folder, so every check has one that it refuses."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from patching import MODELS, SECTIONS, ModelFile
from test_malformed import BROKEN, CASES, Patch, ninth_section, valid

CORE = Path(__file__).resolve().parents[2] / "edgespike" / "core"

# Opens every file that it is given, in memory that is aligned.
OPENER = """
#include <stdio.h>
#include "edgespike.h"
static uint8_t bytes[1 << 16] __attribute__((aligned(ES_ALIGNMENT)));
int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        es_model model;
        printf("%d\\n", es_model_open(&model, bytes, fread(bytes, 1, sizeof bytes, file)));
        fclose(file);
    }
    return 0;
}
"""

# What no file can reach: the caller's arguments (core/api.c), another machine, another build
# (export/test_export.py), and what only running calls.
ELSEWHERE = re.compile(r"ES_ERR_(ENDIAN|ARGUMENT|ALIGN|LEFT_OUT)\b")
RUNNING = {"es_tick_us", "es_window_ticks", "es_model_source_hash", "needs_what_is_left_out"}


def patched(model: str, patch: Patch) -> bytes:
    file = ModelFile(valid(model))
    patch(file)
    file.repair()
    return bytes(file.data)


def damaged(section: str) -> bytes:
    """A section that is not what its checksum says."""
    file = ModelFile(valid("level"))
    file.data[file.start(section)] ^= 0x40
    return bytes(file.data)


def not_reached(report: str) -> list[str]:
    """Lines of gcov's report that never ran, outside of the functions that only running calls."""
    missed, function = [], ""
    for line in report.splitlines():
        count, number, code = line.split(":", 2)
        if named := re.match(r"\w.*?\b(\w+)\(", code):
            function = named[1]
        if count.strip() == "#####" and function not in RUNNING and not ELSEWHERE.search(code):
            missed.append(f"{number.strip()}: {code.strip()}")
    return missed


def test_every_line_of_the_loader_is_reached(tmp_path: Path, need: Callable[[object, str], None]) -> None:
    need(shutil.which("gcc") and shutil.which("gcov"), "gcc is not installed (apt install gcc)")
    good = [valid(name) for name in MODELS] + [patched("level", ninth_section(minor=1))]
    bad = [change(valid("level")) for change, _ in BROKEN.values()]
    bad += [damaged(section) for section in SECTIONS]
    bad += [patched(model, patch) for _, model, patch in CASES.values()]
    files = good + bad
    for number, data in enumerate(files):
        (tmp_path / f"{number}.esg").write_bytes(data)
    (tmp_path / "opener.c").write_text(OPENER)
    sources = [tmp_path / "opener.c", *sorted(CORE.glob("*.c"))]
    build = ["gcc", "-std=c99", "-O0", "--coverage", f"-I{CORE}", "-o", "opener", *map(str, sources)]
    subprocess.run(build, check=True, cwd=tmp_path)
    names = [f"{number}.esg" for number in range(len(files))]
    opened = subprocess.run(["./opener", *names], check=True, cwd=tmp_path, capture_output=True, text=True)
    accepted = [status == "0" for status in opened.stdout.split()]
    assert accepted == [True] * len(good) + [False] * len(bad)
    (notes,) = tmp_path.glob("*es_model.gcno")
    subprocess.run(["gcov", str(notes)], check=True, cwd=tmp_path, capture_output=True)
    assert not_reached((tmp_path / "es_model.c.gcov").read_text()) == []
