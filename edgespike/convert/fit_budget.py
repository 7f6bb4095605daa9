"""Fits an ONNX network into a budget of flash, RAM and accuracy."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.arena import one_shot_bytes, streaming_bytes
from edgespike.boards import Board
from edgespike.convert.activation import graph_of, levels_of_input
from edgespike.convert.calibration import Calibration, check_classes, samples_for
from edgespike.convert.certificate import samples_of
from edgespike.convert.dense import State, settle
from edgespike.convert.diagnosis import Examination, float_values
from edgespike.convert.event_input import EventOptions
from edgespike.convert.float_network import FloatNetwork
from edgespike.convert.measure import Statistics, measure
from edgespike.convert.precision import EVERY_OTHER, Precision, is_pool
from edgespike.convert.quantize import quantize
from edgespike.convert.reference_state import work
from edgespike.convert.report import Search, layer_reports
from edgespike.convert.search import SENSITIVITY_SAMPLES, Attempt, Budget, Searcher
from edgespike.errors import DataError
from edgespike.fit import measure_activity, speed_of
from edgespike.graph import Graph, InputSpec, LevelInput
from edgespike.importers.network import Float, Network
from edgespike.importers.onnx import read_onnx
from edgespike.modelfile import encode_model
from edgespike.session import InferenceSession

LEAST_SAMPLES = 40
RATED_SAMPLES = 8
MOST_SAMPLES = 1024  # half to set scales, half to measure accuracy
KEPT_BYTES = 900  # of metadata that the finished file has beside what grows with the layers

Array = NDArray[Any]


def search_precision(
    path: str | Path,
    calibration: Calibration,
    budget: Budget,
    *,
    events: EventOptions | None = None,
    shape: tuple[int, ...] | None = None,
    output: str | None = None,
    fixed: Mapping[str, float] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Search:
    """Looks for the levels and weight bits of the cheapest graph within a budget.

    Some 15 to 25 graphs are quantized, as `edgespike.convert.search` says, on up to 512 samples each.

    Args:
        path: the ONNX file.
        calibration: samples; every second one sets scales (see `fitted_on`), the others
            measure accuracy.
        budget: what the graph may take and lose.
        events, shape, output, fixed: as for `convert_onnx`.
        progress: called with what is being done, and about the share of the whole that is done.

    Raises:
        ModelError, UnsupportedError, DataError, UsageError: as `convert_onnx`.
    """
    tell = progress or (lambda step, share: None)
    tell("running the float network", 0.0)
    grid = None if events is None else (events.channels, events.height, events.width)
    bench = Bench.of(read_onnx(path, grid, shape, output, fixed), calibration, events, Path(path).name)
    searcher = Searcher(
        names=tuple(layer.name for layer in bench.network.layers),
        sharers=sharers(bench.network),
        weighted=weighted(bench.network),
        budget=budget,
        result_float=bench.result(bench.expected),
        attempt=bench.attempt,
        tell=tell,
    )
    chosen = searcher.run()
    return searcher.report(bench.measure, len(bench.held_out), chosen)


def sustained_events(graph: Graph, board: Board, calibration: Calibration) -> float:
    """Events a second that a board's processor works off, of a few of the samples one after the other."""
    session = InferenceSession(graph)
    x = samples_of(graph, calibration)
    runs = [(session.sample_events(sample), 0) for sample in x[evenly(len(x), RATED_SAMPLES)]]
    rate = speed_of(graph, board, measure_activity(graph, runs)).typical_rate
    return np.inf if rate is None else rate.processor


def fitted_on(samples: int) -> NDArray[np.int64]:
    """Numbers of the samples that set scales: every second one of up to 1024 evenly chosen."""
    return evenly(samples, MOST_SAMPLES)[::2]


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most so many of the numbers below a count."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def choices(search: Search) -> tuple[dict[str, int], dict[str, int]]:
    """The options ``levels`` and ``weights`` of `convert_onnx` for what was chosen."""
    assert search.chosen is not None
    trial = search.trials[search.chosen]
    return by_name(search.layers, trial.levels), by_name(search.layers, trial.weights)


def by_name(names: tuple[str, ...], numbers: tuple[int, ...]) -> dict[str, int]:
    """The most frequent number under ``"*"``, and those that differ by name."""
    common = Counter(numbers).most_common(1)[0][0]
    others = {name: number for name, number in zip(names, numbers, strict=True) if number != common}
    return {EVERY_OTHER: common, **others}


def sharers(network: Network) -> tuple[tuple[int, ...], ...]:
    """By layer, itself and the pools whose activity its levels decide; empty where levels are fixed."""
    result: list[tuple[int, ...]] = []
    for number, layer in enumerate(network.layers):
        is_last = number == len(network.layers) - 1
        if number == 0 or network.is_quantized or (is_last and layer.is_linear) or is_pool(network, number):
            result.append(())
            continue
        reached = [number]
        for later in range(number + 1, len(network.layers)):
            if is_pool(network, later) and network.layers[later].links[0].source in reached:
                reached.append(later)
        result.append(tuple(reached))
    return tuple(result)


