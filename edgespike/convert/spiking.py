"""A NIR file to an integer spiking graph, with a report of what it costs and loses."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from edgespike import __version__
from edgespike.convert.calibration import Calibration, check_classes
from edgespike.convert.discretise import (
    FloatInterpreter,
    Profile,
    ProfileOptions,
    choose_profile,
    discretise,
)
from edgespike.convert.exporters import put_right
from edgespike.convert.plausibility import never_spikes, plausibility
from edgespike.convert.precision import MOST_LEVELS, Choice, precision
from edgespike.convert.report import Report, dense_macs, layer_reports, memory, summary
from edgespike.convert.spiking_units import (
    DECAY_ONE,
    MOST_EVENTS,
    QuantizedPopulation,
    Sent,
    quantize_network,
)
from edgespike.errors import DataError, UsageError
from edgespike.graph import (
    CORE_EVENT,
    Graph,
    InputSpec,
    IntegrateAndFire,
    Population,
    Readout,
    SelfTest,
    SpikeInput,
)
from edgespike.importers.nir import read_nir
from edgespike.importers.spiking_network import FloatNetwork, SumPool
from edgespike.modelfile import encode_model, self_test_events
from edgespike.reference import ReferenceNetwork
from edgespike.session import InferenceSession

__all__ = ["convert_nir"]

Array = NDArray[np.float64]
Progress = Callable[[str, float], None]
REAL_LEVELS = 255  # a real-valued input has this many steps from 0 to its maximum
TEST_EVENTS = 256  # in the golden self-test, at most
CHUNK = 16  # samples that the float network runs side by side


def convert_nir(
    path: str | Path,
    *,
    dt: float | None = None,
    window: float | None = None,
    weights: Choice = 8,
    calibration: Calibration | None = None,
    classes: Sequence[str] | None = None,
    progress: Progress | None = None,
    **profile_options: Unpack[ProfileOptions],
) -> tuple[Graph, Report]:
    """Convert the network in a NIR file.

    Args:
        path: the file.
        dt: seconds in a tick, a whole number of microseconds.
        window: seconds of a classification, a multiple of ``dt``; None: ended from outside.
        weights: bits of a weight, 8 or 4, for all populations or by the name of the one it ends
            in; ``"*"`` stands for those not named.
        calibration: ``x`` of shape (samples, ticks, *input shape), currents or spikes. It
            sets the input's scale and budget, and everything in the report is measured on
            it. Without it the input takes events of value 1 and more, and nothing is measured.
        classes: names of the scores.
        progress: called with the name of a step and the share of the whole that is done.
        profile_options: what else NIR leaves open, see `ProfileOptions`.

    Returns:
        The graph and a report.

    Raises:
        UsageError: dt, reset or compare missing, or an option that makes no sense.
        ModelError, UnsupportedError: the file cannot be converted.
        DataError: the calibration data do not fit it.
        BudgetError: a population's input does not fit 32 bits.
    """
    tell = progress or (lambda step, share: None)
    tell("reading", 0.0)
    profile = choose_profile(dt, **profile_options)
    network, notes = put_right(read_nir(path), profile)
    check_classes(math.prod(network.output_shape), calibration, classes)
    samples = None if calibration is None else samples_of(network, calibration)
    ticks = window_ticks(window, profile)
    tell("quantizing", 0.1)
    coding = code_input(network, samples)
    names = [population.name for population in network.populations]
    bits = precision(names, MOST_LEVELS, weights).weights
    if 16 in bits:
        raise UsageError(
            "weights of 16 bits: they are for accumulators of 16 bits, which spiking neurons do not have",
            "choose 8 or 4",
            "weights",
        )
    quantized = quantize_network(network, profile, coding.sent, bits)
    graph = assemble(network, profile, coding, quantized, ticks)
    source = {"file": Path(path).name, "format": "nir"}
    graph = replace(
        graph,
        source_hash=hashlib.sha256(Path(path).read_bytes()).digest(),
        metadata={**graph.metadata, "source": source, "classes": None if classes is None else list(classes)},
    )
    graph = replace(graph, self_test=golden_self_test(graph, samples))
    tell("comparing", 0.2)
    report = compare_with_float(network, profile, graph, quantized, samples, calibration, tell)
    report = replace(report, warnings=(*notes, *report.warnings))
    graph = replace(graph, metadata={**graph.metadata, "conversion": summary(report)})
    tell("done", 1.0)
    return graph, replace(report, flash=len(encode_model(graph)))


# ---- options and samples ----------------------------------------------------


def window_ticks(window: float | None, profile: Profile) -> int:
    """A window's length in ticks; 0 for none."""
    if window is None:
        return 0
    ticks = window / profile.dt
    if not 1 <= ticks < 1 << 31 or abs(ticks - round(ticks)) > 1e-6 * ticks:
        raise UsageError(
            f"a window of {window:g} s is no whole number of ticks of {profile.dt:g} s",
            "choose a multiple of dt",
            "window",
        )
    return round(ticks)


