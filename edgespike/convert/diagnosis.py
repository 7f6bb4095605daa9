"""Where a conversion lost what it lost: each layer in the model, and each layer quantized alone.

Signal-to-noise ratios are ``10 log10(sum(float**2) / sum((quantized - float)**2))`` over all
values of a layer on real samples, in dB. A layer alone is evaluated with its integer weights and
its levels on what the float network's other layers compute; what comes after it is float again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.convert import float_layers
from edgespike.convert.dense import State, apply, level_range, levels_of, settle
from edgespike.convert.float_network import FloatNetwork
from edgespike.convert.quantize import Quantized
from edgespike.convert.reference_state import work
from edgespike.convert.report import Diagnosis, LayerDiagnosis
from edgespike.graph import Accumulator, Activation, Graph, MaxPool
from edgespike.importers.network import Network

DIAGNOSED_SAMPLES = 256

Array = NDArray[Any]


def diagnose(
    graph: Graph,
    quantized: Quantized,
    network: Network,
    run: FloatNetwork,
    x: Array,
    inputs: State,
    labels: NDArray[np.int64] | None,
    tell: Callable[[float], None],
) -> Diagnosis:
    """Diagnoses on up to 256 of the samples x, evenly chosen, whose levels are ``inputs``.

    ``tell`` is called with the share of the samples that is done.
    """
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), DIAGNOSED_SAMPLES)).astype(int))
    x, inputs = x[chosen], inputs[chosen]
    examination = Examination(graph, quantized, network)
    for part, exact in float_values(network, run, x):
        examination.add(exact, settle(graph, inputs[part]))
        tell(part.stop / len(x))
    return examination.result(None if labels is None else labels[chosen])


def float_values(network: Network, run: FloatNetwork, x: Array) -> Iterator[tuple[slice, list[Array]]]:
    """Values of all layers in the float network, the input's too, after their functions; which samples."""
    for part, values in run.values(x):
        exact = [float_layers.real_input(network, x[part])]
        for layer, value in zip(network.layers[1:], values, strict=True):
            exact.append(layer.activated(value))
        yield part, exact


class Tally:
    """Sums over samples for one layer."""

    def __init__(self) -> None:
        self.signal = self.scores = self.values = self.clipped = self.active = self.synops = 0.0
        self.noise = dict.fromkeys(("model", "alone", "levels", "weights", "scores", "clip"), 0.0)
        self.spoke: Any = False
        self.answers: list[Array] = []

    def ratio(self, noise: str, signal: float) -> float | None:
        """Signal-to-noise ratio in dB."""
        if self.noise[noise] == 0:
            return None
        return 10 * math.log10(max(signal, 1e-30) / self.noise[noise])


