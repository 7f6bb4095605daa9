"""``edgespike fit``: what a model takes of a board and what the board can do with it, before flashing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from edgespike.boards import BOARDS, find_board
from edgespike.cli.failure import about
from edgespike.cli.options import INPUT_FILE, INPUT_PATH, json_option
from edgespike.cli.output import print_fields, print_json, print_table, progress
from edgespike.cli.samples import Sample, find_samples
from edgespike.errors import DataError, ModelError, UsageError
from edgespike.events import rebase
from edgespike.fit import Activity, Memory, Rate, Speed, measure_activity, memory_of, require_fit, speed_of
from edgespike.graph import Graph, SpikeInput
from edgespike.modelfile import read_model_bytes
from edgespike.session import InferenceSession


@click.command()
@click.argument("model", type=INPUT_FILE)
@click.option("--board", "name", metavar="NAME", help="The board.")
@click.option("--all", "every", is_flag=True, help="All boards, a line for each.")
@click.option(
    "--samples",
    type=INPUT_PATH,
    help="Typical work is that of these samples or recordings.  [default: the model's self-test]",
)
@click.option(
    "--limit", type=click.IntRange(1), default=10, show_default=True, help="Use the first so many samples."
)
@click.option(
    "--cycles",
    type=click.FloatRange(0.1, 100),
    default=1.0,
    show_default=True,
    help="Clock cycles for an instruction, on average.",
)
@json_option
def command(
    model: Path, name: str | None, every: bool, samples: Path | None, limit: int, cycles: float, as_json: bool
) -> None:
    """Say what MODEL, an .esg file, takes of a board with edgespike's firmware.

    Flash, RAM and stack are exact. Instructions are predicted by costs that were
    counted in QEMU. Rates assume one clock cycle for an instruction: processors
    mostly need more, so measure yours and give --cycles.

    \b
    Example:
      edgespike fit digits.esg --board netduinoplus2
      edgespike fit digits.esg --all --samples recordings.zip
    """
    if every == (name is not None):
        boards = ", ".join(board.name for board in BOARDS)
        raise UsageError("give either --board or --all", f"the boards are {boards}", "board-choice")
    chosen = BOARDS if every else (find_board(name or ""),)
    with about(model, ModelError):
        data = read_model_bytes(model)
        session = InferenceSession(data)
    memories = [memory_of(session.graph, len(data), board) for board in chosen]
    if not every:
        require_fit(session.graph, memories[0])
    activity = typical(session, samples, limit)
    rows = [describe(session.graph, memory, activity, cycles) for memory in memories]
    description = {
        "model": str(model),
        "samples": activity.samples if activity else None,
        "samples_from": str(samples) if samples else "self-test",
        "cycles_per_instruction": cycles,
        "boards": rows,
    }
    if as_json:
        print_json(description)
    elif every:
        show_all(description)
    else:
        show(description)


# ---- what is typical -----------------------------------------------------------


def typical(session: InferenceSession, path: Path | None, limit: int) -> Activity | None:
    """The work of the samples, or of the self-test; None where there is neither."""
    graph = session.graph
    if path is None:
        if graph.self_test is None or not len(graph.self_test.events):
            return None
        return measure_activity(graph, [(graph.self_test.events, 0)])
    chosen = find_samples([path], session)[:limit]
    runs = []
    with progress("running samples", len(chosen)) as done:
        for sample in chosen:
            runs.append(events_of(session, sample))
            done(len(runs))
    if not any(len(events) for events, _ in runs):
        raise DataError(
            f"{path}: no sample has an event", "give samples that differ from the reference input"
        )
    return measure_activity(graph, runs)


def events_of(session: InferenceSession, sample: Sample) -> tuple[Any, int]:
    """A sample's input events, and its ticks."""
    content = sample.load()
    with about(sample.name, DataError):
        if content.dtype.names:
            session.reset()
            return session.core_events(rebase(content)), 0
        ticks = len(content) if isinstance(session.graph.populations[0].neuron, SpikeInput) else 0
        return session.sample_events(content), ticks


# ---- what is said ----------------------------------------------------------------


def describe(graph: Graph, memory: Memory, activity: Activity | None, cycles: float) -> dict[str, Any]:
    """A board, as JSON values."""
    board = memory.board
    speed = speed_of(graph, board, activity, cycles) if memory.fits else None
    return {
        "board": board.name,
        "core": board.core,
        "clock_hz": board.clock_hz,
        "fits": memory.fits,
        "flash": {"firmware": memory.flash, "board": board.flash_bytes},
        "ram": {
            "board": board.ram_bytes,
            "buffers": memory.buffers,
            "model": memory.model,
            "model_kept": board.model_bytes,
            "model_missing": memory.model_missing,
            "plan": memory.plan,
            "arena": memory.arena,
            "result": memory.result,
            "arena_kept": board.arena_bytes,
            "arena_missing": memory.arena_missing,
            "stack": memory.stack,
            "stack_kept": board.stack_bytes,
        },
        "instructions": speed and describe_instructions(speed),
        "events_per_second": speed
        and {"worst": describe_rate(speed.rate), "typical": describe_rate(speed.typical_rate)},
    }


