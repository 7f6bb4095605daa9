"""Times an N-MNIST recording at 1 ms ticks in Sinabs and SpikingJelly, and here, side by side.

    pip install --no-deps -r tests/frameworks/requirements.txt      (and what that file says)
    python tools/bench_frameworks.py tests/data/nmnist_if.nir ../shared/data/nmnist_train_1000.zip

The network has the layers of the one in the NIR paper: 903,680 multiplications in a dense step. Batch 1,
one thread, no gradients; the tools take turns, so that a busy machine slows all of them. The frameworks'
input tensor is made beforehand; here the time includes binning the events, and the answer. Sinabs runs its
own layers with the weights of the file; SpikingJelly its multi-step IFNode with reset by subtraction,
which spikes at most once in a tick.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import sinabs
import sinabs.layers as sl
import torch
from numpy.typing import NDArray
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

from edgespike import InferenceSession
from edgespike.convert.spiking import convert_nir
from edgespike.events import find_recordings

SENSOR = (2, 34, 34)
REPEATS = 3
HERE = "edgespike, C core"


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("network", type=Path, help="a NIR file with these layers")
    parser.add_argument("recordings", type=Path, help="zip archive or folder")
    parser.add_argument("--count", type=int, default=20, help="of recordings")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    import nir

    weights = [node.weight for node in nir.read(arguments.network).nodes.values() if hasattr(node, "weight")]
    weights.sort(key=lambda weight: (-weight.ndim, weight.shape != (16, 2, 5, 5), -weight.shape[0]))

    def loaded(layers: list[nn.Module]) -> nn.Sequential:
        weighted = [part for part in layers if hasattr(part, "weight")]
        for part, weight in zip(weighted, weights, strict=True):
            part.weight = nn.Parameter(torch.tensor(weight), requires_grad=False)
        return nn.Sequential(*layers)

    in_sinabs = loaded(network(lambda: sl.IAFSqueeze(batch_size=1), nn.Conv2d, lambda: sl.SumPool2d(2)))
    multi = network(
        lambda: neuron.IFNode(v_reset=None, step_mode="m"),
        lambda *shape, **window: layer.Conv2d(*shape, **window, step_mode="m"),
        lambda: layer.AvgPool2d(2, divisor_override=1, step_mode="m"),
    )
    in_spikingjelly = loaded(
        [layer.Flatten(step_mode="m") if isinstance(part, nn.Flatten) else part for part in multi]
    )
    graph, _ = convert_nir(arguments.network, dt=1e-3, framework="sinabs")
    session = InferenceSession(graph)

    def run_sinabs(events: NDArray[Any], x: torch.Tensor) -> int:
        sinabs.reset_states(in_sinabs)
        return int(in_sinabs(x).sum(dim=0).argmax())

    def run_spikingjelly(events: NDArray[Any], x: torch.Tensor) -> int:
        functional.reset_net(in_spikingjelly)
        return int(in_spikingjelly(x[:, None]).sum(dim=0).argmax())

    def run_here(events: NDArray[Any], x: torch.Tensor) -> int:
        return session.classify(events).label

    tools = {
        f"sinabs {version('sinabs')}": run_sinabs,
        f"spikingjelly {version('spikingjelly')}": run_spikingjelly,
        HERE: run_here,
    }
    best: dict[str, list[float]] = {name: [] for name in tools}
    answers: dict[str, list[int]] = {name: [] for name in tools}
    labels: list[int] = []
    with torch.inference_mode():
        for recording in find_recordings(arguments.recordings)[: arguments.count]:
            events = recording.read()
            x = frames(events)
            seconds: dict[str, list[float]] = {name: [] for name in tools}
            for _ in range(REPEATS):
                labels.append(recording.label)
                for name, run in tools.items():
                    begin = time.process_time()
                    label = run(events, x)
                    seconds[name].append(time.process_time() - begin)
                    answers[name].append(label)
            for name, times in seconds.items():
                best[name].append(min(times))
    medians = {name: float(np.median(times)) for name, times in best.items()}
    fastest = min(median for name, median in medians.items() if name != HERE)
    print(
        f"{arguments.count} recordings, processor time, best of {REPEATS}, medians; torch {version('torch')}"
    )
    for name, median in medians.items():
        same = np.mean(np.array(answers[name]) == np.array(answers[HERE]))
        right = np.mean(np.array(answers[name]) == np.array(labels))
        ratio = f"1/{fastest / median:.1f}"
        print(f"{name:24} {1e3 * median:8.2f} ms   {ratio:7} right {right:.1%}   same class {same:.1%}")


if __name__ == "__main__":
    main()
