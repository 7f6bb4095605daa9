"""Whole samples of small CNNs, beside onnxruntime."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from networks import sources
from tables import Table

from edgespike import InferenceSession, _core
from edgespike.benchmark import Stimulus, classify, prepare, run_in_turns

LEVELS = (15, 255)


def here(session: InferenceSession, given: tuple[Stimulus, Any]) -> None:
    session.run(None, given[1])


def inside(core: _core.Network, given: tuple[Stimulus, Any]) -> None:
    classify(core, given[0])


def there(original: onnxruntime.InferenceSession, given: tuple[Stimulus, Any]) -> None:
    original.run(None, given[1])


def microseconds(ways: list[Any], inputs: list[Any], seconds: float) -> list[float]:
    """Medians of ways in turns."""
    return [1e6 * float(np.median(each)) for each in run_in_turns(ways, inputs, seconds)]


def measure(data: Path, seconds: float) -> Table:
    """Median microseconds of a sample."""
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
            others = [partial(there, fp32), partial(there, int8)]
            ours, float32, quantized = microseconds([partial(here, session), *others], inputs, seconds)
            events = microseconds([partial(inside, core), *others], inputs, seconds)
            ratios = (float32 / ours, events[1] / events[0], quantized / ours)
            times = (ours, events[0], float32, quantized)
            rows.append((network.name, str(levels), synops / macs, *times, *ratios))
    return Table(
        "cnn",
        "Microseconds of a sample, one at a time, one thread; all in turns, test images in rotation. "
        "From a tensor to scores in Python (run), and from events that are ready.",
        (
            "network",
            "levels",
            "synops/MAC",
            "run",
            "from events",
            "fp32",
            "int8",
            "fp32 / run",
            "fp32 / from events",
            "int8 / run",
        ),
        rows,
    )
