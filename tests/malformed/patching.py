"""Valid model files, and patches that break one rule each, with the checksums made good again."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np

from edgespike.graph import (
    CORE_EVENT,
    Accumulator,
    Activation,
    Adaptation,
    Compare,
    Convolution,
    Dense,
    EventCounts,
    Graph,
    InputSpec,
    IntegrateAndFire,
    LevelInput,
    LevelTable,
    MaxPool,
    MaxPoolWindow,
    OneToOne,
    Population,
    Projection,
    Readout,
    Reset,
    Rounding,
    SelfTest,
    SpikeInput,
    SumPool,
    SynapticCurrent,
)
from edgespike.modelfile import encode_model
from edgespike.reference import ReferenceNetwork, level

# name: (offset, struct format); docs/format.md
HEADER = {
    "magic": (0, "B"),
    "major": (8, "H"),
    "minor": (10, "H"),
    "file size": (12, "I"),
    "crc": (16, "I"),
    "sections": (20, "H"),
    "populations": (22, "H"),
    "projections": (24, "H"),
    "reserved": (26, "H"),
    "streaming bytes": (28, "I"),
    "one-shot bytes": (32, "I"),
    "reserved 2": (36, "B"),
}
SECTION = {"name": (0, "B"), "offset": (4, "I"), "size": (8, "I"), "crc": (12, "I")}
POPULATION = {
    "kind": (0, "B"),
    "accumulator bytes": (1, "B"),
    "level bytes": (2, "B"),
    "flags": (3, "B"),
    "height": (4, "H"),
    "width": (6, "H"),
    "channels": (8, "H"),
    "refractory": (10, "H"),
    "level min": (12, "i"),
    "level max": (16, "i"),
    "parameter offset": (20, "I"),
    "parameter count": (24, "I"),
    "initial offset": (28, "I"),
    "compare": (32, "B"),
    "reset": (33, "B"),
    "rounding": (34, "B"),
    "readout": (35, "B"),
    "membrane min": (36, "i"),
    "membrane max": (40, "i"),
    "budget": (44, "I"),
    "first projection": (48, "H"),
    "projection count": (50, "H"),
    "current rounding": (52, "B"),
    "adaptation rounding": (53, "B"),
    "table count": (54, "H"),
    "table offset": (56, "I"),
    "index min": (60, "h"),
    "level shift": (62, "B"),
    "reserved": (63, "B"),
}
PROJECTION = {
    "kind": (0, "B"),
    "weight bits": (1, "B"),
    "delay": (2, "B"),
    "shift": (3, "B"),
    "source": (4, "H"),
    "target": (6, "H"),
    "kernel height": (8, "H"),
    "kernel width": (10, "H"),
    "stride down": (12, "H"),
    "stride across": (14, "H"),
    "dilation down": (16, "H"),
    "dilation across": (18, "H"),
    "padding top": (20, "H"),
    "padding left": (22, "H"),
    "groups": (24, "H"),
    "reserved": (26, "H"),
    "weight offset": (28, "I"),
    "weight stride": (32, "I"),
    "reserved 2": (36, "B"),
}
INPUT = {
    "kind": (0, "B"),
    "polarities": (1, "B"),
    "slices": (2, "H"),
    "height": (4, "H"),
    "width": (6, "H"),
    "tick us": (8, "I"),
    "window ticks": (12, "I"),
    "slice ticks": (16, "I"),
    "saturation": (20, "H"),
    "exit first": (22, "H"),
    "exit every": (24, "I"),
    "exit margin": (28, "I"),
    "table": (32, "h"),
}
TEST = {
    "events": (0, "I"),
    "scores": (4, "I"),
    "digest": (8, "I"),
    "reserved": (12, "I"),
    "tick": (16, "I"),
    "x": (20, "H"),
    "y": (22, "H"),
    "channel": (24, "H"),
    "value": (26, "h"),
    "last tick": (28, "I"),
}
SECTIONS = ("POPS", "PROJ", "PARM", "WGTS", "INIT", "INPT", "META", "TEST")


class ModelFile:
    """The bytes of a model file, open to changes."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)

    def field(self, start: int, field: tuple[int, str]) -> tuple[int, str]:
        return start + field[0], "<" + field[1]

    def get(self, start: int, field: tuple[int, str]) -> int:
        offset, form = self.field(start, field)
        (value,) = struct.unpack_from(form, self.data, offset)
        return int(value)

    def put(self, start: int, field: tuple[int, str], value: int) -> None:
        offset, form = self.field(start, field)
        struct.pack_into(form, self.data, offset, value)

    def entry(self, section: str) -> int:
        """Where a section's record in the table is."""
        return 80 + 16 * SECTIONS.index(section)

    def start(self, section: str) -> int:
        return self.get(self.entry(section), SECTION["offset"])

    def size(self, section: str) -> int:
        return self.get(self.entry(section), SECTION["size"])

    def header(self, name: str, value: int) -> None:
        self.put(0, HEADER[name], value)

    def section(self, section: str, name: str, value: int) -> None:
        self.put(self.entry(section), SECTION[name], value)

    def population(self, number: int, **fields: int) -> None:
        for name, value in fields.items():
            self.put(self.start("POPS") + 64 * number, POPULATION[name.replace("_", " ")], value)

    def projection(self, number: int, **fields: int) -> None:
        for name, value in fields.items():
            self.put(self.start("PROJ") + 48 * number, PROJECTION[name.replace("_", " ")], value)

    def input(self, **fields: int) -> None:
        for name, value in fields.items():
            self.put(self.start("INPT"), INPUT[name.replace("_", " ")], value)

    def test(self, **fields: int) -> None:
        for name, value in fields.items():
            self.put(self.start("TEST"), TEST[name.replace("_", " ")], value)

    def parameter(self, number: int, index: int, value: int) -> None:
        """Element `index` of all parameter arrays of a population."""
        offset = self.get(self.start("POPS") + 64 * number, POPULATION["parameter offset"])
        self.put(self.start("PARM") + offset, (4 * index, "i"), value)

    def entry_of_table(self, number: int, form: str, index: int, value: int) -> None:
        """An entry of an activation's table; `form` is that of a level."""
        offset = self.get(self.start("POPS") + 64 * number, POPULATION["table offset"])
        self.put(self.start("PARM") + offset, (struct.calcsize(form) * index, form), value)

    def initial(self, number: int, offset: int, form: str, value: int) -> None:
        """A value `offset` bytes into a population's initial state table."""
        start = self.get(self.start("POPS") + 64 * number, POPULATION["initial offset"])
        self.put(self.start("INIT") + start, (offset, form), value)

    def repair(self) -> None:
        """Make all checksums those of the present bytes."""
        count = self.get(0, HEADER["sections"])
        for entry in range(80, 80 + 16 * count, 16):
            offset, size = self.get(entry, SECTION["offset"]), self.get(entry, SECTION["size"])
            self.put(entry, SECTION["crc"], zlib.crc32(self.data[offset : offset + size]))
        self.header("crc", 0)
        self.header("crc", zlib.crc32(self.data[: 80 + 16 * count]))


