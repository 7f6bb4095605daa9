"""Sensors that give samples: lines in any pieces, a serial line, files at their own pace."""

from __future__ import annotations

import os
import pty
import time
import tty
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgespike.errors import DataError, DeviceError, UsageError
from edgespike.sources import Source, open_sensor
from edgespike.sources.samples import SampleLines, Sampling
from edgespike.sources.text import LineSplitter, TextFeed

SAMPLING = Sampling(Fraction(1000), 2)


def read_all(source: Source, count: int, seconds: float = 10.0) -> NDArray[Any]:
    """Waits until so many samples have come, or the source has ended."""
    parts, until = [source.read(0.1)], time.monotonic() + seconds
    while sum(map(len, parts)) < count and time.monotonic() < until and not source.ended:
        parts.append(source.read(0.1))
    return np.concatenate(parts)


def parse(text: bytes, sampling: Sampling = SAMPLING) -> tuple[list[Any], int]:
    samples, malformed = SampleLines(sampling)(text.split(b"\n"))
    return [(int(t), values.tolist()) for t, values in samples], malformed


# ---- lines ------------------------------------------------------------------------


def test_lines() -> None:
    text = b"left,right\n1,2\n 3; 4 # a comment\n\n-5\t+6\r\n7e0 , 8.0\n"
    assert parse(text) == ([(0, [1, 2]), (1000, [3, 4]), (2000, [-5, 6]), (3000, [7, 8])], 0)


@pytest.mark.parametrize(
    "line", [b"x,2", b"1", b"1,2,3", b"nan,2", b"inf,2", b"1,,2", b"0x1,2", b"\xff\x80", b"1_0,2"]
)
def test_a_line_that_is_no_sample_is_counted_and_its_time_passes(line: bytes) -> None:
    assert parse(b"1,2\n" + line + b"\n3,4\n") == ([(0, [1, 2]), (2000, [3, 4])], 1)


def test_time_begins_with_the_first_sample() -> None:
    assert parse(b"boot\nself-test ok\n\n1,2\n3,4\n") == ([(0, [1, 2]), (1000, [3, 4])], 1)


def test_columns_and_scale() -> None:
    sampling = Sampling(Fraction(360), 1, (2,), Fraction(200))
    assert parse(b"0.00,7,-0.145\n0.01,7,1.0025\nx,y,2", sampling) == (
        [(0, [-29]), (2777, [201]), (5555, [400])],
        0,
    )
    assert parse(b"1,2,3\n1,2\n", sampling)[1] == 1


def test_fractions_need_a_scale() -> None:
    with pytest.raises(DataError, match=r"fractions, such as 0\.5") as caught:
        parse(b"1,0.5\n")
    assert "--scale" in caught.value.hint


@given(st.binary(max_size=80), st.lists(st.integers(0, 200), max_size=6))
def test_bytes_in_any_pieces(noise: bytes, cuts: list[int]) -> None:
    sampling = Sampling(Fraction(1000), 2, scale=Fraction(10))
    data = b"1,2\n" + noise + b"\n3,4\n5,6\n"
    places = sorted(min(cut, len(data)) for cut in cuts)
    pieces = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    whole, parts, lines = SampleLines(sampling), SampleLines(sampling), LineSplitter()
    expected, malformed = whole(data.split(b"\n"))
    got = [parts(lines.feed(piece)) for piece in pieces]
    np.testing.assert_array_equal(np.concatenate([samples for samples, _ in got]), expected)
    assert sum(count for _, count in got) == malformed
    assert expected["values"][-1].tolist() == [50, 60]


def test_what_never_ends_is_no_line() -> None:
    lines = LineSplitter()
    assert [len(line) for line in lines.feed(b"7" * 70_000)] == [70_000]
    assert lines.feed(b"\n1,2\n") == [b"", b"1,2"]


def test_standard_input() -> None:
    ours, theirs = os.pipe()
    with Source(TextFeed(ours, parse=SampleLines(SAMPLING))) as source:
        os.write(theirs, b"1,2\n3,")
        os.write(theirs, b"4\nfive\n5,6")
        os.close(theirs)
        samples = read_all(source, 3)
    assert samples["t"].tolist() == [0, 1000, 3000]
    assert source.counts.malformed == 1


# ---- a serial line ----------------------------------------------------------------------


