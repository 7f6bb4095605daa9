"""Trains a recurrent network of neurons with adaptive thresholds on the rows of MNIST, and writes it as NIR.

    pip install torch==2.13.0 nir
    python tools/train_mnist_adaptive.py ../shared/data/mnist.npz build/mnist_alif

A digit comes row by row, 28 pixels a tick as currents, for 28 ticks. The neurons are those of Yin,
Corradi and Bohte ("Accurate and efficient time-domain classification with adaptive spiking recurrent
neural networks", 2021), each with its own time constants, which are trained too; the readout is ten
leaky integrators. NIR has no adaptive threshold: it goes into the metadata of the LIF node, as
docs/nir.md says.

Trained on 55,000 images; `--validate` reports on the other 5,000 of the training set, to choose
settings, else on the test images of the archive. Written into the folder: `mnist_alif.nir`.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

DT = 1e-3
HIDDEN = 128
BATCH = 256
THRESHOLD = 0.1
STRENGTH = 1.8  # of the adaptation, as in the paper


class Spike(torch.autograd.Function):
    """A step whose gradient is a bell."""

    @staticmethod
    def forward(context: Any, above: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(above)
        return (above > 0).to(above.dtype)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        (above,) = context.saved_tensors
        return gradient * torch.exp(-((above / 0.3) ** 2))


class AdaptiveNetwork(nn.Module):
    """28 inputs, HIDDEN recurrent adaptive neurons, 10 leaky integrators."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.back = nn.Linear(28, HIDDEN), nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.leave = nn.Linear(HIDDEN, 10)
        nn.init.orthogonal_(self.back.weight)
        # logarithms of time constants in seconds
        self.membrane = nn.Parameter(torch.normal(0.012, 0.003, (HIDDEN,)).clamp(4e-3).log())
        self.adaptation = nn.Parameter(torch.normal(0.03, 0.01, (HIDDEN,)).clamp(5e-3).log())
        self.readout = nn.Parameter(torch.full((10,), 0.02).log())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Membranes of the readout after the last tick, of x (samples, ticks, 28)."""
        keep, fade, leak = (
            torch.exp(-DT / tau.exp()) for tau in (self.membrane, self.adaptation, self.readout)
        )
        v, raised, spikes = (torch.zeros(len(x), HIDDEN) for _ in range(3))
        out = torch.zeros(len(x), 10)
        for row in self.enter(x).unbind(dim=1):
            raised = fade * raised + STRENGTH * (1 - fade) * THRESHOLD * spikes
            threshold = THRESHOLD + raised
            v = keep * v + (1 - keep) * (row + self.back(spikes)) - threshold * spikes
            spikes = Spike.apply((v - threshold) / THRESHOLD)
            out = leak * out + (1 - leak) * self.leave(spikes)
        return out


def accuracy(network: AdaptiveNetwork, x: torch.Tensor, y: torch.Tensor) -> float:
    with torch.no_grad():
        said = torch.cat([network(part).argmax(dim=1) for part in x.split(500)])
    return float((said == y).double().mean())


def train(x: torch.Tensor, y: torch.Tensor, epochs: int) -> AdaptiveNetwork:
    torch.manual_seed(1)
    network = AdaptiveNetwork()
    optimizer = torch.optim.Adam(network.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, epochs * (len(x) // BATCH))
    for epoch in range(epochs):
        losses = []
        for chosen in torch.randperm(len(x)).split(BATCH)[: len(x) // BATCH]:
            loss = functional.cross_entropy(network(x[chosen]) * 10, y[chosen])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}", flush=True)
    return network


def export(network: AdaptiveNetwork, path: Path) -> None:
    """Writes the network as NIR."""

    def array(values: torch.Tensor) -> NDArray[np.float32]:
        return values.detach().numpy()

    fade = np.exp(-DT / array(network.adaptation.exp()))
    ones, zeros = np.ones(HIDDEN, np.float32), np.zeros(HIDDEN, np.float32)
    adaptive = nir.LIF(
        tau=array(network.membrane.exp()),
        r=ones,
        v_leak=zeros,
        v_threshold=THRESHOLD * ones,
        metadata={
            "adaptation_tau": array(network.adaptation.exp()),
            "adaptation_increment": STRENGTH * (1 - fade) * THRESHOLD,
        },
    )
    nodes = {
        "input": nir.Input(np.array([28])),
        "enter": nir.Affine(array(network.enter.weight), array(network.enter.bias)),
        "adaptive": adaptive,
        "back": nir.Linear(array(network.back.weight)),
        "leave": nir.Affine(array(network.leave.weight), array(network.leave.bias)),
        "readout": nir.LI(array(network.readout.exp()), np.ones(10), np.zeros(10)),
        "output": nir.Output(np.array([10])),
    }
    forward = [name for name in nodes if name != "back"]
    edges = [*pairwise(forward), ("adaptive", "back"), ("back", "adaptive")]
    nir.write(path, nir.NIRGraph(nodes, edges))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("images", type=Path, help="mnist.npz")
    parser.add_argument("folder", type=Path, help="where the network goes")
    parser.add_argument("--validate", action="store_true", help="report on part of the training set")
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with np.load(arguments.images) as archive:
        x, y, x_test, y_test = (archive[key] for key in ("x_train", "y_train", "x_test", "y_test"))
    training, others = (x[:55_000], y[:55_000]), (x[55_000:], y[55_000:])
    held_out = others if arguments.validate else (x_test, y_test)

    def tensors(images: NDArray[Any], labels: NDArray[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(images.reshape(-1, 28, 28) / np.float32(255)), torch.from_numpy(labels).long()

    network = train(*tensors(*training), arguments.epochs)
    print(f"held out: {len(held_out[0])} images, {accuracy(network, *tensors(*held_out)):.2%}")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    export(network, arguments.folder / "mnist_alif.nir")


if __name__ == "__main__":
    main()
