"""From NIR's continuous neurons to neurons that step, and a float interpreter of these.

NIR says ``tau v' = (v_leak - v) + r I``, a threshold and a reset potential. How long a
tick is, whether v = threshold fires, what a spike does to v and how the equation is
stepped is each framework's own. A `Profile` says it; nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from edgespike.convert.plausibility import likely_cause
from edgespike.errors import ModelError, UsageError
from edgespike.graph import Shape
from edgespike.importers.network import Convolution, Dense, Scale
from edgespike.importers.spiking_network import (
    FloatNetwork,
    FloatNeuron,
    FloatPopulation,
    FloatProjection,
    Map,
    SumPool,
)
from edgespike.linear_maps import convolve, sum_pool

__all__ = [
    "FRAMEWORKS",
    "Dynamics",
    "FloatInterpreter",
    "Profile",
    "ProfileOptions",
    "choose_profile",
    "discretise",
    "readout_of",
]

Array = NDArray[np.float64]
MOST_SPIKES = 32767  # in one tick: an event's value is an int16

CHOICES = {
    "reset": {
        "zero": "a spike sets v to 0",
        "value": "a spike sets v to the file's v_reset",
        "subtract": "a spike subtracts the threshold",
        "none": "a spike leaves v alone",
        "zero-delayed": "a spike sets v to 0 in the next tick, after its input",
        "subtract-delayed": "a spike subtracts the threshold in the next tick, after the decay",
    },
    "compare": {"gt": "fires when v > threshold", "ge": "fires when v >= threshold"},
    "decay": {"exact": "v decays by exp(-dt/tau) in a tick", "euler": "v decays by 1 - dt/tau"},
    "gain": {
        "exact": "input times r (1 - exp(-dt/tau)); IF: r dt",
        "euler": "input times r dt/tau; IF: r dt",
        "none": "input times r",
    },
    "current": {
        "new": "v takes in the synaptic current that this tick's input has changed",
        "old": "v takes in the synaptic current of the tick before",
    },
    "initial": {
        "zero": "v begins at 0",
        "leak": "v begins at v_leak",
        "reset": "v begins at v_reset",
    },
    "readout": {
        "spikes": "scores are the output's numbers of spikes",
        "first": "the earlier its first spike, the higher a neuron's score",
        "membrane": "scores are its membranes at the end",
        "greatest": "scores are its greatest membranes after a tick",
    },
}

# What each framework's own neurons do where NIR leaves it open; docs/nir.md has the versions. A
# spike of one tick is at most one, unless max_spikes says more (Sinabs and Rockpool set no limit).
# In Lava every connection sends on in the tick after.
FRAMEWORKS: dict[str, dict[str, Any]] = {
    "snntorch": {"reset": "zero", "compare": "gt", "decay": "euler", "gain": "euler"},
    "norse": {"reset": "value", "compare": "gt", "decay": "euler", "gain": "euler", "initial": "leak"},
    "sinabs": {"reset": "subtract", "compare": "ge", "decay": "exact", "gain": "euler", "max_spikes": 31},
    "rockpool": {"reset": "subtract", "compare": "ge", "decay": "exact", "gain": "euler", "max_spikes": 31},
    "spikingjelly": {
        **{"reset": "value", "compare": "ge", "decay": "euler", "gain": "euler", "initial": "reset"}
    },
    "lava": {"reset": "zero", "compare": "gt", "decay": "euler", "gain": "euler", "map_ticks": 1},
    "exact": {"reset": "value", "compare": "gt", "decay": "exact", "gain": "exact"},
}


@dataclass(frozen=True)
class Firing:
    """When a neuron spikes, and what that does to it. The choices are those of ``CHOICES``."""

    compare: str
    reset: str
    max_spikes: int

    @property
    def subtracts(self) -> bool:
        """Whether a spike takes the threshold away."""
        return self.reset.startswith("subtract")

    @property
    def delayed(self) -> bool:
        """Whether a spike resets in the next tick."""
        return self.reset.endswith("delayed")


@dataclass(frozen=True)
class Profile:
    """How a network's neurons step. The choices are those of ``CHOICES``; ``dt`` in seconds."""

    dt: float
    reset: str
    compare: str
    decay: str
    gain: str
    current: str = "new"
    readout: str | None = None
    max_spikes: int = 1
    map_ticks: int = 0
    initial: str = "zero"
    framework: str | None = None

    @property
    def firing(self) -> Firing:
        """What of it is about spikes."""
        return Firing(self.compare, self.reset, self.max_spikes)

    def ticks(self, projection: FloatProjection, target: FloatPopulation) -> int:
        """A projection's delay in ticks.

        Raises:
            ModelError: it is no whole number of ticks, or more than 255.
        """
        exact = projection.delay / self.dt
        ticks = round(exact)
        if abs(exact - ticks) > 1e-3 or ticks > 253:
            raise ModelError(
                f"the delay of {projection.delay:g} s into node {target.name!r} is {exact:g} ticks",
                "choose a dt of which every delay is a multiple, at most 253 times",
                "profile-delay",
            )
        if not (isinstance(projection.map, SumPool) and projection.map.kernel == (1, 1)):  # a mere copy
            ticks += self.map_ticks
        if projection.returns or projection.source >= projection.target:
            ticks = max(ticks, 1)
        synaptic = target.neuron is not None and target.neuron.tau_syn is not None
        return ticks + (1 if synaptic and self.current == "old" else 0)

    @property
    def tick_us(self) -> int:
        """``dt`` in whole microseconds."""
        return round(self.dt * 1e6)


