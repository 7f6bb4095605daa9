"""Events: arrays, recordings in files, counts by time slice, and a simulated event camera."""

from edgespike.events.arrays import (
    EVENT,
    Content,
    Late,
    Sensor,
    as_events,
    check_events,
    make_events,
    rebase,
    smallest_sensor,
)
from edgespike.events.binary import encode_nmnist
from edgespike.events.counts import count_events
from edgespike.events.files import SUFFIXES, Recording, find_recordings, read_events, write_events
from edgespike.events.filters import CAUSES, EventFilter, FilterSettings
from edgespike.events.simulator import Camera, saccade_frames, simulate_dvs
from edgespike.events.tabular import TIME_UNITS

__all__ = [
    "CAUSES",
    "EVENT",
    "SUFFIXES",
    "TIME_UNITS",
    "Camera",
    "Content",
    "EventFilter",
    "FilterSettings",
    "Late",
    "Recording",
    "Sensor",
    "as_events",
    "check_events",
    "count_events",
    "encode_nmnist",
    "find_recordings",
    "make_events",
    "read_events",
    "rebase",
    "saccade_frames",
    "simulate_dvs",
    "smallest_sensor",
    "write_events",
]
