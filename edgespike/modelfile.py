"""Writes and reads ``.esg`` model files. The bytes are described in docs/format.md."""

from __future__ import annotations

import json
import os
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgespike.arena import align, level_bytes, one_shot_bytes, streaming_bytes
from edgespike.errors import EdgespikeError, ModelError
from edgespike.graph import (
    CORE_EVENT,
    Accumulator,
    Activation,
    Adaptation,
    Compare,
    Connection,
    Convolution,
    Dense,
    EarlyExit,
    EventCounts,
    Graph,
    InputSpec,
    IntegrateAndFire,
    LevelInput,
    LevelTable,
    MaxPool,
    MaxPoolWindow,
    Neuron,
    OneToOne,
    Population,
    Projection,
    Readout,
    Reset,
    Rounding,
    SelfTest,
    Shape,
    SpikeInput,
    SumPool,
    SynapticCurrent,
)

__all__ = ["alike", "decode_model", "encode_model", "read_model", "write_model"]

Values = NDArray[np.int32]

MAGIC = b"\x89ESG\r\n\x1a\n"
VERSION = (2, 0)
SECTIONS = ("POPS", "PROJ", "PARM", "WGTS", "INIT", "INPT", "META", "TEST")
HEADER = struct.Struct("<8sHHIIHHHHII12x32s")
SECTION = struct.Struct("<4sIII")
POPULATION = struct.Struct("<BBBBHHHHiiIIIBBBBiiIHHBBHIhBx")
PROJECTION = struct.Struct("<BBBBHHHHHHHHHHHxxII12x")
INPUT = struct.Struct("<BBHHHIIIHHII")
TEST = struct.Struct("<III4x")
TEST_MOST = 4096  # events of a self-test, and ticks in which it ends
NEURON_KINDS = (LevelInput, SpikeInput, Activation, MaxPool, Accumulator, IntegrateAndFire)
CONNECTION_KINDS = (Dense, Convolution, SumPool, OneToOne, MaxPoolWindow)


