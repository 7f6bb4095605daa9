"""What the core costs on a Cortex-M: code by file, writable data, stack; and whether it keeps its budget.

    python tools/size.py               a table
    python tools/size.py --check       fail if a limit is broken, or something grew by more than 1 %
    python tools/size.py --record      keep the present numbers in tools/size_budget.json and the README

Needs arm-none-eabi-gcc and an installed edgespike, whose core it measures. Numbers are compared only
with those of the same compiler; limits always hold.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import edgespike
from edgespike.export import CORE_FILES, GROUP, amalgamation, header

CORE = Path(edgespike.__file__).parent / "core"
BUDGET = Path(__file__).with_name("size_budget.json")
README = Path(__file__).resolve().parents[1] / "README.md"
TABLE = re.compile(r"(<!-- made by tools/size.py -->\n\n).*?(\n\n)", re.DOTALL)
TOOL = "arm-none-eabi-"
BUILDS = [("cortex-m0", "-Os"), ("cortex-m3", "-Os"), ("cortex-m4", "-Os"), ("cortex-m7", "-Os")]
BUILDS += [("cortex-m55", "-Os"), ("cortex-m4", "-O3")]
JUDGED = "cortex-m4 -Os"
LIMITS = {"core": 24 * 1024, "levels": 8 * 1024, "spikes": 8 * 1024, "data": 0, "stack": 1024}
GROWTH = 1.01
# Arithmetic on floats and allocation have no place in the core.
FORBIDDEN = re.compile(
    r"^(__aeabi_[dfh]\w+|__aeabi_u?[il]2[dfh]|__\w+[sdht]f\d?|malloc|calloc|realloc|free|_sbrk)$"
)

# Calls what a program with one network calls; its own bytes do not count.
PROGRAM = """
#include "edgespike.h"
extern const uint8_t data[];
extern uint8_t arena[];
int main(void)
{
    es_model model;
    es_net net;
    es_event event = {0, 0, 0, 0, 1};
    int32_t score;
    size_t used;
    int status = es_model_open(&model, data, 1000);
    status |= es_net_init(&net, &model, ES_PLAN_STREAMING, arena, 1000);
    status |= es_net_push(&net, &event, 1, &used);
    status |= es_net_advance(&net, 1);
    status |= es_net_finish(&net);
    status |= es_net_output(&net, &score, 1);
    return status | es_net_reset(&net);
}
"""


@dataclass(frozen=True)
class Sizes:
    """Bytes of one build.

    ``files``: code and constants by file, before linking. ``core``: their sum. ``network``: those
    that run a network, without the link. ``levels`` and ``spikes``: an export for one network of
    that kind, linked, with the library functions that it uses. ``data``: writable. ``stack``: the
    deepest chain of calls in the network's files or an export, without library functions;
    ``device_stack``: the same with the device loop.
    """

    files: dict[str, int]
    core: int
    network: int
    levels: int
    spikes: int
    data: int
    stack: int
    device_stack: int
    forbidden: tuple[str, ...]


def run(*command: object) -> str:
    """A command's output; the compiler's complaint if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def measure(cpu: str, level: str) -> Sizes:
    """Builds and measures everything for one processor and optimization level."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flags = [f"-mcpu={cpu}", "-mthumb", "-mfloat-abi=soft", "-std=c99", level]
        flags += ["-ffunction-sections", "-fdata-sections", f"-DES_GROUP={GROUP}"]
        sources = sorted(CORE.glob("*.c"))
        objects = {source.name: folder / f"{source.stem}.o" for source in sources}
        for source in sources:
            run(f"{TOOL}gcc", *flags, "-fcallgraph-info=su", "-c", source, "-o", objects[source.name])
        sections = [section_sizes(objects[source.name]) for source in sources]
        files = {source.name: text for source, (text, _) in zip(sources, sections, strict=True)}
        graphs = {name: objects[name].with_suffix(".ci").read_text() for name in objects}
        undefined = run(f"{TOOL}nm", "--undefined-only", "--just-symbols", *objects.values()).split()
        unused = ("checks", "currents", "delays", "tables", "int4", "early-exit")
        levels, levels_stack = one_network(folder, flags, (*unused, "spiking"))
        spikes, spikes_stack = one_network(folder, flags, (*unused, "pairs", "one-shot"))
        return Sizes(
            files,
            sum(files.values()),
            sum(files[name] for name in CORE_FILES),
            levels,
            spikes,
            sum(data for _, data in sections),
            max(deepest_chain(graphs[name] for name in CORE_FILES), levels_stack, spikes_stack),
            deepest_chain(graphs.values()),
            tuple(sorted({symbol for symbol in undefined if FORBIDDEN.match(symbol)})),
        )


def section_sizes(path: Path) -> tuple[int, int]:
    """Code with constants, and writable data."""
    text, data, bss = map(int, run(f"{TOOL}size", path).splitlines()[1].split()[:3])
    return text, data + bss


def one_network(folder: Path, flags: list[str], without: tuple[str, ...]) -> tuple[int, int]:
    """Code and constants of an export that leaves things out, linked into a program; and its stack."""
    (folder / "edgespike.c").write_text(amalgamation())
    (folder / "edgespike.h").write_text(header(without))
    (folder / "program.c").write_text(PROGRAM)
    elf = folder / "program.elf"
    linking = ["-nostartfiles", "--specs=nano.specs", "-Wl,--gc-sections", "-Wl,--entry=main"]
    linking += ["-Wl,--defsym=data=0x100000", "-Wl,--defsym=arena=0x20000000"]
    run(
        f"{TOOL}gcc",
        *flags,
        "-fcallgraph-info=su",
        "-c",
        folder / "edgespike.c",
        "-o",
        folder / "edgespike.o",
    )
    run(f"{TOOL}gcc", *flags, *linking, folder / "edgespike.o", folder / "program.c", "-o", elf)
    rows = (line.split() for line in run(f"{TOOL}nm", "--print-size", elf).splitlines())
    (program,) = (int(row[1], 16) for row in rows if row[-1] == "main")
    return section_sizes(elf)[0] - program, deepest_chain([(folder / "edgespike.ci").read_text()])


def deepest_chain(graphs: Iterable[str]) -> int:
    """The most stack that calls within these files take, from GCC's call graphs."""
    frames: dict[str, int] = {}
    calls: dict[str, set[str]] = {}
    for graph in graphs:
        for name, size, kind in re.findall(
            r'node: { title: "([^"]+)" label: "[^"]*\\n(\d+) bytes \((\w+)', graph
        ):
            if kind != "static":
                sys.exit(f"the stack of {name} is not bounded")
            frames[name] = int(size)
        for caller, called in re.findall(r'edge: { sourcename: "([^"]+)" targetname: "([^"]+)"', graph):
            calls.setdefault(caller, set()).add(called)

    @cache
    def depth(name: str) -> int:
        return frames.get(name, 0) + max((depth(called) for called in calls.get(name, ())), default=0)

    return max(map(depth, frames))


