"""Beats in an electrocardiogram: from samples over a link to classes, the offline result bit for bit."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgespike import InferenceSession
from edgespike.convert import Calibration, convert_onnx
from edgespike.encoders import Window, WindowEncoder
from edgespike.graph import Graph
from edgespike.reference_encoders import hold

ROOT = Path(__file__).resolve().parents[2]
NETWORK = ROOT / "tests" / "data" / "ecg_beats.onnx"
DEADBAND = 12


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """tools/ecg_record.py: what is for training, and what for test."""
    spec = importlib.util.spec_from_file_location("ecg_record", ROOT / "tools" / "ecg_record.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def record(tool: ModuleType, data_folder: Path) -> Any:
    return tool.Record.read(data_folder / "ecg_mitbih_100.npz")


@pytest.fixture(scope="module")
def graph(tool: ModuleType, record: Any) -> Graph:
    return convert_onnx(NETWORK, Calibration(*tool.some_windows(record)), levels=15)[0]


def streamed(session: InferenceSession, samples: Any, hop: int) -> list[tuple[int, list[int]]]:
    """The samples one by one: time and scores of each result."""
    encoder, results = WindowEncoder(session, Window(hop, DEADBAND)), []
    for number, sample in enumerate(samples):
        for time_us, changes in encoder(sample.reshape(1, 1), np.array([number * 1_000_000 // 360])):
            session.push(changes)
            session.advance(time_us + 1)
            results.append((time_us, session.read().scores.tolist()))
    return results


@pytest.mark.parametrize(("port", "seconds"), [("cpu", 60), ("emulated", 60), ("qemu", 8)])
def test_samples_over_a_link(
    tool: ModuleType, record: Any, graph: Graph, port: str, seconds: int, request: pytest.FixtureRequest
) -> None:
    begin = tool.TRAINED_S * tool.RATE
    samples = record.signal[begin : begin + seconds * tool.RATE]
    ends = np.arange(tool.WINDOW, len(samples) + 1, tool.HOP)
    held = hold(samples[:, None], DEADBAND)[:, 0]
    windows = held[ends[:, None] + np.arange(-tool.WINDOW, 0)][:, None]
    offline = InferenceSession(graph).scores(windows).tolist()
    where = f"qemu:{request.getfixturevalue('firmware')}" if port == "qemu" else port
    options = {} if port == "cpu" else {"backend": "device", "port": where}
    with InferenceSession(graph, **options) as session:
        results = streamed(session, samples, tool.HOP)
    assert [scores for _, scores in results] == offline
    labels = record.labels(begin + ends)
    said = np.array(offline).argmax(axis=1)
    assert set(said[labels >= 0]) >= {0, 1}
    assert (said == labels)[labels >= 0].mean() > 0.99


def test_premature_beats_of_the_test_part(tool: ModuleType, record: Any, graph: Graph) -> None:
    """Windows at each premature beat and at 200 normal ones of the last ten minutes."""
    tested = record.beats > tool.TRAINED_S * tool.RATE + tool.WINDOW
    premature = record.beats[tested & record.premature]
    normal = record.beats[tested & ~record.premature][:200]
    assert len(premature) == 16
    ends = np.concatenate([premature, normal]) + tool.WINDOW - tool.PLACE
    windows = record.signal[ends[:, None] + np.arange(-tool.WINDOW, 0)][:, None]
    said = InferenceSession(graph).scores(windows).argmax(axis=1)
    assert (said[:16] == 2).sum() >= 15
    assert (said[16:] == 1).sum() >= 199


def test_a_sliding_window_saves_work(tool: ModuleType, record: Any, graph: Graph) -> None:
    samples = record.signal[tool.TRAINED_S * tool.RATE :][: 20 * tool.RATE]
    session = InferenceSession(graph)
    count = len(streamed(session, samples, tool.HOP))
    slid = session.stats()
    ends = np.arange(tool.WINDOW, len(samples) + 1, tool.HOP)
    held = hold(samples[:, None], DEADBAND)[:, 0]
    again = InferenceSession(graph)
    again.scores(held[ends[:, None] + np.arange(-tool.WINDOW, 0)][:, None])
    assert slid["input_events"] / count < 0.6 * tool.WINDOW
    assert slid["synops"] < again.stats()["synops"]
