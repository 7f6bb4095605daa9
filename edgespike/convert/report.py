"""What a conversion did, for people and programs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from edgespike.arena import neuron_state_bytes, one_shot_bytes, streaming_bytes
from edgespike.convert.certificate import Certificate
from edgespike.graph import Convolution, Dense, Graph, OneToOne, Shape
from edgespike.modelfile import encode_model

FEW_SAMPLES = 50


@dataclass(frozen=True)
class LayerReport:
    """One population.

    ``weights`` and ``weight_bits`` are those of what ends in it. ``bound``: proved; the
    greatest absolute accumulator value, or, of a membrane, the greatest input of one tick.
    ``activity``: share of neurons that speak in a sample given at once after reset, or, in
    a spiking network, in one tick; None where it was not measured. ``error``: relative RMS
    error against the float network, or, in a spiking network, of the number of spikes;
    None for the input and where it was not measured.
    """

    name: str
    kind: str
    shape: Shape
    weight_bits: int
    weights: int
    weight_bytes: int
    state_bytes: int
    accumulator_bits: int
    bound: int
    activity: float | None
    error: float | None


@dataclass(frozen=True)
class LayerDiagnosis:
    """One population. Ratios are in dB, None where there is no difference at all.

    ``snr``: in the model, with all that the layers before lost. ``snr_alone``: quantized alone;
    ``snr_levels``: with only its values rounded to levels; ``snr_weights``: with only its weights
    and bias as they are in the model. ``snr_scores``: of the network's scores, with this layer
    quantized alone. ``result_alone``: accuracy (or agreement, see `Diagnosis`) then.
    ``clipped``: share of values more than half a level beyond the last level. ``clip_noise``:
    their share of the noise of rounding to levels. ``silent``: share of neurons whose level was
    0 in all samples. ``active``: share of levels that are not 0. ``synops``: synaptic
    operations a sample that its events cause.
    """

    name: str
    snr: float | None
    snr_alone: float | None
    snr_levels: float | None
    snr_weights: float | None
    snr_scores: float | None
    result_alone: float | None
    clipped: float
    clip_noise: float
    silent: float
    active: float
    synops: float


@dataclass(frozen=True)
class Diagnosis:
    """What was found on so many ``samples``.

    ``measure``: ``"accuracy"`` with labels, ``"agreement"`` with the float network without,
    ``"none"`` where there is one score. ``result_float`` and ``result``: of the float network
    and of the model; None for ``"none"``. ``advice``: where accuracy was lost and what to try.
    """

    samples: int
    measure: str
    result_float: float | None
    result: float | None
    layers: tuple[LayerDiagnosis, ...]
    advice: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """A graph that a search tried.

    ``levels`` and ``weights``: levels and bits of the weights by layer, the input included.
    ``result``: see `Search`. ``synops``: synaptic operations a sample. ``ram_streaming``,
    ``ram_one_shot`` (0: no such plan) and ``flash``: bytes. ``fits``: within the whole budget.
    """

    levels: tuple[int, ...]
    weights: tuple[int, ...]
    result: float
    synops: float
    ram_streaming: int
    ram_one_shot: int
    flash: int
    fits: bool


@dataclass(frozen=True)
class Search:
    """A search for the cheapest graph within a budget.

    ``layers``: names. ``has_levels``, ``has_weights``: whether a layer's levels, and the bits of
    its weights, could be chosen. ``measure``: ``"accuracy"``, ``"agreement"`` without labels, or
    ``"fidelity"`` with one score: the share of its sum of squares that is no noise; on so many
    held-out ``samples``. ``result_float``: of the float network. ``max_drop``: what may be lost of
    it. ``ram`` and ``flash``: bytes allowed, None where they do not matter. ``trials``: from most
    to least work. ``chosen``: number of a trial, None if none fits; then ``obstacle`` says what
    is in the way. ``events_per_second``: what the budget's board works off of such samples
    (`edgespike.fit`), where that was asked for.
    """

    layers: tuple[str, ...]
    has_levels: tuple[bool, ...]
    has_weights: tuple[bool, ...]
    measure: str
    samples: int
    result_float: float
    max_drop: float
    ram: int | None
    flash: int | None
    trials: tuple[Trial, ...]
    chosen: int | None
    obstacle: str
    events_per_second: float | None = None


@dataclass(frozen=True)
class Report:
    """A conversion.

    ``ram_streaming``, ``ram_one_shot`` (0: no such plan) and ``flash`` in bytes.
    ``samples``: how many calibration samples were measured. ``accuracy_float`` and
    ``accuracy``: share of right top-1 answers on them, None without labels;
    ``agreement``: share where both give the same answer, None for one score.
    ``synops``: synaptic operations a sample; ``macs``: those of the dense network.
    ``certificate``: what was proved, ``diagnosis``: where accuracy was lost; None for spiking
    networks. ``search``: what came of a budget, None without one.
    """

    layers: tuple[LayerReport, ...]
    ram_streaming: int
    ram_one_shot: int
    flash: int
    samples: int
    accuracy_float: float | None
    accuracy: float | None
    agreement: float | None
    synops: float
    macs: int
    warnings: tuple[str, ...] = ()
    certificate: Certificate | None = None
    diagnosis: Diagnosis | None = None
    search: Search | None = None

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(asdict(self))


def layer_reports(
    graph: Graph,
    bounds: tuple[int, ...],
    activity: tuple[float | None, ...],
    errors: tuple[float | None, ...],
) -> tuple[LayerReport, ...]:
    """A row for each population."""
    rows = []
    for number, population in enumerate(graph.populations):
        weighted = [
            projection.connection
            for projection in graph.incoming(number)
            if isinstance(projection.connection, Dense | Convolution | OneToOne)
        ]
        rows.append(
            LayerReport(
                name=population.name,
                kind=type(population.neuron).__name__,
                shape=population.shape,
                weight_bits=max((connection.weight_bits for connection in weighted), default=0),
                weights=sum(connection.weight.size for connection in weighted),
                weight_bytes=sum((c.weight.size * c.weight_bits + 7) // 8 for c in weighted),
                state_bytes=neuron_state_bytes(graph, number),
                accumulator_bits=population.accumulator_bits,
                bound=bounds[number],
                activity=activity[number],
                error=errors[number],
            )
        )
    return tuple(rows)


def short_name(name: str, width: int = 22) -> str:
    """A layer's name for readers: exporters join the names of all that they fused by semicolons."""
    first = name.partition(";")[0]
    return first if len(first) <= width else "..." + first[3 - width :]


