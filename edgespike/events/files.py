"""Event recordings in files: npy, npz, csv, N-MNIST .bin; and folders or zip archives of them.

| File | Content |
|---|---|
| `.npy` | structured array with fields t, x, y, p |
| `.npz` | arrays t, x, y, p, or one structured array with these fields |
| `.csv` | columns t, x, y, p in this order, or in the order of a header line; `#` starts a comment |
| `.bin` | N-MNIST: 5 bytes an event: u8 x, u8 y, 24 bits, big-endian: polarity, 23 bits of microseconds |

Longer names are understood in headers and for arrays: time, ts, timestamp, timestamps, t_us; pol, polarity.
"""

from __future__ import annotations

import io
import os
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import DataError, UsageError
from edgespike.events.arrays import as_events, check_events, make_events

SUFFIXES = (".npz", ".npy", ".csv", ".bin")
TIME_UNITS = ("us", "ms", "s", "ns")

_FIELD_NAMES = {
    "t": ("t", "time", "ts", "timestamp", "timestamps", "t_us"),
    "x": ("x",),
    "y": ("y",),
    "p": ("p", "pol", "polarity"),
}

# What NumPy and zipfile raise for a file that is cut short, corrupted or something else altogether.
_BROKEN = (ValueError, EOFError, OSError, KeyError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)


# ---- reading ---------------------------------------------------------------


@dataclass(frozen=True)
class Recording:
    """One recording of a file, folder or archive; ``read`` loads it.

    ``name`` is its path, ``label`` the class named by the folder that holds it, None where
    that is no class.
    """

    name: str
    label: int | None
    time_unit: str
    archive: zipfile.ZipFile | None = field(default=None, repr=False)

    def read(self) -> NDArray[Any]:
        """The events, dtype ``EVENT``, times in microseconds as in the file.

        Raises:
            DataError: the file cannot be read, or an event cannot be used.
        """
        try:
            data = self.archive.read(self.name) if self.archive else Path(self.name).read_bytes()
        except _BROKEN as error:
            raise DataError(f"{self.name}: cannot be read: {error}", "", "event-file") from error
        try:
            return _decode(data, Path(self.name).suffix.lower(), self.time_unit)
        except DataError as error:
            raise DataError(f"{self.name}: {error.message}", error.hint, error.code) from error


