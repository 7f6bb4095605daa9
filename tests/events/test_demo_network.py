"""The shipped network, converted, on the shipped recordings, event by event."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgespike.convert import EventOptions, convert_onnx, load_calibration
from edgespike.data import DEMO_EVENTS, demo_calibration, demo_counts, demo_network, demo_recordings
from edgespike.events import rebase
from edgespike.graph import Graph
from edgespike.session import InferenceSession

from .helpers import float_scores


def integer_scores(graph: Graph, recordings: list[NDArray[Any]], backend: str = "cpu") -> NDArray[np.int32]:
    session = InferenceSession(graph, backend=backend)
    return np.stack([session.classify(events).scores for events in recordings])


@pytest.fixture(scope="module")
def demo() -> Graph:
    return convert_onnx(demo_network(), load_calibration(demo_calibration()), events=DEMO_EVENTS)[0]


def test_demo_accuracy(demo: Graph) -> None:
    recordings = demo_recordings()
    labels = [recording.label for recording in recordings]
    events = [recording.read() for recording in recordings]
    original = float_scores(demo_network(), [demo_counts(one) for one in events]).argmax(1)
    converted = integer_scores(demo, events).argmax(1)
    assert np.mean(original == labels) >= 0.97
    assert np.mean(converted == labels) >= np.mean(original == labels) - 0.01
    assert np.mean(converted == original) >= 0.98


def test_events_give_the_scores_of_their_counts(demo: Graph) -> None:
    """Event by event, in any chunks, on either backend: the bits of the counts given at once."""
    events = [recording.read() for recording in demo_recordings()[:4]]
    counts = np.stack([demo_counts(one) for one in events]).astype(np.float32)
    expected = InferenceSession(demo).scores(counts)
    np.testing.assert_array_equal(integer_scores(demo, events), expected)
    np.testing.assert_array_equal(integer_scores(demo, events, "reference"), expected)
    session = InferenceSession(demo)
    for one, scores in zip(events, expected, strict=True):
        session.reset()
        for chunk in np.array_split(rebase(one), 37):
            assert session.push(chunk) == []
        np.testing.assert_array_equal(session.finish().scores, scores)


@pytest.mark.parametrize("tick_us", [500, 20_000])
def test_the_tick_changes_no_result(demo: Graph, tick_us: int) -> None:
    options = EventOptions(34, 34, 300_000, slices=3, saturation=7, tick_us=tick_us)
    graph = convert_onnx(demo_network(), load_calibration(demo_calibration()), events=options)[0]
    events = [recording.read() for recording in demo_recordings()[:4]]
    np.testing.assert_array_equal(integer_scores(graph, events), integer_scores(demo, events))
