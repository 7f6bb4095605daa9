"""Encoders of samples: the C code against its specification, in any pieces, and what they are for."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgespike._sensor import Encode, Slide
from edgespike.encoders import (
    Code,
    Delta,
    Encoder,
    Gaussian,
    Latency,
    Rate,
    Window,
    parse_code,
    sample_times,
    whole_numbers,
)
from edgespike.errors import DataError, UsageError
from edgespike.reference_encoders import encode

LARGEST = (1 << 30) - 1
PERIOD_US = 2777
SPANS = st.sampled_from([(-100, 100), (0, 1), (-LARGEST, 0), (5, 260), (LARGEST - 7, LARGEST)])
STEPS = st.sampled_from([1, 2, 7, 50])


@st.composite
def codes(draw: st.DrawFn) -> Code:
    """Any code, also at the ends of its numbers."""
    kind = draw(st.sampled_from(["delta", "rate", "latency", "gaussian"]))
    if kind == "delta":
        return Delta(draw(st.sampled_from([1, 3, 40, LARGEST])), draw(st.sampled_from([1, 2, 40])))
    (low, high), steps = draw(SPANS), draw(STEPS)
    if kind == "gaussian":
        width, spikes = draw(st.sampled_from([0, 1, 60, LARGEST])), draw(st.sampled_from(["latency", "rate"]))
        return Gaussian(low, high, draw(st.integers(2, 9)), steps, width, spikes)
    return (Rate if kind == "rate" else Latency)(low, high, steps)


@st.composite
def streams(draw: st.DrawFn) -> NDArray[np.int64]:
    """Samples (n, columns): walks, jumps, and numbers at the ends of what there is."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    size = draw(st.integers(0, 60)), draw(st.integers(1, 4))
    spread = draw(st.sampled_from([1, 20, 300, 1 << 29, 1 << 31]))
    samples = rng.integers(-spread, spread, size, endpoint=True)
    walk = np.cumsum(rng.integers(-30, 30, size), axis=0)
    return np.where(rng.random(size) < draw(st.sampled_from([0.0, 0.1, 1.0])), samples, walk)


@settings(max_examples=300)
@given(codes(), streams(), st.lists(st.integers(0, 60), max_size=4))
def test_equals_its_specification_in_any_pieces(code: Code, samples: Any, cuts: list[int]) -> None:
    times = sample_times(np.arange(len(samples)), Fraction(360))
    expected = encode(code, samples, times, PERIOD_US)
    columns = samples.shape[1]
    whole, pieces = Encoder(code, columns, PERIOD_US), Encoder(code, columns, PERIOD_US)
    np.testing.assert_array_equal(whole(samples, times), expected)
    places = sorted(min(cut, len(samples)) for cut in cuts)
    parts = zip(np.split(samples, places), np.split(times, places), strict=True)
    np.testing.assert_array_equal(np.concatenate([pieces(*part) for part in parts]), expected)
    whole.reset()
    np.testing.assert_array_equal(whole(samples, times), expected)
    assert (np.diff(expected["t"]) >= 0).all()
    for name, size in zip(("y", "x", "p"), whole.shape, strict=True):
        assert (expected[name] < size).all()


def said(code: Code, values: list[int], period_us: int = 100) -> list[list[tuple[int, int, int]]]:
    """By sample of one column: time in it, unit and p of each event."""
    times = np.arange(len(values)) * period_us
    events = Encoder(code, 1, period_us)(np.array(values)[:, None], times)
    rows = [[] for _ in values]
    for event in events:
        number, time = divmod(int(event["t"]), period_us)
        rows[number].append((time, int(event["y"]), int(event["p"])))
    return rows


def test_delta_by_hand() -> None:
    up, down = (0, 0, 1), (0, 0, 0)
    assert said(Delta(10), [3, 12, 13, 34, 14, 13, 3]) == [[], [], [up], [up] * 2, [down], [down], [down]]
    assert said(Delta(10, most=2), [0, 50, 50, 50, 50]) == [[], [up] * 2, [up] * 2, [up], []]


