"""Event words: the C code against a plain reading of docs/link.md."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from plain_codec import decode, read_words

from edgespike._link import pack_events, unpack_words
from edgespike.graph import CORE_EVENT

SIZES = st.sampled_from([1, 2, 3, 5, 28, 34, 64, 128, 129])
SHAPES = st.tuples(SIZES, SIZES, st.sampled_from([1, 2, 3, 10]))
STEPS = st.sampled_from([0, 0, 0, 1, 2, 6, 7, 300, 5000, 1 << 20, 1 << 31, (1 << 32) - 1])
VALUES = st.sampled_from([[1], [0, 1], [-1, 1], [-255, 7, 255], [-32768, 32767], [15]])


@st.composite
def batches(draw: st.DrawFn) -> tuple[tuple[int, int, int], NDArray[Any]]:
    shape = draw(SHAPES)
    count = draw(st.integers(0, 60))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    events = np.zeros(count, CORE_EVENT)
    steps = draw(st.lists(STEPS, min_size=count, max_size=count))
    events["tick"] = np.cumsum(np.array(steps, np.uint64)).astype(np.uint32)  # may go back, and wrap
    for field, size in zip(("y", "x", "channel"), shape, strict=True):
        events[field] = rng.integers(0, size, count)
    events["value"] = rng.choice(draw(VALUES), count)
    return shape, events


def unpack(frames: list[tuple[bytes, int]], shape: tuple[int, int, int]) -> list[tuple[int, ...]]:
    events: list[tuple[int, ...]] = []
    for number, (data, count) in enumerate(frames):
        (frame,) = decode(data)
        assert (frame.type, frame.flags, frame.sequence) == (16, 0, (65530 + number) & 0xFFFF)
        assert int.from_bytes(frame.payload[:4], "little") == 7 + len(events)
        assert frame.payload[4:6] == b"\x03\x00"
        word_bytes, value_bits = frame.payload[6:8]
        found = read_words(frame.payload[12:], shape, word_bytes, value_bits, frame.word)
        assert len(found) == count
        unpacked = unpack_words(frame.payload[12:], shape, word_bytes, value_bits, frame.word)
        assert np.frombuffer(unpacked, CORE_EVENT).tolist() == found
        events += found
    return events


@given(batches(), st.sampled_from([20, 40, 128, 1024, 4096]))
def test_any_events_come_out_as_they_went_in(
    batch: tuple[tuple[int, int, int], NDArray[Any]], max_payload: int
) -> None:
    shape, events = batch
    frames = pack_events(events, shape, max_payload, 65530, 7, 3, 99)
    assert unpack(frames, shape) == events.tolist()
    assert all(len(decode(data)[0].payload) <= max_payload for data, _ in frames)


def test_packing_stops_before_an_event_outside_the_words() -> None:
    events = np.zeros(5, CORE_EVENT)
    events["value"] = 1
    events["x"][3] = 64
    frames = pack_events(events, (64, 64, 1), 128, 0, 0, 0, 7)
    assert [count for _, count in frames] == [3]


def test_a_long_silence_takes_a_new_frame_and_no_bytes() -> None:
    events = np.zeros(2, CORE_EVENT)
    events["tick"] = [0, 3_000_000_000]
    events["value"] = 1
    frames = pack_events(events, (34, 34, 2), 1024, 0, 0, 0, 7)
    assert [len(decode(data)[0].payload) for data, _ in frames] == [14, 14]


@pytest.mark.parametrize(
    ("form", "length"), [((5, 0), 10), ((2, 17), 10), ((2, 0), 9), ((6, 0), 12), ((2, 4), 10), ((1, 0), 8)]
)
def test_impossible_forms_are_refused(form: tuple[int, int], length: int) -> None:
    with pytest.raises(ValueError, match="words"):
        unpack_words(bytes(length), (34, 34, 2), *form, 0)


def bytes_per_event(events: NDArray[Any], shape: tuple[int, int, int]) -> float:
    frames = pack_events(events, shape, 1024, 0, 0, 0, 7)
    return sum(len(decode(data)[0].payload) - 12 for data, _ in frames) / len(events)


def test_sizes_that_the_documentation_states() -> None:
    rng = np.random.default_rng(5)
    events = np.zeros(20000, CORE_EVENT)
    events["x"], events["y"] = rng.integers(0, 28, (2, len(events)))
    events["value"] = 1
    microseconds = np.cumsum(rng.exponential(72, len(events)))  # 13.9 thousand events a second
    events["channel"] = rng.integers(0, 2, len(events))
    events["tick"] = microseconds
    assert bytes_per_event(events, (34, 34, 2)) < 3.01
    events["tick"] = microseconds / 1000
    assert bytes_per_event(events, (34, 34, 2)) < 2.01
    events["channel"] = events["tick"] = 0
    events["value"] = rng.integers(-255, 256, len(events))
    assert bytes_per_event(events, (28, 28, 1)) == 3
    events["value"] = rng.integers(-15, 16, len(events))
    assert bytes_per_event(events, (28, 28, 1)) == 2
