"""Measures speed on this machine, side by side with other runtimes in the same run.

    pip install ".[convert]"
    PYTHONPATH=. python tools/bench DATA                         all tables
    PYTHONPATH=. python tools/bench DATA --only cnn --record     one, kept in results.json and the README

DATA: folder with fashion.npz, mnist.npz, onnx/ and nmnist_train_1000.zip. ``frameworks`` needs
what tests/frameworks/requirements.txt says. Numbers move with what else the machine does; the
tools of a table take turns, so that ratios move less.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from tables import machine, record

TABLES = (
    "cnn",
    "video",
    "sensor",
    "activity",
    "process",
    "frameworks",
    "cortex_m4",
    "cortex_m4_synops",
    "cortex_m4_events",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", choices=TABLES, action="append", help="may be given several times")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row or table")
    parser.add_argument("--json", action="store_true", help="JSON in place of Markdown")
    parser.add_argument(
        "--record", action="store_true", help="keep the tables in results.json and the README"
    )
    options = parser.parse_args()
    print(machine(), file=sys.stderr)
    for name in options.only or TABLES:
        table = import_module(name).measure(options.data, options.seconds)
        if options.json:
            print(json.dumps(asdict(table)), flush=True)
        else:
            print(f"{table.about}\n\n{table.markdown()}\n", flush=True)
        if options.record:
            record([table])


if __name__ == "__main__":
    main()
