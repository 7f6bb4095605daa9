"""What can go wrong between a host and a board, seed by seed: run, judged, and counted.

A run greets a board, gives it a model, streams three samples and takes the results, while a Harm of
faults.py does its work. It must complete, or report (a DeviceError), within bounds. Complete and
lossless, the results are the offline ones bit for bit; live, every event is accounted for and every
result before a loss is the offline one. After a report the healed line works again: see ``run``.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any, Protocol

import numpy as np
from boards import COUNTING, IMAGE, scores_of, sensor_events
from faults import (
    ByteHarm,
    Clock,
    Delay,
    FaultyPipe,
    FrameHarm,
    Garbage,
    Generator,
    Harm,
    Incident,
    OtherHost,
    RealClock,
    Together,
)
from numpy.typing import NDArray
from peers import pseudo_terminal, running, serve_board
from random_graphs import random_events, random_graph

from edgespike import _core
from edgespike._link import EmulatedBoard, encode_frame, pack_events
from edgespike.errors import DeviceError
from edgespike.link import DeviceClient, Mode, Reason, Transport, open_transport
from edgespike.link.messages import FrameType
from edgespike.link.transports import EmulatedTransport
from edgespike.modelfile import encode_model

SAMPLES = 3
TASKS = 30  # that a run chooses from
TRAFFIC = 9000  # bytes that a client sends in a run, about


# ---- boards ------------------------------------------------------------------------


class Bench(Protocol):
    """A board that can be reset and reached again and again. ``retry``, ``timeout``: seconds for clients."""

    clock: Clock
    retry: float
    timeout: float
    longest_run: float
    sizes: tuple[int, int]  # bytes kept for a model, and for an arena

    def open(self) -> Transport: ...
    def reset(self) -> None: ...
    def close(self) -> None: ...


class EmulatedBench:
    """The emulated board, in time that passes only when someone waits."""

    retry, timeout, longest_run = 0.25, 15.0, 5000.0
    sizes = (1 << 16, 1 << 18)

    def __init__(self, rng: Generator) -> None:
        self.clock = Clock()
        payload = int(rng.choice([128, 256, 1024]))
        ring = int(rng.choice([2048, 4096, 16384]))
        self._board = EmulatedBoard(
            model_capacity=self.sizes[0], arena_capacity=self.sizes[1], max_payload=payload, ring_size=ring
        )
        self._lives = 0

    def open(self) -> Transport:
        bench = self

        class InTime(EmulatedTransport):
            def read(self, timeout: float) -> bytes:
                bench._board.set_clock(int(bench.clock() * 1e6) & 0xFFFFFFFF)
                return super().read(0.0)

        return InTime(self._board)

    def reset(self) -> None:
        self._board.reboot()

    def close(self) -> None:
        pass


class PtyBench:
    """The emulated board behind a pseudo terminal, in another thread."""

    retry, timeout, longest_run = 0.05, 1.5, 60.0
    sizes = EmulatedBench.sizes

    def __init__(self, rng: Generator) -> None:
        self.clock = RealClock()
        self._board = EmulatedBoard(model_capacity=self.sizes[0], arena_capacity=self.sizes[1])
        self._reset = False
        self._context = self._serve()
        self._name = next(self._context)

    def _serve(self) -> Iterator[str]:
        with pseudo_terminal() as (handle, name):
            serve = serve_board(handle, self._board)

            def work() -> bool:
                if self._reset:
                    self._reset = False
                    self._board.reboot()
                return serve()

            with running(work):
                yield name

    def open(self) -> Transport:
        return open_transport(self._name)

    def reset(self) -> None:
        self._reset = True

    def close(self) -> None:
        for _ in self._context:
            pass


class QemuBench:
    """The firmware on QEMU; a reset takes its power away, so its boot epoch may be what it was."""

    retry, timeout, longest_run = 0.05, 1.5, 60.0
    sizes = (1 << 16, 1 << 18)

    def __init__(self, port: str) -> None:
        self.clock = RealClock()
        self._port = port
        self._transport = open_transport(port)

    def open(self) -> Transport:
        bench = self

        class Line:
            """The UART, whatever QEMU is behind it."""

            name, patience, baud = bench._port, 5.0, None

            def write(self, data: bytes) -> None:
                bench._transport.write(data)

            def read(self, timeout: float) -> bytes:
                return bench._transport.read(timeout)

            def set_baud(self, baud: int) -> None:
                bench._transport.set_baud(baud)

            def close(self) -> None:
                pass

        return Line()

    def reset(self) -> None:
        self._transport.close()
        self._transport = open_transport(self._port)

    def close(self) -> None:
        self._transport.close()


# ---- networks and samples ------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A model, events of samples, and what the core gives offline."""

    model: bytes
    samples: list[NDArray[Any]]
    offline: list[list[list[int]]]


