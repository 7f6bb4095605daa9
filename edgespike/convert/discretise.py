"""From NIR's continuous neurons to neurons that step, and a float interpreter of these.

NIR says ``tau v' = (v_leak - v) + r I``, a threshold and a reset potential. How long a
tick is, whether v = threshold fires, what a spike does to v and how the equation is
stepped is each framework's own. A `Profile` says it; nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import ModelError, UsageError
from edgespike.graph import Shape
from edgespike.importers.network import Convolution, Dense, Scale
from edgespike.importers.nir import FloatNetwork, FloatPopulation, Map
from edgespike.linear_maps import convolve, sum_pool

__all__ = ["Dynamics", "FloatInterpreter", "Profile", "choose_profile", "discretise", "plausibility"]

Array = NDArray[np.float64]

CHOICES = {
    "reset": {
        "zero": "a spike sets v to 0",
        "value": "a spike sets v to the file's v_reset",
        "subtract": "a spike subtracts the threshold",
        "none": "a spike leaves v alone",
    },
    "compare": {"gt": "fires when v > threshold", "ge": "fires when v >= threshold"},
    "decay": {"exact": "v decays by exp(-dt/tau) in a tick", "euler": "v decays by 1 - dt/tau"},
    "gain": {
        "exact": "input times r (1 - exp(-dt/tau)); IF: r dt",
        "euler": "input times r dt/tau; IF: r dt",
        "none": "input times r",
    },
}


@dataclass(frozen=True)
class Profile:
    """How a network's neurons step. The choices are those of ``CHOICES``; ``dt`` in seconds."""

    dt: float
    reset: str
    compare: str
    decay: str
    gain: str

    @property
    def tick_us(self) -> int:
        """``dt`` in whole microseconds."""
        return round(self.dt * 1e6)


def choose_profile(
    dt: float | None, reset: str | None, compare: str | None, decay: str = "exact", gain: str | None = None
) -> Profile:
    """Check a profile. ``gain`` None: stepped as the decay is.

    Raises:
        UsageError: something that NIR leaves open was not decided, or decided wrongly.
    """
    missing = [name for name, value in (("dt", dt), ("reset", reset), ("compare", compare)) if value is None]
    if missing:
        explained = ["dt: seconds in a tick of the training"] if "dt" in missing else []
        explained += [f"{name}: {_explain(name)}" for name in missing if name != "dt"]
        raise UsageError(
            f"a NIR file does not say {', '.join(missing)}: choose what the network was trained with",
            "; ".join(explained),
            "profile-missing",
        )
    assert dt is not None and reset is not None and compare is not None
    profile = Profile(float(dt), reset, compare, decay, gain or decay)
    for name in CHOICES:
        if getattr(profile, name) not in CHOICES[name]:
            raise UsageError(f"there is no {name} {getattr(profile, name)!r}", _explain(name), "profile")
    ticks = profile.dt * 1e6
    if not 1 <= ticks <= 1 << 31 or abs(ticks - round(ticks)) > 1e-6 * ticks:
        raise UsageError(
            f"dt is {profile.dt:g} seconds, but a tick is a whole number of microseconds",
            "choose a dt of 1e-6 seconds or a multiple of it",
            "profile",
        )
    return replace(profile, dt=round(ticks) / 1e6)


def _explain(name: str) -> str:
    return ", ".join(f"{choice} ({meaning})" for choice, meaning in CHOICES[name].items())


# ---- one tick ---------------------------------------------------------------


@dataclass(frozen=True)
class Dynamics:
    """One tick of a population, membranes divided by ``gain`` so that input counts once.

    ``v := decay * v + drive + input``; compare with ``threshold``; reset. All float64
    arrays (height, width, channels). ``decay`` is None where nothing decays.
    """

    decay: Array | None
    drive: Array
    threshold: Array
    reset_value: Array
    gain: Array


