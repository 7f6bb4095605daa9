"""Measures public networks after conversion, beside onnxruntime: accuracy, memory, work, time.

    pip install ".[convert]"
    python tools/accuracy.py DATA

DATA: folder with mnist.npz, kws_mfcc_500.npz and onnx/. MNIST networks are calibrated on
1000 training images and measured on the test images; keyword spotting has no training samples
there, so it is calibrated on half of its samples and measured on the other half, both ways.
ad01 comes without data: it runs on random log-mel-like vectors, and what is measured is the
correlation of the reconstruction error.

``synops``: pairs of an event and a neuron that it reaches, for one sample; ``dense``: the
multiplications of the usual computation. ``time``: how long a sample takes here in the C core,
as a multiple of onnxruntime's fp32 on one thread, medians of single samples in turns.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from edgespike import InferenceSession
from edgespike.convert import Calibration, Report, convert_onnx
from edgespike.convert.float_network import FloatNetwork
from edgespike.importers.onnx import read_onnx

MNIST = {  # file: what a white pixel is to the network
    "mnist-8/model.onnx": 255.0,
    "netkit_mnist_mlp.onnx": 1.0,
    "netkit_mnist_cnn.onnx": 1.0,
    "lenet5.onnx": 1.0,
}
COLUMNS = (
    "network",
    "levels",
    "onnxruntime",
    "edgespike",
    "same class",
    "flash",
    "RAM",
    "one-shot",
    "synops",
    "dense",
    "time",
)
TIMED_SAMPLES = 300


def run_both(
    path: Path, levels: int, calibration: Calibration, x: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], Report, float]:
    """Scores of the original and of the converted network on x, the report, and the ratio of times."""
    network = read_onnx(path)
    x = x.reshape(-1, *network.input.shape)
    graph, report = convert_onnx(path, calibration, levels=levels)
    session = InferenceSession(graph)
    converted = session.run(None, {network.input.name: x})[0]
    exact = FloatNetwork(network).scores(x)
    ratio = time_ratio(path, session, x[:TIMED_SAMPLES].astype(np.float32))
    return exact, converted.reshape(len(x), -1).astype(np.float64), report, ratio


def time_ratio(path: Path, session: InferenceSession, x: NDArray[np.float32]) -> float:
    """Median time of a sample in the core over that in onnxruntime, one thread, taken in turns."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    original = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (given,) = (value for value in original.get_inputs() if value.name == session.get_inputs()[0].name)
    batch = given.shape[0] if isinstance(given.shape[0], int) else 1
    ours, theirs = [], []
    for sample in x:
        events = session.sample_events(sample)
        repeated = np.repeat(sample[None], batch, axis=0).reshape(batch, *given.shape[1:])
        begin = time.perf_counter()
        session.backend.reset()
        session.backend.push(events)
        session.backend.finish()
        session.backend.output()
        middle = time.perf_counter()
        original.run(None, {given.name: repeated})
        ours.append(middle - begin)
        theirs.append((time.perf_counter() - middle) / batch)
    return float(np.median(ours) / np.median(theirs))


def row(
    name: str,
    levels: int,
    exact: NDArray[Any],
    ours: NDArray[Any],
    y: NDArray[Any],
    report: Report,
    ratio: float,
) -> tuple[str, ...]:
    """One row of the table."""
    answers, expected = ours.argmax(axis=1), exact.argmax(axis=1)
    return (
        name,
        str(levels),
        f"{100 * (expected == y).mean():.2f} %",
        f"{100 * (answers == y).mean():.2f} %",
        f"{100 * (answers == expected).mean():.2f} %",
        f"{report.flash:,}",
        f"{report.ram_streaming:,}",
        f"{report.ram_one_shot:,}",
        f"{report.synops:,.0f}",
        f"{report.macs:,}",
        f"{ratio:.1f}",
    )


def mnist(data: Path, file: str, levels: int) -> tuple[str, ...]:
    """A network on MNIST."""
    images = np.load(data / "mnist.npz")
    train, test = (images[key] * np.float32(MNIST[file] / 255) for key in ("x_train", "x_test"))
    calibration = Calibration(train[:1000], images["y_train"][:1000])
    results = run_both(data / "onnx" / file, levels, calibration, test)
    return row(file.split("/")[0].split(".")[0], levels, *results[:2], images["y_test"], *results[2:])


def keywords(data: Path, levels: int) -> tuple[str, ...]:
    """MLPerf Tiny keyword spotting, calibrated on one half, measured on the other, both ways."""
    words = np.load(data / "kws_mfcc_500.npz")
    x, y = (words["x"].astype(np.float32) - 83) * np.float32(0.5847029), words["y"]
    halves = []
    for measured in (slice(0, 250), slice(250, 500)):
        other = np.setdiff1d(np.arange(500), np.arange(500)[measured])
        path = data / "onnx/mlperf_tiny_kws_float.onnx"
        halves.append(run_both(path, levels, Calibration(x[other], y[other]), x[measured]))
    exact, ours = (np.concatenate([half[part] for half in halves]) for part in (0, 1))
    return row("mlperf_tiny_kws", levels, exact, ours, y, *halves[0][2:])


def anomalies(data: Path, levels: int) -> float:
    """MLPerf Tiny anomaly detection: correlation of the reconstruction errors, float and converted."""
    random = np.random.default_rng(0)
    frames = random.normal(0, 4, (800, 1, 128)) + random.normal(0, 2, (800, 5, 1)) - 20
    mel = (frames + random.normal(0, 1, (800, 5, 128)) * random.uniform(0, 4, (800, 1, 1))).astype(np.float32)
    mel = mel.reshape(800, 640)
    path = data / "onnx/mlperf_tiny_ad01_float.onnx"
    results = run_both(path, levels, Calibration(mel[:400]), mel[400:])
    errors = [np.square(output - mel[400:]).mean(axis=1) for output in results[:2]]
    return float(np.corrcoef(*errors)[0, 1])


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    cases = [(file, levels) for file in (*MNIST, "keywords") for levels in (255, 15)]
    print(f"| {' | '.join(COLUMNS)} |\n|---{'|---:' * (len(COLUMNS) - 1)}|")
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for file, levels in progress.track(cases, description="measuring"):
            measured = keywords(data, levels) if file == "keywords" else mnist(data, file, levels)
            print(f"| {' | '.join(measured)} |", flush=True)
    for levels in (255, 15):
        print(f"mlperf_tiny_ad01, {levels} levels: correlation {anomalies(data, levels):.5f}")


if __name__ == "__main__":
    main()