def samples_of(network: FloatNetwork, calibration: Calibration) -> Array:
    """Samples as (samples, ticks, height, width, channels), float64."""
    x = calibration.x
    if x.ndim < 3 or x.shape[2:] != network.input_shape:
        expected = ", ".join(map(str, network.input_shape))
        raise DataError(
            f"calibration x has shape {x.shape}, expected (samples, ticks, {expected})",
            "a sample of a spiking network has a leading axis of ticks",
            "calibration-shape",
        )
    height, width, channels = network.populations[0].shape
    return np.moveaxis(x.reshape(*x.shape[:2], channels, height, width).astype(np.float64), 2, -1)


# ---- what goes in -----------------------------------------------------------


@dataclass(frozen=True)
class InputCoding:
    """How real input values become event values: ``round(x / scale)``, one event if not 0."""

    scale: float
    neuron: SpikeInput

    @property
    def sent(self) -> Sent:
        """What the input's events are."""
        return Sent(self.scale, self.neuron.budget, self.neuron.budget, self.neuron.value_min < 0)


def code_input(network: FloatNetwork, samples: Array | None) -> InputCoding:
    """Whole numbers go in as they are; real values in steps of a 255th of the greatest.

    The budget of one tick is four times what the samples need, and no less than one
    event from every input neuron, or 1024.
    """
    scale, low, most = 1.0, 0, 0
    if samples is not None and samples.size:
        peak = float(np.abs(samples).max())
        if peak and (np.any(samples != np.round(samples)) or peak > MOST_EVENTS):
            scale = peak / REAL_LEVELS
        levels = np.floor(samples / scale + 0.5)
        low = -MOST_EVENTS if levels.min() < 0 else 0
        most = int(np.abs(levels).reshape(*levels.shape[:2], -1).sum(axis=2).max())
    budget = max(4 * most, math.prod(network.populations[0].shape), 1024)
    if any(isinstance(p.map, SumPool) and p.source == 0 for p in network.projections):
        budget = min(budget, MOST_EVENTS)  # a pool sends the sum of its window as one event
    return InputCoding(scale, SpikeInput(low, min(budget, MOST_EVENTS), budget))


# ---- the graph --------------------------------------------------------------


