"""The float spiking network that a NIR file holds: populations and linear maps.

Arrays are float64 and (height, width, channels), as in the spiking graph.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgespike.graph import Shape
from edgespike.importers.network import Convolution, Dense, Scale

__all__ = [
    "FloatNetwork",
    "FloatNeuron",
    "FloatPopulation",
    "FloatProjection",
    "Map",
    "SumPool",
    "scaled",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FloatNeuron:
    """A population of neurons as the file has it: float64 arrays (height, width, channels).

    I, IF: ``v' = r I``. LI, LIF: ``tau v' = (v_leak - v) + r I``, tau in seconds. The input is
    the current I, or for CubaLI and CubaLIF ``tau_syn I' = -I + w_in S``. IF, LIF and CubaLIF
    spike at ``v_threshold`` and go to ``v_reset``; the others (``fires`` False) are readouts.
    ``tau`` is None for I and IF, whose ``v_leak`` is 0; ``tau_syn`` and ``w_in`` where there is
    no synaptic current. A Threshold (``remembers`` False) spikes in every tick whose input
    exceeds ``v_threshold``, and keeps nothing. With ``adaptation_tau`` (seconds) each spike raises
    the threshold by ``adaptation_increment``, and what was added decays: ``tau a' = -a``.
    """

    tau: Array | None
    r: Array
    v_leak: Array
    v_threshold: Array
    v_reset: Array
    tau_syn: Array | None = None
    w_in: Array | None = None
    fires: bool = True
    remembers: bool = True
    adaptation_tau: Array | None = None
    adaptation_increment: Array | None = None


@dataclass(frozen=True)
class FloatPopulation:
    """Neurons of one kind. ``neuron`` is None for the input and for a sum pool.

    ``bias``: constant input current, float64 array of ``shape``.
    """

    name: str
    shape: Shape
    neuron: FloatNeuron | None
    bias: Array


@dataclass(frozen=True)
class SumPool:
    """Adds up a window, channel by channel; padding (top, left)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


Map = Dense | Convolution | Scale | SumPool


@dataclass(frozen=True)
class FloatProjection:
    """A linear map from one population to another, both by number.

    ``delay`` in seconds. What ``returns`` closes a loop, and takes a tick in any case.
    """

    source: int
    target: int
    map: Map
    delay: float = 0.0
    returns: bool = False


@dataclass(frozen=True)
class FloatNetwork:
    """Populations in topological order: the first is the input, the last the output.

    ``input_shape`` and ``output_shape`` are NIR's, channels first. Sum pools are
    populations of their own, so that each sends one event for all that reaches it.
    """

    populations: tuple[FloatPopulation, ...]
    projections: tuple[FloatProjection, ...]
    input_name: str
    input_shape: tuple[int, ...]
    output_name: str
    output_shape: tuple[int, ...]

    def incoming(self, number: int) -> list[FloatProjection]:
        """Projections that end in a population."""
        return [projection for projection in self.projections if projection.target == number]


def scaled(term: Map, scale: Array) -> Map:
    """A map with a factor for each target channel."""
    if isinstance(term, Convolution):
        channels, *kernel, outputs = term.weight.shape
        factor = scale.reshape(term.groups, 1, 1, 1, outputs)
        grouped = term.weight.reshape(term.groups, channels // term.groups, *kernel, outputs) * factor
        return replace(term, weight=grouped.reshape(term.weight.shape))
    assert not isinstance(term, SumPool)  # leads to a population of its own
    return replace(term, weight=term.weight * scale)
