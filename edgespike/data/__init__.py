"""Data of the demo, which the package ships: handwritten digits before a simulated event camera.

The events are simulated. How they were made, from what, and how the network was trained:
README.md in this folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.convert.event_input import EventOptions
from edgespike.events import Recording, count_events, find_recordings

# How the network's input is counted.
DEMO_EVENTS = EventOptions(height=34, width=34, window_us=300_000, slices=3, polarities=2, saturation=7)

_FOLDER = Path(__file__).parent


def demo_network() -> Path:
    """The trained network, ONNX: float32 ``counts`` (N, 6, 34, 34) to ``scores`` (N, 10)."""
    return _FOLDER / "digits.onnx"


def demo_calibration() -> Path:
    """Event counts ``x`` (200, 6, 34, 34) uint8 and labels ``y`` of training recordings, npz."""
    return _FOLDER / "digits_calibration.npz"


def demo_archive() -> Path:
    """The recordings as a zip archive in the layout of N-MNIST."""
    return _FOLDER / "digits_recordings.zip"


def demo_recordings() -> list[Recording]:
    """100 recordings of digits that the network was not trained on, ten of each class."""
    return find_recordings(demo_archive())


def demo_counts(events: NDArray[Any]) -> NDArray[np.int32]:
    """What the original network gets to see of a recording: event counts (6, 34, 34)."""
    return count_events(
        events,
        DEMO_EVENTS.height,
        DEMO_EVENTS.width,
        polarities=DEMO_EVENTS.polarities,
        slices=DEMO_EVENTS.slices,
        slice_us=DEMO_EVENTS.slice_us,
        saturation=DEMO_EVENTS.saturation or 0,
    )
