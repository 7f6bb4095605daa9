"""Turns the nodes of a simplified ONNX graph into the layers of a float network.

A tensor that depends on the input is a `View`: which neurons of which layer it holds, as
an array of neuron numbers in the tensor's own shape. Reshape, Transpose and the like then
only move numbers, exactly as ONNX says, and weights follow them. A view may carry a factor
and an addend that its reader folds into its own weights, so that a BatchNormalization
costs no layer of its own where a linear layer stands before or after it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgespike.errors import ModelError, UnsupportedError
from edgespike.graph import Shape
from edgespike.importers.network import (
    AveragePool,
    Convolution,
    Dense,
    Float,
    Layer,
    Link,
    Map,
    MaxPool,
    Network,
    NetworkInput,
    NetworkOutput,
    Probe,
    Scale,
)
from edgespike.linear_maps import convolve, sum_pool

Index = NDArray[np.int64]
Pair = tuple[int, int]


class Refused(Exception):
    """Why one node has no meaning here."""


@dataclass(frozen=True)
class Node:
    """One ONNX node."""

    op: str
    name: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]

    @classmethod
    def of(cls, proto: onnx.NodeProto) -> Node:
        """Reads a node; one without a name is called by its output."""
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
        output = proto.output[0] if proto.output else ""
        op = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
        return cls(op, proto.name or output, tuple(proto.input), output, attributes)


@dataclass(frozen=True)
class View:
    """A tensor: where ``index`` is ``b * size + i`` it holds sample ``b``'s neuron ``i`` of the layer.

    The tensor's value is ``neuron * multiply + add``, arrays of the tensor's shape.
    ``tensor``: its name. ``sole``: nothing else reads the layer. ``transform``: the softmax
    that has been passed.
    """

    layer: int
    index: Index
    tensor: str
    sole: bool = True
    multiply: Float | None = None
    add: Float | None = None
    transform: str = "none"

    @property
    def batch(self) -> int:
        """Number of samples."""
        return len(self.index)

    def moved(self, move: Callable[[NDArray[Any]], NDArray[Any]]) -> View:
        """The tensor after something that only moves its numbers."""
        if self.multiply is None or self.add is None:
            return replace(self, index=move(self.index))
        return replace(self, index=move(self.index), multiply=move(self.multiply), add=move(self.add))


@dataclass
class Builder:
    """Layers so far and the tensors that have been read.

    Neurons of layer 0 are numbered as they lie in the user's sample until the network is
    finished; ``input_map``, once a reader needs it, holds the number at each (y, x, channel).
    """

    layers: list[Layer]
    uses: Counter[str]
    values: dict[str, View | NDArray[Any]]
    input_map: Index | None = None
    multiply: Float = field(default_factory=lambda: np.ones(1))
    add: Float = field(default_factory=lambda: np.zeros(1))

    # ---- reading a node's inputs

    def view(self, node: Node, position: int = 0) -> View:
        """An input that depends on the network's input."""
        name = node.inputs[position]
        value = self.values[name]
        if not isinstance(value, View):
            raise Refused(f"its input {name} is a constant")
        return replace(value, tensor=name, sole=value.sole and self.uses[name] == 1)

    def constant(self, node: Node, position: int) -> NDArray[Any] | None:
        """A constant input, or None when it is left out."""
        if position >= len(node.inputs) or not node.inputs[position]:
            return None
        value = self.values[node.inputs[position]]
        if isinstance(value, View):
            raise Refused(f"its input {node.inputs[position]} is not a constant")
        return value

    def weight(self, node: Node, position: int) -> Float:
        """A constant input of finite real numbers."""
        value = self.constant(node, position)
        if value is None:
            raise Refused(f"its input {position} is missing")
        if not np.isfinite(value).all():
            raise ModelError(
                f"{node.inputs[position]} holds NaN or infinity (used by {node.op} {node.name})",
                "the training diverged or the export failed: export a sound checkpoint",
                "not-finite",
            )
        return value.astype(np.float64)

    # ---- neurons

    def rows(self, view: View) -> Index:
        """Neuron numbers of one sample, in the tensor's shape without the batch axis."""
        size = self.layers[view.layer].size
        samples = np.arange(view.batch).reshape(-1, *[1] * (view.index.ndim - 1)) * size
        if not np.array_equal(view.index, view.index[:1] + samples):
            raise Refused(f"the first axis of its input, of shape {view.index.shape}, is not the batch")
        first: Index = view.index[0]
        return first

    def require(self, view: View, places: Index, shape: Shape) -> None:
        """Makes sure that the view is a whole layer of ``shape`` with neuron ``places`` at each place."""
        rows, layer = self.rows(view), self.layers[view.layer]
        fits = rows.size == layer.size == math.prod(shape)
        if fits and view.layer == 0:
            order = np.empty(layer.size, np.int64)
            order[places.ravel()] = rows.ravel()
            order = order.reshape(shape)
            if self.input_map is None:
                self.input_map = order
            fits = np.array_equal(self.input_map, order)
        elif fits:
            fits = layer.shape == shape and np.array_equal(rows, places)
        if not fits:
            what = "the input" if view.layer == 0 else layer.name
            raise Refused(
                f"it reads {what} as a tensor of shape {view.index.shape}, "
                "reshaped or cut in a way that has no grid of pixels"
            )

    def grid(self, view: View) -> Shape:
        """(height, width, channels) of a view in ONNX's order: batch, channels, one or two axes of space."""
        if view.index.ndim not in (3, 4):
            raise Refused(f"its input has shape {view.index.shape}; one or two axes of space are supported")
        channels, *space = view.index.shape[1:]
        shape = (space[0] if len(space) == 2 else 1, space[-1], channels)
        self.require(view, channels_first(shape, view.index.ndim), shape)
        return shape

    def whole(self, view: View) -> tuple[Shape, Index]:
        """Shape of a layer that the view holds all of, and the neuron number at each place of the tensor."""
        rows = self.rows(view)
        if rows.size != self.layers[view.layer].size:
            raise Refused(f"it reads a part of {self.layers[view.layer].name}")
        if view.layer:
            return self.layers[view.layer].shape, rows
        if self.input_map is None and rows.ndim > 1:
            self.grid(view)
        elif self.input_map is None:
            self.require(view, np.arange(rows.size), (1, 1, rows.size))
        assert self.input_map is not None
        height, width, channels = self.input_map.shape
        return (height, width, channels), np.argsort(self.input_map.ravel())[rows]

    def is_open(self, view: View) -> bool:
        """Whether the layer can be changed in place: weighted, linear, read by nobody else."""
        layer = self.layers[view.layer]
        weighted = all(isinstance(link.map, Dense | Convolution | Scale) for link in layer.links)
        return view.sole and bool(layer.links) and weighted and layer.is_linear and view.multiply is None

    # ---- making layers

    def append(
        self, tensor: str, shape: Shape, links: list[Link], bias: Float | float, rows: Index, batch: int
    ) -> View:
        """Adds a layer that makes a tensor. ``rows``: the neuron at each place of it, for one sample."""
        check_size(shape)
        spread = np.array(np.broadcast_to(bias, shape), np.float64)
        self.layers.append(
            Layer(tensor, shape, tuple(links), spread, Probe(tensor, np.argsort(rows.ravel())))
        )
        samples = np.arange(batch).reshape(-1, *[1] * rows.ndim) * rows.size
        return View(len(self.layers) - 1, rows + samples, tensor)

    def own_layer(self, view: View) -> View:
        """The view as a layer of its own, one to one, with what is pending worked in."""
        shape, rows = self.whole(view)
        link, bias = one_to_one(view, shape, rows)
        return self.append(view.tensor, shape, [link], bias, rows, view.batch)

    def probe_at(self, tensor: str, view: View) -> View:
        """The view, whose numbers have been moved to make up another tensor, or are pending there."""
        order = np.argsort(self.rows(view).ravel())
        probe = Probe(tensor, order)
        if view.multiply is not None and view.add is not None:
            probe = Probe(tensor, order, view.multiply[0].ravel()[order], view.add[0].ravel()[order])
        self.layers[view.layer] = replace(self.layers[view.layer], probe=probe)
        return replace(view, tensor=tensor)