def read_events(path: str | Path, *, time_unit: str = "us") -> NDArray[Any]:
    """The events of one file.

    Args:
        path: file with a suffix of ``SUFFIXES``.
        time_unit: unit of the file's times: us, ms, s or ns. N-MNIST files are always in us.

    Returns:
        array of dtype ``EVENT``, times in microseconds as in the file.

    Raises:
        DataError: the file cannot be read, or an event cannot be used.
        UsageError: unknown time unit.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{path}: not an event file by its name", f"known are {', '.join(SUFFIXES)}", "event-file"
        )
    return Recording(str(path), None, time_unit).read()


def find_recordings(
    path: str | Path, *, classes: Sequence[str] | None = None, time_unit: str = "us"
) -> list[Recording]:
    """The recordings of a file, a folder with its subfolders, or a zip archive.

    A folder's recordings are sorted by path, an archive's are in its own order. The label
    comes from the name of the folder that directly holds a recording: its index in
    ``classes``, else the number that it is (``Train/5/00001.bin``: 5), else None.

    Raises:
        DataError: no such path, a broken archive, or no recording in it.
    """
    path = Path(path)
    archive = None
    if path.is_dir():
        names = sorted(str(file) for file in path.rglob("*") if _is_recording(file))
    elif not path.is_file():
        raise DataError(f"{path}: no such file or folder", "", "event-file")
    elif path.suffix.lower() == ".zip":
        archive = _open_archive(path)
        names = [name for name in archive.namelist() if _is_recording(Path(name))]
    else:
        names = [str(path)] if _is_recording(path) else []
    if not names:
        known = ", ".join(SUFFIXES)
        raise DataError(f"{path}: no event recordings found", f"known are {known} and .zip", "event-file")
    folders = [Path(name).parent.name if archive else Path(name).absolute().parent.name for name in names]
    return [
        Recording(name, _label(folder, classes), time_unit, archive)
        for name, folder in zip(names, folders, strict=True)
    ]


def _open_archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except _BROKEN as error:
        raise DataError(f"{path}: not a zip archive: {error}", "", "event-file") from error


def _is_recording(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _label(folder: str, classes: Sequence[str] | None) -> int | None:
    if classes is not None and folder in classes:
        return list(classes).index(folder)
    return int(folder) if folder.isdecimal() else None


# ---- formats ---------------------------------------------------------------


def _decode(data: bytes, suffix: str, time_unit: str) -> NDArray[Any]:
    if not data:
        raise DataError("the file is empty (0 bytes)", "", "event-file")
    if suffix == ".bin":
        return _decode_nmnist(data)
    if suffix == ".csv":
        return _decode_csv(data, time_unit)
    return _decode_numpy(data, time_unit)


def _decode_nmnist(data: bytes) -> NDArray[Any]:
    if len(data) % 5:
        raise DataError(
            f"{len(data)} bytes are not a multiple of 5: event {len(data) // 5} is cut short",
            "an N-MNIST file has 5 bytes for each event; copy it again",
            "event-file",
        )
    rows = np.frombuffer(data, np.uint8).reshape(-1, 5).astype(np.int64)
    time = (rows[:, 2] & 0x7F) << 16 | rows[:, 3] << 8 | rows[:, 4]
    return make_events(time, rows[:, 0], rows[:, 1], rows[:, 2] >> 7)


def _decode_numpy(data: bytes, time_unit: str) -> NDArray[Any]:
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        arrays = dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {"": loaded}
    except _BROKEN as error:
        raise DataError(f"cut short, or not a NumPy file: {error}", "", "event-file") from error
    for array in arrays.values():
        if array.dtype.names:
            arrays = {name: array[name] for name in array.dtype.names}
            break
    return _from_columns(arrays, time_unit)


def _decode_csv(data: bytes, time_unit: str) -> NDArray[Any]:
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"not a text file: {error}", "", "event-file") from error
    separator = _separator(lines)
    names, first = _csv_header(lines, separator)
    _choose(names)
    try:
        with warnings.catch_warnings(action="ignore"):  # a header without events is a recording
            table = np.loadtxt(lines[first:], delimiter=separator, ndmin=2).reshape(-1, len(names))
    except ValueError as error:
        raise _csv_complaint(lines, first, separator, len(names)) from error
    return _from_columns(dict(zip(names, table.T, strict=True)), time_unit)


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


def _from_columns(columns: Mapping[str, NDArray[Any]], time_unit: str) -> NDArray[Any]:
    """Events from named columns, in any order, by their usual names."""
    t, x, y, p = (columns[name] for name in _choose(columns).values())
    return make_events(_microseconds(t, time_unit), x, y, p)


def _microseconds(times: NDArray[Any], time_unit: str) -> NDArray[Any]:
    if time_unit not in TIME_UNITS:
        raise UsageError(f"unknown time unit {time_unit!r}", f"known are {', '.join(TIME_UNITS)}")
    if time_unit == "us" or times.dtype.kind not in "iuf":
        return times
    if time_unit == "ns":
        return times // 1000
    return np.round(times * {"ms": 1e3, "s": 1e6}[time_unit])


# ---- writing ---------------------------------------------------------------


def write_events(path: str | Path, events: NDArray[Any]) -> None:
    """Writes a recording as npz, npy, csv or N-MNIST bin, by the suffix.

    The file is written beside ``path`` and renamed, so that no half-written file is left.

    Raises:
        DataError: unknown suffix, events that cannot be used or that the format cannot hold,
            or a path that cannot be written.
    """
    path = Path(path)
    events = as_events(events)
    content = io.BytesIO()
    match path.suffix.lower():
        case ".npz":
            np.savez_compressed(content, t=events["t"], x=events["x"], y=events["y"], p=events["p"])
        case ".npy":
            np.save(content, events)
        case ".csv":
            rows = "".join(f"{t},{x},{y},{p}\n" for t, x, y, p in events.tolist())
            content.write(f"t,x,y,p\n{rows}".encode())
        case ".bin":
            content.write(encode_nmnist(events))
        case suffix:
            known = ", ".join(SUFFIXES)
            raise DataError(f"{path}: cannot write events as {suffix!r}", f"known are {known}", "event-file")
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content.getvalue())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise DataError(f"{path}: cannot be written: {error.strerror}", "", "event-file") from error


def encode_nmnist(events: NDArray[Any]) -> bytes:
    """A recording as the bytes of an N-MNIST file: 256 x 256 pixels, 2 polarities, 8.3 seconds.

    Raises:
        DataError: no events, or an event that the format cannot hold.
    """
    check_events(events, 256, 256, 2)
    if not len(events) or events["t"][-1] >= 1 << 23:
        raise DataError(
            "an N-MNIST file holds at least one event, and times below 8388608 us",
            "rebase the recording, or write npz",
            "event-range",
        )
    rows = np.empty((len(events), 5), np.uint8)
    rows[:, 0], rows[:, 1] = events["x"], events["y"]
    rows[:, 2] = events["p"].astype(np.int64) << 7 | events["t"] >> 16
    rows[:, 3], rows[:, 4] = events["t"] >> 8 & 0xFF, events["t"] & 0xFF
    return rows.tobytes()
