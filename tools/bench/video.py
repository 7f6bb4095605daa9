"""A picture that moves by a quarter of a pixel a frame: only what changes is sent."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from networks import sources
from numpy.typing import NDArray
from tables import Table

from edgespike import InferenceSession, _core
from edgespike.graph import CORE_EVENT

STEP = 0.25  # pixels a frame
FRAMES = 24
VIDEOS = 8
NETWORKS = ("fashion_average", "fashion_average_sparse", "fashion_max", "mnist-8")


def moved(image: NDArray[np.float32], pixels: float) -> NDArray[np.float32]:
    """An image (channels, height, width), moved to the right by linear interpolation, edges repeated."""
    columns = np.clip(np.arange(image.shape[-1]) - pixels, 0, image.shape[-1] - 1)
    low = np.floor(columns).astype(int)
    high = np.minimum(low + 1, image.shape[-1] - 1)
    part = (columns - low).astype(np.float32)
    return image[..., low] * (1 - part) + image[..., high] * part


def changes(session: InferenceSession, frames: list[NDArray[np.float32]]) -> list[NDArray[Any]]:
    """The events of each frame: its differences from the one before, a tick for each frame."""
    first = session.graph.populations[0]
    assert first.initial_level is not None
    before, events = first.initial_level.astype(np.int64), []
    for tick, frame in enumerate(frames):
        levels = session.quantize(frame)
        y, x, channel = np.nonzero(levels - before)
        part = np.empty(len(y), CORE_EVENT)
        part["tick"], part["y"], part["x"], part["channel"] = tick, y, x, channel
        part["value"] = (levels - before)[y, x, channel]
        events.append(part)
        before = levels
    return events


def measure(data: Path, seconds: float) -> Table:
    """Median microseconds of a frame after the first one."""
    rows: list[tuple[Any, ...]] = []
    for network in sources(data):
        if network.name not in NETWORKS:
            continue
        fp32, int8, name = network.originals()
        session, _ = network.session(15)
        core = session.backend
        assert isinstance(core, _core.Network)
        videos = [[moved(image, STEP * frame) for frame in range(FRAMES)] for image in network.test[:VIDEOS]]
        parts = [changes(session, frames) for frames in videos]
        times: list[list[float]] = [[], [], []]
        end = time.perf_counter() + seconds
        core.clear_stats()
        while not times[0] or time.perf_counter() < end:
            for frames, events in zip(videos, parts, strict=True):
                core.reset()
                for tick, (frame, part) in enumerate(zip(frames, events, strict=True)):
                    moments = [time.perf_counter()]
                    core.push(part)
                    core.advance(tick + 1)
                    core.output()
                    moments.append(time.perf_counter())
                    for original in (fp32, int8):
                        original.run(None, {name: frame[None]})
                        moments.append(time.perf_counter())
                    for taken, spent in zip(times, np.diff(moments), strict=True):
                        taken.append(float(spent) if tick else np.nan)
        ours, float32, quantized = (1e6 * float(np.nanmedian(each)) for each in times)
        count = np.mean([len(part) for events in parts for part in events[1:]])
        rows.append((network.name, float(count), ours, float32, quantized, float32 / ours, quantized / ours))
    return Table(
        "video",
        f"Microseconds of a frame of a picture that moves by {STEP} pixels a frame, 15 levels; "
        "the three in turns, frame by frame.",
        ("network", "pixels changed", "edgespike", "fp32", "int8", "fp32 / ours", "int8 / ours"),
        rows,
    )
