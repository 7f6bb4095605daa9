"""The table of boards says what the firmware's sources say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgespike.boards import BOARDS, Board, find_board
from edgespike.errors import UsageError

FIRMWARE = Path(__file__).parents[2] / "firmware"
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20}


def constants(text: str) -> dict[str, int]:
    """The whole numbers that a header defines."""
    found = re.findall(r"#define (\w+) \(?(\d+)u?(?: << (\d+)\))?", text)
    return {name: int(value) << int(shift or 0) for name, value, shift in found}


def size(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([KM]?)", text).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit]


def test_every_board_is_in_the_table() -> None:
    assert {board.name for board in BOARDS} == {
        path.parent.name for path in FIRMWARE.glob("boards/*/board.mk")
    }


@pytest.mark.parametrize("board", BOARDS, ids=[board.name for board in BOARDS])
def test_a_board_is_as_its_sources_say(board: Board) -> None:
    folder = FIRMWARE / "boards" / board.name
    linker = (folder / "linker.ld").read_text()
    regions = {name: size(length) for name, length in re.findall(r"(\w+) \(\w+\) .*LENGTH = (\w+)", linker)}
    assert board.flash_bytes == regions.pop("CODE")
    assert board.ram_bytes == sum(regions.values())
    assert board.stack_bytes == size(re.findall(r"stack_bytes = (\w+);", linker)[0])
    memory = constants((folder / "memory.h").read_text())
    assert (board.model_bytes, board.arena_bytes) == (memory["MODEL_BYTES"], memory["ARENA_BYTES"])
    assert board.max_payload == memory["MAX_PAYLOAD"]
    makefile = (folder / "board.mk").read_text()
    assert f"-mcpu={board.core} " in makefile
    assert board.group == int(dict(re.findall(r"-D(ES_GROUP)=(\d+)", makefile)).get("ES_GROUP", 32))


def test_an_unknown_board_is_refused_with_a_list() -> None:
    with pytest.raises(UsageError, match="no board 'uno'") as caught:
        find_board("uno")
    assert caught.value.code == "board-unknown"
    assert all(board.name in caught.value.hint for board in BOARDS)
    assert find_board("microbit") is BOARDS[-1]
