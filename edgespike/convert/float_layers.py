"""The layers of a float network, computed one by one in NumPy."""

from __future__ import annotations

from typing import Any

from edgespike import graph
from edgespike.importers.network import AveragePool, Convolution, Dense, Map, MaxPool, Scale


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
