"""The float network on the calibration samples: what quantization is fitted to."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.convert.float_network import FloatNetwork
from edgespike.errors import ModelError
from edgespike.importers.network import Convolution, Float, Layer, Map, Network

SAMPLED_VALUES = 1 << 19  # of a layer
SAMPLED_SOURCES = 1 << 24  # what they see, in all


@dataclass(frozen=True, eq=False)
class Statistics:
    """A layer on the calibration samples.

    ``mean``: before function and clip, an array of the layer's shape. ``before``, ``values``: at
    some places, before and after them, (places, channels). ``sample``, ``y`` and ``x``:
    (places,), which those are, in the order of the samples.
    """

    mean: Float
    before: NDArray[np.float32]
    values: NDArray[np.float32]
    sample: NDArray[np.int64]
    y: NDArray[np.int64]
    x: NDArray[np.int64]


def measure(
    network: Network, run: FloatNetwork, x: NDArray[Any], tell: Callable[[float], None]
) -> list[Statistics]:
    """Statistics of layers 1, 2, ... over all samples; ``tell`` is called with the share that is done."""
    layers = network.layers[1:]
    random = np.random.default_rng(0)
    totals = [np.zeros(layer.shape) for layer in layers]
    values: list[list[NDArray[np.float32]]] = [[] for _ in layers]
    places: list[list[NDArray[np.int64]]] = [[] for _ in layers]
    for part, everything in run.values(x):
        for number, (layer, value) in enumerate(zip(layers, everything, strict=True)):
            require_finite(layer, value)
            totals[number] += value.sum(axis=0, dtype=np.float64)
            pixels = chosen_pixels(random, layer, len(value), len(x))
            sample = np.repeat(np.arange(len(value)), pixels.shape[1])
            y, across = np.divmod(pixels.ravel(), layer.shape[1])
            values[number].append(value[sample, y, across])
            places[number].append(np.stack([sample + part.start, y, across]))
        tell(part.stop / len(x))
    before = [np.concatenate(parts) for parts in values]
    return [
        Statistics(total / len(x), picked, activated(layer, picked), *np.concatenate(where, axis=1))
        for layer, total, picked, where in zip(layers, totals, before, places, strict=True)
    ]


def activated(layer: Layer, before: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values after a layer's function and clip."""
    values = layer.activated(before)
    require_finite(layer, values)
    return values


def require_finite(layer: Layer, values: NDArray[np.float32]) -> None:
    """Refuse what is no number."""
    if not np.isfinite(values).all():
        raise ModelError(
            f"{layer.name}: the network computes NaN or infinity on the calibration samples",
            "check the samples' range, and that the network works in onnxruntime",
            "not-finite",
        )


def chosen_pixels(random: np.random.Generator, layer: Layer, count: int, samples: int) -> NDArray[np.int64]:
    """Numbers of pixels (count, pixels) for each of some samples; all where there are few."""
    height, width, channels = layer.shape
    sources = max((sources_of(link.map, channels) for link in layer.links), default=1)
    wanted = math.ceil(min(SAMPLED_VALUES / channels, SAMPLED_SOURCES / sources) / samples)
    if 2 * wanted > height * width:
        return np.tile(np.arange(height * width), (count, 1))
    return random.integers(0, height * width, (count, wanted))


def sources_of(link: Map, channels: int) -> int:
    """From how many neurons a pixel's channels get something through a map."""
    return len(link.weight) * math.prod(link.weight.shape[1:3]) if isinstance(link, Convolution) else channels
