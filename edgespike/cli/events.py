"""``edgespike events``: what is in an event recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from edgespike.cli.failure import about
from edgespike.cli.options import INPUT_PATH, json_option, time_unit_option
from edgespike.cli.output import print_fields, print_json, print_table
from edgespike.cli.picture import draw
from edgespike.errors import DataError
from edgespike.events import Recording, find_recordings

LISTED = 20  # recordings of a folder that are described one by one


@click.command("events")
@click.argument("source", type=INPUT_PATH)
@click.option("--no-picture", is_flag=True, help="Numbers only.")
@time_unit_option
@json_option
def command(source: Path, no_picture: bool, time_unit: str | None, as_json: bool) -> None:
    """Show what is in SOURCE, an event recording, or a folder or .zip of them.

    Size, duration, rate, polarities, time errors, and a picture of where the events are. A folder
    gives a line for each of its first recordings, and a JSON object for each of them.

    \b
    Example:
      edgespike events recording.aedat4
    """
    recordings = find_recordings(source, time_unit=time_unit)
    if as_json:
        for recording in recordings:
            print_json(describe(recording)[0])
    elif len(recordings) == 1:
        show(recordings[0], not no_picture)
    else:
        show_folder(recordings)


def describe(recording: Recording) -> tuple[dict[str, Any], NDArray[Any]]:
    """A recording as JSON values, and its events sorted by time.

    Times are in microseconds, rates in events a second.

    Raises:
        DataError: the file cannot be read, or an event cannot be used.
    """
    content = recording.content()
    with about(recording.name, DataError):
        events = content.events("sort")
    t, x, y, p = (events[name] for name in ("t", "x", "y", "p"))
    steps = np.diff(content.t.astype(np.int64))
    backwards = steps[steps < 0]
    span = int(t[-1] - t[0]) if len(t) else 0
    facts = {
        "recording": recording.name,
        "events": len(t),
        "sensor": content.sensor and list(content.sensor),
        "used": [int(x.max()) + 1, int(y.max()) + 1] if len(t) else None,
        "first_us": int(t[0]) if len(t) else None,
        "duration_us": span,
        "rate": len(t) / span * 1e6 if span else None,
        "busiest_rate": busiest_rate(t),
        "polarities": {
            str(value): int(n) for value, n in zip(*np.unique(p, return_counts=True), strict=True)
        },
        "backwards": len(backwards),
        "furthest_back_us": int(-backwards.min()) if len(backwards) else 0,
        "remarks": list(content.remarks),
    }
    return facts, events


def busiest_rate(times: NDArray[Any]) -> float | None:
    """Most events of 10 ms, as events a second, of sorted times; None where all are at once."""
    if not len(times) or times[-1] == times[0]:
        return None
    ends = np.searchsorted(times, times + 10_000, "left")
    return float((ends - np.arange(len(times))).max() * 100)


def show(recording: Recording, picture: bool) -> None:
    """One recording, in full."""
    facts, events = describe(recording)
    print_fields(rows(facts))
    if picture and len(events):
        print()
        draw(events, facts["sensor"] or facts["used"])


def rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values of what there is to say."""
    fields = [("recording", facts["recording"]), ("events", f"{facts['events']:,}")]
    sensor, used = facts["sensor"], facts["used"]
    if used:
        told = f"{sensor[0]}x{sensor[1]}, " if sensor else "not told, "
        fields.append(("sensor", f"{told}events within {used[0]}x{used[1]}"))
        fields.append(("time", f"{facts['duration_us'] / 1e6:,.6f} s from {facts['first_us']:,.0f} us"))
    if facts["rate"]:
        fields.append(
            ("rate", f"{facts['rate']:,.0f} events/s, {facts['busiest_rate']:,.0f} in the busiest 10 ms")
        )
    if facts["polarities"]:
        share = (f"{n:,} of {value}" for value, n in facts["polarities"].items())
        fields.append(("polarity", ", ".join(share)))
    errors = "none"
    if count := facts["backwards"]:
        errors = (
            f"{count:,} events go back in time, the furthest by {facts['furthest_back_us']:,.0f} us;"
            " mend them with `edgespike convert-events --late sort` (or clamp)"
        )
    fields.append(("time errors", errors))
    fields.extend(("remark", remark) for remark in facts["remarks"])
    return fields


def show_folder(recordings: list[Recording]) -> None:
    """A line for each of the first recordings."""
    table = []
    for recording in recordings[:LISTED]:
        facts, _ = describe(recording)
        used = facts["used"] or [0, 0]
        table.append(
            (
                recording.name,
                f"{facts['events']:,}",
                f"{used[0]}x{used[1]}",
                f"{facts['duration_us'] / 1e6:.3f}",
                f"{(facts['rate'] or 0) / 1e3:,.1f}",
                facts["backwards"],
            )
        )
    print_table(["recording", "events", "within", "seconds", "kev/s", "time errors"], table)
    if len(recordings) > LISTED:
        print(f"and {len(recordings) - LISTED:,} more")
