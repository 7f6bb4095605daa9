"""Event arrays: what is accepted, and how what is not is named."""

from __future__ import annotations

import numpy as np
import pytest

from edgespike.errors import DataError
from edgespike.events import EVENT, as_events, check_events, make_events, rebase


def test_columns_of_any_numeric_type() -> None:
    x, y = np.array([1.0, 2.0, 65535.0]), np.array([3, 4, 5], np.uint8)
    events = make_events([0, 5, 5], x, y, [False, True, True])
    assert events.dtype == EVENT
    assert events.tolist() == [(0, 1, 3, 0), (5, 2, 4, 1), (5, 65535, 5, 1)]


@pytest.mark.parametrize(
    ("given", "kept"),
    [([-1, 1, -1], [0, 1, 0]), ([-1.0], [0]), ([0, 1], [0, 1]), ([0, 11, 127], [0, 11, 127]), ([], [])],
)
def test_polarity(given: list[float], kept: list[int]) -> None:
    zeros = np.zeros(len(given), np.int64)
    assert make_events(zeros, zeros, zeros, given)["p"].tolist() == kept


@pytest.mark.parametrize(
    ("t", "x", "y", "p", "message", "code"),
    [
        ([0, 9, 8], [1] * 3, [1] * 3, [1] * 3, "event 2 goes backwards in time: 8 us after 9", "event-time"),
        ([-4, 0], [1] * 2, [1] * 2, [1] * 2, "event 0: time = -4 is negative", "event-time"),
        ([0.0, 0.25], [1] * 2, [1] * 2, [1] * 2, "event 1: time = 0.25 is not a whole", "event-time"),
        ([0, np.nan], [1] * 2, [1] * 2, [1] * 2, "event 1: time = nan is not a number", "event-time"),
        ([np.inf], [1], [1], [1], "event 0: time = inf is not a number", "event-time"),
        ([1_700_000_000_123_456_789], [1], [1], [1], "is above 100000000000000000", "event-time"),
        ([2**64 - 1], [1], [1], [1], "event 0: time = 18446744073709551615 is above", "event-time"),
        ([0, 1], [0, 65536], [1] * 2, [1] * 2, "event 1: column x = 65536 is above 65535", "event-range"),
        ([0, 1], [1] * 2, [0, -1], [1] * 2, "event 1: row y = -1 is negative", "event-range"),
        ([0], [1.5], [1], [1], "event 0: column x = 1.5 is not a whole number", "event-range"),
        ([0] * 3, [1] * 3, [1] * 3, [1, 0, -1], "event 2: polarity p = -1 is negative", "event-range"),
        ([0], [1], [1], [128], "event 0: polarity p = 128 is above 127", "event-range"),
        ([0, 1], [1], [1], [1], "vectors of one length", "event-shape"),
        ([[0]], [[1]], [[1]], [[1]], "vectors of one length", "event-shape"),
        (["a"], [1], [1], [1], "time must be numbers", "event-fields"),
        ([None], [1], [1], [1], "time must be numbers", "event-fields"),
    ],
)
def test_refused(t: list[float], x: list[float], y: list[int], p: list[int], message: str, code: str) -> None:
    with pytest.raises(DataError) as caught:
        make_events(t, x, y, p)
    assert message in str(caught.value)
    assert caught.value.code == code


def test_hint_names_the_option_for_the_unit_of_time() -> None:
    with pytest.raises(DataError) as caught:
        make_events([0.5], [0], [0], [0])
    assert "time_unit='s'" in caught.value.hint
    with pytest.raises(DataError) as caught:
        make_events([10**18], [0], [0], [0])
    assert "time_unit='ns'" in caught.value.hint


def test_structured_array_of_another_layout() -> None:
    other = np.array([(1, 2, 3, 4)], [("x", "<i4"), ("y", "<i4"), ("p", "u1"), ("t", "<u8")])
    assert as_events(other).tolist() == [(4, 1, 2, 3)]
    with pytest.raises(DataError, match="t, p not found"):
        as_events(np.zeros(1, [("x", "u1"), ("y", "u1")]))
    with pytest.raises(DataError, match="t, x, y, p not found"):
        as_events(np.zeros((5, 4)))


def test_inside_the_sensor() -> None:
    events = make_events([0, 1, 2], [0, 9, 3], [0, 3, 4], [0, 1, 1])
    check_events(events, 5, 10, 2)
    for height, width, channels, named in (
        (5, 9, 2, "event 1 has x = 9"),
        (4, 10, 2, "event 2 has y = 4"),
        (5, 10, 1, "event 1 has p = 1"),
    ):
        with pytest.raises(DataError, match=named) as caught:
            check_events(events, height, width, channels)
        assert caught.value.code == "event-range"
    check_events(events[:0], 1, 1, 1)


def test_order_is_checked_for_arrays_made_elsewhere() -> None:
    events = np.zeros(3, EVENT)
    events["t"] = [5, 4, 3]
    with pytest.raises(DataError, match="event 1 goes backwards"):
        check_events(events, 1, 1, 1)
    events["t"] = [-5, 4, 5]
    with pytest.raises(DataError, match="negative"):
        check_events(events, 1, 1, 1)


def test_rebase_leaves_the_original() -> None:
    events = make_events([7, 9], [0, 0], [0, 0], [0, 0])
    assert rebase(events)["t"].tolist() == [0, 2]
    assert events["t"].tolist() == [7, 9]
    assert len(rebase(events[:0])) == 0
