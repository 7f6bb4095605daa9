"""The filters in C as docs/streams.md shows them: on a host what Python gives, and for a Cortex-M."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgespike.events import EventFilter, FilterSettings, make_events

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "edgespike" / "core"
MAIN = """
#include <stdio.h>
int main(void)
{
    unsigned time, x, y, p;
    if (!camera_begin())
        return 1;
    while (scanf("%u %u %u %u", &time, &x, &y, &p) == 4)
        camera_event(time, (uint16_t)x, (uint16_t)y, (uint16_t)p);
    return 0;
}
void pass_on(const es_pixel_event *event)
{
    printf("%u %u %u %u\\n", (unsigned)event->time, event->x, event->y, event->polarity);
}
"""


def example() -> str:
    (code,) = re.findall(r"```c\n(.*?)```", (ROOT / "docs" / "streams.md").read_text(), re.DOTALL)
    return str(code)


def test_it_gives_what_python_gives(need: Callable[[object, str], None], tmp_path: Path) -> None:
    need(shutil.which("gcc"), "gcc is not installed (apt install gcc)")
    source, program = tmp_path / "example.c", tmp_path / "example"
    source.write_text(example() + MAIN)
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{CORE}"]
    filters = CORE / "sensor" / "es_filter.c"
    subprocess.run(["gcc", *flags, str(source), str(filters), "-o", str(program)], check=True)
    rng = np.random.default_rng(2)
    time_us = np.sort(rng.integers(0, 500_000, 40_000))
    events = make_events(time_us, *rng.integers(0, 64, (2, 40_000)), rng.integers(0, 2, 40_000))
    lines = "".join(f"{t} {x} {y} {p}\n" for t, x, y, p in events.tolist())
    done = subprocess.run([str(program)], input=lines, capture_output=True, text=True, check=True)
    settings = FilterSettings(background_us=10_000, refractory_us=1_000, downsample=2, rate=20_000)
    passed = EventFilter(settings, (64, 64))(events)
    assert done.stdout.split() == [str(number) for row in passed.tolist() for number in row]
    assert 1_000 < len(passed) <= 10_100


def test_it_compiles_for_a_microcontroller(arm_gcc: str, tmp_path: Path) -> None:
    source = tmp_path / "example.c"
    source.write_text(example())
    flags = ["-mcpu=cortex-m4", "-mthumb", "-Os", "-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{CORE}"]
    subprocess.run([arm_gcc, *flags, "-c", str(source), "-o", str(tmp_path / "example.o")], check=True)