def check_size(shape: Shape) -> None:
    """Refuses layers that no model file holds."""
    if math.prod(shape) > 1 << 24 or max(shape) > 0xFFFF:
        raise Refused(f"{shape} neurons are more than 2^24, or an axis is longer than 65535")


def channels_first(shape: Shape, dimensions: int) -> Index:
    """Neuron numbers of a layer as ONNX lays it out: channels, then ``dimensions - 2`` axes of space."""
    rows = np.moveaxis(np.arange(math.prod(shape)).reshape(shape), 2, 0)
    return rows if dimensions == 4 else rows.reshape(shape[2], -1)


def one_to_one(view: View, shape: Shape, rows: Index) -> tuple[Link, Float]:
    """A whole view as a link and a bias."""
    if view.multiply is None or view.add is None:
        return Link(view.layer, Scale(np.ones(shape[2]))), np.zeros(shape)
    order = np.argsort(rows.ravel())
    factor = view.multiply[0].ravel()[order].reshape(shape)
    return Link(view.layer, Scale(by_channel(factor))), view.add[0].ravel()[order].reshape(shape)


def by_channel(factor: Float) -> Float:
    """A factor (height, width, channels) that is the same for all pixels, by channel."""
    if not (factor == factor[:1, :1]).all():
        raise Refused("it reads a tensor that was multiplied by different factors from pixel to pixel")
    first: Float = factor[0, 0]
    return first


def pending_grid(view: View, shape: Shape) -> tuple[Float, Float] | None:
    """Pending factor (by channel) and addend (height, width, channels) of a view in ONNX's order."""
    if view.multiply is None or view.add is None:
        return None
    by_place = (value[0].reshape(shape[2], *shape[:2]) for value in (view.multiply, view.add))
    factor, addend = (np.moveaxis(value, 0, 2) for value in by_place)
    return by_channel(factor), addend


