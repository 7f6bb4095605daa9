"""``edgespike stream --encode``: from samples to results, here and on a board; recorded and replayed."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import termios
import threading
import time
import tty
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgespike
from edgespike import InferenceSession
from edgespike.cli.player import READS, BoardLane, Player
from edgespike.encoders import SENSOR_EVENT, Delta, Encoder, Gaussian, sample_times
from edgespike.graph import (
    Compare,
    Dense,
    Graph,
    InputSpec,
    IntegrateAndFire,
    Population,
    Projection,
    Reset,
    Rounding,
    SpikeInput,
)
from edgespike.modelfile import write_model
from edgespike.sources import open_sensor

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(edgespike.__file__).parents[1])}
SAMPLES = np.cumsum(np.random.default_rng(4).integers(-9, 10, (200, 4)), axis=0) + 100  # of the image model


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    path = tmp_path / "samples.csv"
    np.savetxt(path, SAMPLES, fmt="%d", delimiter=",")
    return path


def lines_of(outcome: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    assert outcome.code == 0, outcome.err
    *results, summary = map(json.loads, outcome.out.splitlines())
    return results, summary


def expected_scores(model: Path, hop: int) -> list[list[int]]:
    """Of each whole window at once: 6 samples of 4 columns."""
    windows = np.stack([SAMPLES[end - 6 : end].T for end in range(6, 201, hop)])
    return InferenceSession(model).scores(windows[:, None]).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("port", [[], ["--port", "emulated"], ["--backend", "reference"]])
@pytest.mark.parametrize("hop", [1, 4, 9])
def test_a_sliding_window(
    cli: Any, image_model: Path, samples: Path, tmp_path: Path, port: list[str], hop: int
) -> None:
    journal = tmp_path / "a.journal"
    command = ["stream", image_model, samples, "--sample-rate", "250", "--encode", f"window:hop={hop}"]
    results, summary = lines_of(cli(*command, "--speed", "max", "--json", "--record", journal, *port))
    assert [row["scores"] for row in results] == expected_scores(image_model, hop)
    assert [row["time_us"] for row in results] == [4000 * (end - 1) + 1 for end in range(6, 201, hop)]
    assert summary["source"]["events"] == 200 and summary["source"]["malformed"] == 0
    assert summary["sensor"] == {
        "encode": f"window:hop={hop}",
        "sample_rate_hz": 250.0,
        "scale": None,
        "columns": None,
    }
    assert sum(row["events"] for row in results) == summary["events"]
    for runner in ([], ["--port", "emulated"]):
        again = cli("replay", journal, "--json", *runner)
        assert again.code == 0, again.err
        value = json.loads(again.out)
        assert value["equal"] == len(results) and value["different"] == 0
        assert value["about"]["sensor"] == summary["sensor"]


@pytest.mark.parametrize("code", ["latency", "rate"])
def test_a_gaussian_population_for_a_network_that_counts(
    cli: Any, event_model: Path, tmp_path: Path, code: str
) -> None:
    values = np.random.default_rng(2).uniform(0, 2, (100, 6))
    np.savetxt(tmp_path / "a.csv", values, fmt="%.4f", delimiter=",")
    text = f"gaussian:low=0,high=2,units=4,steps=5,spikes={code}"
    command = ["stream", event_model, tmp_path / "a.csv", "--sample-rate", "1000", "--encode", text]
    journal = tmp_path / "a.journal"
    results, _ = lines_of(cli(*command, "--scale", "500", "--speed", "max", "--json", "--record", journal))

    read = np.loadtxt(tmp_path / "a.csv", delimiter=",")
    whole = np.floor(read * 500 + 0.5).astype(np.int64)
    encoder = Encoder(Gaussian(0, 1000, 4, 5, 0, code), 6, 1000)  # type: ignore[arg-type]
    session = InferenceSession(event_model)
    offline = session.push(encoder(whole, sample_times(np.arange(100), Fraction(1000))))
    offline += session.advance(100_000)
    assert [row["scores"] for row in results] == [result.scores.tolist() for result in offline]
    assert len(results) == 5
    assert json.loads(cli("replay", journal, "--json").out)["equal"] == 5


@pytest.fixture
def spiking_model(tmp_path: Path) -> Path:
    """Counts rises and falls of three columns, with integrate-and-fire neurons on a vector of 6."""

    def row(value: int) -> Any:
        return np.full(6, value, np.int32)

    neuron = IntegrateAndFire(
        row(3),
        row(1 << 30),
        row(0),
        row(0),
        Compare.GREATER_OR_EQUAL,
        Reset.SUBTRACT,
        Rounding.NONE,
        1,
        -99,
        99,
    )
    graph = Graph(
        (
            Population("events", (1, 1, 6), SpikeInput(0, 1, 40)),
            Population("counts", (1, 1, 6), neuron, np.zeros((1, 1, 6), np.int32), None, 32),
        ),
        (Projection(0, 1, Dense(np.eye(6, dtype=np.int8))),),
        InputSpec(1000, 50),
        {
            "input": {
                "name": "x",
                "shape": [6],
                "grid": [6, 1, 1],
                "axes": [1, 2, 0],
                "multiply": 1.0,
                "add": 0.0,
                "scale": 1.0,
                "time_axis": True,
            },
            "output": {"name": "y", "shape": [6], "scale": 1.0, "transform": "none"},
        },
    )
    write_model(graph, tmp_path / "counts.esg")
    return tmp_path / "counts.esg"


def test_send_on_delta_for_a_spiking_network_on_a_vector(
    cli: Any, spiking_model: Path, samples: Path
) -> None:
    command = ["stream", spiking_model, samples, "--sample-rate", "250", "--columns", "1,2,4"]
    results, _ = lines_of(cli(*command, "--encode", "delta:threshold=2", "--speed", "max", "--json"))
    events = Encoder(Delta(2), 3, 4000)(SAMPLES[:, [0, 1, 3]], sample_times(np.arange(200), Fraction(250)))
    events["p"] += 2 * events["x"]
    events["x"] = 0
    session = InferenceSession(spiking_model)
    offline = session.push(events) + session.advance(800_000)
    assert [row["scores"] for row in results] == [result.scores.tolist() for result in offline]
    assert len(results) == 16 and sum(sum(row["scores"]) for row in results) > 100


@pytest.mark.parametrize("port", [[], ["--port", "emulated"]])
def test_a_serial_line_with_a_line_that_is_no_number(
    cli: Any, image_model: Path, port: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window fills anew after the missing sample; what came before and comes later is right."""
    patient = partial(open_sensor, patience=60.0)  # this machine may be busy
    monkeypatch.setattr("edgespike.cli.sensors.open_sensor", patient)
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    text = [",".join(map(str, row)).encode() for row in SAMPLES.tolist()]
    text[50] = b"sensor error"

    def say() -> None:
        while termios.tcgetattr(theirs)[5] != termios.B115200:  # nobody has opened it
            time.sleep(0.01)
        time.sleep(0.3)
        for line in [b"partial", *text]:
            os.write(ours, line + b"\r\n")
            time.sleep(0.001)

    saying = threading.Thread(target=say)
    saying.start()
    command = ["stream", image_model, f"serial:{os.ttyname(theirs)}", "--sample-rate", "250"]
    results, summary = lines_of(cli(*command, "--encode", "window", "--for", "3s", "--json", *port))
    saying.join()
    assert summary["source"]["malformed"] == 1 and summary["source"]["events"] == 199
    ends = [end for end in range(6, 201) if not 50 < end <= 56]
    assert [row["time_us"] for row in results] == [4000 * (end - 1) + 1 for end in ends]
    scores = expected_scores(image_model, 1)
    assert [row["scores"] for row in results] == [scores[end - 6] for end in ends]


