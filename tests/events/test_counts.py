"""Counting events: equal to a loop that follows docs/format.md word by word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgespike.errors import DataError, UsageError
from edgespike.events import count_events, make_events

from .helpers import recordings


def count_in_a_loop(
    events: NDArray[Any], polarities: int, slices: int, slice_us: int, saturation: int
) -> NDArray[np.int32]:
    counts = np.zeros((slices * polarities, 3, 4), np.int32)
    for t, x, y, p in events.tolist():
        number = (t - int(events["t"][0])) // slice_us
        channel = number * polarities + (p if polarities == 2 else 0)
        if number < slices and counts[channel, y, x] < saturation:
            counts[channel, y, x] += 1
    return counts


@given(
    recordings(height=3, width=4, latest=400),
    st.sampled_from([1, 2]),
    st.integers(1, 4),
    st.integers(1, 150),
    st.integers(1, 5),
)
def test_equals_a_loop(
    events: NDArray[Any], polarities: int, slices: int, slice_us: int, saturation: int
) -> None:
    counts = count_events(
        events, 3, 4, polarities=polarities, slices=slices, slice_us=slice_us, saturation=saturation
    )
    assert counts.dtype == np.int32
    expected = count_in_a_loop(events, polarities, slices, slice_us, saturation)
    np.testing.assert_array_equal(counts, expected)


def test_by_hand() -> None:
    events = make_events([100, 109, 110, 119, 119, 120], [0, 0, 1, 1, 1, 0], [0] * 6, [0, 1, 1, 1, 1, 0])
    counts = count_events(events, 1, 2, polarities=2, slices=2, slice_us=10, saturation=2)
    assert counts.tolist() == [[[1, 0]], [[1, 0]], [[0, 0]], [[0, 2]]]
    together = count_events(events, 1, 2, polarities=1, slices=2, slice_us=10, saturation=9)
    assert together.tolist() == [[[2, 0]], [[0, 3]]]


def test_no_events() -> None:
    counts = count_events(make_events([], [], [], []), 2, 3, polarities=2, slices=3, slice_us=5, saturation=1)
    assert counts.shape == (6, 2, 3)
    assert not counts.any()


def test_refused() -> None:
    events = make_events([0], [7], [0], [0])
    settings = {"polarities": 2, "slices": 3, "slice_us": 5, "saturation": 1}
    with pytest.raises(DataError, match="event 0 has x = 7"):
        count_events(events, 8, 7, **settings)
    for name, value in {"polarities": 3, "slices": 0, "slice_us": 0, "saturation": 32768}.items():
        with pytest.raises(UsageError, match=f"{name}={value}"):
            count_events(events, 8, 8, **(settings | {name: value}))