class Examination:
    """Adds up what batches of samples show."""

    def __init__(self, graph: Graph, quantized: Quantized, network: Network) -> None:
        self.graph, self.quantized, self.network = graph, quantized, network
        self.tallies = [Tally() for _ in graph.populations]
        self.later = [float_layers.readers(network, number) for number in range(len(graph.populations))]
        self.expected: list[Array] = []
        self.said: list[Array] = []

    def add(self, exact: list[Array], states: list[State]) -> None:
        """Adds a batch: float values of all layers, and the model's states."""
        cost = work(self.graph, states)
        self.expected.append(self.answers(exact[-1]))
        self.said.append(self.answers(states[-1]))
        for number, tally in enumerate(self.tallies):
            scale, state = self.quantized.scales[number], states[number]
            tally.signal += power(exact[number])
            tally.noise["model"] += power(state * scale - exact[number])
            tally.values += state.size
            tally.active += np.count_nonzero(state)
            tally.spoke = tally.spoke | (state != 0).any(axis=0)
            tally.synops += cost.synops_of[number] * len(state)
            self.add_alone(number, tally, exact)

    def add_alone(self, number: int, tally: Tally, exact: list[Array]) -> None:
        """What this layer loses if it alone is quantized, and what becomes of the scores."""
        neuron, scale = self.quantized.populations[number].neuron, self.quantized.scales[number]
        here = exact[number]
        alone = nearest = here
        if not isinstance(neuron, Accumulator | MaxPool):  # a max pool takes over its source's levels
            low, high = level_range(self.quantized.populations[number])
            position = here / scale
            nearest = np.clip(np.rint(position), low, high) * scale
            beyond = (position > high + 0.5) | (position < low - 0.5)
            tally.clipped += np.count_nonzero(beyond)
            tally.noise["levels"] += power(nearest - here)
            tally.noise["clip"] += power((nearest - here)[beyond])
            alone = nearest
        if number and not isinstance(neuron, MaxPool):
            alone, unrounded = self.quantized_alone(number, exact)
            tally.noise["weights"] += power(alone - nearest if unrounded is None else unrounded - here)
        tally.noise["alone"] += power(alone - here)
        scores = exact[-1]
        if alone is not here:
            values = list(exact)
            values[number] = alone.astype(np.float32)
            for later in self.later[number]:
                values[later] = float_layers.evaluate(self.network, later, values)
            scores = values[-1]
        tally.scores += power(exact[-1])
        tally.noise["scores"] += power(scores - exact[-1])
        tally.answers.append(self.answers(scores))

    def quantized_alone(self, number: int, exact: list[Array]) -> tuple[Array, Array | None]:
        """A layer's values with its integer weights: rounded to levels, and as they come.

        The latter is None where levels are looked up in a table.
        """
        population, scale = self.quantized.populations[number], self.quantized.scales[number]
        assert population.initial is not None
        total = population.initial[None].astype(np.float64)
        for projection in self.quantized.projections:
            if projection.target == number:
                source = self.quantized.scales[projection.source]
                levels = (exact[projection.source] / source).astype(np.float32)
                total = total + apply(projection.connection, levels, population.shape)
        layer, neuron = self.network.layers[number], population.neuron
        if not isinstance(neuron, Activation):
            return total * scale, total * scale
        rounded = levels_of(neuron, np.rint(total)) * scale
        if neuron.table is not None:
            return rounded, None
        steps = (
            neuron.step if neuron.step.size == population.shape[2] else neuron.step.reshape(population.shape)
        )
        return rounded, np.clip(total * 2**neuron.shift / steps * scale, layer.minimum, layer.maximum)

    def answers(self, scores: Array) -> Array:
        """Index of the greatest score, in the order of the network's output."""
        axes = [axis + 1 for axis in self.network.output.axes]
        answers: Array = scores.transpose(0, *axes).reshape(len(scores), -1).argmax(axis=1)
        return answers

    def result(self, labels: NDArray[np.int64] | None) -> Diagnosis:
        """What it all comes to."""
        expected = np.concatenate(self.expected)
        has_classes = self.network.layers[-1].size > 1
        right = expected if labels is None else labels

        def share(answers: list[Array]) -> float | None:
            return float((np.concatenate(answers) == right).mean()) if has_classes else None

        layers = tuple(
            LayerDiagnosis(
                name=population.name,
                snr=tally.ratio("model", tally.signal),
                snr_alone=tally.ratio("alone", tally.signal),
                snr_levels=tally.ratio("levels", tally.signal),
                snr_weights=tally.ratio("weights", tally.signal),
                snr_scores=tally.ratio("scores", tally.scores),
                result_alone=share(tally.answers),
                clipped=tally.clipped / tally.values,
                clip_noise=tally.noise["clip"] / tally.noise["levels"] if tally.noise["levels"] else 0.0,
                silent=float(1 - np.mean(tally.spoke)),
                active=tally.active / tally.values,
                synops=tally.synops / len(expected),
            )
            for population, tally in zip(self.graph.populations, self.tallies, strict=True)
        )
        measure = "none" if not has_classes else "agreement" if labels is None else "accuracy"
        return Diagnosis(len(expected), measure, share(self.expected), share(self.said), layers)


def power(values: Array) -> float:
    """Sum of squares."""
    return float(np.square(values, dtype=np.float64).sum())
