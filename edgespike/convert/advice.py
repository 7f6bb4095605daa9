"""What to try when a conversion lost accuracy: plain rules on the numbers of its diagnosis.

The culprit is the layer that, quantized alone, leaves the scores the least signal-to-noise ratio.
What to try there follows from which of its own parts is the noisiest: values beyond the last
level, rounding to levels, or weights. docs/convert.md lists the rules.
"""

from __future__ import annotations

from dataclasses import replace

from edgespike.convert.dense import level_range
from edgespike.convert.precision import MOST_LEVELS
from edgespike.convert.report import Diagnosis, LayerDiagnosis, LayerReport, Report, short_name
from edgespike.graph import Activation, Graph, LevelInput, MaxPool

FALLEN = 0.005  # of accuracy
DISAGREE = 0.02  # without labels
LEAST_RATIO = 20.0  # dB, of a single score
CLIPPED = 0.001
FEW_SAMPLES = 200
ALONE = 6.0  # dB: nearer to the model's own ratio than this, a layer explains most of the noise


def with_advice(report: Report, diagnosis: Diagnosis, graph: Graph) -> Report:
    """The report with a diagnosis of the same graph, and advice if something was lost."""
    levels = []
    for population in graph.populations:
        has_levels = isinstance(population.neuron, LevelInput | Activation | MaxPool)
        low, high = level_range(population) if has_levels else (0, 0)
        levels.append(high - low)
    found = advice(report, diagnosis, tuple(levels))
    return replace(report, diagnosis=replace(diagnosis, advice=found))


def advice(report: Report, diagnosis: Diagnosis, levels: tuple[int, ...]) -> tuple[str, ...]:
    """What was lost, where, and what to try; nothing if little was lost.

    Args:
        report: of the conversion, on all samples.
        diagnosis: of the same.
        levels: by population, greatest minus least level; 0 where there are none.
    """
    lost = what_was_lost(report, diagnosis)
    noisy = [layer for layer in diagnosis.layers if layer.snr_scores is not None]
    if not lost or not noisy:
        return ()
    ranked = sorted(noisy, key=lambda layer: layer.snr_scores or 0.0)
    culprit = ranked[0]
    number = diagnosis.layers.index(culprit)
    why = reason(culprit, report.layers[number], levels[number])
    found = [f"{lost}, most in {short_name(culprit.name)}: {why}"]
    total = diagnosis.layers[-1].snr
    if len(ranked) > 1 and total is not None and (culprit.snr_scores or 0.0) > total + ALONE:
        found.append(
            f"no layer explains it alone, the errors add up: try the same in {short_name(ranked[1].name)}, "
            "or more levels everywhere"
        )
    if report.samples < FEW_SAMPLES:
        found.append(f"more calibration samples than these {report.samples} may help")
    return tuple(found)


def what_was_lost(report: Report, diagnosis: Diagnosis) -> str:
    """In words; empty if it is little."""
    if report.accuracy is not None and report.accuracy_float is not None and report.agreement is not None:
        lost = report.accuracy_float - report.accuracy
        return f"conversion costs {100 * lost:.1f} points of accuracy" if lost > FALLEN else ""
    if report.agreement is not None:
        lost = 1 - report.agreement
        return f"the model says something else in {lost:.1%} of the samples" if lost > DISAGREE else ""
    ratio = diagnosis.layers[-1].snr
    return f"the output's signal-to-noise ratio is {ratio:.1f} dB" if ratio and ratio < LEAST_RATIO else ""


def reason(layer: LayerDiagnosis, cost: LayerReport, levels: int) -> str:
    """What is noisiest in a layer, and what to try there."""
    weights_are_fine = layer.snr_weights is None or (
        layer.snr_levels is not None and layer.snr_levels <= layer.snr_weights
    )
    if layer.clipped >= CLIPPED and layer.clip_noise >= 0.5:
        return (
            f"{layer.clipped:.1%} of its values lie beyond its last level. More or other calibration "
            "samples, that show them, or more levels there"
        )
    if weights_are_fine and cost.kind == "LevelInput" and levels == MOST_LEVELS:
        return f"the input has {levels} levels. Clip its outliers, or bring its channels to one size"
    if weights_are_fine and levels < MOST_LEVELS:
        return f"it has {levels} levels. Try more levels there, up to 255 (--levels LAYER=255)"
    if weights_are_fine:
        return (
            "255 levels are not enough for its values. Train with batch normalization or a "
            "clip (Relu6) there, so that they are of one size"
        )
    if cost.weight_bits == 4:
        return "its weights have 4 bits. Try 8-bit weights there (--weights LAYER=8)"
    return (
        f"its {min(cost.weight_bits, 8)}-bit weights are too coarse: a channel's differ much in size. "
        "Train with weight decay, or with batch normalization after it"
    )
