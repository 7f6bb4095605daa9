"""Trains a convolutional network of integrate-and-fire neurons on N-MNIST, and writes it as NIR.

    pip install --no-deps -r tests/frameworks/requirements.txt
    python tools/train_nmnist_spiking.py ../shared/data/nmnist_train_1000.zip build/nmnist_if

Sinabs' neurons: any number of spikes in a tick, each takes the threshold away, no leak. Such neurons
add up their input whatever the length of a tick, nearly: they are trained on 16 bins of 20 ms, then
for some epochs on 64 of 5 ms, and run at 1 ms. The layers are those of the N-MNIST network in the
NIR paper (Pedersen et al., 2024): 903,680 multiplications in a dense step. The loss is that of the
answers after each third of a recording, so that early ones are good as well.

The archive is that of `train_nmnist.py`, of which the recordings in `tests/data/nmnist_test.txt` are
held out. `--validate` leaves out a fifth of the others too, and reports on that: to choose settings.
Written into the folder: `nmnist_if.nir`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import nir
import numpy as np
import sinabs.layers as sl
import torch
from numpy.typing import NDArray
from rich.progress import track
from sinabs.nir import to_nir
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

from edgespike.events import find_recordings

ROOT = Path(__file__).parents[1]
LENGTH_US = 320_000  # a recording takes some 310 ms
BATCH = 16
FINE_EPOCHS = 5


def make_network() -> nn.Sequential:
    """The network, for input (samples * ticks, 2, 34, 34)."""

    def spiking() -> nn.Module:
        return sl.IAFSqueeze(batch_size=1)

    network = nn.Sequential(
        nn.Conv2d(2, 16, 5, stride=2, padding=1, bias=False),
        spiking(),
        nn.Conv2d(16, 16, 3, padding=1, bias=False),
        spiking(),
        sl.SumPool2d(2),
        nn.Conv2d(16, 8, 3, padding=1, bias=False),
        spiking(),
        sl.SumPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 256, bias=False),
        spiking(),
        nn.Linear(256, 10, bias=False),
        spiking(),
    )
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight *= 2  # with PyTorch's own weights hardly a neuron spikes
    return network


def binned(recordings: list[NDArray[Any]], bins: int) -> NDArray[np.uint8]:
    """Event counts (recordings, bins, 2, 34, 34), from the first event of each."""
    counts = np.zeros((len(recordings), bins, 2, 34, 34), np.uint8)
    for target, events in zip(counts, recordings, strict=True):
        time = np.minimum((events["t"] - events["t"][0]) // (LENGTH_US // bins), bins - 1)
        np.add.at(target, (time, events["p"], events["y"], events["x"]), 1)
    return counts


def run(network: nn.Sequential, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Output spikes so far (samples, bins, classes) of x (samples, bins, 2, 34, 34), and spikes a tick."""
    samples, bins = x.shape[:2]
    activity = torch.zeros(())
    values = x.flatten(0, 1)
    for layer in network:
        if isinstance(layer, sl.IAFSqueeze):
            layer.batch_size = samples
            layer.reset_states()
        values = layer(values)
        if isinstance(layer, sl.IAFSqueeze):
            activity = activity + values.mean()
    return values.unflatten(0, (samples, bins)).cumsum(dim=1), activity


def accuracy(network: nn.Sequential, x: NDArray[np.uint8], y: NDArray[Any]) -> float:
    """Share of the recordings whose class spiked most."""
    right = 0
    with torch.no_grad():
        for start in range(0, len(x), BATCH):
            part = slice(start, start + BATCH)
            counts, _ = run(network, torch.from_numpy(x[part].astype(np.float32)))
            right += int((counts[:, -1].argmax(dim=1).numpy() == y[part]).sum())
    return right / len(x)


def shifted(x: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Each recording moved by up to 2 pixels."""
    moved = np.empty_like(x)
    for target, sample in zip(moved, x, strict=True):
        down, right = random.integers(-2, 3, 2)
        target[...] = np.roll(sample, (down, right), axis=(2, 3))
    return moved


def train(
    network: nn.Sequential, x: NDArray[np.uint8], y: NDArray[Any], epochs: int, rate: float, penalty: float
) -> None:
    """Goes on training with counts (recordings, bins, 2, 34, 34) and labels."""
    random = np.random.default_rng(1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, epochs * (len(x) // BATCH))
    bins = x.shape[1]
    thirds = [bins // 3, 2 * bins // 3, bins - 1]
    for epoch in range(epochs):
        losses = []
        order = random.permutation(len(x))
        for start in range(0, len(x) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            inputs = torch.from_numpy(shifted(x[chosen], random).astype(np.float32))
            counts, activity = run(network, inputs)
            labels = torch.from_numpy(np.repeat(y[chosen], len(thirds)))
            scores = counts[:, thirds].flatten(0, 1) * 0.3
            loss = functional.cross_entropy(scores, labels, label_smoothing=0.05) + penalty * activity
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"{bins} bins, epoch {epoch + 1}: loss {np.mean(losses):.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recordings", type=Path, help="zip archive or folder")
    parser.add_argument("folder", type=Path, help="where the network goes")
    parser.add_argument("--validate", action="store_true", help="leave out a fifth of the training share")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--penalty", type=float, default=0.1, help="of mean spikes a tick")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    recordings = find_recordings(arguments.recordings)
    held_out = set((ROOT / "tests/data/nmnist_test.txt").read_text().split())
    y = np.array([recording.label for recording in recordings])
    events = [recording.read() for recording in track(recordings, "reading")]
    is_test = np.array([Path(recording.name).as_posix() in held_out for recording in recordings])
    training, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    if arguments.validate:
        training, test = train_test_split(training, test_size=0.2, random_state=2, stratify=y[training])
    network = make_network()
    for bins, epochs, rate in ((16, arguments.epochs, arguments.rate), (64, FINE_EPOCHS, arguments.rate / 4)):
        x = binned([events[number] for number in training], bins)
        train(network, x, y[training], epochs, rate, arguments.penalty * 16 / bins)
    share = "validation" if arguments.validate else "held out"
    for bins in (16, 64, 320):
        x = binned([events[number] for number in test], bins)
        print(
            f"{share}: {len(test)} recordings, {bins} bins, {accuracy(network, x, y[test]):.2%}", flush=True
        )
    arguments.folder.mkdir(parents=True, exist_ok=True)
    nir.write(arguments.folder / "nmnist_if.nir", exported(network))


def exported(network: nn.Sequential) -> nir.NIRGraph:
    """The network, as Sinabs exports it."""
    for layer in network:
        if isinstance(layer, sl.IAFSqueeze):
            layer.batch_size = 1
            layer.reset_states()
    graph = to_nir(network, torch.zeros(1, 2, 34, 34))
    graph.infer_types()  # without it nir 1.0.8 does not write the convolutions
    return graph


if __name__ == "__main__":
    main()
