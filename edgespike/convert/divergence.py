"""Where two runs of a spiking network part, and which setting of its profile explains it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.convert.discretise import CHOICES, FRAMEWORKS, FloatInterpreter, Profile, choose_profile
from edgespike.convert.exporters import put_right
from edgespike.errors import EdgespikeError, ModelError
from edgespike.graph import CORE_EVENT, Graph
from edgespike.importers.spiking_network import FloatNetwork
from edgespike.reference import ReferenceNetwork

__all__ = [
    "Difference",
    "Explanation",
    "agreement",
    "differences",
    "explain",
    "float_spikes",
    "model_spikes",
    "profile_of",
]

Array = NDArray[np.float64]
Spikes = dict[str, Array]  # of one sample, by population: (ticks, height, width, channels)
SETTINGS = ("reset", "compare", "decay", "gain", "current", "initial")
STEPS = (1e-4, 1e-3)  # dt of most frameworks
AFTER = 64  # ticks after the first difference that explanations are judged by


@dataclass(frozen=True)
class Difference:
    """How a population's spikes in two runs compare.

    ``spikes``: of the original and of the model. ``agreement``: the share of neuron-steps with as
    many spikes. ``first_tick``: the first that differs, in any sample, or None.
    """

    name: str
    neurons: int
    spikes: tuple[int, int]
    agreement: float
    first_tick: int | None


@dataclass(frozen=True)
class Explanation:
    """With this value of a setting the float network agrees with the original in that share of steps."""

    setting: str
    value: str
    agreement: float


# ---- three ways to run ------------------------------------------------------


def profile_of(graph: Graph) -> Profile:
    """The profile that a model was converted with.

    Raises:
        ModelError: it comes from no NIR file.
    """
    kept = graph.metadata.get("profile")
    if not kept:
        raise ModelError(
            "the model is no spiking network from a NIR file",
            "compare others with `edgespike eval MODEL DATA --original NETWORK.onnx`",
            "no-profile",
        )
    names = {field.name for field in fields(Profile)}
    return Profile(**{name: value for name, value in kept.items() if name in names})


def model_spikes(graph: Graph, events: NDArray[Any], ticks: int) -> Spikes:
    """What the populations of a model send, given input events (dtype CORE_EVENT)."""
    recorder = _Recorder(replace(graph, input=replace(graph.input, window_ticks=0)), ticks)
    recorder.push(events.astype(CORE_EVENT))
    recorder.advance(ticks)
    return {
        population.name: sent
        for population, sent in zip(graph.populations[1:], recorder.record[1:], strict=True)
    }


class _Recorder(ReferenceNetwork):
    """Keeps what each population sends, tick by tick."""

    def __init__(self, graph: Graph, ticks: int) -> None:
        self.record = [np.zeros((ticks, *population.shape)) for population in graph.populations]
        super().__init__(graph)

    def _send(self, number: int, emitted: NDArray[np.int64], arriving: dict[int, Any]) -> None:
        self.record[number][self.tick] = emitted
        super()._send(number, emitted, arriving)


def float_spikes(network: FloatNetwork, profile: Profile, sample: Array) -> Spikes:
    """What the populations of the discretised network send, given (ticks, height, width, channels)."""
    interpreter = FloatInterpreter(network, profile)
    sent = [interpreter.step(frame[None]) for frame in sample]
    return {
        population.name: np.stack([values[number][0] for values in sent])
        for number, population in enumerate(network.populations)
        if population.neuron is not None
    }


# ---- comparing --------------------------------------------------------------


def differences(originals: list[Spikes], models: list[Spikes]) -> list[Difference]:
    """By population that both have, over all samples."""
    result = []
    for name in originals[0]:
        if name in models[0]:
            pairs = [(theirs[name], ours[name]) for theirs, ours in zip(originals, models, strict=True)]
            equal = [theirs == ours for theirs, ours in pairs]
            ticks = [_first(~same) for same in equal]
            result.append(
                Difference(
                    name,
                    int(np.prod(equal[0].shape[1:])),
                    (
                        int(sum(theirs.sum() for theirs, _ in pairs)),
                        int(sum(ours.sum() for _, ours in pairs)),
                    ),
                    sum(int(same.sum()) for same in equal) / sum(same.size for same in equal),
                    min((tick for tick in ticks if tick is not None), default=None),
                )
            )
    return result


def agreement(originals: list[Spikes], models: list[Spikes]) -> float:
    """The share of all neuron-steps with as many spikes."""
    rows = differences(originals, models)
    steps = sum(row.neurons for row in rows)
    return sum(row.agreement * row.neurons for row in rows) / steps if steps else 1.0


def _first(differs: NDArray[np.bool_]) -> int | None:
    ticks = np.flatnonzero(differs.reshape(len(differs), -1).any(axis=1))
    return int(ticks[0]) if ticks.size else None


# ---- explaining -------------------------------------------------------------


def explain(
    network: FloatNetwork,
    profile: Profile,
    samples: list[Array],
    originals: list[Spikes],
    tell: Callable[[float], None] = lambda share: None,
) -> list[Explanation]:
    """What, changed alone, makes the float network agree more with the original; the best first.

    Args:
        network: as the file has it.
        profile: how the model's neurons step.
        samples: arrays (ticks, height, width, channels).
        originals: what the original's populations send.
        tell: called with the share of the settings that were tried.

    Returns:
        Those that are better than the profile as it is. Judged up to some ticks after the
        first difference, for what comes later follows from it.
    """
    right, _ = put_right(network, profile)
    now = [float_spikes(right, profile, sample) for sample in samples]
    found = [row.first_tick for row in differences(originals, now) if row.first_tick is not None]
    if not found:
        return []
    end = min(found) + AFTER
    short = [sample[:end] for sample in samples]
    wanted = [{name: spikes[:end] for name, spikes in sample.items()} for sample in originals]
    kept = agreement(wanted, [{name: spikes[:end] for name, spikes in sample.items()} for sample in now])
    trials = list(_alternatives(network, profile))
    better = []
    for number, (setting, value, changed, stepping) in enumerate(trials):
        tell(number / len(trials))
        try:
            share = agreement(wanted, [float_spikes(changed, stepping, sample) for sample in short])
        except EdgespikeError:  # no network can be stepped like that
            continue
        if share > kept:
            better.append(Explanation(setting, value, share))
    return sorted(better, key=lambda row: -row.agreement)


def _alternatives(
    network: FloatNetwork, profile: Profile
) -> Iterator[tuple[str, str, FloatNetwork, Profile]]:
    """Setting, value, network and profile of everything that may have been meant instead."""
    stepped = [
        (name, choice, _with(profile, name, choice))
        for name in SETTINGS
        for choice in CHOICES[name]
        if choice != getattr(profile, name)
    ]
    stepped += [("dt", f"{dt:g}", replace(profile, dt=dt)) for dt in STEPS if dt != profile.dt]
    if profile.firing.subtracts:
        stepped += [("max_spikes", str(most), replace(profile, max_spikes=most)) for most in (1, 31)]
    stepped.append(
        (
            "map_ticks",
            str(1 - min(profile.map_ticks, 1)),
            replace(profile, map_ticks=int(not profile.map_ticks)),
        )
    )
    whole = [name for name in FRAMEWORKS if name != profile.framework]
    stepped += [("from", name, choose_profile(profile.dt, framework=name)) for name in whole]
    for name, value, changed in stepped:
        yield name, value, put_right(network, changed)[0], changed
    for framework in (None, *whole):
        written = put_right(network, replace(profile, framework=framework))[0]
        yield "exporter", framework or "none", written, profile
    right = put_right(network, profile)[0]
    silent = tuple(replace(p, bias=np.zeros_like(p.bias)) for p in right.populations)
    yield "biases", "left out", replace(right, populations=silent), profile
    plain = tuple(
        replace(p, neuron=p.neuron and replace(p.neuron, r=np.ones_like(p.neuron.r)))
        for p in right.populations
    )
    yield "r", "left out", replace(right, populations=plain), profile


def _with(profile: Profile, name: str, choice: str) -> Profile:
    most = 1 if name == "reset" and choice != "subtract" else profile.max_spikes
    return replace(profile, max_spikes=most, **{name: choice})  # type: ignore[arg-type]
