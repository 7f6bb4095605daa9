"""A network trained on N-MNIST, converted, on raw recordings that it never saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgespike.convert import EventOptions, convert_onnx, load_calibration
from edgespike.events import Recording, count_events, find_recordings
from edgespike.graph import Graph
from edgespike.session import InferenceSession, Result

from .helpers import float_scores

DATA = Path(__file__).parents[1] / "data"
NETWORK = DATA / "nmnist_cnn.onnx"
EVENTS = EventOptions(height=34, width=34, window_us=315_000, slices=3, polarities=2, saturation=7)

Split = tuple[list[Recording], list[Recording]]


def counts(events: NDArray[Any]) -> NDArray[np.int32]:
    return count_events(events, 34, 34, polarities=2, slices=3, slice_us=105_000, saturation=7)


@pytest.fixture(scope="module")
def recordings(data_folder: Path) -> Split:
    """Recordings for calibration, and those held out."""
    held_out = set((DATA / "nmnist_test.txt").read_text().split())
    found = find_recordings(data_folder / "nmnist_train_1000.zip")
    test = [recording for recording in found if recording.name in held_out]
    assert len(test) == 200
    return [recording for recording in found if recording.name not in held_out][:200], test


@pytest.fixture(scope="module")
def graph(recordings: Split, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    calibration = tmp_path_factory.mktemp("nmnist") / "calibration.npz"
    np.savez(calibration, x=np.stack([counts(recording.read()) for recording in recordings[0]]))
    return convert_onnx(NETWORK, load_calibration(calibration), events=EVENTS)[0]


@pytest.fixture(scope="module")
def offline(recordings: Split, graph: Graph) -> list[Result]:
    """What the converted network says on this machine of each recording that was held out."""
    session = InferenceSession(graph)
    return [session.classify(recording.read()) for recording in recordings[1]]


def test_as_accurate_as_in_float(recordings: Split, offline: list[Result]) -> None:
    labels = [recording.label for recording in recordings[1]]
    original = float_scores(NETWORK, [counts(recording.read()) for recording in recordings[1]]).argmax(1)
    converted = np.array([result.label for result in offline])
    assert np.mean(original == labels) >= 0.95
    assert np.mean(converted == labels) >= np.mean(original == labels) - 0.005
    assert np.mean(converted == original) >= 0.99


@pytest.mark.parametrize(("port", "number"), [("emulated", 200), ("qemu", 50)])
def test_the_same_on_a_board(
    recordings: Split,
    graph: Graph,
    offline: list[Result],
    port: str,
    number: int,
    request: pytest.FixtureRequest,
) -> None:
    """From raw .bin files over the link: the scores of the run on this machine, and so its accuracy."""
    if port == "qemu":
        port = f"qemu:{request.getfixturevalue('firmware')}"
    with InferenceSession(graph, "device", port=port) as board:
        for recording, expected in zip(recordings[1][:number], offline, strict=False):
            result = board.classify(recording.read())
            assert result.lost == 0
            np.testing.assert_array_equal(result.scores, expected.scores)
