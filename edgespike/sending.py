"""What events cost in projections, in kinds of operations: see `edgespike/operations.py`.

This module mirrors es_project.c and es_kernel.c, and changes with them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgespike.graph import (
    Convolution,
    Dense,
    Graph,
    MaxPoolWindow,
    OneToOne,
    Population,
    Projection,
    SumPool,
)
from edgespike.operations import Counts, Term, decays, has_only_route, quotient_digits, touching
from edgespike.work import joined

__all__ = ["sending"]

Window = Convolution | SumPool | MaxPoolWindow
Reached = tuple[Counts, Counts]  # how many rows and columns of targets each source reaches


def sending(graph: Graph, projection: Projection, wide: bool) -> Iterator[Term]:
    """What groups of events cost in a projection.

    Args:
        wide: some value of the group, shifted, needs more than 16 bits.
    """
    source, target = graph.populations[projection.source], graph.populations[projection.target]
    connection = projection.connection
    joins = joined(connection, source.shape, target.shape)
    rows, columns, _ = joins.fan_outs
    ones = (np.ones(source.shape[0], np.int64), np.ones(source.shape[1], np.int64))
    if not has_only_route(graph, projection.source):
        yield Term("route", *ones)
    if projection.delay:
        yield Term("delayed", *ones)
    elif decays(target):
        yield Term(touching(target), rows, columns)
    if isinstance(connection, Dense):
        yield Term("dense", *ones)
        yield Term("term", *ones, "each")
        lengths = np.full_like(ones[1], target.shape[2])
        yield from _vectors(target, ones, lengths, connection.weight_bits, wide)
    elif isinstance(connection, OneToOne):
        yield Term("one to one", *ones)
        yield Term("one to one value", *ones, "each")
    elif isinstance(connection, Convolution):
        yield Term("term", *ones, "each")
        yield from _convolution(source, target, connection, (rows, columns), wide)
    else:
        yield from _pool(source, target, connection, (rows, columns))


def _convolution(
    source: Population,
    target: Population,
    connection: Convolution,
    reached: Reached,
    wide: bool,
) -> Iterator[Term]:
    """Rows of targets at a time, or pixels."""
    rows, columns = reached
    length = target.shape[2] // connection.groups
    if _is_seamless(target, connection):
        yield Term("convolution in rows", np.ones_like(rows), np.ones_like(columns))
        runs = (rows, np.minimum(columns, 1))
        yield Term("run", *runs)
        yield from _vectors(target, runs, columns * length, connection.weight_bits, wide)
        return
    yield from _walk("convolution", source, connection, reached)
    if connection.groups > 1:
        yield from _grouped_vectors(target, reached, length, connection.weight_bits, wide)
    else:
        lengths = np.full_like(columns, length)
        yield from _vectors(target, reached, lengths, connection.weight_bits, wide)


def _pool(
    source: Population,
    target: Population,
    connection: SumPool | MaxPoolWindow,
    reached: Reached,
) -> Iterator[Term]:
    """At most one target, or all that a walk through the window finds."""
    if _is_partition(connection):
        ones = (np.ones_like(reached[0]), np.ones_like(reached[1]))
        yield Term("pool", *ones)
        yield Term("quotient digit", _digits_of_taps(connection, source.shape[0], 0), ones[1])
        yield Term("quotient digit", ones[0], _digits_of_taps(connection, source.shape[1], 1))
        yield Term("pool pixel", *reached)
    else:
        yield from _walk("pool", source, connection, reached)
    if isinstance(connection, SumPool):
        yield Term("sum pool", *reached)
        yield Term(f"{target.accumulator_bits}-bit sum pool value", *reached, "each")


def _walk(name: str, source: Population, connection: Window, reached: Reached) -> Iterator[Term]:
    """Through the kernel's positions to each target pixel."""
    rows, columns = reached
    ones = (np.ones_like(rows), np.ones_like(columns))
    yield Term(f"walk of a {name}", *ones)
    yield Term(f"{name} step down", _steps(connection, source.shape[0], 0), ones[1])
    yield Term("quotient digit", _digits_of_taps(connection, source.shape[0], 0), ones[1])
    yield Term(f"{name} row", rows, ones[1])
    yield Term(f"{name} step across", rows, _steps(connection, source.shape[1], 1))
    yield Term("quotient digit", rows, _digits_of_taps(connection, source.shape[1], 1))
    yield Term(f"walked {name} pixel", rows, columns)


