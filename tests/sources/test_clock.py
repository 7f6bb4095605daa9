"""The time of live streams: wrapped, late, restarted clocks, in any pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgespike.sources import SourceClock

STEPS = st.lists(st.integers(-900_000, 3_000_000), max_size=40)


@given(
    st.integers(0, 1 << 40), STEPS, st.lists(st.integers(0, 40), max_size=4), st.sampled_from([24, 32, 64])
)
def test_any_pieces_give_the_same_times(start: int, steps: list[int], cuts: list[int], bits: int) -> None:
    times = (start + np.cumsum([0, *steps])).astype(np.int64)
    shown = times % (1 << bits) if bits < 64 else times
    whole, pieces = SourceClock(bits), SourceClock(bits)
    at_once = whole.convert(shown)
    in_pieces = np.concatenate([pieces.convert(piece) for piece in np.split(shown, sorted(cuts))])
    np.testing.assert_array_equal(at_once, in_pieces)
    assert (whole.now, whole.late, whole.restarts) == (pieces.now, pieces.late, pieces.restarts)


@given(st.integers(0, 1 << 40), STEPS, st.sampled_from([24, 32, 64]))
def test_late_events_take_the_latest_time(start: int, steps: list[int], bits: int) -> None:
    times = (start + np.cumsum([0, *steps])).astype(np.int64)
    clock = SourceClock(bits)
    stream = clock.convert(times % (1 << bits) if bits < 64 else times)
    real = times - times[0]
    if (real >= np.maximum.accumulate(real) - 1_000_000).all():  # nothing that looks like a new start
        expected = np.maximum.accumulate(np.maximum(real, 0))
        if not clock.restarts:
            np.testing.assert_array_equal(stream, expected)
            assert clock.late == int((real < np.maximum(expected, 0)).sum())
    assert (np.diff(stream) >= 0).all() and stream[0] == 0


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_a_clock_wraps_around(bits: int) -> None:
    step = (1 << bits) // 3
    times = np.arange(20) * step
    np.testing.assert_array_equal(SourceClock(bits).convert(times % (1 << bits)), times)


def test_a_clock_that_was_set_back_goes_on() -> None:
    clock = SourceClock()
    assert clock.convert(np.array([5_000_000, 5_000_010, 7, 17])).tolist() == [0, 10, 10, 20]
    assert clock.restarts == 1 and clock.late == 0


def test_late_events_are_counted() -> None:
    clock = SourceClock()
    assert clock.convert(np.array([100, 150, 120, 160])).tolist() == [0, 50, 50, 60]
    assert clock.late == 1
