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
from typing import Any

import numpy as np
from benches import IMPOSSIBLE_BAUD, NEW_BAUD, OTHER_BAUD, Bench, EmulatedBench
from boards import COUNTING, IMAGE, sensor_events
from faults import (
    ByteHarm,
    Delay,
    DullLine,
    FrameHarm,
    Garbage,
    Incident,
    Interruption,
    OtherHost,
    Together,
    Uploads,
)
from faulty_pipe import FaultyPipe, Generator, Harm
from numpy.typing import NDArray
from offline import scores_of
from random_graphs import random_events, random_graph

from edgespike import _core
from edgespike._link import encode_frame, pack_events
from edgespike.errors import DeviceError
from edgespike.link import DeviceClient, Mode, Reason
from edgespike.link.messages import FrameType
from edgespike.modelfile import encode_model

SAMPLES = 3
TASKS = 30  # that a run chooses from
TRAFFIC = 9000  # bytes that a client sends in a run, about
LONGEST_CUT = 600  # bytes: more requests than a client sends before it gives up


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


class HostDies(Exception):
    """The program with the client ends in the midst of what it does."""


def bytes_of(*kinds: str) -> Callable[[Setting], Harm]:
    return lambda setting: ByteHarm(setting.rng, list(kinds), float(setting.rng.choice([500, 1500, 5000])))


def frames_of(*kinds: str) -> Callable[[Setting], Harm]:
    return lambda setting: FrameHarm(setting.rng, list(kinds), float(setting.rng.choice([0.02, 0.1])))


def board_reset(setting: Setting) -> Harm:
    return Incident(setting.rng, TRAFFIC, lambda pipe: setting.bench.reset())


def for_a_while(setting: Setting, what: str) -> Incident:
    """The line is ``cut``, or the host ``deaf``, up to longer than the client waits."""

    def become(value: bool) -> Callable[[FaultyPipe], None]:
        return lambda pipe: setattr(pipe, what, value)

    length = int(setting.rng.integers(1, LONGEST_CUT))
    return Incident(setting.rng, TRAFFIC, become(True), become(False), length)


def cable_cut(setting: Setting) -> Harm:
    return for_a_while(setting, "cut")


def cable_pulled(setting: Setting) -> Harm:
    return Incident(setting.rng, TRAFFIC, lambda pipe: setting.bench.pull())


def host_dies(setting: Setting) -> Harm:
    def die(pipe: FaultyPipe) -> None:
        raise HostDies

    size = len(setting.task.model)
    return Incident(setting.rng, size if setting.rng.random() < 0.8 else TRAFFIC, die)


def host_stops_reading(setting: Setting) -> Harm:
    return Together([for_a_while(setting, "deaf") for _ in range(3)])


def two_hosts(setting: Setting) -> Harm:
    return OtherHost(setting.rng, other_frames(setting), TRAFFIC)


def everything(setting: Setting) -> Harm:
    rng = setting.rng
    kinds = ["flip", "drop", "duplicate", "insert", "half"]
    harms: list[Harm] = [ByteHarm(rng, kinds, 3000), FrameHarm(rng, ["drop", "duplicate", "reorder"], 0.05)]
    harms.append(Delay(rng, 2 * setting.retry))
    incident = [board_reset, cable_cut, cable_pulled, host_dies, host_stops_reading, two_hosts]
    return Together([*harms, incident[int(rng.integers(0, len(incident)))](setting)])


