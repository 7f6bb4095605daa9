"""``edgespike stream``: replay recordings in real time and classify as they come."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import click

from edgespike.cli.options import INPUT_FILE, INPUT_PATH, Runner, json_option, runner_options
from edgespike.cli.output import percent, percentiles_ms, print_fields, print_json
from edgespike.cli.player import Answer, Player
from edgespike.cli.samples import Sample, class_name, find_streams
from edgespike.errors import UsageError
from edgespike.session import InferenceSession


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
        recordings = find_streams(source, session)
        player, tally = Player(session, speed, live), Tally()
        if not as_json:
            print_header()
        try:
            for answer in player.play(rounds(recordings, loop)):
                tally.add(answer)
                line = describe(session, answer)
                print_json(line) if as_json else print_line(line)
        finally:
            summary = summarize(player, tally)
            print_json(summary) if as_json else print_summary(summary)


def rounds(recordings: Sequence[Sample], loop: int) -> Iterator[Sample]:
    """All recordings, ``loop`` times; 0: without end."""
    return chain.from_iterable(repeat(recordings) if loop == 0 else repeat(recordings, loop))


# ---- what is said -----------------------------------------------------------


@dataclass
class Tally:
    """What the summary says of the answers."""

    begin: float = field(default_factory=time.perf_counter)
    answers: int = 0
    labelled: int = 0
    right: int = 0
    delays_s: list[float] = field(default_factory=list)

    def add(self, answer: Answer) -> None:
        """Counts an answer."""
        self.answers += 1
        self.labelled += answer.recording.label is not None
        self.right += answer.recording.label == answer.result.label
        if answer.delay_s is not None:
            self.delays_s.append(answer.delay_s)

    @property
    def accuracy(self) -> float | None:
        """Share of right answers to labelled recordings."""
        return self.right / self.labelled if self.labelled else None


def describe(session: InferenceSession, answer: Answer) -> dict[str, Any]:
    """An answer as JSON values."""
    result = answer.result
    return {
        "type": "result",
        "recording": answer.recording.name,
        "time_us": result.time_us,
        "label": result.label,
        "class": class_name(session, result.label),
        "expected": answer.recording.label,
        "margin": result.margin,
        "scores": result.scores.tolist(),
        "events": result.events,
        "lost": result.lost,
        "delay_ms": None if answer.delay_s is None else 1e3 * answer.delay_s,
    }


def summarize(player: Player, tally: Tally) -> dict[str, Any]:
    """The summary as JSON values."""
    seconds = time.perf_counter() - tally.begin
    link = player.link()
    return {
        "type": "summary",
        "results": tally.answers,
        "accuracy": tally.accuracy,
        "seconds": seconds,
        "events": player.sent,
        "events_per_second": player.sent / seconds,
        "delay_ms": percentiles_ms(tally.delays_s) if tally.delays_s else None,
        "link": link and asdict(link),
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
    delay, link = summary["delay_ms"], summary["link"]
    fields = [
        ("results", f"{summary['results']:,}, accuracy {percent(summary['accuracy'])}"),
        ("events", f"{summary['events']:,} in {summary['seconds']:.2f} s"),
        ("rate", f"{summary['events_per_second']:,.0f} events a second"),
    ]
    if delay:
        fields.append(("delay", ", ".join(f"{name} {ms:.1f} ms" for name, ms in delay.items())))
    if link:
        fields.append(("sent", f"{link['bytes_sent']:,} bytes, {link['sent_again']:,} frames again"))
        fields.append(("received", f"{link['bytes_received']:,} bytes, {link['bad_crc']:,} frames damaged"))
        causes = {"lost_on_link": "on the link", "lost_at_sender": "too late", "rejected": "rejected"}
        lost = ", ".join(f"{link[key]:,} {cause}" for key, cause in causes.items())
        fields.append(("lost events", f"{lost}; {link['results_lost']:,} results"))
    print()
    print_fields(fields)
