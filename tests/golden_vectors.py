"""The golden models and what the reference gives for their self-tests, for every place that runs them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgespike.modelfile import decode_model
from edgespike.reference import ReferenceNetwork

FILES = sorted((Path(__file__).parent / "golden").glob("*.esg"))


@dataclass(frozen=True)
class Vector:
    """A golden model's events, and its scores and the events and synops of its populations."""

    data: bytes
    events: NDArray[Any]
    scores: list[int]
    populations: list[dict[str, int]]


def push_all(network: Any, events: NDArray[Any]) -> None:
    """Events of one window: they are taken at once, or, with early exit, passed over from some on."""
    used, decided = network.push(events)
    assert used == len(events) or decided
    if decided:
        assert network.push(events[used:]) == (len(events) - used, False)


@cache
def golden_vector(path: Path) -> Vector:
    """What the reference gives."""
    data = path.read_bytes()
    graph = decode_model(data)
    assert graph.self_test is not None
    network = ReferenceNetwork(graph)
    push_all(network, graph.self_test.events)
    network.finish()
    scores, populations = network.output().tolist(), network.stats()["populations"]
    return Vector(data, graph.self_test.events, scores, populations)