@cache
def make_task(number: int) -> Task:
    """The same every time; it fits every bench, and has few windows, which cost a line its time."""
    rng = np.random.default_rng(number)
    while True:
        if number % 2:
            model = COUNTING
            samples = [sensor_events(400, 700, int(rng.integers(0, 1 << 30))) for _ in range(SAMPLES)]
        else:
            graph = random_graph(rng, spiking=bool(rng.random() < 0.5))
            samples = [random_events(rng, graph, 300) for _ in range(SAMPLES)]
            model = encode_model(graph)
            small = len(model) < 8000 and (_core.Model(model).arena_size("streaming") or 0) < 200_000
            if not small or any(not len(sample) or sample["tick"][-1] > 3000 for sample in samples):
                continue
        offline = [scores_of(model, sample) for sample in samples]
        if sum(map(len, offline)) <= 60:
            return Task(model, samples, offline)


# ---- cases -----------------------------------------------------------------------------


@dataclass
class Setting:
    """What a case needs to make its harm."""

    rng: Generator
    bench: Bench
    task: Task

    @property
    def retry(self) -> float:
        return self.bench.retry

    def seconds(self, most: float) -> float:
        """Up to so many time-outs of the client."""
        return float(self.rng.random() * most) * self.bench.timeout


class HostDies(Exception):
    """The program with the client ends in the midst of what it does."""


def bytes_of(*kinds: str) -> Callable[[Setting], Harm]:
    return lambda setting: ByteHarm(setting.rng, list(kinds), float(setting.rng.choice([500, 1500, 5000])))


def frames_of(*kinds: str) -> Callable[[Setting], Harm]:
    return lambda setting: FrameHarm(setting.rng, list(kinds), float(setting.rng.choice([0.02, 0.1])))


def board_resets(setting: Setting) -> Harm:
    return Incident(setting.rng, TRAFFIC, lambda pipe: setting.bench.reset())


def cable_cut(setting: Setting) -> Harm:
    """Bytes are lost for a while, up to longer than the client waits."""

    def cut(pipe: FaultyPipe) -> None:
        pipe.cut = True

    def mend(pipe: FaultyPipe) -> None:
        pipe.cut = False

    return Incident(setting.rng, TRAFFIC, cut, mend, setting.seconds(1.3))


def cable_gone(setting: Setting) -> Harm:
    def pull(pipe: FaultyPipe) -> None:
        pipe.gone = True

    return Incident(setting.rng, TRAFFIC, pull)


def host_dies(setting: Setting) -> Harm:
    def die(pipe: FaultyPipe) -> None:
        raise HostDies

    size = len(setting.task.model)
    return Incident(setting.rng, size if setting.rng.random() < 0.8 else TRAFFIC, die)


def host_stops_reading(setting: Setting) -> Harm:
    def stop(pipe: FaultyPipe) -> None:
        pipe.deaf_until = pipe.clock() + setting.seconds(1.2)

    return Together([Incident(setting.rng, TRAFFIC, stop) for _ in range(3)])


def two_hosts(setting: Setting) -> Harm:
    return OtherHost(setting.rng, other_frames(setting), TRAFFIC)


def everything(setting: Setting) -> Harm:
    rng = setting.rng
    kinds = ["flip", "drop", "duplicate", "insert", "half"]
    harms: list[Harm] = [ByteHarm(rng, kinds, 3000), FrameHarm(rng, ["drop", "duplicate", "reorder"], 0.05)]
    harms.append(Delay(rng, 2 * setting.retry))
    incident = [board_resets, cable_cut, cable_gone, host_dies, host_stops_reading, two_hosts]
    return Together([*harms, incident[int(rng.integers(0, len(incident)))](setting)])


