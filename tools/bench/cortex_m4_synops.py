"""Instructions of a synaptic operation on an emulated Cortex-M4: one layer's cost beside what it adds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from tables import ROOT, Table

from edgespike.graph import (
    CORE_EVENT,
    Accumulator,
    Activation,
    Convolution,
    Dense,
    Graph,
    LevelInput,
    Population,
    Projection,
)
from edgespike.modelfile import encode_model

sys.path.append(str(ROOT / "tools"))
from qemu_instructions import job_of, measure as count_instructions  # noqa: I001

CORE = "cortex-m4"
SOURCES = 16  # channels of one pixel that send together
LAYERS = {  # kernel, target channels
    "convolution 3x3x64": (3, 64),
    "convolution 3x3x32": (3, 32),
    "convolution 5x5x32": (5, 32),
    "convolution 5x5x12": (5, 12),
    "dense 256": (1, 256),
    "dense 64": (1, 64),
    "dense 10": (1, 10),
}
KINDS = {"int16, 16-bit weights": (16, 16), "int16, 8-bit weights": (16, 8), "int32, 8-bit weights": (32, 8)}
EVENTS = 100


def network(kernel: int, channels: int, accumulator_bits: int, weight_bits: int, silent: bool) -> Graph:
    """One pixel whose level 16 channels repeat, and a layer from there; ``silent``: which gets nothing."""
    rng = np.random.default_rng(0)
    zeros = np.zeros((1, 1, SOURCES), np.int32)
    repeat = Activation(np.ones(SOURCES, np.int32), 0, 15)
    weight = rng.integers(-120, 121, (SOURCES, kernel, kernel, channels)).astype(np.int8)
    weight //= 2  # 16 sources of 15 levels stay within 16 bits
    shape = (kernel, kernel, channels)
    connection: Dense | Convolution
    if kernel == 1:
        connection = Dense(weight[:, 0, 0], weight_bits)
    else:
        connection = Convolution(weight, padding=(kernel - 1, kernel - 1), weight_bits=weight_bits)
    populations = (
        Population("input", (1, 1, 1), LevelInput(0, 15), None, zeros[:, :, :1]),
        Population("repeat", (1, 1, SOURCES), repeat, zeros, zeros, 16),
        Population("layer", shape, Accumulator(), np.zeros(shape, np.int32), None, accumulator_bits),
    )
    # a first layer of zeros: the repeating channels never change
    first = np.zeros((1, SOURCES), np.int8) if silent else np.ones((1, SOURCES), np.int8)
    return Graph(populations, (Projection(0, 1, Dense(first)), Projection(1, 2, connection)))


def events() -> Any:
    """The level goes up and down by one, tick by tick."""
    made = np.zeros(EVENTS, CORE_EVENT)
    made["tick"] = np.arange(EVENTS)
    made["value"] = np.where(np.arange(EVENTS) % 2 == 0, 1, -1)
    return made


def measure(data: Path, seconds: float) -> Table:
    """What the events of 16 channels cost in a layer, less what remains where they do not change."""
    jobs, names = [], list(LAYERS)
    for name in names:
        for bits in KINDS.values():
            for silent in (False, True):
                graph = network(*LAYERS[name], *bits, silent)
                jobs.append(job_of(encode_model(graph), events().tobytes(), 0))
    counts = np.array(count_instructions(CORE, jobs), float).reshape(len(names), len(KINDS), 2)
    rows: list[tuple[Any, ...]] = []
    for name, of_kinds in zip(names, counts, strict=True):
        kernel, channels = LAYERS[name]
        synops = EVENTS * SOURCES * kernel * kernel * channels
        rows.append((name, *(float(busy - silent) / synops for busy, silent in of_kinds)))
    return Table(
        "cortex_m4_synops",
        f"Instructions of a synaptic operation on an emulated Cortex-M4 (gcc -O3): {SOURCES} channels of one "
        "pixel change by a level, all costs of telling, sending and adding included.",
        ("layer", *KINDS),
        rows,
    )