def memory(graph: Graph) -> tuple[int, int, int]:
    """Arena bytes of the streaming and the one-shot plan, and the size of the model file."""
    return streaming_bytes(graph), one_shot_bytes(graph), len(encode_model(graph))


def dense_macs(graph: Graph) -> int:
    """Multiply-accumulates of one dense pass: pairs of a source and a target neuron with a weight between."""
    from edgespike.reference import fan_out

    total = 0
    for projection in graph.projections:
        if isinstance(projection.connection, Dense | Convolution | OneToOne):
            source, target = graph.populations[projection.source], graph.populations[projection.target]
            total += int(fan_out(projection.connection, source.shape, target.shape).sum())
    return total


def warnings_of(report: Report, changing: tuple[float, ...], x_range: tuple[float, float]) -> tuple[str, ...]:
    """What a user should look at.

    Args:
        report: of the conversion.
        changing: by layer, the share of channels that were not the same in all samples.
        x_range: least and greatest value of the calibration samples.
    """
    found = []
    if report.samples < FEW_SAMPLES:
        found.append(f"only {report.samples} calibration samples; some hundred give better scales")
    for layer, share in zip(report.layers[1:], changing[1:], strict=True):
        if share == 0:
            found.append(f"{short_name(layer.name)}: constant, whatever the sample")
        elif share < 0.5:
            found.append(f"{short_name(layer.name)}: {1 - share:.0%} of its channels are constant (dead)")
        if layer.error is not None and layer.error > 0.5:
            found.append(
                f"{short_name(layer.name)}: differs by {layer.error:.0%} from the float network; "
                "are its weights, or the values that it sees, of very different sizes?"
            )
    classes = math.prod(report.layers[-1].shape)
    before = report.accuracy_float
    if before is not None and classes > 1 and before < 1.5 / classes:
        found.append(
            f"the network before conversion is right in {before:.1%} of the samples, by chance: check "
            f"the labels, and that it was trained on values of {x_range[0]:g} to {x_range[1]:g}"
        )
    return tuple(found)


def summary(report: Report) -> dict[str, Any]:
    """What the model file's metadata keep of it."""
    return {
        "samples": report.samples,
        "accuracy_float": report.accuracy_float,
        "accuracy": report.accuracy,
        "agreement": report.agreement,
        "synops": report.synops,
        "macs": report.macs,
        "errors": {layer.name: layer.error for layer in report.layers if layer.error is not None},
    }