def discretise(population: FloatPopulation, profile: Profile) -> Dynamics | None:
    """The tick of an IF or LIF population; None for an input or a sum pool.

    Raises:
        ModelError: the profile and the file's parameters contradict each other.
    """
    neuron = population.neuron
    if neuron is None:
        return None
    step = np.full(population.shape, profile.dt) if neuron.tau is None else profile.dt / neuron.tau
    gain = neuron.r * (1.0 if profile.gain == "none" else step)
    decay: Array | None = None
    if neuron.tau is not None:
        decay = np.asarray(np.exp(-step) if profile.decay == "exact" else 1 - step)
        if profile.gain == "exact":
            gain = neuron.r * -np.expm1(-step)
        if decay.min() < 0:
            raise ModelError(
                f"node {population.name!r}: tau is {neuron.tau.min():g} s, less than dt {profile.dt:g} s: "
                "an Euler step would overshoot",
                "check dt; Norse writes a tau of 10 ms as 1e-5",
                "profile-tau",
            )
    if profile.reset in ("zero", "subtract") and neuron.v_reset.any():
        raise ModelError(
            f"node {population.name!r}: reset {profile.reset!r} would ignore its v_reset, which is not 0",
            "choose reset value",
            "profile-reset",
        )
    pull = 0.0 if decay is None else (1 - decay) * neuron.v_leak
    return Dynamics(
        decay=decay,
        drive=population.bias + pull / gain,
        threshold=neuron.v_threshold / gain,
        reset_value=neuron.v_reset / gain,
        gain=gain,
    )


def plausibility(population: FloatPopulation, profile: Profile) -> list[str]:
    """What looks wrong about a population's time constants under this profile, one line each."""
    neuron = population.neuron
    if neuron is None:
        return []
    name, dt = population.name, profile.dt
    if neuron.tau is None:
        gain = neuron.r * dt
        if profile.gain != "none" and not np.allclose(gain, 1, rtol=0.01):
            return [
                f"node {name!r}: r dt is {gain.max():.3g}; frameworks that count in ticks mean 1: "
                "if so, use gain none"
            ]
        return []
    if dt > neuron.tau.min():
        return [f"node {name!r}: dt {dt:g} s exceeds tau {neuron.tau.min():g} s; Norse writes 10 ms as 1e-5"]
    if neuron.tau.max() > 1000 * dt and neuron.tau.max() >= 1:
        return [
            f"node {name!r}: tau {neuron.tau.max():g} s is {neuron.tau.max() / dt:.3g} ticks; "
            "Sinabs writes tau in ticks"
        ]
    return []


# ---- the float interpreter --------------------------------------------------


class FloatInterpreter:
    """Runs the discretised network in float64: what quantization is measured against.

    Samples run side by side; every array has their axis first.
    """

    def __init__(self, network: FloatNetwork, profile: Profile, samples: int = 1) -> None:
        self.network = network
        self.profile = profile
        self.dynamics = [discretise(population, profile) for population in network.populations]
        self.membranes = [np.zeros((samples, *p.shape)) for p in network.populations]

    def step(self, values: Array) -> list[Array]:
        """One tick.

        Args:
            values: input, float (samples, height, width, channels).

        Returns:
            What each population sent, in order: the input itself, sums, or spikes (0 or 1).
        """
        sent = [np.asarray(values, np.float64)]
        for number, dynamics in enumerate(self.dynamics[1:], start=1):
            shape = self.network.populations[number].shape
            arriving = np.zeros((len(values), *shape))
            for projection in self.network.projections:
                if projection.target == number:
                    arriving += apply_map(projection.map, sent[projection.source], shape)
            sent.append(arriving if dynamics is None else self._spike(number, dynamics, arriving))
        return sent

    def _spike(self, number: int, dynamics: Dynamics, arriving: Array) -> Array:
        membrane = self.membranes[number]
        membrane = (membrane if dynamics.decay is None else membrane * dynamics.decay) + dynamics.drive
        membrane = membrane + arriving
        above = membrane - dynamics.threshold
        fires = above > 0 if self.profile.compare == "gt" else above >= 0
        if self.profile.reset == "subtract":
            membrane = np.where(fires, above, membrane)
        elif self.profile.reset != "none":
            membrane = np.where(fires, dynamics.reset_value, membrane)
        self.membranes[number] = membrane
        return fires.astype(np.float64)


def apply_map(linear: Map, values: Array, target: Shape) -> Array:
    """What source values (samples, height, width, channels) add to the targets."""
    if isinstance(linear, Scale):
        return values * linear.weight
    if isinstance(linear, Dense):
        product: Array = values.reshape(len(values), -1) @ linear.weight
        return product.reshape(-1, *target)
    space = target[:2]
    if isinstance(linear, Convolution):
        window = (linear.stride, linear.dilation, linear.padding)
        return convolve(values, linear.weight, space, *window, linear.groups)
    return sum_pool(values, space, linear.kernel, linear.stride, (1, 1), linear.padding)
