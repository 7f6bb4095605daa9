"""Filters of pixel events: the C code against a plain Python twin, in any pieces, and what they are for."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgespike.errors import UsageError
from edgespike.events import EVENT, EventFilter, FilterSettings, make_events

SENSOR = (12, 9)

SETTINGS = st.builds(
    FilterSettings,
    crop=st.sampled_from([None, (0, 0, 12, 9), (2, 3, 7, 4), (11, 8, 1, 1)]),
    hot_events=st.sampled_from([None, 1, 3]),
    background_us=st.sampled_from([None, 1, 500, 50_000]),
    refractory_us=st.sampled_from([None, 1, 700]),
    downsample=st.sampled_from([1, 2, 5]),
    merge_polarities=st.booleans(),
    rate=st.sampled_from([None, 1, 500, 5_000, 70_000]),
)


@st.composite
def streams(draw: st.DrawFn) -> NDArray[Any]:
    """Events in bursts and with pauses."""
    count = draw(st.integers(0, 300))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    steps = rng.choice([0, 1, 10, 600, 30_000, 110_000], count, p=[0.3, 0.3, 0.2, 0.1, 0.07, 0.03])
    x, y = rng.integers(0, SENSOR[0], count), rng.integers(0, SENSOR[1], count)
    busy = rng.random(count) < 0.4
    x[busy], y[busy] = 5, 5
    return make_events(np.cumsum(steps), x, y, rng.integers(0, 2, count))


def twin(what: FilterSettings, events: NDArray[Any]) -> tuple[list[tuple[int, ...]], Counter[str]]:
    """The filters in plain Python; what they remove is counted."""
    left, top, width, height = what.crop or (0, 0, *SENSOR)
    removed: Counter[str] = Counter()
    passed: list[tuple[int, ...]] = []
    last: dict[tuple[int, int], int] = {}
    allowed_at: dict[tuple[int, int], int] = {}
    hot: dict[tuple[int, int], tuple[int, int, bool]] = {}
    interval_us, allowed = 1000, (what.rate or 0) // 1000
    if what.rate and allowed < 64:
        interval_us, allowed = 64_000_000 // what.rate, 64
    interval, expected, seen, credit = -2, 0, 0, 0
    for t, x, y, p in events.tolist():
        x, y = x - left, y - top
        if not (0 <= x < width and 0 <= y < height):
            removed["crop"] += 1
            continue
        if what.hot_events:
            number, count, shut = hot.get((x, y), (-2, 0, False))
            if number != t // 100_000:
                shut = number + 1 == t // 100_000 and count > what.hot_events
                count = 0
            hot[x, y] = t // 100_000, count + 1, shut
            if shut or count + 1 > what.hot_events:
                removed["hot"] += 1
                continue
        if what.background_us:
            around = ((x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy)
            near = any(place in last and t - last[place] < what.background_us for place in around)
            last[x, y] = t
            if not near:
                removed["background"] += 1
                continue
        if what.refractory_us:
            if (x, y) in allowed_at and t < allowed_at[x, y]:
                removed["refractory"] += 1
                continue
            allowed_at[x, y] = t + what.refractory_us
        if what.rate:
            if t // interval_us != interval:
                expected = seen if t // interval_us == interval + 1 else 0
                interval, seen = t // interval_us, 0
            seen += 1
            cost = max(expected, seen)
            credit = min(credit, cost - 1) + min(allowed, cost)
            if credit < cost:
                removed["rate"] += 1
                continue
            credit -= cost
        passed.append((t, x // what.downsample, y // what.downsample, 0 if what.merge_polarities else p))
    return passed, removed


@settings(max_examples=300)
@given(SETTINGS, streams(), st.lists(st.integers(0, 300), max_size=4))
def test_equals_its_twin_in_any_pieces(what: FilterSettings, events: NDArray[Any], cuts: list[int]) -> None:
    expected, removed = twin(what, events)
    whole, pieces = EventFilter(what, SENSOR), EventFilter(what, SENSOR)
    assert whole(events).tolist() == expected
    parts = np.split(events, sorted(min(cut, len(events)) for cut in cuts))
    assert [row for part in parts for row in pieces(part).tolist()] == expected
    for chain in (whole, pieces):
        assert {cause: count for cause, count in chain.removed.items() if count} == dict(removed)


@given(streams())
def test_no_filter_changes_nothing(events: NDArray[Any]) -> None:
    np.testing.assert_array_equal(EventFilter(FilterSettings(), SENSOR)(events), events)


def test_reset_begins_anew() -> None:
    chain = EventFilter(FilterSettings(refractory_us=1000), SENSOR)
    event = make_events([5], [1], [1], [1])
    assert [len(chain(event)), len(chain(event))] == [1, 0]
    chain.reset()
    assert len(chain(event)) == 1 and chain.removed["refractory"] == 1


@pytest.mark.parametrize("rate", [2_000, 20_000, 150_000])
@pytest.mark.parametrize("offered", [100_000, 1_000_000])
def test_the_rate_cap_thins_evenly_and_never_blacks_out(rate: int, offered: int) -> None:
    rng = np.random.default_rng(1)
    count = offered // 2
    t = np.sort(rng.integers(0, 500_000, count))
    zeros = np.zeros(count, int)
    passed = EventFilter(FilterSettings(rate=rate), SENSOR)(make_events(t, zeros, zeros, zeros))
    wanted = min(rate, offered) / 2
    assert 0.9 * wanted <= len(passed) <= 1.05 * wanted + 500
    if rate < offered:
        span = max(1_000, 64_000_000 // rate)
        by_interval = np.bincount(passed["t"] // span)[1:-1]
        assert by_interval.min() > 0.5 * np.median(by_interval), "no part of the stream goes dark"
        order = np.searchsorted(t, passed["t"])
        gaps = np.diff(order[len(order) // 4 :])
        assert gaps.max() <= 4 * offered / rate + 10, "one in so many, evenly"


def test_a_quiet_stream_is_not_thinned() -> None:
    t = np.arange(1000) * 700  # 1428 a second
    zeros = np.zeros(1000, int)
    assert len(EventFilter(FilterSettings(rate=2000), SENSOR)(make_events(t, zeros, zeros, zeros))) == 1000


def test_a_hot_pixel_among_others() -> None:
    rng = np.random.default_rng(2)
    t = np.sort(rng.integers(0, 1_000_000, 3000))
    x, y = rng.integers(0, 12, 3000), rng.integers(0, 9, 3000)
    hot = np.arange(3000) % 2 == 0
    x[hot], y[hot] = 3, 3
    passed = EventFilter(FilterSettings(hot_events=20), SENSOR)(make_events(t, x, y, np.zeros(3000, int)))
    others = ~((x == 3) & (y == 3))
    assert (~((passed["x"] == 3) & (passed["y"] == 3))).sum() == others.sum()
    assert ((passed["x"] == 3) & (passed["y"] == 3)).sum() == 20


def test_downsampling_keeps_every_event_and_says_its_size() -> None:
    events = make_events([0, 1, 2, 3], [0, 11, 5, 6], [0, 8, 4, 3], [1, 0, 1, 0])
    chain = EventFilter(FilterSettings(downsample=5), SENSOR)
    assert chain.sensor == (3, 2)
    assert chain(events)[["x", "y"]].tolist() == [(0, 0), (2, 1), (1, 0), (1, 0)]


def test_after_the_clock_of_32_bits_has_wrapped_around() -> None:
    near = (1 << 32) - 5
    events = make_events([near, near + 3, near + 6, near + 20], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1])
    assert EventFilter(FilterSettings(refractory_us=10), SENSOR)(events)["t"].tolist() == [near, near + 20]


@pytest.mark.parametrize(
    "what",
    [
        FilterSettings(crop=(0, 0, 13, 9)),
        FilterSettings(crop=(5, 5, 0, 1)),
        FilterSettings(crop=(-1, 0, 3, 3)),
        FilterSettings(hot_events=40_000),
        FilterSettings(refractory_us=-1),
        FilterSettings(downsample=0),
        FilterSettings(rate=0),
    ],
)
def test_settings_that_make_no_sense(what: FilterSettings) -> None:
    with pytest.raises(UsageError):
        EventFilter(what, SENSOR)


def test_events_keep_their_type() -> None:
    assert EventFilter(FilterSettings(downsample=2), SENSOR)(np.zeros(0, EVENT)).dtype == EVENT
