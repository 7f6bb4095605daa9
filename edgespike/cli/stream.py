"""``edgespike stream``: classify what a live source sends, or recordings in real time."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click
from numpy.typing import NDArray

from edgespike.cli.monitor import Monitor
from edgespike.cli.options import (
    INPUT_FILE,
    Runner,
    address,
    duration,
    filter_options,
    json_option,
    runner_options,
)
from edgespike.cli.output import percent, print_fields, print_json
from edgespike.cli.player import Answer, Player
from edgespike.cli.samples import Sample, find_streams, other_sensor, require_events
from edgespike.cli.sensors import SensorSettings, SensorStream, sensor_options
from edgespike.cli.view import LiveView
from edgespike.encoders import Window
from edgespike.errors import UsageError
from edgespike.events import EventFilter, FilterSettings, Sensor, smallest_sensor
from edgespike.journal import JournalWriter
from edgespike.publish import Publisher, open_publisher
from edgespike.session import InferenceSession
from edgespike.sources import SOURCES, is_source, open_source, pieces

if TYPE_CHECKING:
    from edgespike.web import WebView


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
@click.argument("source")
@click.option("--speed", type=factor, metavar="N|max", help="Of recordings.  [default: 1, real time]")
@click.option("--loop", type=click.IntRange(0), metavar="N", help="Rounds of recordings; 0: until Ctrl-C.")
@click.option("--live", is_flag=True, help="Drop and count what a board gets too late; else wait for it.")
@click.option(
    "--every", type=duration, metavar="TIME", help="A result each TIME, for networks without windows."
)
@click.option("--for", "seconds", type=duration, metavar="TIME", help="Listen to a live source for so long.")
@click.option(
    "--record",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep model, events and results for `edgespike replay`.",
)
@click.option(
    "--publish", metavar="WHERE", multiple=True, help="Results for others: mqtt://HOST/TOPIC or unix:PATH."
)
@click.option("--web", type=address, metavar="[HOST:]PORT", help="Show the live view in browsers too.")
@click.option("--lines", is_flag=True, help="A line for each result, also on a terminal.")
@sensor_options
@filter_options
@runner_options
@json_option
def command(
    model: Path,
    source: str,
    speed: float | None,
    loop: int | None,
    live: bool,
    every: float | None,
    seconds: float | None,
    record: Path | None,
    publish: tuple[str, ...],
    web: tuple[str, int] | None,
    lines: bool,
    sensing: SensorSettings | None,
    filters: FilterSettings,
    runner: Runner,
    as_json: bool,
) -> None:
    """Give SOURCE to MODEL, an .esg file, and print each classification as it comes.

    SOURCE is an event recording, or a folder or .zip of them; or a live source, which
    ends with Ctrl-C: spif://[HOST]:PORT, faery://[HOST]:PORT (UDP), edvs:DEVICE, dv:CAMERA,
    dv://HOST:PORT, or - for lines t,x,y,p (docs/streams.md). A terminal shows a live view. With
    --json each line is a JSON object; the last one is the summary.

    With --encode, SOURCE is a sensor that gives numbers: a file (.csv, .npy), serial:DEVICE
    or -, a line of text for each sample. CODE is window:hop=N, delta:threshold=V,
    rate:low=V,high=V, latency:... or gaussian:... (docs/sensors.md).

    \b
    Example:
      edgespike stream gestures.esg recording.csv --port /dev/ttyACM0
      edgespike stream digits.esg recordings.zip --port emulated --speed max
      edgespike stream gestures.esg spif://:3333 --for 60s --web 8000
      edgespike stream ecg.esg serial:/dev/ttyS0 --encode window --sample-rate 360
    """
    listening = is_source(source) and not Path(source).exists()
    if sensing:
        if not filters.is_empty:
            raise UsageError("filters are for events of a camera, not for samples", "leave them out")
        refuse("samples", {"--live": live or None})
        if not Path(source).is_file():
            refuse("a live source", {"--speed": speed, "--loop": loop})
    elif listening:
        refuse("a live source", {"--speed": speed, "--loop": loop})
    else:
        refuse("recordings", {"--every": every, "--for": seconds})
        if live and not runner.port:
            raise UsageError("--live is for boards", "add --port, or leave out --live")
    with ExitStack() as stack:
        publishers = [stack.enter_context(closing(open_publisher(where))) for where in publish]
        session = stack.enter_context(runner.open(model))
        journal = JournalWriter(record, session.model) if record else None
        if journal:
            stack.callback(journal.discard)  # unless it was closed
        if sensing:
            chain = Filters(filters, None, session)
            windowed = isinstance(sensing.code, Window)
            if windowed:
                refuse("a window of samples, which has its hop", {"--every": every})
            sensor = SensorStream(session, source, sensing, speed or 1.0, 1 if loop is None else loop)
            heard = stack.enter_context(sensor.source)
            every_us = 0 if windowed else result_time(session, every)
            player = Player(session, speed or 1.0, not heard.waits and not windowed, journal)
            answers = sensor.answers(player, every_us, seconds or math.inf)
        elif listening:
            require_events(session)
            every_us = result_time(session, every)
            heard = stack.enter_context(open_source(source))
            chain = Filters(filters, heard.sensor, session)
            player = Player(session, 1.0, not heard.waits, journal)
            given = ((chain(events), known) for events, known in pieces(heard, player.lane.step_s))
            answers = player.listen(heard, given, every_us, seconds or math.inf)
        else:
            heard = None
            chain = Filters(filters, None, session)
            recordings = find_streams(
                existing(source), session, None if filters.is_empty else chain.of_recording
            )
            player = Player(session, speed or 1.0, live, journal)
            answers = player.play(rounds(recordings, 1 if loop is None else loop))
        title = f"{model.name} on {runner}, from {heard.name if heard else Path(source).name}"
        told = sensing.as_json() if sensing else None
        monitor = Monitor(session, player, title, heard, lambda: chain.removed, told)
        if web:
            page = stack.enter_context(closing(open_page(web, monitor)))
            print(f"the view is at {page.url}", file=sys.stderr, flush=True)
        show: Output
        if as_json or lines or not sys.stdout.isatty():
            show = JsonOutput() if as_json else LineOutput()
            if heard:
                heard.on_change = partial(click.echo, err=True)
        else:
            show = stack.enter_context(ViewOutput(monitor))
        report(monitor, answers, journal, publishers, show)


class Filters:
    """The filters that the user chose, for a sensor that a live source or a recording has.

    ``removed``: events by the filter that took them away.

    Raises:
        DataError: a live source has a larger sensor than the network, and nothing makes it fit.
    """

    def __init__(self, settings: FilterSettings, sensor: Sensor | None, session: InferenceSession) -> None:
        self.settings = settings
        height, width, _ = session.graph.populations[0].shape
        self.sensor = sensor or _before(settings, (width, height))
        self.chain = EventFilter(settings, self.sensor)
        if sensor and (self.chain.sensor[0] > width or self.chain.sensor[1] > height):
            raise other_sensor(self.chain.sensor, (width, height))
        self.removed = Counter(self.chain.removed)

    def __call__(self, events: NDArray[Any]) -> NDArray[Any]:
        """The events of a live source that pass."""
        if self.settings.is_empty:
            return events
        passed = self.chain(events)
        self.removed = Counter(self.chain.removed)
        return passed

    def of_recording(self, events: NDArray[Any]) -> NDArray[Any]:
        """The events of a whole recording that pass."""
        if self.settings.is_empty:
            return events
        width, height = smallest_sensor(events)
        chain = EventFilter(self.settings, (max(width, self.sensor[0]), max(height, self.sensor[1])))
        passed = chain(events)
        self.removed.update(chain.removed)
        return passed


def _before(settings: FilterSettings, sensor: Sensor) -> Sensor:
    """The sensor that may stand before filters, where nobody tells: what fits the network, or more."""
    if settings.crop:
        x, y, width, height = settings.crop
        return x + width, y + height
    return sensor[0] * settings.downsample, sensor[1] * settings.downsample


def refuse(what: str, options: dict[str, object]) -> None:
    """Raises UsageError for options that mean nothing here."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise UsageError(f"{', '.join(given)} means nothing for {what}", f"leave out {' and '.join(given)}")


