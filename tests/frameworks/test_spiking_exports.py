"""Spiking networks of each framework as torch.onnx exports them are refused, with the way over NIR."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgespike.errors import UnsupportedError
from edgespike.importers.onnx import read_onnx

TICKS = 3
Networks = Callable[[str], Any]
SETTINGS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "snntorch": [
        ("Leaky", {"beta": 0.9}),
        ("Leaky", {"beta": 0.9, "reset_mechanism": "zero"}),
        ("Leaky", {"beta": 0.9, "reset_mechanism": "none"}),
        ("Synaptic", {"alpha": 0.7, "beta": 0.9}),
    ],
    "norse": [("LIFCell", {}), ("LIFBoxCell", {}), ("LIFRecurrentCell", {"input_size": 6, "hidden_size": 6})],
    "sinabs": [("LIF", {"tau_mem": 10.0}), ("IAF", {})],
    "spikingjelly": [
        ("LIFNode", {"step_mode": "m"}),
        ("IFNode", {"step_mode": "m", "v_reset": None}),
    ],
    "rockpool": [("LIFTorch", {"shape": 6, "dt": 1e-3})],
}
MODULES = {
    "snntorch": "snntorch",
    "norse": "norse.torch",
    "sinabs": "sinabs.layers",
    "spikingjelly": "spikingjelly.activation_based.neuron",
    "rockpool": "rockpool.nn.modules",
}
CASES = [
    (framework, kind, settings, dynamo)
    for framework, kinds in SETTINGS.items()
    for kind, settings in kinds
    for dynamo in ((False, True) if settings is kinds[0][1] else (False,))
    if dynamo or framework != "spikingjelly"  # whose neurons are operators of its own to the old exporter
]


def network_of(framework: str, kind: str, settings: dict[str, Any]) -> Any:
    """A linear layer, neurons, a linear layer; what leaves it is summed over time."""
    import torch
    from torch import nn

    make = getattr(importlib.import_module(MODULES[framework]), kind)

    class Spiking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.neuron, self.last = nn.Linear(4, 6), make(**settings), nn.Linear(6, 3)

        def spikes(self, x: torch.Tensor) -> torch.Tensor:
            if framework == "spikingjelly":
                return self.neuron(x.transpose(0, 1)).transpose(0, 1)
            if framework == "sinabs":
                return self.neuron(x)
            if framework == "rockpool":
                return self.neuron(x)[0]
            state: Any = None if framework == "norse" else getattr(self.neuron, f"init_{kind.lower()}")()
            sent = []
            for tick in range(TICKS):
                if framework == "norse":
                    spikes, state = self.neuron(x[:, tick], state)
                else:
                    spikes, *state = self.neuron(
                        x[:, tick], *(state if isinstance(state, list | tuple) else [state])
                    )
                sent.append(spikes)
            return torch.stack(sent, dim=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.spikes(self.first(x))).sum(dim=1)

    return Spiking().eval()


@pytest.mark.parametrize(("framework", "kind", "settings", "dynamo"), CASES)
@pytest.mark.filterwarnings("ignore")
def test_exports_are_refused(
    framework: str, kind: str, settings: dict[str, Any], dynamo: bool, networks: Networks, tmp_path: Path
) -> None:
    networks(framework)
    import torch

    path = tmp_path / "network.onnx"
    network = network_of(framework, kind, settings)
    torch.onnx.export(network, (torch.rand(1, TICKS, 4),), path, dynamo=dynamo, verbose=False)
    with pytest.raises(UnsupportedError, match="spiking network spelled out in operators") as caught:
        read_onnx(path)
    assert caught.value.code == "spiking-onnx" and "NIR" in caught.value.message
    if dynamo:  # this exporter keeps the names of the modules
        assert f"--from {framework} " in caught.value.hint
