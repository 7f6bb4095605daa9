"""Quantized networks: QuantizeLinear and its kin keep the levels that they say.

A tensor behind QuantizeLinear is a view of a layer with given levels, its integers being
``level + zero point``. So QLinearConv is a Conv between two of these, and int8 weights are
real weights on a grid that the quantizer finds again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from edgespike.importers.network import Float, Levels, MaxPool
from edgespike.importers.onnx_elementwise import affine, function_of
from edgespike.importers.onnx_views import Builder, Node, Refused, View

Operators = dict[str, Callable[[Builder, Node], Any]]

# ---- to integers and back ----------------------------------------------------


def quantize_linear(net: Builder, node: Node) -> View:
    """QuantizeLinear: from here on these are the layer's levels. Probabilities at the end stay real."""
    if net.tensor(node).transform != "none":
        return net.tensor(node)
    return quantized(net, node, net.tensor(node), net.constant(node, 1), net.constant(node, 2))


def dequantize_linear(net: Builder, node: Node) -> View:
    """DequantizeLinear."""
    if net.tensor(node).transform != "none":
        return net.tensor(node)
    return dequantized(net, node, net.tensor(node), net.constant(node, 1), net.constant(node, 2))


def quantized(
    net: Builder, node: Node, view: View, scale: NDArray[Any] | None, zero: NDArray[Any] | None
) -> View:
    """A view as integers of a type, whose real values are ``(integer - zero) * scale``."""
    factor, offset, low, high = integers(scale, zero)
    if view.function is not None:
        return as_function(net, "QuantizeLinear", node, view, scale, zero)
    view = with_levels(net, view, Levels(factor, low - offset, high - offset))
    shape = view.index.shape
    pending = replace(view, multiply=np.full(shape, 1 / factor), add=np.full(shape, float(offset)))
    return net.probe_at(node.output, pending) if can_be_read(net, view) else pending


def dequantized(
    net: Builder, node: Node, view: View, scale: NDArray[Any] | None, zero: NDArray[Any] | None
) -> View:
    """A view of integers as real values."""
    factor, offset, low, high = integers(scale, zero)
    if view.function is not None:
        result = as_function(net, "DequantizeLinear", node, view, scale, zero)
        assert result.function is not None
        levels = Levels(factor, low - offset, high - offset)
        return replace(result, function=replace(result.function, levels=levels))
    result = affine(net, node, view, np.full(1, factor), np.full(1, -factor * offset))
    if result.multiply is not None and result.add is not None:
        own = np.abs(result.multiply - 1).max() < 1e-6 and np.abs(result.add).max() < 1e-6 * factor
        if own:  # the levels' own real values
            return replace(result, multiply=None, add=None)
    return result


def as_function(
    net: Builder, op: str, node: Node, view: View, scale: NDArray[Any] | None, zero: NDArray[Any] | None
) -> View:
    """The step as a part of the function that is pending: rounding included, as onnxruntime rounds."""
    constants = [value for value in (scale, zero) if value is not None]
    names = [f"{node.output} {op} {number}" for number in range(1 + len(constants))]
    step = Node.of(helper.make_node(op, names, [f"{node.output} {op}"], node.name))
    return function_of(net, step, [view, *constants])


def integers(scale: NDArray[Any] | None, zero: NDArray[Any] | None) -> tuple[float, int, int, int]:
    """Scale, zero point, least and greatest integer of a quantization."""
    kind = np.dtype(np.uint8) if zero is None else zero.dtype
    if scale is None or scale.size != 1 or (zero is not None and zero.size != 1):
        raise Refused("it quantizes an activation with a scale for each channel; one for all is supported")
    if kind not in (np.int8, np.uint8, np.int16, np.uint16):
        raise Refused(f"it quantizes to {kind}; 8 and 16 bits are supported")
    info = np.iinfo(kind)
    return float(scale.item()), 0 if zero is None else int(zero.item()), int(info.min), int(info.max)


def with_levels(net: Builder, view: View, levels: Levels) -> View:
    """A view of a layer that has these levels."""
    if levels.high - levels.low > 0xFFFF or levels.low < -(1 << 15) or levels.high >= 1 << 15:
        raise Refused(f"its levels {levels.low} .. {levels.high} are no 16-bit numbers")
    if view.multiply is None and levels_of(net, view.layer) == levels:
        return view
    layer = net.layers[view.layer]
    pooled = any(isinstance(link.map, MaxPool) for link in layer.links)
    if view.multiply is not None or layer.levels is not None or pooled or not view.sole:
        view = net.own_layer(view)
        layer = net.layers[view.layer]
    source = net.padded.get(view.layer, (view.layer, 0, 0))[0]
    if source != view.layer and levels_of(net, source) != levels:
        net.padded.pop(view.layer)  # it does more than to pad
    net.layers[view.layer] = layer.with_levels(levels) if view.layer else replace(layer, levels=levels)
    return view


def levels_of(net: Builder, number: int) -> Levels | None:
    """The levels that a layer was given, or that it takes over from the source of its max pool."""
    layer = net.layers[number]
    if layer.links and isinstance(layer.links[0].map, MaxPool):
        return levels_of(net, layer.links[0].source)
    return layer.levels


