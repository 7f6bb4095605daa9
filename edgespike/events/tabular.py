"""Event tables: npy, npz and csv, whose columns may come in any order under their usual names.

Longer names are understood in headers and for arrays: time, ts, timestamp, timestamps, t_us; pol, polarity.
"""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import DataError
from edgespike.events.arrays import Content

TIME_UNITS = ("us", "ms", "s", "ns")

_FIELD_NAMES = {
    "t": ("t", "time", "ts", "timestamp", "timestamps", "t_us"),
    "x": ("x",),
    "y": ("y",),
    "p": ("p", "pol", "polarity"),
}

# What NumPy and zipfile raise for a file that is cut short, corrupted or something else altogether.
BROKEN = (ValueError, EOFError, OSError, KeyError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)


def decode_numpy(data: bytes, time_unit: str | None) -> Content:
    """A structured array (npy), or arrays or one structured array (npz)."""
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        arrays = dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {"": loaded}
    except BROKEN as error:
        raise DataError(f"cut short, or not a NumPy file: {error}", "", "event-file") from error
    for array in arrays.values():
        if array.dtype.names:
            arrays = {name: array[name] for name in array.dtype.names}
            break
    return _from_columns(arrays, time_unit)


def decode_csv(data: bytes, time_unit: str | None) -> Content:
    """Columns t, x, y, p in this order, or in the order of a header line; ``#`` starts a comment."""
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"not a text file: {error}", "", "event-file") from error
    separator = _separator(lines)
    names, first = _csv_header(lines, separator)
    _choose(names)
    remarks = (
        ("the last line has no line end: the file may have been cut short",) if lines[-1].strip() else ()
    )
    try:
        with warnings.catch_warnings(action="ignore"):  # a header without events is a recording
            table = np.loadtxt(lines[first:], delimiter=separator, ndmin=2).reshape(-1, len(names))
    except ValueError as error:
        raise _csv_complaint(lines, first, separator, len(names)) from error
    return _from_columns(dict(zip(names, table.T, strict=True)), time_unit, remarks)


def _csv_cells(line: str, separator: str | None) -> list[str]:
    """The values of a line; none for a blank line or a comment."""
    content = line.partition("#")[0].strip()
    return [cell.strip() for cell in content.split(separator)] if content else []


def _separator(lines: Iterable[str]) -> str | None:
    """Comma or semicolon, as in the first line with values; None: blanks."""
    content = next((line for line in lines if _csv_cells(line, None)), "")
    return "," if "," in content else ";" if ";" in content else None


def _csv_header(lines: Sequence[str], separator: str | None) -> tuple[list[str], int]:
    """Column names, and the number of the first line after the header.

    A header may be the last comment before the values, as ``numpy.savetxt`` writes it.
    """
    names = ["t", "x", "y", "p"]
    for number, line in enumerate(lines):
        cells = _csv_cells(line, separator)
        if cells and not any(_is_number(cell) for cell in cells):
            return cells, number + 1
        if cells:
            return names, number
        comment = _csv_cells(line.replace("#", " "), separator)
        if all(_find(comment, spellings) for spellings in _FIELD_NAMES.values()):
            names = comment
    return names, len(lines)


def _csv_complaint(lines: Sequence[str], first: int, separator: str | None, columns: int) -> DataError:
    for number, line in enumerate(lines[first:], first + 1):
        cells = _csv_cells(line, separator)
        if cells and len(cells) != columns:
            return DataError(
                f"line {number} has {len(cells)} values, not {columns}",
                "without a header line the columns are t, x, y, p",
                "event-csv",
            )
        for cell in cells:
            if not _is_number(cell):
                return DataError(f"line {number}: {cell!r} is not a number", "", "event-csv")
    return DataError("the values cannot be read as numbers", "", "event-csv")


def _is_number(text: str) -> bool:
    with suppress(ValueError):
        float(text)
        return True
    return False


def _find(names: Iterable[str], spellings: Sequence[str]) -> str | None:
    return next((name for name in names if name.lower() in spellings), None)


def _choose(names: Iterable[str]) -> dict[str, str]:
    """Which of the names is t, x, y and p."""
    chosen = {field: _find(names, spellings) for field, spellings in _FIELD_NAMES.items()}
    missing = [field for field, name in chosen.items() if name is None]
    if missing:
        found = ", ".join(name for name in names if name) or "one array without fields"
        raise DataError(
            f"no {', '.join(missing)} among the columns or arrays: found {found}",
            "events have t (microseconds), x, y and p (polarity)",
            "event-fields",
        )
    return {field: name for field, name in chosen.items() if name is not None}


def _from_columns(
    columns: Mapping[str, NDArray[Any]], time_unit: str | None, remarks: tuple[str, ...] = ()
) -> Content:
    """Events from named columns, in any order, by their usual names."""
    t, x, y, p = (columns[name] for name in _choose(columns).values())
    if time_unit is None:
        _doubt_unit(t, x, y)
    return Content(_microseconds(t, time_unit or "us"), x, y, p, None, remarks)


# Cameras at work send some hundred to some ten million events a second, and no pixel sends thousands.
_DOUBTFUL_EVENTS = 1000
_SLOWEST, _SLOWEST_OF_THOUSANDS = 5e-6, 1e-4  # events a microsecond
_FASTEST, _FASTEST_PIXEL = 1.0, 1e-3


def _doubt_unit(t: NDArray[Any], x: NDArray[Any], y: NDArray[Any]) -> None:
    """Asks for the unit of whole-numbered times that no camera would give in microseconds."""
    numbers = all(column.ndim == 1 and column.dtype.kind in "iuf" for column in (t, x, y))
    if not numbers or len(t) < _DOUBTFUL_EVENTS or (t.dtype.kind == "f" and (t != np.floor(t)).any()):
        return
    span = float(np.max(t)) - float(np.min(t))
    rate = len(t) / max(span, 1.0)
    pixels = max(float(np.max(x) + 1) * float(np.max(y) + 1), 1.0)
    if rate < _SLOWEST or (rate < _SLOWEST_OF_THOUSANDS and bool((t % 1000 == 0).all())):
        guess = "ns"
    elif rate > _FASTEST and rate / pixels > _FASTEST_PIXEL:
        guess = "ms" if span > 10 else "s"
    else:
        return
    raise DataError(
        f"{len(t):,} events in {span:,.0f} units of time: as microseconds that would be"
        f" {1e6 * rate:,.0f} events a second; are the times in {guess}?",
        f"say so: `edgespike convert-events --time-unit {guess}` (or us), or time_unit='{guess}' in Python",
        "event-time-unit",
    )


def _microseconds(times: NDArray[Any], time_unit: str) -> NDArray[Any]:
    if time_unit == "us" or times.dtype.kind not in "iuf":
        return times
    if time_unit == "ns":
        return times // 1000
    return np.round(times * {"ms": 1e3, "s": 1e6}[time_unit])
