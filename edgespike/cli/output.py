"""What a verb writes: results on stdout, progress on stderr and only on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

__all__ = [
    "byte_count",
    "percent",
    "percentiles_ms",
    "print_fields",
    "print_json",
    "print_table",
    "progress",
]


def print_json(value: Mapping[str, object]) -> None:
    """One JSON object on one line, at once."""
    print(json.dumps(value), flush=True)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    names: int = 1,
    file: IO[str] | None = None,
) -> None:
    """A table; the first ``names`` columns are text and may wrap, the others are numbers."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        if number < names:
            table.add_column(column, overflow="fold")
        else:
            table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    _console(file).print(table)


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Names and values below each other."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields:
        table.add_row(name, Text(str(value)))
    _console().print(table)


@contextmanager
def progress(description: str, total: float | None) -> Iterator[Callable[..., None]]:
    """A bar while something long runs.

    Yields a function to call with how much is done so far and, optionally, what is being done now.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(description, total=total)
        yield lambda done, now=description: bar.update(task, completed=done, description=now)


def byte_count(size: int) -> str:
    """``"12,345 bytes (12.1 KiB)"``."""
    return f"{size:,} bytes" if size < 1024 else f"{size:,} bytes ({size / 1024:,.1f} KiB)"


def percent(fraction: float | None, digits: int = 2) -> str:
    """``"98.95 %"``, or a dash where there is nothing to say."""
    return "-" if fraction is None else f"{100 * fraction:.{digits}f} %"


def percentiles_ms(seconds: Sequence[float], which: Sequence[int] = (50, 90, 99)) -> dict[str, float]:
    """Percentiles in milliseconds, under the names p50, p90 and p99."""
    return {f"p{p}": 1e3 * float(np.percentile(seconds, p)) for p in which}


def _console(file: IO[str] | None = None) -> Console:
    return Console(highlight=False, emoji=False, markup=False, file=file)
