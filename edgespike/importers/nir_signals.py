"""What leaves a NIR node: a sum of linear maps of populations, and what later nodes do to it.

Everything here is exact. What no map of ours can say is a `NotLinear`, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgespike.graph import Shape
from edgespike.importers.network import Convolution, Dense, Scale
from edgespike.importers.spiking_network import Map, scaled
from edgespike.linear_maps import convolve

Array = NDArray[np.float64]
MOST_WEIGHTS = 1 << 26  # of a map that has to be worked out
ROWS = 256  # of it at a time


class NotLinear(Exception):
    """Why a signal cannot be had."""


@dataclass(frozen=True)
class Term:
    """A map of what a population sends, ``delay`` seconds late.

    A Scale has a weight for every neuron, (height, width, channels).
    """

    source: int
    map: Map
    delay: float = 0.0


@dataclass(frozen=True)
class Signal:
    """The sum of its terms, and a constant.

    ``shape`` is (height, width, channels), ``nir_shape`` what NIR calls it: channels
    first, or flattened. Element number k in C order of (channels, height, width) is
    element number k of ``nir_shape``.
    """

    terms: tuple[Term, ...]
    bias: Array
    shape: Shape
    nir_shape: tuple[int, ...]

    @property
    def is_plain(self) -> bool:
        """No weight, no bias and no delay yet."""
        return not self.bias.any() and all(
            isinstance(term.map, Scale) and bool((term.map.weight == 1).all()) and term.delay == 0
            for term in self.terms
        )

    @property
    def is_unweighted(self) -> bool:
        """Only factors and delays so far."""
        return not self.bias.any() and all(isinstance(term.map, Scale) for term in self.terms)

    @property
    def order(self) -> NDArray[np.int64]:
        """Which neuron, in (height, width, channels) order, each of NIR's elements is."""
        height, width, channels = self.shape
        index = np.arange(math.prod(self.shape)).reshape(height, width, channels)
        return index.transpose(2, 0, 1).reshape(-1)


def plain(source: int, shape: Shape, nir_shape: tuple[int, ...]) -> Signal:
    """What a population sends."""
    return Signal((Term(source, Scale(np.ones(shape))),), np.zeros(shape), shape, nir_shape)


def silence(shape: Shape, nir_shape: tuple[int, ...]) -> Signal:
    """Nothing."""
    return Signal((), np.zeros(shape), shape, nir_shape)


def times(signal: Signal, factor: Array) -> Signal:
    """With a factor for each neuron, (height, width, channels)."""
    terms = tuple(replace(term, map=_factored(term.map, factor)) for term in signal.terms)
    return replace(signal, terms=terms, bias=signal.bias * factor)


def _factored(term: Map, factor: Array) -> Map:
    if isinstance(term, Scale):
        return Scale(term.weight * factor)
    return scaled(term, by_channel(factor))


def by_channel(values: Array) -> Array:
    """Values that are the same all over a channel, as an array of channels."""
    if (values != values[:1, :1]).any():
        raise NotLinear("it differs within a channel, where a convolution or a neuron follows or precedes it")
    return np.asarray(values[0, 0])


def delayed(signal: Signal, delay: Array) -> Signal:
    """Later, by a time for each neuron; what is constant stays as it is.

    Neurons of the same delay share a term, in which all others have weight 0.
    """
    terms = []
    for each in np.unique(delay):
        mask = (delay == each).astype(np.float64)
        later = signal if mask.all() else times(replace(signal, bias=np.zeros(signal.shape)), mask)
        terms += [replace(term, delay=term.delay + float(each)) for term in later.terms]
    return replace(signal, terms=tuple(terms))


def through_dense(signal: Signal, weight: Array, sizes: dict[int, Shape]) -> Signal:
    """Multiplied by a matrix (neurons, outputs): a vector.

    Args:
        signal: of any shape.
        weight: rows in (height, width, channels) order.
        sizes: shapes of the populations by number.
    """
    outputs = weight.shape[1]
    terms = tuple(
        replace(term, map=Dense(_product(term.map, sizes[term.source], signal.shape, weight)))
        for term in signal.terms
    )
    bias = (signal.bias.reshape(-1) @ weight).reshape(1, 1, outputs)
    return Signal(terms, bias, (1, 1, outputs), (outputs,))


def _product(first: Map, source: Shape, middle: Shape, weight: Array) -> Array:
    if isinstance(first, Scale):
        return first.weight.reshape(-1, 1) * weight
    if isinstance(first, Dense):
        return first.weight @ weight
    assert isinstance(first, Convolution)
    size = math.prod(source)
    if size * weight.shape[1] > MOST_WEIGHTS:
        raise NotLinear(f"worked out together with the convolution before it, it has {size} inputs")
    return np.concatenate([rows @ weight for rows in _rows(first, source, middle)])