def values(shape: tuple[int, ...], low: int = 0, high: int = 0) -> Any:
    """Repeatable numbers from low to high."""
    return (np.arange(int(np.prod(shape))) % (high - low + 1) + low).astype(np.int32).reshape(shape)


def with_self_test(graph: Graph, rows: list[tuple[int, int, int, int, int]]) -> Graph:
    events = np.array(rows, CORE_EVENT)
    network = ReferenceNetwork(graph)
    network.push(events)
    network.finish()
    digest = zlib.crc32(network.output().astype("<i4").tobytes())
    return Graph(
        graph.populations,
        graph.projections,
        graph.input,
        graph.metadata,
        graph.source_hash,
        SelfTest(events, digest),
    )


def activation(shape: tuple[int, int, int], high: int = 255, bits: int = 32) -> Population:
    """At rest at level 0 without input."""
    zeros = values(shape)
    return Population("", shape, Activation(np.full(shape[2], 10, np.int32), 0, high), zeros, zeros, bits)


def level_model() -> bytes:
    """Level input 0, convolution to 1, max pool 2, sum pool to 3, one to one to 4, dense to 5."""
    populations = (
        Population("in", (4, 4, 2), LevelInput(0, 255), None, values((4, 4, 2), 0, 2)),
        activation((4, 4, 4), bits=16),
        Population("pool", (2, 2, 4), MaxPool(0, 255), None, values((2, 2, 4))),
        activation((1, 1, 4), high=300),
        activation((1, 1, 4), high=300),
        Population("out", (1, 1, 3), Accumulator(), values((1, 1, 3), -1, 1), None, 32),
    )
    convolution = Convolution(np.ones((2, 3, 3, 2), np.int8), padding=(1, 1), groups=2)
    projections = (
        Projection(0, 1, convolution),
        Projection(1, 2, MaxPoolWindow((2, 2), (2, 2))),
        Projection(2, 3, SumPool((2, 2), (1, 1))),
        Projection(3, 4, OneToOne(np.array([1, 2, -3, 400], np.int16))),
        Projection(3, 5, Dense(np.ones((4, 3), np.int8))),
        Projection(4, 5, Dense(np.ones((4, 3), np.int8))),
    )
    graph = Graph(populations, projections, InputSpec(10, 20), {"populations": []})
    return encode_model(with_self_test(graph, [(0, 1, 2, 0, 5), (3, 1, 2, 0, 50)]))


