"""The time of a live stream, from clocks that wrap around, go back and start anew."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESTART_US = 1_000_000  # a clock that goes back by more than this was started anew


class SourceClock:
    """Turns a source's times into microseconds since its first event, which never decrease.

    - A clock of ``bits`` bits wraps around; a step is taken as the shorter way.
    - An event up to a second earlier than the latest one takes the time of that; it counts as late.
    - A clock that goes back further was started anew: its time goes on where it was.

    Args:
        bits: width of the source's time stamps; 64: they do not wrap around.
    """

    def __init__(self, bits: int = 64) -> None:
        self.bits = bits
        self.now = 0
        self.late = 0
        self.restarts = 0
        self._last: int | None = None  # the source's clock at its latest event
        self._ahead = 0  # how much later `now` is than an event at `_last` would say; late events only

    def convert(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Times of one piece of the stream, in order of arrival: int64, microseconds."""
        if not len(times):
            return np.zeros(0, np.int64)
        last = int(times[0]) if self._last is None else self._last
        steps = np.diff(times, prepend=last)
        if self.bits < 64:
            half = 1 << (self.bits - 1)
            steps = (steps + half) % (1 << self.bits) - half
        self._last = int(times[-1])
        behind = self.now - self._ahead
        restarted = steps < -RESTART_US
        self.restarts += int(restarted.sum())
        stream = behind + np.cumsum(np.where(restarted, 0, steps))
        latest = np.maximum.accumulate(np.concatenate([[self.now], stream]))
        self.late += int((stream < latest[:-1]).sum())
        self.now = int(latest[-1])
        self._ahead = self.now - int(stream[-1])
        return latest[1:]
