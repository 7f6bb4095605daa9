"""Replay keeps its pace, waits for what is slow, and says so."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgespike import InferenceSession
from edgespike.cli.player import LATE_S, STEP_S, Player, Reply
from edgespike.cli.samples import Sample
from edgespike.errors import DataError
from edgespike.events import make_events


class SlowLane:
    """Takes what it is given, each piece in so many seconds; notes times, and how late they were."""

    busy_s = 0.0
    step_s = STEP_S

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.pieces: list[tuple[int, int, float]] = []  # recording, until, seconds late
        self.number = 0

    def begin(self, number: int) -> None:
        self.number = number

    def wait(self, due: float) -> list[Reply]:
        time.sleep(max(0.0, due - time.perf_counter()))
        return []

    def send(self, events: NDArray[Any], until_us: int, due: float) -> list[Reply]:
        self.pieces.append((self.number, until_us, time.perf_counter() - due))
        time.sleep(self.seconds)
        return []

    def read(self) -> list[Reply]:
        return []

    def end(self) -> list[Reply]:
        return []

    def drain(self) -> list[Reply]:
        return []


def recording(duration_us: int, name: str = "one") -> Sample:
    return Sample(name, None, lambda: make_events([0, duration_us - 1], [0, 1], [0, 1], [0, 1]))


def play(model: Path, seconds: float, speed: float, live: bool, samples: list[Sample]) -> tuple[Player, Any]:
    player = Player(InferenceSession(model), speed, live)
    lane = player.lane = SlowLane(seconds)
    for _ in player.play(samples):
        pass
    return player, lane


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_recordings_follow_each_other_by_the_clock(event_model: Path, speed: float) -> None:
    begun = time.perf_counter()
    player, lane = play(event_model, 0.0, speed, False, 8 * [recording(30_000)])
    assert player.sent == 16
    assert 8 * 0.030 / speed <= time.perf_counter() - begun
    assert all(late >= 0 for _, _, late in lane.pieces)


def test_pieces_are_short_and_cut_at_windows(event_model: Path) -> None:
    _, lane = play(event_model, 0.0, 1.0, False, [recording(50_001)])
    times = [until for _, until, _ in lane.pieces]
    assert {20_000, 40_000, 50_001} <= set(times) and max(np.diff(times)) <= 1e6 * STEP_S


def test_a_slow_board_is_waited_for(event_model: Path) -> None:
    waiting, _ = play(event_model, LATE_S, 10.0, False, 4 * [recording(30_000)])
    assert waiting.behind_s > 2 * LATE_S
    live, lane = play(event_model, LATE_S, 10.0, True, 4 * [recording(30_000)])
    assert live.behind_s == 0 and lane.pieces[-1][2] > 4 * LATE_S


def test_what_cannot_be_loaded_is_told_when_it_is_due(event_model: Path) -> None:
    def broken() -> NDArray[Any]:
        raise DataError("broken", "", "event-file")

    player = Player(InferenceSession(event_model), 1.0)
    lane = player.lane = SlowLane(0.0)
    with pytest.raises(DataError, match="broken"):
        for _ in player.play([recording(30_000), Sample("two", None, broken), recording(30_000)]):
            pass
    assert {number for number, _, _ in lane.pieces} == {0}
