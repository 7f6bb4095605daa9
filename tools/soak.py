"""Streams many events live to an emulated board over a bad line; accounts for each, and watches the memory.

    python tools/soak.py
    python tools/soak.py --events 200000

The line carries 921600 baud in time of its own, so a run takes as long as the machine computes. The rate of
events changes between a tenth and three times what the line carries; what does not go out soon is dropped.
Now and then the line loses bytes for a while, the cable is pulled and put back, or the board restarts.
Exit code 1: an event is not accounted for, or the memory of this program grows.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from measure_link import SHAPE, counting_model
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from edgespike._link import EmulatedBoard
from edgespike.errors import DeviceError
from edgespike.graph import CORE_EVENT
from edgespike.link import DeviceClient, DeviceResult, Mode, Reason
from edgespike.link.transports import EmulatedTransport, vanished

BYTES_PER_SECOND = 92160
EVENTS_PER_SECOND = 44_000  # that the line carries
STEP_S = 0.02  # events come in pieces of this length
LATE_STEPS = 3  # after so many more a piece is dropped
GROWTH_BYTES = 4 << 20
Generator = np.random.Generator


class Line(EmulatedTransport):
    """A serial line to the emulated board, in time that passes while someone reads."""

    def __init__(self, board: EmulatedBoard) -> None:
        super().__init__(board)
        self.now = 0.0
        self.lossy_until = 0.0
        self.gone = False
        self._waiting = bytearray()  # for the line, which takes time

    def clock(self) -> float:
        """Seconds since the program began."""
        return self.now

    def write(self, data: bytes) -> None:
        self._check()
        self._waiting += data

    def read(self, timeout: float) -> bytes:
        self._check()
        began = self.now
        while True:
            received = super().read(0.0)
            if received or self.now >= began + timeout:
                return b"" if self.now < self.lossy_until else received
            self.pass_time(min(0.001, max(1e-5, began + timeout - self.now)))

    def pass_time(self, seconds: float) -> None:
        """Let the line carry what it can."""
        self.now += seconds
        self.board.set_clock(int(self.now * 1e6) & 0xFFFFFFFF)
        count = min(len(self._waiting), max(1, round(seconds * BYTES_PER_SECOND)))
        if count and self.now >= self.lossy_until:
            super().write(bytes(self._waiting[:count]))
        del self._waiting[:count]

    def put_back(self) -> None:
        """The cable is there again; what was on it is not."""
        self.gone = False
        self._waiting.clear()

    def _check(self) -> None:
        if self.gone:
            raise vanished(self.name, "the cable was pulled")


class Account:
    """What became of the events."""

    def __init__(self) -> None:
        self.offered = self.processed = self.results = 0
        self.causes: Counter[str] = Counter()
        self.memory: list[int] = []  # bytes, now and then

    def take(self, results: list[DeviceResult]) -> None:
        for result in results:
            if result.reason != Reason.READ:
                self.results += 1
                self.processed += result.input_events
                self.causes["lost on the link"] += result.lost_on_link
                self.causes["rejected"] += result.rejected

    def close(self, client: DeviceClient, code: str) -> None:
        """The stream has ended, with an error of this code."""
        statistics = client.statistics()
        self.causes["dropped here, too late"] += statistics.lost_at_sender
        self.causes["result overwritten"] += statistics.unreported
        self.causes[f"on their way: {code}"] += statistics.awaited

    @property
    def missing(self) -> int:
        """Events that are not accounted for."""
        return self.offered - self.processed - self.causes.total()


def some_events(rng: Generator, count: int, first_tick: int) -> NDArray[Any]:
    """Events of one step, a tick being a millisecond."""
    events = np.zeros(count, CORE_EVENT)
    events["tick"] = first_tick + np.sort(rng.integers(0, round(STEP_S * 1000), count))
    for field, size in zip(("y", "x", "channel"), SHAPE, strict=True):
        events[field] = rng.integers(0, size, count)
    events["value"] = 1
    return events


def trouble(rng: Generator, line: Line) -> None:
    """Now and then something happens."""
    kind = rng.integers(0, 1500)
    if kind < 10:
        line.lossy_until = line.now + float(rng.random()) * 0.5
    elif kind < 13:
        line.gone = True
    elif kind == 13:
        line.board.reboot()


def stream(rng: Generator, line: Line, client: DeviceClient, account: Account, total: int) -> None:
    """Streams until so many events were offered, or the link breaks."""
    client.upload(counting_model(1000))
    client.start(Mode.LIVE)
    waiting: list[NDArray[Any]] = []
    tick, rate = 0, EVENTS_PER_SECOND / 2
    try:
        while account.offered < total:
            if rng.random() < 0.02:
                rate = EVENTS_PER_SECOND * float(rng.choice([0.1, 0.5, 0.9, 1.2, 3.0]))
            events = some_events(rng, round(rate * STEP_S), tick)
            tick += round(STEP_S * 1000)
            account.offered += len(events)
            waiting.append(events)
            step_ends = line.now + STEP_S
            while line.now < step_ends:
                while waiting and not len(waiting[0]):
                    waiting.pop(0)
                if waiting:
                    waiting[0] = waiting[0][client.send_events(waiting[0]) :]
                account.take(client.poll(min(0.005, step_ends - line.now)))
                line.pass_time(0.0005)
            while len(waiting) > LATE_STEPS:
                client.discard(waiting.pop(0))
            if account.offered // (total // 100) > len(account.memory):
                account.memory.append(resident_bytes())
            trouble(rng, line)
        client.end_sample()
        account.take(client.drain())
    except DeviceError:
        for events in waiting:
            client.discard(events)
        raise
    for events in waiting:
        client.discard(events)


def resident_bytes() -> int:
    """Memory of this program."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    """Prints what became of the events, and the memory on the way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    line, account = Line(EmulatedBoard()), Account()
    began = time.perf_counter()
    ends: Counter[str] = Counter()
    while account.offered < arguments.events:
        client = DeviceClient(line, timeout=5.0, clock=line.clock)
        try:
            stream(rng, line, client, account, arguments.events)
            code = "finished"
        except DeviceError as error:
            code = error.code
        account.take(client._take_ready())
        account.close(client, code)
        ends[code] += 1
        line.put_back()
    table = Table("events", "", show_header=False)
    table.add_row("offered", f"{account.offered:,}")
    table.add_row("processed", f"{account.processed:,}")
    for cause, count in account.causes.most_common():
        table.add_row(cause, f"{count:,}")
    table.add_row("not accounted for", f"{account.missing:,}")
    console = Console(width=100)
    console.print(table)
    memory = account.memory
    after_start = memory[len(memory) // 10]
    growth = max(memory[len(memory) // 10 :]) - after_start
    streams = ", ".join(f"{count} {code}" for code, count in ends.most_common())
    console.print(
        f"{ends.total()} streams ({streams}), {account.results:,} results, {line.now:,.0f} s on the line"
    )
    console.print(
        f"memory {after_start / 1e6:.1f} MB after a tenth, {memory[-1] / 1e6:.1f} MB at the end, "
        f"never {growth / 1e6:.1f} MB above; {time.perf_counter() - began:.0f} s"
    )
    return 1 if account.missing or growth > GROWTH_BYTES else 0


if __name__ == "__main__":
    sys.exit(main())
