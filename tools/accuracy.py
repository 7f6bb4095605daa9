"""Measures public networks after conversion, beside onnxruntime: accuracy, memory, work.

    pip install ".[convert]"
    python tools/accuracy.py DATA
    python tools/accuracy.py DATA --only fashion
    python tools/accuracy.py DATA --left-out separable
    python tools/accuracy.py DATA --only fashion --input-levels 15

DATA: folder with mnist.npz, fashion.npz, kws_mfcc_500.npz and onnx/. Networks for images are
calibrated on 1000 training images and measured on the test images; those for Fashion-MNIST are
this project's own (tests/data). Keyword spotting has no training samples there, so it is
calibrated on half of its samples and measured on the other half, both ways. ad01 comes without
data: it runs on frames like those of a machine's log-mel spectrogram (`mel_frames`), and what is
measured is the correlation of the reconstruction error. --left-out NAME measures one network for
Fashion-MNIST on the 5000 training images that its training left out, with three sets of calibration
samples: what decisions may rest on. --input-levels: fewer than the 255 that an input otherwise has.

``synops``: pairs of an event and a neuron that it reaches, for one sample; ``dense``: the
multiplications of the usual computation.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
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
FASHION = ("average", "average_sparse", "max", "residual", "separable", "separable_wide")
Precision = tuple[int, int, int]  # levels, weight bits, input levels
PRECISIONS = ((255, 8), (15, 8), (255, 4), (15, 4))  # levels, weight bits
COLUMNS = (
    "network",
    "levels",
    "bits",
    "onnxruntime",
    "edgespike",
    "same class",
    "flash",
    "RAM",
    "one-shot",
    "synops",
    "dense",
)
LEFT_OUT = 5000  # training images that tools/train_fashion.py keeps for validation
CALIBRATION_SETS = (0, 5000, 10000)  # first images


def run_both(
    path: Path, precision: Precision, calibration: Calibration, x: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], Report]:
    """Scores of the original and of the converted network on x, and the report."""
    network = read_onnx(path)
    x = x.reshape(-1, *network.input.shape)
    levels, weights, input_levels = precision
    by_layer = {"*": levels, network.layers[0].name: input_levels}
    graph, report = convert_onnx(path, calibration, levels=by_layer, weights=weights)
    session = InferenceSession(graph)
    converted = session.run(None, {network.input.name: x})[0]
    exact = FloatNetwork(network).scores(x)
    return exact, converted.reshape(len(x), -1).astype(np.float64), report


def row(
    name: str,
    precision: Precision,
    exact: NDArray[Any],
    ours: NDArray[Any],
    y: NDArray[Any],
    report: Report,
) -> tuple[str, ...]:
    """One row of the table."""
    answers, expected = ours.argmax(axis=1), exact.argmax(axis=1)
    return (
        name,
        *map(str, precision[:2]),
        f"{100 * (expected == y).mean():.2f} %",
        f"{100 * (answers == y).mean():.2f} %",
        f"{100 * (answers == expected).mean():.2f} %",
        f"{report.flash:,}",
        f"{report.ram_streaming:,}",
        f"{report.ram_one_shot:,}",
        f"{report.synops:,.0f}",
        f"{report.macs:,}",
    )


def fashion(
    data: Path, name: str, precision: Precision, first: int = 0, left_out: bool = False
) -> tuple[str, ...]:
    """A network on Fashion-MNIST, calibrated on 1000 training images from number ``first`` on."""
    images = np.load(data / "fashion.npz")
    calibrated = slice(first, first + 1000)
    part, measured = ("train", slice(-LEFT_OUT, None)) if left_out else ("test", slice(None))
    train, x = (images[key][:, None] / np.float32(255) for key in ("x_train", f"x_{part}"))
    calibration = Calibration(train[calibrated], images["y_train"][calibrated])
    path = Path(__file__).resolve().parents[1] / "tests" / "data" / f"fashion_{name}.onnx"
    results = run_both(path, precision, calibration, x[measured])
    y = images[f"y_{part}"][measured]
    return row(f"fashion_{name}", precision, *results[:2], y, *results[2:])


def mnist(data: Path, file: str, precision: Precision) -> tuple[str, ...]:
    """A network on MNIST."""
    images = np.load(data / "mnist.npz")
    train, test = (images[key] * np.float32(MNIST[file] / 255) for key in ("x_train", "x_test"))
    calibration = Calibration(train[:1000], images["y_train"][:1000])
    results = run_both(data / "onnx" / file, precision, calibration, test)
    return row(file.split("/")[0].split(".")[0], precision, *results[:2], images["y_test"], *results[2:])


def keywords(data: Path, precision: Precision) -> tuple[str, ...]:
    """MLPerf Tiny keyword spotting, calibrated on one half, measured on the other, both ways."""
    words = np.load(data / "kws_mfcc_500.npz")
    x, y = (words["x"].astype(np.float32) - 83) * np.float32(0.5847029), words["y"]
    halves = []
    for measured in (slice(0, 250), slice(250, 500)):
        other = np.setdiff1d(np.arange(500), np.arange(500)[measured])
        path = data / "onnx/mlperf_tiny_kws_float.onnx"
        halves.append(run_both(path, precision, Calibration(x[other], y[other]), x[measured]))
    exact, ours = (np.concatenate([half[part] for half in halves]) for part in (0, 1))
    return row("mlperf_tiny_kws", precision, exact, ours, y, *halves[0][2:])


def mel_frames(count: int) -> NDArray[np.float32]:
    """Inputs of ad01: five frames of 128 log-mel bands in dB each, as of machines at work.

    Each clip has a spectrum that is smooth over the bands, falls towards the high ones and holds
    some narrow lines; its level wanders from frame to frame, and each band of a frame flickers.
    One clip in four is louder in some bands, as a fault would be.
    """
    random = np.random.default_rng(0)
    bands = np.arange(128)
    smooth = np.exp(-0.5 * ((bands[:, None] - bands) / 8.0) ** 2)
    smooth /= np.sqrt(np.square(smooth).sum(axis=1, keepdims=True))
    spectrum = random.normal(0, 5, (count, 128)) @ smooth.T - 15 - bands / 8
    lines = (random.random((count, 128)) < 0.04) * random.uniform(5, 15, (count, 128))
    faults = (random.random((count, 1)) < 0.25) * np.maximum(random.normal(0, 4, (count, 128)) @ smooth.T, 0)
    wander = np.cumsum(random.normal(0, 1, (count, 5, 1)), axis=1)
    frames = (spectrum + lines + faults)[:, None] + wander + random.normal(0, 2, (count, 5, 128))
    return frames.reshape(count, 640).astype(np.float32)


def anomalies(data: Path, precision: Precision) -> float:
    """MLPerf Tiny anomaly detection: correlation of the reconstruction errors, float and converted."""
    mel = mel_frames(1000)
    path = data / "onnx/mlperf_tiny_ad01_float.onnx"
    results = run_both(path, precision, Calibration(mel[:500]), mel[500:])
    errors = [np.square(output - mel[500:]).mean(axis=1) for output in results[:2]]
    return float(np.corrcoef(*errors)[0, 1])


def measured(data: Path, network: str, precision: Precision) -> tuple[str, ...]:
    """A row of the table."""
    if network == "keywords":
        return keywords(data, precision)
    if network in FASHION:
        return fashion(data, network, precision)
    return mnist(data, network, precision)


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", choices=("mnist", "fashion", "keywords", "anomalies"))
    parser.add_argument("--left-out", choices=FASHION, metavar="NAME")
    parser.add_argument("--input-levels", type=int, default=255, metavar="N")
    options = parser.parse_args()
    precisions = [(*precision, options.input_levels) for precision in PRECISIONS]
    print(f"| {' | '.join(COLUMNS)} |\n|---{'|---:' * (len(COLUMNS) - 1)}|")
    if options.left_out:
        for precision, first in product(precisions, CALIBRATION_SETS):
            print(
                f"| {' | '.join(fashion(options.data, options.left_out, precision, first, True))} |",
                flush=True,
            )
        return
    groups = {"mnist": tuple(MNIST), "fashion": FASHION, "keywords": ("keywords",), "anomalies": ()}
    chosen = [group for group in groups if options.only in (None, group)]
    cases = [(network, way) for group in chosen for network in groups[group] for way in precisions]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for network, precision in progress.track(cases, description="measuring"):
            print(f"| {' | '.join(measured(options.data, network, precision))} |", flush=True)
    for precision in precisions if "anomalies" in chosen else ():
        correlation = anomalies(options.data, precision)
        levels, bits, _ = precision
        print(f"mlperf_tiny_ad01, {levels} levels, {bits} bits: correlation {correlation:.5f}", flush=True)


if __name__ == "__main__":
    main()
