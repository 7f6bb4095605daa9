"""Turns the nodes of a simplified ONNX graph into the layers of a float network."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgespike.errors import ModelError, UnsupportedError
from edgespike.graph import Shape
from edgespike.importers.network import (
    Convolution,
    Dense,
    Layer,
    Link,
    MaxPool,
    Network,
    NetworkInput,
    NetworkOutput,
    Probe,
    Scale,
)
from edgespike.importers.onnx_elementwise import same
from edgespike.importers.onnx_operators import (
    CHANNELWISE,
    ELEMENTWISE,
    OPERATORS,
    REFUSED,
    TAKE_PARTS,
    argmax,
    move,
)
from edgespike.importers.onnx_parts import by_pieces, gathered, is_whole
from edgespike.importers.onnx_quantized import dequantize_linear, quantize_linear
from edgespike.importers.onnx_views import Builder, Index, Node, Refused, View, check_size


def read_layers(
    model: onnx.ModelProto, original: onnx.ModelProto, grid: tuple[int, int, int] | None
) -> Network:
    """Layers of a simplified model; ``grid`` (channels, height, width) makes a flat input an image."""
    graph = model.graph
    (result,) = graph.output
    if not graph.input:
        raise constant_output(result.name)
    (source,) = graph.input
    shape = tuple(dimension.dim_value for dimension in source.type.tensor_type.shape.dim)
    size = math.prod(shape[1:])
    uses = Counter(name for node in graph.node for name in node.input)
    uses[result.name] += 1
    layer = Layer(source.name, (1, 1, size), (), np.zeros((1, 1, size)), Probe(source.name, np.arange(size)))
    values: dict[str, View | NDArray[Any]] = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    values[source.name] = View(0, np.arange(math.prod(shape)).reshape(shape), source.name)
    opsets = tuple((entry.domain, entry.version) for entry in model.opset_import)
    tensors = {name for node in graph.node for name in node.output} | {source.name}
    net = Builder([layer], uses, values, opsets, tensors)
    read_nodes(net, model)
    output = net.values.get(result.name)
    if not isinstance(output, View):
        raise constant_output(result.name)
    try:
        layers, network_input, network_output = finish(net, source.name, shape[1:], result.name, output, grid)
    except Refused as error:
        raise UnsupportedError(
            f"this network cannot be converted: {error}", "change its input or its last layer"
        ) from error
    if network_output.transform == "argmax":
        model, original = before_label(model, result.name), before_label(original, result.name)
    exposed = with_probes(model, [layer.probe.tensor for layer in layers[1:]])
    return Network(
        tuple(layers), network_input, network_output, exposed, original.SerializeToString(), shape[0]
    )


def constant_output(name: str) -> ModelError:
    """What is wrong with a network that computes nothing."""
    return ModelError(
        f"output {name} does not depend on the input",
        "export the network again, in evaluation mode",
        "constant-output",
    )


def read_nodes(net: Builder, model: onnx.ModelProto) -> None:
    """Reads every node; what has no meaning here is collected and raised together."""
    refused: list[str] = []
    for proto in model.graph.node:
        node = Node.of(proto)
        known = [name for name in node.inputs if name]
        missing = [name for name in known if name not in net.values]
        if node.op in OPERATORS and missing:
            if not refused:  # else it comes after a node that was refused
                refused.append(
                    f"{node.op} {node.name}: it reads {missing[0]}, a second output of another node"
                )
            continue
        try:
            if all(isinstance(net.values.get(name), np.ndarray) for name in known):
                net.values[node.output] = folded(net, proto, model)
            elif node.op not in OPERATORS:
                raise Refused(REFUSED.get(node.op, "unsupported operator"))
            else:
                check_transform(net, node)
                keep(net, node, proto)
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


def keep(net: Builder, node: Node, proto: onnx.NodeProto) -> None:
    """Reads one node, and keeps its outputs."""
    operator = OPERATORS[node.op]
    result: Any = None
    if node.op not in TAKE_PARTS:
        views = {name: net.values[name] for name in node.inputs if isinstance(net.values.get(name), View)}
        cut = {
            name: view for name, view in views.items() if isinstance(view, View) and not is_whole(net, view)
        }
        # x * sigmoid(x) of a joined x: both readers must see one layer
        shared = node.op in ELEMENTWISE and any(net.uses[name] > 1 for name in cut)
        if len(views) == len(cut) == 1 and node.op in ELEMENTWISE | CHANNELWISE and not shared:
            result = by_pieces(net, node, operator, ELEMENTWISE)
        for name, view in cut.items() if result is None else ():
            net.values[name] = gathered(net, replace(net.computed_view(view), tensor=name))
        result = operator(net, node) if result is None else result
        net.values |= cut  # as they were, for readers that take parts
    else:
        result = operator(net, node)
    if isinstance(result, View):
        result = [result]
    for name, view in zip(proto.output, result, strict=False):
        net.values[name] = view


def check_transform(net: Builder, node: Node) -> None:
    """Refuses what computes with the probabilities of a softmax."""
    values = [net.values[name] for name in node.inputs if name]
    passed = any(isinstance(value, View) and value.transform != "none" for value in values)
    if passed and OPERATORS[node.op] not in (move, same, argmax, quantize_linear, dequantize_linear):
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
    output = net.computed_view(output)
    if not is_whole(net, output):
        output = gathered(net, replace(output, tensor=result))
    readers = {link.source for layer in net.layers for link in layer.links}
    if output.layer == 0 or output.multiply is not None or output.layer in readers:
        own = net.own_layer(replace(output, tensor=result))
        output = replace(own, transform=output.transform)
    axes = order_of_axes(*net.whole(output))
    if axes is None:
        output = gathered(net, replace(output, tensor=result))
        axes = order_of_axes(*net.whole(output))
    if axes is None:
        raise Refused("its scores are in an order that has no grid")
    layers = in_order(merged(in_order(push_clips(net.layers), output.layer)), -1)
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
    network_output = NetworkOutput(result, output.index.shape[1:], axes, output.transform, net.label_shape)
    return layers, network_input, network_output


def order_of_axes(shape: Shape, rows: Index) -> tuple[int, int, int] | None:
    """How to transpose (height, width, channels) to have these rows; None where it takes more."""
    numbers = np.arange(math.prod(shape)).reshape(shape)
    orders = [(2, 0, 1), *itertools.permutations(range(3))]
    fitting = (axes for axes in orders if np.array_equal(numbers.transpose(axes).ravel(), rows.ravel()))
    first = next(fitting, None)
    return None if first is None else (first[0], first[1], first[2])


def push_clips(layers: list[Layer]) -> list[Layer]:
    """Copies the clip of a max pool to its source: clipping keeps the order, so the two commute."""
    layers = list(layers)
    for layer in reversed(layers):
        if layer.is_linear or not isinstance(layer.links[0].map, MaxPool):
            continue
        below = layer.links[0].source
        source = layers[below]
        minimum, maximum = max(source.minimum, layer.minimum), min(source.maximum, layer.maximum)
        layers[below] = replace(source, minimum=minimum, maximum=maximum)
    return layers


def merged(layers: list[Layer]) -> list[Layer]:
    """Layers with the function of their only reader, where that is one to one, in their place."""
    layers = list(layers)
    readers = Counter(link.source for layer in layers for link in layer.links)
    for number, layer in enumerate(layers):
        below = layer.links[0].source if layer.links else 0
        source = layers[below]
        weighted = source.links and all(
            isinstance(link.map, Dense | Convolution | Scale) for link in source.links
        )
        kept = source.function is not None or source.levels is not None
        if layer.function is None or not weighted or readers[below] > 1 or kept:
            continue
        function = layer.function
        if not source.is_linear:
            function = function.after_clip(source.minimum, source.maximum)
        layers[number] = replace(
            layer, links=source.links, bias=source.bias, probe=source.probe, function=function
        )
    return layers


def in_order(layers: list[Layer], last: int) -> list[Layer]:
    """The layers that layer ``last`` needs, itself at the end."""
    last %= len(layers)
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


def before_label(model: onnx.ModelProto, label: str) -> onnx.ModelProto:
    """The model with the scores that its last node, an ArgMax, reads as its output."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    node = made_by[label]
    while node.op_type != "ArgMax":
        node = made_by[node.input[0]]
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.output[:]
    result.graph.output.append(onnx.ValueInfoProto(name=node.input[0]))
    return result


def with_probes(model: onnx.ModelProto, tensors: list[str]) -> bytes:
    """The model with these tensors as further outputs."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    present = {value.name for value in result.graph.output}
    for name in dict.fromkeys(tensors):
        if name not in present:
            result.graph.output.append(onnx.ValueInfoProto(name=name))  # onnxruntime knows its type
    return bytes(result.SerializeToString())