def spiking_model() -> bytes:
    """Spike input 0, convolution to 1 with decay, dense to 2 with drive."""

    def spiking(channels: int, drive: int) -> IntegrateAndFire:
        return IntegrateAndFire(
            threshold=np.full(channels, 50, np.int32),
            decay=np.full(channels, 1 << 29, np.int32),
            drive=np.full(channels, drive, np.int32),
            reset_value=np.zeros(channels, np.int32),
            compare=Compare.GREATER,
            reset=Reset.SUBTRACT,
            rounding=Rounding.NEAREST,
            max_spikes=3,
            membrane_min=-100,
            membrane_max=100,
        )

    populations = (
        Population("in", (4, 4, 2), SpikeInput(-1, 1, 30)),
        Population("middle", (4, 4, 4), spiking(4, 0), values((4, 4, 4), 0, 50), None, 32),
        Population("out", (1, 1, 3), spiking(3, 1), values((1, 1, 3), -5, 5), None, 32),
    )
    projections = (
        Projection(0, 1, Convolution(np.full((2, 3, 3, 4), 9, np.int8), padding=(1, 1)), shift=2),
        Projection(1, 2, Dense(np.full((64, 3), 5, np.int8))),
    )
    graph = Graph(populations, projections, InputSpec(1000, 0), {"populations": []})
    return encode_model(with_self_test(graph, [(0, 1, 2, 0, 1), (3, 1, 2, 1, -1)]))


def recurrent_model() -> bytes:
    """Spike input 0; 1 has all that goes with a current and reaches itself; 2 never fires."""

    def spiking(**more: Any) -> IntegrateAndFire:
        half, zero = np.full(3, 1 << 29, np.int32), np.zeros(3, np.int32)
        return IntegrateAndFire(
            threshold=np.full(3, 50, np.int32),
            decay=half,
            drive=zero,
            reset_value=zero,
            compare=Compare.GREATER,
            reset=Reset.TO_VALUE,
            rounding=Rounding.NEAREST,
            membrane_min=-100,
            membrane_max=100,
            current=SynapticCurrent(half, zero, Rounding.TOWARD_ZERO),
            **more,
        )

    zero, half = np.zeros(3, np.int32), np.full(3, 1 << 29, np.int32)
    adaptation = Adaptation(half, half, Rounding.FLOOR)
    middle = spiking(max_spikes=1, adaptation=adaptation, refractory=2)
    out = spiking(max_spikes=0, reset_delayed=True, readout=Readout.GREATEST_MEMBRANE)
    populations = (
        Population("in", (1, 1, 3), SpikeInput(-1, 1, 30)),
        Population("middle", (1, 1, 3), middle, zero.reshape(1, 1, 3), None, 32),
        Population("out", (1, 1, 3), out, zero.reshape(1, 1, 3), None, 32),
    )
    weight = Dense(np.full((3, 3), 60, np.int8))
    projections = (
        Projection(0, 1, weight),
        Projection(1, 1, weight, delay=1),
        Projection(1, 2, weight, delay=3),
    )
    graph = Graph(populations, projections, InputSpec(1000, 0), {"populations": []})
    return encode_model(with_self_test(graph, [(0, 0, 0, 0, 1), (3, 0, 0, 1, -1)]))


