"""Boards: ports, uploads, and streams of events with their results."""

from edgespike.link.client import DeviceClient, LinkStatistics, connect
from edgespike.link.messages import DeviceResult, HelloInfo, Mode, Reason
from edgespike.link.transports import Transport, open_transport

__all__ = [
    "DeviceClient",
    "DeviceResult",
    "HelloInfo",
    "LinkStatistics",
    "Mode",
    "Reason",
    "Transport",
    "connect",
    "open_transport",
]
