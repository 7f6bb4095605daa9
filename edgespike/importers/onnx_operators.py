"""What each ONNX operator makes of its inputs: new layers, or views that are moved or pending."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from edgespike.graph import Shape
from edgespike.importers.network import (
    AveragePool,
    Convolution,
    Dense,
    Float,
    Link,
    Map,
    MaxPool,
)
from edgespike.importers.onnx_elementwise import add, batch_normalization, clip, function, multiply, same
from edgespike.importers.onnx_parts import (
    by_layer_channel,
    channels_of,
    concat,
    gathered,
    in_layer_order,
    is_whole,
    pad,
    part_of,
    pieces,
    space_of,
    split,
    spread_weight,
    taken,
)
from edgespike.importers.onnx_quantized import (
    dequantize_linear,
    integer_product,
    quantize_linear,
    quantized_convolution,
    quantized_gemm,
    quantized_softmax,
    quantized_step,
)
from edgespike.importers.onnx_views import (
    Builder,
    Index,
    Node,
    Refused,
    View,
    channels_first,
    pending_grid,
)
from edgespike.linear_maps import convolve, sum_pool

Pair = tuple[int, int]

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
    links = []
    for part, place in pieces(net, view.moved(lambda array: array.reshape(len(array), -1)), 1):
        matrix = np.zeros((net.layers[part.layer].size, weight.shape[1]))
        np.add.at(matrix, net.rows(part), weight[place])
        links.append(Link(part.layer, Dense(matrix)))
    rows = np.arange(weight.shape[1]).reshape(*places, -1)
    return net.append(node.output, (1, 1, weight.shape[1]), links, bias, rows, view.batch)


def pointwise(net: Builder, node: Node, view: View, weight: Float, bias: Float) -> View:
    """A matrix applied at each place of a channels-last tensor: a 1 x 1 convolution."""
    last = view.index.ndim - 1
    first = view.moved(lambda array: np.moveaxis(array, last, 1))
    height, width = (1, *first.index.shape[2:])[-2:]
    link = Convolution(weight[:, None, None, :], (1, 1), (1, 1), (0, 0), 1)
    result = convolved(net, node, first, (height, width, weight.shape[1]), link, bias)
    return net.probe_at(node.output, result.moved(lambda array: np.moveaxis(array, 1, last)))


def convolution(net: Builder, node: Node) -> View:
    """Conv along one or two axes."""
    view = net.view(node)
    height, width = space_of(view)
    channels = view.index.shape[1]
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
    bias = np.zeros(targets) if net.constant(node, 2) is None else net.weight(node, 2)
    shape = (*window.target((height, width)), targets)
    if groups == 1:
        return convolved(net, node, view, shape, link, bias)
    if groups < channels or not is_whole(net, view):
        view = view if in_layer_order(net, view) else gathered(net, view)
        return convolved(net, node, view, shape, link, bias)
    return depthwise(net, node, view, shape, link, bias)


def depthwise(net: Builder, node: Node, view: View, shape: Shape, link: Convolution, bias: Float) -> View:
    """A group for each channel: they may lie in another order than in their layer, and stay in that."""
    plain, order = by_layer_channel(net, view)
    source = np.argsort(order)
    bias = bias.reshape(len(order), -1)[source].ravel()
    result = convolved(net, node, plain, shape, replace(link, weight=link.weight[source]), bias)
    each = shape[2] // len(order)
    return reordered(net, node, result, (order[:, None] * each + np.arange(each)).ravel())


def convolved(net: Builder, node: Node, view: View, shape: Shape, link: Convolution, bias: Float) -> View:
    """A convolution layer, with what is pending on its source folded in.

    What pads the border is 0 after that, so the addend's part of the bias differs there.
    """
    links = []
    for part, place in pieces(net, view, 1):
        grid, channels = channels_of(net, part)
        own = replace(link, weight=link.weight[place])
        pending = pending_grid(part, (*grid[:2], len(channels)))
        if pending is not None:
            factor, addend = pending
            target = (shape[0], shape[1])
            geometry = (own.stride, own.dilation, own.padding, own.groups)
            bias = bias + convolve(addend[None], own.weight, target, *geometry)[0]
            own = replace(own, weight=own.weight * factor[:, None, None, None])
        if not np.array_equal(channels, np.arange(grid[2])):
            assert own.groups == 1, "others read whole layers, in order"
            own = replace(own, weight=spread_weight(own.weight, channels, grid[2]))
        source, top, left = net.padded.get(part.layer, (part.layer, 0, 0))
        own = replace(own, padding=(own.padding[0] + top, own.padding[1] + left))
        links.append(Link(source, own))
    rows = channels_first(shape, view.index.ndim)
    return net.append(node.output, shape, links, bias, rows, view.batch)


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
    """MaxPool."""
    view = net.view(node)
    height, width = space_of(view)
    window = Window.of(node, view, node.attributes["kernel_shape"])
    if not window.counted((height, width), inside=True).all():
        raise Refused("a window lies in the padding only")
    return greatest(net, node, view, window)


def greatest(net: Builder, node: Node, view: View, window: Window) -> View:
    """A layer of maxima. What is pending passes through it when it keeps the order, alike for all pixels."""
    plain, order = by_layer_channel(net, view)
    height, width, channels = net.grid(plain)
    factor = addend = None
    pending = pending_grid(plain, (height, width, channels))
    if pending is not None and (pending[0] > 0).all() and (pending[1] == pending[1][:1, :1]).all():
        factor, addend = pending[0], pending[1][0, 0]
    elif pending is not None:
        plain, order = by_layer_channel(net, net.own_layer(view))
    link = MaxPool(window.kernel, window.stride, window.padding, window.dilation)
    shape = (*window.target((height, width)), channels)
    return reordered(net, node, pooled(net, node, plain, shape, link, factor, addend), order)


def average_pool(net: Builder, node: Node) -> View:
    """AveragePool, with and without padding counted."""
    view = net.view(node)
    height, width = space_of(view)
    window = Window.of(node, view, node.attributes["kernel_shape"])
    divisor = window.counted((height, width), inside=not node.attributes.get("count_include_pad", 0))
    if not divisor.all():
        raise Refused("a window lies in the padding only")
    return averaged(net, node, view, window, divisor)


def global_pool(net: Builder, node: Node) -> View:
    """GlobalAveragePool and GlobalMaxPool: over all space."""
    view = net.view(node)
    height, width = space_of(view)
    window = Window((height, width), (height, width))
    if node.op == "GlobalMaxPool":
        return greatest(net, node, view, window)
    return averaged(net, node, view, window, np.full((1, 1), height * width))


def reduce(net: Builder, node: Node) -> View:
    """ReduceMean, ReduceSum and ReduceMax over axes of space, wherever they stand."""
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
            f"it reduces a tensor of shape {view.index.shape} over axes {reduced or 'all'}; "
            "one or two axes of space are supported"
        )
    channel = 1 if 1 in kept else kept[-1]
    space = [axis for axis in range(1, dimensions) if axis != channel]
    view = view.moved(lambda array: array.transpose(0, channel, *space))
    height, width = space_of(view)
    down = height if dimensions == 4 and space[0] in reduced else 1
    across = width if space[-1] in reduced else 1
    window = Window((down, across), (down, across))
    if node.op == "ReduceMax":
        result = greatest(net, node, view, window)
    else:
        count = down * across if node.op == "ReduceMean" else 1
        divisor = np.full(window.target((height, width)), count)
        result = averaged(net, node, view, window, divisor)
    result = result.moved(lambda array: array.transpose(np.argsort([0, channel, *space])))
    if not node.attributes.get("keepdims", 1):
        result = result.moved(lambda array: array.squeeze(tuple(reduced)))
    return net.probe_at(node.output, result)


def averaged(net: Builder, node: Node, view: View, window: Window, divisor: Index) -> View:
    """A layer of averages; what is pending passes through it."""
    view, order = by_layer_channel(net, view)
    shape, target = net.grid(view), (divisor.shape[0], divisor.shape[1])
    pending = pending_grid(view, shape)
    factor = addend = None
    if pending is not None:
        factor = pending[0]
        total = sum_pool(
            pending[1][None], target, window.kernel, window.stride, window.dilation, window.padding
        )
        addend = total[0] / divisor[:, :, None]
    source, top, left = net.padded.get(view.layer, (view.layer, 0, 0))
    view = replace(view, layer=source)
    padding = (window.padding[0] + top, window.padding[1] + left)
    link = AveragePool(window.kernel, window.stride, padding, window.dilation, divisor)
    return reordered(net, node, pooled(net, node, view, (*target, shape[2]), link, factor, addend), order)


def reordered(net: Builder, node: Node, result: View, order: Index) -> View:
    """What a node makes, with its channels in the order that it read them in."""
    if np.array_equal(order, np.arange(len(order))):
        return result
    return net.probe_at(node.output, taken(result, order, 1))


def pooled(
    net: Builder, node: Node, view: View, shape: Shape, link: Map, factor: Float | None, addend: Float | None
) -> View:
    """A pool layer, with a factor and an addend that go on to its reader."""
    rows = channels_first(shape, view.index.ndim)
    result = net.append(node.output, shape, [Link(view.layer, link)], 0.0, rows, view.batch)
    if isinstance(link, MaxPool) and is_exclusive(net, view):
        net.exclusive.add(result.layer)
    if factor is None or addend is None:
        return result
    multiply, add = (np.broadcast_to(value, shape).ravel()[rows] for value in (factor, addend))
    sizes = result.index.shape
    spread = replace(result, multiply=np.broadcast_to(multiply, sizes), add=np.broadcast_to(add, sizes))
    return net.probe_at(node.output, spread)


def is_exclusive(net: Builder, view: View) -> bool:
    """Whether a max pool of this view can hand its clip down: to a layer of sums that nobody else reads."""
    maps = [link.map for link in net.layers[view.layer].links]
    pooled = any(isinstance(link, MaxPool | AveragePool) for link in maps)
    return view.sole and (view.layer in net.exclusive or (bool(maps) and not pooled))


# ---- moving numbers ----------------------------------------------------------


def move(net: Builder, node: Node) -> View:
    """Reshape, Flatten, Transpose, Squeeze and Unsqueeze: what ONNX does to a tensor, done to the numbers."""
    view, constant = net.tensor(node), net.constant(node, 1)
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


# Work element by element, whatever they compute. Comparisons only make sense before a Where.
FUNCTIONS = (
    *("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Cos", "Cosh", "Elu", "Erf"),
    *("Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish", "Mod", "Neg", "PRelu"),
    *("Pow", "Reciprocal", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus"),
    *("Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where"),
    *("And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Xor"),
    *("com.microsoft.FastGelu", "com.microsoft.Gelu", "com.microsoft.QuickGelu"),
)

# Why, and what to do, where a name alone does not say it.
REFUSED = {
    "ConvTranspose": "a transposed convolution; upsampling is not supported",
    "DynamicQuantizeLinear": "it measures its scale on every sample: quantize with "
    "onnxruntime.quantization.quantize_static, or convert the float network",
    "GroupNormalization": "it measures every sample: train with batch normalization",
    "InstanceNormalization": "it measures every sample: train with batch normalization",
    "LayerNormalization": "it measures every sample: train with batch normalization",
    "LSTM": "a recurrent layer; spiking recurrent networks come as NIR",
    "GRU": "a recurrent layer; spiking recurrent networks come as NIR",
    "RNN": "a recurrent layer; spiking recurrent networks come as NIR",
    "LpPool": "a pool of powers: average or max pools are supported",
    "Resize": "upsampling is not supported",
    "Upsample": "upsampling is not supported",
}

QUANTIZED_STEPS = {"AveragePool": 1, "GlobalAveragePool": 1, "LeakyRelu": 1, "Sigmoid": 1, "Add": 2, "Mul": 2}


def argmax(net: Builder, node: Node) -> View:
    """ArgMax over all scores, at the end: done by the host."""
    view = net.view(node)
    axis = node.attributes.get("axis", 0)
    if view.index.shape[axis] * view.batch != view.index.size or axis % view.index.ndim == 0:
        raise Refused(f"it goes over axis {axis} of shape {view.index.shape}; all scores are supported")
    if node.attributes.get("select_last_index", 0):
        raise Refused("it chooses the last of equal scores; the first is supported")
    kept = node.attributes.get("keepdims", 1)
    net.label_shape = (1,) * (view.index.ndim - 1 if kept else view.index.ndim - 2)
    return replace(view, transform="argmax")


OPERATORS: dict[str, Callable[[Builder, Node], Any]] = {
    "Add": add,
    "ArgMax": argmax,
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Cast": same,
    "Clip": clip,
    "Concat": concat,
    "Conv": convolution,
    "Div": multiply,
    "Dropout": same,
    "Flatten": move,
    "Gather": part_of,
    "Gemm": gemm,
    "GlobalAveragePool": global_pool,
    "GlobalMaxPool": global_pool,
    "Identity": same,
    "LogSoftmax": softmax,
    "MatMul": matmul,
    "Max": clip,
    "MaxPool": max_pool,
    "Min": clip,
    "Mul": multiply,
    "Pad": pad,
    "ReduceMax": reduce,
    "ReduceMean": reduce,
    "ReduceSum": reduce,
    "Relu": clip,
    "Reshape": move,
    "Slice": part_of,
    "Softmax": softmax,
    "Split": split,
    "Squeeze": move,
    "Sub": add,
    "Sum": add,
    "Transpose": move,
    "Unsqueeze": move,
    **dict.fromkeys(FUNCTIONS, function),
}

# Take tensors of several layers, or of a part of one, as they are.
TAKE_PARTS = {
    *("Concat", "Conv", "ConvInteger", "Gather", "Gemm", "MatMul", "MatMulInteger", "Slice", "Split"),
    *(name for name, operator in OPERATORS.items() if operator in (move, same)),
}

# Work element by element, or channel by channel, so that joined tensors may come layer by layer.
ELEMENTWISE = {*FUNCTIONS, "Add", "Sub", "Mul", "Div", "Relu", "Clip", "Max", "Min"}
ELEMENTWISE |= {"QuantizeLinear", "DequantizeLinear"}
CHANNELWISE = {"AveragePool", "BatchNormalization", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"}

# Quantized operators are steps on real numbers, which the table above has.
OPERATORS |= {
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "QLinearConv": partial(quantized_convolution, OPERATORS),
    "QLinearMatMul": partial(quantized_gemm, OPERATORS),
    "com.microsoft.QGemm": partial(quantized_gemm, OPERATORS),
    "com.microsoft.QLinearSoftmax": partial(quantized_softmax, OPERATORS),
    "ConvInteger": partial(integer_product, "Conv", OPERATORS),
    "MatMulInteger": partial(integer_product, "MatMul", OPERATORS),
    **{
        f"com.microsoft.QLinear{op}": partial(quantized_step, op, operands, OPERATORS)
        for op, operands in QUANTIZED_STEPS.items()
    },
}
