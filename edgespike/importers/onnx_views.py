"""Tensors of an ONNX graph as views of layers, and the layers made so far.

A tensor that depends on the input is a `View`: which neurons of which layer it holds, as
an array of neuron numbers in the tensor's own shape. Reshape, Transpose and the like then
only move numbers, exactly as ONNX says, and weights follow them. A view may carry a factor
and an addend that its reader folds into its own weights, so that a BatchNormalization
costs no layer of its own where a linear layer stands before or after it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgespike.errors import ModelError
from edgespike.graph import Shape
from edgespike.importers.functions import Function
from edgespike.importers.network import (
    Convolution,
    Dense,
    Float,
    Layer,
    Levels,
    Link,
    Probe,
    Scale,
)

Index = NDArray[np.int64]


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
    proto: onnx.NodeProto

    @classmethod
    def of(cls, proto: onnx.NodeProto) -> Node:
        """Reads a node; one without a name is called by its output."""
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
        output = proto.output[0] if proto.output else ""
        op = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
        return cls(op, proto.name or output, tuple(proto.input), output, attributes, proto)


@dataclass(frozen=True)
class Pending:
    """A function that no layer computes yet.

    ``clip``: it is only this clip of this view. ``levels``: its values are these.
    """

    function: Function
    clip: tuple[View, float, float] | None = None
    levels: Levels | None = None


@dataclass(frozen=True)
class View:
    """A tensor: where ``index`` is ``b * size + i`` it holds sample ``b``'s neuron ``i`` of the layer.

    The tensor's value is ``function(neuron) * multiply + add``, the last two arrays of the
    tensor's shape. ``tensor``: its name. ``sole``: nothing else reads the layer.
    ``transform``: the softmax that has been passed. ``parts``: layers of a joined view, whose
    index `onnx_parts` explains.
    """

    layer: int
    index: Index
    tensor: str
    sole: bool = True
    multiply: Float | None = None
    add: Float | None = None
    transform: str = "none"
    function: Pending | None = None
    parts: tuple[int, ...] | None = None

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
    opsets: tuple[tuple[str, int], ...]
    tensors: set[str]  # that the model has
    input_map: Index | None = None
    computed: dict[tuple[int, str], int] = field(default_factory=dict)  # by layer and function's name
    exclusive: set[int] = field(default_factory=set)  # pools that alone read what they pool
    label_shape: tuple[int, ...] = ()  # of the number of the greatest score, where that is the output
    padded: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # source, rows and columns before
    gathered: dict[str, View] = field(default_factory=dict)  # by the tensor's name
    copies: dict[str, View] = field(default_factory=dict)  # of the input, by the tensor's name
    multiply: Float = field(default_factory=lambda: np.ones(1))
    add: Float = field(default_factory=lambda: np.zeros(1))

    # ---- reading a node's inputs

    def view(self, node: Node, position: int = 0) -> View:
        """An input that depends on the network's input; no function is pending any more."""
        return self.computed_view(self.tensor(node, position))

    def tensor(self, node: Node, position: int = 0) -> View:
        """An input that depends on the network's input, as it is."""
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

    def own_piece(self, node: Node, part: View, place: slice, axis: int, number: int) -> Node:
        """A node for one part of its first input, with its part of constants by channel."""
        names = []
        for position, name in enumerate(node.inputs):
            own = f"{node.output} piece {number} of {name}"
            value: Any = part if position == 0 else self.values[name] if name else None
            if isinstance(value, np.ndarray) and position:
                value = cut_constant(value, node.op, part.index.ndim, place, axis)
            if value is not None:
                self.values[own], self.uses[own] = value, 1
            names.append(own if name else "")
        proto = onnx.NodeProto()
        proto.CopyFrom(node.proto)
        proto.input[:], proto.output[:] = names, [f"{node.output} piece {number}"]
        return Node.of(proto)

    # ---- neurons

    def rows(self, view: View) -> Index:
        """Neuron numbers of one sample, in the tensor's shape without the batch axis."""
        size = self.layers[view.layer].size
        samples = np.arange(view.batch).reshape(-1, *[1] * (view.index.ndim - 1)) * size
        whole = view.index.size > 0 and int(view.index[0].max(initial=0)) < size
        if not whole or not np.array_equal(view.index, view.index[:1] + samples):
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

    def lay_out_input(self, view: View) -> None:
        """Takes the input's grid from a view of it, with the channels in the order of the user's sample."""
        order = np.argsort(self.rows(view).reshape(view.index.shape[1], -1)[:, 0])
        self.grid(view.moved(lambda array: array[:, order]))

    def whole(self, view: View) -> tuple[Shape, Index]:
        """Shape of a layer that the view holds all of, and the neuron number at each place of the tensor."""
        rows = self.rows(view)
        if rows.size != self.layers[view.layer].size:
            raise Refused(f"it reads a part of {self.layers[view.layer].name}")
        if view.layer:
            return self.layers[view.layer].shape, rows
        if self.input_map is None and rows.ndim > 1:
            self.lay_out_input(view)
        elif self.input_map is None:
            self.require(view, np.arange(rows.size), (1, 1, rows.size))
        assert self.input_map is not None
        height, width, channels = self.input_map.shape
        return (height, width, channels), np.argsort(self.input_map.ravel())[rows]

    def is_open(self, view: View) -> bool:
        """Whether the layer can be changed in place: weighted, linear, read by nobody else."""
        layer = self.layers[view.layer]
        weighted = all(isinstance(link.map, Dense | Convolution | Scale) for link in layer.links)
        as_it_is = view.multiply is None and view.function is None
        return view.sole and bool(layer.links) and weighted and layer.is_linear and as_it_is

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

    def change(self, number: int, layer: Layer) -> None:
        """Puts another layer in a layer's place. One that only padded does not do only that any more."""
        self.layers[number] = layer
        self.padded.pop(number, None)

    def own_layer(self, view: View) -> View:
        """The view as a layer of its own, one to one, with what is pending worked in."""
        shape, rows = self.whole(view)
        link, bias = one_to_one(view, shape, rows)
        return self.append(view.tensor, shape, [link], bias, rows, view.batch)

    def input_layer(self, view: View) -> View:
        """A view of the input as one of a linear layer, the same one for all readers of the tensor."""
        if view.tensor not in self.copies:
            self.copies[view.tensor] = self.own_layer(view)
        return replace(self.copies[view.tensor], sole=view.sole)

    def computed_view(self, view: View) -> View:
        """The view with its function in a layer, one to one; `merged` makes one of both later."""
        if view.function is None:
            return view
        key = (view.layer, view.function.function.result)
        if key not in self.computed:
            self.computed[key] = self.function_layer(view.layer, view.function)
        number = self.computed[key]
        return replace(view, layer=number, function=None)

    def function_layer(self, number: int, pending: Pending) -> int:
        """Adds a layer that computes a function of another layer."""
        if pending.clip is not None:
            view, minimum, maximum = pending.clip
            own = self.own_layer(view)
            self.layers[own.layer] = replace(self.layers[own.layer], minimum=minimum, maximum=maximum)
            return own.layer
        source = self.layers[number]
        if source.function is None:
            probe = replace(source.probe, minimum=source.minimum, maximum=source.maximum)
        else:
            probe = replace(source.probe, behind=source)
        link = Link(number, Scale(np.ones(source.shape[2])))
        function = pending.function
        layer = Layer(
            function.result, source.shape, (link,), np.zeros(source.shape), probe, function=function
        )
        self.layers.append(layer if pending.levels is None else layer.with_levels(pending.levels))
        return len(self.layers) - 1

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


def spread(view: View) -> tuple[Float, Float]:
    """Pending factor and addend as arrays."""
    if view.multiply is None or view.add is None:
        return np.ones(view.index.shape), np.zeros(view.index.shape)
    return view.multiply, view.add


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


def cut_constant(value: NDArray[Any], op: str, dimensions: int, place: slice, axis: int) -> NDArray[Any]:
    """The part of a constant that belongs to a part of a tensor: of channels, or of what broadcasts to it."""
    if op == "BatchNormalization":
        return value[place]
    behind = axis - dimensions + value.ndim
    if behind < 0 or value.shape[behind] == 1:
        return value
    return np.moveaxis(np.moveaxis(value, behind, 0)[place], 0, behind)