def write_model(graph: Graph, path: str | os.PathLike[str]) -> int:
    """Write a model file and return its size in bytes.

    The file appears whole or not at all.
    """
    data = encode_model(graph)
    write_whole(path, data)
    return len(data)


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file that appears whole or not at all: it is written beside and renamed."""
    target = Path(path)
    try:
        descriptor, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        hint = "choose a folder that exists and that you may write to"
        raise EdgespikeError(f"cannot write {target}: {error.strerror}", hint, "file") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(beside).chmod(0o644)
        Path(beside).replace(target)
    except OSError as error:
        hint = "free some space or choose another folder"
        raise EdgespikeError(f"cannot write {target}: {error.strerror}", hint, "file") from error
    finally:
        Path(beside).unlink(missing_ok=True)


def read_model(path: str | os.PathLike[str]) -> Graph:
    """Read and check a model file.

    Raises:
        ModelError: the file is missing, is no model, or is corrupted.
    """
    return decode_model(read_model_bytes(path))


def read_model_bytes(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a model file, unchecked."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ModelError(
            f"cannot read the model {path}: {error.strerror}", "check the path", "model-missing"
        ) from error


# ---- writing ----------------------------------------------------------------


class _Blob:
    """A section that grows: parts start at multiples of `alignment`."""

    def __init__(self, alignment: int) -> None:
        self.data = bytearray()
        self.alignment = alignment
        self.offsets: dict[bytes, int] = {}

    def add(self, part: bytes) -> int:
        self.data += bytes(-len(self.data) % self.alignment)
        offset = len(self.data)
        self.data += part
        return offset

    def add_once(self, part: bytes) -> int:
        """Add a part that other records may share."""
        if part not in self.offsets:
            self.offsets[part] = self.add(part)
        return self.offsets[part]


def encode_model(graph: Graph) -> bytes:
    """The bytes of a model file."""
    parameters, weights, initial = _Blob(4), _Blob(16), _Blob(16)
    populations = b"".join(
        _encode_population(graph, number, parameters, initial) for number in range(len(graph.populations))
    )
    projections = b"".join(
        _encode_projection(projection, graph.populations[projection.target], weights)
        for projection in graph.projections
    )
    bodies = (
        populations,
        projections,
        bytes(parameters.data),
        bytes(weights.data),
        bytes(initial.data),
        _encode_input(graph),
        json.dumps(graph.metadata, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode(),
        _encode_self_test(graph.self_test, graph.populations[-1].size),
    )
    return _assemble(graph, bodies)


def _assemble(graph: Graph, bodies: tuple[bytes, ...]) -> bytes:
    table = b""
    content = bytearray()
    start = align(HEADER.size + SECTION.size * len(SECTIONS))
    for name, body in zip(SECTIONS, bodies, strict=True):
        content += bytes(-len(content) % 16)
        table += SECTION.pack(name.encode(), start + len(content), len(body), zlib.crc32(body))
        content += body

    def header(crc: int) -> bytes:
        return HEADER.pack(
            MAGIC,
            *VERSION,
            start + len(content),
            crc,
            len(SECTIONS),
            len(graph.populations),
            len(graph.projections),
            0,
            streaming_bytes(graph),
            one_shot_bytes(graph),
            graph.source_hash,
        )

    return header(zlib.crc32(header(0) + table)) + table + bytes(content)


def _encode_population(graph: Graph, number: int, parameters: _Blob, initial: _Blob) -> bytes:
    population = graph.populations[number]
    neuron = population.neuron
    counts = graph.input.event_counts if number == 0 else None
    low, high = _level_range(neuron)
    arrays = _parameter_arrays(neuron)
    spiking = neuron if isinstance(neuron, IntegrateAndFire) else None
    outgoing = [i for i, projection in enumerate(graph.projections) if projection.source == number]
    return POPULATION.pack(
        NEURON_KINDS.index(type(neuron)),
        population.accumulator_bits // 8,
        level_bytes(population, counts),
        _flags(neuron),
        *population.shape,
        spiking.refractory if spiking else 0,
        low,
        high,
        parameters.add(b"".join(array.astype("<i4").tobytes() for array in arrays)) if arrays else 0,
        len(arrays[0]) if arrays else 0,
        _encode_initial(population, counts, low, initial),
        spiking.compare if spiking else 0,
        spiking.reset if spiking else 0,
        spiking.rounding if spiking else 0,
        spiking.readout if spiking else 0,
        spiking.membrane_min if spiking else 0,
        spiking.membrane_max if spiking else 0,
        neuron.budget if isinstance(neuron, SpikeInput) else 0,
        outgoing[0] if outgoing else 0,
        len(outgoing),
        spiking.current.rounding if spiking and spiking.current else 0,
        spiking.adaptation.rounding if spiking and spiking.adaptation else 0,
        *_encode_table(neuron, level_bytes(population), parameters),
    )


def _encode_table(neuron: Neuron, bytes_of_level: int, parameters: _Blob) -> tuple[int, int, int, int]:
    """Indices, offset, first index and shift of an activation."""
    if not isinstance(neuron, Activation):
        return 0, 0, 0, 0
    if neuron.table is None:
        return 0, 0, 0, neuron.shift
    levels = neuron.table.levels.astype(np.int32) - neuron.level_min
    offset = parameters.add_once(levels.astype(f"<u{bytes_of_level}").tobytes())
    return levels.shape[1], offset, neuron.table.index_min, neuron.shift


def _flags(neuron: Neuron) -> int:
    if isinstance(neuron, Activation):
        return int(neuron.table is not None and len(neuron.table.levels) > 1)
    if not isinstance(neuron, IntegrateAndFire):
        return 0
    flags = (
        neuron.is_driven,
        neuron.current is not None,
        neuron.adaptation is not None,
        neuron.reset_delayed,
    )
    return sum(flag << bit for bit, flag in enumerate(flags))


def _level_range(neuron: Neuron) -> tuple[int, int]:
    if isinstance(neuron, SpikeInput):
        return neuron.value_min, neuron.value_max
    if isinstance(neuron, IntegrateAndFire):
        return 0, neuron.max_spikes
    if isinstance(neuron, Accumulator):
        return 0, 0
    return neuron.level_min, neuron.level_max


def _parameter_arrays(neuron: Neuron) -> list[NDArray[np.int32]]:
    if isinstance(neuron, Activation):
        return [neuron.step]
    if isinstance(neuron, IntegrateAndFire):
        arrays = [neuron.threshold, neuron.decay, neuron.drive, neuron.reset_value]
        if neuron.current:
            arrays += [neuron.current.decay, neuron.current.drive]
        if neuron.adaptation:
            arrays += [neuron.adaptation.decay, neuron.adaptation.increment]
        return arrays
    return []


class Alike(NamedTuple):
    """Rows, or columns, that are alike: the first of each class, and the class of each."""

    first: NDArray[np.intp]
    classes: NDArray[np.intp]


def alike(accumulators: Values | None, levels: Values | None) -> tuple[Alike, Alike]:
    """Which rows and columns of a population's initial values are alike; some of the two arrays is there."""
    both = np.concatenate([array for array in (accumulators, levels) if array is not None], axis=2)
    found = []
    for lines in (both, both.transpose(1, 0, 2)):
        _, first, classes = np.unique(
            lines.reshape(len(lines), -1), axis=0, return_index=True, return_inverse=True
        )
        found.append(Alike(first, classes.reshape(-1)))
    return found[0], found[1]


