"""Event arrays: one structured NumPy array for a recording, sorted by time.

Time ``t`` is in microseconds, ``x`` counts from the left, ``y`` from the top, ``p`` is the
polarity: 1 brighter (ON), 0 darker (OFF). For a network whose input is not an event
camera ``p`` is the channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgespike.errors import DataError

EVENT = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "<i1")])

# The largest time that is taken for microseconds: the year 5138. Nanoseconds since 1970 are far beyond.
LATEST_US = 10**17

Sensor = tuple[int, int]  # width, height

# What is done with an event that is earlier than one before it: an error; it takes the latest time so far;
# or all are sorted by time.
Late = Literal["refuse", "clamp", "sort"]


@dataclass(frozen=True)
class Content:
    """What a file holds, as it stands there: columns of numbers, not checked yet.

    ``sensor``: width and height, where the file tells. ``remarks``: what is odd about the file.
    """

    t: NDArray[Any]
    x: NDArray[Any]
    y: NDArray[Any]
    p: NDArray[Any]
    sensor: Sensor | None = None
    remarks: tuple[str, ...] = ()

    def events(self, late: Late = "refuse") -> NDArray[Any]:
        """The events, dtype ``EVENT``; raises DataError like :func:`make_events`."""
        return make_events(self.t, self.x, self.y, self.p, late=late)


_FIELD_MAX = {"t": LATEST_US, "x": 65535, "y": 65535, "p": 127}
_MEANING = {"t": "time", "x": "column x", "y": "row y", "p": "polarity p"}


def make_events(
    t: ArrayLike, x: ArrayLike, y: ArrayLike, p: ArrayLike, *, late: Late = "refuse"
) -> NDArray[Any]:
    """An event array (dtype ``EVENT``) from four sequences of equal length.

    Args:
        t: microseconds, from 0, never decreasing unless ``late`` allows it.
        x, y: pixel, 0 to 65535.
        p: polarity 0 and 1, or -1 and 1 (then -1 becomes 0), or booleans; or a channel up to 127.
        late: what is done with an event that is earlier than one before it: ``refuse``; ``clamp``:
            it takes the latest time so far, so that the order of arrival stays; ``sort`` by time.

    Raises:
        DataError: naming the number (from 0) of the first event that cannot be used.
    """
    columns = {name: np.asarray(values) for name, values in (("t", t), ("x", x), ("y", y), ("p", p))}
    lengths = {name: column.shape for name, column in columns.items()}
    if any(column.ndim != 1 for column in columns.values()) or len(set(lengths.values())) != 1:
        shapes = ", ".join(f"{name} {shape}" for name, shape in lengths.items())
        raise DataError(f"t, x, y and p must be vectors of one length, not {shapes}", "", "event-shape")
    events = np.empty(len(columns["t"]), EVENT)
    for name, column in columns.items():
        events[name] = _whole_numbers(name, column)
    if late == "clamp":
        events["t"] = np.maximum.accumulate(events["t"])
    elif late == "sort":
        events = events[np.argsort(events["t"], kind="stable")]
    _check_order(events)
    return events


def as_events(events: NDArray[Any]) -> NDArray[Any]:
    """A structured array with fields t, x, y, p, of any numeric types and order, as ``EVENT``.

    Raises:
        DataError: a field is missing, or an event cannot be used.
    """
    names = events.dtype.names or ()
    missing = [name for name in EVENT.names or () if name not in names]
    if missing:
        raise DataError(
            f"events need the fields t, x, y, p; {', '.join(missing)} not found in {events.dtype}",
            "make them with edgespike.events.make_events(t, x, y, p)",
            "event-fields",
        )
    return make_events(events["t"], events["x"], events["y"], events["p"])


def check_events(events: NDArray[Any], height: int, width: int, channels: int) -> None:
    """Raises DataError unless times never decrease and all events lie inside the sensor.

    ``channels``: number of polarities, or of channels.
    """
    _check_order(events)
    for name, limit in (("x", width), ("y", height), ("p", channels)):
        outside = (events[name] < 0) | (events[name] >= limit)
        if outside.any():
            number = int(np.argmax(outside))
            raise DataError(
                f"event {number} has {name} = {events[name][number]}, outside 0 to {limit - 1}:"
                f" the sensor is {width} wide, {height} high, with {channels} polarities",
                "crop or scale the recording to the sensor that the network was made for",
                "event-range",
            )


def smallest_sensor(events: NDArray[Any]) -> Sensor:
    """The width and height that the events need; 1x1 for none."""
    return (int(events["x"].max()) + 1, int(events["y"].max()) + 1) if len(events) else (1, 1)


def rebase(events: NDArray[Any]) -> NDArray[Any]:
    """A copy whose first event has time 0."""
    rebased = events.copy()
    if len(events):
        rebased["t"] -= events["t"][0]
    return rebased


def _check_order(events: NDArray[Any]) -> None:
    times = events["t"]
    if len(times) and times[0] < 0:
        raise DataError(
            f"event 0 has the negative time {times[0]} us", "add an offset to all times", "event-time"
        )
    backwards = times[1:] < times[:-1]
    if backwards.any():
        number = int(np.argmax(backwards)) + 1
        raise DataError(
            f"event {number} goes backwards in time: {times[number]} us after {times[number - 1]} us",
            "mend it with `edgespike convert-events --late sort`, or split it where its clock was reset",
            "event-time",
        )


def _whole_numbers(name: str, column: NDArray[Any]) -> NDArray[Any]:
    """The column as integers within the field's range; DataError names the first that is not."""
    if column.dtype.kind not in "biuf":
        if len(column):
            raise DataError(f"{_MEANING[name]} must be numbers, not {column.dtype}", "", "event-fields")
        return np.zeros(0, np.int64)
    if column.dtype.kind == "f":
        _refuse(name, column, ~np.isfinite(column), "is not a number", "")
        unit = "times are whole microseconds: give time_unit='s' for seconds, 'ms' for milliseconds"
        hint = unit if name == "t" else ""
        _refuse(name, column, column != np.floor(column), "is not a whole number", hint)
    if name == "p":
        column = _polarity(column)
    hint = "give time_unit='ns' if the times are nanoseconds" if name == "t" else ""
    _refuse(name, column, column > _FIELD_MAX[name], f"is above {_FIELD_MAX[name]}", hint)
    hint = "add an offset to all times" if name == "t" else ""
    _refuse(name, column, column < 0, "is negative", hint)
    return column


def _polarity(column: NDArray[Any]) -> NDArray[Any]:
    """-1 and 1 as 0 and 1."""
    if len(column) and column.dtype.kind in "if" and column.min() == -1 and not (column == 0).any():
        return np.where(column == -1, 0, column)
    return column


def _refuse(name: str, column: NDArray[Any], bad: NDArray[Any], complaint: str, hint: str) -> None:
    if bad.any():
        number = int(np.argmax(bad))
        code = "event-time" if name == "t" else "event-range"
        raise DataError(f"event {number}: {_MEANING[name]} = {column[number]} {complaint}", hint, code)
