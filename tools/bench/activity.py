"""What a frame costs by how much of it changed."""

from __future__ import annotations

import time
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from networks import sources
from numpy.typing import NDArray
from tables import Table
from video import changes

from edgespike import InferenceSession, _core

SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
NETWORK = "fashion_average"
FRAMES = 8
EAGERNESS = (1.0, 0.0, inf)  # as the costs say, single events only, dense passes only


def drawn(session: InferenceSession, images: NDArray[np.float32], share: float) -> list[list[NDArray[Any]]]:
    """Events of videos in which a share of the pixels takes those of another image, frame by frame."""
    rng = np.random.default_rng(0)
    videos = []
    for image in images[:8]:
        frames = [image]
        for _ in range(FRAMES):
            other = images[rng.integers(len(images))]
            noise = rng.random(image.shape).astype(np.float32) * image.max()
            chosen = rng.random(image.shape) < share
            frames.append(np.where(chosen, (other + noise) / 2, frames[-1]).astype(np.float32))
        videos.append(changes(session, frames))
    return videos


def measure(data: Path, seconds: float) -> Table:
    """Median microseconds of a frame after the first."""
    (network,) = (each for each in sources(data) if each.name == NETWORK)
    session, macs = network.session(15)
    chosen = session.backend
    assert isinstance(chosen, _core.Network)
    ways = [_core.Network(chosen.model, eagerness=eagerness) for eagerness in EAGERNESS]
    rows: list[tuple[Any, ...]] = []
    for share in SHARES:
        videos = drawn(session, network.test, share)
        times: list[list[float]] = [[] for _ in ways]
        turns, order = list(zip(ways, times, strict=True)), Random(0)
        end = time.perf_counter() + seconds / len(SHARES)
        while not times[0] or time.perf_counter() < end:
            for events in videos:
                order.shuffle(turns)
                for core, taken in turns:
                    core.reset()
                    core.push(events[0])
                    core.advance(1)
                    core.clear_stats()
                    for tick, part in enumerate(events[1:], 1):
                        begin = time.perf_counter()
                        core.push(part)
                        core.advance(tick + 1)
                        core.output()
                        taken.append(time.perf_counter() - begin)
        stats = ways[0].stats()  # of the last video
        medians = [1e6 * float(np.median(each)) for each in times]
        rows.append(
            (f"{100 * share:g} %", stats["input_events"] / FRAMES, stats["synops"] / FRAMES / macs, *medians)
        )
    return Table(
        "activity",
        f"Microseconds of a frame of {NETWORK} at 15 levels, by the share of pixels that change at random; "
        "in it are three calls from Python. As the costs say, with events only, with dense passes only.",
        ("pixels drawn", "input events", "synops/MAC", "microseconds", "events only", "dense only"),
        rows,
    )
