"""Small models, and an emulated board to talk to frame by frame."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike._link import EmulatedBoard, FrameReader, encode_frame
from edgespike.graph import (
    CORE_EVENT,
    Accumulator,
    Dense,
    EventCounts,
    Graph,
    InputSpec,
    LevelInput,
    Population,
    Projection,
    SelfTest,
)
from edgespike.link.messages import Frame, FrameType, HelloInfo
from edgespike.modelfile import encode_model

WINDOW = 100
METADATA: dict[str, Any] = {"populations": ["input", "output"]}


def counting_graph(scores: int = 4, window_ticks: int = WINDOW) -> Graph:
    """Counts events of an 8 x 8 sensor in windows of 100 ticks; linear scores."""
    rng = np.random.default_rng(scores)
    table = np.tile(np.arange(301, dtype=np.int16), (2, 1))
    counts = EventCounts(polarities=2, slices=1, slice_ticks=window_ticks, saturation=300, table=table)
    pixels = Population("input", (8, 8, 2), LevelInput(0, 300), None, np.zeros((8, 8, 2), np.int32))
    output = Population("output", (1, 1, scores), Accumulator(), np.zeros((1, 1, scores), np.int32), None, 32)
    weight = rng.integers(-127, 128, (128, scores), np.int8)
    inputs = InputSpec(10, window_ticks, counts)
    return Graph((pixels, output), (Projection(0, 1, Dense(weight)),), inputs, METADATA)


def image_graph(self_test: SelfTest | None = None) -> Graph:
    """A 28 x 28 image of 256 levels; 10 linear scores. Samples end from outside."""
    rng = np.random.default_rng(28)
    pixels = Population("input", (28, 28, 1), LevelInput(0, 255), None, np.zeros((28, 28, 1), np.int32))
    output = Population("output", (1, 1, 10), Accumulator(), np.zeros((1, 1, 10), np.int32), None, 32)
    weight = rng.integers(-127, 128, (784, 10), np.int8)
    projections = (Projection(0, 1, Dense(weight)),)
    return Graph((pixels, output), projections, InputSpec(), METADATA, bytes(range(32)), self_test)


COUNTING = encode_model(counting_graph())
IMAGE = encode_model(image_graph())


def sensor_events(count: int, last_tick: int, seed: int = 0) -> NDArray[Any]:
    """Events of the 8 x 8 sensor, in order of time."""
    rng = np.random.default_rng(seed)
    events = np.zeros(count, CORE_EVENT)
    events["tick"] = np.sort(rng.integers(0, last_tick, count))
    events["x"], events["y"] = rng.integers(0, 8, (2, count))
    events["channel"] = rng.integers(0, 2, count)
    events["value"] = 1
    return events


def image_events(seed: int) -> NDArray[Any]:
    """Some 200 pixels of an image that differ from 0."""
    rng = np.random.default_rng(seed)
    events = np.zeros(200, CORE_EVENT)
    events["y"], events["x"] = np.divmod(rng.choice(784, 200, replace=False), 28)
    events["value"] = rng.integers(1, 256, 200)
    return events


class RawBoard:
    """An emulated board, frame by frame."""

    def __init__(self, **sizes: Any) -> None:
        self.board = EmulatedBoard(**sizes)
        self.max_payload = sizes.get("max_payload", 1024)
        self.reader = FrameReader()
        self.stream = 0  # number of the last one
        self.model_crc = 0
        self.receive()

    def receive(self) -> list[Frame]:
        return [Frame(*frame) for frame in self.reader.feed(self.board.read())]

    def send(
        self, type: int, payload: bytes = b"", *, flags: int = 0, sequence: int = 0, word: int = 99
    ) -> list[Frame]:
        """What the board says to one frame."""
        self.board.write(encode_frame(type, flags, sequence, word, payload))
        return self.receive()

    def ask(self, type: int, payload: bytes = b"", **fields: int) -> Frame:
        """The one frame that the board says to one frame."""
        (frame,) = self.send(type, payload, **fields)
        return frame

    def hello(self) -> HelloInfo:
        return HelloInfo.parse(self.ask(FrameType.HELLO, bytes([1, 0, 0, 0])).payload)

    def upload_call(self, type: FrameType, size: int, crc: int) -> tuple[int, int, int, int]:
        """Status, next offset, bytes needed, bytes there are."""
        answer = struct.unpack("<i3I", self.ask(type, struct.pack("<II", size, crc)).payload)
        return answer[0], answer[1], answer[2], answer[3]

    def begin(self, model: bytes) -> tuple[int, int, int, int]:
        return self.upload_call(FrameType.MODEL_BEGIN, len(model), zlib.crc32(model))

    def data(self, model: bytes, begin: int, end: int) -> Frame:
        return self.ask(FrameType.MODEL_DATA, model[begin:end], word=begin)

    def end(self, model: bytes) -> tuple[int, int, int, int]:
        return self.upload_call(FrameType.MODEL_END, len(model), zlib.crc32(model))

    def send_model(self, model: bytes) -> None:
        """BEGIN and all DATA that the board does not have."""
        begun = self.begin(model)
        assert begun == (0, begun[1], 0, 0)
        piece = self.max_payload
        for offset in range(begun[1], len(model), piece):
            self.data(model, offset, offset + piece)

    def upload(self, model: bytes) -> None:
        self.send_model(model)
        assert self.end(model)[0] == 0
        self.model_crc = zlib.crc32(model)

    def baud(self, baud: int) -> tuple[int, int]:
        """Status, and the baud before."""
        answer = self.ask(FrameType.BAUD, struct.pack("<I", baud), word=baud)
        status, before = struct.unpack_from("<iI", answer.payload)
        return status, before

    def start_request(self, mode: int, keep: bool = False) -> bytes:
        """The payload of a START that begins the next stream."""
        former, self.stream = self.stream, self.stream + 1
        return struct.pack("<BBHIII", mode, keep, 0, self.stream, max(0, former), self.model_crc)

    def start(self, mode: int, keep: bool = False) -> int:
        """The status."""
        frame = self.ask(FrameType.START, self.start_request(mode, keep))
        return int(struct.unpack_from("<i", frame.payload)[0])