def assemble(
    network: FloatNetwork,
    profile: Profile,
    coding: InputCoding,
    quantized: list[QuantizedPopulation],
    window_ticks: int,
) -> Graph:
    """The integer graph, with the metadata that hosts need (docs/metadata.md)."""
    first = network.populations[0]
    height, width, channels = first.shape
    populations = (
        Population(first.name, first.shape, coding.neuron),
        *(q.population for q in quantized),
    )
    metadata: dict[str, Any] = {
        "producer": f"edgespike {__version__}",
        "input": {
            "name": network.input_name,
            "shape": list(network.input_shape),
            "grid": [channels, height, width],
            "axes": [1, 2, 0],
            "multiply": 1.0,
            "add": 0.0,
            "scale": coding.scale,
            "time_axis": True,
        },
        "output": {
            "name": network.output_name,
            "shape": list(network.output_shape),
            "scale": output_scale(quantized[-1]),
            "transform": "none",
        },
        "populations": [population.name for population in populations],
        "classes": None,
        "profile": {
            "framework": profile.framework,
            "dt": profile.dt,
            "reset": profile.reset,
            "compare": profile.compare,
            "decay": profile.decay,
            "gain": profile.gain,
            "current": profile.current,
            "map_ticks": profile.map_ticks,
            "initial": profile.initial,
            "max_spikes": profile.max_spikes,
            "populations": {q.population.name: _describe(q) for q in quantized},
        },
    }
    projections = [projection for q in quantized for projection in q.projections]
    return Graph(
        populations=populations,
        projections=tuple(sorted(projections, key=lambda p: (p.source, p.target))),
        input=InputSpec(profile.tick_us, window_ticks),
        metadata=metadata,
    )


def output_scale(last: QuantizedPopulation) -> float:
    """What one of a score is: a spike, a tick, or a step of a membrane, in which all channels are alike."""
    neuron = last.population.neuron
    assert isinstance(neuron, IntegrateAndFire)
    return 1.0 if neuron.readout in (Readout.SPIKES, Readout.FIRST_SPIKE) else float(last.unit.max())


def _describe(quantized: QuantizedPopulation) -> dict[str, Any]:
    """A population's numbers for `inspect`: [least, greatest] where neurons differ."""
    neuron = quantized.population.neuron
    assert isinstance(neuron, IntegrateAndFire)

    def span(values: NDArray[Any]) -> Any:
        low, high = values.min().item(), values.max().item()
        return low if low == high else [low, high]

    return {
        "unit": span(quantized.unit),
        "threshold": span(neuron.threshold),
        "decay": span(neuron.decay / DECAY_ONE),
        "rounding": neuron.rounding.name.lower(),
        "drive": span(neuron.drive),
        "reset_value": span(neuron.reset_value),
        "max_spikes": neuron.max_spikes,
        "readout": neuron.readout.name.lower(),
        **(
            {
                "current_decay": span(neuron.current.decay / DECAY_ONE),
                "current_drive": span(neuron.current.drive),
                "current_rounding": neuron.current.rounding.name.lower(),
            }
            if neuron.current
            else {}
        ),
        **(
            {
                "adaptation_decay": span(neuron.adaptation.decay / DECAY_ONE),
                "adaptation_increment": span(neuron.adaptation.increment),
            }
            if neuron.adaptation
            else {}
        ),
        "shift": max(projection.shift for projection in quantized.projections),
        "input_bound": quantized.bound,
        "membrane_max": neuron.membrane_max,
    }


# ---- the report -------------------------------------------------------------


def golden_self_test(graph: Graph, samples: Array | None) -> SelfTest:
    """A few events and what they must give: of the first sample, or else made up."""
    neuron = graph.populations[0].neuron
    assert isinstance(neuron, SpikeInput)
    if samples is not None:
        session = InferenceSession(graph, backend="reference")
        info = graph.metadata["input"]
        sample = np.moveaxis(samples[0], -1, 1).reshape(len(samples[0]), *info["shape"])
        events = session.sample_events(sample)[:TEST_EVENTS]
        events["tick"] -= events["tick"][:1]
    else:
        random = np.random.default_rng(0)
        height, width, channels = graph.populations[0].shape
        events = np.zeros(TEST_EVENTS, CORE_EVENT)
        events["tick"] = np.sort(random.integers(0, min(graph.input.window_ticks or 32, 32), TEST_EVENTS))
        events["y"], events["x"] = random.integers(0, (height, width), (TEST_EVENTS, 2)).T
        events["channel"] = random.integers(0, channels, TEST_EVENTS)
        events["value"] = 1
    events = self_test_events(graph, events)
    reference = ReferenceNetwork(graph)
    reference.push(events)
    reference.finish()
    return SelfTest(events, zlib.crc32(reference.output().astype("<i4").tobytes()))


