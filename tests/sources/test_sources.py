"""Live sources against the programs that send to them, and against an emulated camera."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import dv_processing
import eventcv
import faery
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgespike.errors import DeviceError, UsageError
from edgespike.events import EVENT, rebase
from edgespike.sources import Source, is_source, open_source, pieces
from edgespike.sources.edvs import EdvsParser
from edgespike.sources.inivation import list_cameras
from edgespike.sources.text import TextFeed
from edgespike.sources.udp import UdpFeed, decode_datagram

from .camera import EmulatedEdvs, encode, some_events

EVENTS = some_events(1500)


def read_all(source: Source, count: int, seconds: float = 10.0) -> NDArray[Any]:
    """Waits until so many events have come."""
    pieces, until = [np.zeros(0, EVENT)], time.monotonic() + seconds
    while sum(map(len, pieces)) < count and time.monotonic() < until and not source.ended:
        pieces.append(source.read(0.1))
    return np.concatenate(pieces)


def listen(protocol: str) -> tuple[Source, int]:
    feed = UdpFeed(protocol, "127.0.0.1", 0)
    source = Source(feed)
    return source, feed.address[1]


# ---- UDP ------------------------------------------------------------------------


@pytest.mark.parametrize("timed", [True, False])
def test_spif_as_eventcv_sends_it(timed: bool) -> None:
    source, port = listen("spif" if timed else "spif-untimed")
    with source:
        columns = np.stack([EVENTS[name].astype(np.int64) for name in ("x", "y", "t", "p")], axis=1)
        stream = eventcv.from_numpy(columns, sensor_size=(128, 128), time_unit="microseconds")
        eventcv.UdpSender(f"127.0.0.1:{port}", timestamps=timed).send(stream)
        events = read_all(source, len(EVENTS))
    for name in ("x", "y", "p"):
        np.testing.assert_array_equal(events[name], EVENTS[name])
    if timed:
        np.testing.assert_array_equal(events["t"], rebase(EVENTS)["t"])
    else:
        assert (np.diff(events["t"]) >= 0).all()
    assert source.counts.malformed == source.counts.late == source.counts.dropped == 0


@pytest.mark.parametrize("form", ["t64_x16_y16_on8", "t32_x16_y15_on1"])
def test_faery(form: Any) -> None:
    source, port = listen("faery-t64" if form.startswith("t64") else "faery-t32")
    with source:
        rows = np.empty(len(EVENTS), faery.EVENTS_DTYPE)
        for name, field in zip(("t", "x", "y", "on"), EVENT.names or (), strict=True):
            rows[name] = EVENTS[field]
        faery.events_stream_from_array(rows, dimensions=(128, 128)).to_udp(("127.0.0.1", port), format=form)
        events = read_all(source, len(EVENTS))
    np.testing.assert_array_equal(events, rebase(EVENTS))


@given(st.binary(max_size=64), st.sampled_from(["spif", "spif-untimed", "faery-t64", "faery-t32"]))
def test_no_datagram_is_half_believed(datagram: bytes, protocol: str) -> None:
    size = {"spif": 8, "spif-untimed": 4, "faery-t64": 13, "faery-t32": 8}[protocol]
    events, malformed = decode_datagram(datagram, protocol)
    assert events.dtype == EVENT
    assert malformed == 1 or len(events) * size == len(datagram)
    assert malformed == 0 or not len(events)


def test_datagrams_that_make_no_sense_are_counted() -> None:
    source, port = listen("spif")
    with source, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for datagram in (b"\x01\x02\x03", b"\x00\x00\x00\x80" * 2, bytes(8)):
            sender.sendto(datagram, ("127.0.0.1", port))
        events = read_all(source, 1)
    assert len(events) == 1 and source.counts.malformed == 2


def test_a_port_that_is_taken() -> None:
    source, port = listen("spif")
    with source, pytest.raises(DeviceError, match=f"UDP port {port}") as caught:
        open_source(f"spif://:{port}")
    assert caught.value.hint


# ---- eDVS -------------------------------------------------------------------------


@pytest.fixture
def camera() -> Iterator[EmulatedEdvs]:
    emulated = EmulatedEdvs()
    yield emulated
    if not emulated._closing:
        emulated.close()


@pytest.mark.parametrize("form", ["E0", "E1", "E2", "E3", "E4"])
def test_edvs(camera: EmulatedEdvs, form: str) -> None:
    with open_source(f"edvs:{camera.port}?format={form}&baud=115200") as source:
        camera.send(encode(form, EVENTS))
        events = read_all(source, len(EVENTS))
        assert source.sensor == (128, 128)
    for name in ("x", "y", "p"):
        np.testing.assert_array_equal(events[name], EVENTS[name])
    if form != "E0":
        np.testing.assert_array_equal(events["t"], rebase(EVENTS)["t"])
    until = time.monotonic() + 5
    while camera.on.is_set() and time.monotonic() < until:
        time.sleep(0.01)
    assert camera.commands == [
        "E-",
        "!U0",
        f"!{form}",
        "!ET0",
        "E+",
        "E-",
    ]


@given(st.sampled_from(["E0", "E1", "E2", "E3", "E4"]), st.lists(st.integers(0, 4000), max_size=6))
def test_edvs_bytes_in_any_pieces(form: str, cuts: list[int]) -> None:
    data = encode(form, EVENTS[:400])
    whole, pieces = EdvsParser(form), EdvsParser(form)
    places = sorted(min(cut, len(data)) for cut in cuts)
    parts = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    np.testing.assert_array_equal(whole.feed(data), np.concatenate([pieces.feed(part) for part in parts]))
    assert whole.malformed == pieces.malformed == 0


def test_edvs_finds_its_way_after_a_lost_byte() -> None:
    data = encode("E2", EVENTS[:50])
    parser = EdvsParser("E2")
    events = parser.feed(data[:21] + data[22:])  # within event 5
    assert parser.malformed > 0
    np.testing.assert_array_equal(events[-10:][["x", "y", "p"]], EVENTS[40:50][["x", "y", "p"]])


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(DeviceError, match="cannot open the camera at /dev/nonsense"):
        open_source("edvs:/dev/nonsense")


def test_a_camera_that_is_unplugged_and_comes_back(tmp_path: Any) -> None:
    first, link = EmulatedEdvs(), tmp_path / "camera"
    link.symlink_to(first.port)
    told: list[str] = []
    with open_source(f"edvs:{link}") as source:
        source.on_change = told.append
        first.send(encode("E3", EVENTS[:100]))
        assert len(read_all(source, 100)) == 100
        first.close()
        while not source.counts.disconnects:
            source.read(0.05)
        second = EmulatedEdvs()
        link.unlink()
        link.symlink_to(second.port)
        second.send(encode("E3", EVENTS[:100]))
        again = read_all(source, 100)
    second.close()
    np.testing.assert_array_equal(again[["x", "y", "p"]], EVENTS[:100][["x", "y", "p"]])
    assert source.counts.disconnects == 1 and source.counts.blind_s > 0
    assert (np.diff(again["t"]) >= 0).all()
    assert [" is gone; " in told[0], " s blind" in told[1], len(told)] == [True, True, 2]


# ---- iniVation ---------------------------------------------------------------------


def test_dv_stream() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    stream = dv_processing.io.Stream.EventStream(0, "events", "TEST", (128, 128))
    writer = dv_processing.io.NetworkWriter("127.0.0.1", port, stream)
    with open_source(f"dv://127.0.0.1:{port}") as source:
        assert source.sensor == (128, 128)
        while not writer.getClientCount():
            time.sleep(0.01)
        store = dv_processing.EventStore()
        for t, x, y, p in EVENTS.tolist():
            store.push_back(t, x, y, bool(p))
        writer.writeEvents(store)
        events = read_all(source, len(EVENTS))
    while writer.getClientCount():  # a writer that goes away with a client waits for ever
        time.sleep(0.05)
    np.testing.assert_array_equal(events, rebase(EVENTS))


def test_without_a_camera() -> None:
    assert list_cameras() == []
    with pytest.raises(DeviceError, match="no camera") as caught:
        open_source("dv:")
    assert "cameras found: none" in caught.value.hint


# ---- text, names, backlog -------------------------------------------------------------


def test_lines_of_text() -> None:
    ours, theirs = os.pipe()
    with Source(TextFeed(ours)) as source:
        os.write(
            theirs,
            b"t,x,y,p\n100,1,2,1\n# nothing\n150 3 4 0\nabc\n\n160,1,2\n170,1,2,-1\n180,1,2,300\n190,9,8",
        )
        os.write(theirs, b",1")
        os.close(theirs)
        events = read_all(source, 4)
    os.close(ours)
    assert events.tolist() == [(0, 1, 2, 1), (50, 3, 4, 0), (70, 1, 2, 0), (90, 9, 8, 1)]
    assert source.counts.malformed == 3 and source.ended


@pytest.mark.parametrize(
    "name",
    ["spif://host:port", "spif:?x=1", "edvs:", "edvs:/dev/x?format=E9", "edvs:/dev/x?baud=fast", "dv://nowhere",
     "faery://:1?sensor=8", "spif://:0?color=red", "no such file"],
)  # fmt: skip
def test_names_that_are_no_source(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_source(name)
    assert caught.value.hint


def test_files_are_no_sources() -> None:
    assert (
        not is_source("recording.csv") and not is_source("/tmp/a.raw") and is_source("-") and is_source("dv:")
    )


class Flood:
    """A feed that sends a million events at once, and waits for its reader or not."""

    name, sensor, dtype, clock_bits = "flood", None, EVENT, 64

    def __init__(self, waits: bool) -> None:
        self.waits = waits
        self.sent = 0

    def open(self) -> None:
        pass

    def receive(self, timeout: float) -> tuple[NDArray[Any] | None, int]:
        if self.sent == 300:
            return None, 0
        events = np.zeros(10_000, EVENT)
        events["t"] = self.sent
        self.sent += 1
        return events, 0

    def close(self) -> None:
        pass


def test_what_nobody_takes_is_dropped_and_counted() -> None:
    flood = Flood(waits=False)
    with Source(flood, patience=0.05) as source:
        while flood.sent < 300:
            time.sleep(0.01)
        time.sleep(0.1)
        events = read_all(source, 1, 0.2)
        assert len(events) == 0
        assert source.counts.events == source.counts.dropped == 3_000_000


def test_the_backlog_is_bounded_and_keeps_what_is_fresh() -> None:
    flood = Flood(waits=False)
    with Source(flood, patience=60.0) as source:
        while source._thread.is_alive():
            time.sleep(0.01)
        events = read_all(source, 1)
    assert len(events) == 1_000_000 and events["t"][-1] == 299
    assert source.counts.dropped == 2_000_000


def test_a_sender_that_waits_loses_nothing() -> None:
    with Source(Flood(waits=True), patience=0.0) as source:
        time.sleep(0.2)
        events = read_all(source, 3_000_000)
    assert len(events) == 3_000_000 and source.counts.dropped == 0


def test_pieces_of_a_quiet_stream_let_time_pass() -> None:
    source, port = listen("spif")
    with source, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(np.array([5 << 16 | 7, 1000], "<u4").tobytes(), ("127.0.0.1", port))
        known, came, stream = 0, 0, pieces(source)
        while known < 100_000:
            events, until = next(stream)
            assert until >= known and (events["t"] >= known).all()
            known, came = until, came + len(events)
        sender.sendto(np.array([5 << 16 | 7, 1001], "<u4").tobytes(), ("127.0.0.1", port))
        late = next(events for events, _ in stream if len(events))
        assert source.counts.late == 1
    assert came == 1 and late["t"][0] >= known
