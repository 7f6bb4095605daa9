"""Runs the float network and the converted one side by side on samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.convert.bounds import accumulator_bounds
from edgespike.convert.dense import State, settle
from edgespike.convert.float_network import FloatNetwork
from edgespike.convert.quantize import Quantized
from edgespike.convert.reference_state import work
from edgespike.convert.report import Report, dense_macs, layer_reports, warnings_of
from edgespike.graph import Graph
from edgespike.importers.network import Network

RANGE_SAMPLES = 200
MUCH_BETTER = 0.1
DOUBTFUL = 0.8  # share of right answers below which another range of the samples is tried


@dataclass(frozen=True, eq=False)
class Comparison:
    """What was found.

    By layer: ``errors`` (relative RMS; None for the input and where the float values are
    all 0), ``activity`` (share of neurons that speak in a sample) and ``changing`` (share
    of channels that were not the same in all samples). ``answers`` and ``expected``: index
    of the greatest score of the converted and of the original network, by sample.
    ``x_range``: least and greatest value of the samples.
    """

    errors: tuple[float | None, ...]
    activity: tuple[float, ...]
    changing: tuple[float, ...]
    synops: float
    answers: NDArray[np.int64]
    expected: NDArray[np.int64]
    x_range: tuple[float, float]

    def report(self, graph: Graph, labels: NDArray[np.int64] | None) -> Report:
        """The report, but for the memory that the finished model file takes."""
        agreement = float((self.answers == self.expected).mean())
        report = Report(
            layers=layer_reports(graph, accumulator_bounds(graph), self.activity, self.errors),
            ram_streaming=0,
            ram_one_shot=0,
            flash=0,
            samples=len(self.answers),
            accuracy_float=None if labels is None else float((self.expected == labels).mean()),
            accuracy=None if labels is None else float((self.answers == labels).mean()),
            agreement=agreement if graph.populations[-1].size > 1 else None,
            synops=self.synops,
            macs=dense_macs(graph),
        )
        return replace(report, warnings=warnings_of(report, self.changing, self.x_range))


def compare(
    graph: Graph,
    quantized: Quantized,
    network: Network,
    run: FloatNetwork,
    x: NDArray[Any],
    inputs: State,
    tell: Callable[[float], None],
) -> Comparison:
    """Compares on samples x (samples, *input shape), whose levels are ``inputs``.

    ``tell`` is called with the share of the samples that is done.
    """
    count = len(graph.populations)
    noise, signal, activity, synops = np.zeros(count), np.zeros(count), np.zeros(count), 0.0
    first = settle(graph, inputs[:1])
    changes = [np.zeros(population.shape[2], bool) for population in graph.populations]
    answers = []
    axes = [axis + 1 for axis in network.output.axes]
    for part, values in run.values(x):
        states = settle(graph, inputs[part])
        share = (part.stop - part.start) / len(x)
        cost = work(graph, states)
        activity += np.array(cost.activity) * share
        synops += cost.synops * share
        for number, (layer, value) in enumerate(zip(network.layers[1:], values, strict=True), 1):
            exact = layer.activated(value.astype(np.float64))
            noise[number] += np.square(states[number] * quantized.scales[number] - exact).sum()
            signal[number] += np.square(exact).sum()
        for number, state in enumerate(states):
            changes[number] |= (state != first[number]).any(axis=(0, 1, 2))
        answers.append(states[-1].transpose(0, *axes).reshape(len(values[-1]), -1).argmax(axis=1))
        tell(part.stop / len(x))
    relative = (float(np.sqrt(n / s)) if s else None for n, s in zip(noise, signal, strict=True))
    return Comparison(
        errors=tuple(relative),
        activity=tuple(activity.tolist()),
        changing=tuple(float(channels.mean()) for channels in changes),
        synops=synops,
        answers=np.concatenate(answers),
        expected=run.scores(x).argmax(axis=1),
        x_range=(float(x.min()), float(x.max())),
    )


def better_range(run: FloatNetwork, x: NDArray[Any], labels: NDArray[np.int64]) -> str | None:
    """A warning where the float network does far better on samples 255 times as small, or as large."""
    x, labels = x[:RANGE_SAMPLES], labels[:RANGE_SAMPLES]
    least, greatest = float(x.min()), float(x.max())
    if least < -256 or not 0 < greatest <= 256:
        return None
    advice, factor = ("divide them by 255", 1 / 255) if greatest > 1.5 else ("multiply them by 255", 255.0)
    right = [float((run.scores(x * part).argmax(axis=1) == labels).mean()) for part in (1.0, factor)]
    if right[1] < right[0] + MUCH_BETTER:
        return None
    return (
        f"samples of {least:g} to {greatest:g} look out of range: {advice}, and the network before "
        f"conversion is right in {right[1]:.0%} of them instead of {right[0]:.0%}"
    )
