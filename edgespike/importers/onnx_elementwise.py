"""Operators that work element by element: arithmetic with constants, residual sums, clips, functions.

What is linear is worked into a neighbouring layer. Everything else of one tensor and
constants becomes a function of the layer that the tensor views, however many nodes an
exporter wrote for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgespike.errors import ModelError
from edgespike.importers.functions import Function
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
from edgespike.importers.onnx_parts import gathered, in_layer_order
from edgespike.importers.onnx_views import Builder, Node, Pending, Refused, View, one_to_one, spread

# ---- linear ------------------------------------------------------------------


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
    at_input = view.layer == 0 and layer.levels is None
    if rows.size == layer.size and at_input and view.sole and view.multiply is None:
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
            net.change(view.layer, replace(layer, links=links, bias=bias, probe=Probe(node.output, order)))
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


def add(net: Builder, node: Node) -> View:
    """Add, Sub and Sum: with constants, or of branches."""
    total = operand(net, node, 0)
    for position in range(1, len(node.inputs)):
        other = operand(net, node, position)
        last = position == len(node.inputs) - 1
        step = node if last else replace(node, output=f"{node.output} after {position}")
        sign = -1.0 if node.op == "Sub" else 1.0
        if isinstance(total, View) and isinstance(other, View):
            total = sum_of_views(net, step, total, other, sign)
        elif isinstance(total, View):
            total = affine(net, step, total, np.ones(1), sign * finite(other, node))
        elif isinstance(other, View):
            total = affine(net, step, other, np.full(1, sign), finite(total, node))
        else:
            total = np.asarray(total + sign * other)
    if not isinstance(total, View):
        raise Refused("all its inputs are constants")
    return total


def sum_of_views(net: Builder, node: Node, first: View, second: View, sign: float) -> View:
    """Two branches that are added: of one tensor they are a function, else a residual connection."""
    if is_same_tensor(first, second):
        if first.function is None and second.function is None:
            parts = [spread(view) for view in (first, second)]
            multiply, addend = (a + sign * b for a, b in zip(*parts, strict=True))
            return replace(first, multiply=multiply, add=addend, sole=False)
        op = "Sub" if sign < 0 else "Add"
        node = replace(node, proto=helper.make_node(op, list(node.inputs[:2]), [node.output]))
        return function_of(net, node, [first, second])
    if sign < 0:
        second = affine(net, node, second, np.full(1, -1.0), np.zeros(1))
    return residual(net, node, [net.computed_view(view) for view in (first, second)])


def multiply(net: Builder, node: Node) -> View:
    """Mul and Div by constants; of one tensor with itself they are functions."""
    values = [operand(net, node, position) for position in (0, 1)]
    first, second = values
    if isinstance(first, View) and isinstance(second, View):
        return function_of(net, node, [first, second])
    if node.op == "Mul":
        view, constant = (first, second) if isinstance(first, View) else (second, first)
        assert isinstance(view, View) and not isinstance(constant, View)
        return affine(net, node, view, finite(constant, node), np.zeros(1))
    if isinstance(second, View):
        return function_of(net, node, values)
    assert isinstance(first, View)
    constant = finite(second, node)
    if not constant.all():
        raise ModelError(f"Div {node.name} divides by zero", "export the network again", "not-finite")
    return affine(net, node, first, 1.0 / constant, np.zeros(1))


def residual(net: Builder, node: Node, views: list[View]) -> View:
    """The sum of two branches: one layer with the links of both."""
    if views[0].index.shape != views[1].index.shape:
        raise Refused(f"it broadcasts {views[0].index.shape} and {views[1].index.shape}")
    if views[0].layer == views[1].layer:
        views[1] = net.own_layer(views[1])
    if views[0].layer == 0:
        views.reverse()  # the input takes its layout from the other branch
    shape, rows = net.whole(views[0])
    laid_out = views[1].layer > 0 or net.input_map is not None
    if laid_out and rows.ndim > 1 and not np.array_equal(net.whole(views[1])[1], rows):
        views = [view if in_layer_order(net, view) else gathered(net, view) for view in views]
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
    view = net.tensor(node)
    scale, shift, mean, variance = (net.weight(node, position) for position in (1, 2, 3, 4))
    factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    sizes = (-1, *[1] * (view.index.ndim - 2))
    return affine(net, node, view, factor.reshape(sizes), (shift - mean * factor).reshape(sizes))


# ---- clips -------------------------------------------------------------------


def clip(net: Builder, node: Node) -> View:
    """Relu, Clip, and Max and Min with constants: in the layer itself where that is possible."""
    inputs = inputs_of(net, node)
    view, *others = (value for value in inputs if isinstance(value, View))
    minimum, maximum = (math.nan, math.nan) if others else clip_limits(net, node)
    if view.function is not None or not minimum <= 0 <= maximum or minimum == maximum:
        return function_of(net, node, inputs)
    lower, upper = value_range(net, view.layer)
    if view.multiply is None and minimum <= lower and upper <= maximum:
        return view
    layer = net.layers[view.layer]
    takes_it = view.layer in net.exclusive
    if not isinstance(layer.links[0].map if layer.links else None, MaxPool):
        averages = any(isinstance(link.map, AveragePool) for link in layer.links)
        takes_it = (minimum, maximum) == (0, math.inf) or not averages
    if not (takes_it and view.sole and view.layer and view.multiply is None):
        result = function_of(net, node, inputs)
        assert result.function is not None
        return replace(result, function=replace(result.function, clip=(view, minimum, maximum)))
    minimum, maximum = max(minimum, layer.minimum), min(maximum, layer.maximum)
    net.change(view.layer, replace(layer, minimum=minimum, maximum=maximum))
    return view


def clip_limits(net: Builder, node: Node) -> tuple[float, float]:
    """Least and greatest value of a Relu, Clip, Max or Min; NaN where they differ by channel."""
    if node.op == "Relu":
        return 0.0, math.inf
    if node.op in ("Max", "Min"):
        constants = [value for value in map(net.values.get, node.inputs) if isinstance(value, np.ndarray)]
        if any(value.size != 1 for value in constants):
            return math.nan, math.nan
        limits = [float(value.item()) for value in constants]
        return (max(limits), math.inf) if node.op == "Max" else (-math.inf, min(limits))
    ends = []
    for position, name, default in ((1, "min", -math.inf), (2, "max", math.inf)):
        constant = net.constant(node, position)
        ends.append(float(node.attributes.get(name, default) if constant is None else constant.item()))
    return ends[0], ends[1]


def value_range(net: Builder, number: int) -> tuple[float, float]:
    """What a layer's values cannot leave."""
    layer = net.layers[number]
    if layer.links and isinstance(layer.links[0].map, MaxPool | AveragePool):
        lower, upper = value_range(net, layer.links[0].source)
        if isinstance(layer.links[0].map, AveragePool):
            lower, upper = lower * layer.links[0].map.gain, upper * layer.links[0].map.gain
        return max(layer.minimum, min(lower, 0.0)), min(layer.maximum, max(upper, 0.0))
    return layer.minimum, layer.maximum


