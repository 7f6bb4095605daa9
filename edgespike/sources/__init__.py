"""Live sources of events: UDP streams, an eDVS on a serial line, iniVation cameras, text."""

from edgespike.sources.clock import SourceClock
from edgespike.sources.opening import SOURCES, is_source, open_source
from edgespike.sources.pieces import pieces
from edgespike.sources.source import Source, SourceCounts

__all__ = ["SOURCES", "Source", "SourceClock", "SourceCounts", "is_source", "open_source", "pieces"]
