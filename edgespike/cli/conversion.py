"""What a conversion's report looks like: JSON values, and tables of 80 columns."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgespike.cli.inspect import NEURON_KINDS
from edgespike.cli.output import byte_count, percent, print_fields, print_table
from edgespike.convert import Report
from edgespike.convert.report import short_name

__all__ = ["describe", "show"]


def describe(report: Report) -> dict[str, Any]:
    """A report as JSON values."""
    kinds = {neuron.__name__: kind for neuron, kind in NEURON_KINDS.items()}
    layers = [{**asdict(layer), "kind": kinds[layer.kind]} for layer in report.layers]
    return {**asdict(report), "layers": layers, "ram_one_shot": report.ram_one_shot or None}


def show(report: Report, output: Path, original: str) -> None:
    """Prints a report at 80 columns."""
    print_table(
        [
            "layer",
            "shape",
            "weights",
            "weight\nbits",
            "weight\nbytes",
            "state\nbytes",
            "sum\nbits",
            "active",
            "error",
        ],
        [
            (
                short_name(layer.name),
                "x".join(map(str, layer.shape)),
                f"{layer.weights:,}" if layer.weights else "-",
                layer.weight_bits or "-",
                f"{layer.weight_bytes:,}" if layer.weights else "-",
                f"{layer.state_bytes:,}",
                layer.accumulator_bits or "-",
                percent(layer.activity, 0),
                percent(layer.error),
            )
            for layer in report.layers
        ],
    )
    print()
    one_shot = byte_count(report.ram_one_shot) if report.ram_one_shot else "needs the streaming plan"
    fields = [
        ("RAM streaming", byte_count(report.ram_streaming)),
        ("RAM one-shot", one_shot),
        ("flash", f"{byte_count(report.flash)}: {output}"),
    ]
    if report.samples:
        fields.append(("synops a sample", f"{report.synops:,.0f} (dense: {report.macs:,})"))
    if report.accuracy is not None:
        fields.append(("accuracy", f"{percent(report.accuracy)} on {report.samples:,} calibration samples"))
        fields.append((original, percent(report.accuracy_float)))
    if report.agreement is not None:
        fields.append(("agreement", percent(report.agreement)))
    print_fields(fields)
