"""Early exit: chosen on some samples, measured on others, and what the model file then does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from literal import Save

from edgespike.cli import main
from edgespike.convert import Calibration, with_early_exit
from edgespike.convert.early_exit import Paths, choose
from edgespike.convert.spiking import convert_nir
from edgespike.errors import DataError, EdgespikeError, UsageError
from edgespike.graph import EarlyExit, Graph
from edgespike.modelfile import decode_model, encode_model
from edgespike.session import InferenceSession

TICKS = 80


def samples(count: int, seed: int) -> Calibration:
    """Three noisy channels, of which one spikes more often: how much more differs from sample to sample."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, count)
    rates = np.full((count, 1, 3), 0.2)
    rates[np.arange(count), 0, y] += rng.uniform(0.1, 0.6, count)
    return Calibration((rng.random((count, TICKS, 3)) < rates).astype(np.float32), y)


@pytest.fixture
def network(chain: Save) -> Path:
    neuron = nir.IF(np.full(3, 1000.0), np.full(3, 0.5))
    return chain((3,), (3,), layer=nir.Linear(np.eye(3)), spike=neuron)


def graph_of(network: Path) -> Graph:
    return convert_nir(network, dt=1e-3, framework="snntorch")[0]


def test_it_saves_most_ticks_for_a_point(network: Path) -> None:
    data = samples(800, 0)
    graph, report = with_early_exit(graph_of(network), data, 1.0)
    assert (report.chosen_on, report.samples) == (400, 400)
    assert report.ticks_full == TICKS and report.ticks < 0.7 * TICKS and report.work < 0.75
    assert report.accuracy > report.accuracy_full - 0.03 and report.accuracy_full > 0.9
    rule = graph.input.early_exit
    assert rule == EarlyExit(report.margin, report.every, report.first)
    again = decode_model(encode_model(graph))
    assert again.input.early_exit == rule
    assert again.metadata["conversion"]["early_exit"]["ticks"] == report.ticks
    fresh = samples(200, 1)
    assert fresh.y is not None
    results = list(InferenceSession(graph).iterate(fresh.x))
    assert np.mean([result.label for result in results] == fresh.y) > 0.88
    assert np.mean([result.ticks for result in results]) < 0.8 * TICKS


def test_more_points_save_more(network: Path) -> None:
    data, graph = samples(400, 2), graph_of(network)
    ticks = [with_early_exit(graph, data, points)[1].ticks for points in (0.0, 2.0, 10.0)]
    assert ticks[0] > ticks[1] > ticks[2] > 1


def test_what_is_lost_on_the_choosing_half_is_as_little_as_asked(network: Path) -> None:
    data, graph = samples(300, 3), graph_of(network)
    assert data.y is not None
    paths = Paths.follow(graph, data.x, 1, lambda share: None)
    for points in (0.0, 1.0, 5.0):
        rule = choose(paths, data.y, points, 1)
        assert rule is not None
        at = [
            next((t for t in range(rule.first - 1, TICKS - 1) if row[t] >= rule.margin), TICKS - 1)
            for row in paths.margin
        ]
        now = paths.label[np.arange(300), at]
        lost = ((paths.label[:, -1] == data.y) & (now != data.y)).sum()
        assert lost <= points / 100 * 300


def test_without_a_margin_that_serves(network: Path) -> None:
    data = samples(60, 4)
    x = np.zeros_like(data.x)
    x[:, -1] = np.eye(3)[np.asarray(data.y)]  # all is said in the last tick
    graph, report = with_early_exit(graph_of(network), Calibration(x, data.y), 0.0)
    assert graph.input.early_exit is None and report.margin == 0 and report.work == 1.0
    assert "no early exit" in report.warnings[0]


@pytest.mark.parametrize(
    ("data", "points", "kind", "word"),
    [
        (Calibration(samples(60, 0).x), 0.2, DataError, "labels"),
        (samples(20, 0), 0.2, DataError, "20 samples"),
        (samples(60, 0), -1.0, UsageError, "-1 points"),
        (samples(60, 0), float("nan"), UsageError, "nan points"),
    ],
)
def test_what_cannot_be_chosen(
    network: Path, data: Calibration, points: float, kind: type[EdgespikeError], word: str
) -> None:
    with pytest.raises(kind, match=word) as caught:
        with_early_exit(graph_of(network), data, points)
    assert caught.value.hint


def test_on_the_command_line(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def command(*arguments: Any) -> Any:
        assert main([str(argument) for argument in arguments]) == 0
        return json.loads(capsys.readouterr().out)

    for name, seed in (("calibration", 5), ("test", 6)):
        data = samples(200, seed)
        np.savez(tmp_path / f"{name}.npz", x=data.x, y=data.y)
    model, test = tmp_path / "network.esg", tmp_path / "test.npz"
    options = ["--dt", "1ms", "--from", "snntorch", "--calibration", tmp_path / "calibration.npz"]
    told = command("convert", network, "-o", model, *options, "--early-exit", 2, "--json")["early_exit"]
    assert told["margin"] > 0 and told["points"] == 2
    rule = command("inspect", model, "--json")["input"]["early_exit"]
    assert rule == {name: told[name] for name in ("margin", "every", "first")}
    cpu = command("eval", model, test, "--json")
    assert cpu["ticks_per_sample"] < 0.8 * TICKS == 0.8 * cpu["early_exit"]["ticks_per_sample"]
    assert cpu["synops_per_sample"] < 0.9 * cpu["early_exit"]["synops_per_sample"]
    board = command("eval", model, test, "--json", "--port", "emulated")
    for key in ("accuracy", "ticks_per_sample", "synops_per_sample", "early_exit"):
        assert board[key] == cpu[key]
    rows = command("run", model, test, "--json")["results"]
    assert np.mean([row["ticks"] for row in rows]) == cpu["ticks_per_sample"]
    assert np.mean([row["early"] for row in rows]) > 0.2
    assert main(["eval", str(model), str(test)]) == 0
    shown = capsys.readouterr().out
    assert "without early exit" in shown and max(map(len, shown.splitlines())) <= 80