# ---- element by element ------------------------------------------------------


def affine(net: Builder, node: Node, view: View, multiply: Float, add: Float) -> View:
    """``view * multiply + add`` with constants that broadcast to the tensor.

    Worked into the layer before where that is possible, recorded for the host when it is
    the input's, else left pending for the reader.
    """
    shape = view.index.shape
    if np.broadcast_shapes(multiply.shape, add.shape, shape) != shape:
        larger = max(multiply.shape, add.shape, key=len)
        raise Refused(f"its constant of shape {larger} enlarges its input of shape {shape}")
    factor, addend = (np.broadcast_to(value, shape) for value in (multiply, add))
    if any(not np.array_equal(value, np.broadcast_to(value[:1], shape)) for value in (factor, addend)):
        raise Refused("its constant differs from sample to sample")
    layer, rows = net.layers[view.layer], net.rows(view)
    order = np.argsort(rows.ravel())
    if rows.size == layer.size and view.layer == 0 and view.sole and view.multiply is None:
        varied = [
            np.ptp(factor, axis=axis).any() or np.ptp(addend, axis=axis).any()
            for axis in range(1, len(shape))
        ]
        if sum(varied) <= 1:
            factor, addend = factor[0].ravel()[order], addend[0].ravel()[order]
            net.multiply, net.add = net.multiply * factor, net.add * factor + addend
            return view
    if rows.size == layer.size and net.is_open(view):
        by_neuron = factor[0].ravel()[order].reshape(layer.shape)
        if (by_neuron == by_neuron[:1, :1]).all():
            links = tuple(Link(link.source, scaled(link.map, by_neuron[0, 0])) for link in layer.links)
            bias = layer.bias * by_neuron + addend[0].ravel()[order].reshape(layer.shape)
            net.layers[view.layer] = replace(layer, links=links, bias=bias, probe=Probe(node.output, order))
            return view
    if view.multiply is not None and view.add is not None:
        factor, addend = view.multiply * factor, view.add * factor + addend
    return replace(view, multiply=factor, add=addend)


def scaled(link: Map, factor: Float) -> Map:
    """A weighted map, times a factor by target channel."""
    if isinstance(link, Convolution):
        sources = len(link.weight) // link.groups
        own = np.repeat(factor.reshape(link.groups, -1), sources, axis=0)
        return replace(link, weight=link.weight * own[:, None, None, :])
    assert isinstance(link, Dense | Scale)
    return replace(link, weight=link.weight * factor)


def arithmetic(net: Builder, node: Node) -> View:
    """Add, Sub, Mul and Div: with a constant, or the sum of two branches."""
    first, second = (net.values[name] for name in node.inputs)
    if isinstance(first, View) and isinstance(second, View):
        if node.op != "Add":
            raise Refused("both its inputs depend on the network's input")
        return residual(net, node)
    constant_first = isinstance(second, View)
    view = net.view(node, int(constant_first))
    constant = net.weight(node, int(not constant_first))
    one, zero = np.ones(1), np.zeros(1)
    if node.op == "Add":
        return affine(net, node, view, one, constant)
    if node.op == "Sub" and constant_first:
        return affine(net, node, view, -one, constant)
    if node.op == "Sub":
        return affine(net, node, view, one, -constant)
    if node.op == "Mul":
        return affine(net, node, view, constant, zero)
    if constant_first:
        raise Refused("it divides by its input")
    if not constant.all():
        raise ModelError(f"Div {node.name} divides by zero", "export the network again", "not-finite")
    return affine(net, node, view, 1.0 / constant, zero)


def residual(net: Builder, node: Node) -> View:
    """The sum of two branches: one layer with the links of both."""
    views = [net.view(node, 0), net.view(node, 1)]
    if views[0].index.shape != views[1].index.shape:
        raise Refused(f"it broadcasts {views[0].index.shape} and {views[1].index.shape}")
    if views[0].layer == views[1].layer:
        views[1] = net.own_layer(views[1])
    if views[0].layer == 0:
        views.reverse()  # the input takes its layout from the other branch
    shape, rows = net.whole(views[0])
    net.require(views[1], rows, shape)
    links: list[Link] = []
    bias = np.zeros(shape)
    for view in views:
        if net.is_open(view):
            links += net.layers[view.layer].links
            bias = bias + net.layers[view.layer].bias
        else:
            link, addend = one_to_one(view, *net.whole(view))
            links.append(link)
            bias = bias + addend
    return net.append(node.output, shape, links, bias, rows, views[0].batch)


def batch_normalization(net: Builder, node: Node) -> View:
    """Scale and shift by channel, with the running statistics."""
    if node.attributes.get("training_mode", 0):
        raise Refused("it is in training mode: export the network in evaluation mode")
    view = net.view(node)
    scale, shift, mean, variance = (net.weight(node, position) for position in (1, 2, 3, 4))
    factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    sizes = (-1, *[1] * (view.index.ndim - 2))
    return affine(net, node, view, factor.reshape(sizes), (shift - mean * factor).reshape(sizes))


