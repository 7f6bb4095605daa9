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
from edgespike.convert.report import Search, Trial
from edgespike.errors import BudgetError, UsageError
from edgespike.graph import Graph

if TYPE_CHECKING:
    from edgespike.convert.search import Budget

__all__ = ["BUDGET_OPTIONS", "budget_options", "convert_within", "show_search"]

BUDGET_OPTIONS = ("board", "ram", "flash", "max_drop")
SEARCH = 0.9  # of the time; the rest is the conversion of what was found
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20}


def size(text: str) -> int:
    """``64k``, ``1M``, ``65536``: bytes."""
    match = re.fullmatch(r"([1-9]\d*)([kKmM]?)[bB]?", text)
    if not match:
        raise click.BadParameter(f"{text!r} is no size: write 65536, 64k or 1M")
    return int(match[1]) * UNITS[match[2].lower()]


def budget_options(function: Callable[..., None]) -> Callable[..., None]:
    """``--board``, ``--ram``, ``--flash`` and ``--max-drop``."""
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
    ram, flash = given.pop("ram", None), given.pop("flash", None)
    if "board" in given:
        board = find_board(given.pop("board"))
        grid = None if events is None else (events.channels, events.height, events.width)
        scores = read_onnx(network, grid, given.get("shape"), given.get("output")).layers[-1].size
        room = board.arena_bytes_for(scores)
        ram, flash = ram or room, flash or board.model_bytes
    return Budget(flash, ram, given.pop("max_drop", 0.5) / 100)


def convert_within(
    budget: Budget,
    network: Path,
    samples: Calibration,
    *,
    progress: Callable[[str, float], None],
    classes: list[str] | None = None,
    **source: Any,
) -> tuple[Graph, Report]:
    """Searches, and converts as was found best; ``source``: events, shape and output of `convert_onnx`.

    Raises:
        BudgetError: nothing fits; which layer is in the way.
    """
    from edgespike.convert import convert_onnx
    from edgespike.convert.fit_budget import choices, fitted_on, search_precision

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
    return graph, replace(report, search=search)


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
