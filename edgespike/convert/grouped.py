"""Layers as plain products, a batch of matrices for the groups of a convolution.

What each target of a place adds up is ``x @ weight``: x (groups, places, sources) are the levels
that it sees, weight (groups, sources, targets). A dense layer has one group.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.convert.measure import Statistics
from edgespike.importers.network import Convolution, Dense


def matrices(link: Dense | Convolution, weight: NDArray[Any]) -> NDArray[Any]:
    """Weights laid out as the link's own, as (groups, sources, targets)."""
    if isinstance(link, Dense):
        return weight[None]
    return weight.reshape(link.groups, -1, weight.shape[3])


def from_matrices(link: Dense | Convolution, weight: NDArray[Any]) -> NDArray[Any]:
    """The reverse of `matrices`."""
    return weight.reshape(link.weight.shape)


def by_group(link: Dense | Convolution, values: NDArray[Any]) -> NDArray[Any]:
    """Values of targets (..., channels) as (groups, ..., targets)."""
    groups = 1 if isinstance(link, Dense) else link.groups
    return np.moveaxis(values.reshape(*values.shape[:-1], groups, -1), -2, 0)


def seen(link: Dense | Convolution, state: NDArray[np.int16], at: Statistics) -> NDArray[np.float32]:
    """What the targets of some places see of a source's levels (samples, height, width, channels).

    Returns:
        (groups, places, sources), in the order of `matrices`; 0 in the padding.
    """
    if isinstance(link, Dense):
        return state.reshape(len(state), -1)[at.sample].astype(np.float32)[None]
    channels, *kernel, _ = link.weight.shape
    result = np.zeros((len(at.sample), channels, *kernel), np.float32)
    for ky in range(kernel[0]):
        y = at.y * link.stride[0] + ky * link.dilation[0] - link.padding[0]
        for kx in range(kernel[1]):
            x = at.x * link.stride[1] + kx * link.dilation[1] - link.padding[1]
            inside = (y >= 0) & (y < state.shape[1]) & (x >= 0) & (x < state.shape[2])
            result[inside, :, ky, kx] = state[at.sample[inside], y[inside], x[inside]]
    grouped = result.reshape(len(result), link.groups, -1)
    return np.ascontiguousarray(grouped.transpose(1, 0, 2))
