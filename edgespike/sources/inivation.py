"""iniVation cameras and network streams, through dv-processing (extra ``inivation``)."""

from __future__ import annotations

import time
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import DeviceError, UsageError
from edgespike.events import EVENT, Sensor

PAUSE_S = 0.001


class InivationFeed:
    """A camera that is plugged in, or a network stream of DV or dv-processing.

    Args:
        address: None: a camera; else host and port of a stream.
        camera: name of the camera; empty: the first one found.
    """

    dtype = EVENT
    clock_bits = 64
    waits = False

    def __init__(self, address: tuple[str, int] | None = None, camera: str = "") -> None:
        self.name = f"dv://{address[0]}:{address[1]}" if address else f"dv:{camera}"
        self.address, self.camera = address, camera
        self.sensor: Sensor | None = None
        self._reader: Any = None

    def open(self) -> None:
        """Connect."""
        dv = _dv_processing()
        try:
            if self.address:
                self._reader = dv.io.NetworkReader(*self.address)
            else:
                self._reader = dv.io.camera.open(self.camera) if self.camera else dv.io.camera.open()
        except (RuntimeError, IndexError) as error:
            what = f"stream at {self.name}: {error}" if self.address else f"camera {self.camera}".rstrip()
            raise DeviceError(
                f"no {what}",
                f"cameras found: {', '.join(list_cameras()) or 'none'}",
                "source-open",
            ) from error
        size = self._reader.getEventResolution()
        self.sensor = (int(size[0]), int(size[1])) if size else None

    def receive(self, timeout: float) -> tuple[NDArray[Any] | None, int]:
        """The next packet of events."""
        until = time.monotonic() + timeout
        while (packet := self._reader.getNextEventBatch()) is None:
            if not self._reader.isRunning():
                raise OSError("the camera or stream is gone")
            if time.monotonic() > until:
                return np.zeros(0, EVENT), 0
            time.sleep(PAUSE_S)
        rows = packet.numpy()
        events = np.empty(len(rows), EVENT)
        for name, theirs in (("t", "timestamp"), ("x", "x"), ("y", "y"), ("p", "polarity")):
            events[name] = rows[theirs]
        return events, 0

    def close(self) -> None:
        """Let go."""
        self._reader = None


def list_cameras() -> list[str]:
    """Names of the cameras that are plugged in; raises UsageError without dv-processing."""
    return [str(camera) for camera in _dv_processing().io.camera.discover()]


def _dv_processing() -> ModuleType:
    try:
        import dv_processing
    except ImportError as error:
        raise UsageError(
            "iniVation cameras and streams are read by dv-processing, which is not installed",
            "pip install 'edgespike[inivation]'",
            "missing-extra",
        ) from error
    return dv_processing  # type: ignore[no-any-return]