class ProfileOptions(TypedDict, total=False):
    """What a user may say of what NIR leaves open; the choices are those of ``CHOICES``.

    framework: a name in ``FRAMEWORKS``: what its neurons do, where nothing else is given.
    reset: what a spike does to v.
    compare: when a membrane fires.
    decay: how membranes and currents decay. Without a framework exact.
    gain: of the input. Stepped as the decay is, unless a framework says otherwise.
    current: what a membrane takes in of a synaptic current. Without a framework new.
    initial: where membranes begin. Without a framework zero.
    max_spikes: the most spikes of a neuron in a tick, 1 unless reset is ``"subtract"``.
    readout: what the scores are: spikes, or membranes of an output that never spikes.
    """

    framework: str | None
    reset: str | None
    compare: str | None
    decay: str | None
    gain: str | None
    current: str | None
    initial: str | None
    max_spikes: int | None
    readout: str | None


def choose_profile(dt: float | None = None, **options: Unpack[ProfileOptions]) -> Profile:
    """Check a profile: that of a framework, with what is given in its place.

    Args:
        dt: seconds in a tick, a whole number of microseconds.
        options: the rest.

    Raises:
        UsageError: something that NIR leaves open was not decided, or decided wrongly.
    """
    framework, decay = options.get("framework"), options.get("decay")
    if framework is not None and framework not in FRAMEWORKS:
        raise UsageError(
            f"there is no profile {framework!r}", f"choose one of {', '.join(FRAMEWORKS)}", "profile"
        )
    known = FRAMEWORKS.get(framework or "", {})
    reset = options.get("reset") or known.get("reset")
    compare = options.get("compare") or known.get("compare")
    gain = options.get("gain") or (known.get("gain") if decay is None else decay)
    decay = decay or known.get("decay", "exact")
    current = options.get("current") or known.get("current", "new")
    readout = options.get("readout")
    most = options.get("max_spikes")
    if most is None:
        most = known.get("max_spikes", 1) if reset == "subtract" else 1
    missing = [name for name, value in (("dt", dt), ("reset", reset), ("compare", compare)) if value is None]
    if missing:
        explained = ["dt: seconds in a tick of the training"] if "dt" in missing else []
        explained += [f"{name}: {_explain(name)}" for name in missing if name != "dt"]
        raise UsageError(
            f"a NIR file does not say {', '.join(missing)}: choose what the network was trained with",
            "; ".join([*explained, *([] if framework else [f"or from: {', '.join(FRAMEWORKS)}"])]),
            "profile-missing",
        )
    assert dt is not None and reset is not None and compare is not None
    assert decay is not None
    profile = Profile(
        float(dt),
        reset,
        compare,
        decay,
        gain or decay,
        current,
        readout,
        most,
        known.get("map_ticks", 0),
        options.get("initial") or known.get("initial", "zero"),
        framework,
    )
    for name in CHOICES:
        if getattr(profile, name) not in (*CHOICES[name], *([None] if name == "readout" else [])):
            raise UsageError(f"there is no {name} {getattr(profile, name)!r}", _explain(name), "profile")
    if not 1 <= most <= MOST_SPIKES or (most > 1 and not profile.firing.subtracts):
        raise UsageError(
            f"{most} spikes in a tick with reset {reset!r}",
            f"1, or with reset subtract up to {MOST_SPIKES}",
            "profile",
        )
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
class Adapting:
    """What the threshold is higher by: times ``decay`` in each tick, and ``increment`` with each spike."""

    decay: Array
    increment: Array


