"""Event recordings in files, and folders or zip archives of them.

| File | Content |
|---|---|
| `.npy` | structured array with fields t, x, y, p |
| `.npz` | arrays t, x, y, p, or one structured array with these fields |
| `.csv` | columns t, x, y, p in this order, or in the order of a header line; `#` starts a comment |
| `.bin` | N-MNIST |
| `.es` | Event Stream 2, DVS events |
| `.aedat` | AEDAT 3.1, read only; with the extra `formats` AEDAT 2.0 too |
| `.aedat4`, `.raw`, `.dat` | AEDAT 4; Prophesee's EVT2 and EVT3, and DAT; with the extra `formats` |
| `.bag`, `.h5`, `.hdf5` | ROS 1 bag, HDF5; with the extra `formats` |
"""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import DataError, EventWarning, UsageError
from edgespike.events import decoders
from edgespike.events.arrays import Content, Late, Sensor, as_events, check_events, smallest_sensor
from edgespike.events.binary import (
    AEDAT3_MAGIC,
    decode_aedat3,
    decode_event_stream,
    decode_nmnist,
    encode_event_stream,
    encode_nmnist,
)
from edgespike.events.tabular import BROKEN, TIME_UNITS, decode_csv, decode_numpy

SUFFIXES = (".npz", ".npy", ".csv", ".bin", ".es", *decoders.SUFFIXES)


# ---- reading ---------------------------------------------------------------


@dataclass(frozen=True)
class Recording:
    """One recording of a file, folder or archive; ``read`` loads it.

    ``name`` is its path, ``label`` the class named by the folder that holds it, None where
    that is no class. ``time_unit``: see :func:`read_events`.
    """

    name: str
    label: int | None
    time_unit: str | None
    archive: zipfile.ZipFile | None = field(default=None, repr=False)

    def read(self, late: Late = "refuse") -> NDArray[Any]:
        """The events, dtype ``EVENT``, times in microseconds as in the file.

        What is odd about the file comes as an :class:`EventWarning`.

        Args:
            late: what is done with events that are earlier than one before them (``make_events``).

        Raises:
            DataError: the file cannot be read, or an event cannot be used.
            UsageError: eventcv is needed for this file and not installed.
        """
        content = self.content()
        for remark in content.remarks:
            warnings.warn(f"{self.name}: {remark}", EventWarning, stacklevel=2)
        try:
            return content.events(late)
        except DataError as error:
            raise DataError(f"{self.name}: {error.message}", error.hint, error.code) from error

    def content(self) -> Content:
        """What the file holds, before its events are checked; raises like ``read``."""
        try:
            data = self.archive.read(self.name) if self.archive else Path(self.name).read_bytes()
        except BROKEN as error:
            raise DataError(f"{self.name}: cannot be read: {error}", "", "event-file") from error
        try:
            return _decode(data, Path(self.name).suffix.lower(), self.time_unit)
        except DataError as error:
            raise DataError(f"{self.name}: {error.message}", error.hint, error.code) from error


def read_events(path: str | Path, *, time_unit: str | None = None, late: Late = "refuse") -> NDArray[Any]:
    """The events of one file.

    Args:
        path: file with a suffix of ``SUFFIXES``.
        time_unit: unit of the times of npy, npz, csv and HDF5 files: us, ms, s or ns. None: us, unless
            they do not look like it. The other formats have a unit of their own.
        late: what is done with events that are earlier than one before them (``make_events``).

    Returns:
        array of dtype ``EVENT``, times in microseconds as in the file.

    Raises:
        DataError: the file cannot be read, or an event cannot be used.
        UsageError: unknown time unit, or eventcv is needed for this file and not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{path}: not an event file by its name", f"known are {', '.join(SUFFIXES)}", "event-file"
        )
    _check_unit(time_unit)
    return Recording(str(path), None, time_unit).read(late)


def find_recordings(
    path: str | Path, *, classes: Sequence[str] | None = None, time_unit: str | None = None
) -> list[Recording]:
    """The recordings of a file, a folder with its subfolders, or a zip archive.

    A folder's recordings are sorted by path, an archive's are in its own order. The label
    comes from the name of the folder that directly holds a recording: its index in
    ``classes``, else the number that it is (``Train/5/00001.bin``: 5), else None.

    Raises:
        DataError: no such path, a broken archive, or no recording in it.
        UsageError: unknown time unit.
    """
    _check_unit(time_unit)
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


def _check_unit(time_unit: str | None) -> None:
    if time_unit not in (None, *TIME_UNITS):
        raise UsageError(f"unknown time unit {time_unit!r}", f"known are {', '.join(TIME_UNITS)}")


def _open_archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except BROKEN as error:
        raise DataError(f"{path}: not a zip archive: {error}", "", "event-file") from error


def _is_recording(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _label(folder: str, classes: Sequence[str] | None) -> int | None:
    if classes is not None and folder in classes:
        return list(classes).index(folder)
    return int(folder) if folder.isdecimal() else None


def _decode(data: bytes, suffix: str, time_unit: str | None) -> Content:
    if not data:
        raise DataError("the file is empty (0 bytes)", "", "event-file")
    match suffix:
        case ".npz" | ".npy":
            return decode_numpy(data, time_unit)
        case ".csv":
            return decode_csv(data, time_unit)
        case ".bin":
            return decode_nmnist(data)
        case ".es":
            return decode_event_stream(data)
        case ".aedat" if data.startswith(AEDAT3_MAGIC):
            return decode_aedat3(data)
        case _:
            return decoders.decode(data, suffix, time_unit or "us")


# ---- writing ---------------------------------------------------------------


def write_events(path: str | Path, events: NDArray[Any], *, sensor: Sensor | None = None) -> None:
    """Writes a recording in the format of the suffix; AEDAT 3.1 is only read.

    The file is written beside ``path`` and renamed, so that no half-written file is left. Formats
    that eventcv writes are read again and compared before.

    Args:
        sensor: width and height, for the formats that tell them; None: as small as the events allow.

    Raises:
        DataError: unknown suffix, events that cannot be used or that the format cannot hold,
            or a path that cannot be written.
        UsageError: eventcv is needed for this format and not installed.
    """
    path = Path(path)
    content = _encode(path, as_events(events), sensor)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise DataError(f"{path}: cannot be written: {error.strerror}", "", "event-file") from error


def _encode(path: Path, events: NDArray[Any], sensor: Sensor | None) -> bytes:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise DataError(f"{path}: cannot write events as {suffix!r}", f"known are {known}", "event-file")
    content = io.BytesIO()
    match suffix:
        case ".npz":
            np.savez_compressed(content, t=events["t"], x=events["x"], y=events["y"], p=events["p"])
            return content.getvalue()
        case ".npy":
            np.save(content, events)
            return content.getvalue()
        case ".csv":
            rows = "".join(f"{t},{x},{y},{p}\n" for t, x, y, p in events.tolist())
            return f"t,x,y,p\n{rows}".encode()
        case ".bin":
            return encode_nmnist(events)
    width, height = sensor or smallest_sensor(events)
    check_events(events, height, width, 2)
    if suffix == ".es":
        return encode_event_stream(events, (width, height))
    data = decoders.encode(events, suffix, (width, height))
    if not np.array_equal(decoders.decode(data, suffix, "us").events(), events):
        raise DataError(
            f"{path}: the format cannot hold this recording: it would be read back differently",
            "rebase it to its first event (--rebase), or write npz",
            "event-range",
        )
    return data