def _is_seamless(target: Population, connection: Convolution) -> bool:
    """Whether weight vectors for target pixels side by side lie side by side."""
    step = 2 if connection.weight_bits == 4 else 4
    return (
        connection.stride == connection.dilation == (1, 1)
        and connection.groups == 1
        and target.shape[2] % step == 0
        and (connection.weight_bits != 4 or target.accumulator_bits == 16)
    )


def _is_partition(connection: SumPool | MaxPoolWindow) -> bool:
    """Whether no two windows share a source."""
    kernel, stride = connection.kernel, connection.stride
    return kernel[0] <= stride[0] and kernel[1] <= stride[1] and connection.dilation == (1, 1)


def _steps(connection: Window, size: int, axis: int) -> Counts:
    """Kernel positions that the core walks through for each source row or column."""
    kernel = connection.weight.shape[1:3] if isinstance(connection, Convolution) else connection.kernel
    distance = np.arange(size) + connection.padding[axis]
    return np.minimum(kernel[axis], distance // connection.dilation[axis] + 1)


def _digits_of_taps(connection: Window, size: int, axis: int) -> Counts:
    """Of the division that finds the first target of each source row or column."""
    return quotient_digits((np.arange(size) + connection.padding[axis]) // connection.stride[axis])


# ---- kernels -----------------------------------------------------------------


def _vectors(
    target: Population, runs: Reached, lengths: Counts, weight_bits: int, wide: bool
) -> Iterator[Term]:
    """A call for each run of targets, ``lengths`` by source column: terms two by two, and the last one.

    Processors with vector instructions take four words of accumulators at a time, and the rest singly.
    """
    rows, columns = runs
    bits = target.accumulator_bits
    yield Term("kernel call", *runs)
    if weight_bits == 4:
        yield Term(f"{bits}-bit vector of 4-bit weights", *runs, "each")
        yield Term(f"{bits}-bit 4-bit weight", rows, columns * lengths, "each")
        return
    if bits == 32 and wide:
        yield Term("wide vector", *runs, "each")
        yield Term("wide weight", rows, columns * lengths, "each")
        return
    if bits == 16 and lengths.max() % 2:
        yield from _one_by_one(runs, int(lengths.max()))
        return
    words = lengths if bits == 32 else lengths // 2
    name = f"{bits}-bit" if bits == 32 or weight_bits == 8 else "16-bit word"
    for terms, size in (("pair", "pairs"), ("one", "odd")):
        yield Term(f"{name} {terms}", *runs, size)
        yield Term(f"{name} {terms}: in fours", rows, columns * (words >= 4), size)
        yield Term(f"{name} {terms}: four", rows, columns * (words // 4), size)
        yield Term(f"{name} {terms}: with a rest", rows, columns * (words % 4 > 0), size)
        yield Term(f"{name} {terms}: rest", rows, columns * (words % 4), size)


def _grouped_vectors(
    target: Population, pixels: Reached, length: int, weight_bits: int, wide: bool
) -> Iterator[Term]:
    """A call for each event: a group has a vector of its own."""
    bits = target.accumulator_bits
    yield Term("grouped kernel call", *pixels, "each")
    if bits == 16 and length % 2:
        yield from _one_by_one(pixels, length)
    elif weight_bits == 4:
        yield Term(f"{bits}-bit vector of 4-bit weights", *pixels, "each")
        yield Term(f"{bits}-bit 4-bit weight", *pixels, "each", length)
    elif bits == 32 and wide:
        yield Term("wide vector", *pixels, "each")
        yield Term("wide weight", *pixels, "each", length)
    else:
        words = length if bits == 32 else length // 2
        name = f"{bits}-bit" if bits == 32 or weight_bits == 8 else "16-bit word"
        yield Term(f"{name} one", *pixels, "each")
        yield Term(f"{name} one: in fours", *pixels, "each", words >= 4)
        yield Term(f"{name} one: four", *pixels, "each", words // 4)
        yield Term(f"{name} one: with a rest", *pixels, "each", words % 4 > 0)
        yield Term(f"{name} one: rest", *pixels, "each", words % 4)


def _one_by_one(pixels: Reached, length: int) -> Iterator[Term]:
    """Vectors of odd length into accumulators of 2 bytes."""
    yield Term("vector one by one", *pixels, "each")
    yield Term("weight one by one", *pixels, "each", length)
