"""Whole samples of small CNNs, beside onnxruntime."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from networks import sources
from onnxruntime import InferenceSession
from tables import Table

from edgespike import _core
from edgespike.benchmark import Stimulus, classify, prepare, run_in_turns

LEVELS = (15, 255)


def here(core: _core.Network, given: tuple[Stimulus, Any]) -> None:
    classify(core, given[0])


def there(original: InferenceSession, given: tuple[Stimulus, Any]) -> None:
    original.run(None, given[1])


def measure(data: Path, seconds: float) -> Table:
    """Median microseconds of a sample; ours from ready events, onnxruntime's from a ready tensor."""
    rows: list[tuple[Any, ...]] = []
    for network in sources(data):
        fp32, int8, name = network.originals()
        for levels in LEVELS:
            session, macs = network.session(levels)
            core = session.backend
            assert isinstance(core, _core.Network)
            inputs = [(prepare(session, image), {name: image[None]}) for image in network.test]
            core.clear_stats()
            for stimulus, _ in inputs:
                classify(core, stimulus)
            synops = core.stats()["synops"] / len(inputs)
            ways = [partial(here, core), partial(there, fp32), partial(there, int8)]
            ours, float32, quantized = (
                1e6 * float(np.median(each)) for each in run_in_turns(ways, inputs, seconds)
            )
            rows.append(
                (
                    network.name,
                    str(levels),
                    synops / macs,
                    ours,
                    float32,
                    quantized,
                    float32 / ours,
                    quantized / ours,
                )
            )
    return Table(
        "cnn",
        "Microseconds of a sample, one at a time, one thread; the three in turns, test images in rotation. "
        "Each through its Python interface, from events or a tensor that are ready.",
        ("network", "levels", "synops/MAC", "edgespike", "fp32", "int8", "fp32 / ours", "int8 / ours"),
        rows,
    )
