"""What a network gives without a board, for every place that streams to one."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from edgespike import _core


def scores_of(model: bytes, events: NDArray[Any]) -> list[list[int]]:
    """What the core gives for the windows of a sample, and for its end."""
    network = _core.Network(_core.Model(model))
    scores = []
    while len(events):
        used, closed = network.push(events)
        events = events[used:]
        if closed:
            scores.append(network.output().tolist())
    network.finish()
    return [*scores, network.output().tolist()]
