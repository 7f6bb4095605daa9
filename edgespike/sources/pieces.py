"""A live stream in pieces for a network: in order, and with time that passes when nothing happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.events import EVENT
from edgespike.sources.source import Source

STEP_S = 0.002  # a stream is looked at this often: what came meanwhile goes together
LAG_US = 20_000  # how long after an event's time it may still come, at the latest


def pieces(source: Source, step: float = STEP_S) -> Iterator[tuple[NDArray[Any], int]]:
    """Events, and the time until which the stream is known, until the source ends.

    A quiet stream is known until a little before now. An event that comes later still takes the
    time until which the stream was known; it counts as late. With a sensor that is sampled, its
    samples alone let time pass.
    """
    known, due = 0, 0.0
    while not source.ended:
        if not source.waits:
            time.sleep(max(0.0, due - time.perf_counter()))
            due = time.perf_counter() + step
        events = source.read(step)
        source.counts.late += int((events["t"] < known).sum())
        events["t"] = np.maximum(events["t"], known)
        quiet = 0 if source.waits or source.dtype != EVENT else source.now_us() - LAG_US
        known = max(known, int(events["t"][-1]) if len(events) else 0, quiet)
        yield events, known
