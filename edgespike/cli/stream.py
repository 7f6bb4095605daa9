"""``edgespike stream``: replay recordings in real time and classify as they come."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from edgespike.cli.options import INPUT_FILE, INPUT_PATH, Runner, json_option, runner_options
from edgespike.cli.output import percent, percentiles_ms, print_fields, print_json
from edgespike.cli.samples import class_name
from edgespike.errors import UsageError
from edgespike.events import Recording, find_recordings, rebase
from edgespike.session import InferenceSession, Result

STEP_US = 10_000  # events go out in pieces of this length


def factor(text: str) -> float:
    """A number above 0, or ``max``: infinity."""
    try:
        speed = math.inf if text == "max" else float(text)
    except ValueError:
        speed = 0.0
    if not speed > 0:
        raise click.BadParameter(f"{text!r} is no speed: write 1 for real time, 10 for tenfold, or max")
    return speed


@click.command()
@click.argument("model", type=INPUT_FILE)
@click.argument("source", type=INPUT_PATH)
@click.option("--speed", type=factor, metavar="N|max", default="1", show_default=True, help="1 is real time.")
@click.option(
    "--loop",
    type=click.IntRange(0),
    metavar="N",
    default=1,
    show_default=True,
    help="Rounds; 0: until Ctrl-C.",
)
@click.option("--live", is_flag=True, help="Drop and count what a board gets too late; else wait for it.")
@runner_options
@json_option
def command(
    model: Path, source: Path, speed: float, loop: int, live: bool, runner: Runner, as_json: bool
) -> None:
    """Replay SOURCE to MODEL, an .esg file, and print each classification as it comes.

    SOURCE is an event recording, or a folder or .zip of them. With --json each line is
    a JSON object; the last one is the summary.

    \b
    Example:
      edgespike stream gestures.esg recording.csv --port /dev/ttyACM0
      edgespike stream digits.esg recordings.zip --port emulated --speed max
    """
    if live and not runner.port:
        raise UsageError("--live is for boards", "add --port, or leave out --live")
    with runner.open(model) as session:
        recordings = find_recordings(source, classes=session.classes)
        tally = Tally()
        show = print_json if as_json else print_line
        if not as_json:
            print_header()
        try:
            for recording in rounds(recordings, loop):
                for result, delay_s in replay(session, recording.read(), speed):
                    show(tally.add(session, recording, result, delay_s))
        finally:
            summary = tally.summary()
            print_json(summary) if as_json else print_summary(summary)


# ---- replay -----------------------------------------------------------------


def rounds(recordings: Sequence[Recording], loop: int) -> Iterator[Recording]:
    """All recordings, ``loop`` times; 0: without end."""
    return chain.from_iterable(repeat(recordings) if loop == 0 else repeat(recordings, loop))


def replay(
    session: InferenceSession, recording: NDArray[Any], speed: float
) -> Iterator[tuple[Result, float | None]]:
    """Results of one recording as they come, and how many seconds after their time.

    A recording shorter than a window, or for a network without windows, gives one result
    at its end. At ``speed`` infinity nothing waits and there is no delay to tell.
    """
    events = rebase(recording)
    session.reset()
    start = time.perf_counter()

    def delay(result: Result) -> float | None:
        return None if math.isinf(speed) else time.perf_counter() - start - result.time_us / 1e6 / speed

    end_us = int(events["t"][-1]) + 1 if len(events) else 0
    some = False
    for begin in range(0, end_us, STEP_US):
        until = min(begin + STEP_US, end_us)
        time.sleep(max(0.0, start + until / 1e6 / speed - time.perf_counter()))
        first, last = np.searchsorted(events["t"], [begin, until])
        for result in session.push(events[first:last]) + session.advance(until):
            some = True
            yield result, delay(result)
    if not some:
        result = session.finish()
        yield result, delay(result)


# ---- what to say ------------------------------------------------------------


@dataclass
class Tally:
    """Adds up what the summary says."""

    begin: float = field(default_factory=time.perf_counter)
    results: int = 0
    labelled: int = 0
    right: int = 0
    events: int = 0
    lost: int = 0
    delays_s: list[float] = field(default_factory=list)

    def add(
        self, session: InferenceSession, recording: Recording, result: Result, delay_s: float | None
    ) -> dict[str, Any]:
        """Counts a result, and says it as JSON values."""
        self.results += 1
        self.labelled += recording.label is not None
        self.right += recording.label == result.label
        self.events += result.events
        self.lost += result.lost
        if delay_s is not None:
            self.delays_s.append(delay_s)
        return {
            "type": "result",
            "recording": recording.name,
            "time_us": result.time_us,
            "label": result.label,
            "class": class_name(session, result.label),
            "expected": recording.label,
            "margin": result.margin,
            "scores": result.scores.tolist(),
            "events": result.events,
            "lost": result.lost,
            "delay_ms": None if delay_s is None else round(1e3 * delay_s, 3),
        }

    def summary(self) -> dict[str, Any]:
        """The last line."""
        seconds = time.perf_counter() - self.begin
        delays = percentiles_ms(self.delays_s) if self.delays_s else None
        return {
            "type": "summary",
            "results": self.results,
            "accuracy": self.right / self.labelled if self.labelled else None,
            "seconds": seconds,
            "events": self.events,
            "events_per_second": self.events / seconds,
            "lost": self.lost,
            "delay_ms": delays,
        }


def print_header() -> None:
    """Names of the columns."""
    print(f"{'time s':>8}  {'recording':<32}  {'class':<12}  {'margin':>9}  {'delay ms':>8}", flush=True)


def print_line(result: dict[str, Any]) -> None:
    """One classification, at once."""
    name, delay = result["recording"], result["delay_ms"]
    print(
        f"{result['time_us'] / 1e6:8.3f}  {name if len(name) <= 32 else '...' + name[-29:]:<32}"
        f"  {result['class']:<12.12}  {result['margin']:>9,}  {'-' if delay is None else f'{delay:.1f}':>8}",
        flush=True,
    )


def print_summary(summary: dict[str, Any]) -> None:
    """Rates and losses."""
    print()
    delay = summary["delay_ms"]
    print_fields(
        [
            ("results", summary["results"]),
            ("accuracy", percent(summary["accuracy"])),
            ("events", f"{summary['events']:,} in {summary['seconds']:.2f} s"),
            ("rate", f"{summary['events_per_second']:,.0f} events a second"),
            ("lost", f"{summary['lost']:,} events"),
            ("delay", ", ".join(f"{p.upper()} {ms:.1f} ms" for p, ms in delay.items()) if delay else "-"),
        ]
    )
