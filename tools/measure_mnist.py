"""Measures converted MNIST networks: accuracy beside onnxruntime, memory, work and time.

    pip install ".[convert]"
    python tools/measure_mnist.py DATA

DATA is a folder with ``mnist.npz`` (x_train, y_train, x_test, y_test) and the networks below ``onnx``.
The first 1000 training images calibrate, all test images are measured. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from edgespike import InferenceSession
from edgespike.convert import Calibration, convert_onnx
from edgespike.convert.float_network import FloatNetwork
from edgespike.importers.onnx import read_onnx

# Network, and what white is in its input.
NETWORKS = {
    "mnist-8/model.onnx": 255.0,
    "netkit_mnist_mlp.onnx": 1.0,
    "netkit_mnist_cnn.onnx": 1.0,
    "lenet5.onnx": 1.0,
}
SIZES = ("flash", "RAM", "one-shot")
COLUMNS = ("network", "levels", "onnxruntime", "edgespike", *SIZES, "synops", "dense", "ms")
ALIGNED = ("---", *["---:"] * (len(COLUMNS) - 1))


def measure(path: Path, white: float, levels: int, data: Path) -> tuple[str, ...]:
    """A row of the table."""
    images = np.load(data / "mnist.npz")
    x, y = (images["x_test"] * np.float32(white / 255)).astype(np.float32), images["y_test"]
    known = (images["x_train"][:1000] * np.float32(white / 255)).astype(np.float32)
    graph, report = convert_onnx(path, Calibration(known, images["y_train"][:1000]), levels=levels)
    original = FloatNetwork(read_onnx(path))
    shape = original.network.input.shape
    expected = original.scores(x.reshape(-1, *shape)).argmax(axis=1)
    session = InferenceSession(graph)
    begin = time.process_time()
    scores = session.scores(x.reshape(-1, *shape))
    milliseconds = 1e3 * (time.process_time() - begin) / len(x)
    return (
        path.stem if path.stem != "model" else path.parent.name,
        str(levels),
        f"{100 * (expected == y).mean():.2f} %",
        f"{100 * (scores.argmax(axis=1) == y).mean():.2f} %",
        f"{report.flash:,}",
        f"{report.ram_streaming:,}",
        f"{report.ram_one_shot:,}",
        f"{session.stats()['synops'] / len(x):,.0f}",
        f"{report.macs:,}",
        f"{milliseconds:.2f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with mnist.npz and onnx/")
    data = parser.parse_args().data
    cases = [(name, white, levels) for name, white in NETWORKS.items() for levels in (255, 15)]
    rows = [
        measure(data / "onnx" / name, white, levels, data)
        for name, white, levels in track(cases, "measuring", console=Console(stderr=True))
    ]
    for row in (COLUMNS, ALIGNED, *rows):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
