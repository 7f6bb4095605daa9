"""``edgespike events`` and ``edgespike convert-events``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgespike.cli.picture import picture
from edgespike.events import make_events, read_events, write_events


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """300 events of a 40x30 sensor within 20x10, in 3 s."""
    number = np.arange(300)
    path = tmp_path / "one.es"
    write_events(
        path, make_events(number * 10_000, number % 20, number % 10, number % 3 == 0), sensor=(40, 30)
    )
    return path


def test_shows_what_is_in_a_recording(cli: Any, recording: Path) -> None:
    lines = cli("events", recording, "--no-picture").out.splitlines()
    shown = {line[:13].strip(): line[13:].strip() for line in lines}
    assert shown["events"] == "300"
    assert shown["sensor"] == "40x30, events within 20x10"
    assert shown["time"] == "2.990000 s from 0 us"
    assert shown["rate"] == "100 events/s, 100 in the busiest 10 ms"
    assert shown["polarity"] == "200 of 0, 100 of 1"
    assert shown["time errors"] == "none"


def test_names_time_errors(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "late.csv"
    path.write_text("0,0,0,1\n50,1,0,1\n20,2,0,1\n60,3,0,1\n")
    outcome = cli("events", path, "--no-picture")
    assert "1 events go back in time, the furthest by 30 us" in " ".join(outcome.out.split())


def test_a_folder_is_a_table(cli: Any, recordings: Path) -> None:
    outcome = cli("events", recordings)
    assert outcome.out.count("one.csv") == 2
    assert max(map(len, outcome.out.replace(str(recordings), "").splitlines())) <= 80


def test_picture_is_where_the_events_are() -> None:
    corner = make_events([0] * 3, [0, 1, 0], [0, 0, 1], [1, 1, 1])
    lines = picture(corner, (60, 40), 60, coloured=False).plain.splitlines()
    assert lines[0].strip() and not any(line.strip() for line in lines[1:])
    coloured = picture(corner, (60, 40), 60, coloured=True)
    assert [len(line) for line in coloured.plain.splitlines()] == [60] * 20


def test_picture_of_one_pixel_and_of_a_large_sensor() -> None:
    one = make_events([0], [0], [0], [0])
    assert picture(one, (1, 1), 60, coloured=False).plain.strip()
    far = make_events([0], [1279], [719], [1])
    lines = picture(far, (1280, 720), 78, coloured=False).plain.splitlines()
    assert len(lines) <= 20 and max(map(len, lines)) <= 78 and lines[-1].strip()


def same(left: NDArray[Any], right: NDArray[Any]) -> bool:
    return bool(np.array_equal(left, right))


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".bin", ".raw", ".dat", ".h5", ".aedat4"])
def test_converts_and_keeps_the_sensor(cli: Any, recording: Path, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"two{suffix}"
    outcome = cli("convert-events", recording, target)
    assert outcome.code == 0, outcome.err
    assert outcome.out == f"{target}: 300 events, {target.stat().st_size:,} bytes\n"
    assert same(read_events(target), read_events(recording))
    back = tmp_path / "back.es"
    assert cli("convert-events", target, back, "--sensor", "40x30").code == 0
    assert back.read_bytes() == recording.read_bytes()


def test_mends_times(cli: Any, tmp_path: Path) -> None:
    path, target = tmp_path / "late.csv", tmp_path / "mended.npz"
    path.write_text("100,0,0,1\n150,1,0,1\n120,2,0,1\n160,3,0,1\n")
    refused = cli("convert-events", path, target)
    assert refused.code == 3 and "event 2 goes backwards" in refused.err and not target.exists()
    assert cli("convert-events", path, target, "--late", "sort", "--rebase").code == 0
    assert read_events(target)["t"].tolist() == [0, 20, 50, 60]
    assert cli("convert-events", path, target, "--late", "clamp").code == 0
    assert read_events(target)["t"].tolist() == [100, 150, 150, 160]


def test_units(cli: Any, tmp_path: Path) -> None:
    path, target = tmp_path / "seconds.csv", tmp_path / "out.npz"
    path.write_text("0.5,0,0,1\n0.75,1,0,1\n")
    assert cli("convert-events", path, target).code == 3
    assert cli("convert-events", path, target, "--time-unit", "s").code == 0
    assert read_events(target)["t"].tolist() == [500_000, 750_000]


@pytest.mark.parametrize(
    ("content", "word"), [(b"", "0 bytes"), (b"nonsense", "Event Stream"), (b"Event Stream\x02", "cut short")]
)
def test_files_that_cannot_be_read(cli: Any, tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "bad.es"
    path.write_bytes(content)
    for command in (["events", path], ["convert-events", path, tmp_path / "out.npz"]):
        outcome = cli(*command)
        assert outcome.code == 3 and word in outcome.err and "Traceback" not in outcome.err
    assert not (tmp_path / "out.npz").exists()


def test_a_doubt_is_said_on_stderr(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("0,1,0,1\n7,2,33,0")
    outcome = cli("convert-events", path, tmp_path / "out.npz")
    assert outcome.code == 0
    assert outcome.err.count("warning: ") == 1 and "no line end" in outcome.err