def can_be_read(net: Builder, view: View) -> bool:
    """Whether a layer has no probe yet that the model knows, and so takes this one."""
    layer = net.layers[view.layer]
    return view.layer > 0 and layer.function is None and layer.probe.tensor not in net.tensors


# ---- operators on integers ---------------------------------------------------


class Steps:
    """Writes an operator on integers as steps on real numbers."""

    def __init__(self, net: Builder, node: Node, operators: Operators) -> None:
        self.net, self.node, self.operators = net, node, operators

    def real(self, position: int) -> View | NDArray[Any]:
        """The input at a position, whose scale and zero point are the next two inputs."""
        scale, zero = (self.net.constant(self.node, position + i) for i in (1, 2))
        value = self.net.values[self.node.inputs[position]]
        if isinstance(value, View):
            view = self.net.tensor(self.node, position)
            # no tensor has these real values: the layer stays as it is, and what is to do stays pending
            kept = replace(view, sole=view.sole and view.layer == 0)
            return replace(dequantized(self.net, self.node, kept, scale, zero), sole=view.sole)
        if scale is None:
            raise Refused("a scale is missing")
        return np.asarray((value.astype(np.float64) - (0 if zero is None else zero)) * scale)

    def do(self, op: str, inputs: list[View | NDArray[Any]], **attributes: Any) -> View:
        """One step."""
        names = [f"{self.node.output} {op} {number}" for number in range(len(inputs))]
        for name, value in zip(names, inputs, strict=True):
            self.net.values[name] = value
            self.net.uses[name] = 1
        other = ("channels_last", "opset")
        kept = {name: value for name, value in self.node.attributes.items() if name not in other}
        output = f"{self.node.output} {op}"
        proto = helper.make_node(op, names, [output], self.node.name, **(kept | attributes))
        result: View = self.operators[op](self.net, Node.of(proto))
        return replace(result, tensor=output)

    def back(self, view: View, position: int) -> View:
        """The result as integers; scale and zero point are inputs."""
        scale, zero = (self.net.constant(self.node, position + i) for i in (0, 1))
        return quantized(self.net, self.node, view, scale, zero)


def quantized_convolution(operators: Operators, net: Builder, node: Node) -> View:
    """QLinearConv."""
    steps = Steps(net, node, operators)
    view, weight = steps.real(0), per_channel(net, node, 3, axis=0)
    inputs: list[View | NDArray[Any]] = [view, weight]
    bias = net.constant(node, 8)
    if bias is not None:
        scales = net.weight(node, 1) * net.weight(node, 4)
        inputs.append(bias * scales)
    return steps.back(steps.do("Conv", inputs), 6)


def quantized_gemm(operators: Operators, net: Builder, node: Node) -> View:
    """QLinearMatMul, and com.microsoft.QGemm, which has a bias."""
    steps = Steps(net, node, operators)
    biased = node.op.endswith("QGemm")
    flipped = biased and node.attributes.get("transB", 0)
    weight = per_channel(net, node, 3, axis=0 if flipped else 1)
    view = steps.real(0)
    if not biased:
        return steps.back(steps.do("MatMul", [view, weight]), 6)
    inputs: list[View | NDArray[Any]] = [view, weight]
    bias = net.constant(node, 6)
    if bias is not None:
        inputs.append(bias * net.weight(node, 1) * net.weight(node, 4) * node.attributes.get("alpha", 1.0))
    return steps.back(steps.do("Gemm", inputs), 7)


def quantized_step(op: str, operands: int, operators: Operators, net: Builder, node: Node) -> View:
    """com.microsoft.QLinearAdd, QLinearSigmoid and others that are an ONNX operator on real numbers."""
    if node.attributes.get("channels_last", 0):
        raise Refused("its channels come last; channels first are supported")
    steps = Steps(net, node, operators)
    inputs = [steps.real(3 * number) for number in range(operands)]
    return steps.back(steps.do(op, inputs), 3 * operands)


def quantized_softmax(operators: Operators, net: Builder, node: Node) -> View:
    """com.microsoft.QLinearSoftmax at the end, of real probabilities."""
    steps = Steps(net, node, operators)
    return steps.do("Softmax", [steps.real(0)], axis=node.attributes.get("axis", -1))


def integer_product(op: str, operators: Operators, net: Builder, node: Node) -> View:
    """ConvInteger and MatMulInteger of a tensor with static scale: the product of whole numbers."""
    steps = Steps(net, node, operators)
    zeros = [net.constant(node, position) for position in (2, 3)]
    view = net.tensor(node)
    if zeros[0] is not None:
        view = affine(net, node, view, np.ones(1), -zeros[0].astype(np.float64))
    weight = net.weight(node, 1)
    if zeros[1] is not None:
        axes = [1] * (weight.ndim - 1)
        offset = zeros[1].reshape(-1, *axes) if op == "Conv" else zeros[1]
        weight = weight - offset
    return steps.do(op, [view, weight])


def per_channel(net: Builder, node: Node, position: int, axis: int) -> Float:
    """Real weights of integers with a scale for all, or for each index along an axis."""
    weight, scale = net.weight(node, position), net.weight(node, position + 1)
    zero = net.constant(node, position + 2)
    offset = np.zeros(1) if zero is None else zero.astype(np.float64)
    sizes = [-1 if number == axis else 1 for number in range(weight.ndim)]
    return (weight - offset.reshape(sizes)) * scale.reshape(sizes)
