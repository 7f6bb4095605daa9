"""The plots of a conversion's page, as SVG that takes its colours from the page."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgespike.convert.report import Diagnosis, Report, Search, Trial, short_name

WIDTH = 4.9  # inches: about what a phone is wide, so that its text can be read there
ROW = 0.27
COLOURS = {  # what matplotlib writes, and what takes its place
    "#101010": "currentColor",
    "#d0d0d0": "var(--line)",
    "#0000f1": "var(--first)",
    "#0000f2": "var(--second)",
    "#0000f3": "var(--third)",
}
INK, LINE, FIRST, SECOND, THIRD = COLOURS
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edgespike",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": LINE,
    "grid.color": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
NOISE_FREE = 60.0  # dB: the axis ends here


def noise_plot(diagnosis: Diagnosis) -> str:
    """Signal-to-noise ratios by layer: in the model, alone, and of the scores."""
    with matplotlib.rc_context(STYLE):
        names = [layer.name for layer in diagnosis.layers]
        figure, axes = rows(names)
        for label, marker, colour, ratios in (
            ("in the model", "o", FIRST, [layer.snr for layer in diagnosis.layers]),
            ("alone", "D", SECOND, [layer.snr_alone for layer in diagnosis.layers]),
            ("scores, alone", "|", THIRD, [layer.snr_scores for layer in diagnosis.layers]),
        ):
            shown = {place: ratio for place, ratio in enumerate(ratios) if ratio is not None}
            axes.scatter(list(shown.values()), list(shown), marker=marker, c=colour, s=34, label=label)
        axes.set_xlim(0, NOISE_FREE)
        axes.set_xlabel("signal to noise, dB")
        legend(axes)
        return svg(figure)


def result_plot(diagnosis: Diagnosis) -> str:
    """Accuracy, or agreement, with each layer quantized alone."""
    with matplotlib.rc_context(STYLE):
        names = [layer.name for layer in diagnosis.layers]
        figure, axes = rows(names)
        alone = [100 * (layer.result_alone or 0.0) for layer in diagnosis.layers]
        axes.scatter(alone, range(len(names)), c=SECOND, marker="D", s=34, label="layer alone")
        for value, colour, label in (
            (diagnosis.result_float, THIRD, "float"),
            (diagnosis.result, FIRST, "model"),
        ):
            axes.axvline(100 * (value or 0.0), color=colour, linewidth=1.5, label=label)
        low, high = axes.get_xlim()
        axes.set_xlim(max(-1.0, low - 1), min(101.0, high + 1))
        axes.set_xlabel(f"{diagnosis.measure}, %")
        legend(axes)
        return svg(figure)


def share_plot(diagnosis: Diagnosis) -> str:
    """Silent neurons and active levels."""
    with matplotlib.rc_context(STYLE):
        figure, axes = rows([layer.name for layer in diagnosis.layers])
        places = range(len(diagnosis.layers))
        active = [100 * layer.active for layer in diagnosis.layers]
        axes.barh(places, active, height=0.6, color=FIRST, label="levels that are not 0")
        silent = [100 * layer.silent for layer in diagnosis.layers]
        axes.scatter(silent, places, c=SECOND, marker="D", s=34, label="silent neurons")
        axes.set_xlim(0, 100)
        axes.set_xlabel("%")
        legend(axes)
        return svg(figure)


def work_plot(diagnosis: Diagnosis) -> str:
    """Synaptic operations by the layer whose events cause them."""
    with matplotlib.rc_context(STYLE):
        figure, axes = rows([layer.name for layer in diagnosis.layers])
        synops = [layer.synops for layer in diagnosis.layers]
        axes.barh(range(len(synops)), synops, height=0.6, color=FIRST)
        axes.set_xlabel("synaptic operations a sample")
        axes.xaxis.set_major_formatter(thousands)
        return svg(figure)


def memory_plot(report: Report) -> str:
    """Bytes of weights and of state by layer."""
    with matplotlib.rc_context(STYLE):
        figure, axes = rows([layer.name for layer in report.layers])
        places = range(len(report.layers))
        weights = [layer.weight_bytes / 1024 for layer in report.layers]
        state = [layer.state_bytes / 1024 for layer in report.layers]
        axes.barh(places, weights, height=0.6, color=SECOND, label="weights (flash)")
        axes.barh(places, state, left=weights, height=0.6, color=FIRST, label="state (RAM, streaming)")
        axes.set_xlabel("KiB")
        legend(axes)
        return svg(figure)


def frontier_plots(search: Search) -> list[tuple[str, str]]:
    """Accuracy against synaptic operations, RAM and flash, of all graphs tried: label and SVG."""
    axes_of = {
        "synaptic operations a sample": [trial.synops for trial in search.trials],
        "RAM, KiB": [ram_shown(search, trial) / 1024 for trial in search.trials],
        "flash, KiB": [trial.flash / 1024 for trial in search.trials],
    }
    limits = {
        "RAM, KiB": None if search.ram is None else search.ram / 1024,
        "flash, KiB": None if search.flash is None else search.flash / 1024,
    }
    return [
        (label, frontier_plot(search, label, costs, limits.get(label))) for label, costs in axes_of.items()
    ]


def frontier_plot(search: Search, label: str, costs: list[float], limit: float | None) -> str:
    """One of them; the budget is the lines."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
        axes = figure.add_subplot()
        for fits, colour, name in ((False, SECOND, "outside the budget"), (True, FIRST, "within")):
            shown = [n for n, trial in enumerate(search.trials) if trial.fits == fits and n != search.chosen]
            results = [100 * search.trials[n].result for n in shown]
            axes.scatter([costs[n] for n in shown], results, c=colour, s=30, label=name)
        if search.chosen is not None:
            place = (costs[search.chosen], 100 * search.trials[search.chosen].result)
            axes.scatter(*place, c=THIRD, s=110, marker="*", label="chosen", zorder=3)
        axes.axhline(100 * (search.result_float - search.max_drop), color=LINE, linewidth=1.5, zorder=0.9)
        low, high = axes.get_ylim()
        axes.set_ylim(low, min(high, 101.0))
        if limit is not None and limit < 2 * max(costs):  # further away it would only squeeze the marks
            axes.axvline(limit, color=LINE, linewidth=1.5, zorder=0.9)
        axes.set_xlabel(label)
        axes.set_ylabel(f"{search.measure}, %")
        axes.xaxis.set_major_formatter(thousands)
        axes.grid(linewidth=0.5)
        axes.set_axisbelow(True)
        legend(axes)
        return svg(figure)


# ---- parts ------------------------------------------------------------------


def rows(names: Sequence[str]) -> tuple[Figure, Axes]:
    """A plot with one row for each layer, the first on top."""
    figure = Figure(figsize=(WIDTH, 1.1 + ROW * len(names)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_yticks(range(len(names)), [short_name(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(length=0)
    axes.grid(axis="both", linewidth=0.5)
    axes.set_axisbelow(True)
    return figure, axes


def legend(axes: Axes) -> None:
    """A legend above the plot."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, handletextpad=0.3, columnspacing=1
    )


def thousands(value: float, position: float) -> str:
    """``12k`` for 12000, ``1.2M`` for 1200000."""
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def ram_shown(search: Search, trial: Trial) -> int:
    """The streaming plan's arena where it is within the budget, else the smaller one's."""
    if search.ram is None or trial.ram_streaming <= search.ram or not trial.ram_one_shot:
        return trial.ram_streaming
    return trial.ram_one_shot


def svg(figure: Figure) -> str:
    """The figure as an SVG element of the page: no size of its own, no fonts, the page's colours."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    for written, own in COLOURS.items():
        text = text.replace(written, own)
    return text
