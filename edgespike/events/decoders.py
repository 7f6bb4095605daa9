"""Event files that eventcv reads and writes: AEDAT 2 and 4, EVT2, EVT3, DAT, ROS 1 bags, HDF5.

eventcv is the extra ``formats``. Three things are mended here. It returns the beginning of a file
that was cut; so files are checked first (:mod:`edgespike.events.complete`). It takes columns of
AEDAT 2 files as they stand, where jAER, whose format it is, counts them from the right. And it
misses that EVT3's clock of 24 bits wrapped around, when nothing is told right before and after it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import DataError, UsageError
from edgespike.events.arrays import Content, Sensor
from edgespike.events.complete import check_complete, is_evt3

SUFFIXES = (".aedat4", ".aedat", ".raw", ".dat", ".bag", ".h5", ".hdf5")

EVT3_CLOCK_BITS = 24
DISORDER_US = 1_000_000

_TIME_UNITS = {"us": "microseconds", "ms": "milliseconds", "s": "seconds", "ns": "nanoseconds"}


def decode(data: bytes, suffix: str, time_unit: str) -> Content:
    """The content of a file with one of ``SUFFIXES``. ``time_unit`` matters to HDF5 alone.

    Raises:
        DataError: the file was cut short, or eventcv cannot read it.
        UsageError: eventcv is not installed.
    """
    check_complete(data, suffix)
    eventcv = _eventcv()
    unit = _TIME_UNITS[time_unit] if suffix in (".h5", ".hdf5") else None
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(data)
        file.flush()
        try:
            stream = eventcv.load(file.name, time_unit=unit)
            columns = stream.numpy().astype(np.int64)
            width, height = stream.sensor_size
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of its Rust code is no Exception
            raise DataError(f"eventcv cannot read it: {_first_line(error)}", "", "event-file") from error
    x, y, t, p = columns.T
    if suffix == ".aedat":
        x = width - 1 - x
    if suffix == ".raw" and is_evt3(data):
        t = _unwrapped(t)
    return Content(t, x, y, p, (width, height))


def _unwrapped(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Times of EVT3, of which no camera is out of order by a second: then its clock wrapped around."""
    return times + (np.cumsum(np.diff(times, prepend=times[:1]) < -DISORDER_US) << EVT3_CLOCK_BITS)


def encode(events: NDArray[Any], suffix: str, sensor: Sensor) -> bytes:
    """A recording as the bytes of such a file.

    Raises:
        DataError: the format cannot hold the recording.
        UsageError: eventcv is not installed.
    """
    eventcv = _eventcv()
    columns = np.stack([events[name].astype(np.int64) for name in ("x", "y", "t", "p")], axis=1)
    if suffix == ".aedat":
        columns[:, 0] = sensor[0] - 1 - columns[:, 0]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"events{suffix}"
        try:
            stream = eventcv.from_numpy(columns, sensor_size=sensor, time_unit="microseconds")
            eventcv.save(stream, str(file))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            raise DataError(
                f"eventcv cannot write it: {_first_line(error)}", "write npz, or another format", "event-file"
            ) from error
        return file.read_bytes()


def _eventcv() -> ModuleType:
    try:
        import eventcv
    except ImportError as error:
        raise UsageError(
            f"eventcv reads and writes {', '.join(SUFFIXES)} files, and is not installed",
            "pip install 'edgespike[formats]'",
            "missing-extra",
        ) from error
    return eventcv  # type: ignore[no-any-return]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
