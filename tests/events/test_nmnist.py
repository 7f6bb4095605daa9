"""A network trained on N-MNIST, converted, on raw recordings that it never saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgespike.convert import EventOptions, convert_onnx, load_calibration
from edgespike.events import Recording, count_events, find_recordings
from edgespike.session import InferenceSession

from .helpers import float_scores

DATA = Path(__file__).parents[1] / "data"
NETWORK = DATA / "nmnist_cnn.onnx"
EVENTS = EventOptions(
    height=34, width=34, window_us=315_000, slices=3, polarities=2, saturation=7, tick_us=105_000
)


def counts(events: NDArray[Any]) -> NDArray[np.int32]:
    return count_events(events, 34, 34, polarities=2, slices=3, slice_us=105_000, saturation=7)


@pytest.fixture(scope="module")
def recordings(data_folder: Path) -> tuple[list[Recording], list[Recording]]:
    """Recordings for calibration, and those held out."""
    held_out = set((DATA / "nmnist_test.txt").read_text().split())
    found = find_recordings(data_folder / "nmnist_train_1000.zip")
    test = [recording for recording in found if recording.name in held_out]
    assert len(test) == 200
    return [recording for recording in found if recording.name not in held_out][:200], test


def test_nmnist_accuracy(recordings: tuple[list[Recording], list[Recording]], tmp_path: Path) -> None:
    """From raw .bin files, on recordings the network never saw, as accurate as the float network."""
    calibration, test = recordings
    np.savez(tmp_path / "calibration.npz", x=np.stack([counts(r.read()) for r in calibration]))
    graph = convert_onnx(NETWORK, load_calibration(tmp_path / "calibration.npz"), events=EVENTS)[0]
    events, labels = [recording.read() for recording in test], [recording.label for recording in test]
    original = float_scores(NETWORK, [counts(one) for one in events]).argmax(1)
    session = InferenceSession(graph)
    converted = np.array([session.classify(one).label for one in events])
    assert np.mean(original == labels) >= 0.95
    assert np.mean(converted == labels) >= np.mean(original == labels) - 0.005
    assert np.mean(converted == original) >= 0.99
