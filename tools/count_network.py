"""The network of the demo and of N-MNIST: a small CNN on event counts, its training and its export.

    pip install torch==2.13.0 onnx

Input: event counts (N, slices * polarities, 34, 34), output: scores of ten classes. Three
convolutions halve the map: 34, 17, 9, 5. Activity is penalized in training, since what stays 0 costs
nothing when the network runs on events.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import nn
from torch.nn import functional


def make_network(inputs: int, channels: tuple[int, int, int]) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, outputs in enumerate(channels, 1):
        layers[f"conv{number}"] = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        layers[f"norm{number}"] = nn.BatchNorm2d(outputs)
        layers[f"relu{number}"] = nn.ReLU()
        inputs = outputs
    layers["flatten"] = nn.Flatten()
    layers["dropout"] = nn.Dropout(0.5)
    layers["dense"] = nn.Linear(inputs * 5 * 5, 10)
    return nn.Sequential(layers)


def augment(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each sample turned by up to 12 degrees, scaled by up to 12 % and shifted by up to 2 pixels."""
    angle, scale, down, right = (torch.rand(4, len(x), generator=generator) * 2 - 1) * torch.tensor(
        [[0.21], [0.12], [4 / 34], [4 / 34]]
    )
    cosine, sine = torch.cos(angle) * (1 + scale), torch.sin(angle) * (1 + scale)
    maps = torch.stack([cosine, -sine, right, sine, cosine, down], dim=1).reshape(-1, 2, 3)
    grid = functional.affine_grid(maps, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, mode="nearest", align_corners=False)


def run(network: nn.Sequential, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores, and the sum over the layers of their mean activity."""
    activity = torch.zeros(())
    for layer in network:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            activity = activity + x.mean()
    return x, activity


def train(
    x: NDArray[Any],
    y: NDArray[Any],
    channels: tuple[int, int, int],
    *,
    epochs: int,
    activity_penalty: float,
    seed: int,
) -> nn.Sequential:
    """A network with these channels in its convolutions, trained on counts (N, C, 34, 34) and labels."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = make_network(x.shape[1], channels)
    inputs, labels = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.int64))
    batch = 64
    steps = epochs * (len(x) // batch)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    for _ in track(range(epochs), "training"):
        for chosen in torch.randperm(len(x), generator=generator).split(batch)[: len(x) // batch]:
            scores, activity = run(network, augment(inputs[chosen], generator))
            error = functional.cross_entropy(scores, labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            (error + activity_penalty * activity).backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def accuracy(network: nn.Module, x: NDArray[Any], y: NDArray[Any]) -> float:
    with torch.no_grad():
        scores = network(torch.from_numpy(x.astype(np.float32))).numpy()
    return float((scores.argmax(1) == y).mean())


def export(network: nn.Module, channels: int, path: Path) -> None:
    """ONNX, operator set 17, batch normalization folded into the convolutions."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        torch.onnx.export(
            network,
            (torch.zeros(1, channels, 34, 34),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["counts"],
            output_names=["scores"],
            dynamic_axes={"counts": {0: "batch"}, "scores": {0: "batch"}},
        )
