"""Counting events by pixel, polarity and time slice: what an ONNX network gets to see."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import UsageError
from edgespike.events.arrays import check_events


def count_events(
    events: NDArray[Any],
    height: int,
    width: int,
    *,
    polarities: int,
    slices: int,
    slice_us: int,
    saturation: int,
) -> NDArray[np.int32]:
    """Event counts of the window that starts at the first event.

    The same integer rule as the event-count input of a model (docs/format.md): an event at
    time t counts in slice ``(t - t_first) // slice_us``, events after the last slice are
    ignored, and a count stops at ``saturation``.

    Args:
        events: array of dtype ``EVENT``, sorted by time.
        height, width: the sensor.
        polarities: 1 counts both together, 2 apart.
        slices: number of slices in the window.
        slice_us: length of a slice in microseconds.
        saturation: greatest count, 1 to 32767.

    Returns:
        int32 array (channels, height, width), channel = slice * polarities + polarity.

    Raises:
        DataError: an event outside the sensor, or backwards in time.
        UsageError: a setting out of range.
    """
    if polarities not in (1, 2) or slices < 1 or slice_us < 1 or not 1 <= saturation <= 32767:
        raise UsageError(
            f"cannot count events with polarities={polarities}, slices={slices}, slice_us={slice_us},"
            f" saturation={saturation}",
            "polarities is 1 or 2, slices and slice_us at least 1, saturation 1 to 32767",
        )
    check_events(events, height, width, 2)
    elapsed = events["t"] - events["t"][0] if len(events) else events["t"]
    inside = events[elapsed < slices * slice_us]
    channel = elapsed[: len(inside)] // slice_us * polarities
    if polarities == 2:
        channel = channel + inside["p"]
    place = (channel * height + inside["y"]) * width + inside["x"]
    counts = np.bincount(place, minlength=slices * polarities * height * width)
    return np.minimum(counts, saturation).astype(np.int32).reshape(slices * polarities, height, width)