class Sensor:
    """The far end of a serial line."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        tty.setraw(self.theirs)
        self.port = os.ttyname(self.theirs)

    def say(self, text: bytes) -> None:
        os.write(self.ours, text)

    def unplug(self) -> None:
        os.close(self.ours)
        os.close(self.theirs)


def test_a_serial_line() -> None:
    sensor = Sensor()
    with open_sensor(f"serial:{sensor.port}?baud=9600", SAMPLING) as source:
        sensor.say(b"23,4\n1,2\noops\n3,4\n")  # it begins in the midst of 123,4
        samples = read_all(source, 2)
        assert source.sensor is None and not source.waits
    assert samples["t"].tolist() == [0, 2000] and samples["values"].tolist() == [[1, 2], [3, 4]]
    assert source.counts.malformed == 1
    sensor.unplug()


def test_a_sensor_that_is_unplugged_and_comes_back(tmp_path: Path) -> None:
    first, link = Sensor(), tmp_path / "sensor"
    link.symlink_to(first.port)
    with open_sensor(f"serial:{link}", SAMPLING) as source:
        first.say(b"\n1,2\n3,4\n5,")
        assert len(read_all(source, 2)) == 2
        first.unplug()
        while not source.counts.disconnects:
            source.read(0.05)
        second = Sensor()
        link.unlink()
        link.symlink_to(second.port)
        again = source.read(0)
        while not len(again):
            second.say(b"7,8\n")
            again = source.read(0.1)
    assert again["values"][0].tolist() == [7, 8] and again["t"][0] == 2000
    assert source.counts.disconnects == 1 and source.counts.blind_s > 0 and not source.counts.malformed
    second.unplug()


def test_samples_that_nobody_takes_are_dropped_and_time_goes_on() -> None:
    sensor = Sensor()
    with open_sensor(f"serial:{sensor.port}", SAMPLING, patience=0.1) as source:
        sensor.say(b"\n1,2\n3,4\n")
        time.sleep(0.4)
        sensor.say(b"5,6\n")
        samples = read_all(source, 1)
    assert samples["t"].tolist() == [2000] and source.counts.dropped == 2
    sensor.unplug()


def test_sensors_that_are_not_there() -> None:
    with pytest.raises(DeviceError, match="cannot open the sensor at /dev/nonsense"):
        open_sensor("serial:/dev/nonsense", SAMPLING)
    for name in ("nonsense.csv", "serial:", "serial:/dev/x?speed=3", "spif://:3333"):
        with pytest.raises(UsageError, match="neither a file of samples nor a sensor"):
            open_sensor(name, SAMPLING)


# ---- files --------------------------------------------------------------------------------

VALUES = np.arange(40).reshape(20, 2)


def written(folder: Path, kind: str) -> Path:
    path = folder / f"samples.{kind}"
    if kind == "csv":
        np.savetxt(path, VALUES, fmt="%d", delimiter=",", header="a,b", comments="")
    elif kind == "npy":
        np.save(path, VALUES.astype(np.int16))
    else:
        np.savez(path, x=VALUES.astype(np.float32), y=np.zeros(3))
    return path


@pytest.mark.parametrize("kind", ["csv", "npy", "npz"])
def test_files(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, kind)
    with open_sensor(str(path), SAMPLING, speed=float("inf"), rounds=2) as source:
        samples = read_all(source, 40)
    assert samples["values"].tolist() == VALUES.tolist() * 2
    assert samples["t"].tolist() == [1000 * number for number in range(40)]
    assert source.ended


def test_files_at_their_own_pace(tmp_path: Path) -> None:
    begin = time.perf_counter()
    with open_sensor(str(written(tmp_path, "npy")), SAMPLING, speed=0.1) as source:
        while (sample := source.read(1.0)).size:
            late = time.perf_counter() - begin - sample["t"][-1] / 1e6 * 10
            assert late > -0.001, "never before its time"
    assert time.perf_counter() - begin > 0.19


def test_what_is_no_number_in_a_file_of_numbers_is_missing(tmp_path: Path) -> None:
    values = VALUES.astype(np.float64)
    values[3, 1] = np.nan
    np.save(tmp_path / "a.npy", values)
    with open_sensor(str(tmp_path / "a.npy"), SAMPLING, speed=float("inf")) as source:
        assert read_all(source, 19)["t"].tolist() == [1000 * n for n in range(20) if n != 3]


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    for name, content, said in (
        ("empty.csv", b"", "no sample of 2 numbers"),
        ("three.csv", b"1,2,3\n", "no sample of 2 numbers"),
        ("words.csv", b"one\ntwo\n", "no sample of 2 numbers"),
        ("cut.npy", b"\x93NUMPY\x01", "not a NumPy file"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=said) as caught:
            open_sensor(str(tmp_path / name), SAMPLING)
        assert caught.value.hint
    np.save(tmp_path / "three.npy", np.zeros((5, 3), np.int16))
    with pytest.raises(DataError, match="3 columns, where the network takes 2"):
        open_sensor(str(tmp_path / "three.npy"), SAMPLING)
    np.savez(tmp_path / "two.npz", a=VALUES, b=VALUES)
    with pytest.raises(DataError, match="no array x"):
        open_sensor(str(tmp_path / "two.npz"), SAMPLING)