@dataclass(frozen=True)
class Dynamics:
    """One tick of a population, membranes divided by ``gain`` so that input counts once.

    ``v := decay * v + drive + input``; compare with ``threshold``; reset. With a synaptic
    current, ``i := current_decay * i + current_drive + input`` and then
    ``v := decay * v + drive + i``. Membranes begin at ``initial``. All float64 arrays (height,
    width, channels). ``decay`` is None where nothing decays, ``current_decay`` where there is no
    current.
    """

    decay: Array | None
    drive: Array
    threshold: Array
    reset_value: Array
    initial: Array
    gain: Array
    fires: bool
    current_decay: Array | None
    current_drive: Array
    firing: Firing
    adapting: Adapting | None = None


def discretise(population: FloatPopulation, profile: Profile) -> Dynamics | None:
    """The tick of an IF or LIF population; None for an input or a sum pool.

    Raises:
        ModelError: the profile and the file's parameters contradict each other.
    """
    neuron = population.neuron
    if neuron is None:
        return None
    if not neuron.remembers:
        zero, one = np.zeros(population.shape), np.ones(population.shape)
        alone = Firing("gt", "value", 1)  # NIR's own definition of a Threshold
        return Dynamics(zero, population.bias, neuron.v_threshold, zero, zero, one, True, None, zero, alone)
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
                likely_cause(float(neuron.tau.min()), profile.dt),
                "profile-tau",
            )
    current_decay, current_gain = _current(population, profile)
    gain = gain * current_gain
    if profile.reset not in ("value", "none") and neuron.v_reset.any():
        raise ModelError(
            f"node {population.name!r}: reset {profile.reset!r} would ignore its v_reset, which is not 0",
            "choose reset value",
            "profile-reset",
        )
    pull = 0.0 if decay is None else (1 - decay) * neuron.v_leak
    synaptic = current_decay is not None
    return Dynamics(
        decay=decay,
        drive=pull / gain + (0.0 if synaptic else population.bias),
        threshold=neuron.v_threshold / gain,
        reset_value=neuron.v_reset / gain,
        initial=_initial(neuron, profile) / gain,
        gain=gain,
        fires=neuron.fires,
        current_decay=current_decay,
        current_drive=population.bias if synaptic else np.zeros(population.shape),
        firing=profile.firing,
        adapting=_adapting(population.name, neuron, profile, gain),
    )


def _adapting(name: str, neuron: FloatNeuron, profile: Profile, gain: Array) -> Adapting | None:
    if neuron.adaptation_tau is None or neuron.adaptation_increment is None:
        return None
    step = profile.dt / neuron.adaptation_tau
    decay = np.asarray(np.exp(-step) if profile.decay == "exact" else 1 - step)
    if decay.min() < 0:
        raise ModelError(
            f"node {name!r}: adaptation_tau is {neuron.adaptation_tau.min():g} s, less than dt "
            f"{profile.dt:g} s: an Euler step would overshoot",
            likely_cause(float(neuron.adaptation_tau.min()), profile.dt),
            "profile-tau",
        )
    return Adapting(decay, neuron.adaptation_increment / gain)


def _initial(neuron: FloatNeuron, profile: Profile) -> Array:
    """Where membranes begin."""
    return {"zero": np.zeros_like(neuron.v_reset), "leak": neuron.v_leak, "reset": neuron.v_reset}[
        profile.initial
    ]


def _current(population: FloatPopulation, profile: Profile) -> tuple[Array | None, Array | float]:
    """How a synaptic current decays in a tick, and how much of the input it takes in."""
    neuron = population.neuron
    if neuron is None or neuron.tau_syn is None or neuron.w_in is None:
        return None, 1.0
    step = profile.dt / neuron.tau_syn
    decay = np.exp(-step) if profile.decay == "exact" else 1 - step
    if decay.min() < 0:
        raise ModelError(
            f"node {population.name!r}: tau_syn is {neuron.tau_syn.min():g} s, less than dt "
            f"{profile.dt:g} s: an Euler step would overshoot",
            likely_cause(float(neuron.tau_syn.min()), profile.dt),
            "profile-tau",
        )
    gains = {"exact": -np.expm1(-step), "euler": step, "none": np.ones_like(step)}
    return np.asarray(decay), neuron.w_in * gains[profile.gain]


def readout_of(population: FloatPopulation, profile: Profile) -> str:
    """What the scores of the output are: a choice of ``CHOICES["readout"]``.

    Raises:
        ModelError: the output has none of these.
    """
    neuron, chosen = population.neuron, profile.readout
    if neuron is None or neuron.fires:
        chosen = chosen or "spikes"
        possible = ["spikes", "first"] if neuron is None or not neuron.remembers else list(CHOICES["readout"])
        why = "keeps no membrane"
    else:
        chosen = chosen or "membrane"
        possible, why = ["membrane", "greatest"], "never spikes"
    if chosen not in possible:
        raise ModelError(
            f"node {population.name!r} {why}: readout {chosen!r} makes no sense",
            f"choose {' or '.join(possible)}",
            "profile-readout",
        )
    return chosen