# ---- the budget -------------------------------------------------------------


def numbers(sizes: Sizes) -> dict[str, int]:
    """What the budget records of a build."""
    names = ("core", "network", "levels", "spikes", "data", "stack", "device_stack")
    return {name: getattr(sizes, name) for name in names}


def compiler() -> str:
    return run(f"{TOOL}gcc", "--version").splitlines()[0]


def broken(measured: dict[str, Sizes], recorded: Any) -> list[str]:
    """Every limit that is broken, and everything that grew beyond what was recorded."""
    complaints = []
    for build, sizes in measured.items():
        if sizes.forbidden:
            complaints.append(f"{build}: uses {', '.join(sizes.forbidden)}")
        for name, value in numbers(sizes).items():
            limit = LIMITS.get(name) if build == JUDGED or name == "data" else None
            if limit is not None and value > limit:
                complaints.append(f"{build}: {name} is {value} bytes, more than {limit}")
            before = recorded["builds"].get(build, {}).get(name)
            if recorded["compiler"] == compiler() and before is not None and value > before * GROWTH:
                complaints.append(f"{build}: {name} grew from {before} to {value} bytes")
    return complaints


def table(recorded: Any) -> str:
    """The recorded numbers for the README."""
    lines = [
        f"| Bytes, {recorded['compiler']} | all of the core | one ANN | one SNN | writable data | stack |",
        "|---|---|---|---|---|---|",
    ]
    for build, values in recorded["builds"].items():
        cells = (f"{values[name]:,}" for name in ("core", "levels", "spikes", "data", "stack"))
        lines.append(f"| {build} | {' | '.join(cells)} |")
    return "\n".join(lines)


def show(measured: dict[str, Sizes]) -> None:
    """A table: a column for each build."""
    rows: list[tuple[str, list[int]]] = []
    for name in next(iter(measured.values())).files:
        rows.append((name, [sizes.files[name] for sizes in measured.values()]))
    for name in numbers(next(iter(measured.values()))):
        rows.append((name, [numbers(sizes)[name] for sizes in measured.values()]))
    print(compiler())
    print(f"{'bytes':14}" + "".join(f"{build:>16}" for build in measured))
    for name, values in rows:
        print(f"{name:14}" + "".join(f"{value:16,}" for value in values))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    measured = {f"{cpu} {level}": measure(cpu, level) for cpu, level in BUILDS}
    show(measured)
    if options.record:
        recorded = {"compiler": compiler(), "builds": {build: numbers(measured[build]) for build in measured}}
        BUDGET.write_text(json.dumps(recorded, indent=2) + "\n")
        README.write_text(TABLE.sub(lambda old: old[1] + table(recorded) + old[2], README.read_text()))
    if options.check:
        complaints = broken(measured, json.loads(BUDGET.read_text()))
        if complaints:
            sys.exit("\n".join(complaints))


if __name__ == "__main__":
    main()
