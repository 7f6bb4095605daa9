"""Options that fit a network into a budget, and what came of the search."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgespike.boards import find_board
from edgespike.cli.output import percent, print_table
from edgespike.convert import Calibration, EventOptions, Report
from edgespike.convert.report import Search, Trial, short_name
from edgespike.errors import BudgetError, UsageError
from edgespike.graph import Graph

if TYPE_CHECKING:
    from edgespike.convert.search import Budget

__all__ = ["BUDGET_OPTIONS", "budget_options", "convert_within", "show_search"]

BUDGET_OPTIONS = ("board", "ram", "flash", "max_drop", "events_per_second")
SEARCH = 0.9  # of the time; the rest is the conversion of what was found
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20}


def size(text: str) -> int:
    """``64k``, ``1M``, ``65536``: bytes."""
    match = re.fullmatch(r"([1-9]\d*)([kKmM]?)[bB]?", text)
    if not match:
        raise click.BadParameter(f"{text!r} is no size: write 65536, 64k or 1M")
    return int(match[1]) * UNITS[match[2].lower()]


def budget_options(function: Callable[..., None]) -> Callable[..., None]:
    """``--board``, ``--ram``, ``--flash``, ``--max-drop`` and ``--events-per-second``."""
    for option in reversed(
        (
            click.option("--board", metavar="NAME", help="Budget: What this board's firmware has room for."),
            click.option("--ram", type=size, metavar="SIZE", help="Budget: For the arena, such as 64k."),
            click.option("--flash", type=size, metavar="SIZE", help="Budget: For the model file."),
            click.option(
                "--max-drop",
                type=click.FloatRange(0, 100),
                metavar="POINTS",
                help="Budget: Accuracy that may be lost.  [default: 0.5]",
            ),
            click.option(
                "--events-per-second",
                type=click.FloatRange(0, min_open=True),
                metavar="N",
                help="Budget: Input events that the board must work off.",
            ),
        )
    ):
        function = option(function)
    return function


def budget_of(given: dict[str, Any], network: Path, events: EventOptions | None) -> Budget:
    """The budget that the options describe."""
    from edgespike.convert.search import Budget
    from edgespike.importers.onnx import read_onnx

    clash = sorted({"levels", "weights"} & set(given))
    if clash:
        raise UsageError(f"--{clash[0]} and a budget exclude each other", "leave out one of them")
    ram, flash, rate = (given.pop(name, None) for name in ("ram", "flash", "events_per_second"))
    board = find_board(given.pop("board")) if "board" in given else None
    if rate and board is None:
        raise UsageError("--events-per-second needs --board", "how fast it is depends on the board")
    if board:
        grid = None if events is None else (events.channels, events.height, events.width)
        choices = {name: given.get(name) for name in ("shape", "output", "fixed")}
        scores = read_onnx(network, grid, **choices).layers[-1].size
        ram, flash = ram or board.arena_bytes_for(scores), flash or board.model_bytes
    return Budget(flash, ram, given.pop("max_drop", 0.5) / 100, board, rate)


def convert_within(
    budget: Budget,
    network: Path,
    samples: Calibration,
    *,
    progress: Callable[[str, float], None],
    classes: list[str] | None = None,
    **source: Any,
) -> tuple[Graph, Report]:
    """Searches, and converts as was found best; ``source``: what else `convert_onnx` is given.

    Raises:
        BudgetError: nothing fits; which layer is in the way.
    """
    from edgespike.convert import convert_onnx
    from edgespike.convert.fit_budget import choices, fitted_on, search_precision, sustained_events

    search = search_precision(
        network, samples, budget, progress=lambda step, share: progress(step, SEARCH * share), **source
    )
    if search.chosen is None:
        show_search(search, file=sys.stderr)
        raise BudgetError(
            f"nothing fits: {search.obstacle}", "edgespike convert --help shows the budget's options"
        )
    levels, weights = choices(search)
    graph, report = convert_onnx(
        network,
        samples,
        levels=levels,
        weights=weights,
        classes=classes,
        fit_on=fitted_on(len(samples.x)),
        progress=lambda step, share: progress(step, SEARCH + (1 - SEARCH) * share),
        **source,
    )
    if budget.flash is not None and report.flash > budget.flash:
        raise BudgetError(
            f"the model file has {report.flash:,} bytes, {budget.flash:,} are allowed", "allow a little less"
        )
    if budget.board and budget.events_per_second:
        rate = sustained_events(graph, budget.board, samples)
        require_rate(rate, budget, report)
        search = replace(search, events_per_second=rate)
    return graph, replace(report, search=search)


def require_rate(rate: float, budget: Budget, report: Report) -> None:
    """Makes sure that the board is fast enough; else the layer that causes most work is in the way."""
    assert budget.board and budget.events_per_second and report.diagnosis
    if rate < budget.events_per_second:
        worst = max(report.diagnosis.layers, key=lambda layer: layer.synops)
        raise BudgetError(
            f"nothing fits: {budget.board.name} works off {rate:,.0f} events a second of the cheapest graph, "
            f"{budget.events_per_second:,.0f} are asked for; the events of {short_name(worst.name)} cause "
            f"{worst.synops:,.0f} of {report.synops:,.0f} synaptic operations a sample",
            "fewer channels or a larger stride after that layer, a faster board, or a greater --max-drop",
            "too-slow",
        )


def show_search(search: Search, file: Any = None) -> None:
    """Prints the graphs that are worth a look: those than which no other is better in every way."""
    rows = [(number, trial) for number, trial in enumerate(search.trials) if on_frontier(search, trial)]
    print_table(
        [search.measure, "drop", "synops", "RAM", "one-shot", "flash", "levels", "4-bit", "", ""],
        [
            (
                percent(trial.result),
                f"{100 * (search.result_float - trial.result):.1f}",
                f"{trial.synops:,.0f}",
                f"{trial.ram_streaming:,}",
                f"{trial.ram_one_shot:,}" if trial.ram_one_shot else "-",
                f"{trial.flash:,}",
                levels_text(search, trial),
                f"{sum(bits == 4 for bits in trial.weights)}/{sum(search.has_weights)}",
                "fits" if trial.fits else "-",
                "<" if number == search.chosen else "",
            )
            for number, trial in rows
        ],
        file=file,
    )


def levels_text(search: Search, trial: Trial) -> str:
    """``"15"``, or ``"7..63"`` where layers differ."""
    levels = [number for number, free in zip(trial.levels, search.has_levels, strict=True) if free]
    low, high = min(levels, default=255), max(levels, default=255)
    return f"{low}" if low == high else f"{low}..{high}"


def on_frontier(search: Search, trial: Trial) -> bool:
    """Whether no other graph is as good in accuracy, work, RAM and flash, and better in one of them."""

    def costs(trial: Trial) -> tuple[float, ...]:
        return -trial.result, trial.synops, trial.ram_streaming, trial.flash

    mine = costs(trial)
    return not any(
        all(a <= b for a, b in zip(costs(other), mine, strict=True)) and costs(other) != mine
        for other in search.trials
    )
