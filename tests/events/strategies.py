"""Random recordings for property tests."""

from __future__ import annotations

from typing import Any

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
