"""Accuracy of the public networks after conversion, beside onnxruntime, as a table.

    python tools/accuracy.py DATA

DATA: folder with mnist.npz, kws_mfcc_500.npz and onnx/. MNIST networks are calibrated on
training images and measured on the test images; keyword spotting has no training samples
there, so it is calibrated on half of its samples and measured on the other half, both ways.
ad01 comes without data: it runs on random log-mel-like vectors, and what is measured is the
correlation of the reconstruction error.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from edgespike import InferenceSession
from edgespike.convert import Calibration, Report, convert_onnx
from edgespike.convert.float_network import FloatNetwork
from edgespike.importers.onnx import read_onnx

MNIST = {  # file: what a white pixel is to the network
    "netkit_mnist_mlp.onnx": 1.0,
    "netkit_mnist_cnn.onnx": 1.0,
    "lenet5.onnx": 1.0,
    "mnist-8/model.onnx": 255.0,
}


def run_both(
    path: Path, levels: int, calibration: Calibration, x: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], Report]:
    """Scores of the original and of the converted network on x, and the report."""
    network = read_onnx(path)
    x = x.reshape(-1, *network.input.shape)
    graph, report = convert_onnx(path, calibration, levels=levels)
    converted = InferenceSession(graph).run(None, {network.input.name: x})[0]
    return FloatNetwork(network).scores(x), converted.reshape(len(x), -1).astype(np.float64), report


def show(
    table: Table,
    name: str,
    levels: int,
    exact: NDArray[Any],
    ours: NDArray[Any],
    y: NDArray[Any],
    report: Report,
) -> None:
    """One row."""
    answers, expected = ours.argmax(axis=1), exact.argmax(axis=1)
    before, after = (expected == y).mean(), (answers == y).mean()
    table.add_row(
        name,
        str(levels),
        f"{before:.2%}",
        f"{after:.2%}",
        f"{100 * (after - before):+.2f}",
        f"{(answers == expected).mean():.2%}",
        f"{report.synops / report.macs:.2f}",
        f"{report.ram_one_shot:,}",
        f"{report.flash:,}",
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--samples", type=int, default=1000, help="calibration images (default 1000)")
    options = parser.parse_args()
    columns = ("network", "levels", "float", "converted", "points", "agree", "synops/MAC", "RAM", "flash")
    table = Table(*columns)
    images = np.load(options.data / "mnist.npz")
    for file, white in MNIST.items():
        train, test = (images[key] * np.float32(white / 255) for key in ("x_train", "x_test"))
        calibration = Calibration(train[: options.samples], images["y_train"][: options.samples])
        for levels in (255, 15):
            exact, ours, report = run_both(options.data / "onnx" / file, levels, calibration, test)
            show(table, file, levels, exact, ours, images["y_test"], report)
    keywords = np.load(options.data / "kws_mfcc_500.npz")
    x, y = (keywords["x"].astype(np.float32) - 83) * np.float32(0.5847029), keywords["y"]
    for levels in (255, 15):
        halves = []
        for measured in (slice(0, 250), slice(250, 500)):
            other = np.setdiff1d(np.arange(500), np.arange(500)[measured])
            path = options.data / "onnx/mlperf_tiny_kws_float.onnx"
            halves.append(run_both(path, levels, Calibration(x[other], y[other]), x[measured]))
        exact, ours = (np.concatenate([half[part] for half in halves]) for part in (0, 1))
        show(table, "mlperf_tiny_kws", levels, exact, ours, y, halves[0][2])
    console = Console(width=110)
    console.print(table)
    random = np.random.default_rng(0)
    frames = random.normal(0, 4, (800, 1, 128)) + random.normal(0, 2, (800, 5, 1)) - 20
    mel = (frames + random.normal(0, 1, (800, 5, 128)) * random.uniform(0, 4, (800, 1, 1))).astype(np.float32)
    mel = mel.reshape(800, 640)
    for levels in (255, 15):
        path = options.data / "onnx/mlperf_tiny_ad01_float.onnx"
        exact, ours, _ = run_both(path, levels, Calibration(mel[:400]), mel[400:])
        errors = [np.square(output - mel[400:]).mean(axis=1) for output in (exact, ours)]
        console.print(f"mlperf_tiny_ad01, {levels} levels: correlation {np.corrcoef(*errors)[0, 1]:.5f}")


if __name__ == "__main__":
    main()
