"""Frames and event words in plain Python, written from docs/link.md: what the C code must do."""

from __future__ import annotations

import zlib
from typing import NamedTuple


class PlainFrame(NamedTuple):
    type: int
    flags: int
    major: int
    sequence: int
    word: int
    payload: bytes


def cobs_encode(data: bytes) -> bytes:
    out = bytearray()
    blocks = data.split(b"\0")
    for block in blocks:
        while len(block) >= 254:
            out += b"\xff" + block[:254]
            block = block[254:]
        out += bytes([len(block) + 1]) + block
    return bytes(out)


def cobs_decode(data: bytes) -> bytes | None:
    """None if the data ends inside a block."""
    out = bytearray()
    at = 0
    while at < len(data):
        code = data[at]
        if at + code > len(data):
            return None
        out += data[at + 1 : at + code]
        at += code
        if code < 255 and at < len(data):
            out.append(0)
    return bytes(out)


def encode(type: int, flags: int, sequence: int, word: int, payload: bytes) -> bytes:
    head = bytes([type, flags | 1 << 6]) + sequence.to_bytes(2, "little") + word.to_bytes(4, "little")
    body = head + payload
    return cobs_encode(body + zlib.crc32(body).to_bytes(4, "little")) + b"\0"


def decode(stream: bytes) -> list[PlainFrame]:
    """The whole frames of a stream, damaged ones left out."""
    frames = []
    for piece in stream.split(b"\0")[:-1]:
        body = cobs_decode(piece)
        if body is None or len(body) < 12 or zlib.crc32(body[:-4]) != int.from_bytes(body[-4:], "little"):
            continue
        numbers = int.from_bytes(body[2:4], "little"), int.from_bytes(body[4:8], "little")
        frames.append(PlainFrame(body[0], body[1] & 63, body[1] >> 6, *numbers, body[8:-4]))
    return frames


def bits(size: int) -> int:
    return (size - 1).bit_length()


def read_words(
    words: bytes, shape: tuple[int, int, int], word_bytes: int, value_bits: int, tick: int
) -> list[tuple[int, int, int, int, int]]:
    """Events (tick, x, y, channel, value)."""
    y_bits, x_bits, channel_bits = map(bits, shape)
    wide = word_bytes == 6
    in_word = 0 if wide else value_bits
    low_bits = channel_bits + x_bits + y_bits + in_word
    all_ones = (1 << (8 * (4 if wide else word_bytes) - low_bits)) - 1
    events = []
    for at in range(0, len(words), word_bytes):
        word = int.from_bytes(words[at : at + (4 if wide else word_bytes)], "little")
        ticks, low = word >> low_bits, word & ((1 << low_bits) - 1)
        if ticks == all_ones:
            tick += low
            continue
        tick += ticks
        channel = low & ((1 << channel_bits) - 1)
        x = low >> channel_bits & ((1 << x_bits) - 1)
        y = low >> (channel_bits + x_bits) & ((1 << y_bits) - 1)
        value = 1
        if wide:
            value = int.from_bytes(words[at + 4 : at + 6], "little", signed=True)
        elif value_bits:
            value = low >> (channel_bits + x_bits + y_bits)
            value -= (value >> (value_bits - 1)) << value_bits
        events.append((tick & 0xFFFFFFFF, x, y, channel, value))
    return events