def describe_instructions(speed: Speed) -> dict[str, Any]:
    return {
        "event": {"worst": round(speed.event), "typical": _rounded(speed.typical_event)},
        "tick": {"worst": round(speed.tick), "typical": _rounded(speed.typical_tick)},
        "sample": _rounded(speed.typical_sample),
    }


def describe_rate(rate: Rate | None) -> dict[str, Any] | None:
    if rate is None:
        return None
    return {
        "highest": round(rate.highest, 1),
        "limit": rate.limit,
        "processor": round(rate.processor, 1),
        "link": round(rate.link, 1),
    }


def _rounded(number: float | None) -> int | None:
    return None if number is None else round(number)


# ---- for readers -------------------------------------------------------------------


def show(description: dict[str, Any]) -> None:
    """One board, at 80 columns."""
    (row,) = description["boards"]
    ram = row["ram"]
    print_fields(
        [
            ("board", f"{row['board']}: {row['core']}, {row['clock_hz'] / 1e6:g} MHz"),
            ("flash", f"{row['flash']['firmware']:,} of {row['flash']['board']:,} bytes, the firmware"),
            ("RAM", f"{ram['board']:,} bytes"),
            ("  model", f"{ram['model']:,} of {ram['model_kept']:,} bytes"),
            (
                "  arena",
                f"{ram['arena']:,} ({ram['plan']} plan) and {ram['result']:,} for one result, "
                f"of {ram['arena_kept']:,} bytes",
            ),
            ("  buffers", f"{ram['buffers']:,} bytes"),
            ("  stack", f"at most {ram['stack']:,} of {ram['stack_kept']:,} bytes"),
            ("typical", _typical_text(description)),
        ]
    )
    print()
    counts, rates = row["instructions"], row["events_per_second"]
    print_table(
        ["", "worst case", "typical"],
        [
            *(
                (f"instructions per {unit}", _number(counts[unit]["worst"]), _number(counts[unit]["typical"]))
                for unit in ("event", "tick")
            ),
            ("instructions per sample", "-", _number(counts["sample"])),
            *(
                (f"events/s, {what}", *(_number(rate and rate[key]) for rate in rates.values()))
                for key, what in (("processor", "processor"), ("link", "link"), ("highest", "highest"))
            ),
            ("limited by", *(rate["limit"] if rate else "-" for rate in rates.values())),
        ],
    )
    for line in notes(description):
        print(line)


def show_all(description: dict[str, Any]) -> None:
    """All boards, at 80 columns."""
    print_fields([("typical", _typical_text(description))])
    print()
    print_table(
        ["board", "fits", "model", "arena", "events/s worst", "typical", "limit"],
        [
            (
                row["board"],
                "yes" if row["fits"] else "no",
                _used(row["ram"]["model"], row["ram"]["model_missing"]),
                _used(row["ram"]["arena"], row["ram"]["arena_missing"]),
                *_rates(row["events_per_second"]),
            )
            for row in description["boards"]
        ],
        names=2,
    )
    for line in notes(description):
        print(line)


def notes(description: dict[str, Any]) -> Iterator[str]:
    """What a reader must know to trust the numbers."""
    rows = description["boards"]
    for row in rows:
        missing = row["ram"]["model_missing"] or row["ram"]["arena_missing"]
        if missing and len(rows) > 1:
            part = "model" if row["ram"]["model_missing"] else "arena"
            yield f"{row['board']}: {missing:,} bytes of RAM too few for the {part}"
    if any(row["fits"] and row["events_per_second"]["worst"]["processor"] == 0 for row in rows):
        yield "worst case 0: ticks in which every neuron speaks would take too long"
    cycles = description["cycles_per_instruction"]
    yield f"rates: {cycles:g} clock cycle{'s' * (cycles != 1)} an instruction; instructions: without waiting"


def _typical_text(description: dict[str, Any]) -> str:
    if description["samples"] is None:
        return "unknown: the model has no self-test; give --samples"
    if description["samples_from"] == "self-test":
        return "the model's self-test; give --samples for your own data"
    return f"{description['samples']} samples of {description['samples_from']}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _used(size: int, missing: int) -> str:
    return f"{size:,}{'!' * bool(missing)}"


def _rates(rates: dict[str, Any] | None) -> tuple[str, str, str]:
    if rates is None:
        return "-", "-", "-"
    worst, usual = rates["worst"], rates["typical"]
    return _number(worst["highest"]), _number(usual and usual["highest"]), (usual or worst)["limit"]
