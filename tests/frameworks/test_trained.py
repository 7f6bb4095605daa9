"""Networks trained in each framework keep their accuracy when they are quantized."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from edgespike.convert import Calibration
from edgespike.convert.spiking import convert_nir
from edgespike.session import InferenceSession

TICKS = 24
HIDDEN = 64
EPOCHS = 8
OPTIONS: dict[str, dict[str, Any]] = {"snntorch": {"reset": "subtract-delayed"}}


def neurons(framework: str, networks: Any, size: int) -> Any:
    """A layer of that framework that leaks, or in Sinabs does not."""
    import torch

    if framework == "snntorch":
        ones = torch.ones(size)
        return importlib.import_module("snntorch").Leaky(beta=0.9 * ones, threshold=ones, init_hidden=True)
    if framework == "norse":
        norse = importlib.import_module("norse.torch")
        values = {"tau_mem_inv": torch.full((size,), 200.0), "v_th": torch.full((size,), 0.2)}
        return norse.LIFBoxCell(norse.LIFBoxParameters(**values, v_leak=torch.zeros(size)))
    if framework == "sinabs":
        return importlib.import_module("sinabs.layers").IAFSqueeze(batch_size=1)
    return networks.spikingjelly_neuron("LIFNode", tau=4.0, decay_input=False)


def counts(framework: str, module: Any, x: Any) -> Any:
    """Output spikes (samples, 10) of images (samples, pixels) that are there in every tick."""
    import torch

    if framework == "sinabs":
        for part in module:
            if hasattr(part, "reset_states"):
                part.batch_size = len(x)
                part.reset_states()
        return module(x.repeat_interleave(TICKS, dim=0)).unflatten(0, (len(x), TICKS)).sum(dim=1)
    for part in module.modules():
        if hasattr(part, "reset_mem"):
            part.reset_mem()
        elif framework == "spikingjelly" and hasattr(part, "reset"):
            part.reset()
    total, state = torch.zeros(len(x), 10), None
    for _ in range(TICKS):
        out, state = module(x, state) if framework == "norse" else (module(x), None)
        total = total + out
    return total


@pytest.mark.parametrize("framework", ["snntorch", "norse", "sinabs", "spikingjelly"])
@pytest.mark.filterwarnings("ignore")
def test_quantized_accuracy(
    framework: str, networks: Callable[[str], Any], data_folder: Path, tmp_path: Path
) -> None:
    library = networks(framework)
    import torch

    with np.load(data_folder / "mnist.npz") as archive:
        x, y, x_test, y_test = (archive[key] for key in ("x_train", "y_train", "x_test", "y_test"))
    smaller = [
        torch.from_numpy((images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)) / 255).astype(np.float32))
        for images in (x[:6000], x_test)
    ]
    inputs, held_out = (images.flatten(1) for images in smaller)
    labels = torch.from_numpy(y[:6000]).long()
    torch.manual_seed(0)
    layers = [
        torch.nn.Linear(196, HIDDEN),
        neurons(framework, library, HIDDEN),
        torch.nn.Linear(HIDDEN, 10),
        neurons(framework, library, 10),
    ]
    chain = (
        importlib.import_module("norse.torch").SequentialState
        if framework == "norse"
        else torch.nn.Sequential
    )
    module = chain(*layers)
    optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(inputs)).split(100):
            scores = counts(framework, module, inputs[chosen]) / 2
            loss = torch.nn.functional.cross_entropy(scores, labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        there = counts(framework, module, held_out).argmax(dim=1).numpy()
        counts(framework, module, held_out[:1])  # Sinabs exports the shapes of its states
        graph = getattr(library, f"{framework}_export")(module.requires_grad_(False), 196)
    nir.write(tmp_path / "net.nir", graph)
    dt = 1e-4 if framework == "snntorch" else 1e-3
    samples = np.repeat(inputs[:50].numpy()[:, None], TICKS, axis=1)
    model, _ = convert_nir(
        tmp_path / "net.nir",
        dt=dt,
        framework=framework,
        calibration=Calibration(samples),
        **OPTIONS.get(framework, {}),
    )
    scores = InferenceSession(model).scores(np.repeat(held_out.numpy()[:, None], TICKS, axis=1))
    here = scores.argmax(axis=1)
    right, ours = float((there == y_test).mean()), float((here == y_test).mean())
    print(framework, right, ours, (here == there).mean())
    assert right > 0.85
    assert abs(ours - right) <= 0.003 + 1e-9