def existing(source: str) -> Path:
    """The path of recordings; UsageError where there is nothing."""
    path = Path(source)
    if not path.exists():
        if source.startswith("serial:"):
            raise UsageError(
                "a sensor gives samples: what shall the network get?", "say --encode, see --help"
            )
        forms = ", ".join(form for form, _ in SOURCES.values())
        raise UsageError(f"there is no file, folder or live source {source!r}", f"live sources are {forms}")
    return path


def result_time(session: InferenceSession, every: float | None) -> int:
    """Microseconds from result to result of a live stream; 0: the network's own windows."""
    if every and session.window_us:
        window = f"{session.window_us:,} us"
        raise UsageError(f"the network has windows of {window}: --every means nothing", "leave out --every")
    if not every and not session.window_us:
        raise UsageError(
            "the network has no windows: when shall a result come?", "say it: --every 100ms, for example"
        )
    return round(1e6 * every) if every else 0


def open_page(address: tuple[str, int], monitor: Monitor) -> WebView:
    """The live view for browsers; raises UsageError without the extra ``web``."""
    try:
        from edgespike.web import WebView
    except ImportError as error:
        raise UsageError(
            "the view for browsers needs starlette and uvicorn, which are not installed",
            "pip install 'edgespike[web]'",
            "missing-extra",
        ) from error
    return WebView(address, monitor.state)