def test_delta_follows_the_value() -> None:
    """What was told is never a threshold away from the value, so the signal can be had back."""
    values = np.cumsum(np.random.default_rng(3).integers(-40, 40, 500))
    events = Encoder(Delta(16, most=100), 1, 1000)(values[:, None], np.arange(500) * 1000)
    steps = np.bincount(events["t"] // 1000, np.where(events["p"] == 1, 16, -16), minlength=500)
    assert (np.abs(values[0] + np.cumsum(steps) - values) < 16).all()


def test_rate_by_hand() -> None:
    first, second = (0, 0, 0), (50, 0, 0)
    assert said(Rate(0, 4, 2), [0, 4, 2, 1, 1, 9]) == [
        [],
        [first, second],
        [second],
        [],
        [second],
        [first, second],
    ]


def test_latency_by_hand() -> None:
    assert said(Latency(0, 10, 5), [10, 9, 6, 1, 0, -3, 99]) == [
        [(0, 0, 0)],
        [(0, 0, 0)],
        [(40, 0, 0)],
        [(80, 0, 0)],
        [],
        [],
        [(0, 0, 0)],
    ]


def test_gaussian_by_hand() -> None:
    """Values at a neuron's own are told at once by it; neighbours are later, by their distance."""
    code = Gaussian(0, 30, units=4, steps=100, width=10)
    answer = [255, 155, 35, 3]  # 255 exp(-d^2 / 2), rounded
    latency = [(255 - value) * 100 // 255 for value in answer]
    events = said(code, [10])[0]
    assert sorted(events) == sorted((latency[abs(unit - 1)], unit, 0) for unit in range(4))


def test_codes_as_they_are_written() -> None:
    assert parse_code("delta:threshold=0.25", Fraction(200)) == Delta(50)
    assert parse_code("gaussian:low=-1,high=2,units=4,steps=10,spikes=rate", Fraction(10)) == Gaussian(
        -10, 20, 4, 10, 6, "rate"
    )
    assert parse_code("window:hop=36") == Window(36)
    assert parse_code("window:deadband=0.1", Fraction(200)) == Window(1, 20)
    assert parse_code("window") == Window(1, 0, "last")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fourier", "there is no code 'fourier'"),
        ("delta", "a number is missing"),
        ("delta:threshold=0", "threshold is 0"),
        ("delta:threshold=x", "'x' is no number"),
        ("delta:threshold=1,most=1.5", "most is a whole number"),
        ("delta:limit=1", "'limit=1' means nothing"),
        ("rate:low=5,high=5", "high is 5"),
        ("latency:low=0,high=5,steps=0", "steps is 0"),
        ("gaussian:low=0,high=5,steps=3,units=1", "units is 1"),
        ("gaussian:low=0,high=5,steps=3,units=2,spikes=no", "spikes=no"),
        ("window:hop=0", "hop is 0"),
        ("window:deadband=-1", "deadband is -1"),
    ],
)
def test_codes_that_make_no_sense(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse_code(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    "wrong",
    [
        {"code": 3},
        {"columns": 0},
        {"low": 5},
        {"high": LARGEST + 1},
        {"low": -LARGEST, "high": 1},
        {"steps": 0},
        {"units": 1},
        {"units": 2, "width": 0},
        {"code": 0, "threshold": 0, "most": 1},
        {"code": 0, "threshold": 1, "most": 0},
        {"code": 0, "threshold": 1, "most": 1, "units": 2},
    ],
)
def test_the_c_code_refuses_what_makes_no_sense(wrong: dict[str, int]) -> None:
    right = {"code": 1, "columns": 1, "period": 9, "low": 0, "high": 5, "steps": 3}
    Encode(**right)
    with pytest.raises(UsageError, match="make no sense"):
        Encode(**(right | wrong))


@pytest.mark.parametrize("wrong", ["columns", "length", "hop", "width", "channels", "deadband"])
def test_the_c_code_refuses_windows_that_make_no_sense(wrong: str) -> None:
    ones = dict.fromkeys(("columns", "length", "hop", "width", "channels"), 1)
    tables = {"threshold": np.zeros((1, 2), np.int32), "initial": np.zeros(1, np.int16), "first_level": 0}
    right = {**ones, **tables, "deadband": 0, "position_stride": 1, "column_stride": 1}
    Slide(**right)
    with pytest.raises(UsageError, match="make no sense"):
        Slide(**(right | {wrong: -1 if wrong == "deadband" else 0}))


def test_samples_that_make_no_sense() -> None:
    encoder = Encoder(Delta(1), 2, 1000)
    with pytest.raises(DataError, match="shape"):
        encoder(np.zeros((3, 1), np.int32), np.arange(3))
    with pytest.raises(DataError, match="type float64"):
        encoder(np.zeros((3, 2)), np.arange(3))


def test_times_are_exact() -> None:
    numbers = np.arange(10**9, 10**9 + 1000)
    times = sample_times(numbers, Fraction(44100))
    assert times.tolist() == [number * 1_000_000 // 44100 for number in numbers.tolist()]


def test_whole_numbers() -> None:
    assert whole_numbers(np.array([0.1234, -0.0005, 1e30, -1e30]), Fraction(1000)).tolist() == [
        123,
        0,
        LARGEST,
        -LARGEST,
    ]
