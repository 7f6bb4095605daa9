"""NIR's nodes as NIR defines them: channels first, one sample, plain loops. The tests' yardstick."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Save = Callable[..., Path]  # what the fixtures save and chain are


def pair(value: Any) -> tuple[int, int]:
    both = np.broadcast_to(np.asarray(value), 2)
    return int(both[0]), int(both[1])


def convolve(node: Any, x: Array) -> Array:
    weight = np.asarray(node.weight, np.float64)
    outputs, group_inputs, kernel_y, kernel_x = weight.shape
    (stride_y, stride_x), (dilation_y, dilation_x) = pair(node.stride), pair(node.dilation)
    before, after = padding(node, (dilation_y * (kernel_y - 1), dilation_x * (kernel_x - 1)))
    x = np.pad(x, ((0, 0), (before[0], after[0]), (before[1], after[1])))
    height = (x.shape[1] - dilation_y * (kernel_y - 1) - 1) // stride_y + 1
    width = (x.shape[2] - dilation_x * (kernel_x - 1) - 1) // stride_x + 1
    out = np.zeros((outputs, height, width))
    for o, y, column, ky, kx in np.ndindex(outputs, height, width, kernel_y, kernel_x):
        first = o // (outputs // int(node.groups)) * group_inputs
        at = y * stride_y + ky * dilation_y, column * stride_x + kx * dilation_x
        out[o, y, column] += weight[o, :, ky, kx] @ x[first : first + group_inputs, *at]
    return out + np.asarray(node.bias)[:, None, None]


def padding(node: Any, same: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    if isinstance(node.padding, str):
        total = same if node.padding == "same" else (0, 0)
        before = (total[0] // 2, total[1] // 2)
        return before, (total[0] - before[0], total[1] - before[1])
    return pair(node.padding), pair(node.padding)


def sum_pool(node: Any, x: Array) -> Array:
    (kernel_y, kernel_x), (stride_y, stride_x) = pair(node.kernel_size), pair(node.stride)
    top, left = pair(node.padding)
    x = np.pad(x, ((0, 0), (top, top), (left, left)))
    height, width = (x.shape[1] - kernel_y) // stride_y + 1, (x.shape[2] - kernel_x) // stride_x + 1
    out = np.zeros((len(x), height, width))
    for y, column in np.ndindex(height, width):
        window = x[:, y * stride_y :, column * stride_x :][:, :kernel_y, :kernel_x]
        out[:, y, column] = window.sum(axis=(1, 2))
    return out


def flatten(node: Any, x: Array) -> Array:
    first, last = (int(d) % x.ndim for d in (node.start_dim, node.end_dim))
    return x.reshape(*x.shape[:first], -1, *x.shape[last + 1 :])


class LiteralChain:
    """NIR nodes in a row, stepped with one profile; membranes in NIR's own units."""

    def __init__(self, nodes: list[Any], dt: float, reset: str, compare: str, decay: str, gain: str) -> None:
        self.nodes, self.dt, self.reset, self.compare = nodes, dt, reset, compare
        self.decay, self.gain = decay, gain
        self.membranes: dict[int, Array] = {}

    def step(self, x: Array) -> Array:
        """One tick: input and output as NIR has them, without a batch axis."""
        for number, node in enumerate(self.nodes):
            kind = type(node).__name__
            if kind in ("Linear", "Affine"):
                x = node.weight @ x + getattr(node, "bias", 0.0)
            elif kind in ("IF", "LIF"):
                x = self.spike(number, node, x)
            else:
                x = {"Conv2d": convolve, "SumPool2d": sum_pool, "Flatten": flatten}[kind](node, x)
        return x

    def spike(self, number: int, node: Any, x: Array) -> Array:
        v = self.membranes.get(number, np.zeros_like(x))
        if type(node).__name__ == "IF":
            v = v + x * node.r * (1.0 if self.gain == "none" else self.dt)
        else:
            ratio = self.dt / node.tau
            keep = np.exp(-ratio) if self.decay == "exact" else 1 - ratio
            gain = {"exact": 1 - np.exp(-ratio), "euler": ratio, "none": 1.0}[self.gain]
            v = node.v_leak + keep * (v - node.v_leak) + gain * node.r * x
        fires = v > node.v_threshold if self.compare == "gt" else v >= node.v_threshold
        after = {
            "zero": np.zeros_like(v),
            "value": np.broadcast_to(node.v_reset, v.shape),
            "subtract": v - node.v_threshold,
            "none": v,
        }[self.reset]
        self.membranes[number] = np.where(fires, after, v)
        return fires.astype(np.float64)