def report(
    monitor: Monitor,
    answers: Iterator[Answer],
    journal: JournalWriter | None,
    publishers: Sequence[Publisher],
    show: Output,
) -> None:
    """Prints answers as they come, and at the end the summary, however it ends."""
    try:
        for answer in answers:
            line = monitor.add(answer)
            if journal:
                journal.add_result({"sample": answer.number, **line})
            for publisher in publishers:
                publisher.send(json.dumps(line))
            show.answer(line)
    except KeyboardInterrupt:
        if monitor.source is None:
            raise
    finally:
        summary = monitor.summary()
        if journal:
            journal.close(summary)
        show.summary(summary)


class Output(Protocol):
    """Where results go."""

    def answer(self, line: dict[str, Any]) -> None:
        """A result, as JSON values."""

    def summary(self, summary: dict[str, Any]) -> None:
        """The end."""


class JsonOutput:
    """A JSON object a line."""

    def answer(self, line: dict[str, Any]) -> None:
        print_json(line)

    def summary(self, summary: dict[str, Any]) -> None:
        print_json(summary)


class LineOutput:
    """A line of text a result."""

    def __init__(self) -> None:
        print_header()

    def answer(self, line: dict[str, Any]) -> None:
        print_line(line)

    def summary(self, summary: dict[str, Any]) -> None:
        print_summary(summary)


class ViewOutput(LiveView):
    """The live view, and the summary below its last state."""

    def answer(self, line: dict[str, Any]) -> None:
        """It is seen already."""

    def summary(self, summary: dict[str, Any]) -> None:
        self.stop()
        print_summary(summary)


def rounds(recordings: Sequence[Sample], loop: int) -> Iterator[Sample]:
    """All recordings, ``loop`` times; 0: without end."""
    return chain.from_iterable(repeat(recordings) if loop == 0 else repeat(recordings, loop))


# ---- what is said -----------------------------------------------------------


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
    if summary["behind_s"]:
        fields.append(("behind", f"{summary['behind_s']:.1f} s, to wait for the network"))
    if delay:
        fields.append(("delay", ", ".join(f"{name} {ms:.1f} ms" for name, ms in delay.items())))
    if summary["load"] is not None:
        fields.append(("load", f"{percent(summary['load'], 1)} of the time"))
    if filtered := {cause: count for cause, count in summary["filtered"].items() if count}:
        fields.append(("filtered", ", ".join(f"{count:,} {cause}" for cause, count in filtered.items())))
    if source := summary["source"]:
        causes = {"dropped": "too old", "outside": "off the sensor", "late": "late (kept)"}
        fields.append(
            (
                "source",
                f"{source['events']:,} {'samples' if summary['sensor'] else 'events'}; "
                + counted(source, causes),
            )
        )
        causes = {"malformed": "pieces without sense", "restarts": "new starts of its clock"}
        fields.append(("", counted(source, causes)))
        fields.append(("", f"gone {source['disconnects']:,} times, for {source['blind_s']:.1f} s in all"))
    if link:
        fields.append(("sent", f"{link['bytes_sent']:,} bytes, {link['sent_again']:,} frames again"))
        fields.append(("received", f"{link['bytes_received']:,} bytes, {link['bad_crc']:,} frames damaged"))
        causes = {"lost_on_link": "on the link", "lost_at_sender": "too late", "rejected": "rejected"}
        fields.append(("lost events", f"{counted(link, causes)}; {link['results_lost']:,} results"))
    print()
    print_fields(fields)


def counted(numbers: dict[str, Any], meanings: dict[str, str]) -> str:
    """``"3 too late, 0 rejected"``."""
    return ", ".join(f"{numbers[key]:,} {meaning}" for key, meaning in meanings.items())