def compare_with_float(
    network: FloatNetwork,
    profile: Profile,
    graph: Graph,
    quantized: list[QuantizedPopulation],
    samples: Array | None,
    calibration: Calibration | None,
    tell: Progress,
) -> Report:
    """What conversion did; with samples, the float and the integer network side by side."""
    warnings = [line for population in network.populations for line in plausibility(population, profile)]
    dynamics = [discretise(population, profile) for population in network.populations]
    silent = [never_spikes(network, number, dynamics) for number in range(1, len(dynamics))]
    warnings += [line for line in silent if line is not None]
    bounds = (0, *(q.bound for q in quantized))
    nothing: tuple[float | None, ...] = (None,) * len(bounds)
    streaming, one_shot, flash = memory(graph)
    report = Report(
        layers=layer_reports(graph, bounds, nothing, nothing),
        ram_streaming=streaming,
        ram_one_shot=one_shot,
        flash=flash,
        samples=0,
        accuracy_float=None,
        accuracy=None,
        agreement=None,
        synops=0.0,
        macs=dense_macs(graph),
        warnings=tuple(warnings),
    )
    if samples is None or calibration is None:
        return report
    count, ticks = samples.shape[:2]
    float_scores, float_spikes = run_float(network, profile, samples)
    tell("comparing", 0.5)
    scores, stats = run_integer(graph, calibration.x, tell)
    events = np.array([row["events"] for row in stats["populations"]], np.float64)
    sizes = np.array([population.size for population in graph.populations])
    errors = np.abs(events - float_spikes) / np.maximum(float_spikes, 1)
    for number, population in enumerate(graph.populations[1:], start=1):
        neuron = population.neuron
        if events[number] == 0 and isinstance(neuron, IntegrateAndFire) and neuron.max_spikes:
            warnings.append(
                f"node {population.name!r} never spiked on the calibration data "
                f"(float: {float_spikes[number]:.0f} times); check dt, gain and the input's scale"
            )
    answers, expected = scores.argmax(axis=1), float_scores.argmax(axis=1)
    labels = calibration.y
    return replace(
        report,
        layers=layer_reports(
            graph,
            bounds,
            tuple((events / (count * ticks * sizes)).tolist()),
            (None, *errors[1:].tolist()),
        ),
        samples=count,
        accuracy_float=None if labels is None else float((expected == labels).mean()),
        accuracy=None if labels is None else float((answers == labels).mean()),
        agreement=float((answers == expected).mean()) if scores.shape[1] > 1 else None,
        synops=stats["synops"] / count,
        macs=report.macs * ticks,
        warnings=tuple(warnings),
    )


def run_float(network: FloatNetwork, profile: Profile, samples: Array) -> tuple[Array, Array]:
    """Real scores (samples, scores), NIR's order, and events of every population in all."""
    events = np.zeros(len(network.populations))
    scores = []
    for start in range(0, len(samples), CHUNK):
        chunk = samples[start : start + CHUNK]
        interpreter = FloatInterpreter(network, profile, len(chunk))
        for tick in range(chunk.shape[1]):
            sent = interpreter.step(chunk[:, tick])
            events += [np.count_nonzero(values) for values in sent]
        scores.append(np.moveaxis(interpreter.scores, -1, 1).reshape(len(chunk), -1))
    return np.concatenate(scores), events


def run_integer(graph: Graph, x: NDArray[Any], tell: Progress) -> tuple[Array, dict[str, Any]]:
    """The same of the integer network: scores, and the statistics of all samples."""
    session = InferenceSession(graph)
    (output,) = session.get_outputs()
    (source,) = session.get_inputs()
    scores = []
    for number in range(len(x)):
        scores.append(session.run([output.name], {source.name: x[number : number + 1]})[0].reshape(-1))
        tell("comparing", 0.5 + 0.5 * (number + 1) / len(x))
    return np.stack(scores), session.stats()
