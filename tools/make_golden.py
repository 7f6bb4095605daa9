"""Makes the golden models of tests/golden: small networks that together have every feature of the format.

    PYTHONPATH=.:tests python tools/make_golden.py tests/golden

Each carries a self-test: events, and the digest of the scores that the reference gives. They pin
the file format and the bits. Files that are there stay; what no file has yet gets more of them.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from random_graphs import random_events, random_graph

from edgespike.graph import Activation, Convolution, Dense, Graph, IntegrateAndFire, SelfTest
from edgespike.modelfile import encode_model, read_model
from edgespike.reference import ReferenceNetwork

LARGEST = 6000  # bytes of a file
SEEDS = 3000


def features(graph: Graph) -> Iterator[Any]:
    """What a file of this graph exercises."""
    yield "counts", graph.input.event_counts is not None
    for population in graph.populations:
        neuron = population.neuron
        yield type(neuron).__name__, population.accumulator_bits
        if isinstance(neuron, Activation):
            yield "level shift", neuron.shift > 0
            rows = 0 if neuron.table is None else len(neuron.table.levels)
            wide = neuron.level_max - neuron.level_min > 255
            yield "table", min(rows, 2), wide
        if isinstance(neuron, IntegrateAndFire):
            names = [field.name for field in fields(neuron)]
            for name in names:
                value = getattr(neuron, name)
                if value is None or isinstance(value, int):
                    yield name, value if name in ("compare", "reset", "rounding", "readout") else bool(value)
                elif not isinstance(value, np.ndarray):
                    yield name, True
    for projection in graph.projections:
        yield (
            type(projection.connection).__name__,
            projection.delay > 0,
            projection.source < projection.target,
        )
        yield "shift", projection.shift > 0
        if isinstance(projection.connection, Convolution):
            yield "groups", projection.connection.groups > 1
        if isinstance(projection.connection, Dense | Convolution):
            length = projection.connection.weight.shape[-1]
            yield type(projection.connection).__name__, projection.connection.weight_bits, length % 2


def golden(seed: int) -> Graph:
    """A random network with a self-test."""
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, spiking=seed % 2 == 1)
    counts = graph.input.event_counts
    window = counts.slices * counts.slice_ticks if counts else 0
    graph = replace(graph, input=replace(graph.input, window_ticks=window))
    events = random_events(rng, graph, 60, longest=9)
    if window:
        events = events[events["tick"] < window]
    network = ReferenceNetwork(graph)
    network.push(events)
    network.finish()
    return replace(graph, self_test=SelfTest(events, zlib.crc32(network.output().astype("<i4").tobytes())))


def main() -> None:
    """Writes the files, the fewest found that cover all features."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    seen: set[Any] = set()
    for path in folder.glob("*.esg"):
        seen |= set(features(read_model(path)))
    for seed in range(SEEDS):
        path = folder / f"seed_{seed}.esg"
        if path.exists():
            continue
        graph = golden(seed)
        new = set(features(graph)) - seen
        assert graph.self_test is not None
        if len(new) < 2 or not len(graph.self_test.events):
            continue
        data = encode_model(graph)
        path = folder / f"seed_{seed}.esg"
        if len(data) <= LARGEST and not path.exists():
            seen |= new
            path.write_bytes(data)
            print(f"seed {seed}: {len(data):,} bytes, {len(new)} new features")


if __name__ == "__main__":
    main()
