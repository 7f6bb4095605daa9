"""The golden self-test of a model: the events of one sample and the scores that they must give."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.convert.dense import State, settle
from edgespike.graph import CORE_EVENT, Graph, SelfTest
from edgespike.modelfile import self_test_events


def golden_self_test(graph: Graph, inputs: State) -> SelfTest:
    """The self-test of one of the samples of input levels: of that with the fewest events."""
    changes = (inputs != graph.populations[0].initial_level).reshape(len(inputs), -1).sum(axis=1)
    sample = inputs[changes.argmin()]
    events = self_test_events(graph, level_events(graph, sample))
    scores = settle(graph, levels_after(graph, events, sample)[None])[-1]
    return SelfTest(events, zlib.crc32(scores.astype("<i4").tobytes()))


def levels_after(graph: Graph, events: NDArray[Any], sample: State) -> State:
    """The input levels when only these of a sample's events have come."""
    counts = graph.input.event_counts
    part = events["tick"] // counts.slice_ticks * counts.polarities if counts else 0
    place = events["y"], events["x"], events["channel"] + part
    levels = np.array(graph.populations[0].initial_level)
    levels[place] = sample[place]
    return levels


def level_events(graph: Graph, sample: State) -> NDArray[Any]:
    """Events from reset that bring the input to these levels.

    For an event-counting input: the fewest events of each pixel that mean the level.
    """
    counts = graph.input.event_counts
    if counts is None:
        change = sample - np.asarray(graph.populations[0].initial_level)
        y, x, channel = np.nonzero(change)
        tick, polarity, value = np.zeros(len(y)), channel, change[y, x, channel]
    else:
        number = np.stack(
            [np.argmax(table == sample[:, :, c, None], axis=-1) for c, table in enumerate(counts.table)],
            axis=-1,
        )
        channel, y, x = np.nonzero(number.transpose(2, 0, 1))
        part, polarity = np.divmod(channel, counts.polarities)
        tick, value = part * counts.slice_ticks, number[y, x, channel]
    events = np.empty(len(y), CORE_EVENT)
    events["tick"], events["x"], events["y"], events["channel"], events["value"] = tick, x, y, polarity, value
    return events