def weighted(network: Network) -> tuple[bool, ...]:
    """By layer, whether it has weights that may have 4 bits."""
    return tuple(
        number > 0 and not network.is_quantized and not is_pool(network, number)
        for number in range(len(network.layers))
    )


@dataclass(frozen=True, eq=False)
class Bench:
    """What all graphs of a search share. ``fit``, ``held_out``: numbers of samples."""

    network: Network
    run: FloatNetwork
    statistics: list[Statistics]
    spec: InputSpec
    neuron: LevelInput
    scale: Float
    inputs: State
    labels: NDArray[np.int64] | None
    fit: NDArray[np.int64]
    held_out: NDArray[np.int64]
    expected: Array
    exact: list[list[Array]]
    file: str
    events: EventOptions | None

    @classmethod
    def of(cls, network: Network, calibration: Calibration, events: EventOptions | None, file: str) -> Bench:
        """Runs the network on the samples."""
        x = samples_for(calibration, network.input.name, network.input.shape)
        check_classes(network.layers[-1].size, calibration, None)
        if len(x) < LEAST_SAMPLES:
            raise DataError(
                f"{len(x)} calibration samples are too few to measure accuracy on half of them",
                "give some hundred",
                "calibration-few",
            )
        spec, neuron, scale, inputs = levels_of_input(network, x, events)
        run = FloatNetwork(network)
        fit = fitted_on(len(x))
        rest = np.setdiff1d(np.arange(len(x)), fit)
        held_out = rest[evenly(len(rest), MOST_SAMPLES // 2)]
        return cls(
            network=network,
            run=run,
            statistics=measure(network, run, x[fit], lambda share: None),
            spec=spec,
            neuron=neuron,
            scale=scale,
            inputs=inputs,
            labels=None if calibration.y is None else calibration.y[held_out],
            fit=fit,
            held_out=held_out,
            expected=np.concatenate([values[-1] for _, values in float_values(network, run, x[held_out])]),
            exact=[values for _, values in float_values(network, run, x[held_out[:SENSITIVITY_SAMPLES]])],
            file=file,
            events=events,
        )

    @property
    def measure(self) -> str:
        """What `result` is."""
        if self.network.layers[-1].size == 1:
            return "fidelity"
        return "agreement" if self.labels is None else "accuracy"

    def result(self, scores: Array) -> float:
        """Accuracy, agreement or fidelity of scores (held-out samples, height, width, channels)."""
        if self.measure == "fidelity":
            noise = np.square(scores - self.expected, dtype=np.float64).sum()
            return float(1 - noise / max(np.square(self.expected, dtype=np.float64).sum(), 1e-30))
        axes = [axis + 1 for axis in self.network.output.axes]
        answers, expected = (
            values.transpose(0, *axes).reshape(len(values), -1).argmax(axis=1)
            for values in (scores, self.expected)
        )
        return float((answers == (expected if self.labels is None else self.labels)).mean())

    def attempt(self, precision: Precision, alone: bool) -> Attempt:
        """Quantizes on one half of the samples, and measures on the other; ``alone``: also layer by layer."""
        fit = self.inputs[self.fit]
        quantized = quantize(
            self.network, self.statistics, fit, self.neuron, self.scale, precision, lambda share: None
        )
        graph = graph_of(quantized, self.network, self.spec, fit, bytes(32), self.file, self.events, None)
        scores, synops = [], np.zeros(len(graph.populations))
        for start in range(0, len(self.held_out), 64):
            states = settle(graph, self.inputs[self.held_out[start : start + 64]])
            synops += np.array(work(graph, states).synops_of) * len(states[0]) / len(self.held_out)
            scores.append(states[-1] * quantized.scales[-1])
        examination = Examination(graph, quantized, self.network) if alone else None
        if examination:
            start = 0
            for values in self.exact:
                part = self.inputs[self.held_out[start : start + len(values[0])]]
                examination.add(values, settle(graph, part))
                start += len(part)
        count = len(graph.populations)
        return Attempt(
            layers=layer_reports(graph, (0,) * count, (None,) * count, (None,) * count),
            flash=len(encode_model(graph)) + kept_bytes(graph, precision),
            ram_streaming=streaming_bytes(graph),
            ram_one_shot=one_shot_bytes(graph),
            synops_of=tuple(synops.tolist()),
            result=self.result(np.concatenate(scores)),
            examination=examination,
        )


def kept_bytes(graph: Graph, precision: Precision) -> int:
    """About what the finished file has more than this graph's: measurements and certificate."""
    names = tuple(population.name for population in graph.populations)
    kept = {
        "levels": by_name(names, precision.levels),
        "weights": by_name(names, precision.weights),
        "errors": dict.fromkeys(names, 0.123456789012345678),
        "bounds": [1 << 24] * len(names),
    }
    return len(json.dumps(kept)) + KEPT_BYTES
