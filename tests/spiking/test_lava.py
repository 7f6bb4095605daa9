"""A convolutional block that ran on Lava, in integers: every current and every spike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgespike import _core
from edgespike.graph import (
    CORE_EVENT,
    Compare,
    Convolution,
    Graph,
    InputSpec,
    IntegrateAndFire,
    Population,
    Projection,
    Readout,
    Reset,
    Rounding,
    SpikeInput,
    SynapticCurrent,
)
from edgespike.modelfile import encode_model
from edgespike.reference import ReferenceNetwork

SHAPE = (6, 6, 24)
STATE_BITS = 6  # Lava shifts weights, bias and threshold by this


def block(folder: Path, meter: bool) -> Graph:
    """The block; as a meter its membranes are the currents and it never fires.

    Lava's current with du = 4095 keeps (4096 - 4095 - 1) / 4096: nothing.
    """
    kernel = np.load(folder / "layer1_kernel.npy")  # (out, x, y, in), convolved
    weight = kernel.transpose(3, 2, 1, 0)[:, ::-1, ::-1].astype(np.int8)
    bias = np.load(folder / "layer1_bias.npy").astype(np.int32) << STATE_BITS
    every = np.ones(SHAPE[2], np.int32)
    neuron = IntegrateAndFire(
        threshold=every * (25 << STATE_BITS),
        decay=every * (0 if meter else 3072 << 18),  # dv = 1024 of 4096
        drive=0 * bias if meter else bias,
        reset_value=0 * every,
        compare=Compare.GREATER,
        reset=Reset.TO_VALUE,
        rounding=Rounding.TOWARD_ZERO,
        max_spikes=0 if meter else 1,
        membrane_min=-(1 << 23),
        membrane_max=1 << 23,
        current=SynapticCurrent(0 * every, 0 * every, Rounding.TOWARD_ZERO),
        readout=Readout.MEMBRANE if meter else Readout.SPIKES,
    )
    populations = (
        Population("input", (16, 16, 3), SpikeInput(0, 1, 768)),
        Population("layer1", SHAPE, neuron, np.zeros(SHAPE, np.int32), None, 32),
    )
    projection = Projection(0, 1, Convolution(np.ascontiguousarray(weight), (2, 2)), STATE_BITS)
    return Graph(populations, (projection,), InputSpec())


def outputs(network: Any, spikes: NDArray[Any]) -> NDArray[np.int32]:
    """What the network tells after each tick; spikes are (channels, x, y, ticks)."""
    told = []
    for tick in range(spikes.shape[3]):
        channel, y, x = np.nonzero(spikes[..., tick])
        events = np.zeros(len(x), CORE_EVENT)
        events["tick"], events["x"], events["y"], events["channel"], events["value"] = tick, x, y, channel, 1
        network.push(events)
        network.advance(tick + 1)
        told.append(network.output().reshape(SHAPE).transpose(2, 0, 1))
    return np.stack(told, axis=-1)


@pytest.mark.parametrize("backend", ["reference", "core"])
def test_all_currents_and_spikes_are_lavas(data_folder: Path, backend: str) -> None:
    folder = data_folder / "traces" / "lava_tinynet"

    def run(meter: bool) -> NDArray[np.int32]:
        graph = block(folder, meter)
        network = (
            ReferenceNetwork(graph)
            if backend == "reference"
            else _core.Network(_core.Model(encode_model(graph)))
        )
        # Lava's first step is silent: input, bias and spikes begin with the second
        return outputs(network, np.load(folder / "input.npy")[0][..., 1:])

    currents, spikes = np.load(folder / "current.npy")[0], np.load(folder / "layer1.npy")[0]
    assert currents.size == 13824
    assert not currents[..., 0].any() and not spikes[..., 0].any()
    counts = run(meter=False)
    assert np.array_equal(np.diff(counts, axis=-1, prepend=0), spikes[..., 1:])
    assert np.array_equal(run(meter=True), currents[..., 1:].astype(int) << STATE_BITS)
