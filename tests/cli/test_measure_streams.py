"""Short runs of tools/measure_streams.py: every event is accounted for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import edgespike

ROOT = Path(__file__).resolve().parents[2]
PATH = f"{Path(edgespike.__file__).parents[1]}{os.pathsep}{ROOT / 'tools'}"


def measure(*arguments: object) -> list[dict[str, Any]]:
    """The rows of a measurement, in none of which an event is missing."""
    command = [sys.executable, "-P", ROOT / "tools" / "measure_streams.py", *arguments, "--json"]
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "PYTHONPATH": PATH},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    assert rows and all(row["missing"] == 0 for row in rows)
    return rows


def test_rate() -> None:
    rows = measure("rate", "--events", 100_000)
    assert all(row["events"] >= 90_000 for row in rows)


def test_drift() -> None:
    rows = measure("drift", "--seconds", 1, "--speeds", 1, 20)
    assert [row["recordings"] for row in rows] == [3, 67]
    assert all(abs(row["seconds"] - row["recordings"] * 0.3 / row["speed"]) < 0.5 for row in rows)


def test_a_slow_line(data_folder: Path) -> None:
    (row,) = measure("line", data_folder / "nmnist_train_1000.zip", "--count", 4)
    assert row["recordings"] == 4 and row["in_results"] == row["offered"] > 10_000
    assert row["bytes_per_event"] > 2 and row["seconds"] > 1.2


def test_more_than_the_line_carries() -> None:
    (row,) = measure("endure", "--minutes", 0.05, "--port", "line", "--rate", 125_000)
    assert row["lost"] > 100_000 and row["results"] > 20
