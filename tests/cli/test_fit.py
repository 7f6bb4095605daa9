"""``edgespike fit``: what is said of boards, and of models that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_graphs import random_graph

from edgespike.boards import BOARDS
from edgespike.modelfile import write_model


@pytest.fixture
def large_model(tmp_path: Path) -> Path:
    """A network for larger boards only."""
    for seed in range(100):
        graph = random_graph(np.random.default_rng(seed), new_shape=lambda rng: (20, 20, 12))
        path = tmp_path / "large.esg"
        write_model(graph, path)
        if 20_000 < path.stat().st_size < 60_000:
            return path
    pytest.fail("no random network has the size")


def test_a_board_line_by_line(cli: Any, event_model: Path, recordings: Path) -> None:
    outcome = cli("fit", event_model, "--board", "netduinoplus2", "--samples", recordings)
    assert outcome.code == 0
    assert max(map(len, map(str.rstrip, outcome.out.splitlines()))) <= 80
    assert f"{event_model.stat().st_size:,} of 65,536 bytes" in outcome.out
    assert "instructions per event" in outcome.out and "samples of" in outcome.out


def test_all_boards_are_in_a_table_with_what_is_missing(cli: Any, large_model: Path) -> None:
    outcome = cli("fit", large_model, "--all")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert max(map(len, map(str.rstrip, lines))) <= 80
    for board in BOARDS:
        assert any(line.startswith(board.name) for line in lines)
    missing = large_model.stat().st_size - 2816
    assert f"stm32vldiscovery: {missing:,} bytes of RAM too few for the model" in lines


def test_a_model_too_big_for_a_board(cli: Any, large_model: Path) -> None:
    outcome = cli("fit", large_model, "--board", "microbit", "--json")
    size = large_model.stat().st_size
    assert (outcome.code, json.loads(outcome.out)["error"]["code"]) == (5, "model-too-large")
    assert f"{size:,} bytes is {size - 7168:,} bytes larger than the 7,168 bytes of RAM" in outcome.err
    assert "hint: it fits mps2-an385" in outcome.err


@pytest.mark.parametrize("options", [[], ["--all", "--board", "microbit"], ["--board", "uno"]])
def test_a_board_must_be_chosen(cli: Any, event_model: Path, options: list[str]) -> None:
    outcome = cli("fit", event_model, *options)
    assert outcome.code == 2
    assert all(board.name in outcome.err for board in BOARDS)


def test_slower_instructions_mean_fewer_events(cli: Any, event_model: Path, recordings: Path) -> None:
    command = ["fit", event_model, "--board", "mps2-an386", "--samples", recordings, "--json"]
    (fast,), (slow,) = (json.loads(cli(*command, "--cycles", cycles).out)["boards"] for cycles in ("1", "2"))
    rates = [row["events_per_second"]["typical"]["processor"] for row in (fast, slow)]
    assert rates[0] > 1.999 * rates[1] > 0  # ticks and windows cost the same however many events come
    assert fast["instructions"] == slow["instructions"]
