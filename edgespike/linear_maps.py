"""Linear maps and pools on whole batches, channels last, in NumPy.

Used with real numbers by importers and with integers by the dense evaluation. Arrays are
(samples, height, width, channels); geometry is that of docs/format.md: target row ``ty``
sees source row ``ty * stride + k * dilation - padding``, and what lies outside is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Pair = tuple[int, int]


def overlap(source: int, target: int, offset: int, stride: int) -> tuple[slice, slice]:
    """Target and source positions along one axis that a kernel tap joins.

    ``offset`` is ``k * dilation - padding``: target ``t`` sees source ``t * stride + offset``.
    """
    first = max(0, -(offset // stride))  # least t with t * stride + offset >= 0
    last = min(target - 1, (source - 1 - offset) // stride)
    if last < first:
        return slice(0, 0), slice(0, 0)
    start = first * stride + offset
    return slice(first, last + 1), slice(start, start + (last - first) * stride + 1, stride)


def taps(
    source: Pair, target: Pair, kernel: Pair, stride: Pair, dilation: Pair, padding: Pair
) -> list[tuple[int, int, tuple[slice, slice, slice], tuple[slice, slice, slice]]]:
    """All kernel taps ``(ky, kx, target region, source region)`` that touch the source."""
    every = slice(None)
    result = []
    for ky in range(kernel[0]):
        target_y, source_y = overlap(source[0], target[0], ky * dilation[0] - padding[0], stride[0])
        for kx in range(kernel[1]):
            target_x, source_x = overlap(source[1], target[1], kx * dilation[1] - padding[1], stride[1])
            if target_y.stop and target_x.stop:
                result.append((ky, kx, (every, target_y, target_x), (every, source_y, source_x)))
    return result


def convolve(
    values: Array, weight: Array, target: Pair, stride: Pair, dilation: Pair, padding: Pair, groups: int
) -> Array:
    """Convolution with ``weight`` (source channels, kernel height, kernel width, target channels // groups).

    Computes in the common type of ``values`` and ``weight``.
    """
    count, height, width, channels = values.shape
    kernel, targets = weight.shape[1:3], weight.shape[3]
    result = np.zeros((count, *target, groups * targets), np.result_type(values, weight))
    for ky, kx, to, source in taps((height, width), target, kernel, stride, dilation, padding):
        seen, taken = values[source], weight[:, ky, kx, :]
        if groups == 1:
            result[to] += seen @ taken
        elif groups == channels:  # depthwise
            repeated = seen if targets == 1 else np.repeat(seen, targets, axis=-1)
            result[to] += repeated * taken.reshape(-1)
        else:
            parts = zip(np.split(seen, groups, axis=-1), np.split(taken, groups), strict=True)
            result[to] += np.concatenate([part @ own for part, own in parts], axis=-1)
    return result


def sum_pool(values: Array, target: Pair, kernel: Pair, stride: Pair, dilation: Pair, padding: Pair) -> Array:
    """Sum of each window, channel by channel."""
    count, height, width, channels = values.shape
    result = np.zeros((count, *target, channels), values.dtype)
    for _, _, to, source in taps((height, width), target, kernel, stride, dilation, padding):
        result[to] += values[source]
    return result


def max_pool(
    values: Array, target: Pair, kernel: Pair, stride: Pair, dilation: Pair, padding: Pair, lowest: float
) -> Array:
    """Greatest value of each window, channel by channel; at least ``lowest``."""
    count, height, width, channels = values.shape
    result = np.full((count, *target, channels), lowest, values.dtype)
    for _, _, to, source in taps((height, width), target, kernel, stride, dilation, padding):
        result[to] = np.maximum(result[to], values[source])
    return result
