"""The data that the package ships: complete, small, balanced, and learnt by its network."""

from __future__ import annotations

import numpy as np

from edgespike.data import DEMO_EVENTS, demo_calibration, demo_counts, demo_network, demo_recordings
from edgespike.events import check_events


def test_less_than_a_megabyte() -> None:
    folder = demo_network().parent
    assert sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) < 1_000_000


def test_recordings() -> None:
    recordings = demo_recordings()
    assert len({recording.name for recording in recordings}) == 100
    assert np.bincount([recording.label or 0 for recording in recordings]).tolist() == [10] * 10
    window_us = DEMO_EVENTS.window_us
    for recording in recordings:
        events = recording.read()
        check_events(events, DEMO_EVENTS.height, DEMO_EVENTS.width, 2)
        assert 300 < len(events) < 4000
        assert events["t"][0] == 0 and 0.95 * window_us < events["t"][-1] < window_us
        assert 0.4 < events["p"].mean() < 0.6


def test_calibration() -> None:
    with np.load(demo_calibration()) as calibration:
        x, y = calibration["x"], calibration["y"]
    assert x.shape == (200, 6, 34, 34) and y.shape == (200,)
    assert 3 <= x.max() <= (DEMO_EVENTS.saturation or 0)
    assert np.bincount(y, minlength=10).min() >= 10


def test_no_recording_is_shipped_twice() -> None:
    """What is classified in the demo is not what it was calibrated with."""
    with np.load(demo_calibration()) as calibration:
        calibrated = {x.tobytes() for x in calibration["x"]}
    counts = [demo_counts(recording.read()).astype(np.uint8) for recording in demo_recordings()]
    assert len(calibrated | {count.tobytes() for count in counts}) == 300