# ---- functions ---------------------------------------------------------------


def function(net: Builder, node: Node) -> View:
    """Any operator that works element by element, on one tensor and constants."""
    return function_of(net, node, inputs_of(net, node))


def inputs_of(net: Builder, node: Node) -> list[View | NDArray[Any] | None]:
    """All inputs as they are; None where one is left out."""
    return [operand(net, node, position) if name else None for position, name in enumerate(node.inputs)]


def operand(net: Builder, node: Node, position: int) -> View | NDArray[Any]:
    """An input: a tensor, perhaps with a function pending, or a constant."""
    value = net.values[node.inputs[position]]
    return net.tensor(node, position) if isinstance(value, View) else value


def function_of(net: Builder, node: Node, inputs: Sequence[View | NDArray[Any] | None]) -> View:
    """A view with a function pending: of the same neurons in all inputs that are no constants."""
    views = [value for value in inputs if isinstance(value, View)]
    views = [net.input_layer(view) if view.layer == 0 else view for view in views]
    first = views[0]
    if not all(is_same_tensor(first, view) for view in views):
        raise Refused(
            "it combines two tensors that both depend on the network's input, other than by adding them "
            "(as attention and squeeze-and-excite blocks do)"
        )
    function = Function(net.opsets)
    waiting = iter(views)
    names, constants = [], []
    for position, value in enumerate(inputs):
        if value is None:
            names.append("")
        elif isinstance(value, View):
            view = next(waiting)
            own = with_pending(net, view, f"{node.output} input {position}")
            function = own.beside(function)
            names.append(own.result)
        else:
            names.append(f"{node.output} constant {position}")
            constants.append(numpy_helper.from_array(for_channels(net, first, value), names[-1]))
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    proto.name = node.output
    proto.input[:] = names
    proto.output[:] = [node.output]
    pending = Pending(function.then(proto, constants))
    return replace(first, function=pending, multiply=None, add=None, tensor=node.output)


