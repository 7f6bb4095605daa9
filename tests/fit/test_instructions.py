"""Predicted instructions: as QEMU counts them, and never less than the worst case says."""

from __future__ import annotations

import importlib
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from random_graphs import exiting_graph, random_events, random_graph

from edgespike.activity import Activity, count_operations
from edgespike.boards import BOARDS
from edgespike.decay import decay_steps, most_decay_steps
from edgespike.graph import Graph, InputSpec, Rounding
from edgespike.instructions import (
    costs_of,
    instructions,
    worst_event,
    worst_push,
    worst_reading,
    worst_tick,
)
from edgespike.operations import reset
from edgespike.work import works_at_once

TOOLS = Path(__file__).parents[2] / "tools"
CORE = "cortex-m0"  # where division and products depend on values


@pytest.fixture(scope="module")
def tool() -> Any:
    """The tool as a module."""
    sys.path.append(str(TOOLS))
    return importlib.import_module("measure_instructions")


@pytest.fixture(scope="module")
def held_out(tool: Any, data_folder: Path) -> list[Any]:
    """Networks that the costs were not made from, each with a sample: some with names, and random ones."""
    os.environ["EDGESPIKE_TEST_DATA"] = str(data_folder)
    return [*tool.held_out(), *tool.random_jobs(9_000_000, 60)]


@pytest.fixture(scope="module")
def operations(held_out: list[Any]) -> list[Counter[str]]:
    return [count_operations(job.graph, job.events) for job in held_out]


@pytest.mark.parametrize("core", ["cortex-m0", "cortex-m4"])
def test_instructions_of_a_sample_are_within_15_percent(
    tool: Any, held_out: list[Any], operations: list[Counter[str]], core: str, qemu: str, arm_gcc: str
) -> None:
    """If the core has become slower or faster, run ``tools/measure_instructions.py --record``."""
    known = [place for place, done in enumerate(operations) if sum(done.values()) < tool.MOST_OPERATIONS]
    jobs = [held_out[place] for place in known]
    counts = tool.measure(core, [job.to_bytes() for job in jobs])
    assert len(counts) > 80
    for place, job, count in zip(known, jobs, counts, strict=True):
        assert instructions(operations[place], core) == pytest.approx(count, rel=0.15), job.name
        assert count <= 1.15 * most_of_sample(job, operations[place], core), job.name


def most_of_sample(job: Any, done: Counter[str], core: str) -> float:
    """What a sample with so many events, ticks and windows takes in the worst case."""
    each_window = instructions(reset(job.graph), core)
    each_tick = worst_tick(job.graph, core)
    each_event = worst_push(job.graph, core) + instructions({"time moved": 1, "event skipped": 1}, core)
    looks = done["score compared"] // job.graph.populations[-1].size  # after ticks without events, too
    windows = done["reset"] * each_window + instructions(worst_reading(job.graph), core)
    return windows + (done["tick"] + looks) * each_tick + len(job.events) * each_event


def test_every_operation_has_a_cost_on_every_core() -> None:
    cores = {board.core for board in BOARDS}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        graph = exiting_graph(seed, 20) if seed % 5 == 4 else random_graph(rng, spiking=seed % 2 == 0)
        for operation in count_operations(graph, random_events(rng, graph, 20, longest=3)):
            assert all(operation in costs_of(core) for core in cores), operation
    assert all(cost >= 0 for core in cores for cost in costs_of(core).values())


def by_tick(graph: Graph, events: NDArray[Any]) -> Iterator[tuple[int, float]]:
    """For each tick with events, in one window: how many, and the instructions until it has closed."""
    network = Activity(graph)
    for tick in np.unique(events["tick"]):
        if graph.input.window_ticks and tick >= graph.input.window_ticks - 1:
            return
        network.advance(int(tick))
        network.operations = Counter()
        part = events[events["tick"] == tick]
        network.push(part)
        network.advance(int(tick) + 1)
        yield len(part), instructions(network.operations, CORE)


def test_no_event_takes_more_than_the_worst_case() -> None:
    checked = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng)
        if graph.input.event_counts is None:
            graph = replace(graph, input=InputSpec())  # values that are valid wherever ticks end
        assert works_at_once(graph)
        worst = worst_event(graph, CORE)
        assert 0 < worst_push(graph, CORE) < worst
        events = random_events(rng, graph, 30)
        events["tick"] = 2 * np.arange(len(events))
        for _, taken in by_tick(graph, events):
            assert taken <= worst * 1.000001
            checked += 1
    assert checked > 300


def test_no_tick_takes_more_than_the_worst_case() -> None:
    checked = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        graph = exiting_graph(seed, 100) if seed % 5 == 4 else random_graph(rng, spiking=seed % 3 > 0)
        worst = worst_tick(graph, CORE)
        pushed = worst_push(graph, CORE)
        for count, taken in by_tick(graph, random_events(rng, graph, 60)):
            assert taken <= (worst + count * pushed) * 1.000001
            checked += 1
    assert checked > 100


def test_no_silence_takes_more_rounds_than_the_worst_case() -> None:
    rng = np.random.default_rng(0)
    for _ in range(120):
        decay = rng.choice([rng.integers(1 << 30), (1 << 30) - int(2 ** rng.uniform(0, 30)), 0, 1 << 30])
        greatest = int(2 ** rng.uniform(0, 24))
        rounds, products = most_decay_steps(greatest, np.array([decay]))
        for start in (greatest, -greatest, *rng.integers(-greatest, greatest + 1, 2)):
            for rounding in (Rounding.NEAREST, Rounding.FLOOR, Rounding.TOWARD_ZERO):
                ticks = np.array([rng.choice([1, 100, (1 << 31) - 1])])
                done = decay_steps(np.array([start]), np.array([decay]), rounding, ticks)
                assert done["decay step"] <= rounds and done["decay product"] <= products
