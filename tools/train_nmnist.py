"""Trains a small CNN on N-MNIST recordings.

    pip install torch==2.13.0 onnx scikit-learn
    python tools/train_nmnist.py ../shared/data/nmnist_train_1000.zip build/nmnist

The archive holds recordings in the data set's own layout, `Train/<label>/<number>.bin` (Orchard,
Jayawant, Cohen, Thakor, "Converting static image datasets to spiking neuromorphic datasets using
saccades", 2015). A fifth of them is held out for test. Written into the folder:

- `nmnist_cnn.onnx`: the network;
- `nmnist_calibration.npz`: event counts `x` and labels `y` of 200 recordings it was trained on;
- `nmnist_test.txt`: names of the held-out recordings, one a line.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from count_network import accuracy, export, train
from rich.progress import track
from sklearn.model_selection import train_test_split

from edgespike.events import count_events, find_recordings

SENSOR = (34, 34)
COUNTS = {"polarities": 2, "slices": 3, "slice_us": 105_000, "saturation": 7}  # one slice a saccade


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recordings", type=Path, help="zip archive or folder")
    parser.add_argument("folder", type=Path, help="where the network goes")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    recordings = find_recordings(arguments.recordings)
    y = np.array([recording.label for recording in recordings])
    x = np.stack([count_events(r.read(), *SENSOR, **COUNTS) for r in track(recordings, "counting events")])
    training, test = train_test_split(np.arange(len(y)), test_size=0.2, random_state=1, stratify=y)

    network = train(x[training], y[training], (16, 32, 64), epochs=160, activity_penalty=0.1, seed=1)
    export(network, x.shape[1], arguments.folder / "nmnist_cnn.onnx")
    calibration = training[:200]
    np.savez_compressed(
        arguments.folder / "nmnist_calibration.npz", x=x[calibration].astype(np.uint8), y=y[calibration]
    )
    names = sorted(Path(recordings[number].name).as_posix() for number in test)
    (arguments.folder / "nmnist_test.txt").write_text("".join(f"{name}\n" for name in names))
    print(f"training: {len(training)} recordings, {accuracy(network, x[training], y[training]):.2%}")
    print(f"held out: {len(test)} recordings, {accuracy(network, x[test], y[test]):.2%}")


if __name__ == "__main__":
    main()
