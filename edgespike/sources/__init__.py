"""Live sources: events over UDP, from an eDVS, iniVation cameras or text; samples of ordinary sensors."""

from edgespike.sources.clock import SourceClock
from edgespike.sources.opening import SOURCES, is_source, open_sensor, open_source
from edgespike.sources.pieces import pieces
from edgespike.sources.source import Source, SourceCounts

__all__ = [
    "SOURCES",
    "Source",
    "SourceClock",
    "SourceCounts",
    "is_source",
    "open_sensor",
    "open_source",
    "pieces",
]
