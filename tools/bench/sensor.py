"""The first convolution on raw events of a camera."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tables import Table

from edgespike import _core
from edgespike.benchmark import run_in_turns
from edgespike.events import find_recordings
from edgespike.graph import (
    CORE_EVENT,
    Accumulator,
    Convolution,
    EventCounts,
    Graph,
    InputSpec,
    LevelInput,
    Population,
    Projection,
)
from edgespike.modelfile import encode_model

SIDE, KERNEL, CHANNELS = 34, 5, 12
RECORDINGS = 20
TOGETHER = (1, 10, 100, 1000, 10_000)
EVENTS = 100_000


def layer() -> _core.Network:
    """34 x 34 pixels and two polarities, counted up to 255, into 12 channels by kernels of 5 x 5."""
    side = SIDE - KERNEL + 1
    weight = np.random.default_rng(0).integers(-127, 128, (2, KERNEL, KERNEL, CHANNELS)).astype(np.int8)
    table = np.tile(np.arange(256, dtype=np.int16), (2, 1))
    populations = (
        Population("pixels", (SIDE, SIDE, 2), LevelInput(0, 255), None, np.zeros((SIDE, SIDE, 2), np.int32)),
        Population(
            "sums",
            (side, side, CHANNELS),
            Accumulator(),
            np.zeros((side, side, CHANNELS), np.int32),
            None,
            32,
        ),
    )
    spec = InputSpec(1, 1 << 30, EventCounts(2, 1, 1 << 30, 255, table))
    return _core.Network(
        _core.Model(encode_model(Graph(populations, (Projection(0, 1, Convolution(weight)),), spec)))
    )


def recorded(path: Path) -> NDArray[Any]:
    """Events of recordings, one after the other."""
    parts = [recording.read() for recording in find_recordings(path)[:RECORDINGS]]
    events = np.concatenate(parts)[:EVENTS]
    core = np.zeros(len(events), CORE_EVENT)
    core["x"], core["y"], core["channel"], core["value"] = events["x"], events["y"], events["p"], 1
    return core


def measure(data: Path, seconds: float) -> Table:
    """Events a second, by how many come in one call, each call at a tick of its own."""
    events, network = recorded(data / "nmnist_train_1000.zip"), layer()

    def stream(together: int, first: int) -> None:
        network.reset()
        for start in range(first, first + max(together, 1000), together):
            network.push(batches[together][start])

    rows: list[tuple[Any, ...]] = []
    batches: dict[int, dict[int, NDArray[Any]]] = {}
    for together in TOGETHER:
        numbered = events.copy()
        numbered["tick"] = np.arange(len(events)) // together
        starts = range(0, len(events) - together + 1, together)
        batches[together] = {start: numbered[start : start + together] for start in starts}
    for together in TOGETHER:
        size = max(together, 1000)
        (taken,) = run_in_turns(
            [partial(stream, together)], range(0, len(events) - size + 1, size), seconds / 5
        )
        network.clear_stats()
        stream(together, 0)
        rows.append((str(together), size / float(np.median(taken)) / 1e6, network.stats()["synops"] / size))
    return Table(
        "sensor",
        f"A convolution of {KERNEL} x {KERNEL} to {CHANNELS} channels on events of N-MNIST recordings, "
        "which it counts and adds up.",
        ("events in a call", "million events a second", "synops an event"),
        rows,
    )
