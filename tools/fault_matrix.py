"""Runs everything that can go wrong between a host and a board, by seed, and says how it ended.

    python tools/fault_matrix.py emulated --seeds 1000
    python tools/fault_matrix.py qemu --seeds 50
    python tools/fault_matrix.py pty --seeds 20 --case "two hosts at once" --first 7

Needs a source checkout: the faults are those of tests/link. A run completes, with the bits of the offline
network where the stream is lossless, or it reports what is wrong; else it is a failure, named by its seed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "link")]

from benches import Bench, EmulatedBench, PtyBench, QemuBench  # noqa: E402
from fault_cases import CASES, run  # noqa: E402


def main() -> int:
    """Prints a table; returns 1 if a run failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("port", help="emulated; pty; qemu or qemu:BOARD, a board of Arm's MPS family")
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--case", choices=CASES, action="append")
    arguments = parser.parse_args()
    table = Table("case", "runs", "completed", "reported", "events lost", "failed", "seconds")
    failed = 0
    shared = QemuBench(arguments.port) if arguments.port.startswith("qemu") else None
    for case in arguments.case or CASES:
        began = time.perf_counter()
        codes: Counter[str] = Counter()
        completed = lost = failures = 0
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            try:
                outcome = run(case, seed, bench := shared or new_bench(arguments.port, seed))
            except AssertionError as error:
                print(f"{case}, seed {seed}: {error}", file=sys.stderr, flush=True)
                failures += 1
                continue
            finally:
                if shared is None:
                    bench.close()
            completed += outcome.reported is None
            lost += outcome.lost
            if outcome.reported:
                codes[outcome.reported] += 1
        reported = ", ".join(f"{count} {code}" for code, count in codes.most_common()) or "-"
        seconds = f"{time.perf_counter() - began:.0f}"
        table.add_row(case, str(arguments.seeds), str(completed), reported, str(lost), str(failures), seconds)
        print(f"{case}: {completed} completed, {reported}, {failures} failed", file=sys.stderr, flush=True)
        failed += failures
    Console(width=110).print(table)
    if shared:
        shared.close()
    return 1 if failed else 0


def new_bench(port: str, seed: int) -> Bench:
    """A board of its own for a run."""
    rng = np.random.default_rng(seed)
    return PtyBench(rng) if port == "pty" else EmulatedBench(rng)


if __name__ == "__main__":
    sys.exit(main())
