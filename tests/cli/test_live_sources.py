"""``edgespike stream`` with live sources: text on standard input, UDP."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgespike
from edgespike import InferenceSession
from edgespike.events import find_recordings, rebase

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(edgespike.__file__).parents[1])}


def lines_of(recordings: Path, name: str) -> bytes:
    """One recording as text."""
    events = find_recordings(recordings / name)[0].read()
    return "".join(f"{t},{x},{y},{p}\n" for t, x, y, p in events.tolist()).encode()


@pytest.mark.parametrize("port", [[], ["--port", "emulated"]])
def test_text_on_standard_input(event_model: Path, recordings: Path, port: list[str]) -> None:
    outcome = subprocess.run(
        [sys.executable, "-P", "-m", "edgespike", "stream", str(event_model), "-", "--json", *port],
        input=lines_of(recordings, "right") + b"5,5\n",
        capture_output=True,
        env=ENVIRONMENT,
        timeout=60,
    )
    assert outcome.returncode == 0, outcome.stderr
    *results, summary = map(json.loads, outcome.stdout.splitlines())
    assert [(row["class"], row["time_us"]) for row in results] == [("right", 20_000), ("right", 40_000)]
    assert summary["source"]["events"] == 200 and summary["source"]["malformed"] == 1
    assert summary["source"]["dropped"] == summary["source"]["late"] == 0


def test_udp(cli: Any, event_model: Path, recordings: Path) -> None:
    events = rebase(find_recordings(recordings / "left")[0].read())
    address = events["x"].astype("<u4") << 16 | events["p"].astype("<u4") << 15 | events["y"]
    datagram = np.stack([address, events["t"].astype("<u4")], axis=1).astype("<u4").tobytes()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            time.sleep(0.5)
            sender.sendto(datagram, ("127.0.0.1", port))
            sender.sendto(b"odd", ("127.0.0.1", port))
            sender.sendto((100 << 16).to_bytes(4, "little") + bytes(4), ("127.0.0.1", port))

    sending = threading.Thread(target=send)
    sending.start()
    outcome = cli("stream", event_model, f"spif://:{port}", "--for", "2s", "--json")
    sending.join()
    *results, summary = map(json.loads, outcome.out.splitlines())
    assert [row["class"] for row in results[:2]] == ["left", "left"]
    assert len(results) > 10, "windows end also when nothing happens"
    assert summary["source"]["malformed"] == 1 and summary["source"]["outside"] == 1
    assert summary["events"] == 200


def test_a_camera_that_goes_and_comes_back_is_told(cli: Any, event_model: Path, tmp_path: Path) -> None:
    camera, handles = tmp_path / "camera", pty.openpty()
    camera.symlink_to(os.ttyname(handles[1]))

    def unplug() -> None:
        time.sleep(0.8)
        for handle in handles:
            os.close(handle)
        time.sleep(0.5)
        again = pty.openpty()
        camera.unlink()
        camera.symlink_to(os.ttyname(again[1]))

    unplugging = threading.Thread(target=unplug)
    unplugging.start()
    outcome = cli("stream", event_model, f"edvs:{camera}", "--for", "3s", "--json", "--downsample", 32)
    unplugging.join()
    gone, back = outcome.err.splitlines()
    assert f"edvs:{camera} is gone" in gone and re.search(r"is back; \d\.\d s blind", back)
    source = json.loads(outcome.out.splitlines()[-1])["source"]
    assert source["disconnects"] == 1 and source["blind_s"] > 0.3


def test_the_same_in_python(event_model: Path, recordings: Path) -> None:
    events = rebase(find_recordings(recordings / "left")[0].read())
    session = InferenceSession(event_model)
    whole = [result.scores.tolist() for result in session.push(events) + session.advance(60_000)][:2]
    parts = [events[i : i + 7] for i in range(0, len(events), 7)]
    assert [result.scores.tolist() for result in session.stream(parts)] == whole
    ours, theirs = os.pipe()
    os.write(theirs, lines_of(recordings, "left"))
    os.close(theirs)
    from edgespike.sources import Source
    from edgespike.sources.text import TextFeed

    with Source(TextFeed(ours)) as source:
        assert [result.scores.tolist() for result in session.stream(source)] == whole
    os.close(ours)


def test_a_network_without_windows_is_asked_every_so_often(
    cli: Any, image_model: Path, event_model: Path
) -> None:
    assert cli("stream", event_model, "spif://:0", "--every", "10ms").code == 2
    refused = cli("stream", image_model, "spif://:0")
    assert refused.code == 3 and "takes samples" in refused.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-", "--speed", "2"], ["--speed means nothing for a live source"]),
        (["no-such-file.csv"], ["no file, folder or live source", "spif://"]),
        (["edvs:/dev/nonsense"], ["cannot open the camera at /dev/nonsense"]),
        (["spif://:99999"], ["spif://"]),
    ],
)
def test_what_cannot_be_listened_to(
    cli: Any, event_model: Path, arguments: list[str], words: list[str]
) -> None:
    outcome = cli("stream", event_model, *arguments)
    assert outcome.code in (2, 4) and all(word in outcome.err for word in words), outcome.err
    assert "hint: " in outcome.err


def test_files_have_no_end_to_listen_for(cli: Any, event_model: Path, recordings: Path) -> None:
    outcome = cli("stream", event_model, recordings, "--for", "2s")
    assert outcome.code == 2 and "--for means nothing for recordings" in outcome.err


def wide_recording(folder: Path) -> Path:
    """300 events of a 12x8 sensor: twice the network's, all in the left half."""
    from edgespike.events import make_events, write_events

    number = np.arange(300)
    path = folder / "wide.npz"
    write_events(path, make_events(number * 100, number % 6, number % 8, number % 2))
    return path


def test_another_sensor_is_refused_with_what_would_fit(cli: Any, event_model: Path, tmp_path: Path) -> None:
    recording = wide_recording(tmp_path)
    for verb in ("run", "stream"):
        outcome = cli(verb, event_model, recording)
        assert outcome.code == 3 and "a sensor of 6x8, for a network made for 6x4" in outcome.err
        assert "--downsample 2, or --crop 0,2,6x4" in outcome.err


@pytest.mark.parametrize(
    ("options", "cause", "removed"),
    [
        (["--downsample", "2"], "crop", 0),
        (["--crop", "0,2,6x4"], "crop", 150),
        (["--downsample", "2", "--refractory", "10ms"], "refractory", 228),
        (["--downsample", "2", "--hot", "1"], "hot", 276),
        (["--downsample", "2", "--rate-cap", "1k"], "rate", None),
    ],
)
def test_filters(
    cli: Any, event_model: Path, tmp_path: Path, options: list[str], cause: str, removed: int | None
) -> None:
    command = ["stream", event_model, wide_recording(tmp_path), "--speed", "max", "--json", *options]
    summary = json.loads(cli(*command).out.splitlines()[-1])
    gone = sum(summary["filtered"].values())
    assert summary["events"] == 300 - gone and summary["filtered"][cause] == gone
    assert gone > 100 if removed is None else gone == removed
    converted = cli("convert-events", command[2], tmp_path / "out.npz", "--json", *options)
    assert json.loads(converted.out)["removed"] == gone
