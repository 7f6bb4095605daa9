"""The live view of a stream in a terminal: classes, events, rates, losses, delays, load, the link."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from edgespike.cli.monitor import SHOWN_US, Monitor, State
from edgespike.cli.output import percent
from edgespike.cli.picture import picture

FRAMES_PER_SECOND = 10
LEVELS = "▁▂▃▄▅▆▇█"
HISTORY = 12  # results shown for each class
BELOW = 10  # lines below the picture, and its title


class LiveView:
    """Draws what is going on, ten times a second, until it is left (a context manager)."""

    def __init__(self, monitor: Monitor, console: Console | None = None) -> None:
        self.monitor = monitor
        self.console = console or Console(highlight=False, emoji=False, markup=False)
        self._live = Live(
            console=self.console,
            refresh_per_second=FRAMES_PER_SECOND,
            get_renderable=lambda: draw(monitor.state(), self.console),
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Leave what is shown as it is."""
        self._live.stop()


def draw(state: State, console: Console) -> RenderableType:
    """A state as it is shown on a console of this size."""
    size = console.size
    rows = max(6, min(18, size.height - BELOW - 3))
    columns = max(8, min(2 * rows * state.sensor[0] // state.sensor[1], size.width // 2 - 4))
    seen = picture(state.events, state.sensor, columns, console.color_system is not None, rows)
    body = Table.grid(expand=True)
    body.add_column(ratio=1)
    body.add_column(width=columns + 4)
    body.add_row(
        _panel("scores", _classes(state, rows), rows),
        _panel(f"events, {SHOWN_US // 1000} ms", seen, rows),
    )
    return Group(_title(state), body, _events(state), _facts(state))


def _panel(title: str, content: RenderableType, rows: int) -> Panel:
    return Panel(content, title=title, title_align="left", border_style="dim", height=rows + 2)


def _title(state: State) -> RenderableType:
    line = Table.grid(expand=True)
    line.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    line.add_column(justify="right", no_wrap=True)
    line.add_row(Text(f" {state.title}", "bold"), Text(f"{state.seconds:,.1f} s ", "dim"))
    return line


def _classes(state: State, rows: int) -> RenderableType:
    """A line for each class: name, bar, history, score."""
    if state.last is None:
        return Text("no result yet", "dim")
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True, max_width=12, overflow="ellipsis")
    table.add_column(ratio=1)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    shown = state.classes
    if len(shown) > rows:
        shown = sorted(shown, key=lambda row: -row.score)[:rows]
    for row in shown:
        style = "bold green" if row.best else ""
        bar = Bar(1.0, 0.0, row.share, color="green" if row.best else "cyan", bgcolor="default")
        table.add_row(Text(row.name, style), bar, Text(_line(row.history), "dim"), f"{row.score:,}")
    return table


def _line(shares: Sequence[float]) -> str:
    """Shares as a line of bars, the latest on the right."""
    return "".join(LEVELS[round(share * (len(LEVELS) - 1))] for share in shares[-HISTORY:])


def _events(state: State) -> RenderableType:
    """Rates and numbers of events, by what became of them."""
    table = Table.grid(padding=(0, 0, 0, 2))
    table.add_column(style="dim", no_wrap=True, min_width=8)
    for flow in state.flows:
        alert = "yellow" if flow.name not in ("in", "sent") and flow.count else ""
        table.add_column(justify="right", no_wrap=True, style=alert, min_width=6)
    table.add_row("events", *(Text(flow.name, "dim") for flow in state.flows))
    table.add_row("a second", *(short(flow.rate) for flow in state.flows))
    table.add_row("in all", *(short(flow.count) for flow in state.flows))
    return _indented(table)


def _facts(state: State) -> RenderableType:
    table = Table.grid(padding=(0, 0, 0, 2))
    table.add_column(style="dim", no_wrap=True, min_width=8)
    table.add_column(overflow="fold")
    for name, text in _lines(state):
        table.add_row(name, text)
    return _indented(table)


def _indented(table: Table) -> RenderableType:
    line = Table.grid()
    line.add_row(" ", table)
    return line


def _lines(state: State) -> list[tuple[str, RenderableType]]:
    accuracy = "" if state.accuracy is None else f", {percent(state.accuracy, 1)} right"
    before = "" if not state.before else f"; before: {' '.join(state.before)}"
    lines: list[tuple[str, RenderableType]] = [
        ("results", Text(f"{state.results:,}{accuracy}{before}", no_wrap=True, overflow="ellipsis"))
    ]
    if last := state.last:
        ticks = f"{last['ticks']:,}" + (f" of {state.window_ticks:,}" if state.window_ticks else "")
        early = " (early)" if last["early"] else ""
        lost = f", {last['lost']:,} lost" if last["lost"] else ""
        said = f"{last['class']} by {last['margin']:,}, from {last['events']:,} events in {ticks} ticks"
        lines.append(("last", said + early + lost))
    if state.delay_ms:
        lines.append(("delay", f"p50 {state.delay_ms['p50']:.1f} ms, p95 {state.delay_ms['p95']:.1f} ms"))
    lines.append(("load", "not measured" if state.load is None else percent(state.load, 1) + " of the time"))
    if counts := state.source:
        lines.append(
            (
                "source",
                f"{counts.malformed:,} without sense, {counts.late:,} late, {counts.restarts:,} new clocks;"
                f" gone {counts.disconnects:,} times, {counts.blind_s:.1f} s blind",
            )
        )
    if link := state.link:
        lines.append(
            (
                "link",
                f"{link.round_trip_us / 1000:.1f} ms there and back,"
                f" {percent(link.in_flight / max(link.window, 1), 0)} of its room used,"
                f" {link.bad_crc + link.malformed + link.too_long:,} bad frames, {link.sent_again:,} again",
            )
        )
    return lines


def short(number: float) -> str:
    """A number in at most six characters: ``950``, ``13.9 k``, ``1.25 M``."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.99995 * size:
            digits = 2 if number < 10 * size else 1 if number < 100 * size else 0
            return f"{number / size:.{digits}f} {unit}"
    return f"{number:.0f}"
