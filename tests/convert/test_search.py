"""The search: the cheapest graph within the budget, or the layer that is in the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_networks import Writer, flat_gemm

from edgespike.convert import Calibration, convert_onnx
from edgespike.convert.fit_budget import choices, fitted_on, search_precision, sharers
from edgespike.convert.precision import Precision
from edgespike.convert.report import LayerReport
from edgespike.convert.search import LEVELS, Attempt, Budget, Searcher
from edgespike.errors import DataError
from edgespike.importers.onnx import read_onnx


@dataclass
class Tally:
    noise: dict[str, float]


@dataclass
class Examination:
    tallies: list[Tally]


class MadeUp:
    """A network whose noise adds up exactly: by layer a sensitivity, work and weights."""

    def __init__(self, seed: int, count: int = 5) -> None:
        random = np.random.default_rng(seed)
        self.noise = random.uniform(0.1, 3.0, count) ** 3
        self.weight_noise = random.uniform(0.1, 2.0, count) ** 3
        self.work = random.integers(100, 5000, count)
        self.weights = random.integers(100, 5000, count)
        self.count, self.attempts = count, 0

    def attempt(self, precision: Precision, alone: bool) -> Any:
        self.attempts += 1
        levels = np.array(precision.levels)
        by_layer = self.noise / levels**2 + self.weight_noise * (np.array(precision.weights) == 4) * 1e-3
        synops = self.work * (0.4 + 0.1 * np.log2(levels))
        size = self.weights * np.array(precision.weights) // 8
        layers = tuple(
            LayerReport(
                f"layer{n}",
                "Activation",
                (1, 1, 8),
                precision.weights[n],
                8,
                int(size[n]),
                100 * n,
                16,
                0,
                0.0,
                0.0,
            )
            for n in range(self.count)
        )
        result = 0.9 - 0.02 * float(by_layer.sum())
        examination: Any = Examination([Tally({"scores": float(noise)}) for noise in by_layer])
        return Attempt(
            layers, int(size.sum()) + 50, 4000, 3000, tuple(synops), result, examination if alone else None
        )

    def searcher(self, budget: Budget) -> Searcher:
        return Searcher(
            names=tuple(f"layer{n}" for n in range(self.count)),
            sharers=tuple((n,) for n in range(self.count)),
            weighted=(True,) * self.count,
            budget=budget,
            result_float=0.9,
            attempt=self.attempt,
            tell=lambda step, share: None,
        )


@given(st.integers(0, 10**6), st.floats(0.0005, 0.05), st.floats(0.5, 1.2))
def test_within_the_budget_and_hardly_worse_than_any_uniform_graph(
    seed: int, drop: float, share: float
) -> None:
    network = MadeUp(seed)
    flash = int(network.weights.sum() * share)
    searcher = network.searcher(Budget(flash=flash, max_drop=drop))
    chosen = searcher.run()
    uniform = [Precision((n,) * 5, (bits,) * 5) for n in LEVELS for bits in (8, 4)]
    good = []
    for precision in uniform:
        made = network.attempt(precision, False)
        if made.flash <= flash and 0.9 - made.result <= drop:
            good.append(sum(made.synops_of))
    if chosen is None:
        assert not good
        return
    made = network.attempt(chosen, False)
    assert made.flash <= flash
    assert 0.9 - made.result <= drop + 1e-9
    assert sum(made.synops_of) <= 1.1 * min(good, default=np.inf)


def test_it_tries_few_graphs() -> None:
    network = MadeUp(3, count=30)
    network.searcher(Budget(flash=int(network.weights.sum() * 0.8), max_drop=0.01)).run()
    assert network.attempts <= 30


@pytest.mark.parametrize(
    ("budget", "named"),
    [
        (Budget(flash=60), "bytes of weights"),
        (Budget(ram=2999), "layer4 has 400 bytes of state"),
        (Budget(max_drop=0.0), "adds most noise"),
    ],
)
def test_what_is_in_the_way(budget: Budget, named: str) -> None:
    network = MadeUp(1)
    searcher = network.searcher(budget)
    assert searcher.run() is None
    assert named in searcher.obstacle()
    if "weights" in named:
        assert f"layer{int(network.weights.argmax())} has" in searcher.obstacle()


def small(folder: Path) -> tuple[Path, Calibration]:
    net = Writer(("N", 1, 8, 8), seed=6)
    net.conv(1, 8, 3, 3, pads=[1, 1, 1, 1])
    net.add("Relu")
    net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    net.conv(8, 8, 3, 3, pads=[1, 1, 1, 1])
    net.add("Relu")
    flat_gemm(net, 128)
    onnx.save(net.model(), folder / "network.onnx")
    random = np.random.default_rng(8)
    return folder / "network.onnx", Calibration(random.uniform(0, 1, (160, 1, 8, 8)).astype(np.float32))


def test_pools_go_with_their_source(tmp_path: Path) -> None:
    path, _ = small(tmp_path)
    assert sharers(read_onnx(path)) == ((), (1, 2), (), (3,), ())


def test_a_real_network_within_its_budget(tmp_path: Path) -> None:
    path, calibration = small(tmp_path)
    free = search_precision(path, calibration, Budget(max_drop=0.05))
    assert free.chosen is not None
    finest = max(free.trials, key=lambda trial: trial.flash)
    budget = Budget(flash=finest.flash - 400, ram=finest.ram_streaming, max_drop=0.1)
    search = search_precision(path, calibration, budget)
    assert search.chosen is not None
    trial = search.trials[search.chosen]
    assert 4 in trial.weights
    levels, weights = choices(search)
    _, report = convert_onnx(path, calibration, levels=levels, weights=weights, fit_on=fitted_on(160))
    assert report.flash <= trial.flash <= budget.flash  # type: ignore[operator]
    assert (report.ram_streaming, report.ram_one_shot) == (trial.ram_streaming, trial.ram_one_shot)
    assert report.synops == pytest.approx(trial.synops, rel=0.1)
    assert search.result_float - trial.result <= 0.1
    assert search_precision(path, calibration, budget) == search


def test_too_few_samples_to_hold_any_out(tmp_path: Path) -> None:
    path, calibration = small(tmp_path)
    with pytest.raises(DataError, match="too few"):
        search_precision(path, Calibration(calibration.x[:20]), Budget())