def test_a_board_never_owes_many_results(image_model: Path) -> None:
    """Also where nothing changes, so that what comes out stays fresh and memory bounded."""
    with InferenceSession(image_model, "device", port="emulated") as session:
        lane = Player(session, 1.0).lane
        assert isinstance(lane, BoardLane)
        lane.begin(0)
        nothing, count = np.zeros(0, SENSOR_EVENT), 0
        for number in range(300):
            lane.send(nothing, 1000 * number + 1, 0.0)
            count += len(lane.read())
            assert len(lane.reads) <= READS
        assert count + len(lane.drain()) == 300


def test_standard_input(image_model: Path, samples: Path) -> None:
    command = [sys.executable, "-P", "-m", "edgespike", "stream", str(image_model), "-", "--json"]
    outcome = subprocess.run(
        [*command, "--sample-rate", "250", "--encode", "window:hop=50"],
        input=samples.read_bytes(),
        capture_output=True,
        env=ENVIRONMENT,
        timeout=60,
    )
    assert outcome.returncode == 0, outcome.stderr
    *results, _ = map(json.loads, outcome.stdout.splitlines())
    assert [row["scores"] for row in results] == expected_scores(image_model, 50)


def test_standard_input_without_a_single_sample(image_model: Path) -> None:
    command = [sys.executable, "-P", "-m", "edgespike", "stream", str(image_model), "-", "--encode", "window"]
    outcome = subprocess.run(
        [*command, "--sample-rate", "250"],
        input=b"1,2,3\n1,2,3\n1,2,3\n",
        capture_output=True,
        env=ENVIRONMENT,
        timeout=60,
    )
    assert outcome.returncode != 0 and b"none is a sample of 4 numbers" in outcome.stderr
    assert b"--columns" in outcome.stderr and b"Traceback" not in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--encode", "window"], "--sample-rate"),
        (["--sample-rate", "250"], "is for samples"),
        (["--encode", "window", "--sample-rate", "0"], "no number above 0"),
        (["--encode", "window", "--sample-rate", "2000000"], "a million at most"),
        (["--encode", "sines", "--sample-rate", "250"], "there is no code 'sines'"),
        (["--encode", "delta:threshold=3", "--sample-rate", "250"], "takes samples, not events"),
        (["--encode", "window", "--sample-rate", "250", "--columns", "0"], "the first one is 1"),
        (["--encode", "window", "--sample-rate", "250", "--columns", "1"], "the network takes 4"),
        (["--encode", "window", "--sample-rate", "250", "--every", "1s"], "--every means nothing"),
        (["--encode", "window", "--sample-rate", "250", "--live"], "--live means nothing"),
        (["--encode", "window", "--sample-rate", "250", "--downsample", "2"], "events of a camera"),
        (["--encode", "window:time=first", "--sample-rate", "250"], "no sample of 6 numbers"),
    ],
)
def test_bad_inputs(cli: Any, image_model: Path, samples: Path, arguments: list[str], said: str) -> None:
    outcome = cli("stream", image_model, samples, *arguments)
    assert outcome.code != 0 and said in outcome.err and "Traceback" not in outcome.err