# ---- the float interpreter --------------------------------------------------


class FloatInterpreter:
    """Runs the discretised network in float64: what quantization is measured against.

    Samples run side by side; every array has their axis first. ``scores`` are those of the output:
    numbers of spikes, minus the tick of the first one, or membranes in real units.
    """

    def __init__(self, network: FloatNetwork, profile: Profile, samples: int = 1) -> None:
        self.network = network
        self.profile = profile
        self.dynamics = [discretise(population, profile) for population in network.populations]
        self.membranes = [
            np.zeros((samples, *population.shape)) + (0.0 if dynamics is None else dynamics.initial)
            for population, dynamics in zip(network.populations, self.dynamics, strict=True)
        ]
        self.currents = [np.zeros((samples, *p.shape)) for p in network.populations]
        self.adaptations = [np.zeros((samples, *p.shape)) for p in network.populations]
        self.due = [np.zeros((samples, *p.shape)) for p in network.populations]
        self.delays = [profile.ticks(p, network.populations[p.target]) for p in network.projections]
        self.readout = readout_of(network.populations[-1], profile)
        start = {"first": -np.inf, "greatest": -np.inf}.get(self.readout, 0.0)
        self.scores = np.full(self.membranes[-1].shape, start)  # real: spikes, -ticks, or membranes
        self.tick = 0
        self.past: list[list[Array]] = []  # what all populations sent, tick by tick, the last one first

    def step(self, values: Array) -> list[Array]:
        """One tick.

        Args:
            values: input, float (samples, height, width, channels).

        Returns:
            What each population sent, in order: the input itself, sums, or numbers of spikes.
        """
        sent = [np.asarray(values, np.float64)]
        self.past = [sent, *self.past[: max(self.delays)]]
        for number, dynamics in enumerate(self.dynamics[1:], start=1):
            shape = self.network.populations[number].shape
            arriving = np.zeros((len(values), *shape))
            for projection, delay in zip(self.network.projections, self.delays, strict=True):
                if projection.target == number and delay < len(self.past):
                    arriving += apply_map(projection.map, self.past[delay][projection.source], shape)
            sent.append(arriving if dynamics is None else self._spike(number, dynamics, arriving))
        self._keep_scores(sent[-1])
        self.tick += 1
        return sent

    def _keep_scores(self, spikes: Array) -> None:
        last = self.dynamics[-1]
        membrane = self.membranes[-1] * (1.0 if last is None else last.gain)
        if self.readout == "spikes":
            self.scores = self.scores + spikes
        elif self.readout == "first":
            self.scores = np.where((spikes > 0) & np.isinf(self.scores), -self.tick, self.scores)
        else:
            self.scores = membrane if self.readout == "membrane" else np.maximum(self.scores, membrane)

    def _spike(self, number: int, dynamics: Dynamics, arriving: Array) -> Array:
        if dynamics.current_decay is not None:
            arriving = self.currents[number] * dynamics.current_decay + dynamics.current_drive + arriving
            self.currents[number] = arriving
        membrane = self.membranes[number]
        membrane = (membrane if dynamics.decay is None else membrane * dynamics.decay) + dynamics.drive
        membrane = membrane + arriving
        firing, due = dynamics.firing, self.due[number]
        threshold = dynamics.threshold + self._adapted(number, dynamics.adapting, due * firing.delayed)
        if firing.delayed:
            membrane = self._reset(dynamics, membrane, due, threshold)
        above = membrane - threshold
        fires = (above > 0 if firing.compare == "gt" else above >= 0) & dynamics.fires
        spikes = fires.astype(np.float64)
        if firing.max_spikes > 1:
            more = above / threshold
            whole = np.ceil(more) if firing.compare == "gt" else np.floor(more) + 1
            spikes = np.clip(whole, 0, firing.max_spikes) * fires
        if not firing.delayed:
            membrane = self._reset(dynamics, membrane, spikes, threshold)
            if dynamics.adapting:
                self.adaptations[number] += spikes * dynamics.adapting.increment
        self.membranes[number], self.due[number] = membrane, spikes
        return spikes

    def _adapted(self, number: int, adapting: Adapting | None, due: Array) -> Array:
        """What is added to the thresholds in this tick."""
        if adapting:
            self.adaptations[number] = self.adaptations[number] * adapting.decay + due * adapting.increment
        return self.adaptations[number]

    def _reset(self, dynamics: Dynamics, membrane: Array, spikes: Array, threshold: Array) -> Array:
        if dynamics.firing.subtracts:
            return membrane - spikes * threshold
        if dynamics.firing.reset == "none":
            return membrane
        return np.where(spikes > 0, dynamics.reset_value, membrane)


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