CASES: dict[str, Callable[[Setting], Harm]] = {
    "nothing": lambda setting: Harm(setting.rng),
    "drop": bytes_of("drop"),
    "flip": bytes_of("flip"),
    "duplicate": bytes_of("duplicate"),
    "half frames": bytes_of("half"),
    "frames drop": frames_of("drop"),
    "frames again": frames_of("duplicate"),
    "reorder": frames_of("reorder"),
    "delay": lambda setting: Delay(setting.rng, setting.retry * float(setting.rng.choice([0.5, 2, 8]))),
    "garbage first": lambda setting: Garbage(setting.rng),
    "baud refused": lambda setting: Harm(setting.rng),
    "baud fails": lambda setting: Harm(setting.rng),
    "board resets": board_resets,
    "cable cut": cable_cut,
    "cable gone": cable_gone,
    "host dies": host_dies,
    "host stops reading": host_stops_reading,
    "two hosts": two_hosts,
    "everything": everything,
}
# What a case may report, beside a line that is too bad to be used. "nothing" must complete.
TOO_BAD = {"silent", "stalled", "not-a-board"}
REPORTS = {
    "board resets": {"restarted", "taken", "no-model"},
    "cable gone": {"vanished"},
    "reorder": {"taken"},
    "two hosts": {"taken", "upload", "no-model"},
    "everything": {"restarted", "taken", "no-model", "vanished", "upload"},
}


def other_frames(setting: Setting) -> list[bytes]:
    """What another program at the same board may send: at random, also nonsense."""
    rng = setting.rng
    other = COUNTING if rng.random() < 0.5 else IMAGE
    stream = int(rng.integers(1, 1 << 32))
    identity = struct.pack("<II", len(other), zlib.crc32(other))
    model = zlib.crc32(setting.task.model)
    frames = []
    for _ in range(int(rng.integers(1, 6))):
        plan = int(rng.integers(0, 8))
        number = int(rng.integers(1, 1 << 31))
        acknowledge = struct.pack("<II", int(rng.integers(0, 50)), int(rng.choice([0, stream])))
        if plan == 0:
            frames += [encode_frame(FrameType.HELLO, 0, 0, number, bytes([1, 0, 0, 0]))] * 5
        elif plan in (1, 2):
            mode = 1 + int(rng.integers(0, 2))
            start = struct.pack("<BBHIII", mode, int(rng.integers(0, 2)), 0, stream, 0, model)
            frames.append(encode_frame(FrameType.START, 0, 0, number, start))
        elif plan == 3:
            events = sensor_events(200, 600)
            frames += [data for data, _ in pack_events(events, (8, 8, 2), 128, 0, 0, 0, stream)]
            end = struct.pack("<IHHI", 200, 0, 0, stream)
            frames.append(encode_frame(FrameType.END_SAMPLE, 0, len(frames) & 0xFFFF, 0, end))
        elif plan == 4:
            frames += [encode_frame(FrameType.PING, 0, 0, number, acknowledge)] * 3
            frames.append(encode_frame(FrameType.CREDIT, 0, 0, 0, acknowledge))
        elif plan == 5:
            frames.append(encode_frame(FrameType.MODEL_BEGIN, 0, 0, number, identity))
            for at in range(0, len(other), 128):
                frames.append(encode_frame(FrameType.MODEL_DATA, 0, 0, at, other[at : at + 128]))
            frames.append(encode_frame(FrameType.MODEL_END, 0, 0, number + 1, identity))
        elif plan == 6:
            frames.append(encode_frame(FrameType.SELF_TEST, 0, 0, number))
        else:
            frames.append(encode_frame(FrameType.STATS, 0, 0, number, bytes([0, 0, 1, 0])))
            frames.append(encode_frame(FrameType.MODEL_BEGIN, 0, 0, number, identity))
    return frames


# ---- a run -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """How a run ended: code of the error that it reported, None when it completed."""

    reported: str | None
    lost: int


def run(case: str, seed: int, bench: Bench) -> Outcome:
    """One run. Raises AssertionError for a wrong classification, a wrong count, a hang, a wrong report."""
    rng = np.random.default_rng([seed, *case.encode()])
    task = make_task(int(rng.integers(0, TASKS)))
    mode = (Mode.LOSSLESS, Mode.LIVE, None)[seed % 3]  # None: as a backend
    setting = Setting(rng, bench, task)
    harm = CASES[case](setting)
    reported = None
    lost = 0
    try:
        try:
            lost = go_through(case, bench, harm, task, mode)
        except HostDies:
            lost = go_through(case, bench, harm, task, mode)  # another program goes on
    except DeviceError as error:
        reported = error.code
        assert error.hint, error.message
        allowed = REPORTS.get(case, set()) | TOO_BAD
        assert case != "nothing" and reported in allowed, f"reported {reported}: {error.message}"
    go_through("nothing", bench, Harm(rng), task, Mode.LOSSLESS)  # the board is none the worse
    return Outcome(reported, lost)


