"""What a frame costs by how much of it changed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from networks import sources
from tables import Table
from video import changes

from edgespike import _core

SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
NETWORK = "fashion_average"
FRAMES = 8


def measure(data: Path, seconds: float) -> Table:
    """Median microseconds of a frame in which a share of the pixels takes those of another image."""
    (network,) = (each for each in sources(data) if each.name == NETWORK)
    session, macs = network.session(15)
    core = session.backend
    assert isinstance(core, _core.Network)
    rng = np.random.default_rng(0)
    rows: list[tuple[Any, ...]] = []
    for share in SHARES:
        videos = []
        for image in network.test[:8]:
            frames = [image]
            for _ in range(FRAMES):
                other = network.test[rng.integers(len(network.test))]
                noise = rng.random(image.shape).astype(np.float32) * image.max()
                chosen = rng.random(image.shape) < share
                frames.append(np.where(chosen, (other + noise) / 2, frames[-1]).astype(np.float32))
            videos.append(changes(session, frames))
        times, synops, changed = [], 0, 0
        end = time.perf_counter() + seconds / len(SHARES)
        while not times or time.perf_counter() < end:
            synops = changed = 0
            for events in videos:
                core.reset()
                core.push(events[0])
                core.advance(1)
                core.clear_stats()
                for tick, part in enumerate(events[1:], 1):
                    begin = time.perf_counter()
                    core.push(part)
                    core.advance(tick + 1)
                    core.output()
                    times.append(time.perf_counter() - begin)
                synops += core.stats()["synops"]
                changed += core.stats()["input_events"]
        count = len(videos) * FRAMES
        rows.append(
            (f"{100 * share:g} %", changed / count, synops / count / macs, 1e6 * float(np.median(times)))
        )
    return Table(
        "activity",
        f"A frame of {NETWORK} at 15 levels, by the share of pixels that change at random; "
        "in the time are three calls from Python.",
        ("pixels drawn", "input events", "synops/MAC", "microseconds"),
        rows,
    )
