"""Random recordings for property tests, and the original network's answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgespike.events import make_events


@st.composite
def recordings(
    draw: st.DrawFn,
    *,
    height: int = 65536,
    width: int = 65536,
    polarities: int = 2,
    latest: int = 10**15,
    min_size: int = 0,
) -> NDArray[Any]:
    """A sorted recording of up to 60 events."""
    size = draw(st.integers(min_size, 60))

    def column(limit: int) -> list[int]:
        return draw(st.lists(st.integers(0, limit - 1), min_size=size, max_size=size))

    return make_events(sorted(column(latest)), column(width), column(height), column(polarities))


def float_scores(network: Path, counts: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
    """Scores of the ONNX network in onnxruntime, for event counts."""
    session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    scores: NDArray[np.float32] = session.run(None, {"counts": np.stack(counts).astype(np.float32)})[0]
    return scores
