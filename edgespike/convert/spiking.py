"""A NIR file to an integer spiking graph, with a report of what it costs and loses."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike import __version__
from edgespike.convert.discretise import Profile
from edgespike.convert.spiking_units import (
    DECAY_ONE,
    MOST_EVENTS,
    QuantizedPopulation,
    Sent,
    quantize_network,
)
from edgespike.graph import Graph, InputSpec, IntegrateAndFire, Population, SpikeInput
from edgespike.importers.nir import FloatNetwork, FloatPool, read_nir

__all__ = ["convert_nir"]

Array = NDArray[np.float64]
REAL_LEVELS = 255  # a real-valued input has this many steps from 0 to its maximum


# ---- what goes in -----------------------------------------------------------


@dataclass(frozen=True)
class InputCoding:
    """How real input values become event values: ``round(x / scale)``, one event if not 0."""

    scale: float
    neuron: SpikeInput

    @property
    def sent(self) -> Sent:
        """What the input's events are."""
        return Sent(self.scale, self.neuron.budget, self.neuron.budget, self.neuron.value_min < 0)


def code_input(network: FloatNetwork, samples: Array | None) -> InputCoding:
    """Whole numbers go in as they are; real values in steps of a 255th of the greatest.

    The budget of one tick is four times what the samples need, and no less than one
    event from every input neuron, or 1024.
    """
    scale, low, most = 1.0, 0, 0
    if samples is not None and samples.size:
        peak = float(np.abs(samples).max())
        if peak and (np.any(samples != np.round(samples)) or peak > MOST_EVENTS):
            scale = peak / REAL_LEVELS
        levels = np.floor(samples / scale + 0.5)
        low = -MOST_EVENTS if levels.min() < 0 else 0
        most = int(np.abs(levels).reshape(*levels.shape[:2], -1).sum(axis=2).max())
    budget = max(4 * most, math.prod(network.populations[0].shape), 1024)
    if any(isinstance(p.map, FloatPool) and p.source == 0 for p in network.projections):
        budget = min(budget, MOST_EVENTS)  # a pool sends the sum of its window as one event
    return InputCoding(scale, SpikeInput(low, min(budget, MOST_EVENTS), budget))


# ---- the graph --------------------------------------------------------------


def assemble(
    network: FloatNetwork,
    profile: Profile,
    coding: InputCoding,
    quantized: list[QuantizedPopulation],
    window_ticks: int,
) -> Graph:
    """The integer graph, with the metadata that hosts need (docs/metadata.md)."""
    first = network.populations[0]
    height, width, channels = first.shape
    populations = (
        Population(first.name, first.shape, coding.neuron),
        *(q.population for q in quantized),
    )
    metadata: dict[str, Any] = {
        "producer": f"edgespike {__version__}",
        "input": {
            "name": network.input_name,
            "shape": list(network.input_shape),
            "grid": [channels, height, width],
            "axes": [1, 2, 0],
            "multiply": 1.0,
            "add": 0.0,
            "scale": coding.scale,
            "time_axis": True,
        },
        "output": {
            "name": network.output_name,
            "shape": list(network.output_shape),
            "scale": 1.0,
            "transform": "none",
        },
        "populations": [population.name for population in populations],
        "classes": None,
        "profile": {
            "dt": profile.dt,
            "reset": profile.reset,
            "compare": profile.compare,
            "decay": profile.decay,
            "gain": profile.gain,
            "initial": "zero",
            "max_spikes": 1,
            "populations": {q.population.name: _describe(q) for q in quantized},
        },
    }
    projections = [projection for q in quantized for projection in q.projections]
    return Graph(
        populations=populations,
        projections=tuple(sorted(projections, key=lambda p: (p.source, p.target))),
        input=InputSpec(profile.tick_us, window_ticks),
        metadata=metadata,
    )


def _describe(quantized: QuantizedPopulation) -> dict[str, Any]:
    """A population's numbers for `inspect`: [least, greatest] where neurons differ."""
    neuron = quantized.population.neuron
    assert isinstance(neuron, IntegrateAndFire)

    def span(values: NDArray[Any]) -> Any:
        low, high = values.min().item(), values.max().item()
        return low if low == high else [low, high]

    return {
        "unit": span(quantized.unit),
        "threshold": span(neuron.threshold),
        "decay": span(neuron.decay / DECAY_ONE),
        "rounding": neuron.rounding.name.lower(),
        "drive": span(neuron.drive),
        "reset_value": span(neuron.reset_value),
        "max_spikes": neuron.max_spikes,
        "shift": max(projection.shift for projection in quantized.projections),
        "input_bound": quantized.bound,
        "membrane_max": neuron.membrane_max,
    }
