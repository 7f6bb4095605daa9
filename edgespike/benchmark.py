"""Times a network on this machine: what ``edgespike bench`` shows, and the tools of tools/bench use."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike import _core
from edgespike.graph import CORE_EVENT, Graph, LevelInput, Projection, SpikeInput
from edgespike.modelfile import encode_model
from edgespike.session import InferenceSession

__all__ = ["Stimulus", "classify", "cpu_name", "cut_behind", "prepare", "random_stimuli", "run_in_turns"]

RANDOM_SAMPLES = 16
SPIKE_TICKS = 100  # of a random sample for a network without windows
SPIKE_SHARE = 0.01  # of the input neurons, in a tick


@dataclass(frozen=True, eq=False)
class Stimulus:
    """One sample as the core takes it: events (dtype CORE_EVENT), and the tick that it lasts to."""

    events: NDArray[Any]
    last_tick: int


def prepare(session: InferenceSession, content: NDArray[Any]) -> Stimulus:
    """A sample (a tensor, or events with t, x, y, p) as the core takes it."""
    if content.dtype.names:
        rebased = content.copy()
        rebased["t"] -= rebased["t"][0] if len(content) else 0
        session.reset()
        events = session.core_events(rebased)
        return Stimulus(events, int(events["tick"][-1]) if len(events) else 0)
    ticks = len(content) - 1 if isinstance(session.graph.populations[0].neuron, SpikeInput) else 0
    if session.graph.input.early_exit:
        ticks = max(ticks, session.graph.input.window_ticks - 1)
    return Stimulus(session.sample_events(content), ticks)


def random_stimuli(graph: Graph, seed: int = 0) -> list[Stimulus]:
    """Dense random input: every level drawn from its whole range; where events are counted, as many
    events as the sensor has pixels in each slice; of a spike input, one neuron in a hundred each tick."""
    rng = np.random.default_rng(seed)
    return [_random_stimulus(rng, graph) for _ in range(RANDOM_SAMPLES)]


def _random_stimulus(rng: np.random.Generator, graph: Graph) -> Stimulus:
    first, spec = graph.populations[0], graph.input
    height, width, channels = first.shape
    if isinstance(first.neuron, LevelInput) and spec.event_counts is None:
        assert first.initial_level is not None
        levels = rng.integers(first.neuron.level_min, first.neuron.level_max + 1, first.shape)
        change = levels - first.initial_level
        return Stimulus(_events(0, np.argwhere(change), change[change != 0]), 0)
    if spec.event_counts:
        ticks, channels = spec.window_ticks, spec.event_counts.polarities
        count = height * width * spec.event_counts.slices
    else:
        ticks = min(spec.window_ticks or SPIKE_TICKS, SPIKE_TICKS)
        assert isinstance(first.neuron, SpikeInput)
        count = min(max(1, round(SPIKE_SHARE * first.size)), first.neuron.budget) * ticks
    neurons = rng.integers(0, (height, width, channels), (count, 3))
    return Stimulus(_events(np.sort(rng.permutation(count) % ticks), neurons, 1), ticks - 1)


def _events(tick: Any, neurons: NDArray[Any], value: Any) -> NDArray[Any]:
    events = np.empty(len(neurons), CORE_EVENT)
    events["tick"], events["value"] = tick, value
    events["y"], events["x"], events["channel"] = neurons.T
    return events


def classify(network: _core.Network, stimulus: Stimulus) -> NDArray[np.int32]:
    """Runs one sample from reset to scores: one call for all its events, unless windows end within it.

    Returns:
        The last scores.
    """
    network.reset()
    events, scores = stimulus.events, None
    while True:
        used, closed = network.push(events)
        if not closed:
            break
        scores, events = network.output(), events[used:]
    if stimulus.last_tick and network.advance(stimulus.last_tick):
        scores = network.output()
    if scores is None:
        network.finish()
        scores = network.output()
    return scores


def cut_behind(graph: Graph, number: int) -> Graph:
    """The graph with one of its populations (1 or a later one) as the last."""

    def kept(projection: Projection) -> bool:
        return projection.target <= number

    return replace(
        graph,
        populations=graph.populations[: number + 1],
        projections=tuple(filter(kept, graph.projections)),
        self_test=None,
    )


def can_be_cut(graph: Graph) -> bool:
    """Whether its parts do the same work alone, and are graphs: nothing leads backwards or ends a
    window early, and no branches run side by side (cut, one would lead nowhere)."""
    last = len(graph.populations) - 1
    nearest = [min((p.target for p in graph.outgoing(number)), default=last) for number in range(last)]
    forwards = all(projection.source < projection.target for projection in graph.projections)
    in_line = nearest == list(range(1, last + 1))
    return forwards and in_line and graph.input.early_exit is None


def population_seconds(graph: Graph, stimuli: Sequence[Stimulus], seconds: float) -> list[float] | None:
    """What each population but the input adds to the median time of a sample; None where it cannot be told.

    The network is run cut off behind each population, all of these in turns: the difference
    between two is what leads into a population, and its evaluation. Noise may make it negative.
    """
    if not can_be_cut(graph):
        return None
    numbers = range(1, len(graph.populations))
    cut = [_core.Network(_core.Model(encode_model(cut_behind(graph, number)))) for number in numbers]
    times = run_in_turns([partial(classify, network) for network in cut], stimuli, seconds)
    medians = [0.0, *(float(np.median(each)) for each in times)]
    return [after - before for before, after in pairwise(medians)]


def run_in_turns(
    ways: Sequence[Callable[[Any], object]], inputs: Sequence[Any], seconds: float
) -> list[NDArray[np.float64]]:
    """Times several ways to do the same, on one input after the other, in turns and in random order: what
    slows the machine slows all of them, no branch predictor learns an input by heart, and none always finds
    the caches as the same other one leaves them.

    Args:
        seconds: stop after so long, but not before every input had its turn. One more turn of all
            comes before that and does not count.

    Returns:
        For each way, the seconds of every run.
    """
    times: list[list[float]] = [[] for _ in ways]
    order = Random(0)
    turns = list(zip(ways, times, strict=True))
    for way in ways:
        for given in inputs:
            way(given)
    end = time.perf_counter() + seconds
    while not times[0] or time.perf_counter() < end:
        for given in inputs:
            order.shuffle(turns)
            for way, taken in turns:
                begin = time.perf_counter()
                way(given)
                taken.append(time.perf_counter() - begin)
    return [np.array(each) for each in times]


def cpu_name() -> str:
    """What the system calls the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.processor() or platform.machine()
