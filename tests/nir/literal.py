"""NIR's nodes as NIR defines them: channels first, one sample, plain loops. The tests' yardstick."""

from __future__ import annotations

from collections.abc import Callable
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Save = Callable[..., Path]  # what the fixtures save and chain are
Edge = tuple[str, str]
NEURONS = ("IF", "LIF", "CubaLIF", "Threshold", "I", "LI", "CubaLI")


def pair(value: Any) -> tuple[int, int]:
    both = np.broadcast_to(np.asarray(value), 2)
    return int(both[0]), int(both[1])


def convolve(node: Any, x: Array) -> Array:
    weight = np.asarray(node.weight, np.float64)
    if x.ndim == 2:  # Conv1d: one row
        row = dict(stride=node.stride, dilation=node.dilation, groups=node.groups, bias=node.bias)
        keep = node.padding if isinstance(node.padding, str) else (0, int(node.padding))
        return convolve(SimpleNamespace(weight=weight[:, :, None], padding=keep, **row), x[:, None])[:, 0]
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


class LiteralGraph:
    """NIR nodes stepped with one profile; membranes in NIR's own units.

    ``loops`` are the edges whose values arrive a tick later. Before the first tick all neurons
    were silent for ever: what is constant has always been there.
    """

    def __init__(
        self, nodes: dict[str, Any], edges: list[Edge], loops: list[Edge], profile: dict[str, Any]
    ) -> None:
        self.nodes, self.loops, self.profile = nodes, loops, profile
        self.forward = [edge for edge in edges if edge not in loops]
        before = {name: [a for a, b in self.forward if b == name] for name in nodes}
        self.order = list(TopologicalSorter(before).static_order())
        self.states: dict[str, dict[str, Array]] = {}
        self.silent: dict[str, Array] = {}
        self.past: dict[str, Array] = {}
        self.waiting: dict[str, list[Array]] = {}

    def step(self, x: Array) -> dict[str, Array]:
        """One tick: what leaves each node, as NIR has it, without a batch axis. A readout gives v."""
        if not self.silent:
            self.past = self.silent = self._pass(np.zeros_like(x), silent=True)
        self.past = self._pass(x, silent=False)
        return self.past

    def _pass(self, x: Array, silent: bool) -> dict[str, Array]:
        out: dict[str, Array] = {}
        for name in self.order:
            node, kind = self.nodes[name], type(self.nodes[name]).__name__
            arriving = [out[a] for a, b in self.forward if b == name]
            arriving += [] if silent else [self.past[a] for a, b in self.loops if b == name]
            value = x if kind == "Input" else np.sum(arriving, axis=0)
            if kind in NEURONS:
                if silent:
                    shape = np.shape(value) if arriving else np.shape(node.r)
                    out[name] = np.zeros(shape)
                else:
                    out[name] = self._neuron(name, node, np.asarray(value, np.float64))
            elif kind == "Delay":
                out[name] = self._delay(name, node, value, silent)
            else:
                out[name] = stateless(node, value)
        return out

    def _delay(self, name: str, node: Any, value: Array, silent: bool) -> Array:
        ticks = np.broadcast_to(np.round(node.delay / self.profile["dt"]).astype(int), value.shape)
        if silent:
            return value
        line = self.waiting.setdefault(name, [])
        line.insert(0, value)
        result = np.array(self.silent[name], np.float64)
        for late, earlier in enumerate(line):
            result = np.where(ticks == late, earlier, result)
        return result

    def _neuron(self, name: str, node: Any, x: Array) -> Array:
        zero = np.zeros_like(x)
        state = self.states.setdefault(name, {"v": zero, "i": zero, "due": zero})
        kind = type(node).__name__
        if kind == "Threshold":
            return (x > node.threshold).astype(np.float64)
        if kind.startswith("Cuba"):
            keep, gain = self._coefficients(node.tau_syn)
            state["i"] = x = keep * state["i"] + gain * node.w_in * x
        if kind in ("I", "IF"):
            v = state["v"] + x * node.r * (1.0 if self.profile["gain"] == "none" else self.profile["dt"])
        else:
            keep, gain = self._coefficients(node.tau_mem if kind.startswith("Cuba") else node.tau)
            v = node.v_leak + keep * (state["v"] - node.v_leak) + gain * node.r * x
        if not kind.endswith("F"):
            state["v"] = v
            return v
        delayed = self.profile["reset"].endswith("-delayed")
        if delayed:
            v = self._reset(node, v, state["due"])
        spikes = self._fires(node, v)
        state["v"] = v if delayed else self._reset(node, v, spikes)
        state["due"] = spikes
        return spikes

    def _coefficients(self, tau: Array) -> tuple[Array, Array]:
        ratio = self.profile["dt"] / np.asarray(tau)
        keep = np.exp(-ratio) if self.profile["decay"] == "exact" else 1 - ratio
        return keep, {"exact": 1 - np.exp(-ratio), "euler": ratio, "none": np.ones_like(ratio)}[
            self.profile["gain"]
        ]

    def _fires(self, node: Any, v: Array) -> Array:
        strict = self.profile["compare"] == "gt"
        most = self.profile.get("max_spikes", 1)
        fires = np.zeros_like(v)
        for more in range(most):
            left = v - more * node.v_threshold
            fires += (left > node.v_threshold) if strict else (left >= node.v_threshold)
        return fires

    def _reset(self, node: Any, v: Array, spikes: Array) -> Array:
        kind = self.profile["reset"].removesuffix("-delayed")
        after = {
            "zero": np.zeros_like(v),
            "value": np.broadcast_to(node.v_reset, v.shape),
            "subtract": v - spikes * node.v_threshold,
            "none": v,
        }[kind]
        return np.where(spikes > 0, after, v)


def stateless(node: Any, x: Array) -> Array:
    """What a node without a state makes of its input."""
    kind = type(node).__name__
    if kind in ("Linear", "Affine"):
        product: Array = node.weight @ x + getattr(node, "bias", 0.0)
        return product
    if kind == "Scale":
        return np.asarray(x * node.scale)
    if kind in ("Conv1d", "Conv2d"):
        return convolve(node, x)
    if kind == "SumPool2d":
        return sum_pool(node, x)
    if kind == "AvgPool2d":
        return sum_pool(node, x) / np.prod(pair(node.kernel_size))
    return flatten(node, x) if kind == "Flatten" else x


class LiteralChain:
    """NIR nodes in a row."""

    def __init__(self, nodes: list[Any], dt: float, reset: str, compare: str, decay: str, gain: str) -> None:
        named = {str(number): node for number, node in enumerate(nodes)}
        edges = [("in", "0"), *pairwise(named)]
        profile = {"dt": dt, "reset": reset, "compare": compare, "decay": decay, "gain": gain}
        self.last = str(len(nodes) - 1)
        self.graph = LiteralGraph({"in": Input(), **named}, edges, [], profile)

    def step(self, x: Array) -> Array:
        """One tick: input and output as NIR has them, without a batch axis."""
        return self.graph.step(x)[self.last]


class Input:
    """Stands for NIR's."""
