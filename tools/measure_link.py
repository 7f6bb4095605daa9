"""Measures the link to a board: bytes an event, round trip, events a second.

    python tools/measure_link.py emulated
    python tools/measure_link.py qemu --events 30000
    python tools/measure_link.py emulated --recordings nmnist_train_1000.zip

The network only counts events of a sensor of 34 x 34 pixels with two polarities, so that what is measured
is the link. Without recordings, events come at random times, 13,900 a second on average, as N-MNIST's do.
Bytes count everything that goes to the board. A tick is what the table says, a window 300 ms.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from edgespike.events.files import find_recordings
from edgespike.graph import (
    CORE_EVENT,
    Accumulator,
    Dense,
    EventCounts,
    Graph,
    InputSpec,
    LevelInput,
    Population,
    Projection,
)
from edgespike.link import DeviceClient, Mode, connect
from edgespike.modelfile import encode_model

SHAPE = (34, 34, 2)
WINDOW_US = 300_000
ROUND_TRIPS = 200


def counting_model(tick_us: int, shape: tuple[int, int, int] = SHAPE, window_us: int = WINDOW_US) -> bytes:
    """A network that counts events into one score."""
    window = window_us // tick_us
    table = np.tile(np.arange(256, dtype=np.int16), (2, 1))
    inputs = InputSpec(tick_us, window, EventCounts(2, 1, window, 255, table))
    pixels = Population("input", shape, LevelInput(0, 255), None, np.zeros(shape, np.int32))
    zero = np.zeros((1, 1, 1), np.int32)
    output = Population("count", zero.shape, Accumulator(), zero, None, 32)
    weight = np.ones((pixels.size, 1), np.int8)
    metadata = {"populations": ["input", "count"]}
    return encode_model(Graph((pixels, output), (Projection(0, 1, Dense(weight)),), inputs, metadata))


def random_samples(count: int) -> list[NDArray[Any]]:
    """One stream of random events, in microseconds."""
    rng = np.random.default_rng(0)
    events = np.zeros(count, CORE_EVENT)
    events["tick"] = np.cumsum(rng.exponential(72, count))
    for field, size in zip(("y", "x", "channel"), SHAPE, strict=True):
        events[field] = rng.integers(0, size, count)
    events["value"] = 1
    return [events]


def recorded_samples(path: Path, count: int) -> list[NDArray[Any]]:
    """Recordings with so many events together, in microseconds."""
    samples: list[NDArray[Any]] = []
    for recording in find_recordings(path):
        found = recording.read()
        events = np.zeros(len(found), CORE_EVENT)
        events["tick"] = found["t"] - found["t"][0]
        events["x"], events["y"], events["channel"], events["value"] = found["x"], found["y"], found["p"], 1
        samples.append(events)
        if sum(map(len, samples)) >= count:
            break
    return samples


def stream(client: DeviceClient, mode: Mode, samples: list[NDArray[Any]], tick_us: int) -> list[str]:
    """A row of the table."""
    client.start(mode)
    before, began = client.statistics(), time.perf_counter()
    results = []
    for sample in samples:
        rest = sample.copy()
        rest["tick"] //= tick_us
        while len(rest):
            taken = client.send_events(rest)
            rest = rest[taken:]
            results += client.poll(0.0 if taken else 0.002)
        client.end_sample()
    results += client.drain()
    seconds = time.perf_counter() - began
    after = client.statistics()
    events = sum(map(len, samples))
    return [
        mode.name.lower(),
        str(tick_us),
        f"{(after.bytes_sent - before.bytes_sent) / events:.2f}",
        f"{events / seconds:,.0f}",
        f"{sum(result.lost for result in results):,}",
        f"{after.sent_again - before.sent_again:,}",
    ]


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("port")
    parser.add_argument("--baud", type=int, default=921600)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--recordings", type=Path, help="a folder or archive of N-MNIST recordings")
    arguments = parser.parse_args()
    if arguments.recordings:
        samples = recorded_samples(arguments.recordings, arguments.events)
    else:
        samples = random_samples(arguments.events)
    client = connect(arguments.port, arguments.baud)
    table = Table("mode", "tick us", "bytes an event", "events a second", "lost", "frames again")
    for tick_us in (1, 100, 1000):
        client.upload(counting_model(tick_us))
        for mode in Mode:
            table.add_row(*stream(client, mode, samples, tick_us))
    client.start(Mode.LOSSLESS)
    for _ in range(ROUND_TRIPS):
        client.drain()
    console = Console()
    console.print(table)
    trip = client.statistics().round_trip_median_us
    console.print(f"round trip {trip:,} us (median of {ROUND_TRIPS}), {sum(map(len, samples)):,} events")
    client.close()


if __name__ == "__main__":
    main()