def clip(net: Builder, node: Node) -> View:
    """Relu and Clip."""
    view = net.view(node)
    minimum, maximum = clip_limits(net, node)
    if not minimum <= 0 <= maximum or minimum == maximum:
        raise Refused(f"it clips to {minimum:g} .. {maximum:g}; a range with 0 in it is supported")
    lower, upper = value_range(net, view.layer)
    if view.multiply is None and minimum <= lower and upper <= maximum:
        return view
    averages = any(isinstance(link.map, AveragePool) for link in net.layers[view.layer].links)
    limits_levels = (minimum, maximum) == (0, math.inf) or not averages
    if not (view.sole and view.layer and view.multiply is None and limits_levels):
        view = net.own_layer(view)
    layer = net.layers[view.layer]
    minimum, maximum = max(minimum, layer.minimum), min(maximum, layer.maximum)
    net.layers[view.layer] = replace(layer, minimum=minimum, maximum=maximum)
    return view


def clip_limits(net: Builder, node: Node) -> tuple[float, float]:
    """Least and greatest value of a Relu or Clip."""
    if node.op == "Relu":
        return 0.0, math.inf
    limits = []
    for position, name, default in ((1, "min", -math.inf), (2, "max", math.inf)):
        constant = net.constant(node, position)
        limits.append(float(node.attributes.get(name, default) if constant is None else constant.item()))
    return limits[0], limits[1]


def value_range(net: Builder, number: int) -> tuple[float, float]:
    """What a layer's values cannot leave."""
    layer = net.layers[number]
    if layer.links and isinstance(layer.links[0].map, MaxPool | AveragePool):
        lower, upper = value_range(net, layer.links[0].source)
        return max(layer.minimum, min(lower, 0.0)), min(layer.maximum, max(upper, 0.0))
    return layer.minimum, layer.maximum


def same(net: Builder, node: Node) -> View:
    """Identity, Dropout, and Cast between floats."""
    return net.view(node)


# ---- weighted layers ---------------------------------------------------------


def gemm(net: Builder, node: Node) -> View:
    """``alpha * A @ B + beta * C``."""
    if node.attributes.get("transA", 0):
        raise Refused("it transposes its input")
    weight = net.weight(node, 1) * node.attributes.get("alpha", 1.0)
    bias = np.zeros(1)
    if net.constant(node, 2) is not None:
        bias = net.weight(node, 2) * node.attributes.get("beta", 1.0)
    if bias.ndim > 1 and len(bias) > 1:
        raise Refused("its addend differs from sample to sample")
    transposed = node.attributes.get("transB", 0)
    return dense(net, node, net.view(node), weight.T if transposed else weight, bias.reshape(-1))


def matmul(net: Builder, node: Node) -> View:
    """``A @ B`` with a constant matrix B."""
    weight = net.weight(node, 1)
    if weight.ndim != 2:
        raise Refused(f"its weight has shape {weight.shape}; a matrix is supported")
    return dense(net, node, net.view(node), weight, np.zeros(1))


def dense(net: Builder, node: Node, view: View, weight: Float, bias: Float) -> View:
    """All features to all; with more axes, the same for each place along them."""
    *places, _ = view.index.shape[1:]
    if math.prod(places) > 1:
        return pointwise(net, node, view, weight, bias)
    if view.multiply is not None and view.add is not None:
        bias = bias + view.add[0].ravel() @ weight
        weight = weight * view.multiply[0].reshape(-1, 1)
    matrix = np.zeros((net.layers[view.layer].size, weight.shape[1]))
    np.add.at(matrix, net.rows(view).ravel(), weight)
    rows = np.arange(weight.shape[1]).reshape(*places, -1)
    link = Link(view.layer, Dense(matrix))
    return net.append(node.output, (1, 1, weight.shape[1]), [link], bias, rows, view.batch)


def pointwise(net: Builder, node: Node, view: View, weight: Float, bias: Float) -> View:
    """A matrix applied at each place of a channels-last tensor: a 1 x 1 convolution."""
    last = view.index.ndim - 1
    first = view.moved(lambda array: np.moveaxis(array, last, 1))
    height, width, _ = net.grid(first)
    link = Convolution(weight[:, None, None, :], (1, 1), (1, 1), (0, 0), 1)
    result = convolved(net, node, first, (height, width, weight.shape[1]), link, bias)
    return net.probe_at(node.output, result.moved(lambda array: np.moveaxis(array, 1, last)))