def _rows(convolution: Convolution, source: Shape, target: Shape) -> Iterator[Array]:
    """The matrix of a convolution, some rows at a time."""
    size = math.prod(source)
    for start in range(0, size, ROWS):
        count = min(ROWS, size - start)
        ones = np.eye(count, size, start).reshape(count, *source)
        window = (convolution.stride, convolution.dilation, convolution.padding)
        out = convolve(ones, convolution.weight, target[:2], *window, convolution.groups)
        yield out.reshape(count, -1)


def as_vector(signal: Signal, sizes: dict[int, Shape]) -> Signal:
    """A flattened map as a vector in NIR's order."""
    if signal.shape[:2] == (1, 1) or len(signal.nir_shape) != 1:
        return signal
    size = math.prod(signal.shape)
    if size * size > MOST_WEIGHTS:
        raise NotLinear(f"a vector of {size} meets another one that comes from no map")
    return through_dense(signal, np.eye(size)[:, signal.order], sizes)


def total(signals: list[Signal], sizes: dict[int, Shape]) -> Signal:
    """Edges that meet add up."""
    if len({signal.shape for signal in signals}) > 1:
        signals = [as_vector(signal, sizes) for signal in signals]
    first = signals[0]
    if any(signal.shape != first.shape for signal in signals):
        raise NotLinear("what meets here has its axes flattened differently")
    terms = tuple(term for signal in signals for term in signal.terms)
    return replace(first, terms=terms, bias=np.sum([signal.bias for signal in signals], axis=0))


def through_convolution(
    signal: Signal, connection: Convolution, bias: Array, shape: Shape, nir_shape: tuple[int, ...]
) -> Signal:
    """Convolved, with a bias for each channel."""
    if not signal.is_unweighted:
        raise NotLinear("a second weighted node without a neuron between: multiply them")
    terms = []
    for term in signal.terms:
        assert isinstance(term.map, Scale)
        factor = by_channel(term.map.weight)[:, None, None, None]
        terms.append(replace(term, map=replace(connection, weight=connection.weight * factor)))
    return Signal(tuple(terms), np.broadcast_to(bias, shape).copy(), shape, nir_shape)


def through_pool(
    signal: Signal, kernel: tuple[int, int], stride: tuple[int, int], size: tuple[int, int]
) -> Signal:
    """Convolved, then summed up over windows without padding: one convolution."""
    terms = []
    for term in signal.terms:
        if not isinstance(term.map, Convolution):
            raise NotLinear("a pool behind weights that are no convolution")
        terms.append(replace(term, map=_pooled(term.map, kernel, stride)))
    channels = signal.shape[2]
    bias = signal.bias[:1, :1] * (kernel[0] * kernel[1])
    if (signal.bias != signal.bias[:1, :1]).any():
        raise NotLinear("a pool of biases that differ within a channel")
    shape = (*size, channels)
    return Signal(tuple(terms), np.broadcast_to(bias, shape).copy(), shape, (channels, *size))


def _pooled(term: Convolution, kernel: tuple[int, int], stride: tuple[int, int]) -> Convolution:
    """The one convolution that a convolution followed by a sum pool without padding is.

    ``y[i] = sum_a c[i * stride + a]`` and ``c[j] = sum_b w[b] x[j * s + b * d - p]`` give
    kernel positions ``a * s + b * d``, stride ``stride * s``.
    """
    channels, height, width, outputs = term.weight.shape
    (down, across), (dy, dx) = term.stride, term.dilation
    size = ((kernel[0] - 1) * down + (height - 1) * dy + 1, (kernel[1] - 1) * across + (width - 1) * dx + 1)
    weight = np.zeros((channels, *size, outputs))
    for ay in range(kernel[0]):
        for ax in range(kernel[1]):
            rows = slice(ay * down, ay * down + (height - 1) * dy + 1, dy)
            columns = slice(ax * across, ax * across + (width - 1) * dx + 1, dx)
            weight[:, rows, columns] += term.weight
    return Convolution(weight, (down * stride[0], across * stride[1]), (1, 1), term.padding, term.groups)


def factors(signal: Signal) -> list[tuple[Array, float]]:
    """Factors by channel and delays that all sources of an unweighted signal have alike.

    Pools and the like take what the sources send, and these come after.
    """
    by_source: dict[int, list[tuple[Array, float]]] = {}
    for term in signal.terms:
        assert isinstance(term.map, Scale)
        by_source.setdefault(term.source, []).append((by_channel(term.map.weight), term.delay))
    first, *others = by_source.values()
    for other in others:
        alike = len(other) == len(first) and all(
            delay == d and np.array_equal(weight, w)
            for (weight, delay), (w, d) in zip(first, other, strict=False)
        )
        if not alike:
            raise NotLinear("a pool of what has different weights or delays")
    return first
