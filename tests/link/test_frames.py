"""Frames: the C codec against a plain one, in any pieces, with any damage."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_codec import PlainFrame, cobs_decode, cobs_encode, decode, encode

from edgespike._link import FrameReader, encode_frame
from edgespike.link.messages import Flag, FrameType

ROOT = Path(__file__).resolve().parents[2]
# Payloads with runs of zeros and of other bytes around the length of a COBS block.
PIECES = st.one_of(
    st.binary(max_size=40),
    st.integers(0, 300).map(bytes),
    st.integers(250, 260).map(lambda count: b"\x07" * count),
)
PAYLOADS = st.lists(PIECES, max_size=5).map(b"".join)
FRAMES = st.builds(
    PlainFrame,
    type=st.integers(0, 255),
    flags=st.integers(0, 63),
    major=st.just(1),
    sequence=st.integers(0, 0xFFFF),
    word=st.integers(0, 0xFFFFFFFF),
    payload=PAYLOADS,
)


def encoded(frame: PlainFrame) -> bytes:
    return encode_frame(frame.type, frame.flags, frame.sequence, frame.word, frame.payload)


def feed_in_pieces(reader: FrameReader, data: bytes, cuts: list[int]) -> list[PlainFrame]:
    places = sorted(cut % (len(data) + 1) for cut in cuts)
    frames = []
    for begin, end in zip([0, *places], [*places, len(data)], strict=True):
        frames += reader.feed(data[begin:end])
    return [PlainFrame(*frame) for frame in frames]


def test_bytes_of_a_frame() -> None:
    frame = encode_frame(type=32, flags=8, sequence=0x0102, word=0x01020304, payload=b"\x00\xff")
    assert frame.hex(" ") == "09 20 48 02 01 04 03 02 01 06 ff 87 b3 37 77 00"  # CRC-32: zlib.crc32


@given(PAYLOADS)
def test_plain_cobs_is_its_own_inverse(data: bytes) -> None:
    assert cobs_decode(cobs_encode(data)) == data
    assert 0 not in cobs_encode(data)


@given(FRAMES)
def test_encoder_writes_what_the_plain_one_writes(frame: PlainFrame) -> None:
    data = encoded(frame)
    assert data == encode(frame.type, frame.flags, frame.sequence, frame.word, frame.payload)
    assert data.count(0) == 1
    assert len(data) <= len(frame.payload) + 12 + (len(frame.payload) + 12) // 254 + 2


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(0), max_size=20))
def test_reader_finds_frames_fed_in_any_pieces(frames: list[PlainFrame], cuts: list[int]) -> None:
    reader = FrameReader()
    assert feed_in_pieces(reader, b"".join(map(encoded, frames)), cuts) == frames
    assert (reader.good, reader.bad_crc, reader.malformed, reader.too_long) == (len(frames), 0, 0, 0)


@given(st.binary(max_size=600), st.lists(st.integers(0), max_size=8))
def test_reader_agrees_with_the_plain_one_on_any_bytes(data: bytes, cuts: list[int]) -> None:
    assert feed_in_pieces(FrameReader(), data, cuts) == decode(data)


DAMAGES = st.lists(
    st.tuples(st.sampled_from(["flip", "drop", "insert", "double"]), st.integers(0), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)


def damage(data: bytes, damages: list[tuple[str, int, int]]) -> bytes:
    changed = bytearray(data)
    for kind, place, value in damages:
        at = place % len(changed)
        if kind == "flip":
            changed[at] ^= 1 << value % 8
        elif kind == "drop":
            del changed[at]
        elif kind == "insert":
            changed.insert(at, value)
        else:
            changed[at:at] = changed[at : at + value]
    return bytes(changed)


@given(st.lists(FRAMES, min_size=1, max_size=5), DAMAGES, FRAMES)
def test_damage_never_makes_a_false_frame_and_the_reader_recovers(
    frames: list[PlainFrame], damages: list[tuple[str, int, int]], last: PlainFrame
) -> None:
    reader = FrameReader()
    received = feed_in_pieces(reader, damage(b"".join(map(encoded, frames)), damages), [])
    assert all(frame in frames for frame in received)
    assert len(received) >= len(frames) - 2 * len(damages)  # a lost zero joins two frames
    assert PlainFrame(*reader.feed(b"\0" + encoded(last))[-1]) == last


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"\x02\x07\0", "malformed"),  # shorter than any frame
        (b"\x01\0", "malformed"),
        (encode_frame(1, 0, 0, 0, b"x" * 40)[:-9] + b"\0", "malformed"),  # cut inside a block
        (encode_frame(1, 0, 0, 0, bytes(40)).replace(b"\x01\x01", b"\x01", 1), "bad_crc"),
        (encode_frame(1, 0, 0, 0, b"x" * 101), "too_long"),
        (encode_frame(1, 0, 0, 0, bytes(4096)), "too_long"),
    ],
)
def test_dropped_frames_are_counted_by_cause(data: bytes, cause: str) -> None:
    reader = FrameReader(max_payload=100)
    good = encode_frame(2, 0, 0, 0, b"x" * 100)
    assert len(reader.feed(good + data + good)) == 2
    counts = {"malformed": reader.malformed, "bad_crc": reader.bad_crc, "too_long": reader.too_long}
    assert counts == {"malformed": 0, "bad_crc": 0, "too_long": 0} | {cause: 1}


def test_empty_frames_mean_nothing() -> None:
    reader = FrameReader()
    assert reader.feed(b"\0\0\0") == []
    assert (reader.good, reader.bad_crc, reader.malformed, reader.too_long) == (0, 0, 0, 0)


def test_payloads_beyond_the_limit_are_refused() -> None:
    with pytest.raises(ValueError, match="4096"):
        encode_frame(1, 0, 0, 0, bytes(4097))


def test_types_and_flags_are_those_of_the_c_code() -> None:
    header = (ROOT / "edgespike" / "core" / "es_frame.h").read_text()
    types = re.findall(r"ES_FRAME_(\w+) = (\d+)", header)
    assert {name: int(value) for name, value in types} == {type.name: type.value for type in FrameType}
    flags = re.findall(r"#define ES_LINK_(\w+) (0x\w+)", header)
    assert {name: int(value, 16) for name, value in flags} == {flag.name: flag.value for flag in Flag}
