"""Binary event files: against second decoders, and cut at every byte."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aedat
import faery
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgespike.errors import DataError, EventWarning
from edgespike.events import EVENT, make_events, read_events, write_events

from .helpers import recordings

SENSOR = (346, 260)


def some_events(count: int = 3000, seed: int = 0) -> NDArray[Any]:
    """Random events within ``SENSOR``, with pauses and with several at once."""
    rng = np.random.default_rng(seed)
    steps = rng.choice([0, 0, 1, 30, 126, 127, 128, 4095, 4096, 70_000], count)
    return make_events(
        np.cumsum(steps),
        rng.integers(0, SENSOR[0], count),
        rng.integers(0, SENSOR[1], count),
        rng.integers(0, 2, count),
    )


def by_faery(path: Path) -> NDArray[Any]:
    """What faery reads."""
    rows = faery.events_stream_from_file(path).to_array()
    return make_events(rows["t"], rows["x"], rows["y"], rows["on"])


def by_aedat(path: Path) -> NDArray[Any]:
    """What the aedat package reads."""
    rows = np.concatenate([packet["events"] for packet in aedat.Decoder(path) if "events" in packet])
    return make_events(rows["t"], rows["x"], rows["y"], rows["on"])


def by_h5py(path: Path) -> NDArray[Any]:
    """What h5py reads."""
    import h5py

    with h5py.File(path) as file:
        columns: dict[str, NDArray[Any]] = {}
        file.visititems(
            lambda name, item: (
                columns.update({name.split("/")[-1]: item[:]}) if hasattr(item, "dtype") else None
            )
        )
        return make_events(columns["t"], columns["x"], columns["y"], columns["p"])


def by_hand_aedat2(path: Path) -> NDArray[Any]:
    """AEDAT 2.0 of a DAVIS as jAER has it: big-endian address, time; x from the right, y from the bottom."""
    data = path.read_bytes()
    begin = 0
    while data[begin : begin + 1] == b"#":
        begin = data.index(b"\n", begin) + 1
    words = np.frombuffer(data, ">u4", offset=begin).reshape(-1, 2).astype(np.int64)
    words = words[words[:, 0] >> 31 == 0]
    address, time = words[:, 0], words[:, 1]
    x, y = SENSOR[0] - 1 - (address >> 12 & 0x3FF), SENSOR[1] - 1 - (address >> 22 & 0x1FF)
    return make_events(time, x, y, address >> 11 & 1)


def by_hand_bag(path: Path) -> NDArray[Any]:
    """A ROS 1 bag without compression: the dvs_msgs/EventArray messages in its chunks."""
    data, rows = path.read_bytes(), []
    at = data.index(b"\n") + 1
    while at < len(data):
        size = struct.unpack_from("<I", data, at)[0]
        header = data[at + 4 : at + 4 + size]
        body = at + 8 + size
        length = struct.unpack_from("<I", data, body - 4)[0]
        if b"op=\x05" in header:  # a chunk holds records
            at = body
            continue
        if b"op=\x02" in header:  # a message: header (seq, stamp, frame), height, width, events
            frame = struct.unpack_from("<I", data, body + 12)[0]
            count = struct.unpack_from("<I", data, body + 16 + frame + 8)[0]
            layout = np.dtype([("x", "<u2"), ("y", "<u2"), ("s", "<u4"), ("ns", "<u4"), ("p", "u1")])
            rows.append(np.frombuffer(data, layout, count, body + 16 + frame + 12))
        at = body + length
    row = np.concatenate(rows)
    return make_events(
        row["s"].astype(np.int64) * 1_000_000 + row["ns"] // 1000, row["x"], row["y"], row["p"]
    )


SECOND: dict[str, Callable[[Path], NDArray[Any]]] = {
    ".es": by_faery,
    ".raw": by_faery,
    ".dat": by_faery,
    ".aedat4": by_aedat,
    ".aedat": by_hand_aedat2,
    ".bag": by_hand_bag,
    ".h5": by_h5py,
}


@pytest.mark.parametrize("suffix", SECOND)
def test_equals_a_second_decoder(tmp_path: Path, suffix: str) -> None:
    events, path = some_events(), tmp_path / f"recording{suffix}"
    write_events(path, events, sensor=SENSOR)
    np.testing.assert_array_equal(read_events(path), events)
    np.testing.assert_array_equal(SECOND[suffix](path), events)


@pytest.mark.parametrize(
    ("suffix", "version"), [(".raw", "evt3"), (".raw", "evt2"), (".dat", "dat2"), (".es", None)]
)
def test_reads_what_another_program_wrote(tmp_path: Path, suffix: str, version: Any) -> None:
    events, path = some_events(1500, seed=1), tmp_path / f"recording{suffix}"
    rows = np.empty(len(events), faery.EVENTS_DTYPE)
    for name, field in zip(("t", "x", "y", "on"), EVENT.names or (), strict=True):
        rows[name] = events[field]
    faery.events_stream_from_array(rows, dimensions=SENSOR).to_file(path, version=version)
    read = read_events(path)
    for name in ("x", "y", "p"):
        np.testing.assert_array_equal(read[name], events[name])
    np.testing.assert_array_equal(read["t"] - read["t"][0], events["t"] - events["t"][0])


def evt3_file(times: NDArray[np.int64]) -> bytes:
    """An EVT3 file that tells its clock with events alone; y and x count up."""
    header = b"% evt 3.0\n% format EVT3;height=48;width=64\n% end\n"
    words: list[int] = []
    for number, time_us in enumerate(times.tolist()):
        words += [0x8000 | time_us >> 12 & 0xFFF, 0x6000 | time_us & 0xFFF]
        words += [number % 48, 0x2800 | number % 64]
    return header + np.array(words, "<u2").tobytes()


@pytest.mark.parametrize("pause", [100, 5_000, 50_000, 1_000_000, 8_000_000, 9_000_000, 15_000_000])
@pytest.mark.parametrize("before", [50, 20_000, 60_000, 5_000_000])
def test_evt3_clock_wraps_around_in_a_pause(tmp_path: Path, pause: int, before: int) -> None:
    first = (1 << 24) - before + np.arange(-3000, 0, 100)
    second = first[-1] + pause + np.arange(0, 3000, 100)
    third = second[-1] + (1 << 24) - 2_000_000 + np.arange(0, 3000, 100)  # and around once more
    times = np.concatenate([first, second, third])
    path = tmp_path / "pause.raw"
    path.write_bytes(evt3_file(times))
    events = read_events(path)
    np.testing.assert_array_equal(np.diff(events["t"]), np.diff(times))
    assert events["x"].tolist() == [number % 64 for number in range(90)]


def test_an_evt3_pause_that_cannot_be_told_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pause.raw"
    path.write_bytes(evt3_file(np.array([1_000_000, 1_000_000 + (1 << 24) - 7_000])))
    with pytest.raises(DataError, match="back"):
        read_events(path)


def test_davis_recording_against_two_decoders(data_folder: Path, tmp_path: Path) -> None:
    path = data_folder / "events" / "davis.aedat4"
    events = read_events(path)
    assert len(events) == 117_667
    np.testing.assert_array_equal(by_aedat(path), events)
    np.testing.assert_array_equal(by_faery(path), events)
    events["t"] -= events["t"][0]
    for suffix in SECOND:
        copy = tmp_path / f"copy{suffix}"
        write_events(copy, events, sensor=SENSOR)
        np.testing.assert_array_equal(read_events(copy), events)
        np.testing.assert_array_equal(SECOND[suffix](copy), events)


# Where nothing marks the end, a file cut between two words is the file of a shorter recording.
WORD = {".dat": 8, ".raw": 4, ".aedat": 8, ".es": 5, ".bin": 5}


@pytest.mark.parametrize("suffix", [*SECOND, ".bin", ".npy", ".npz"])
def test_a_file_cut_at_any_byte_is_reported(tmp_path: Path, suffix: str) -> None:
    events = some_events(12)
    if suffix == ".bin":
        events["x"], events["y"] = events["x"] % 34, events["y"] % 34
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    write_events(whole, events, sensor=SENSOR)
    data = whole.read_bytes()
    step = 1 + len(data) // 500 if suffix == ".h5" else 1  # HDF5 is large even when empty
    for size in [*range(0, len(data), step), *range(len(data) - 50, len(data))]:
        cut.write_bytes(data[:size])
        try:
            read = read_events(cut)
        except DataError:
            continue
        assert suffix in WORD, size
        np.testing.assert_array_equal(read, events[: len(read)])
        if suffix == ".es":  # marks of time before an event that is gone
            write_events(cut, read, sensor=SENSOR)
            assert set(data[cut.stat().st_size : size]) <= {0xFF}
        else:
            assert (len(data) - size) % WORD[suffix] == 0


def test_a_real_recording_cut_anywhere_is_reported(data_folder: Path, tmp_path: Path) -> None:
    data = (data_folder / "events" / "davis.aedat4").read_bytes()
    cut = tmp_path / "cut.aedat4"
    rng = np.random.default_rng(0)
    sizes = [*range(0, 40), *rng.integers(0, len(data), 200), *range(len(data) - 1500, len(data), 7)]
    for size in sizes:
        cut.write_bytes(data[:size])
        with pytest.raises(DataError, match=r"cut short|not an AEDAT 4|0 bytes"):
            read_events(cut)


def test_csv_without_a_last_line_end_is_doubted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("0,1,0,1\n7,2,33,0")
    with pytest.warns(EventWarning, match="no line end"):
        read_events(path)


# ---- AEDAT 3.1, which has no second decoder: by an encoder of its own ----------

HEADER = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#Start-Time: 2026-01-01\r\n#!END-HEADER\r\n"


def aedat3_packet(events: NDArray[Any], kind: int = 1, overflow: int = 0, valid: int = 1) -> bytes:
    """One packet of polarity events, written by hand."""
    header = struct.pack("<hhiiiiii", kind, 1, 8, 4, overflow, len(events), len(events), valid * len(events))
    words = [
        struct.pack("<Ii", int(x) << 17 | int(y) << 2 | int(p) << 1 | valid, int(t) & 0x7FFFFFFF)
        for t, x, y, p in events.tolist()
    ]
    return header + b"".join(words)


@given(recordings(height=128, width=128, latest=1 << 31), st.integers(1, 7))
def test_aedat3_packets(tmp_path_factory: pytest.TempPathFactory, events: NDArray[Any], size: int) -> None:
    path = tmp_path_factory.mktemp("aedat3") / "a.aedat"
    packets = [aedat3_packet(events[i : i + size]) for i in range(0, len(events), size)]
    path.write_bytes(HEADER + b"".join(packets))
    np.testing.assert_array_equal(read_events(path), events)


def test_aedat3_skips_other_packets_and_counts_the_clock_s_overflows(tmp_path: Path) -> None:
    events = make_events([5, 9], [127, 0], [0, 127], [1, 0])
    late = make_events([(1 << 31) + 3], [1], [2], [1])
    path = tmp_path / "a.aedat"
    path.write_bytes(
        HEADER
        + aedat3_packet(events[:1])
        + aedat3_packet(events, kind=0)
        + aedat3_packet(events, valid=0)
        + aedat3_packet(events[1:])
        + aedat3_packet(late, overflow=1)
    )
    with pytest.warns(EventWarning, match="2 events are marked as not valid"):
        read = read_events(path)
    np.testing.assert_array_equal(read, np.concatenate([events, late]))


def test_aedat3_cut_at_any_byte_is_reported(tmp_path: Path) -> None:
    events, path = some_events(9), tmp_path / "a.aedat"
    packets = [aedat3_packet(events[:4]), aedat3_packet(events[4:])]
    data = HEADER + b"".join(packets)
    between = {len(HEADER), len(HEADER) + len(packets[0])}  # a whole number of packets is a shorter recording
    for size in range(len(data)):
        path.write_bytes(data[:size])
        if size in between:
            np.testing.assert_array_equal(read_events(path), events[: 4 * (size > len(HEADER))])
        else:
            with pytest.raises(DataError):
                read_events(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (HEADER.replace(b"RAW", b"SerializedTS"), "compressed"),
        (HEADER + bytes(8) + b"\x08" + bytes(19), "begins no AEDAT 3.1 packet"),
        (b"#!AER-DAT1.0\r\n", "not an AEDAT 2.0"),
        (b"nonsense", "not an AEDAT 2.0"),
    ],
)
def test_aedat_that_cannot_be_read(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "a.aedat"
    path.write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        read_events(path)


# ---- Event Stream -----------------------------------------------------------------


def test_event_stream_by_hand(tmp_path: Path) -> None:
    body = [5 << 1 | 1, 3, 0, 7, 0, 255, 255, 2 << 1, 39, 0, 29, 0, 254, 254, 126 << 1 | 1, 0, 0, 0, 0]
    path = tmp_path / "a.es"
    path.write_bytes(b"Event Stream\x02\x00\x00\x01\x28\x00\x1e\x00" + bytes(body))
    assert read_events(path).tolist() == [(5, 3, 22, 1), (261, 39, 0, 0), (387, 0, 29, 1)]


@given(recordings(height=100, width=300, latest=1 << 22))
def test_event_stream_round_trip(tmp_path_factory: pytest.TempPathFactory, events: NDArray[Any]) -> None:
    path = tmp_path_factory.mktemp("es") / "a.es"
    write_events(path, events, sensor=(300, 100))
    np.testing.assert_array_equal(read_events(path), events)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({12: 1}, "Event Stream 1.0"),
        ({15: 2}, "kind 2"),
        ({16: 3, 17: 0}, "outside the 3x30 sensor"),
        ({0: 0}, "no Event Stream"),
    ],
)
def test_event_stream_that_cannot_be_read(tmp_path: Path, change: dict[int, int], complaint: str) -> None:
    data = bytearray(b"Event Stream\x02\x00\x00\x01\x28\x00\x1e\x00" + bytes([11, 3, 0, 7, 0]))
    for place, value in change.items():
        data[place] = value
    path = tmp_path / "a.es"
    path.write_bytes(data)
    with pytest.raises(DataError, match=complaint):
        read_events(path)


# ---- what formats cannot hold, and doubtful times --------------------------------


def test_a_format_that_cannot_hold_a_recording_is_refused(tmp_path: Path) -> None:
    late = make_events([1 << 50], [1], [2], [1])
    for suffix in (".dat", ".raw", ".es", ".aedat"):
        with pytest.raises(DataError):
            write_events(tmp_path / f"late{suffix}", late, sensor=SENSOR)
        with pytest.raises(DataError):
            write_events(tmp_path / f"wide{suffix}", make_events([0], [400], [2], [1]), sensor=SENSOR)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("factor", "guess"), [(1000, "ns"), (1e-3, "ms"), (1e-6, "s")])
def test_doubtful_units_are_asked_for(tmp_path: Path, factor: float, guess: str) -> None:
    rng = np.random.default_rng(0)
    t = np.floor(np.sort(rng.integers(0, 2_000_000, 20_000)) * factor).astype(np.int64)
    events = make_events(t, np.zeros(len(t)), np.zeros(len(t)), np.zeros(len(t)))
    path = tmp_path / "a.npz"
    write_events(path, events)
    with pytest.raises(DataError, match=f"are the times in {guess}") as caught:
        read_events(path)
    assert f"--time-unit {guess}" in caught.value.hint
    np.testing.assert_array_equal(read_events(path, time_unit="us"), events)


def test_late_events(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("5,1,0,1\n9,2,0,1\n7,3,0,1\n9,4,0,1\n")
    with pytest.raises(DataError, match="event 2 goes backwards"):
        read_events(path)
    assert read_events(path, late="clamp")[["t", "x"]].tolist() == [(5, 1), (9, 2), (9, 3), (9, 4)]
    assert read_events(path, late="sort")[["t", "x"]].tolist() == [(5, 1), (7, 3), (9, 2), (9, 4)]