def convolution(net: Builder, node: Node) -> View:
    """Conv along one or two axes."""
    view = net.view(node)
    height, width, channels = net.grid(view)
    weight = net.weight(node, 1)
    window = Window.of(node, view, weight.shape[2:])
    if min(window.padding + window.end) < 0:
        raise Refused("negative padding")
    groups, targets = int(node.attributes.get("group", 1)), len(weight)
    if weight.shape[1] * groups != channels or targets % groups:
        raise Refused(f"{groups} groups and a weight of shape {weight.shape} do not fit {channels} channels")
    weight = weight.reshape(groups, targets // groups, channels // groups, *window.kernel)
    weight = weight.transpose(0, 2, 3, 4, 1).reshape(channels, *window.kernel, targets // groups)
    link = Convolution(weight, window.stride, window.dilation, window.padding, groups)
    bias = np.zeros(1) if net.constant(node, 2) is None else net.weight(node, 2)
    return convolved(net, node, view, (*window.target((height, width)), targets), link, bias)


def convolved(net: Builder, node: Node, view: View, shape: Shape, link: Convolution, bias: Float) -> View:
    """A convolution layer, with what is pending on its source folded in.

    What pads the border is 0 after that, so the addend's part of the bias differs there.
    """
    pending = pending_grid(view, net.grid(view))
    if pending is not None:
        factor, addend = pending
        target = (shape[0], shape[1])
        shift = convolve(
            addend[None], link.weight, target, link.stride, link.dilation, link.padding, link.groups
        )
        bias = bias + shift[0]
        link = replace(link, weight=link.weight * factor[:, None, None, None])
    rows = channels_first(shape, view.index.ndim)
    return net.append(node.output, shape, [Link(view.layer, link)], bias, rows, view.batch)


# ---- pools -------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """Geometry of a convolution or pool; ``padding`` top and left, ``end`` bottom and right."""

    kernel: Pair
    stride: Pair
    dilation: Pair = (1, 1)
    padding: Pair = (0, 0)
    end: Pair = (0, 0)
    ceil: bool = False

    @classmethod
    def of(cls, node: Node, view: View, kernel: tuple[int, ...] | list[int]) -> Window:
        """Reads the attributes; a single axis of space is the width."""
        axes = view.index.ndim - 2
        if len(kernel) != axes:
            raise Refused(f"a kernel of shape {tuple(kernel)} does not fit its input {view.index.shape}")

        def pair(values: Any, default: int) -> Pair:
            full = [default] * axes if values is None else [int(value) for value in values]
            return (full[0], full[1]) if axes == 2 else (default, full[0])

        size, window = pair(view.index.shape[2:], 1), pair(kernel, 1)
        stride = pair(node.attributes.get("strides"), 1)
        dilation = pair(node.attributes.get("dilations"), 1)
        pads = node.attributes.get("pads") or [0] * 2 * axes
        padding, end = pair(pads[:axes], 0), pair(pads[axes:], 0)
        mode = node.attributes.get("auto_pad", b"NOTSET")
        if mode == b"VALID":
            padding = end = (0, 0)
        elif mode != b"NOTSET":
            total = [
                max(
                    0,
                    (-(-size[axis] // stride[axis]) - 1) * stride[axis]
                    + (window[axis] - 1) * dilation[axis]
                    + 1
                    - size[axis],
                )
                for axis in (0, 1)
            ]
            padding, end = (total[0] // 2, total[1] // 2), (-(-total[0] // 2), -(-total[1] // 2))
            if mode == b"SAME_LOWER":
                padding, end = end, padding
        return cls(window, stride, dilation, padding, end, bool(node.attributes.get("ceil_mode", 0)))

    def target(self, source: Pair) -> Pair:
        """Height and width of what comes out."""
        result = []
        for axis in (0, 1):
            span = (self.kernel[axis] - 1) * self.dilation[axis] + 1
            free = source[axis] + self.padding[axis] + self.end[axis] - span
            count = (-(-free // self.stride[axis]) if self.ceil else free // self.stride[axis]) + 1
            if self.ceil and (count - 1) * self.stride[axis] >= source[axis] + self.padding[axis]:
                count -= 1  # a window that would start in the padding at the end is left out
            if free < 0:
                raise Refused(f"its window is larger than its input of {source[0]} x {source[1]}")
            result.append(count)
        return result[0], result[1]

    def counted(self, source: Pair, inside: bool) -> Index:
        """How many places of each window count: array (target height, target width).

        ``inside``: only those in the source; else those in the declared padding too.
        """
        counts = []
        for axis, target in enumerate(self.target(source)):
            taps = np.arange(self.kernel[axis]) * self.dilation[axis]
            places = np.arange(target)[:, None] * self.stride[axis] + taps - self.padding[axis]
            first = 0 if inside else -self.padding[axis]
            last = source[axis] + (0 if inside else self.end[axis])
            counts.append(((places >= first) & (places < last)).sum(axis=1))
        return np.outer(counts[0], counts[1])


def max_pool(net: Builder, node: Node) -> View:
    """MaxPool; what is pending passes through it when it keeps the order and is the same for all pixels."""
    view = net.view(node)
    height, width, channels = net.grid(view)
    window = Window.of(node, view, node.attributes["kernel_shape"])
    target = window.target((height, width))
    if not window.counted((height, width), inside=True).all():
        raise Refused("a window lies in the padding only")
    factor = addend = None
    pending = pending_grid(view, (height, width, channels))
    if pending is not None and (pending[0] > 0).all() and (pending[1] == pending[1][:1, :1]).all():
        factor, addend = pending[0], pending[1][0, 0]
    elif pending is not None:
        view = net.own_layer(view)
    link = MaxPool(window.kernel, window.stride, window.padding, window.dilation)
    return pooled(net, node, view, (*target, channels), link, factor, addend)


def average_pool(net: Builder, node: Node) -> View:
    """AveragePool, with and without padding counted."""
    view = net.view(node)
    height, width, _ = net.grid(view)
    window = Window.of(node, view, node.attributes["kernel_shape"])
    divisor = window.counted((height, width), inside=not node.attributes.get("count_include_pad", 0))
    if not divisor.all():
        raise Refused("a window lies in the padding only")
    return averaged(net, node, view, window, divisor)


def global_average_pool(net: Builder, node: Node) -> View:
    """The mean over all space."""
    view = net.view(node)
    height, width, _ = net.grid(view)
    window = Window((height, width), (height, width))
    return averaged(net, node, view, window, np.full((1, 1), height * width))


def reduce_mean(net: Builder, node: Node) -> View:
    """ReduceMean over axes of space, wherever they stand."""
    view = net.view(node)
    dimensions = view.index.ndim
    axes = node.attributes.get("axes")
    if axes is None:
        constant = net.constant(node, 1)
        axes = [] if constant is None else constant.tolist()
    reduced = sorted(int(axis) % dimensions for axis in axes)
    kept = [axis for axis in range(1, dimensions) if axis not in reduced]
    if dimensions not in (3, 4) or 0 in reduced or not reduced or not kept:
        raise Refused(
            f"it takes the mean of a tensor of shape {view.index.shape} over axes {reduced or 'all'}; "
            "means over one or two axes of space are supported"
        )
    channel = 1 if 1 in kept else kept[-1]
    space = [axis for axis in range(1, dimensions) if axis != channel]
    view = view.moved(lambda array: array.transpose(0, channel, *space))
    height, width, _ = net.grid(view)
    down = height if dimensions == 4 and space[0] in reduced else 1
    across = width if space[-1] in reduced else 1
    window = Window((down, across), (down, across))
    divisor = np.full(window.target((height, width)), down * across)
    result = averaged(net, node, view, window, divisor)
    result = result.moved(lambda array: array.transpose(np.argsort([0, channel, *space])))
    if not node.attributes.get("keepdims", 1):
        result = result.moved(lambda array: array.squeeze(tuple(reduced)))
    return net.probe_at(node.output, result)


def averaged(net: Builder, node: Node, view: View, window: Window, divisor: Index) -> View:
    """A layer of averages; what is pending passes through it."""
    shape, target = net.grid(view), (divisor.shape[0], divisor.shape[1])
    pending = pending_grid(view, shape)
    factor = addend = None
    if pending is not None:
        factor = pending[0]
        total = sum_pool(
            pending[1][None], target, window.kernel, window.stride, window.dilation, window.padding
        )
        addend = total[0] / divisor[:, :, None]
    link = AveragePool(window.kernel, window.stride, window.padding, window.dilation, divisor)
    return pooled(net, node, view, (*target, shape[2]), link, factor, addend)


def pooled(
    net: Builder, node: Node, view: View, shape: Shape, link: Map, factor: Float | None, addend: Float | None
) -> View:
    """A pool layer, with a factor and an addend that go on to its reader."""
    rows = channels_first(shape, view.index.ndim)
    result = net.append(node.output, shape, [Link(view.layer, link)], 0.0, rows, view.batch)
    if factor is None or addend is None:
        return result
    multiply, add = (np.broadcast_to(value, shape).ravel()[rows] for value in (factor, addend))
    sizes = result.index.shape
    spread = replace(result, multiply=np.broadcast_to(multiply, sizes), add=np.broadcast_to(add, sizes))
    return net.probe_at(node.output, spread)


# ---- moving numbers ----------------------------------------------------------


def move(net: Builder, node: Node) -> View:
    """Reshape, Flatten, Transpose, Squeeze and Unsqueeze: what ONNX does to a tensor, done to the numbers."""
    view, constant = net.view(node), net.constant(node, 1)
    shape = view.index.shape
    if node.op == "Transpose":
        order = node.attributes.get("perm", tuple(reversed(range(len(shape)))))
        return view.moved(lambda array: array.transpose(order))
    if node.op == "Flatten":
        first = math.prod(shape[: node.attributes.get("axis", 1)])
        return view.moved(lambda array: array.reshape(first, -1))
    if node.op == "Reshape":
        sizes = node.attributes["shape"] if constant is None else constant.tolist()
        if not node.attributes.get("allowzero", 0):
            sizes = [shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
        return view.moved(lambda array: array.reshape(sizes))
    given = node.attributes.get("axes") if constant is None else constant.ravel().tolist()
    axes = None if given is None else tuple(given)
    if node.op == "Squeeze":
        return view.moved(lambda array: array.squeeze(axes))
    return view.moved(lambda array: np.expand_dims(array, axes or ()))


def softmax(net: Builder, node: Node) -> View:
    """Softmax and LogSoftmax over all scores, at the end."""
    view = net.view(node)
    axis = node.attributes.get("axis", -1)
    if view.index.shape[axis] * view.batch != view.index.size:
        raise Refused(
            f"it goes over axis {axis} of shape {view.index.shape}; a softmax over all scores is supported"
        )
    return replace(view, transform={"Softmax": "softmax", "LogSoftmax": "log_softmax"}[node.op])


OPERATORS: dict[str, Callable[[Builder, Node], View]] = {
    "Add": arithmetic,
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Cast": same,
    "Clip": clip,
    "Conv": convolution,
    "Div": arithmetic,
    "Dropout": same,
    "Flatten": move,
    "Gemm": gemm,
    "GlobalAveragePool": global_average_pool,
    "Identity": same,
    "LogSoftmax": softmax,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "Mul": arithmetic,
    "ReduceMean": reduce_mean,
    "Relu": clip,
    "Reshape": move,
    "Softmax": softmax,
    "Squeeze": move,
    "Sub": arithmetic,
    "Transpose": move,
    "Unsqueeze": move,
}


# ---- the whole graph ---------------------------------------------------------


def read_layers(
    model: onnx.ModelProto, original: onnx.ModelProto, grid: tuple[int, int, int] | None
) -> Network:
    """Layers of a simplified model; ``grid`` (channels, height, width) makes a flat input an image."""
    graph = model.graph
    (result,) = graph.output
    independent = ModelError(
        f"output {result.name} does not depend on the input",
        "export the network again, in evaluation mode",
        "constant-output",
    )
    if not graph.input:
        raise independent
    (source,) = graph.input
    shape = tuple(dimension.dim_value for dimension in source.type.tensor_type.shape.dim)
    size = math.prod(shape[1:])
    uses = Counter(name for node in graph.node for name in node.input)
    uses[result.name] += 1
    layer = Layer(source.name, (1, 1, size), (), np.zeros((1, 1, size)), Probe(source.name, np.arange(size)))
    values: dict[str, View | NDArray[Any]] = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    values[source.name] = View(0, np.arange(math.prod(shape)).reshape(shape), source.name)
    net = Builder([layer], uses, values)
    read_nodes(net, model)
    output = net.values[result.name]
    if not isinstance(output, View):
        raise independent
    try:
        layers, network_input, network_output = finish(net, source.name, shape[1:], result.name, output, grid)
    except Refused as error:
        raise UnsupportedError(
            f"this network cannot be converted: {error}", "change its input or its last layer"
        ) from error
    exposed = with_probes(model, [layer.probe.tensor for layer in layers[1:]])
    return Network(
        tuple(layers), network_input, network_output, exposed, original.SerializeToString(), shape[0]
    )


def read_nodes(net: Builder, model: onnx.ModelProto) -> None:
    """Reads every node; what has no meaning here is collected and raised together."""
    refused = []
    for proto in model.graph.node:
        node = Node.of(proto)
        known = [name for name in node.inputs if name]
        if node.op in OPERATORS and any(name not in net.values for name in known):
            continue  # comes after a node that was refused
        try:
            if all(isinstance(net.values.get(name), np.ndarray) for name in known):
                net.values[node.output] = folded(net, proto, model)
            elif node.op not in OPERATORS:
                raise Refused("unsupported operator")
            else:
                check_transform(net, node)
                net.values[node.output] = OPERATORS[node.op](net, node)
        except Refused as error:
            refused.append(f"{node.op} {node.name}: {error}")
        except (ValueError, LookupError, TypeError, ArithmeticError) as error:
            refused.append(f"{node.op} {node.name}: malformed ({error})")
    if refused:
        raise UnsupportedError(
            "this network cannot be converted:\n  " + "\n  ".join(refused),
            "supported operators: " + ", ".join(sorted(OPERATORS)),
            "unsupported-operators",
        )


def check_transform(net: Builder, node: Node) -> None:
    """Refuses what computes with the probabilities of a softmax."""
    values = [net.values[name] for name in node.inputs if name]
    passed = any(isinstance(value, View) and value.transform != "none" for value in values)
    if passed and OPERATORS[node.op] not in (move, same):
        raise Refused("it follows a softmax, which is supported at the end only")


def folded(net: Builder, proto: onnx.NodeProto, model: onnx.ModelProto) -> NDArray[Any]:
    """The value of a node that reads constants only."""
    from onnx.reference import ReferenceEvaluator

    inputs = {name: net.values[name] for name in proto.input if name}
    opsets: Any = {entry.domain: entry.version for entry in model.opset_import}
    try:
        outputs: Any = ReferenceEvaluator(proto, opsets=opsets).run(None, inputs)
        return np.asarray(outputs[0])
    except Exception as error:  # whatever the evaluator cannot do
        raise Refused(f"its constant value cannot be computed ({error})") from error


def finish(
    net: Builder,
    source: str,
    shape: tuple[int, ...],
    result: str,
    output: View,
    grid: tuple[int, int, int] | None,
) -> tuple[list[Layer], NetworkInput, NetworkOutput]:
    """Orders what has been read. ``shape``: of one sample."""
    readers = {link.source for layer in net.layers for link in layer.links}
    if output.layer == 0 or output.multiply is not None or output.layer in readers:
        own = net.own_layer(replace(output, tensor=result))
        output = replace(own, transform=output.transform)
    size, rows = net.whole(output)
    numbers = np.arange(math.prod(size)).reshape(size)
    orders = [(2, 0, 1), *itertools.permutations(range(3))]
    axes = next(
        (axes for axes in orders if np.array_equal(numbers.transpose(axes).ravel(), rows.ravel())), None
    )
    if axes is None:
        raise Refused("its scores are in an order that has no grid")
    layers = in_order(push_clips(net.layers), output.layer)
    network_input, order = resolved_input(net, source, shape, grid)
    height, width, channels = order.shape
    check_size((height, width, channels))
    layers[0] = replace(
        layers[0],
        shape=(height, width, channels),
        bias=np.zeros(order.shape),
        probe=Probe(source, order.ravel()),
    )
    layers = [
        replace(layer, links=tuple(in_grid_order(link, order) for link in layer.links)) for layer in layers
    ]
    network_output = NetworkOutput(
        result, output.index.shape[1:], (axes[0], axes[1], axes[2]), output.transform
    )
    return layers, network_input, network_output


def push_clips(layers: list[Layer]) -> list[Layer]:
    """Copies the clip of a max pool to its source: clipping keeps the order, so the two commute."""
    layers = list(layers)
    for number in reversed(range(len(layers))):
        layer = layers[number]
        if layer.is_linear or not isinstance(layer.links[0].map, MaxPool):
            continue
        below = layer.links[0].source
        readers = [link for other in layers for link in other.links if link.source == below]
        source = layers[below]
        if len(readers) > 1 or not source.links:
            raise UnsupportedError(
                f"{layer.name}: a Relu follows this max pool, and its source is read elsewhere too",
                "put the Relu before the max pool, which gives the same values",
            )
        minimum, maximum = max(source.minimum, layer.minimum), min(source.maximum, layer.maximum)
        layers[below] = replace(source, minimum=minimum, maximum=maximum)
    return layers


def in_order(layers: list[Layer], last: int) -> list[Layer]:
    """The layers that the last one needs, itself at the end."""
    needed = {0, last}
    for number in reversed(range(len(layers))):
        if number in needed:
            needed.update(link.source for link in layers[number].links)
    order = [number for number in sorted(needed) if number != last] + [last]
    place = {number: position for position, number in enumerate(order)}
    return [
        replace(
            layers[number], links=tuple(Link(place[link.source], link.map) for link in layers[number].links)
        )
        for number in order
    ]


def resolved_input(
    net: Builder, name: str, shape: tuple[int, ...], grid: tuple[int, int, int] | None
) -> tuple[NetworkInput, Index]:
    """The input's layout, and the position in the user's sample of each (height, width, channel)."""
    size = math.prod(shape)
    order = net.input_map
    if order is None and grid is not None and math.prod(grid) == size:
        order = np.arange(size).reshape(grid).transpose(1, 2, 0)
    if order is None:
        order = np.arange(size).reshape(1, 1, size)
    for axes in itertools.permutations(range(3)):
        sizes = tuple(order.shape[axes.index(axis)] for axis in range(3))
        if np.array_equal(np.arange(size).reshape(sizes).transpose(axes), order):
            break
    else:
        raise Refused("the input is permuted in a way that has no grid")
    values = []
    for value in (net.multiply, net.add):
        by_place = np.broadcast_to(value, size)[order]
        if not (by_place == by_place[:1, :1]).all():
            raise Refused("the arithmetic on the input differs from pixel to pixel; by channel is supported")
        values.append(by_place[0, 0])
    layout = NetworkInput(
        name, shape, (sizes[0], sizes[1], sizes[2]), (axes[0], axes[1], axes[2]), values[0], values[1]
    )
    return layout, order


def in_grid_order(link: Link, order: Index) -> Link:
    """A dense link from the input, with its rows in (height, width, channels) order."""
    if link.source or not isinstance(link.map, Dense):
        return link
    return Link(0, Dense(link.map.weight[order.ravel()]))


def with_probes(model: onnx.ModelProto, tensors: list[str]) -> bytes:
    """The model with these tensors as further outputs."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    present = {value.name for value in result.graph.output}
    for name in dict.fromkeys(tensors):
        if name not in present:
            result.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return bytes(result.SerializeToString())