def counting_model() -> bytes:
    """Input 0 that counts two polarities in two slices, dense to the output."""
    table = values((4, 16), 0, 15).astype(np.int16)
    populations = (
        Population("in", (3, 5, 4), LevelInput(0, 15), None, values((3, 5, 4))),
        Population("out", (1, 1, 3), Accumulator(), values((1, 1, 3)), None, 32),
    )
    projections = (Projection(0, 1, Dense(np.ones((60, 3), np.int8))),)
    spec = InputSpec(1000, 20, EventCounts(2, 2, 10, 15, table))
    graph = Graph(populations, projections, spec, {"populations": []})
    return encode_model(with_self_test(graph, [(0, 1, 2, 0, 1), (12, 1, 2, 1, 3)]))


def small_model(*middle: Population, projections: tuple[Projection, ...], first: Any) -> bytes:
    """Three input neurons and three outputs."""
    levels = values((1, 1, 3)) if isinstance(first, LevelInput) else None
    populations = (
        Population("in", (1, 1, 3), first, None, levels),
        *middle,
        Population("out", (1, 1, 3), Accumulator(), values((1, 1, 3)), None, 32),
    )
    return encode_model(Graph(populations, projections, InputSpec(1, 0), {"populations": []}))


SMALL_DENSE = Dense(np.ones((3, 3), np.int8))
SMALL_POOL = Population("pool", (1, 1, 3), MaxPool(0, 15), None, values((1, 1, 3)))
SMALL_WINDOW = MaxPoolWindow((1, 1), (1, 1))


def forked_model() -> bytes:
    """0 to 1, 0 to 2, 1 to 2."""
    projections = (
        Projection(0, 1, SMALL_DENSE),
        Projection(0, 2, SMALL_DENSE),
        Projection(1, 2, SMALL_DENSE),
    )
    return small_model(activation((1, 1, 3)), projections=projections, first=LevelInput(0, 15))


def pooled_model(windows: int = 1, first: Any = None) -> bytes:
    """A max pool directly on the input. More windows than one, or spikes, make it invalid."""
    pooled = (Projection(0, 1, SMALL_WINDOW),) * windows
    projections = (*pooled, Projection(1, 2, SMALL_DENSE))
    return small_model(SMALL_POOL, projections=projections, first=first or LevelInput(0, 15))


def plain_spiking_model() -> bytes:
    """Spikes that are added up."""
    return small_model(projections=(Projection(0, 1, SMALL_DENSE),), first=SpikeInput(0, 15, 30))


def table_model() -> bytes:
    """Level input 0, then tables: of narrow levels for all channels in 1, of wide ones by channel in 2."""

    def with_table(low: int, high: int, table: LevelTable, shift: int) -> Population:
        neuron = Activation(np.full(3, 4, np.int32), low, high, shift, table)
        zero = np.zeros((1, 1, 3), np.int64)
        levels = level(neuron, zero).astype(np.int32)
        return Population("", (1, 1, 3), neuron, values((1, 1, 3)), levels, 32)

    narrow = LevelTable(-2, np.array([[5, -3, 0, 7, 9]], np.int16))
    wide = LevelTable(0, np.arange(-6, 6, dtype=np.int16).reshape(3, 4) * 50)
    middle = (with_table(-3, 9, narrow, 3), with_table(-300, 300, wide, 0))
    projections = tuple(Projection(number, number + 1, SMALL_DENSE) for number in range(3))
    return small_model(*middle, projections=projections, first=LevelInput(0, 15))


def single_model() -> bytes:
    """One score."""
    one = (1, 1, 1)
    first = Population("", one, SpikeInput(0, 15, 30))
    last = Population("", one, Accumulator(), values(one), None, 32)
    weight = Dense(np.ones((1, 1), np.int8))
    return encode_model(
        Graph((first, last), (Projection(0, 1, weight),), InputSpec(1, 0), {"populations": []})
    )


MODELS = {
    "single": single_model,
    "level": level_model,
    "spiking": spiking_model,
    "recurrent": recurrent_model,
    "counting": counting_model,
    "forked": forked_model,
    "pooled": pooled_model,
    "plain spiking": plain_spiking_model,
    "table": table_model,
}
