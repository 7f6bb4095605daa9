"""The weights of a layer: real ones for the levels that it will see, and then integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgespike import graph
from edgespike.convert import rounding
from edgespike.convert.grouped import by_group, from_matrices, matrices, seen
from edgespike.convert.measure import Statistics
from edgespike.convert.rounding import LIMITS, ONE_TO_ONE_LIMIT
from edgespike.importers.network import Convolution, Dense, Float, Layer, Link, Scale

MOST_SOURCES = 2048  # of a target whose weights are fitted together


@dataclass(frozen=True, eq=False)
class LinkWeights:
    """Real weights of a link, times what a level of its source is worth.

    ``weight``: (groups, sources, targets), or (channels,) one to one. ``h``: of rounding.py, for
    each part of the sources that is fitted together; without, weights are rounded to nearest.
    """

    link: Link
    weight: Float
    h: tuple[Float, ...]

    def parts(self) -> list[slice]:
        """The sources that are fitted together."""
        ends = np.cumsum([0, *(part.shape[1] for part in self.h)]).tolist()
        return [slice(start, end) for start, end in pairwise(ends)]

    def least_unit(self, bits: int) -> Float:
        """By target channel, the unit that integer weights of so many bits need."""
        if isinstance(self.link.map, Scale):
            return np.abs(self.weight) / ONE_TO_ONE_LIMIT
        if bits == 8:
            return np.asarray(np.abs(self.weight).max(axis=1).ravel() / LIMITS[8])
        importance = np.concatenate([np.diagonal(h, axis1=1, axis2=2) for h in self.h], axis=1)
        return rounding.clipped_units(self.weight, importance, LIMITS[bits]).ravel()

    def total(self) -> Float:
        """By target channel, the sum of absolute weights."""
        weight = np.abs(self.weight)
        return weight if isinstance(self.link.map, Scale) else weight.sum(axis=1).ravel()

    def by_target(self) -> Float:
        """The weights as (sources, target channels)."""
        if isinstance(self.link.map, Scale):
            return self.weight[None]
        return self.weight.transpose(1, 0, 2).reshape(self.weight.shape[1], -1)

    def rounded(self, unit: Float, bits: int) -> graph.Connection:
        """The integer connection, in units of each target channel's accumulator."""
        link = self.link.map
        if isinstance(link, Scale):
            return graph.OneToOne(np.rint(self.weight / unit).astype(np.int16))
        assert isinstance(link, Dense | Convolution)
        units = by_group(link, unit)
        if not self.h:
            whole = np.clip(np.rint(self.weight / units[:, None]), -128, 127).astype(np.int8)
            return connection(link, from_matrices(link, whole), 8)
        whole = np.concatenate(
            [
                rounding.rounded(self.weight[:, part], h, units, LIMITS[bits])
                for part, h in zip(self.parts(), self.h, strict=True)
            ],
            axis=1,
        )
        return connection(link, from_matrices(link, whole), bits)


def connection(link: Dense | Convolution, weight: NDArray[np.int8], bits: int) -> graph.Connection:
    """A link with integer weights."""
    if isinstance(link, Dense):
        return graph.Dense(weight, bits)
    return graph.Convolution(weight, link.stride, link.dilation, link.padding, link.groups, bits)


def trained_weights(link: Link, scale: Float) -> LinkWeights:
    """The weights of the file, for a source whose levels are worth ``scale``."""
    return LinkWeights(link, real_weights(link, scale), ())


def fit_weights(
    layer: Layer, at: Statistics, scales: Sequence[Float], states: Mapping[int, NDArray[np.int16]]
) -> list[LinkWeights]:
    """Weights for all links of a layer, each fitted to what the others leave."""
    z = at.before - layer.bias[at.y, at.x].astype(np.float32)
    fitted = [trained_weights(link, scales[link.source]) for link in layer.links]
    for weights in fitted:
        z -= given(weights, states[weights.link.source], at)
    for number, weights in enumerate(fitted):
        if isinstance(weights.link.map, Dense | Convolution):
            fitted[number] = fit(weights, states[weights.link.source], at, z)
    return fitted


def real_weights(link: Link, scale: Float) -> Float:
    """A link's weights times what a level of their source means."""
    assert isinstance(link.map, Dense | Convolution | Scale)
    if isinstance(link.map, Scale):
        return link.map.weight * scale
    weight = link.map.weight
    by_row = np.tile(scale, len(weight) // len(scale))
    return matrices(link.map, weight * by_row.reshape(-1, *[1] * (weight.ndim - 1)))


def given(weights: LinkWeights, state: NDArray[np.int16], at: Statistics) -> NDArray[np.float32]:
    """What a link adds at the places, (places, channels)."""
    link = weights.link.map
    weight = weights.weight.astype(np.float32)
    if isinstance(link, Scale):
        return state[at.sample, at.y, at.x] * weight
    assert isinstance(link, Dense | Convolution)
    product = seen(link, state, at) @ weight
    return product.transpose(1, 0, 2).reshape(len(at.sample), -1)


def fit(
    weights: LinkWeights, state: NDArray[np.int16], at: Statistics, lacking: NDArray[np.float32]
) -> LinkWeights:
    """A link's weights changed to give what is lacking, (places, channels); it is taken from there."""
    link = weights.link.map
    assert isinstance(link, Dense | Convolution)
    x = seen(link, state, at)
    weight, second = weights.weight.copy(), []
    count = -(-x.shape[2] // MOST_SOURCES)
    rest = by_group(link, lacking)
    for part in np.array_split(np.arange(x.shape[2]), count):
        first, kept = rounding.moments(x[:, :, part], rest)
        change = rounding.change(first, kept)
        if change is not None:
            weight[:, part] += change
            rest = rest - x[:, :, part] @ change.astype(np.float32)
        second.append(first.h + kept.h)
    lacking[:] = rest.transpose(1, 0, 2).reshape(lacking.shape)
    return replace(weights, weight=weight, h=tuple(second))
