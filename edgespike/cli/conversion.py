"""What a conversion's report looks like: JSON values, and tables of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import Any

from edgespike.cli.budget import show_search
from edgespike.cli.inspect import NEURON_KINDS
from edgespike.cli.output import byte_count, percent, print_fields, print_table
from edgespike.convert import ExitReport, Report
from edgespike.convert.report import Diagnosis, short_name

__all__ = ["describe", "show", "show_exit"]


def describe(report: Report, early_exit: ExitReport | None = None) -> dict[str, Any]:
    """A report as JSON values."""
    kinds = {neuron.__name__: kind for neuron, kind in NEURON_KINDS.items()}
    layers = [{**asdict(layer), "kind": kinds[layer.kind]} for layer in report.layers]
    return {
        **asdict(report),
        "layers": layers,
        "ram_one_shot": report.ram_one_shot or None,
        "early_exit": early_exit and asdict(early_exit),
    }


def show(report: Report, output: Path, original: str) -> None:
    """Prints a report at 80 columns."""
    measured = report.diagnosis is None  # else the table below says more
    print_table(
        ["layer", "shape", "weights", "weight\nbits", "weight\nbytes", "state\nbytes", "sum\nbits"]
        + (["active", "error"] if measured else []),
        [
            (
                short_name(layer.name),
                "x".join(map(str, layer.shape)),
                f"{layer.weights:,}" if layer.weights else "-",
                layer.weight_bits or "-",
                f"{layer.weight_bytes:,}" if layer.weights else "-",
                f"{layer.state_bytes:,}",
                layer.accumulator_bits or "-",
                *((percent(layer.activity, 0), percent(layer.error)) if measured else ()),
            )
            for layer in report.layers
        ],
    )
    print()
    if report.diagnosis:
        show_diagnosis(report.diagnosis)
        print()
    if report.search:
        print("Tried within the budget, on samples held out (< chosen)")
        show_search(report.search)
        print()
    print_fields(costs(report, output, original))
    if report.diagnosis and report.diagnosis.advice:
        print()
        for line in report.diagnosis.advice:
            print(fill(f"{line[0].upper()}{line[1:]}.", 80))


def show_exit(report: ExitReport) -> None:
    """Prints what early exit saves."""
    if not report.margin:
        return
    share = percent(report.ticks / report.ticks_full if report.ticks_full else None)
    looks = f"looks every {report.every} ticks from {report.first} on"
    print()
    print_fields(
        [
            (
                "early exit",
                f"margin {report.margin:,}, {looks}",
            ),
            ("measured on", f"{report.samples:,} samples; chosen on {report.chosen_on:,} others"),
            ("accuracy", f"{percent(report.accuracy)}, without {percent(report.accuracy_full)}"),
            ("ticks", f"{report.ticks:,.1f} of {report.ticks_full:,.1f}: {share}"),
            ("synops", f"{percent(report.work)} of those without"),
        ]
    )


def show_diagnosis(diagnosis: Diagnosis) -> None:
    """Prints where accuracy was lost."""
    result = {"accuracy": "right", "agreement": "same", "none": ""}[diagnosis.measure]
    print_table(
        [
            "signal to noise\nby layer",
            "SNR\ndB",
            "alone\ndB",
            "scores\ndB",
            f"{result}\n%",
            "clip\n%",
            "silent\n%",
            "active\n%",
            "synops",
        ],
        [
            (
                short_name(layer.name, 18),
                decibels(layer.snr),
                decibels(layer.snr_alone),
                decibels(layer.snr_scores),
                "-" if layer.result_alone is None else f"{100 * layer.result_alone:.1f}",
                f"{100 * layer.clipped:.1f}",
                f"{100 * layer.silent:.0f}",
                f"{100 * layer.active:.0f}",
                f"{layer.synops:,.0f}",
            )
            for layer in diagnosis.layers
        ],
    )


def decibels(ratio: float | None) -> str:
    """A signal-to-noise ratio; float arithmetic itself has about 130 dB."""
    return "exact" if ratio is None or ratio > 120 else f"{ratio:.1f}"


def costs(report: Report, output: Path, original: str) -> Iterator[tuple[str, str]]:
    """What the model takes, and how good it is."""
    yield "RAM streaming", byte_count(report.ram_streaming)
    yield (
        "RAM one-shot",
        byte_count(report.ram_one_shot) if report.ram_one_shot else "needs the streaming plan",
    )
    yield "flash", f"{byte_count(report.flash)}: {output}"
    if report.samples:
        yield "synops a sample", f"{report.synops:,.0f} (dense: {report.macs:,})"
    if report.accuracy is not None:
        yield "accuracy", f"{percent(report.accuracy)} on {report.samples:,} calibration samples"
        yield original, percent(report.accuracy_float)
    if report.agreement is not None:
        yield "agreement", percent(report.agreement)
    if report.search and report.search.events_per_second is not None:
        yield "the board", f"works off about {report.search.events_per_second:,.0f} such events a second"
    if report.certificate:
        yield (
            "certificate",
            f"equals its dense twin on {report.certificate.samples:,} samples, in every state",
        )
        most = f"{report.certificate.event_events:,} events, {report.certificate.event_synops:,} synops"
        yield "one input event", f"causes at most {most}"
