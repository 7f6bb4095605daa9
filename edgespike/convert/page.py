"""A conversion's report as one HTML page that needs nothing else, not even a network."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

from jinja2 import Environment, StrictUndefined

from edgespike.convert import plots
from edgespike.convert.report import Report, short_name

__all__ = ["report_page"]


def percent(share: float | None, digits: int = 1) -> str:
    """``"98.9 %"``."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def decibels(ratio: float | None) -> str:
    """``"31.4"``; float arithmetic itself has about 130 dB."""
    return "exact" if ratio is None or ratio > 120 else f"{ratio:.1f}"


FILTERS: dict[str, Callable[..., str]] = {
    "percent": percent,
    "db": decibels,
    "count": lambda number: f"{number:,.0f}",
    "kib": lambda size: f"{size / 1024:,.1f} KiB",
    "short": short_name,
    "shape": lambda shape: " x ".join(map(str, shape)),
}


def report_page(report: Report, source: str, model: str) -> str:
    """The page.

    Args:
        report: of the conversion.
        source: name of the network's file.
        model: name of the model file.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= FILTERS
    template = resources.files("edgespike.convert").joinpath("report.html").read_text("utf-8")
    return environment.from_string(template).render(
        report=report,
        diagnosis=report.diagnosis,
        source=source,
        model=model,
        plots=drawn(report),
        frontier=frontier(report),
    )


def frontier(report: Report) -> list[tuple[str, str, str]]:
    """The plots of a search: heading, explanation, SVG."""
    if report.search is None:
        return []
    explained = "Every mark is a graph that was tried. Lines are the budget."
    return [
        (f"{report.search.measure.capitalize()} against {label.partition(',')[0]}", explained, svg)
        for label, svg in plots.frontier_plots(report.search)
    ]


def drawn(report: Report) -> list[tuple[str, str, str]]:
    """The plots: heading, explanation, SVG."""
    found = [
        (
            "Memory",
            "Weights lie in flash, state in RAM. The one-shot plan keeps less state than is shown.",
            plots.memory_plot(report),
        )
    ]
    diagnosis = report.diagnosis
    if diagnosis is None:
        return found
    accuracy = (
        f"{diagnosis.measure.capitalize()}, one layer quantized",
        "What is left when a layer alone is quantized, between that of the float network and of the model.",
        plots.result_plot(diagnosis) if diagnosis.measure != "none" else "",
    )
    return [
        (
            "Where the noise comes from",
            "Further right is better. In the model a layer inherits the noise of those before; alone it "
            "has its own. Layers without noise have no mark.",
            plots.noise_plot(diagnosis),
        ),
        *([accuracy] if accuracy[2] else []),
        (
            "Activity",
            "A level that is 0 costs nothing later. A neuron is silent if it was 0 in all samples.",
            plots.share_plot(diagnosis),
        ),
        (
            "Work",
            "Synaptic operations, at the layer whose events cause them.",
            plots.work_plot(diagnosis),
        ),
        *found,
    ]
