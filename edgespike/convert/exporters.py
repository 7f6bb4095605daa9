"""Puts right what a framework's own exporter writes in other units than NIR's.

NIR counts time in seconds and multiplies a neuron's input by its r. Some exporters write
time in ticks, or leave out a factor that their neurons have. Which of these a file has can be
seen in its numbers, where they would make no sense as NIR; only those are changed, only
under the profile of that framework, and every change is told. docs/nir.md lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edgespike.convert.discretise import Profile
from edgespike.importers.spiking_network import FloatNetwork, FloatNeuron

__all__ = ["put_right"]

Change = tuple[FloatNeuron, list[str]]


def put_right(network: FloatNetwork, profile: Profile) -> tuple[FloatNetwork, list[str]]:
    """The network as the framework had it.

    Args:
        network: as the file has it.
        profile: how the neurons step; its framework is the one whose exporter wrote the file.

    Returns:
        The network, and a line on every population that was changed.
    """
    correct = CORRECTIONS.get(profile.framework or "")
    if correct is None:
        return network, []
    populations, notes = [], []
    for population in network.populations:
        neuron = population.neuron
        if neuron is not None:
            neuron, changes = correct(neuron, profile)
            if changes:
                notes.append(
                    f"node {population.name!r}: {', '.join(changes)}, as {profile.framework} exports it"
                )
        populations.append(replace(population, neuron=neuron))
    return replace(network, populations=tuple(populations)), notes


def _norse(neuron: FloatNeuron, profile: Profile) -> Change:
    """Norse 1.1.0 writes dt / (1 / tau) for tau, r = 1 for an IF and no w_in."""
    dt = profile.dt
    if neuron.tau is None:
        return _counts_in_ticks(neuron, profile)
    times = [neuron.tau, *([] if neuron.tau_syn is None else [neuron.tau_syn])]
    if any((time >= dt).any() for time in times):
        return neuron, []
    changes = ["tau is in units of dt seconds"]
    neuron = replace(neuron, tau=times[0] / dt)
    if neuron.tau_syn is not None and neuron.w_in is not None:
        tau_syn = neuron.tau_syn / dt
        changes.append("w_in dt/tau_syn is 1")
        neuron = replace(neuron, tau_syn=tau_syn, w_in=neuron.w_in * tau_syn / dt)
    return neuron, changes


def _sinabs(neuron: FloatNeuron, profile: Profile) -> Change:
    """Sinabs 3.1.3 writes tau in ticks, and r = 1 whatever the gain.

    That is 1 for an IF and, unless norm_input was set, for an ExpLeak; 1 - exp(-dt/tau) for a LIF,
    unless norm_input was unset: then the user has to ask for gain none.
    """
    if neuron.tau is None:
        return _counts_in_ticks(neuron, profile)
    if (neuron.tau < 1).any():
        return neuron, []
    tau = neuron.tau * profile.dt
    changes = ["tau is in ticks"]
    neuron = replace(neuron, tau=tau)
    if profile.gain == "euler":
        gain, meant = (-np.expm1(-profile.dt / tau), "1 - exp(-dt/tau)") if neuron.fires else (1.0, "1")
        changes.append(f"r dt/tau is {meant}")
        neuron = replace(neuron, r=neuron.r * gain * tau / profile.dt)
    return neuron, changes


def _rockpool(neuron: FloatNeuron, profile: Profile) -> Change:
    """Rockpool 3.1.0 writes r = tau exp(-dt/tau) / dt for a gain of 1, and no w_in."""
    dt = profile.dt
    if neuron.tau is None or not np.allclose(neuron.r, neuron.tau * np.exp(-dt / neuron.tau) / dt, rtol=1e-4):
        return neuron, []
    neuron, changes = replace(neuron, r=neuron.tau / dt), ["r dt/tau is 1"]
    if neuron.tau_syn is not None and neuron.w_in is not None and (neuron.w_in == 1).all():
        changes.append("w_in dt/tau_syn is exp(-dt/tau_syn)")
        neuron = replace(neuron, w_in=neuron.tau_syn * np.exp(-dt / neuron.tau_syn) / dt)
    return neuron, changes


def _counts_in_ticks(neuron: FloatNeuron, profile: Profile) -> Change:
    if (neuron.r != 1).any() or profile.gain == "none":
        return neuron, []
    return replace(neuron, r=neuron.r / profile.dt), ["r dt is 1"]


CORRECTIONS: dict[str, Callable[[FloatNeuron, Profile], Change]] = {
    "norse": _norse,
    "sinabs": _sinabs,
    "rockpool": _rockpool,
}
