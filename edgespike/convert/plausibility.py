"""What looks wrong about a file's numbers under a profile, and what would explain it.

Time constants and gains mean something only together with dt, and exporters write them in several units.
Nothing is changed here: each finding is one line, with the option that would fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgespike.importers.network import Convolution, Dense
from edgespike.importers.spiking_network import FloatNetwork, FloatNeuron, FloatPopulation, SumPool

if TYPE_CHECKING:
    from edgespike.convert.discretise import Dynamics, Profile

__all__ = ["likely_cause", "never_spikes", "plausibility"]

Array = NDArray[np.float64]
LONG = 1000  # ticks in a time constant
GAINS = (1e-4, 2.0)  # of a tick; no framework's own neurons have others


def likely_cause(seconds: float, dt: float) -> str:
    """Which exporter writes such a time constant, and the options that go with it."""
    if seconds >= 1:
        return "Sinabs writes it in ticks (--from sinabs), SpikingJelly in units of its dt, such as --dt 1s"
    if seconds < dt and seconds < 1e-4:
        return "Norse writes 10 ms as 1e-5 (--from norse --dt 1ms)"
    if seconds <= dt and seconds < 1e-2:
        return "snnTorch and SpikingJelly export for ticks of 100 us unless told otherwise (--dt 100us)"
    return "choose the dt of the training"


def plausibility(population: FloatPopulation, profile: Profile) -> list[str]:
    """What looks wrong about a population under this profile, one line each."""
    neuron = population.neuron
    if neuron is None or not neuron.remembers:
        return []
    found = odd_times(neuron, profile) or odd_gains(neuron, profile)  # of odd times come odd gains
    if profile.current == "old" and neuron.tau_syn is not None and population.bias.any():
        found.append(
            "its bias counts from the first tick, one before that of --current old in Norse 0.0.7; "
            "the difference dies out with tau_syn"
        )
    return [f"node {population.name!r}: {line}" for line in found]


def odd_times(neuron: FloatNeuron, profile: Profile) -> list[str]:
    """Time constants that a tick leaves nothing of, or next to everything."""
    found = []
    dt = profile.dt
    times = {"tau": neuron.tau, "tau_syn": neuron.tau_syn, "adaptation_tau": neuron.adaptation_tau}
    for name, seconds in times.items():
        if seconds is None:
            continue
        least, greatest = float(seconds.min()), float(seconds.max())
        if dt > least * (1 + 1e-9):
            found.append(f"dt {dt:g} s exceeds {name} {least:g} s; {likely_cause(least, dt)}")
        elif greatest >= 1 and greatest > LONG * dt:
            found.append(f"{name} {greatest:g} s is {greatest / dt:.3g} ticks; {likely_cause(greatest, dt)}")
    return found


def odd_gains(neuron: FloatNeuron, profile: Profile) -> list[str]:
    """What an input of 1 adds in a tick: to a membrane, and to a synaptic current."""
    if profile.gain == "none":
        return []
    dt = profile.dt
    if neuron.tau is None:
        if np.allclose(neuron.r * dt, 1, rtol=0.01):
            return []
        return [
            f"r dt is {float((neuron.r * dt).max()):.3g}; frameworks that count in ticks mean 1: "
            f"if so, use gain none{fitting(1 / neuron.r)}"
        ]
    found = []
    factors = [("r dt/tau", neuron.r, neuron.tau)]
    if neuron.tau_syn is not None and neuron.w_in is not None:
        factors.append(("w_in dt/tau_syn", neuron.w_in, neuron.tau_syn))
    for name, factor, seconds in factors:
        gain = factor * (dt / seconds if profile.gain == "euler" else -np.expm1(-dt / seconds))
        low, high = float(gain.min()), float(gain.max())
        if low < GAINS[0] or high > GAINS[1]:
            odd = high if high > GAINS[1] else low
            found.append(f"{name} is {odd:.3g}, where frameworks have up to 1{fitting(seconds / factor)}")
    return found


def fitting(seconds: Array) -> str:
    """The dt that would make a gain 1, if it is the same for all neurons and could be one."""
    dt = float(seconds.mean())
    if not 1e-6 <= dt <= 1 or not np.allclose(seconds, dt, rtol=0.01):
        return ""
    return f"; with --dt {1e6 * dt:.4g}us it would be 1"


def never_spikes(network: FloatNetwork, number: int, dynamics: list[Dynamics | None]) -> str | None:
    """Tells if neurons could not spike though all that leads to them spiked in every tick."""
    own, population = dynamics[number], network.populations[number]
    if own is None or not own.fires or own.decay is None or (own.decay >= 1).any():
        return None
    arriving = np.maximum(own.current_drive, 0.0) + np.zeros(population.shape)
    for projection in network.incoming(number):
        source = dynamics[projection.source]
        if source is None or isinstance(projection.map, SumPool):
            return None  # as much as the input brings
        weight = np.maximum(projection.map.weight, 0.0)
        if isinstance(projection.map, Dense):
            summed = weight.sum(axis=0).reshape(population.shape)
        elif isinstance(projection.map, Convolution):
            summed = weight.reshape(projection.map.groups, -1, weight.shape[-1]).sum(axis=1).reshape(-1)
        else:
            summed = weight
        arriving = arriving + summed * source.firing.max_spikes
    if own.current_decay is not None:
        arriving = arriving / np.maximum(1 - own.current_decay, 1e-9)
    limit = np.maximum((own.drive + arriving) / (1 - own.decay), own.initial)
    if (limit >= own.threshold).any():
        return None
    share = float((limit / own.threshold).max())
    return (
        f"node {population.name!r} can never spike: with every spike that can reach it, its membranes "
        f"come to {max(share, 0):.2g} of their thresholds; check dt and gain"
    )
