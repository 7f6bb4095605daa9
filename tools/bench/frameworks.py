"""An N-MNIST recording at 1 ms ticks in the frameworks that are installed, and here, side by side.

The network has the layers of the one in the NIR paper: 903,680 multiplications in a dense step. Batch 1,
one thread, no gradients; the tools take turns, so that a busy machine slows all of them. The frameworks'
input tensor is made beforehand; here the time includes binning the events, and the answer. Sinabs runs its
own layers with the weights of the file; SpikingJelly its multi-step IFNode with reset by subtraction,
which spikes at most once in a tick, as snnTorch's Leaky with beta 1 does; Norse's IAF resets to zero.
The last two take their ticks one by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tables import ROOT, Table
from torch import nn

from edgespike import InferenceSession
from edgespike.convert.spiking import convert_nir
from edgespike.events import find_recordings

SENSOR = (2, 34, 34)
REPEATS = 3
COUNT = 10  # recordings
HERE = "edgespike"
NETWORK = ROOT / "tests" / "data" / "nmnist_if.nir"

Run = Callable[[torch.Tensor], int]


def network(
    spiking: Callable[[], nn.Module], convolution: Any, pool: Callable[[], nn.Module]
) -> list[nn.Module]:
    """The layers, in the words of one framework."""
    return [
        convolution(2, 16, 5, stride=2, padding=1, bias=False),
        spiking(),
        convolution(16, 16, 3, padding=1, bias=False),
        spiking(),
        pool(),
        convolution(16, 8, 3, padding=1, bias=False),
        spiking(),
        pool(),
        nn.Flatten(),
        nn.Linear(128, 256, bias=False),
        spiking(),
        nn.Linear(256, 10, bias=False),
        spiking(),
    ]


def frames(events: NDArray[Any]) -> torch.Tensor:
    """Event counts (ticks, 2, 34, 34) of 1 ms each."""
    tick = (events["t"] - events["t"][0]) // 1000
    counts = np.zeros((int(tick[-1]) + 1, *SENSOR), np.float32)
    np.add.at(counts, (tick, events["p"], events["y"], events["x"]), 1)
    return torch.from_numpy(counts)


def loaded(layers: list[nn.Module], weights: list[NDArray[Any]]) -> nn.Sequential:
    """The layers with the weights of the file, in order."""
    weighted = [part for part in layers if hasattr(part, "weight")]
    for part, weight in zip(weighted, weights, strict=True):
        part.weight = nn.Parameter(torch.tensor(weight), requires_grad=False)
    return nn.Sequential(*layers)


def in_sinabs(weights: list[NDArray[Any]]) -> Run:
    import sinabs
    import sinabs.layers as sl

    layers = network(lambda: sl.IAFSqueeze(batch_size=1), nn.Conv2d, lambda: sl.SumPool2d(2))
    model = loaded(layers, weights)

    def run(x: torch.Tensor) -> int:
        sinabs.reset_states(model)
        return int(model(x).sum(dim=0).argmax())

    return run


def in_spikingjelly(weights: list[NDArray[Any]]) -> Run:
    from spikingjelly.activation_based import functional, layer, neuron

    multi = network(
        lambda: neuron.IFNode(v_reset=None, step_mode="m"),
        lambda *shape, **window: layer.Conv2d(*shape, **window, step_mode="m"),
        lambda: layer.AvgPool2d(2, divisor_override=1, step_mode="m"),
    )
    flat = [layer.Flatten(step_mode="m") if isinstance(part, nn.Flatten) else part for part in multi]
    model = loaded(flat, weights)

    def run(x: torch.Tensor) -> int:
        functional.reset_net(model)
        return int(model(x[:, None]).sum(dim=0).argmax())

    return run


def in_snntorch(weights: list[NDArray[Any]]) -> Run:
    import snntorch

    layers = network(
        lambda: snntorch.Leaky(beta=1.0, reset_delay=False, init_hidden=True),
        nn.Conv2d,
        lambda: nn.AvgPool2d(2, divisor_override=1),
    )
    model = loaded(layers, weights)

    def run(x: torch.Tensor) -> int:
        for part in model:
            if isinstance(part, snntorch.Leaky):
                part.reset_mem()
        return int(sum(model(tick[None]) for tick in x).argmax())

    return run


def in_norse(weights: list[NDArray[Any]]) -> Run:
    import norse.torch as norse

    layers = network(norse.IAFCell, nn.Conv2d, lambda: nn.AvgPool2d(2, divisor_override=1))
    model = norse.SequentialState(*loaded(layers, weights))

    def run(x: torch.Tensor) -> int:
        state, total = None, torch.zeros(1, 10)
        for tick in x:
            spikes, state = model(tick[None], state)
            total += spikes
        return int(total.argmax())

    return run


FRAMEWORKS = {
    "sinabs": in_sinabs,
    "spikingjelly": in_spikingjelly,
    "snntorch": in_snntorch,
    "norse": in_norse,
}


def measure(data: Path, seconds: float) -> Table:
    """Median processor milliseconds of a recording, the best of some turns each."""
    import nir

    torch.set_num_threads(1)
    weights = [node.weight for node in nir.read(NETWORK).nodes.values() if hasattr(node, "weight")]
    weights.sort(key=lambda weight: (-weight.ndim, weight.shape != (16, 2, 5, 5), -weight.shape[0]))
    graph, _ = convert_nir(NETWORK, dt=1e-3, framework="sinabs")
    session = InferenceSession(graph)
    tools: dict[str, Run] = {}
    for name, make in FRAMEWORKS.items():
        try:
            tools[f"{name} {version(name)}"] = make(weights)
        except PackageNotFoundError:
            continue
    times: dict[str, list[float]] = {name: [] for name in (*tools, HERE)}
    answers: dict[str, list[int]] = {name: [] for name in times}
    ticks = 0
    with torch.inference_mode():
        for recording in find_recordings(data / "nmnist_train_1000.zip")[:COUNT]:
            events = recording.read()
            x = frames(events)
            ticks += len(x)
            ways: dict[str, Callable[[], int]] = {
                **{name: lambda run=run, x=x: run(x) for name, run in tools.items()},
                HERE: lambda events=events: session.classify(events).label,
            }
            taken: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(REPEATS):
                for name, way in ways.items():
                    begin = time.process_time()
                    label = way()
                    taken[name].append(time.process_time() - begin)
                    answers[name].append(label)
            for name, spent in taken.items():
                times[name].append(min(spent))
    medians = {name: float(np.median(spent)) for name, spent in times.items()}
    rows: list[tuple[Any, ...]] = [
        (
            name,
            1e3 * median,
            1e6 * median / (ticks / COUNT),
            median / medians[HERE],
            f"{100 * np.mean(np.array(answers[name]) == np.array(answers[HERE])):.0f} %",
        )
        for name, median in medians.items()
    ]
    return Table(
        "frameworks",
        f"{COUNT} N-MNIST recordings at 1 ms ticks in a convolutional spiking network, one after the other: "
        f"processor time of a recording, best of {REPEATS}, median; torch {version('torch')}, one thread.",
        ("runtime", "milliseconds", "microseconds a tick", "times ours", "same class"),
        rows,
    )
