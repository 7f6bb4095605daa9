"""What the views show of a stream, and the live view in a terminal."""

from __future__ import annotations

import io
import math
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from edgespike import InferenceSession
from edgespike.cli.monitor import SHOWN_US, Monitor, State
from edgespike.cli.player import Player
from edgespike.cli.samples import find_streams
from edgespike.cli.view import LiveView, draw, short
from edgespike.events import make_events


def watch(
    model: Path, recordings: Path, port: str | None = None, speed: float = math.inf, rounds: int = 1
) -> Monitor:
    """A monitor that has watched recordings."""
    session = InferenceSession(model, "device" if port else "cpu", port=port)
    player = Player(session, speed)
    monitor = Monitor(session, player, "halves.esg on cpu, from recordings")
    for answer in player.play(rounds * find_streams(recordings, session)):
        monitor.add(answer)
        monitor.state()
    return monitor


def shown(state: State, height: int = 24, coloured: bool = False) -> list[str]:
    """The lines of the view in a terminal 80 columns wide."""
    console = Console(
        width=80,
        height=height,
        file=io.StringIO(),
        force_terminal=coloured,
        color_system="truecolor" if coloured else None,
        no_color=not coloured,
    )
    console.print(draw(state, console))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_view_has_all_facts_in_a_small_terminal(event_model: Path, recordings: Path) -> None:
    lines = shown(watch(event_model, recordings, "emulated", 50).state())
    assert len(lines) < 24 and max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for fact in ("left", "right", "dark", "in all", "link lost", "too late", "rejected", "delay     p50"):
        assert fact in text, text
    for fact in ("load", "of the time", "there and back", "bad frames", "results   4", "of 20 ticks"):
        assert fact in text, text
    assert "▁" in text and "█" in text and "\x1b" not in text


def test_the_view_has_colours_where_there_are_any(event_model: Path, recordings: Path) -> None:
    assert "\x1b[" in "\n".join(shown(watch(event_model, recordings).state(), coloured=True))


def test_before_the_first_result(event_model: Path) -> None:
    session = InferenceSession(event_model)
    monitor = Monitor(session, Player(session, 1.0), "nothing yet")
    assert monitor.state().last is None and monitor.state().classes == []
    assert "no result yet" in "\n".join(shown(monitor.state()))


def test_a_view_is_drawn_while_the_stream_runs(event_model: Path, recordings: Path) -> None:
    session = InferenceSession(event_model)
    player = Player(session, 1.0)
    monitor = Monitor(session, player, "halves")
    console = Console(width=80, height=24, file=io.StringIO(), force_terminal=True)
    with LiveView(monitor, console) as view:
        for answer in player.play(4 * find_streams(recordings, session)):
            monitor.add(answer)
        view.stop()
    assert isinstance(console.file, io.StringIO)
    drawn = console.file.getvalue()
    assert drawn.count("last") >= 3 and "no result yet" in drawn


def test_load_is_the_time_that_was_computed(event_model: Path, recordings: Path) -> None:
    for port in (None, "emulated"):
        monitor = watch(event_model, recordings, port, 1.0, rounds=2)
        load, whole = monitor.state().load, monitor.summary()["load"]
        assert load is not None and 0 < load < 1 and 0 < whole < 1
    monitor.player.lane.busy_s = None  # a board without a clock
    assert monitor.state().load is None and monitor.summary()["load"] is None
    assert "not measured" in "\n".join(shown(monitor.state()))


def test_the_picture_is_of_the_latest_events(event_model: Path) -> None:
    session = InferenceSession(event_model)
    player = Player(session, 1.0)
    monitor = Monitor(session, player)
    for _ in range(100):  # recordings, each of which begins at 0
        for begin in range(0, 100_000, 10_000):
            time_us = begin + np.arange(0, 10_000, 100)
            player.on_events(make_events(time_us, time_us % 6, time_us % 4, time_us % 2))
    events = monitor.state().events
    assert len(events) == SHOWN_US // 100 and events["t"].min() == 50_000
    player.on_events(make_events([0], [1], [2], [1]))
    assert monitor.state().events["t"].tolist()[-1] == 0, "a new recording joins on"


def test_history_and_rates_are_bounded(event_model: Path, recordings: Path) -> None:
    monitor = watch(event_model, recordings, rounds=60)
    state = monitor.state()
    assert state.results == 240 and {len(row.history) for row in state.classes} == {60}
    assert len(state.before) == 59
    assert all(0 <= share <= 1 for row in state.classes for share in row.history)
    time.sleep(0.3)
    flows = {flow.name: flow for flow in monitor.state().flows}
    assert flows["in"].count == flows["sent"].count == 60 * 400 and flows["sent"].rate > 0


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1.00 k"), (13_949, "13.9 k"), (999_960, "1.00 M"), (2.5e9, "2.50 G")],
)
def test_short_numbers(number: float, text: str) -> None:
    assert short(number) == text
