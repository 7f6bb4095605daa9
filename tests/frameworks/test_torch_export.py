"""Networks as torch exports them, by its old exporter and by its new one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edgespike import InferenceSession
from edgespike.convert import Calibration, convert_onnx

if not os.environ.get("CI"):
    for package in ("torch", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed (extra frameworks)")

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """Two paths that add up, batch normalization after each convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.path = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.Hardswish())
        self.last = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = torch.relu(self.path(x) + x)
        return self.last(x.mean((2, 3)))


class Joined(nn.Module):
    """Two branches side by side, a reshape by size, a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 4, 3, stride=2), nn.Conv2d(1, 4, 3, stride=2)
        self.last = nn.Linear(8 * 3 * 3, 5)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([torch.relu(self.left(x)), torch.sigmoid(self.right(x))], dim=1)
        return torch.softmax(self.last(both.view(both.size(0), -1)), dim=1)


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding="same"),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(2),
        nn.Dropout(),
        nn.Conv2d(8, 8, 3),
        nn.GELU(),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(8, 16),
        nn.Tanh(),
        nn.Linear(16, 5),
    )


@pytest.mark.parametrize("dynamo", [False, True], ids=["old", "new"])
@pytest.mark.parametrize("build", [plain, Residual, Joined], ids=lambda build: build.__name__)
@pytest.mark.filterwarnings("ignore")
def test_exports_of_torch(tmp_path: Path, build: type[nn.Module], dynamo: bool) -> None:
    torch.manual_seed(0)
    network = build()
    x = torch.rand(300, 1, 8, 8)
    network.train()
    network(x)  # batch normalization sees some data
    network.eval()
    path = tmp_path / "network.onnx"
    axes = {} if dynamo else {"dynamic_axes": {"image": {0: "batch"}, "scores": {0: "batch"}}}
    if dynamo:
        axes = {"dynamic_shapes": {"x" if build is not plain else "input": {0: torch.export.Dim("batch")}}}
    torch.onnx.export(
        network, (x[:2],), path, input_names=["image"], output_names=["scores"], dynamo=dynamo, **axes
    )
    graph, report = convert_onnx(path, Calibration(x.numpy()))
    (ours,) = InferenceSession(graph).run(None, {"image": x.numpy()})
    theirs = network(x).detach().numpy()
    # 8-bit weights and 255 levels: within some percent of the spread of the scores
    assert np.sqrt(((ours - theirs) ** 2).mean()) < 0.1 * theirs.std()
    assert report.agreement is not None and report.agreement > 0.9
