"""Trains the Fashion-MNIST networks that conversion is measured on.

    pip install torch==2.13.0 onnx
    python tools/train_fashion.py ../shared/data/fashion.npz build/fashion
    python tools/train_fashion.py ../shared/data/fashion.npz build/fashion --sparse average

Fashion-MNIST: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for
Benchmarking Machine Learning Algorithms", 2017, MIT. The last 5000 training images are kept for
validation; test images are not looked at. Written into the folder, one for each network:
`fashion_average.onnx` and `fashion_max.onnx` (two convolutions with pools, two dense layers),
`fashion_residual.onnx`, `fashion_separable.onnx` and `fashion_separable_wide.onnx` (depthwise blocks:
three of 16 to 64 channels, two of 24 to 128). Input: pixels of 0 to 1.

`--sparse NAME` starts from one of these and makes it say less, into `fashion_NAME_sparse.onnx`:
a few epochs with a penalty on the number of active inputs of each layer, counted by Hoyer's
measure (sum |a|)^2 / sum a^2 and weighted with what each costs, its fan-out. (Yang, Wen, Li,
"DeepHoyer: Learning Sparser Neural Network with Differentiable Scale-Invariant Sparsity
Measures", 2020, for weights; here for activations.)
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from rich.progress import track
from torch import nn
from torch.nn import functional

VALIDATION = 5000
BATCH = 128
SPARSITY = 0.35  # cross entropy that all of the dense work weighs as much as; chosen on validation images
Images = tuple[torch.Tensor, torch.Tensor]


# ---- networks --------------------------------------------------------------------


def block(inputs: int, outputs: int, stride: int = 1, groups: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch normalization, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def pooled(pool: type[nn.AvgPool2d] | type[nn.MaxPool2d]) -> nn.Sequential:
    """28 x 28 x 16, 14 x 14 x 32, 7 x 7 x 32, 64, 10: a million multiplications."""
    dense = [nn.Flatten(), nn.Linear(1568, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 10)]
    return nn.Sequential(block(1, 16), pool(2), block(16, 32), pool(2), *dense)


class Residual(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(block(channels, channels), *block(channels, channels)[:2])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.inner(x) + x)


def residual() -> nn.Sequential:
    """Two residual blocks, of 16 and 32 channels, and a mean over space."""
    body = [block(1, 16, 2), Residual(16), block(16, 32, 2), Residual(32)]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def separable(first: int, *blocks: tuple[int, int]) -> nn.Sequential:
    """Depthwise convolutions, each followed by one of 1 x 1; ``blocks``: channels and stride."""
    body: list[nn.Module] = [block(1, first, 2)]
    inputs = first
    for outputs, stride in blocks:
        body += [block(inputs, inputs, stride, groups=inputs), block(inputs, outputs, kernel=1)]
        inputs = outputs
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


NETWORKS = {
    "average": lambda: pooled(nn.AvgPool2d),
    "max": lambda: pooled(nn.MaxPool2d),
    "residual": residual,
    "separable": lambda: separable(16, (32, 1), (64, 2), (64, 1)),
    "separable_wide": lambda: separable(24, (64, 2), (128, 1)),
}


# ---- training --------------------------------------------------------------------


class Work:
    """The share of a network's dense work that its active inputs cost, by Hoyer's measure."""

    def __init__(self, network: nn.Module) -> None:
        self.active = self.dense = torch.zeros(())
        weighted = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
        for layer in weighted[1:]:  # what the first one gets is the image
            layer.register_forward_hook(self.count)

    def count(self, layer: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        values = inputs[0].flatten(1)
        macs = output[0].numel() * layer.weight[0].numel()
        active = values.sum(1).square() / values.square().sum(1).clamp_min(1e-9)
        self.active = self.active + active.mean() * (macs / values.shape[1])
        self.dense = self.dense + macs

    def share(self) -> torch.Tensor:
        """Of the forward pass since the last call."""
        share = self.active / self.dense
        self.active = self.dense = torch.zeros(())
        return share


def train(
    network: nn.Module, data: Images, epochs: int, rate: float, sparsity: float | None = None
) -> nn.Module:
    """Trains in place; images are mirrored at random."""
    generator = torch.Generator().manual_seed(0)
    x, y = data
    steps = epochs * (len(x) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    work = Work(network) if sparsity else None
    network.train()
    for _ in track(range(epochs), "training"):
        for chosen in torch.randperm(len(x), generator=generator).split(BATCH)[: len(x) // BATCH]:
            mirrored = torch.rand(len(chosen), 1, 1, 1, generator=generator) < 0.5
            images = x[chosen]
            loss = functional.cross_entropy(network(torch.where(mirrored, images.flip(3), images)), y[chosen])
            if work and sparsity:
                loss = loss + sparsity * work.share()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def accuracy(network: nn.Module, data: Images) -> float:
    with torch.no_grad():
        answers = torch.cat([network(part).argmax(1) for part in data[0].split(500)])
    return float((answers == data[1]).float().mean())


def images_of(path: Path) -> tuple[Images, Images]:
    """Training and validation images (N, 1, 28, 28) of 0 to 1, with their classes."""
    with np.load(path) as data:
        x = torch.from_numpy(data["x_train"][:, None].astype(np.float32) / 255)
        y = torch.from_numpy(data["y_train"].astype(np.int64))
    return (x[:-VALIDATION], y[:-VALIDATION]), (x[-VALIDATION:], y[-VALIDATION:])


# ---- files -----------------------------------------------------------------------


def export(network: nn.Module, path: Path) -> None:
    """ONNX, large weights as float16: half the file."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        torch.onnx.export(
            network,
            (torch.zeros(1, 1, 28, 28),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["image"],
            output_names=["scores"],
            dynamic_axes={"image": {0: "batch"}, "scores": {0: "batch"}},
        )
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.size > 1000:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            cast = helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT)
            model.graph.node.insert(0, cast)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("images", type=Path, help="fashion.npz: x_train, y_train")
    parser.add_argument("folder", type=Path, help="where the networks go")
    parser.add_argument("--only", choices=NETWORKS, help="train this one")
    parser.add_argument("--sparse", choices=NETWORKS, help="fine-tune this one, trained before")
    parser.add_argument("--sparsity", type=float, default=SPARSITY, help="weight of the penalty")
    parser.add_argument("--epochs", type=int, help="8, of a fine-tune 4")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    training, validation = images_of(options.images)
    checkpoint = options.folder / "{}.pt"
    for name in [options.sparse or options.only] if options.sparse or options.only else NETWORKS:
        torch.manual_seed(0)
        network = NETWORKS[name]()
        if options.sparse:
            network.load_state_dict(torch.load(str(checkpoint).format(name)))
            train(network, training, options.epochs or 4, 2e-3, options.sparsity)
            name += "_sparse"
        else:
            train(network, training, options.epochs or 8, 1e-2)
            torch.save(network.state_dict(), str(checkpoint).format(name))
        export(network, options.folder / f"fashion_{name}.onnx")
        print(f"{name}: {accuracy(network, validation):.2%} of the validation images", flush=True)


if __name__ == "__main__":
    main()
