"""The boards that there is firmware for, and what a model finds on each.

The numbers are those of ``firmware/boards``: of its linker scripts, ``memory.h`` and board
sources; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgespike.errors import UsageError

__all__ = ["BOARDS", "Board", "find_board"]

KB, MB = 1 << 10, 1 << 20

RESULT_BYTES = 64  # of the device loop, without scores


@dataclass(frozen=True)
class Board:
    """A board with edgespike's firmware.

    ``core``: what its compiler calls the processor. ``flash_bytes``, ``ram_bytes``: in all that the
    linker script uses; on an emulated board flash may be memory of another kind. ``model_bytes``,
    ``arena_bytes``: what the firmware keeps of its RAM for a model file, and for an arena with the
    results behind it. ``stack_bytes``: what the linker keeps for the stack at least. ``max_payload``:
    most data in one frame of the link. ``baud``: bits a second of the serial line. ``group``: neurons
    of a pixel that are evaluated at once (ES_GROUP).
    """

    name: str
    core: str
    clock_hz: int
    flash_bytes: int
    ram_bytes: int
    model_bytes: int
    arena_bytes: int
    stack_bytes: int
    max_payload: int
    baud: int
    group: int = 32

    def arena_bytes_for(self, scores: int) -> int:
        """What is left for an arena beside one result of so many scores; may be less than 0."""
        return self.arena_bytes - result_bytes(scores)


def result_bytes(scores: int) -> int:
    """What a board keeps of a result until the host has it: 64 bytes and 4 a score, in steps of 16."""
    return (RESULT_BYTES + 4 * scores + 15) // 16 * 16


BOARDS = (
    Board("mps2-an385", "cortex-m3", 25_000_000, 4 * MB, 20 * MB, 4 * MB, 3 * MB, 16 * KB, 1024, 921600),
    Board("mps2-an386", "cortex-m4", 25_000_000, 4 * MB, 20 * MB, 4 * MB, 3 * MB, 16 * KB, 1024, 921600),
    Board("mps2-an500", "cortex-m7", 25_000_000, 4 * MB, 20 * MB, 4 * MB, 3 * MB, 16 * KB, 1024, 921600),
    Board("mps3-an547", "cortex-m55", 32_000_000, 512 * KB, 4608 * KB, 2 * MB, 2 * MB, 16 * KB, 1024, 921600),
    Board("netduinoplus2", "cortex-m4", 168_000_000, MB, 128 * KB, 64 * KB, 44 * KB, 4 * KB, 1024, 921600),
    Board("stm32vldiscovery", "cortex-m3", 24_000_000, 128 * KB, 8 * KB, 2816, 1536, 1920, 128, 921600, 16),
    Board(
        "pico", "cortex-m0plus", 125_000_000, 2 * MB, 264 * KB, 144 * KB, 88 * KB, 4 * KB, 1024, 921600, 16
    ),
    Board("microbit", "cortex-m0", 16_000_000, 256 * KB, 16 * KB, 7 * KB, 4 * KB, 2176, 256, 115200, 16),
)


def find_board(name: str) -> Board:
    """A board by its name.

    Raises:
        UsageError: there is none of that name (code ``board-unknown``); the hint lists all.
    """
    for board in BOARDS:
        if board.name == name:
            return board
    raise UsageError(
        f"there is no board {name!r}",
        f"choose one of {', '.join(board.name for board in BOARDS)}",
        "board-unknown",
    )
