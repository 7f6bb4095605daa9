"""Bulk work on PCs (edgespike/pc): the bits, events and synops of the core alone, on every path."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_vectors import FILES
from hypothesis import example, given
from hypothesis import strategies as st
from random_graphs import random_events, random_graph

import edgespike
from edgespike import UsageError, _core
from edgespike.graph import (
    Accumulator,
    Activation,
    Convolution,
    Dense,
    Graph,
    LevelInput,
    MaxPool,
    MaxPoolWindow,
    OneToOne,
    Population,
    Projection,
    SumPool,
)
from edgespike.modelfile import decode_model, encode_model

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "edgespike" / "core"
PC = ROOT / "edgespike" / "pc"
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wvla", "-Werror"]
WAYS = [(path, eagerness) for path in _core.kernel_paths()[:-1] for eagerness in (0.0, 1.0, math.inf)]


def run(network: _core.Network, parts: list[Any]) -> list[Any]:
    """All that can be told of a network while it takes events part by part."""
    told: list[Any] = []
    network.reset()
    for events in parts:
        while len(events):
            used, closed = network.push(events)
            events = events[used:]
            told.append((used, closed, network.output().tolist()))
        told += [network.state(number).tolist() for number in range(network.model.population_count)]
    network.finish()
    told += [network.state(number).tolist() for number in range(network.model.population_count)]
    return [*told, network.output().tolist(), network.stats()]


def expect_equal(graph: Graph, parts: list[Any]) -> int:
    """Runs all ways, twice each; returns the number of dense passes."""
    model = _core.Model(encode_model(graph))
    plain = _core.Network(model, path="plain")
    expected = [run(plain, parts), run(plain, parts)]
    passes = 0
    for path, eagerness in WAYS:
        network = _core.Network(model, path=path, eagerness=eagerness)
        assert [run(network, parts), run(network, parts)] == expected, (path, eagerness)
        assert eagerness > 0 or network.dense_passes == 0
        passes += network.dense_passes
    return passes


# ---- whole networks -----------------------------------------------------------


@given(st.integers(0, 1 << 32), st.booleans(), st.integers(1, 400), st.integers(1, 9))
@example(7, False, 300, 1)
def test_random_graphs(seed: int, spiking: bool, count: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, spiking=spiking)
    events = random_events(rng, graph, count)
    expect_equal(graph, np.array_split(events, parts))


@pytest.mark.parametrize("file", FILES, ids=lambda path: Path(path).stem)
def test_golden_models(file: Path) -> None:
    graph = decode_model(Path(file).read_bytes())
    assert graph.self_test
    expect_equal(graph, np.array_split(graph.self_test.events, 2))


def bulky_graph(rng: np.random.Generator, levels: int, accumulator_bits: int) -> Graph:
    """Every kind of projection, strides, dilation, groups, odd channel numbers, and branches that meet."""

    def weights(*shape: int) -> Any:
        return rng.integers(-6, 7, shape).astype(np.int8)

    def active(name: str, *shape: int) -> Population:
        step = rng.integers(20, 90, shape[2]).astype(np.int32)
        zeros = np.zeros(shape, np.int32)
        return Population(name, shape, Activation(step, 0, levels), zeros, zeros, accumulator_bits)

    def pooled(name: str, *shape: int) -> Population:
        return Population(name, shape, MaxPool(0, levels), None, np.zeros(shape, np.int32))

    populations = (
        Population("image", (11, 9, 2), LevelInput(0, levels), None, np.zeros((11, 9, 2), np.int32)),
        active("conv", 11, 9, 20),
        pooled("max", 6, 5, 20),
        active("depthwise", 6, 5, 20),
        active("wide", 3, 3, 34),
        active("sum", 2, 2, 34),
        active("joined", 3, 3, 34),
        active("flat", 1, 1, 70),
        Population("scores", (1, 1, 5), Accumulator(), np.zeros((1, 1, 5), np.int32), None, 32),
    )
    connections = [
        (0, 1, Convolution(weights(2, 3, 5, 20), padding=(1, 2))),
        (1, 2, MaxPoolWindow((2, 2), (2, 2), (1, 1))),
        (2, 3, Convolution(weights(20, 3, 3, 1), padding=(1, 1), groups=20)),
        (3, 4, Convolution(weights(20, 2, 3, 34), stride=(2, 2), dilation=(2, 1), padding=(1, 1))),
        (4, 5, SumPool((2, 2), (1, 1))),
        (4, 6, OneToOne(rng.integers(-9, 10, 34).astype(np.int16))),
        (5, 6, Convolution(weights(34, 2, 2, 34), padding=(1, 1))),
        (6, 7, Dense(weights(306, 70))),
        (7, 8, Dense(weights(70, 5))),
    ]
    return Graph(populations, tuple(Projection(*connection) for connection in connections))


def frames(rng: np.random.Generator, graph: Graph, count: int) -> list[Any]:
    """Each frame at a tick of its own: the changes from one dense picture to the next."""
    shape, neuron = graph.populations[0].shape, graph.populations[0].neuron
    assert isinstance(neuron, LevelInput)
    before, parts = np.zeros(shape, np.int64), []
    for tick in range(count):
        change = rng.integers(0, neuron.level_max + 1, shape) * (rng.random(shape) < rng.random()) - before
        y, x, channel = np.nonzero(change)
        events = np.zeros(len(y), edgespike.graph.CORE_EVENT)
        events["tick"], events["y"], events["x"], events["channel"] = tick, y, x, channel
        events["value"] = change[y, x, channel]
        parts.append(events[rng.permutation(len(events))])
        before += change
    return parts


@pytest.mark.parametrize("levels", [1, 15, 127, 255])
@pytest.mark.parametrize("accumulator_bits", [16, 32])
def test_every_kind_of_dense_pass(levels: int, accumulator_bits: int) -> None:
    rng = np.random.default_rng(levels)
    graph = bulky_graph(rng, levels, accumulator_bits)
    # 7 projections have dense passes: all of them where they cost nothing, in most of 6 frames, twice
    assert expect_equal(graph, frames(rng, graph, 6)) > 30 * len(_core.kernel_paths()[:-1])


def test_a_refused_event_is_the_same_one() -> None:
    rng = np.random.default_rng(0)
    graph = bulky_graph(rng, 15, 32)
    (events,) = frames(rng, graph, 1)
    events["value"][len(events) // 2] = 99
    model, states = _core.Model(encode_model(graph)), []
    for path in _core.kernel_paths():
        network = _core.Network(model, path=path, eagerness=math.inf)
        with pytest.raises(edgespike.DataError, match=f"event {len(events) // 2} .*value 99"):
            network.push(events)
        network.finish()
        states.append([network.state(number).tolist() for number in range(9)] + [network.stats()])
    assert all(state == states[0] for state in states)


# ---- the choice of a path -------------------------------------------------------


def chosen(**environment: str) -> str:
    """The path that a process takes; its error otherwise."""
    code = "from edgespike import _core, UsageError\n"
    code += "try: print(_core.chosen_path())\nexcept UsageError as e: print(e.code, e.message)"
    folder = str(Path(edgespike.__file__).parents[1])
    variables = {**os.environ, **environment}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_environment_forces_a_path() -> None:
    paths = _core.kernel_paths()
    assert paths[-1] == "plain"
    assert chosen(EDGESPIKE_KERNELS="") == paths[0]
    for path in (paths[0], paths[-1]):
        assert chosen(EDGESPIKE_KERNELS=path) == path
    assert chosen(EDGESPIKE_KERNELS="quantum").startswith("kernels EDGESPIKE_KERNELS=quantum")


def test_unknown_kernels_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        _core.Network(_core.Model(Path(FILES[0]).read_bytes()), path="quantum")
    assert caught.value.code == "kernels"


# ---- the kernels by themselves ---------------------------------------------------


@pytest.mark.parametrize(
    ("compiler", "runner", "expected"),
    [
        ("gcc", [], None),
        ("aarch64-linux-gnu-gcc", ["qemu-aarch64", "-cpu", "max"], ["dotprod", "neon"]),
        ("aarch64-linux-gnu-gcc", ["qemu-aarch64", "-cpu", "cortex-a53"], ["neon"]),
        ("arm-linux-gnueabihf-gcc", ["qemu-arm"], ["c"]),
    ],
    ids=["this machine", "aarch64 with dot products", "aarch64", "armhf"],
)
def test_every_kernel(
    compiler: str,
    runner: list[str],
    expected: list[str] | None,
    tmp_path: Path,
    need: Callable[[object, str], None],
) -> None:
    """See pc_kernels.c."""
    for program in (compiler, *runner[:1]):
        need(shutil.which(program), f"{program} is not installed")
    sources = [Path(__file__).with_name("pc_kernels.c"), *CORE.glob("*.c"), *PC.glob("*.c")]
    command = [
        compiler,
        *STRICT,
        "-O3",
        "-DES_PC",
        f"-I{CORE}",
        f"-I{PC}",
        *sources,
        "-o",
        tmp_path / "kernels",
    ]
    command += ["-static"] if runner else []
    subprocess.run(command, check=True)
    done = subprocess.run([*runner, tmp_path / "kernels"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert done.stdout.split() == (expected or _core.kernel_paths()[:-1])
