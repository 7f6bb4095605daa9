"""The live view of a stream in a terminal: classes, events, rates, losses, delays, the link."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from edgespike.cli.output import percentiles_ms
from edgespike.cli.picture import picture
from edgespike.cli.player import Answer, Player
from edgespike.cli.samples import class_name
from edgespike.events import EVENT
from edgespike.session import InferenceSession
from edgespike.sources import Source

FRAMES_PER_SECOND = 10
SHOWN_US = 50_000  # the picture has the events of so long
SPAN_S = 2.0  # rates are those of so long
HISTORY = 200  # results whose delays and classes are kept
CLASSES = 10  # shown at most, the best first


class LiveView:
    """Draws what is going on, ten times a second, until it is left (a context manager).

    Args:
        session: the network.
        player: plays to it.
        title: model, backend, source.
        source: a live source, if it is one.
    """

    def __init__(
        self, session: InferenceSession, player: Player, title: str, source: Source | None = None
    ) -> None:
        self.session, self.player, self.title, self.source = session, player, title, source
        self.begun = time.perf_counter()
        self.answers: deque[Answer] = deque(maxlen=HISTORY)
        self._results = 0
        self._recent = np.zeros(0, EVENT)
        self._sent: deque[tuple[float, int]] = deque()  # when, and how many events until then
        self.console = Console(highlight=False, emoji=False, markup=False)
        self._live = Live(
            console=self.console,
            refresh_per_second=FRAMES_PER_SECOND,
            get_renderable=self.render,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        player.on_events = self.see

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Leave what is shown as it is."""
        self._live.stop()

    def see(self, events: NDArray[Any]) -> None:
        """Events on their way to the network."""
        if len(events):
            recent = np.concatenate([self._recent, events[["t", "x", "y", "p"]].astype(EVENT)])
            self._recent = recent[recent["t"] > int(events["t"][-1]) - SHOWN_US]

    def add(self, answer: Answer) -> None:
        """A classification."""
        self.answers.append(answer)
        self._results += 1

    # ---- drawing

    def render(self) -> RenderableType:
        """What is shown now."""
        size = self.console.size
        rows = max(6, min(18, size.height - 12))
        height, width, _ = self.session.graph.populations[0].shape
        columns = min(2 * rows * width // max(height, 1), size.width // 2 - 4)
        seen = picture(
            self._recent, (width, height), max(columns, 8), self.console.color_system is not None, rows
        )
        body = Table.grid(expand=True)
        body.add_column(ratio=1)
        body.add_column(width=max(columns, 8) + 4)
        body.add_row(Panel(self._classes(rows), title="classes"), Panel(seen, title="events"))
        return Group(Text(self.title, overflow="ellipsis", no_wrap=True), body, self._numbers())

    def _classes(self, rows: int) -> RenderableType:
        if not self.answers:
            return Text("no result yet")
        result = self.answers[-1].result
        scores = result.scores.astype(float)
        spread = max(float(scores.max() - scores.min()), 1.0)
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(no_wrap=True, max_width=14, overflow="ellipsis")
        table.add_column(ratio=1)
        table.add_column(justify="right", no_wrap=True)
        for label in np.argsort(-scores, kind="stable")[: min(CLASSES, rows - 2)].tolist():
            style = "bold green" if label == result.label else ""
            bar = Bar(float(scores[label] - scores.min()) / spread, style or "cyan")
            table.add_row(Text(class_name(self.session, label), style), bar, f"{result.scores[label]:,}")
        before = list(self.answers)[-2::-1]
        past = " ".join(class_name(self.session, answer.result.label) for answer in before)
        return Group(table, Text(f"before: {past}", "dim", no_wrap=True, overflow="ellipsis"))

    def _numbers(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, text in self._facts():
            table.add_row(name, text)
        return table

    def _facts(self) -> list[tuple[str, str]]:
        seconds = time.perf_counter() - self.begun
        facts = [
            ("results", f"{self._results:,} in {seconds:.1f} s" + self._last()),
            ("events", f"{self._rate():,.0f} a second, {self.player.sent:,} in all"),
        ]
        delays = [answer.delay_s for answer in self.answers if answer.delay_s is not None]
        if delays:
            p = percentiles_ms(delays, (50, 95))
            facts.append(("delay", f"p50 {p['p50']:.1f} ms, p95 {p['p95']:.1f} ms, of {len(delays)} results"))
        if self.source:
            counts = self.source.counts
            facts.append(
                (
                    "lost here",
                    f"{counts.dropped:,} too old, {self.player.outside:,} off the sensor,"
                    f" {counts.malformed:,} without sense; gone {counts.disconnects:,} times",
                )
            )
        if link := self.player.link():
            facts.append(
                (
                    "link",
                    f"{link.lost_on_link:,} lost, {link.lost_at_sender:,} too late, "
                    f"{link.rejected:,} rejected;"
                    f" {link.bad_crc:,} bad frames; {link.round_trip_us / 1000:.1f} ms there and back",
                )
            )
        return facts

    def _last(self) -> str:
        if not self.answers:
            return ""
        result = self.answers[-1].result
        lost = f", {result.lost:,} lost" if result.lost else ""
        return f"; the last one of {result.events:,} events{lost}, margin {result.margin:,}"

    def _rate(self) -> float:
        now = time.perf_counter()
        self._sent.append((now, self.player.sent))
        while len(self._sent) > 2 and self._sent[0][0] < now - SPAN_S:
            self._sent.popleft()
        (then, before), (now, sent) = self._sent[0], self._sent[-1]
        return (sent - before) / (now - then) if now > then else 0.0


class Bar:
    """A bar as wide as there is room for, filled to a share."""

    def __init__(self, share: float, style: str) -> None:
        self.share, self.style = share, style

    def __rich_console__(self, console: Console, options: Any) -> Any:
        eighths = round(self.share * options.max_width * 8)
        blocks = " ▏▎▍▌▋▊▉"
        yield Text("█" * (eighths // 8) + blocks[eighths % 8].rstrip(), self.style, no_wrap=True)