@contextmanager
def client_of(bench: Bench, harm: Harm) -> Iterator[DeviceClient]:
    pipe = FaultyPipe(bench.open(), harm, bench.clock, limit=bench.longest_run)
    client = DeviceClient(pipe, timeout=bench.timeout, retry=bench.retry, clock=bench.clock)
    client._connection.random = Random(int(harm.rng.integers(0, 1 << 62)))
    try:
        yield client
    finally:
        pipe.close()


def go_through(case: str, bench: Bench, harm: Harm, task: Task, mode: Mode | None) -> int:
    """From the greeting to the last result. Returns how many events were lost."""
    with client_of(bench, harm) as client:
        client.hello()
        if case.startswith("baud"):
            change_baud(case, client)
        client.upload(task.model)
        if mode is None:
            check_backend(client, task)
            return 0
        client.start(mode)
        results: list[Any] = []
        offered = 0
        try:
            for sample in task.samples:
                offered += len(sample)
                send(client, sample, mode, results)
                client.end_sample()
            results += client.drain()
        except DeviceError:  # also of what is reported the counts are right
            check_counts(client, results, offered, mode)
            raise
        check_counts(client, results, offered, mode)
        if mode == Mode.LOSSLESS:
            check_lossless(results, task)
            return 0
        check_live(results, task)
        return sum(result.lost for result in results)


def send(client: DeviceClient, events: NDArray[Any], mode: Mode, results: list[Any]) -> None:
    """In pieces; live, what does not go out soon is dropped, and when the board is gone all the rest."""
    at = stuck = 0
    try:
        while at < len(events):
            taken = client.send_events(events[at : at + 50])
            at += taken
            stuck = 0 if taken else stuck + 1
            results += client.poll(0.0 if taken else client._connection.retry)
            if stuck > 4 and mode == Mode.LIVE:
                client.discard(events[at : at + 50])
                at += len(events[at : at + 50])
    except DeviceError:
        client.discard(events[at:])
        raise


def change_baud(case: str, client: DeviceClient) -> None:
    """Asks for what the board or the line cannot do. The line stays as it is."""
    transport = client._connection.transport
    if transport.baud is None:
        return
    if case == "baud fails" and isinstance(transport, FaultyPipe):
        inner, before = transport.inner, transport.baud
        inner.set_baud(before)
        transport.set_baud = lambda baud: inner.set_baud(before if baud == before else baud + 1)  # type: ignore[method-assign]
    try:
        client.change_baud(9_000_000 if case == "baud refused" else 1_500_000)
    except DeviceError as error:
        assert error.code == "baud", error.message
    else:
        raise AssertionError("a baud that cannot be was taken")


# ---- judging -------------------------------------------------------------------------------


def check_backend(client: DeviceClient, task: Task) -> None:
    for sample, offline in zip(task.samples, task.offline, strict=True):
        client.reset()
        scores = []
        while len(sample):
            used, closed = client.push(sample)
            sample = sample[used:]
            if closed:
                scores.append(client.output().tolist())
        client.finish()
        assert [*scores, client.output().tolist()] == offline, "a wrong classification"


def check_lossless(results: list[Any], task: Task) -> None:
    for number, offline in enumerate(task.offline):
        scores = [result.scores.tolist() for result in results if result.sample == number]
        assert scores == offline, "a wrong classification"
    assert all(result.lost == 0 for result in results)
    assert [result.number for result in results] == list(range(len(results)))


def check_live(results: list[Any], task: Task) -> None:
    """Up to the first loss in a sample, its results are the offline ones."""
    for number, offline in enumerate(task.offline):
        for result in (result for result in results if result.sample == number):
            if result.lost:
                break
            assert result.scores.tolist() == offline[result.window], "a wrong classification"


def check_counts(client: DeviceClient, results: list[Any], offered: int, mode: Mode) -> None:
    """Live: every event was taken, or is lost with a cause, or its result is not here."""
    if mode == Mode.LOSSLESS:
        return
    results = [*results, *client._take_ready()]
    counted = [result for result in results if result.reason != Reason.READ]
    told = sum(result.input_events + result.lost for result in counted)
    statistics = client.statistics()
    discarded = sum(client._stream._discarded.values())
    assert told + statistics.unreported + statistics.awaited + discarded == offered, "an event is not counted"
