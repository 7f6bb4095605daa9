"""Converts an ONNX network into a graph of activation populations."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike import __version__
from edgespike.convert.advice import with_advice
from edgespike.convert.calibration import Calibration, check_classes, samples_for
from edgespike.convert.certificate import certify, to_metadata
from edgespike.convert.comparison import DOUBTFUL, better_range, compare
from edgespike.convert.dense import State
from edgespike.convert.diagnosis import diagnose
from edgespike.convert.event_input import (
    EventOptions,
    check_layout,
    event_counts,
    input_spec,
    real_table,
    saturation_of,
)
from edgespike.convert.float_network import FloatNetwork
from edgespike.convert.measure import measure
from edgespike.convert.precision import MOST_LEVELS, Choice, precision_of
from edgespike.convert.quantize import Quantized, input_scale, quantize, quantize_input
from edgespike.convert.reference_state import with_best_reference
from edgespike.convert.report import Report, memory, summary
from edgespike.convert.self_test import golden_self_test
from edgespike.graph import Graph, InputSpec, LevelInput
from edgespike.importers.network import Float, Network
from edgespike.importers.onnx import read_onnx

QUANTIZATION_SAMPLES = 1024
REFERENCE_SAMPLES = 256

Progress = Callable[[str, float], None]


def convert_onnx(
    path: str | Path,
    calibration: Calibration,
    *,
    levels: Choice = 255,
    weights: Choice = 8,
    events: EventOptions | None = None,
    classes: Sequence[str] | None = None,
    shape: tuple[int, ...] | None = None,
    output: str | None = None,
    fixed: Mapping[str, float] | None = None,
    fit_on: Sequence[int] | NDArray[np.int64] | None = None,
    progress: Progress | None = None,
) -> tuple[Graph, Report]:
    """Converts the network in an ONNX file.

    Args:
        path: the file.
        calibration: samples of what the network will see. Some hundred; up to 1024 of them
            set scales, all are measured.
        levels: greatest level of an activation, 1 to 255, for all layers or by name; ``"*"``
            stands for those not named. The input keeps up to 255 levels unless it is named: they
            cost nothing but bits of an event's payload. Max pools have their source's levels.
        weights: bits of a weight, 8 or 4, for all layers or by name.
        events: makes a network trained on event counts take events.
        classes: names of the scores.
        shape: of the network's input, batch axis included, where the file leaves it open.
        output: the name of the scores, where the file has several outputs.
        fixed: inputs, by name, that always have one number, where the file has several inputs.
        fit_on: numbers of the samples that set scales; None: up to 1024, evenly chosen.
        progress: called with the name of a step and the share of the whole that is done.

    Returns:
        The graph and a report.

    Raises:
        ModelError, UnsupportedError: the file cannot be converted.
        DataError: the calibration data do not fit it.
        UsageError: options that contradict each other or the network.
    """
    tell = progress or (lambda step, share: None)
    tell("reading", 0.0)
    grid = None if events is None else (events.channels, events.height, events.width)
    network = read_onnx(path, grid, shape, output, fixed)
    chosen_precision = precision_of(network, levels, weights)
    x = samples_for(calibration, network.input.name, network.input.shape)
    check_classes(network.layers[-1].size, calibration, classes)
    spec, neuron, scale, inputs = levels_of_input(network, x, events, chosen_precision.levels[0])
    tell("running the float network", 0.1)
    run = FloatNetwork(network)
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), QUANTIZATION_SAMPLES)).astype(int))
    chosen = chosen if fit_on is None else np.asarray(fit_on)
    statistics = measure(
        network, run, x[chosen], lambda share: tell("running the float network", 0.1 + 0.1 * share)
    )
    run.check(x)
    tell("quantizing", 0.2)
    quantized = quantize(
        network,
        statistics,
        inputs[chosen],
        neuron,
        scale,
        chosen_precision,
        lambda share: tell("quantizing", 0.2 + 0.3 * share),
    )
    tell("choosing the reference", 0.5)
    digest = hashlib.sha256(Path(path).read_bytes()).digest()
    graph = graph_of(quantized, network, spec, inputs[chosen], digest, Path(path).name, events, classes)
    tell("comparing", 0.6)
    comparison = compare(
        graph, quantized, network, run, x, inputs, lambda share: tell("comparing", 0.6 + 0.15 * share)
    )
    certificate = certify(graph, calibration, lambda share: tell("proving", 0.75 + 0.1 * share))
    report = replace(comparison.report(graph, calibration.y), certificate=certificate)
    if calibration.y is not None and (report.accuracy_float or 0.0) < DOUBTFUL:
        hint = better_range(run, x, calibration.y)
        report = replace(report, warnings=(*report.warnings, *([hint] if hint else [])))
    diagnosis = diagnose(
        graph,
        quantized,
        network,
        run,
        x,
        inputs,
        calibration.y,
        lambda s: tell("diagnosing", 0.85 + 0.15 * s),
    )
    report = with_advice(report, diagnosis, graph)
    kept = {
        "conversion": {"levels": plain_choice(levels), "weights": plain_choice(weights), **summary(report)},
        "certificate": to_metadata(certificate),
        **({"fixed_inputs": dict(fixed)} if fixed else {}),
    }
    graph = replace(graph, metadata={**graph.metadata, **kept})
    tell("done", 1.0)
    ram_streaming, ram_one_shot, flash = memory(graph)
    return graph, replace(report, ram_streaming=ram_streaming, ram_one_shot=ram_one_shot, flash=flash)


def graph_of(
    quantized: Quantized,
    network: Network,
    spec: InputSpec,
    inputs: State,
    digest: bytes,
    file: str,
    events: EventOptions | None,
    classes: Sequence[str] | None,
) -> Graph:
    """The graph of a quantized network, with a reference and a self-test chosen from these input levels."""
    graph = Graph(quantized.populations, quantized.projections, spec, source_hash=digest)
    graph = with_best_reference(graph, inputs[:REFERENCE_SAMPLES])
    graph = replace(graph, self_test=golden_self_test(graph, inputs))
    return replace(graph, metadata=metadata(network, quantized, file, events, classes))


# ---- input -----------------------------------------------------------------------


def levels_of_input(
    network: Network, x: NDArray[Any], events: EventOptions | None, most: int = MOST_LEVELS
) -> tuple[InputSpec, LevelInput, Float, State]:
    """The graph's input, the real size of its levels by channel, and the samples as levels of its neurons.

    ``most``: greatest minus least level, where the network does not bring its levels along.
    """
    layout = network.input
    grid = x.reshape(len(x), *layout.grid).transpose(0, *(axis + 1 for axis in layout.axes))
    channels = grid.shape[-1]
    if events is not None:
        check_layout(events, layout, network.layers[0].shape)
        counts = event_counts(events, grid)
        saturation = saturation_of(events, counts)
        real = real_table(events, layout, saturation)
        scale, low, high = input_scale(real.T, most)
        table = quantize_input(real.T, scale, low, high).T
        levels = table[np.arange(channels), np.minimum(counts, saturation)]
        return input_spec(events, saturation, table), LevelInput(low, high), scale, levels
    given = network.layers[0].levels
    if given is not None:
        scale = np.full(channels, given.scale)
        real = grid.astype(np.float64) * layout.multiply + layout.add
        levels = quantize_input(real, scale, given.low, given.high)
        return InputSpec(), LevelInput(given.low, given.high), scale, levels
    known = grid if grid.dtype != np.uint8 else np.concatenate([grid, full_range(grid)])
    scale, low, high = input_scale((known * layout.multiply + layout.add).reshape(-1, channels), most)
    levels = quantize_input(grid.astype(np.float64) * layout.multiply + layout.add, scale, low, high)
    return InputSpec(), LevelInput(low, high), scale, levels


def full_range(x: NDArray[Any]) -> NDArray[Any]:
    """Two samples that hold the least and the greatest value of x's type."""
    info = np.iinfo(x.dtype)
    return np.stack([np.full_like(x[0], info.min), np.full_like(x[0], info.max)])