def with_pending(net: Builder, view: View, name: str) -> Function:
    """A view's function with its factor and addend worked in, as nodes."""
    function = Function(net.opsets) if view.function is None else view.function.function
    if view.multiply is None or view.add is None:
        return function
    for op, values in (("Mul", view.multiply), ("Add", view.add)):
        constant = for_channels(net, view, values.astype(np.float32))
        tensor = numpy_helper.from_array(constant, f"{name} {op} constant")
        node = helper.make_node(op, [function.result, tensor.name], [f"{name} {op}"])
        function = function.then(node, [tensor])
    return function


def for_channels(net: Builder, view: View, values: NDArray[Any]) -> NDArray[Any]:
    """A constant that broadcasts to a tensor: one number, or one for each channel of its layer."""
    if values.size == 1:
        return values.reshape(())
    shape = view.index.shape
    if np.broadcast_shapes(values.shape, shape) != shape:
        raise Refused(f"its constant of shape {values.shape} enlarges its input of shape {shape}")
    full = np.broadcast_to(values, shape)
    if (full == full.flat[0]).all():
        return np.asarray(full.flat[0])
    channel = net.rows(view) % net.layers[view.layer].shape[2]
    result = np.zeros(net.layers[view.layer].shape[2], values.dtype)
    result[channel.ravel()] = full[0].ravel()
    if not (full == result[channel]).all():
        raise Refused("the constants of its function differ from pixel to pixel; by channel is supported")
    return result


def is_same_tensor(first: View, second: View) -> bool:
    """Whether two views hold the same neurons in the same places, whatever is done to them."""
    return first.layer == second.layer and np.array_equal(first.index, second.index)


def finite(values: View | NDArray[Any], node: Node) -> Float:
    """A constant of finite real numbers."""
    assert not isinstance(values, View)
    if not np.isfinite(values).all():
        raise ModelError(
            f"a constant of {node.op} {node.name} holds NaN or infinity",
            "the training diverged or the export failed: export a sound checkpoint",
            "not-finite",
        )
    return values.astype(np.float64)


def same(net: Builder, node: Node) -> View:
    """Identity, Dropout, and Cast to a float; to integers it is a function, after a function a part of it."""
    training = net.constant(node, 2) if node.op == "Dropout" else None
    if training is not None and training.all():
        raise Refused("it is in training mode: export the network in evaluation mode")
    if node.attributes.get("to", TensorProto.FLOAT) != TensorProto.FLOAT:
        return function(net, node)
    view = net.tensor(node)
    if node.op == "Cast" and view.function is not None and view.function.clip is None:
        return function_of(net, node, [view])
    return view
