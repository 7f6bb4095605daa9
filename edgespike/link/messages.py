"""What the frames of the link say, as Python values. The bytes are in docs/link.md."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

LEAST_PAYLOAD, GREATEST_PAYLOAD = 128, 4096


class FrameType(IntEnum):
    """First byte of a frame."""

    HELLO = 1
    PING = 2
    STATS = 3
    MODEL_BEGIN = 4
    MODEL_DATA = 5
    MODEL_END = 6
    START = 7
    SELF_TEST = 8
    BAUD = 9
    EVENTS = 16
    ADVANCE = 17
    END_SAMPLE = 18
    READ = 19
    CREDIT = 32
    RESULT = 33
    ERROR = 34


class Flag(IntFlag):
    """Second byte of a frame, without the version."""

    RESPONSE = 2
    MORE = 4
    GAP = 8


class Mode(IntEnum):
    """What a stream does about damage."""

    LOSSLESS = 1
    LIVE = 2


class Reason(IntEnum):
    """Why a result was sent."""

    WINDOW = 0
    END = 1
    READ = 2


class Frame(NamedTuple):
    """A received frame."""

    type: int
    flags: int
    major: int
    sequence: int
    word: int
    payload: bytes


@dataclass(frozen=True)
class HelloInfo:
    """What a board says about itself, and about the model that it holds (``model_size`` 0: none).

    Sizes are in bytes. ``input_shape`` is (height, width, channels), for event counts of
    the sensor with 2 polarities. ``plan`` is ``"streaming"`` or ``"one-shot"``.
    """

    protocol: tuple[int, int]
    model_format: tuple[int, int]
    version: tuple[int, int, int]
    boot_epoch: int
    measures_time: bool
    changes_baud: bool
    max_payload: int
    result_slots: int
    window: int
    model_capacity: int
    arena_capacity: int
    model_size: int
    model_crc: int
    source_hash: bytes
    arena_used: int
    plan: str
    input_shape: tuple[int, int, int]
    tick_us: int
    window_ticks: int
    scores: int
    name: str

    _LAYOUT = struct.Struct("<4B3BB2I2H3I2I32sI4H3I")

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Raises struct.error or ValueError when this is no HELLO."""
        fields = cls._LAYOUT.unpack_from(payload)
        name_bytes = fields[7]
        (epoch, abilities, max_payload, slots, window, model_capacity, arena_capacity) = fields[8:15]
        (size, crc, source_hash, arena_used, plan, *shape) = fields[15:23]
        tick_us, window_ticks, scores = fields[23:]
        if not LEAST_PAYLOAD <= max_payload <= GREATEST_PAYLOAD:
            raise ValueError(f"frames of {max_payload} bytes")
        name = payload[cls._LAYOUT.size : cls._LAYOUT.size + name_bytes]
        return cls(
            protocol=(fields[0], fields[1]),
            model_format=(fields[2], fields[3]),
            version=(fields[4], fields[5], fields[6]),
            boot_epoch=epoch,
            measures_time=bool(abilities & 1),
            changes_baud=bool(abilities & 2),
            max_payload=max_payload,
            result_slots=slots,
            window=window,
            model_capacity=model_capacity,
            arena_capacity=arena_capacity,
            model_size=size,
            model_crc=crc,
            source_hash=source_hash,
            arena_used=arena_used,
            plan=("streaming", "one-shot")[plan & 1],
            input_shape=(shape[0], shape[1], shape[2]),
            tick_us=tick_us,
            window_ticks=window_ticks,
            scores=scores,
            name=name.decode(errors="replace"),
        )


class Credit(NamedTuple):
    """Payload of CREDIT and of the answer to PING; ``stream`` is the number of the stream."""

    boot_epoch: int
    state: int
    next_event: int
    lost: int
    rejected: int
    next_result: int
    stream: int

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        return cls(*struct.unpack_from("<7I", payload))


class ErrorReport(NamedTuple):
    """Payload of ERROR; ``stream`` is the number of the stream, 0 for what is of none."""

    code: int
    type: int
    boot_epoch: int
    stream: int

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        return cls(*struct.unpack_from("<iB3xII", payload))


class SelfTestReport(NamedTuple):
    """Payload of the answer to SELF_TEST; without a test ``events`` is 0."""

    status: int
    events: int
    expected: int
    given: int

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        return cls(*struct.unpack_from("<i3I", payload))


class UploadAnswer(NamedTuple):
    """Payload of the answers to MODEL_BEGIN and MODEL_END."""

    status: int
    next_offset: int
    needed: int
    available: int

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        return cls(*struct.unpack_from("<i3I", payload))


@dataclass(frozen=True, eq=False)
class DeviceResult:
    """A result as the board sent it.

    ``tick``: the open tick; after a window closed, its end; ``early``: where its scores decided it.
    ``window`` counts in the
    sample. Of this window: ``input_events`` taken, ``lost_on_link`` and ``rejected``
    events, ``lost_at_sender`` (dropped by this host), ``compute_us`` (0 if the board does
    not measure it), ``events`` and ``synops`` of all populations. ``next_event`` is the
    number of the event that comes next. ``scores``: int32.
    """

    number: int
    sample: int
    reason: Reason
    early: bool
    tick: int
    window: int
    next_event: int
    input_events: int
    lost_on_link: int
    rejected: int
    lost_at_sender: int
    compute_us: int
    events: int
    synops: int
    label: int
    scores: NDArray[np.int32]

    @property
    def lost(self) -> int:
        """Events of this window that the network did not get, for any cause."""
        return self.lost_on_link + self.rejected + self.lost_at_sender


class ResultPart(NamedTuple):
    """One RESULT frame: the result's facts, and some of its scores."""

    facts: tuple[int, ...]
    early: bool
    tick: int
    total: int
    first: int
    stream: int
    scores: NDArray[np.int32]

    @classmethod
    def parse(cls, frame: Frame) -> Self:
        *facts, total, first, stream = struct.unpack_from("<IHB x6I2Q4I", frame.payload)
        scores = np.frombuffer(frame.payload[64:], "<i4").astype(np.int32)
        return cls(tuple(facts), bool(frame.payload[7]), frame.word, total, first, stream, scores)

    @property
    def number(self) -> int:
        """The result's number."""
        return self.facts[0]

    @property
    def reason(self) -> int:
        """Why it was sent."""
        return self.facts[2]


class ResultAssembler:
    """Puts the parts of a result together."""

    def __init__(self) -> None:
        self._parts: dict[int, dict[int, ResultPart]] = {}

    def add(self, part: ResultPart) -> DeviceResult | None:
        """The result, when this was its last missing part."""
        parts = self._parts.setdefault(part.number, {})
        parts[part.first] = part
        if sum(len(other.scores) for other in parts.values()) < part.total:
            return None
        del self._parts[part.number]
        scores = np.concatenate([parts[first].scores for first in sorted(parts)])
        (number, sample, reason, window, next_event, taken, *more) = part.facts
        lost, rejected, compute_us, events, synops, best = more
        return DeviceResult(
            number=number,
            sample=sample,
            reason=Reason(reason),
            early=part.early,
            tick=part.tick,
            window=window,
            next_event=next_event,
            input_events=taken,
            lost_on_link=lost,
            rejected=rejected,
            lost_at_sender=0,
            compute_us=compute_us,
            events=events,
            synops=synops,
            label=best,
            scores=scores,
        )

    def forget(self, number: int) -> None:
        """Give an incomplete result up."""
        self._parts.pop(number, None)