def _encode_initial(population: Population, counts: EventCounts | None, low: int, initial: _Blob) -> int:
    accumulators = population.initial
    levels = population.initial_level
    if counts is not None:
        levels = np.full(population.shape, low, np.int32)  # no events counted yet
    if accumulators is None and levels is None:
        return 0
    rows, columns = alike(accumulators, levels)
    pick = np.ix_(rows.first, columns.first)
    part = bytearray(struct.pack("<HH", len(rows.first), len(columns.first)))
    part += rows.classes.astype("<u2").tobytes() + columns.classes.astype("<u2").tobytes()
    if accumulators is not None:
        part += bytes(-len(part) % 16)
        part += _encode_accumulators(accumulators[pick], population.accumulator_bits)
    if levels is not None:
        part += bytes(-len(part) % 16)
        part += (levels[pick] - low).astype(f"<u{level_bytes(population, counts)}").tobytes()
    return initial.add(bytes(part))


def _encode_accumulators(values: NDArray[np.int32], bits: int) -> bytes:
    """Those of 16 bits two in a word: low + 65536 * high."""
    if bits == 16:
        if values.shape[-1] % 2:
            raise ModelError(
                "16-bit accumulators of an odd number of channels", "make them 32-bit", "model-population"
            )
        pairs = values.reshape(-1, 2).astype(np.int64)
        values = pairs[:, 0] + (pairs[:, 1] << 16)
    return values.astype("<u4" if bits == 16 else "<i4").tobytes()


