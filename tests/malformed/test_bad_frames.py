"""What a board says to every kind of bad frame; afterwards it is as good as before."""

from __future__ import annotations

import struct

import pytest
from bad_frames import ARENA, CASES, HELLO, MODEL, PAYLOAD, RING, frame, held

from edgespike._core import ERRORS
from edgespike._link import EmulatedBoard, FrameReader
from edgespike.link.messages import Flag, Frame, FrameType

NAMES = {code: row[0] for code, row in ERRORS.items()} | {0: "ES_OK"}
STATED = {
    FrameType.MODEL_BEGIN,
    FrameType.MODEL_END,
    FrameType.SELF_TEST,
    FrameType.BAUD,
    FrameType.START,
}
COUNTERS = ("bad-crc", "malformed", "too-long")


class Board:
    """An emulated board, byte by byte."""

    def __init__(self, arena: int = ARENA) -> None:
        self._board = EmulatedBoard(
            model_capacity=MODEL, arena_capacity=arena, max_payload=PAYLOAD, ring_size=RING
        )
        self._reader = FrameReader()
        self.say(b"")

    def say(self, data: bytes) -> list[Frame]:
        """What it answers."""
        frames = []
        while True:
            data = data[self._board.write(data) :]
            frames += [Frame(*fields) for fields in self._reader.feed(self._board.read())]
            if not data:
                return frames

    def dropped(self) -> list[int]:
        """Counts of frames that were dropped, by cause."""
        (answer,) = self.say(frame(FrameType.STATS, bytes(4)))
        return list(struct.unpack_from("<3I", answer.payload, 52))


def word_for(sent: Frame) -> str:
    name = FrameType(sent.type).name
    if sent.type == FrameType.ERROR or sent.type in STATED:
        return f"{name} {NAMES[struct.unpack_from('<i', sent.payload)[0]]}"
    return f"{name} gap" if sent.flags & Flag.GAP else name


@pytest.mark.parametrize("name", CASES)
def test_every_rule(name: str) -> None:
    case = CASES[name]
    board = Board(case.arena)
    board.say(case.before)
    before = board.dropped()
    assert [word_for(sent) for sent in board.say(case.bad)] == list(case.says)
    drops = case.drops.split()
    after = [count + drops.count(cause) for count, cause in zip(before, COUNTERS, strict=True)]
    assert board.dropped() == after
    assert [word_for(sent) for sent in board.say(b"\0" + HELLO)] == ["HELLO"]
    if case.arena == ARENA:
        assert word_for(board.say(held("forked"))[-1]) == "MODEL_END ES_OK"


def test_a_line_that_is_too_fast_is_counted() -> None:
    board = EmulatedBoard(ring_size=2048)
    assert board.write(bytes(3000)) == 2048
