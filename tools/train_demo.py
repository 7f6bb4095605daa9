"""Trains the network of the demo on the recordings of `tools/make_demo_data.py`.

    pip install torch==2.13.0 onnx
    python tools/train_demo.py build/demo

Writes `edgespike/data/digits.onnx`. Seeded; another machine may round otherwise, and so train
a network with slightly other weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from count_network import accuracy, export, train

from edgespike.data import demo_network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="where make_demo_data.py wrote counts.npz")
    data = np.load(parser.parse_args().folder / "counts.npz")
    network = train(data["x_train"], data["y_train"], (8, 16, 32), epochs=30, activity_penalty=0.2, seed=1)
    export(network, data["x_train"].shape[1], demo_network())
    print(f"training recordings: {accuracy(network, data['x_train'], data['y_train']):.2%}")
    print(f"held-out recordings: {accuracy(network, data['x_test'], data['y_test']):.2%}")
    print(f"{demo_network()}: {demo_network().stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
