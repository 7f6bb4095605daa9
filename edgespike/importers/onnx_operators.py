"""What each ONNX operator makes of its inputs: new layers, or views that are moved or pending."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import TensorProto

from edgespike.errors import ModelError
from edgespike.graph import Shape
from edgespike.importers.network import (
    AveragePool,
    Convolution,
    Dense,
    Float,
    Link,
    Map,
    MaxPool,
    Probe,
    Scale,
)
from edgespike.importers.onnx_views import (
    Builder,
    Index,
    Node,
    Refused,
    View,
    channels_first,
    one_to_one,
    pending_grid,
)
from edgespike.linear_maps import convolve, sum_pool

Pair = tuple[int, int]

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
    """Identity, Dropout, and Cast to a float."""
    if node.attributes.get("to", TensorProto.FLOAT) != TensorProto.FLOAT:
        raise Refused("it casts to integers")
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