def _decode_accumulators(data: bytes, count: int, offset: int, bits: int) -> NDArray[np.int32]:
    if bits == 32:
        return np.frombuffer(data, "<i4", count, offset).astype(np.int32)
    words = np.frombuffer(data, "<u4", count // 2, offset)
    pairs = np.stack([words & 0xFFFF, (words + np.uint32(0x8000)) >> 16], axis=1)
    return pairs.reshape(-1).astype(np.uint16).view(np.int16).astype(np.int32)


def _encode_projection(projection: Projection, target: Population, weights: _Blob) -> bytes:
    connection = projection.connection
    bits = offset = stride = 0
    if isinstance(connection, Dense | Convolution | OneToOne):
        bits = connection.weight_bits
        vectors = connection.weight
        if isinstance(connection, Convolution):
            vectors = vectors[:, :, ::-1]
        vectors = vectors.reshape(-1, vectors.shape[-1])
        paired = not isinstance(connection, OneToOne) and _is_paired(target, vectors.shape[1])
        if bits == 16 and not paired and not isinstance(connection, OneToOne):
            raise ModelError(
                "weights of 16 bits go into 32-bit accumulators, or into an odd number of channels",
                "store them in 8 bits",
                "model-weight",
            )
        stride, data = _encode_weights(vectors, bits, paired)
        offset = weights.add(data)
    kernel = stride_yx = dilation = padding = (0, 0)
    groups = 0
    if isinstance(connection, Convolution):
        kernel = (connection.weight.shape[1], connection.weight.shape[2])
        groups = connection.groups
    elif isinstance(connection, SumPool | MaxPoolWindow):
        kernel = connection.kernel
    if isinstance(connection, Convolution | SumPool | MaxPoolWindow):
        stride_yx, dilation, padding = connection.stride, connection.dilation, connection.padding
    return PROJECTION.pack(
        CONNECTION_KINDS.index(type(connection)),
        bits,
        projection.delay,
        projection.shift,
        projection.source,
        projection.target,
        *kernel,
        *stride_yx,
        *dilation,
        *padding,
        groups,
        offset,
        stride,
    )


def _is_paired(target: Population, length: int) -> bool:
    """Whether weight vectors of this length are in the order for two accumulators in a word."""
    return target.accumulator_bits == 16 and length % 2 == 0


def _encode_weights(vectors: NDArray[Any], bits: int, paired: bool) -> tuple[int, bytes]:
    """The weight stride and the bytes of weight vectors (vectors, length)."""
    count, length = vectors.shape
    if bits == 4:  # paired: byte j has weights 2 j and 2 j + 1, else j and j + half
        half = (length + 1) // 2
        nibbles = np.zeros((count, 2 * half), np.uint8)
        nibbles[:, :length] = vectors & 15
        low, high = (nibbles[:, 0::2], nibbles[:, 1::2]) if paired else (nibbles[:, :half], nibbles[:, half:])
        return 2 * half, (low | high << 4).tobytes()
    stride = (length + 3) // 4 * 4
    padded = np.zeros((count, stride), f"<i{bits // 8}")
    padded[:, :length] = vectors
    if bits == 8 and paired:
        low, high = padded[:, 0::2], padded[:, 1::2]
        if (high == -128).any():
            raise ModelError(
                "a weight of -128 goes into 16-bit accumulators", "make them 32-bit", "model-weight"
            )
        padded = np.stack([low, high - (low < 0)], axis=1, dtype=np.int8, casting="unsafe")
        padded = padded.reshape(count, 2, -1, 2).transpose(0, 2, 1, 3)
    if bits == 16 and paired:
        padded[:, 1::2] -= padded[:, 0::2] < 0
    return stride, padded.tobytes()


def _decode_weights(
    data: bytes, offset: int, count: int, stride: int, length: int, bits: int, paired: bool
) -> NDArray[Any]:
    """Weight vectors (vectors, length) of 4 and 8 bits as int8, of 16 as int16."""
    dtype, stored, step = f"<i{bits // 8}", length, stride
    if bits == 4:
        dtype, stored, step = "<i1", (length + 1) // 2, stride // 2
    if bits == 8:
        stored = (length + 3) // 4 * 4
    flat = np.frombuffer(data, dtype, (count - 1) * step + stored, offset)
    vectors = np.lib.stride_tricks.sliding_window_view(flat, stored)[::step]
    if bits == 4:
        low, high = vectors << 4 >> 4, vectors >> 4
        both = np.stack([low, high], axis=2) if paired else np.stack([low, high], axis=1)
        return both.reshape(count, -1)[:, :length]
    if bits == 8 and paired:
        low, high = vectors.reshape(count, -1, 2, 2).transpose(2, 0, 1, 3)
        if ((low < 0) & (high == 127)).any():
            raise ModelError("a weight is 128", "convert the network again", "model-weight")
        both = np.stack([low, high + (low < 0)], axis=3).astype(np.int8)
        return both.reshape(count, -1)[:, :length]
    if bits == 16 and paired:
        weights = vectors[:, :length].copy()
        weights[:, 1::2] += weights[:, 0::2] < 0
        if ((weights < -128) | (weights > 127)).any():
            raise ModelError("a weight needs more than 8 bits", "convert the network again", "model-weight")
        return weights.astype(np.int8)
    return vectors[:, :length].copy()


def _encode_input(graph: Graph) -> bytes:
    spec, counts = graph.input, graph.input.event_counts
    height, width, _ = graph.populations[0].shape
    record = INPUT.pack(
        int(counts is not None),
        counts.polarities if counts else 0,
        counts.slices if counts else 0,
        height,
        width,
        spec.tick_us,
        spec.window_ticks,
        counts.slice_ticks if counts else 0,
        counts.saturation if counts else 0,
        spec.early_exit.first if spec.early_exit else 0,
        spec.early_exit.every if spec.early_exit else 0,
        spec.early_exit.margin if spec.early_exit else 0,
    )
    return record + (counts.table.astype("<i2").tobytes() if counts else b"")


def self_test_events(graph: Graph, events: NDArray[Any]) -> NDArray[Any]:
    """The first events (dtype CORE_EVENT), as many as a self-test may have (docs/format.md)."""
    events = events[:TEST_MOST]
    return events if one_shot_bytes(graph) else events[events["tick"] < TEST_MOST]


def _encode_self_test(test: SelfTest | None, scores: int) -> bytes:
    if test is None:
        return b""
    return TEST.pack(len(test.events), scores, test.digest) + test.events.astype(CORE_EVENT).tobytes()


# ---- reading ----------------------------------------------------------------


def decode_model(data: bytes) -> Graph:
    """The graph in a model file's bytes; the C loader checks them first.

    Raises:
        ModelError: the bytes are no model file, or a corrupted or newer one.
    """
    from edgespike import _core

    _core.Model(data)
    header = HEADER.unpack_from(data)
    sections = {}
    for number in range(len(SECTIONS)):
        name, offset, size, _ = SECTION.unpack_from(data, HEADER.size + number * SECTION.size)
        sections[name.decode()] = data[offset : offset + size]
    spec = _decode_input(sections["INPT"])
    try:
        metadata = json.loads(sections["META"] or b"{}")
        names = [str(name) for name in metadata.get("populations", [])]
    except (ValueError, AttributeError) as error:
        raise ModelError(
            "the model's metadata is not JSON", "convert the network again", "model-metadata"
        ) from error
    populations = tuple(
        _decode_population(record, sections, names[i] if i < len(names) else str(i), spec if i == 0 else None)
        for i, record in enumerate(POPULATION.iter_unpack(sections["POPS"]))
    )
    return Graph(
        populations=populations,
        projections=tuple(
            _decode_projection(record, populations, sections["WGTS"])
            for record in PROJECTION.iter_unpack(sections["PROJ"])
        ),
        input=spec,
        metadata=metadata,
        source_hash=header[-1],
        self_test=_decode_self_test(sections["TEST"]),
    )


def _decode_population(
    record: tuple[int, ...], sections: dict[str, bytes], name: str, spec: InputSpec | None
) -> Population:
    kind, accumulator_bytes, bytes_of_level, flags, height, width, channels, refractory, *rest = record
    low, high, parameter_offset, parameter_count, initial_offset, compare, reset, rounding, *rest = rest
    readout, membrane_min, membrane_max, budget, _, _, current_rounding, adaptation_rounding, *rest = rest
    table_count, table_offset, index_min, level_shift = rest

    def parameter(number: int) -> NDArray[np.int32]:
        start = parameter_offset + 4 * parameter_count * number
        return np.frombuffer(sections["PARM"], "<i4", parameter_count, start).astype(np.int32)

    def table() -> LevelTable:
        rows = channels if flags & 1 else 1
        stored = np.frombuffer(sections["PARM"], f"<u{bytes_of_level}", rows * table_count, table_offset)
        return LevelTable(index_min, (stored.astype(np.int32) + low).astype(np.int16).reshape(rows, -1))

    neuron: Neuron
    if kind == 0:
        neuron = LevelInput(low, high)
    elif kind == 1:
        neuron = SpikeInput(low, high, budget)
    elif kind == 2:
        neuron = Activation(parameter(0), low, high, level_shift, table() if table_count else None)
    elif kind == 3:
        neuron = MaxPool(low, high)
    elif kind == 4:
        neuron = Accumulator()
    else:
        neuron = IntegrateAndFire(
            parameter(0),
            parameter(1),
            parameter(2),
            parameter(3),
            Compare(compare),
            Reset(reset),
            Rounding(rounding),
            high,
            membrane_min,
            membrane_max,
            SynapticCurrent(parameter(4), parameter(5), Rounding(current_rounding)) if flags & 2 else None,
            Adaptation(parameter(6), parameter(7), Rounding(adaptation_rounding)) if flags & 4 else None,
            refractory,
            bool(flags & 8),
            Readout(readout),
        )
    shape = (height, width, channels)
    initial, levels = _decode_initial(
        sections["INIT"], initial_offset, shape, accumulator_bytes, bytes_of_level, low
    )
    if spec is not None and spec.event_counts is not None:
        levels = np.broadcast_to(spec.event_counts.table[:, 0].astype(np.int32), shape).copy()
    return Population(name, shape, neuron, initial, levels, accumulator_bytes * 8)


def _decode_initial(
    data: bytes, offset: int, shape: Shape, accumulator_bytes: int, bytes_of_level: int, low: int
) -> tuple[NDArray[np.int32] | None, NDArray[np.int32] | None]:
    if not accumulator_bytes and not bytes_of_level:
        return None, None
    height, width, channels = shape
    rows, columns = np.frombuffer(data, "<u2", 2, offset)
    classes = np.frombuffer(data, "<u2", height + width, offset + 4)
    pick = np.ix_(classes[:height], classes[height:])
    table = (int(rows), int(columns), channels)
    position = align(4 + 2 * (height + width))
    count = table[0] * table[1] * channels
    accumulators = levels = None
    if accumulator_bytes:
        part = _decode_accumulators(data, count, offset + position, 8 * accumulator_bytes)
        accumulators = part.reshape(table)[pick]
        position = align(position + count * accumulator_bytes)
    if bytes_of_level:
        stored = np.frombuffer(data, f"<u{bytes_of_level}", count, offset + position)
        levels = stored.astype(np.int32).reshape(table)[pick] + np.int32(low)
    return accumulators, levels


def _decode_projection(
    record: tuple[int, ...], populations: tuple[Population, ...], weights: bytes
) -> Projection:
    kind, bits, delay, shift, source, target, kernel_y, kernel_x, stride_y, stride_x, *rest = record
    dilation_y, dilation_x, top, left, groups, offset, vector_stride = rest
    kernel, stride = (kernel_y, kernel_x), (stride_y, stride_x)
    dilation, padding = (dilation_y, dilation_x), (top, left)

    def vectors(count: int, length: int) -> NDArray[Any]:
        paired = kind != 3 and _is_paired(post, length)
        return _decode_weights(weights, offset, count, vector_stride, length, bits, paired)

    pre, post = populations[source], populations[target]
    connection: Connection
    if kind == 0:
        connection = Dense(vectors(pre.size, post.size), bits)
    elif kind == 1:
        length = post.shape[2] // groups
        taps = vectors(pre.shape[2] * kernel_y * kernel_x, length)
        shape = (pre.shape[2], kernel_y, kernel_x, length)
        weight = taps.reshape(shape)[:, :, ::-1].copy()
        connection = Convolution(weight, stride, dilation, padding, groups, bits)
    elif kind == 2:
        connection = SumPool(kernel, stride, padding, dilation)
    elif kind == 3:
        connection = OneToOne(vectors(1, post.shape[2])[0])
    else:
        connection = MaxPoolWindow(kernel, stride, padding, dilation)
    return Projection(source, target, connection, shift, delay)


def _decode_input(data: bytes) -> InputSpec:
    kind, polarities, slices, _, _, tick_us, window_ticks, slice_ticks, saturation, *rest = INPUT.unpack_from(
        data
    )
    first, every, margin = rest
    counts = None
    if kind == 1:
        table = (
            np.frombuffer(data, "<i2", offset=INPUT.size).astype(np.int16).reshape(slices * polarities, -1)
        )
        counts = EventCounts(polarities, slices, slice_ticks, saturation, table)
    return InputSpec(tick_us, window_ticks, counts, EarlyExit(margin, every, first) if every else None)


def _decode_self_test(data: bytes) -> SelfTest | None:
    if not data:
        return None
    count, _, digest = TEST.unpack_from(data)
    return SelfTest(np.frombuffer(data, CORE_EVENT, count, TEST.size), digest)
