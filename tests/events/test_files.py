"""Event files: round trips, the layouts that are understood, and malformed files case by case."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgespike.errors import DataError, EdgespikeError, UsageError
from edgespike.events import EVENT, encode_nmnist, find_recordings, make_events, read_events, write_events

from .helpers import recordings

EVENTS = make_events([0, 7, 7, 300_000], [1, 2, 33, 0], [0, 33, 5, 6], [1, 0, 0, 1])


# ---- round trips -------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recordings")


@given(recordings(polarities=128))
@pytest.mark.parametrize("suffix", [".npz", ".npy", ".csv", ".NPZ"])
def test_round_trip(folder: Path, suffix: str, events: NDArray[Any]) -> None:
    path = folder / f"recording{suffix}"
    write_events(path, events)
    read = read_events(path)
    assert read.dtype == EVENT
    np.testing.assert_array_equal(read, events)


@given(recordings(height=256, width=256, latest=1 << 23, min_size=1))
def test_nmnist_round_trip(folder: Path, events: NDArray[Any]) -> None:
    path = folder / "recording.bin"
    write_events(path, events)
    assert path.stat().st_size == 5 * len(events)
    np.testing.assert_array_equal(read_events(path), events)


def test_nmnist_bytes_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "one.bin"
    path.write_bytes(bytes([3, 4, 0x81, 0x02, 0x03, 255, 0, 0x7F, 0xFF, 0xFF]))
    assert read_events(path).tolist() == [(0x010203, 3, 4, 1), (0x7FFFFF, 255, 0, 0)]
    assert encode_nmnist(read_events(path)) == path.read_bytes()


@pytest.mark.parametrize(
    "events",
    [
        make_events([], [], [], []),
        make_events([1 << 23], [0], [0], [0]),
        make_events([0], [256], [0], [0]),
        make_events([0], [0], [0], [2]),
    ],
)
def test_nmnist_cannot_hold_everything(tmp_path: Path, events: NDArray[Any]) -> None:
    with pytest.raises(DataError):
        write_events(tmp_path / "one.bin", events)
    assert not list(tmp_path.iterdir())


def test_nothing_half_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be written"):
        write_events(tmp_path / "missing" / "a.npz", EVENTS)
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(DataError, match=r"cannot be written"):
        write_events(tmp_path / "a.npz", EVENTS)
    with pytest.raises(DataError, match=r"cannot write events as '\.wav'"):
        write_events(tmp_path / "a.wav", EVENTS)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


# ---- layouts -----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "0,1,0,1\n7,2,33,0\n7,33,5,0\n300000,0,6,1\n",
        "t,x,y,p\n0,1,0,1\n7,2,33,0\n7,33,5,0\n300000,0,6,1",
        "x,y,p,t\r\n1,0,1,0\r\n2,33,0,7\r\n33,5,0,7\r\n0,6,1,300000\r\n",
        "# a comment\n\n# x,y,polarity,Timestamp\n1,0,1,0\n2,33,-1,7 # darker\n33,5,-1,7\n\n0,6,1,300000\n",
        "\ufeffts;x;y;pol;other\n0;1;0;1;9\n7;2;33;0;9\n7;33;5;0;9\n3e5;0;6;1;9\n",
        "0 1 0 1\n7  2 33 0\n7\t33 5 0\n300000.0 0 6 1\n",
    ],
)
def test_csv_layouts(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recording.csv"
    path.write_bytes(text.encode())
    np.testing.assert_array_equal(read_events(path), EVENTS)


def test_npz_layouts(tmp_path: Path) -> None:
    path = tmp_path / "recording.npz"
    fields = [("x", "u1"), ("y", "u1"), ("p", "?"), ("t", "f8")]
    np.savez(path, np.array([(1, 0, 1, 0), (2, 33, 0, 7)], fields))
    np.testing.assert_array_equal(read_events(path), EVENTS[:2])
    np.savez(path, ts=EVENTS["t"] * 1.0, x=EVENTS["x"], y=EVENTS["y"], pol=EVENTS["p"] > 0, extra=3)
    np.testing.assert_array_equal(read_events(path), EVENTS)


@pytest.mark.parametrize(
    ("unit", "times"),
    [("s", EVENTS["t"] / 1e6), ("ms", EVENTS["t"] / 1e3), ("ns", EVENTS["t"] * 1000 + 999)],
)
def test_units_of_time(tmp_path: Path, unit: str, times: NDArray[Any]) -> None:
    path = tmp_path / "recording.npz"
    np.savez(path, t=times, x=EVENTS["x"], y=EVENTS["y"], p=EVENTS["p"])
    np.testing.assert_array_equal(read_events(path, time_unit=unit), EVENTS)
    if unit != "ns":
        with pytest.raises(DataError, match=r"event 1: time = .* is not a whole number") as caught:
            read_events(path)
        assert f"'{unit}'" in caught.value.hint
    with pytest.raises(UsageError, match="unknown time unit 'minutes'"):
        read_events(path, time_unit="minutes")


# ---- malformed files -----------------------------------------------------------


def npz(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def npy(array: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


GOOD_NPZ = npz(t=EVENTS["t"], x=EVENTS["x"], y=EVENTS["y"], p=EVENTS["p"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npz", b"", "the file is empty (0 bytes)"),
        ("a.npy", b"", "the file is empty (0 bytes)"),
        ("a.csv", b"", "the file is empty (0 bytes)"),
        ("a.bin", b"", "the file is empty (0 bytes)"),
        ("a.bin", bytes(23), "23 bytes are not a multiple of 5: event 4 is cut short"),
        ("a.bin", b"\0\0\0\0\x09\0\0\0\0\x08", "event 1 goes backwards in time: 8 us after 9 us"),
        ("a.npz", GOOD_NPZ[:-30], "cut short, or not a NumPy file"),
        ("a.npz", b"hello, world", "cut short, or not a NumPy file"),
        ("a.npy", npy(EVENTS)[:-3], "cut short, or not a NumPy file"),
        ("a.npy", npy(EVENTS)[:20], "cut short, or not a NumPy file"),
        ("a.npy", npy(np.array([{}], dtype=object)), "cut short, or not a NumPy file"),
        ("a.npy", npy(np.zeros((3, 4), np.int64)), "found one array without fields"),
        ("a.npz", npz(x=np.zeros((3, 1, 8, 8)), y=np.zeros(3)), "no t, p among the columns or arrays"),
        ("a.npz", npz(t=[0, 1], x=[0], y=[0], p=[0]), "vectors of one length"),
        ("a.npz", npz(t=[-3], x=[0], y=[0], p=[0]), "event 0: time = -3 is negative"),
        ("a.npz", npz(t=["a"], x=[0], y=[0], p=[0]), "time must be numbers"),
        ("a.csv", b"\x89PNG\r\n\x1a\n\0\0\xff", "not a text file"),
        ("a.csv", b"t,x,y,p\n0,1,2,1\n1,1,oops,1\n", "line 3: 'oops' is not a number"),
        ("a.csv", b"# mine\n0,1,2,1\n\n1,1,,1\n", "line 4: '' is not a number"),
        ("a.csv", b"0,1,2,1\n1,1,2\n", "line 2 has 3 values, not 4"),
        ("a.csv", b"0,1,2\n1,1,2\n", "line 1 has 3 values, not 4"),
        ("a.csv", b"t,x,y\n0,1,2\n", "no p among the columns or arrays: found t, x, y"),
        ("a.csv", b"hello world\n", "no t, x, y, p among the columns or arrays: found hello, world"),
        ("a.csv", b"5,1,2,1\n4,1,2,1\n", "event 1 goes backwards in time: 4 us after 5 us"),
        ("a.csv", b"0.001,1,2,1\n0.002,1,2,1\n", "event 0: time = 0.001 is not a whole number"),
        ("a.csv", b"0,1,2,nan\n", "event 0: polarity p = nan is not a number"),
    ],
)
def test_malformed(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_events(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    for read in (read_events, find_recordings):
        with pytest.raises(DataError, match=r"none\.npz"):
            read(tmp_path / "none.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        read_events(tmp_path / "folder.npz")
    with pytest.raises(DataError, match="not an event file by its name"):
        read_events(tmp_path / "sound.wav")


@given(st.binary(max_size=60), st.sampled_from([".npz", ".npy", ".csv", ".bin"]))
@example(b"\x93NUMPY\x01\x00", ".npy")
@example(b"PK\x03\x04", ".npz")
def test_any_bytes_are_events_or_an_error(folder: Path, content: bytes, suffix: str) -> None:
    path = folder / f"noise{suffix}"
    path.write_bytes(content)
    try:
        assert read_events(path).dtype == EVENT
    except EdgespikeError as error:
        assert str(path) in error.message


@given(st.data())
def test_damaged_npz_is_an_error(folder: Path, data: st.DataObject) -> None:
    damaged = bytearray(GOOD_NPZ)
    place = data.draw(st.integers(0, len(damaged) - 1))
    damaged[place] ^= data.draw(st.integers(1, 255))
    path = folder / "damaged.npz"
    path.write_bytes(damaged)
    try:
        assert read_events(path).dtype == EVENT
    except EdgespikeError as error:
        assert str(path) in error.message


# ---- folders and archives ------------------------------------------------------


def test_folder(tmp_path: Path) -> None:
    for name in ("Train/7/a.npz", "Train/12/b.csv", "Train/left/c.npy", "d.bin", ".hidden.bin"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_events(tmp_path / name, EVENTS)
    (tmp_path / "README.md").write_text("about these recordings")
    found = find_recordings(tmp_path, classes=["left"])
    labels = [(Path(r.name).relative_to(tmp_path).as_posix(), r.label) for r in found]
    assert labels == [("Train/12/b.csv", 12), ("Train/7/a.npz", 7), ("Train/left/c.npy", 0), ("d.bin", None)]
    for recording in found:
        np.testing.assert_array_equal(recording.read(), EVENTS)
    (single,) = find_recordings(tmp_path / "Train/7/a.npz")
    assert single.label == 7
    with pytest.raises(DataError, match="no event recordings found"):
        find_recordings(tmp_path / "README.md")


def test_archive(tmp_path: Path) -> None:
    path = tmp_path / "recordings.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Test/", "")
        archive.writestr("Test/9/b.bin", encode_nmnist(EVENTS))
        archive.writestr("Test/3/a.bin", encode_nmnist(EVENTS[:2]))
        archive.writestr("top.bin", b"")
        archive.writestr("notes.txt", "nothing")
    found = find_recordings(path)
    assert [(r.name, r.label) for r in found] == [("Test/9/b.bin", 9), ("Test/3/a.bin", 3), ("top.bin", None)]
    np.testing.assert_array_equal(found[0].read(), EVENTS)
    np.testing.assert_array_equal(found[1].read(), EVENTS[:2])
    with pytest.raises(DataError, match=r"top\.bin: the file is empty"):
        found[2].read()


def test_broken_archives(tmp_path: Path) -> None:
    path = tmp_path / "recordings.zip"
    path.write_bytes(b"not a zip archive")
    with pytest.raises(DataError, match="not a zip archive"):
        find_recordings(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "nothing")
    with pytest.raises(DataError, match="no event recordings found"):
        find_recordings(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("5/a.bin", encode_nmnist(EVENTS))
    content = path.read_bytes()
    path.write_bytes(content.replace(encode_nmnist(EVENTS)[:10], bytes(10)))
    with pytest.raises(DataError, match=r"5/a\.bin: cannot be read"):
        find_recordings(path)[0].read()


# ---- real recordings -------------------------------------------------------------


def test_nmnist(data_folder: Path) -> None:
    """Facts about the archive: shared/data/README.md and the data set's own labels."""
    found = find_recordings(data_folder / "nmnist_train_1000.zip")
    assert len(found) == 1000
    assert [(r.name, r.label) for r in found[:2]] == [("Train/5/00001.bin", 5), ("Train/0/00002.bin", 0)]
    assert {r.label for r in found} == set(range(10))
    recordings = [recording.read() for recording in found[::20]]
    counts = [len(events) for events in recordings]
    assert 3500 < np.mean(counts) < 4700
    for events in recordings:
        assert events["x"].max() <= 33 and events["y"].max() <= 33
        assert set(np.unique(events["p"])) == {0, 1}
        assert 280_000 < events["t"][-1] - events["t"][0] < 320_000
