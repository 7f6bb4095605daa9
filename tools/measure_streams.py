"""Measures streams from end to end: throughput, latency on a slow line, endurance, drift.

    python tools/measure_streams.py rate
    python tools/measure_streams.py line nmnist_train_1000.zip
    python tools/measure_streams.py endure --minutes 10 --port emulated
    python tools/measure_streams.py endure --minutes 10 --port line
    python tools/measure_streams.py drift --seconds 60

rate    recordings as fast as they go, from event arrays through the link to an emulated board and back
line    N-MNIST recordings at real speed, on a board behind a pseudo terminal that carries --baud and no more
endure  125,000 events a second of a sensor of 128 x 128, looped: delay and memory of every minute, losses
drift   how far replay at real speed, and faster, strays from the clock

The board is emulated: what is measured is this computer and the line. That is a process of its own, which
lets bytes through one by one, a tenth of the baud a second, both ways. Delays count from the end of a window
to its result. On a busy computer `chrt -f 5 python ...` shows what an idle one would do. An event that is
not accounted for makes exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import pty
import select
import sys
import tempfile
import time
import tty
from collections.abc import Iterator, Sequence
from itertools import repeat, takewhile
from pathlib import Path
from typing import Any

import numpy as np
from measure_link import counting_model
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from soak import resident_bytes

from edgespike import InferenceSession
from edgespike._link import EmulatedBoard
from edgespike.cli.monitor import Monitor
from edgespike.cli.output import percentiles_ms
from edgespike.cli.player import Answer, Player, Reply
from edgespike.cli.samples import Sample, find_streams
from edgespike.convert import EventOptions, convert_onnx, load_calibration
from edgespike.data import DEMO_EVENTS, demo_archive, demo_calibration, demo_network
from edgespike.events import count_events, find_recordings, make_events
from edgespike.modelfile import encode_model

TESTS = Path(__file__).resolve().parents[1] / "tests" / "data"
NMNIST = EventOptions(height=34, width=34, window_us=315_000, slices=3, polarities=2, saturation=7)
WINDOW_US = 100_000


# ---- a line ---------------------------------------------------------------------


class Wire:
    """One way of a serial line: bytes come out one after the other, so many a second."""

    def __init__(self, bytes_per_second: float) -> None:
        self.rate = bytes_per_second
        self._bytes = bytearray()
        self._free_at = 0.0  # when the next byte begins

    def put(self, data: bytes, now: float) -> None:
        if not self._bytes:
            self._free_at = max(self._free_at, now)
        self._bytes += data

    def take(self, now: float) -> bytes:
        count = min(len(self._bytes), int((now - self._free_at) * self.rate))
        data = bytes(self._bytes[:count])
        del self._bytes[:count]
        self._free_at += count / self.rate
        return data

    def __len__(self) -> int:
        return len(self._bytes)


def serve_board(handle: int, bytes_per_second: float) -> None:
    """An emulated board at the other end of a line, until the process ends."""
    board = EmulatedBoard()
    there, back = Wire(bytes_per_second), Wire(bytes_per_second)
    while True:
        select.select([handle], [], [], 0.0001 if there or back else 0.01)
        with contextlib.suppress(BlockingIOError):
            there.put(os.read(handle, 65536), time.perf_counter())
        now = time.perf_counter()
        arrived = there.take(now)
        while arrived:
            arrived = arrived[board.write(arrived) :]
            back.put(board.read(), now)
        back.put(board.read(), now)
        out = back.take(time.perf_counter())
        while out:
            with contextlib.suppress(BlockingIOError):
                out = out[os.write(handle, out) :]


@contextlib.contextmanager
def port(name: str, baud: int) -> Iterator[str]:
    """The port ``name``; ``line``: a board behind a pseudo terminal that carries so many bits a second."""
    if name != "line":
        yield name
        return
    handle, other = pty.openpty()
    tty.setraw(other)
    os.set_blocking(handle, False)
    board = multiprocessing.get_context("fork").Process(
        target=serve_board, args=(handle, baud / 10), daemon=True
    )
    board.start()
    try:
        yield os.ttyname(other)
    finally:
        board.kill()
        board.join()
        os.close(handle)
        os.close(other)


# ---- what is streamed -----------------------------------------------------------


def random_recording(rate: float, seconds: float, side: int) -> NDArray[Any]:
    """Events at random times and pixels."""
    rng = np.random.default_rng(0)
    count = round(rate * seconds)
    t = np.sort(rng.integers(0, round(1e6 * seconds), count))
    t[[0, -1]] = 0, round(1e6 * seconds) - 1  # the last window is complete
    return make_events(t, *rng.integers(0, side, (2, count)), rng.integers(0, 2, count))


def sample(events: NDArray[Any], name: str = "random") -> Sample:
    """A recording in memory."""
    return Sample(name, None, lambda: events.copy())


def nmnist_model(archive: Path) -> bytes:
    """The network of tests/data, calibrated on recordings that it was trained on."""
    held_out = set((TESTS / "nmnist_test.txt").read_text().split())
    some = [found for found in find_recordings(archive) if found.name not in held_out][:100]
    counts = [
        count_events(found.read(), 34, 34, polarities=2, slices=3, slice_us=105_000, saturation=7)
        for found in some
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calibration.npz"
        np.savez(path, x=np.stack(counts))
        return encode_model(convert_onnx(TESTS / "nmnist_cnn.onnx", load_calibration(path), events=NMNIST)[0])


# ---- the measurements -----------------------------------------------------------

Rows = list[dict[str, Any]]


def account(monitor: Monitor, answers: Sequence[Answer]) -> dict[str, int]:
    """Events offered, told of in results, and lost by cause; ``missing``: none of these."""
    link = monitor.player.link()
    told = sum(answer.result.events + answer.result.lost for answer in answers)
    unreported = link.unreported if link else 0
    return {
        "offered": monitor.player.sent,
        "in_results": sum(answer.result.events for answer in answers),
        "too_late": link.lost_at_sender if link else 0,
        "lost_on_link": link.lost_on_link if link else 0,
        "rejected": link.rejected if link else 0,
        "missing": monitor.player.sent - told - unreported,
    }


def measure_rate(arguments: argparse.Namespace) -> Rows:
    """Events a second, unpaced."""
    digits = convert_onnx(demo_network(), load_calibration(demo_calibration()), events=DEMO_EVENTS)[0]
    counting = [sample(random_recording(13_900, 0.3, 34)) for _ in range(arguments.events // 4170)]
    rows = []
    for name, model in (
        ("counts events", counting_model(1000)),
        ("digits of the demo", encode_model(digits)),
    ):
        with InferenceSession(model, "device", port="emulated") as session:
            if name == "counts events":
                recordings = counting
            else:
                stored = [sample(found.load(), found.name) for found in find_streams(demo_archive(), session)]
                recordings = stored * max(1, arguments.events // sum(len(each.load()) for each in stored))
            monitor = Monitor(session, Player(session, float("inf")))
            answers = list(monitor.player.play(recordings))
            seconds = monitor.seconds
            count = account(monitor, answers)
            synops = session.stats()["synops"]
        rows.append(
            {
                "network": name,
                "events": count["offered"],
                "events_per_second": count["offered"] / seconds,
                "synops_per_event": synops / count["offered"],
                "missing": count["missing"],
            }
        )
    return rows


def measure_line(arguments: argparse.Namespace) -> Rows:
    """Delays of N-MNIST on a paced line."""
    model = nmnist_model(arguments.recordings)
    with (
        port("line", arguments.baud) as name,
        InferenceSession(model, "device", port=name, baud=arguments.baud) as session,
    ):
        recordings = find_streams(arguments.recordings, session)[:: 1000 // arguments.count]
        monitor = Monitor(session, Player(session, 1.0, live=True))
        answers = list(monitor.player.play(recordings[: arguments.count]))
        count = account(monitor, answers)
        link = monitor.player.link()
        assert link
        delays = percentiles_ms([answer.delay_s or 0.0 for answer in answers], (50, 95, 99))
        return [
            {
                "baud": arguments.baud,
                "recordings": len(answers),
                "seconds": monitor.seconds,
                **{f"{key}_ms": value for key, value in delays.items()},
                "bytes_per_event": link.bytes_sent / count["offered"],
                **count,
            }
        ]


def measure_endurance(arguments: argparse.Namespace) -> Rows:
    """Delays, memory and losses, minute by minute."""
    events = random_recording(arguments.rate, 1.0, 128)
    model = counting_model(1000, (128, 128, 2), WINDOW_US)
    rows: Rows = []
    with (
        port(arguments.port, arguments.baud) as name,
        InferenceSession(model, "device", port=name, baud=arguments.baud) as session,
    ):
        player = Player(session, 1.0, live=True)
        monitor = Monitor(session, player)
        until = time.monotonic() + 60 * arguments.minutes
        endless = takewhile(lambda _: time.monotonic() < until, repeat(sample(events)))
        delays: list[float] = []
        minute, before, told, lost = 1, 0, 0, 0

        def row() -> dict[str, Any]:
            return {
                "minute": minute,
                "events_per_second": (player.sent - before) / (monitor.seconds - 60 * (minute - 1)),
                "results": len(delays),
                **{f"{key}_ms": value for key, value in percentiles_ms(delays, (50, 95, 99)).items()},
                "lost": lost,
                "resident_mb": resident_bytes() / 1e6,
            }

        for answer in player.play(endless):
            monitor.add(answer)
            delays.append(answer.delay_s or 0.0)
            told += answer.result.events + answer.result.lost
            lost += answer.result.lost
            if monitor.seconds > 60 * minute:
                rows.append(row())
                minute, before, delays, lost = minute + 1, player.sent, [], 0
        if delays:
            rows.append(row())
        link = player.link()
        assert link
        missing = player.sent - told - link.unreported
    return [row | {"missing": missing} for row in rows]


class Clocked:
    """A lane that does nothing but wait, and notes how late it was asked to send."""

    busy_s = 0.0
    step_s = 0.002

    def __init__(self) -> None:
        self.late: list[tuple[float, float]] = []  # when, and how late; seconds

    def wait(self, due: float) -> list[Reply]:
        time.sleep(max(0.0, due - time.perf_counter()))
        return []

    def send(self, events: NDArray[Any], until_us: int, due: float) -> list[Reply]:
        now = time.perf_counter()
        self.late.append((now, now - due))
        return []

    def begin(self, number: int) -> None: ...
    def end(self) -> list[Reply]:
        return []

    def drain(self) -> list[Reply]:
        return []


def measure_drift(arguments: argparse.Namespace) -> Rows:
    """How far the time of the last events is from where the clock says that it should be."""
    rows = []
    for speed in arguments.speeds:
        with InferenceSession(counting_model(1000), "cpu") as session:
            player = Player(session, speed)
            lane = player.lane = Clocked()
            length = 0.3
            rounds = max(2, round(arguments.seconds * speed / length))
            began = time.perf_counter()
            for _ in player.play(repeat(sample(random_recording(13_900, length, 34)), rounds)):
                pass
            late = np.array(lane.late)
        minutes = (late[-1, 0] - began) / 60
        tenth = max(1, len(late) // 10)
        first, last = np.median(late[:tenth, 1]), np.median(late[-tenth:, 1])
        rows.append(
            {
                "speed": speed,
                "seconds": 60 * minutes,
                "recordings": rounds,
                "drift_ms_per_minute": 1e3 * (last - first) / minutes,
                "late_p50_ms": 1e3 * np.median(late[:, 1]),
                "late_p99_ms": 1e3 * np.percentile(late[:, 1], 99),
                "missing": 13_900 * 3 * rounds // 10 - player.sent,
            }
        )
    return rows


# ---- what is said ---------------------------------------------------------------


def shown(value: float | str) -> str:
    """A number with three places, or without."""
    if isinstance(value, str):
        return value
    return f"{value:,.3f}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}"


def main() -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    what = parser.add_subparsers(required=True)
    rate = what.add_parser("rate")
    rate.add_argument("--events", type=int, default=3_000_000)
    rate.set_defaults(measure=measure_rate)
    line = what.add_parser("line")
    line.add_argument("recordings", type=Path, help="nmnist_train_1000.zip")
    line.add_argument("--count", type=int, default=200)
    line.set_defaults(measure=measure_line)
    endure = what.add_parser("endure")
    endure.add_argument("--minutes", type=float, default=10)
    endure.add_argument("--rate", type=float, default=125_000)
    endure.add_argument("--port", default="emulated", help="emulated, line, or a real one")
    endure.set_defaults(measure=measure_endurance)
    drift = what.add_parser("drift")
    drift.add_argument("--seconds", type=float, default=60)
    drift.add_argument("--speeds", type=float, nargs="+", default=[1, 10])
    drift.set_defaults(measure=measure_drift)
    for each in (line, endure):
        each.add_argument("--baud", type=int, default=921_600)
    for each in (rate, line, endure, drift):
        each.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = arguments.measure(arguments)
    if arguments.json:
        print(json.dumps(rows))
    else:
        table = Table(show_header=False)
        for name in rows[0]:
            table.add_row(name.replace("_", " "), *(shown(row[name]) for row in rows))
        Console(width=110).print(table)
    return 1 if any(row["missing"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
