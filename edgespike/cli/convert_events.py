"""``edgespike convert-events``: write an event recording in another format."""

from __future__ import annotations

from pathlib import Path

import click

from edgespike.cli.failure import about
from edgespike.cli.options import INPUT_FILE, filter_options, json_option, sensor, time_unit_option
from edgespike.cli.output import print_json
from edgespike.errors import DataError
from edgespike.events import (
    EventFilter,
    FilterSettings,
    Late,
    find_recordings,
    rebase,
    smallest_sensor,
    write_events,
)


@click.command("convert-events")
@click.argument("source", type=INPUT_FILE)
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--sensor",
    "size",
    type=sensor,
    metavar="WxH",
    help="Sensor to tell in TARGET.  [default: that of SOURCE]",
)
@click.option(
    "--late",
    type=click.Choice(["refuse", "clamp", "sort"]),
    default="refuse",
    show_default=True,
    help="Events that are earlier than one before: an error; the latest time so far; or sort all by time.",
)
@click.option("--rebase", "from_zero", is_flag=True, help="Let times begin at 0.")
@filter_options
@time_unit_option
@json_option
def command(
    source: Path,
    target: Path,
    size: tuple[int, int] | None,
    late: Late,
    from_zero: bool,
    filters: FilterSettings,
    time_unit: str | None,
    as_json: bool,
) -> None:
    """Write SOURCE, an event recording, as TARGET, in the format of its suffix.

    Filters leave events out on the way, in this order: crop, hot pixels, background, refractory
    time, downsampling, polarities together, rate cap (docs/streams.md).

    Formats that cannot hold a recording, such as one whose times are too late for them, are
    refused rather than written wrongly.

    \b
    Example:
      edgespike convert-events gesture.aedat gesture.npz
      edgespike convert-events camera.raw digits.bin --rebase --crop 100,80,34x34
    """
    recording = find_recordings(source, time_unit=time_unit)[0]
    events = recording.read(late)
    told = recording.content().sensor
    removed = {}
    if not filters.is_empty:
        chain = EventFilter(filters, told or smallest_sensor(events))
        events, removed, told = chain(events), chain.removed, chain.sensor
    if from_zero:
        events = rebase(events)
    with about(target, DataError):
        write_events(target, events, sensor=size or told)
    if as_json:
        print_json(
            {
                "target": str(target),
                "events": len(events),
                "size": target.stat().st_size,
                "removed": sum(removed.values()),
            }
        )
    else:
        print(f"{target}: {len(events):,} events, {target.stat().st_size:,} bytes")
        for cause, count in removed.items():
            if count:
                print(f"  {count:,} removed by {cause}")