def metadata(
    network: Network,
    quantized: Quantized,
    file: str,
    events: EventOptions | None,
    classes: Sequence[str] | None,
) -> dict[str, Any]:
    """The keys of docs/metadata.md."""
    layout, output = network.input, network.output
    scale = quantized.scales[0]
    own = (scale != scale[0]).any()  # by channel: the arithmetic brings all to levels of 1
    described: dict[str, Any] = {
        "name": layout.name,
        "shape": list(layout.shape),
        "grid": list(layout.grid),
        "axes": list(layout.axes),
        "multiply": plain(layout.multiply / scale if own else layout.multiply),
        "add": plain(layout.add / scale if own else layout.add),
        "scale": 1.0 if own else float(scale[0]),
    }
    if events is not None:
        described["event_scale"] = events.event_scale
    return {
        "producer": f"edgespike {__version__}",
        "source": {"file": file, "format": "onnx"},
        "input": described,
        "output": {
            "name": output.name,
            "shape": list(output.shape),
            "axes": list(output.axes),
            "scale": float(quantized.scales[-1][0]),
            "transform": output.transform,
            **({"label_shape": list(output.label_shape)} if output.transform == "argmax" else {}),
        },
        "populations": [population.name for population in quantized.populations],
        "classes": None if classes is None else list(classes),
    }


def plain(values: Float) -> float | list[float]:
    """A number where all channels have the same, else a list."""
    return float(values[0]) if (values == values[0]).all() else values.tolist()


def plain_choice(choice: Choice) -> int | dict[str, int]:
    """A choice as JSON."""
    return choice if isinstance(choice, int) else dict(choice)
