"""What a model takes of a board, and what the board can do with it, before anything is flashed.

Memory is exact: the model file, the arena of the plan that the device loop will choose, and the
firmware as the linker made it (``data/firmware.json``, by ``tools/measure_firmware.py``). The model
does not change the firmware or its stack. Instructions are predicted (`edgespike/instructions.py`);
rates follow from them, the clock, and cycles for an instruction, which is an assumption: 1 unless
the caller knows better.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike import _link
from edgespike.activity import count_operations
from edgespike.arena import one_shot_bytes, streaming_bytes
from edgespike.boards import BOARDS, Board
from edgespike.errors import BudgetError
from edgespike.graph import CORE_EVENT, Graph, LevelInput, SpikeInput
from edgespike.instructions import instructions, worst_event, worst_push, worst_reading, worst_tick
from edgespike.operations import reset
from edgespike.work import works_at_once

__all__ = ["Activity", "Memory", "Speed", "measure_activity", "memory_of", "require_fit", "speed_of"]

Events = NDArray[Any]

BITS_OF_BYTE = 10  # on a serial line, with start and stop


# ---- memory ------------------------------------------------------------------


@dataclass(frozen=True)
class Memory:
    """Bytes on a board.

    ``flash``: the firmware's code and constants. ``buffers``: its variables in RAM. ``stack``: the
    most that it can need, of ``board.stack_bytes`` kept. ``model``: the file, which the board keeps
    in RAM. ``arena``: of ``plan``; ``result``: one result, which lies behind the arena.
    ``model_missing`` and ``arena_missing``: how many bytes of RAM the board has too few; 0: it fits.
    """

    board: Board
    flash: int
    buffers: int
    stack: int
    model: int
    plan: str
    arena: int
    result: int
    model_missing: int
    arena_missing: int

    @property
    def fits(self) -> bool:
        return not self.model_missing and not self.arena_missing


@cache
def _firmware(board: str) -> dict[str, int]:
    record = json.loads((Path(__file__).parent / "data" / "firmware.json").read_text())
    sizes: dict[str, int] = record["boards"][board]
    return sizes


def memory_of(graph: Graph, model_bytes: int, board: Board) -> Memory:
    """What a model of so many bytes takes of a board."""
    firmware = _firmware(board.name)
    room = board.arena_bytes_for(graph.populations[-1].size)
    plan, arena = "streaming", streaming_bytes(graph)
    if arena > room and 0 < one_shot_bytes(graph) <= room:
        plan, arena = "one-shot", one_shot_bytes(graph)
    return Memory(
        board,
        firmware["flash"],
        firmware["ram"],
        firmware["stack"],
        model_bytes,
        plan,
        arena,
        board.arena_bytes - room,
        max(0, model_bytes - board.model_bytes),
        max(0, arena - room),
    )


def require_fit(graph: Graph, memory: Memory) -> None:
    """Refuse a model that is too big for its board.

    Raises:
        BudgetError: says of what how many bytes are missing, and which boards have enough.
    """
    if memory.fits:
        return
    board = memory.board
    missing = []
    if memory.model_missing:
        missing.append(
            f"the model of {memory.model:,} bytes is {memory.model_missing:,} bytes larger than the "
            f"{board.model_bytes:,} bytes of RAM that the firmware keeps for it"
        )
    if memory.arena_missing:
        missing.append(
            f"its arena of {memory.arena:,} bytes and one result of {memory.result:,} need "
            f"{memory.arena_missing:,} bytes more than the {board.arena_bytes:,} bytes of RAM kept for them"
        )
    others = [other.name for other in BOARDS if memory_of(graph, memory.model, other).fits]
    hint = "convert a smaller network, or with 4-bit weights or fewer event slices"
    if others:
        hint = f"it fits {', '.join(others)}; or {hint}"
    code = "model-too-large" if memory.model_missing else "arena-too-small"
    raise BudgetError(f"{board.name}: {'; '.join(missing)}", hint, code)


# ---- activity ------------------------------------------------------------------


@dataclass(frozen=True)
class Activity:
    """What samples do, on average: input events, ticks in which something happens, what the core
    does (`edgespike/operations.py`) with each size of groups that some board has, and the events as
    the link carries them."""

    samples: int
    events: float
    ticks: float
    operations: dict[int, dict[str, float]]
    link: dict[str, float]


def measure_activity(graph: Graph, samples: Sequence[tuple[Events, int]]) -> Activity:
    """Run samples, each events (dtype CORE_EVENT) and how many ticks it has at least, and count.

    Some sample has an event. The reference interpreter runs them, some milliseconds for each tick
    in which something happens.
    """
    sizes = sorted({board.group for board in BOARDS})
    operations = {
        size: _mean([count_operations(graph, events, ticks, size) for events, ticks in samples])
        for size in sizes
    }
    link = _mean([_link_operations(graph, events, 1024) for events, _ in samples])
    events_each = float(np.mean([len(events) for events, _ in samples]))
    return Activity(len(samples), events_each, operations[sizes[0]].get("tick", 0.0), operations, link)


def _mean(counts: Sequence[Mapping[str, int]]) -> dict[str, float]:
    names = set().union(*counts)
    return {name: sum(count.get(name, 0) for count in counts) / len(counts) for name in names}


def _link_operations(graph: Graph, events: Events, max_payload: int) -> dict[str, int]:
    height, width, channels = graph.populations[0].shape
    shape = (height, width, 2 if graph.input.event_counts else channels)
    frames = _link.pack_events(events, shape, max_payload, 0, 0, 0, 0)
    return {
        "link byte": sum(len(frame) for frame, _ in frames),
        "link event": len(events),
        "link frame": len(frames),
    }


def _longest_events(graph: Graph) -> Events:
    """Events that take the longest words: far apart, each a tick later, with the greatest values."""
    height, width, channels = graph.populations[0].shape
    counts = graph.input.event_counts
    neuron = graph.populations[0].neuron
    events = np.zeros(1000, CORE_EVENT)
    events["tick"] = np.arange(len(events))
    events["y"], events["x"] = height - 1, width - 1
    events["channel"] = (2 if counts else channels) - 1
    events["value"] = 1
    if isinstance(neuron, SpikeInput):
        events["value"][::2], events["value"][1::2] = neuron.value_min, neuron.value_max
    elif isinstance(neuron, LevelInput) and not counts:
        span = min(neuron.level_max - neuron.level_min, 32767)
        events["value"][::2], events["value"][1::2] = span, -span
    return events


# ---- speed -----------------------------------------------------------------------


@dataclass(frozen=True)
class Rate:
    """Events a second: what the processor can work off, and what the serial line carries.

    In the worst case, for any events whatever. Typically, for whole samples one after the other; at
    least what the worst case allows.
    """

    processor: float
    link: float

    @property
    def highest(self) -> float:
        return min(self.processor, self.link)

    @property
    def limit(self) -> str:
        return "processor" if self.processor <= self.link else "link"


@dataclass(frozen=True)
class Speed:
    """Instructions and rates on a board; worst case, and of measured activity (None without).

    ``event``: of one input event until its tick has closed, with what the link costs; typically, a
    sample's instructions divided by its events. ``tick``: of closing one tick in which something
    happens; typically, a sample's instructions divided by its ticks. ``sample``: of one sample.
    """

    event: float
    tick: float
    rate: Rate
    typical_event: float | None
    typical_tick: float | None
    typical_sample: float | None
    typical_rate: Rate | None


def speed_of(graph: Graph, board: Board, activity: Activity | None, cycles: float = 1.0) -> Speed:
    """What a board can do.

    Args:
        cycles: clock cycles for an instruction, on average.
    """
    carried = _link_operations(graph, _longest_events(graph), board.max_payload)
    link = instructions(carried, board.core) / carried["link event"]
    event, tick = (worst(graph, board.core, board.group) for worst in (worst_event, worst_tick))
    push = worst_push(graph, board.core)
    budget = board.clock_hz / cycles - _window_instructions(graph, board.core)
    # Two bounds, each enough: every event has a tick of its own, or every tick is at its worst.
    by_event = budget / (event + link) if works_at_once(graph) else 0.0
    by_tick = (budget - tick * 1e6 / graph.input.tick_us) / (push + link)
    line = board.baud / BITS_OF_BYTE
    rate = Rate(max(by_event, by_tick, 0.0), line * carried["link event"] / carried["link byte"])
    if activity is None:
        return Speed(event + link, tick, rate, None, None, None, None)
    sample = instructions(activity.operations[board.group], board.core)
    with_link = sample + instructions(activity.link, board.core)
    typical = Rate(
        max(activity.events * board.clock_hz / cycles / with_link, rate.processor),
        activity.events * line / activity.link["link byte"],
    )
    per_tick = sample / activity.ticks if activity.ticks else None
    return Speed(event + link, tick, rate, with_link / activity.events, per_tick, sample, typical)


def _window_instructions(graph: Graph, core: str) -> float:
    """Instructions a second of beginning windows and reading their scores."""
    window_us = graph.input.window_ticks * graph.input.tick_us
    return instructions(reset(graph) + worst_reading(graph), core) * 1e6 / window_us if window_us else 0.0
