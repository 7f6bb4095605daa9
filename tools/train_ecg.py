"""Trains a beat classifier for an electrocardiogram, a small 1-D CNN on a sliding window.

    pip install torch==2.13.0 onnx
    python tools/train_ecg.py ../shared/data/ecg_mitbih_100.npz build/ecg

What the record is and how it is split: `ecg_record.py`. Settings and the number of steps were chosen
on the last 4 of the 20 minutes for training (--validate); nothing was chosen by the test part.

Written into the folder:

- `ecg_beats.onnx`: the network; input (N, 1, 576), samples as they come from the converter;
- `ecg_calibration.npz`: windows `x` and labels `y` of the training part.

`tools/measure_ecg.py` says how well it does, converted and on a board.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ecg_record import CLASSES, RATE, TRAINED_S, WINDOW, Record, some_windows
from numpy.typing import NDArray
from torch import nn

VALIDATED_S = 240  # of the training part, with --validate
ZERO, UNIT = 1024, 100  # of the converter: 0 mV, and half a millivolt
STEPS, OF_EACH = 2400, 32  # of training; windows of each class in one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("record", type=Path, help="ecg_mitbih_100.npz")
    parser.add_argument("folder", type=Path, help="where the network goes")
    parser.add_argument("--validate", action="store_true", help="train on 16 minutes, judge by the next 4")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    record = Record.read(arguments.record)
    end = TRAINED_S * RATE
    until = end - VALIDATED_S * RATE if arguments.validate else end
    network = train(Windows(record, until))
    if arguments.validate:
        print_confusion(network, *record.windows(until + WINDOW, end))
        return
    x, y = some_windows(record)
    np.savez_compressed(arguments.folder / "ecg_calibration.npz", x=x.astype(np.int16), y=y.astype(np.uint8))
    export(network, arguments.folder / "ecg_beats.onnx")
    print_confusion(network, *record.windows(WINDOW, end))


class Windows:
    """Draws windows from the first samples of a record: as many of each class, a little changed."""

    def __init__(self, record: Record, until: int) -> None:
        ends = np.arange(WINDOW, until)
        labels = record.labels(ends)
        self.signal = record.signal
        self.ends = [ends[labels == label] for label in range(len(CLASSES))]
        self.rng = np.random.default_rng(1)

    def __call__(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """``count`` of each class; scaled, moved up or down, and with noise."""
        ends = np.concatenate([self.rng.choice(of_class, count) for of_class in self.ends])
        x = self.signal[ends[:, None] + np.arange(-WINDOW, 0)].astype(np.float32) - ZERO
        x *= self.rng.uniform(0.8, 1.25, (len(x), 1))
        x += self.rng.normal(0, 20, (len(x), 1)) + self.rng.normal(0, 4, x.shape)
        labels = np.repeat(np.arange(len(CLASSES)), count)
        return torch.from_numpy((x + ZERO).astype(np.float32)[:, None]), torch.from_numpy(labels)


class BeatNetwork(nn.Module):
    """Three convolutions and two dense layers on one window."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(1, 8, 16, stride=4),
            nn.ReLU(),
            nn.Conv1d(8, 16, 9, stride=4),
            nn.ReLU(),
            nn.Conv1d(16, 16, 5, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(16 * 15, 24),
            nn.ReLU(),
            nn.Linear(24, len(CLASSES)),
        )

    def forward(self, x: torch.Tensor) -> Any:
        return self.layers((x - ZERO) / UNIT)


def train(draw: Windows) -> BeatNetwork:
    """A network, always the same one for the same windows."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    network = BeatNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=STEPS)
    for number in range(STEPS):
        x, y = draw(OF_EACH)
        loss = nn.functional.cross_entropy(network(x), y, label_smoothing=0.02)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if number % 400 == 399:
            print(f"{number + 1:5} steps, loss {loss.item():.3f}", flush=True)
    return network.eval()


def export(network: BeatNetwork, path: Path) -> None:
    """Writes the network as ONNX, any number of windows at once."""
    example = torch.zeros(1, 1, WINDOW)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        torch.onnx.export(
            network,
            (example,),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["samples"],
            output_names=["scores"],
            dynamic_axes={"samples": {0: "n"}, "scores": {0: "n"}},
        )


def print_confusion(network: BeatNetwork, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
    """How many windows of each class were given to each class."""
    with torch.no_grad():
        said = np.concatenate(
            [network(torch.from_numpy(part)).argmax(1).numpy() for part in np.array_split(x, 50)]
        )
    print(f"{len(y)} windows, {np.mean(said == y):.2%} right; rows: what is so, columns: what it says")
    for label, name in enumerate(CLASSES):
        counts = np.bincount(said[y == label], minlength=3)
        print(f"{name:10}" + "".join(f"{count:8}" for count in counts))


if __name__ == "__main__":
    main()
