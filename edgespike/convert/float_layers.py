"""The layers of a float network, computed one by one in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike import graph
from edgespike.convert.dense import apply
from edgespike.importers.network import AveragePool, Convolution, Dense, Map, MaxPool, Network, Scale
from edgespike.linear_maps import max_pool

Array = NDArray[Any]


def connection_of(link: Map) -> graph.Connection:
    """The graph's connection of the same geometry, with the real weights of a map."""
    weight: Any = link.weight if isinstance(link, Dense | Convolution | Scale) else None
    if isinstance(link, Dense):
        return graph.Dense(weight)
    if isinstance(link, Scale):
        return graph.OneToOne(weight)
    geometry = (link.stride, link.dilation, link.padding)
    if isinstance(link, Convolution):
        return graph.Convolution(weight, *geometry, link.groups)
    assert isinstance(link, AveragePool | MaxPool)
    kind = graph.SumPool if isinstance(link, AveragePool) else graph.MaxPoolWindow
    return kind(link.kernel, link.stride, link.padding, link.dilation)


def real_input(network: Network, x: Array) -> Array:
    """Values of layer 0 for samples x (samples, *input shape)."""
    layout = network.input
    grid = x.reshape(len(x), *layout.grid).transpose(0, *(axis + 1 for axis in layout.axes))
    return np.asarray(grid * layout.multiply + layout.add, np.float32)


def evaluate(network: Network, number: int, values: list[Array]) -> Array:
    """A layer's values, from those of all layers: (samples, height, width, channels)."""
    layer = network.layers[number]
    total: Array = np.zeros(1, np.float32)
    for link in layer.links:
        source, connection = values[link.source], connection_of(link.map)
        if isinstance(link.map, MaxPool):
            geometry = (link.map.stride, link.map.dilation, link.map.padding)
            space = (layer.shape[0], layer.shape[1])
            total = max_pool(source, space, link.map.kernel, *geometry, lowest=-np.inf)
        elif isinstance(link.map, AveragePool):
            divisor = link.map.divisor[:, :, None].astype(source.dtype)
            total = apply(connection, source, layer.shape) / divisor
        else:
            total = total + apply(connection, source, layer.shape)
    total = total + layer.bias.astype(np.float32)
    return layer.activated(total)


def readers(network: Network, number: int) -> list[int]:
    """The layers that a layer has an effect on, in order."""
    reached = {number}
    for later in range(number + 1, len(network.layers)):
        if any(link.source in reached for link in network.layers[later].links):
            reached.add(later)
    return sorted(reached - {number})