def test_a_file_with_fractions_needs_a_scale(cli: Any, image_model: Path, tmp_path: Path) -> None:
    np.savetxt(tmp_path / "a.csv", SAMPLES / 8, fmt="%.3f", delimiter=",")
    command = ["stream", image_model, tmp_path / "a.csv", "--sample-rate", "250", "--encode", "window"]
    outcome = cli(*command)
    assert outcome.code != 0 and "fractions" in outcome.err and "--scale" in outcome.err
    assert cli(*command, "--scale", "8", "--speed", "max").code == 0


def test_a_sensor_without_a_code(cli: Any, image_model: Path) -> None:
    assert "say --encode" in cli("stream", image_model, "serial:/dev/ttyUSB0").err


def test_a_code_for_another_network(cli: Any, event_model: Path, samples: Path) -> None:
    command = ["stream", event_model, samples, "--sample-rate", "250", "--encode"]
    assert "4 x 6 x" in cli(*command, "delta:threshold=1").err
    assert "takes events" in cli(*command, "window").err


def test_export_refuses_what_it_cannot_do(
    cli: Any, image_model: Path, event_model: Path, tmp_path: Path
) -> None:
    command = ["export", "--c", tmp_path / "out"]
    assert "takes events" in cli(*command, event_model, "--encode", "window").err
    assert "needs no tables" in cli(*command, image_model, "--encode", "delta:threshold=3").err
    assert "add --encode window" in cli(*command, image_model, "--scale", "3").err
    assert not (tmp_path / "out").exists()
    assert cli(*command, image_model, "--encode", "window:hop=2", "--scale", "3").code == 0
    assert (tmp_path / "out" / "sensor.c").exists()
