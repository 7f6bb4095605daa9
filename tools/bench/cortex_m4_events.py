"""Instructions of recordings of a camera on an emulated Cortex-M4, beside dense inference of each slice."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tables import ROOT, Table

from edgespike import InferenceSession
from edgespike.convert import EventOptions, convert_onnx, load_calibration
from edgespike.convert.spiking import convert_nir
from edgespike.events import count_events, find_recordings, rebase
from edgespike.graph import Graph
from edgespike.modelfile import encode_model

sys.path.append(str(ROOT / "tools"))
from qemu_instructions import job_of, measure as count_instructions  # noqa: I001

CORE = "cortex-m4"
TESTS = ROOT / "tests" / "data"
SLICES, SLICE_US, SATURATION = 3, 105_000, 7
EVENTS = EventOptions(
    height=34, width=34, window_us=SLICES * SLICE_US, slices=SLICES, polarities=2, saturation=SATURATION
)
DENSE = 2.93  # instructions of a multiplication, published for CMSIS-NN and two convolutions on 34 x 34
CALIBRATION = 100
RECORDINGS = 10


def counting(recordings: list[Any], levels: int, weights: int) -> tuple[Graph, int]:
    """A convolutional network on counts of three slices, and its multiplications for one dense pass."""
    x = [
        count_events(
            recording.read(),
            34,
            34,
            polarities=2,
            slices=SLICES,
            slice_us=SLICE_US,
            saturation=SATURATION,
        )
        for recording in recordings
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calibration.npz"
        np.savez(path, x=np.stack(x))
        graph, report = convert_onnx(
            TESTS / "nmnist_cnn.onnx", load_calibration(path), levels=levels, weights=weights, events=EVENTS
        )
    return graph, report.macs


def row(name: str, graph: Graph, recordings: list[Any], dense: float | None) -> tuple[Any, ...]:
    """Means over recordings; ``dense``: instructions of dense inference of one."""
    session = InferenceSession(graph)
    events = [session.core_events(rebase(recording)) for recording in recordings]
    jobs = [job_of(encode_model(graph), part.tobytes(), 0) for part in events]
    instructions = float(np.mean(count_instructions(CORE, jobs)))
    for recording in recordings:
        session.classify(recording)
    synops = session.stats()["synops"] / len(recordings)
    sent = float(np.mean([len(part) for part in events]))
    return (name, sent, synops, instructions, dense / instructions if dense else "-")


def measure(data: Path, seconds: float) -> Table:
    """Of recordings that networks were not calibrated on; ``seconds`` does not matter."""
    held_out = set((TESTS / "nmnist_test.txt").read_text().split())
    found = find_recordings(data / "nmnist_train_1000.zip")
    chosen = [recording.read() for recording in found if recording.name in held_out][:RECORDINGS]
    others = [recording for recording in found if recording.name not in held_out][:CALIBRATION]
    rows: list[tuple[Any, ...]] = []
    for levels, weights in ((255, 8), (15, 8), (15, 16)):
        graph, macs = counting(others, levels, weights)
        name = f"counts of {SLICES} slices, {levels} levels, {weights}-bit weights"
        rows.append(row(name, graph, chosen, DENSE * macs * SLICES))
    graph, _ = convert_nir(TESTS / "nmnist_if.nir", dt=1e-3, framework="sinabs")
    rows.append(row("integrate and fire, ticks of 1 ms", graph, chosen, None))
    return Table(
        "cortex_m4_events",
        f"Instructions of an N-MNIST recording on an emulated Cortex-M4 (gcc -O3), mean of {RECORDINGS}. "
        f"Dense: {DENSE} instructions for each multiplication of each slice, as published for CMSIS-NN.",
        ("network", "events", "synops", "instructions", "dense / ours"),
        rows,
    )