EVERY_CHUNK = "upload interrupted at every chunk"
CASES: dict[str, Callable[[Setting], Harm]] = {
    "nothing": lambda setting: Harm(setting.rng),
    "drop": bytes_of("drop"),
    "flip": bytes_of("flip"),
    "duplicate": bytes_of("duplicate"),
    "delay": lambda setting: Delay(setting.rng, setting.retry * float(setting.rng.choice([0.5, 2, 8]))),
    "reorder": frames_of("reorder"),
    "garbage before HELLO": lambda setting: Garbage(setting.rng),
    "half frames": bytes_of("half"),
    "baud change refused": lambda setting: Harm(setting.rng),
    "board reset": board_reset,
    "cable pulled and put back": cable_pulled,
    EVERY_CHUNK: lambda setting: Harm(setting.rng),
    "two hosts at once": two_hosts,
    "host stops reading": host_stops_reading,
    "frames dropped": frames_of("drop"),
    "frames duplicated": frames_of("duplicate"),
    "baud changed": lambda setting: Harm(setting.rng),
    "baud change fails": lambda setting: DullLine(setting.rng, OTHER_BAUD),
    "cable cut for a while": cable_cut,
    "host dies": host_dies,
    "everything": everything,
}
# What a case may report, beside a line that is too bad to be used. QUIET ones must complete.
TOO_BAD = {"silent", "stalled", "not-a-board"}
QUIET = {"nothing", "baud change refused", "baud changed", "baud change fails", EVERY_CHUNK}
REPORTS = {
    "board reset": {"restarted", "taken", "no-model"},
    "cable pulled and put back": {"vanished"},
    "reorder": {"taken"},
    "two hosts at once": {"taken", "upload", "no-model"},
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
        if case == EVERY_CHUNK:
            interrupt_uploads(setting)
        try:
            lost = go_through(case, bench, harm, task, mode)
        except HostDies:
            lost = go_through(case, bench, harm, task, mode)  # another program goes on
    except DeviceError as error:
        reported = error.code
        assert error.hint, error.message
        allowed = REPORTS.get(case, set()) | TOO_BAD
        assert case not in QUIET and reported in allowed, f"reported {reported}: {error.message}"
    try:
        go_through("nothing", bench, Harm(rng), task, Mode.LOSSLESS)
    except DeviceError as error:
        raise AssertionError(f"the board is the worse for it: {error.message}") from error
    return Outcome(reported, lost)


@contextmanager
def client_of(bench: Bench, harm: Harm) -> Iterator[DeviceClient]:
    pipe = FaultyPipe(bench.open(), harm, bench.clock, limit=bench.longest_run)
    client = DeviceClient(pipe, timeout=bench.timeout, retry=bench.retry, clock=bench.clock)
    client._connection.random = Random(int(harm.rng.integers(0, 1 << 62)))
    try:
        yield client
    finally:
        client.close()  # with the baud that the line had


def go_through(case: str, bench: Bench, harm: Harm, task: Task, mode: Mode | None) -> int:
    """From the greeting to the last result. Returns how many events were lost."""
    with client_of(bench, harm) as client:
        client.hello()
        if case.startswith("baud"):
            change_baud(case, client, bench)
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


def change_baud(case: str, client: DeviceClient, bench: Bench) -> None:
    """Asks for another baud; where the board or the line cannot do it, both stay as they are."""
    before = bench.board_baud()
    try:
        client.change_baud(IMPOSSIBLE_BAUD if case == "baud change refused" else NEW_BAUD)
    except DeviceError as error:
        assert error.code == "baud" and case != "baud changed", error.message
        assert bench.board_baud() == before
    else:
        assert case == "baud changed", "a baud that cannot be was taken"
        assert abs(bench.board_baud() - NEW_BAUD) < NEW_BAUD // 50, "the board has another baud than it says"


def interrupt_uploads(setting: Setting) -> None:
    """For each frame of an upload: it is cut, a cause by seed; then another program uploads, and goes on from
    there unless the board was reset. The model before is another one each time."""
    rng, bench, model = setting.rng, setting.bench, setting.task.model
    former = IMAGE if model == COUNTING else COUNTING
    exact = isinstance(bench, EmulatedBench)  # else what was on the way may be lost

    def die() -> None:
        raise HostDies

    frame = frames = 0
    while frame == 0 or frame < frames:
        with client_of(bench, Harm(rng)) as client:
            client.upload(former)
            piece = client.info.max_payload
            frames = -(-len(model) // piece)
        cause = (die, bench.pull, bench.reset)[int(rng.integers(0, 3))]
        try:
            with client_of(bench, Interruption(rng, frame, cause)) as client:
                client.upload(model)
        except HostDies:
            pass
        except DeviceError as error:
            assert error.code == "vanished" and cause == bench.pull, error.message
        harm = Uploads(rng)
        with client_of(bench, harm) as client:
            client.upload(model)
            assert client.hello().model_crc == zlib.crc32(model)
        if cause != bench.reset:
            assert harm.offsets[0] == frame * piece if exact else harm.offsets[0] <= frame * piece
            assert harm.offsets == sorted(set(harm.offsets)), "bytes are sent twice on a good line"
        frame += 1


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
