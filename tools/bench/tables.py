"""Tables of measurements: printed, kept as JSON, and put into the README."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgespike import _core
from edgespike.benchmark import cpu_name

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
RESULTS = Path(__file__).with_name("results.json")


@dataclass(frozen=True)
class Table:
    """One measurement: what it is of, and rows of text or numbers. ``about`` says how it was made."""

    name: str
    about: str
    columns: tuple[str, ...]
    rows: list[tuple[str | float, ...]]

    def markdown(self) -> str:
        """As Markdown; the first column is text."""
        head = f"| {' | '.join(self.columns)} |\n|---{'|---:' * (len(self.columns) - 1)}|\n"
        return head + "\n".join(f"| {' | '.join(map(shown, row))} |" for row in self.rows)


def shown(cell: str | float) -> str:
    """A number with three figures, or text as it is."""
    if isinstance(cell, str):
        return cell
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"


def machine() -> str:
    """What was measured with."""
    return f"{cpu_name()}, kernels {_core.chosen_path()}, onnxruntime {version('onnxruntime')}"


def record(tables: list[Table]) -> None:
    """Keeps tables in results.json, and those that the README has a place for there."""
    kept: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    text = README.read_text()
    for table in tables:
        kept[table.name] = {"machine": machine(), **asdict(table)}
        before, mark, after = text.partition(f"<!-- made by tools/bench: {table.name} -->\n\n")
        if mark:
            text = before + mark + table.markdown() + "\n\n" + after.partition("\n\n")[2]
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    README.write_text(text)
