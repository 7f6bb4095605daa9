"""Networks built and exported in each framework spike here as they do there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from edgespike.convert.discretise import FloatInterpreter, choose_profile
from edgespike.convert.exporters import put_right
from edgespike.convert.originals import record
from edgespike.importers.nir import read_nir

TICKS = 80
SEEDS = 6
BUILDERS = {
    "snntorch": ("feed_forward", "synaptic", "convolutional", "recurrent"),
    "norse": ("feed_forward", "convolutional", "recurrent"),
    "sinabs": ("feed_forward", "convolutional", "one_dimensional", "recurrent"),
    "spikingjelly": ("feed_forward", "convolutional", "recurrent"),
    "rockpool": ("feed_forward",),
}
CASES = [
    (framework, kind, seed) for framework in BUILDERS for kind in BUILDERS[framework] for seed in range(SEEDS)
]


@pytest.mark.parametrize(("framework", "kind", "seed"), CASES)
@pytest.mark.filterwarnings("ignore")  # of PyTorch and the frameworks
def test_spikes_are_the_frameworks(
    framework: str, kind: str, seed: int, networks: Callable[[str], Any], tmp_path: Path
) -> None:
    built = networks(framework).build(framework, kind, seed)
    nir.write(tmp_path / "network.nir", built.graph)
    network = read_nir(tmp_path / "network.nir")
    profile = choose_profile(built.dt, framework=framework, **built.options)
    sample = (np.random.default_rng(seed).random((TICKS, *built.shape)) < 0.3).astype(np.float64)
    original = record(framework, built.module, network, sample)
    interpreter = FloatInterpreter(put_right(network, profile)[0], profile)
    height, width, channels = network.populations[0].shape
    frames = np.moveaxis(sample.reshape(TICKS, channels, height, width), 1, -1)
    ours = [interpreter.step(frame[None]) for frame in frames]
    equal = steps = 0
    for number, population in enumerate(network.populations):
        if population.neuron is not None:
            spikes = np.stack([sent[number][0] for sent in ours])
            theirs = original[population.name]
            assert 0.003 < theirs.mean() < 5, population.name
            equal += int((spikes == theirs).sum())
            steps += spikes.size
    assert equal >= 0.999 * steps
