"""Filters for the events of a camera: what a network need not see, and what a link cannot carry.

They work in one order, each on what the one before let through: crop, hot pixels, background
activity, refractory period, downsampling, polarities together, rate cap. They are C code that
boards run as well (core/sensor/es_filter.h), event by event: any pieces of a stream give the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edgespike._sensor import CAUSES, Filter
from edgespike.errors import UsageError
from edgespike.events.arrays import Sensor

__all__ = ["CAUSES", "EventFilter", "FilterSettings"]

MOST_HOT_EVENTS = 32767


@dataclass(frozen=True)
class FilterSettings:
    """What to filter; None and 1 leave events as they are.

    ``crop``: x, y, width, height of the part of the sensor that is looked at; its pixels count from
    there. ``hot_events``: a pixel with more events in 100 ms is shut for the next 100 ms, and as
    long as it goes on like that (1 to 32767). ``background_us``: an event needs another one of the
    eight pixels around it that recent (microseconds). ``refractory_us``: a pixel is silent for so
    long after an event. ``downsample``: N x N pixels become one, which has the events of all.
    ``merge_polarities``: all become 0. ``rate``: events a second that pass at most, thinned evenly:
    one in so many, as the time before (64 events at that rate, at least 1 ms) would have needed.
    """

    crop: tuple[int, int, int, int] | None = None
    hot_events: int | None = None
    background_us: int | None = None
    refractory_us: int | None = None
    downsample: int = 1
    merge_polarities: bool = False
    rate: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is filtered."""
        return self == FilterSettings()

    def sensor_after(self, sensor: Sensor) -> Sensor:
        """Width and height that events have behind the filters."""
        width, height = self.crop[2:] if self.crop else sensor
        return -(-width // self.downsample), -(-height // self.downsample)


class EventFilter:
    """Filters one stream. ``removed``: how many events each filter took away, by its name.

    Args:
        settings: what to filter.
        sensor: width and height of what comes in.

    Raises:
        UsageError: the crop leaves the sensor, or a number is out of range.
    """

    def __init__(self, settings: FilterSettings, sensor: Sensor) -> None:
        x, y, width, height = settings.crop or (0, 0, *sensor)
        if not (width > 0 < height and 0 <= x <= sensor[0] - width and 0 <= y <= sensor[1] - height):
            raise UsageError(
                f"a crop of {width}x{height} pixels at {x},{y} leaves the sensor of {sensor[0]}x{sensor[1]}",
                "write X,Y,WIDTHxHEIGHT within the sensor",
            )
        limits = {
            "hot_events": (settings.hot_events, MOST_HOT_EVENTS),
            "background_us": (settings.background_us, (1 << 31) - 1),
            "refractory_us": (settings.refractory_us, (1 << 31) - 1),
            "downsample": (settings.downsample, 65535),
            "rate": (settings.rate, 1_000_000_000),
        }
        for name, (value, limit) in limits.items():
            if value is not None and not 1 <= value <= limit:
                raise UsageError(f"filter setting {name} = {value} is outside 1 to {limit}")
        self.settings = settings
        self.sensor = settings.sensor_after(sensor)
        self._filter = Filter(
            x=x,
            y=y,
            width=width,
            height=height,
            hot_events=settings.hot_events or 0,
            background_us=settings.background_us or 0,
            refractory_us=settings.refractory_us or 0,
            downsample=settings.downsample,
            merge=settings.merge_polarities,
            rate=settings.rate or 0,
        )

    def __call__(self, events: NDArray[Any]) -> NDArray[Any]:
        """The events (dtype EVENT, times never decreasing from call to call) that pass."""
        return self._filter.run(events)

    def reset(self) -> None:
        """Begin a new stream; the counts of what was removed go on."""
        self._filter.reset()

    @property
    def removed(self) -> dict[str, int]:
        """Events removed since the filter was made: crop, hot, background, refractory, rate."""
        return self._filter.removed
