"""Tensors of several layers, or of a part of one: Concat, Split, Slice, Gather and Pad.

A joined view numbers its neurons through all its layers, so that what moves numbers moves
these too. Readers that mix channels (Conv, MatMul) get a link from each layer and cost
nothing more. What works channel by channel is done layer by layer. Anything else reads a
layer that gathers the channels, by weights of 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.graph import Shape
from edgespike.importers.network import Convolution, Dense, Link
from edgespike.importers.onnx_views import Builder, Index, Node, Refused, View, channels_first, spread

Operator = Callable[[Builder, Node], Any]

PART = 1 << 40  # part number times this, plus what the index of a view of that layer says

# ---- operators ---------------------------------------------------------------


def concat(net: Builder, node: Node) -> View:
    """Concat along any axis but the batch."""
    axis = int(node.attributes["axis"])
    views = [net.view(node, position) for position in range(len(node.inputs))]
    axis %= views[0].index.ndim
    if axis == 0:
        raise Refused("it joins samples")
    return joined(views, axis, node.output)


def joined(views: list[View], axis: int, tensor: str) -> View:
    """One view of several, along an axis."""
    layers: list[int] = []
    indices = []
    for view in views:
        own = list(view.parts or (view.layer,))
        known, place = (view.index // PART, view.index % PART) if view.parts else (0, view.index)
        indices.append((known + len(layers)) * PART + place)
        layers += own
    pending = [spread(view) for view in views]
    multiply, add = (np.concatenate([pair[i] for pair in pending], axis=axis) for i in (0, 1))
    plain = all(view.multiply is None for view in views)
    return View(
        layers[0],
        np.concatenate(indices, axis=axis),
        tensor,
        sole=all(view.sole for view in views),
        multiply=None if plain else multiply,
        add=None if plain else add,
        parts=tuple(layers),
    )


def part_of(net: Builder, node: Node) -> View:
    """Slice and Gather with constant places."""
    view = before_cut(net, node)
    if node.op == "Gather":
        axis, places = int(node.attributes.get("axis", 0)), net.constant(node, 1)
        assert places is not None
        if axis % view.index.ndim == 0:
            raise Refused("it chooses samples")
        return taken(view, places.astype(np.int64), axis)
    given = [node.attributes.get(name) for name in ("starts", "ends", "axes", "steps")]
    for number in range(len(node.inputs) - 1):
        constant = net.constant(node, number + 1)
        given[number] = given[number] if constant is None else constant.tolist()
    starts, ends, axes, steps = given
    assert starts is not None and ends is not None
    cut = [slice(None)] * view.index.ndim
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = (axes[number] if axes else number) % view.index.ndim
        step = steps[number] if steps else 1
        limit = None if (step < 0 and end < -view.index.shape[axis]) else end
        cut[axis] = slice(start, limit, step)
    if len(range(*cut[0].indices(view.batch))) != view.batch:
        raise Refused("it cuts samples")
    if not view.index[tuple(cut)].size:
        raise Refused("it leaves nothing")
    return view.moved(lambda array: array[tuple(cut)])


def split(net: Builder, node: Node) -> list[View]:
    """Split: a view for each output."""
    view = before_cut(net, node)
    axis = int(node.attributes.get("axis", 0)) % view.index.ndim
    count, size = len(node.proto.output), view.index.shape[axis]
    constant = net.constant(node, 1)
    sizes = node.attributes.get("split") if constant is None else constant.tolist()
    if axis == 0:
        raise Refused("it splits samples")
    if not sizes:
        each = math.ceil(size / count)
        sizes = [each] * (count - 1) + [size - each * (count - 1)]
    ends = np.cumsum(sizes).tolist()
    return [
        replace(taken(view, np.arange(end - part, end), axis), tensor=name)
        for name, end, part in zip(node.proto.output, ends, sizes, strict=True)
    ]


def taken(view: View, places: Index, axis: int) -> View:
    """Some places of a view along an axis."""
    return view.moved(lambda array: np.take(array, places, axis))


def before_cut(net: Builder, node: Node) -> View:
    """The tensor that is cut. An input that nobody has laid out yet has its channels in front."""
    view = net.view(node)
    if not view.parts and view.layer == 0 and net.input_map is None:
        if view.index.ndim in (3, 4):
            net.grid(view)
        else:
            net.whole(view)
    return replace(view, sole=False)


def pad(net: Builder, node: Node) -> View:
    """Pad with a number along axes of space; zeros are taken over by a Conv or an average pool behind it."""
    mode = node.attributes.get("mode", b"constant")
    if mode != b"constant":
        raise Refused(f"it pads by {mode.decode()}; padding with a constant is supported: train with zeros")
    view, value = net.view(node), net.constant(node, 2)
    filling = node.attributes.get("value", 0.0) if value is None else float(value.item())
    amounts = node.attributes.get("pads") if len(node.inputs) < 2 else net.constant(node, 1)
    chosen = net.constant(node, 3)
    dimensions = view.index.ndim
    axes = list(range(dimensions)) if chosen is None else [int(axis) % dimensions for axis in chosen]
    sizes = np.zeros((2, dimensions), np.int64)
    sizes[:, axes] = np.asarray(amounts, np.int64).reshape(2, -1)
    if not sizes.any():
        return view
    if (sizes < 0).any():
        raise Refused("it pads by less than 0: cut with Slice")
    if not np.isfinite(filling):
        raise Refused(f"it pads with {filling}; padding with a number is supported: use the pads of MaxPool")
    padded = [axis for axis in range(dimensions) if sizes[:, axis].any()]
    last_is_channel = dimensions in (3, 4) and dimensions - 1 not in padded and 1 in padded
    if 0 in padded or dimensions not in (3, 4) or (1 in padded and not last_is_channel):
        raise Refused(f"it pads axes {padded} of shape {view.index.shape}; axes of space are supported")
    if last_is_channel:
        view = view.moved(lambda array: np.moveaxis(array, -1, 1))
        sizes = np.concatenate([sizes[:, :1], sizes[:, -1:], sizes[:, 1:-1]], axis=1)
    factor, addend = spread(view)
    of_levels = (factor == factor.flat[0]).all() and (addend == filling).all()  # 0 of what is pending
    if view.multiply is not None and not of_levels:
        view = net.own_layer(view)
    height, width, channels = net.grid(view)
    (top, bottom), (left, right) = sizes[:, 2] if dimensions == 4 else (0, 0), sizes[:, -1]
    shape = (int(height + top + bottom), int(width + left + right), channels)
    ones = Convolution(np.ones((channels, 1, 1, 1)), (1, 1), (1, 1), (int(top), int(left)), channels)
    rows = channels_first(shape, dimensions)
    bias = np.full(shape, 0.0 if view.multiply is not None else filling)
    bias[top : top + height, left : left + width] = 0
    result = net.append(node.output, shape, [Link(view.layer, ones)], bias, rows, view.batch)
    if not bias.any():
        net.padded[result.layer] = (view.layer, int(top), int(left))
    if view.multiply is not None:
        area = result.index.shape
        pending = replace(result, multiply=np.full(area, factor.flat[0]), add=np.full(area, filling))
        result = net.probe_at(node.output, pending)
    if last_is_channel:
        result = net.probe_at(node.output, result.moved(lambda array: np.moveaxis(array, 1, -1)))
    return result


# ---- readers -----------------------------------------------------------------


def is_whole(net: Builder, view: View) -> bool:
    """Whether a view is of all neurons of one layer."""
    return view.parts is None and view.index.size == net.layers[view.layer].size * view.batch


def pieces(net: Builder, view: View, axis: int) -> list[tuple[View, slice]]:
    """Views of single layers that together are this one, along an axis."""
    if view.parts is None:
        return [(view, slice(0, view.index.shape[axis]))]
    owner = np.moveaxis(view.index // PART, axis, 0).reshape(view.index.shape[axis], -1)
    if (owner != owner[:, :1]).any():
        raise Refused("it reads joined tensors that were reshaped across their border")
    borders = [0, *(np.flatnonzero(np.diff(owner[:, 0])) + 1).tolist(), len(owner)]
    found = []
    for start, end in pairwise(borders):
        part = taken(view, np.arange(start, end), axis)
        part = replace(part, layer=view.parts[int(owner[start, 0])], index=part.index % PART, parts=None)
        found.append((part, slice(start, end)))
    return found


def space_of(view: View) -> tuple[int, int]:
    """Height and width of a view in ONNX's order: batch, channels, one or two axes of space."""
    if view.index.ndim not in (3, 4):
        raise Refused(f"its input has shape {view.index.shape}; one or two axes of space are supported")
    height, width = (1, *view.index.shape[2:])[-2:]
    return height, width


def by_layer_channel(net: Builder, view: View) -> tuple[View, Index]:
    """A whole layer with its channels in their own order, and which stands at each place of the view."""
    space_of(view)
    _, channels = channels_of(net, view)
    return taken(view, np.argsort(channels), 1), channels


def in_layer_order(net: Builder, view: View) -> bool:
    """Whether a view is of all channels of one layer, in their order."""
    return is_whole(net, view) and bool((np.diff(by_layer_channel(net, view)[1]) > 0).all())


def channels_of(net: Builder, view: View) -> tuple[Shape, Index]:
    """Shape of the layer of a view (batch, channels, space), and which of its channels they are."""
    layer, rows = net.layers[view.layer], net.rows(view)
    if view.layer == 0 and net.input_map is None:
        net.lay_out_input(view)
    grid = net.input_map if view.layer == 0 else np.arange(layer.size).reshape(layer.shape)
    assert grid is not None
    order = np.argsort(grid.ravel())
    places = order[rows.reshape(len(rows), -1)]
    channels = grid.shape[2]
    expected = np.arange(grid.shape[0] * grid.shape[1]) * channels + places[:, :1] % channels
    if places.shape != expected.shape or not np.array_equal(places, expected):
        raise Refused(f"it reads {layer.name} reshaped or cut in a way that has no grid of pixels")
    return (grid.shape[0], grid.shape[1], channels), places[:, 0] % channels


def spread_weight(weight: NDArray[Any], channels: Index, count: int) -> NDArray[Any]:
    """Weights by source channel of a view, as those of all channels of its layer."""
    full = np.zeros((count, *weight.shape[1:]))
    np.add.at(full, channels, weight)
    return full


def gathered(net: Builder, view: View) -> View:
    """A layer of its own for a view of several layers or of a part of one."""
    if view.tensor in net.gathered:
        return net.gathered[view.tensor]
    dimensions = view.index.ndim
    links: list[Link] = []
    factor, addend = (values[0] for values in spread(view))
    if dimensions in (3, 4):
        total = view.index.shape[1]
        for part, place in pieces(net, view, 1):
            shape, channels = channels_of(net, part)
            chosen = np.zeros((place.stop - place.start, 1, 1, total))
            numbers = np.arange(place.start, place.stop)
            chosen[numbers - place.start, 0, 0, numbers] = one_per_channel(factor[place])
            weight = spread_weight(chosen, channels, shape[2])
            links.append(Link(part.layer, Convolution(weight, (1, 1), (1, 1), (0, 0), 1)))
        space = (1, *view.index.shape[2:])[-2:]
        size = (space[0], space[1], total)
        rows = channels_first(size, dimensions)
        bias = addend.reshape(total, *space).transpose(1, 2, 0)
    else:
        total = math.prod(view.index.shape[1:])
        flat = view.moved(lambda array: array.reshape(len(array), -1))
        for part, place in pieces(net, flat, 1):
            matrix = np.zeros((net.layers[part.layer].size, total))
            matrix[net.rows(part), np.arange(place.start, place.stop)] = factor.ravel()[place]
            links.append(Link(part.layer, Dense(matrix)))
        size, rows = (1, 1, total), np.arange(total).reshape(view.index.shape[1:])
        bias = addend.reshape(size)
    result = net.append(view.tensor, size, links, bias, rows, view.batch)
    net.gathered[view.tensor] = replace(result, sole=False, transform=view.transform)
    return net.gathered[view.tensor]


def one_per_channel(factor: NDArray[Any]) -> NDArray[Any]:
    """Factors (channels, space), the same at all places, by channel."""
    flat = factor.reshape(len(factor), -1)
    if (flat != flat[:, :1]).any():
        raise Refused("it reads a tensor that was multiplied by different factors from pixel to pixel")
    return np.asarray(flat[:, 0])


def by_pieces(net: Builder, node: Node, operator: Operator, any_axis: set[str]) -> View | None:
    """What works channel by channel, done for each layer of its first input; None where it cannot be.

    ``any_axis``: operators that work element by element, so that it matters not how they are joined.
    """
    view = net.tensor(node)
    others = [net.values[name] for name in node.inputs[1:] if name]
    if view.parts is None or any(isinstance(value, View) for value in others):
        return None
    axes = range(1, view.index.ndim if node.op in any_axis else 2)
    axis = next((axis for axis in axes if is_split_along(view, axis)), 0)
    found = pieces(net, view, axis) if axis else []
    if not found or not all(is_whole(net, part) for part, _ in found):
        return None
    results, nodes = [], []
    for number, (part, place) in enumerate(found):
        nodes.append(net.own_piece(node, part, place, axis, number))
        results.append(net.computed_view(operator(net, nodes[-1])))
        if results[-1].index.ndim != view.index.ndim:
            return None
    ends = np.cumsum([result.index.shape[axis] for result in results]).tolist()
    for own, (_, place), result, end in zip(nodes, found, results, ends, strict=True):
        rename_probes(net, own.inputs[0], node.inputs[0], view.index.shape, place, axis)
        size = (*result.index.shape[:axis], ends[-1], *result.index.shape[axis + 1 :])
        there = slice(end - result.index.shape[axis], end)
        rename_probes(net, own.output, node.output, size, there, axis)
    return joined(results, axis, node.output)


def rename_probes(
    net: Builder, piece: str, whole: str, shape: tuple[int, ...], place: slice, axis: int
) -> None:
    """Layers that are read at a piece of a tensor are read in the whole tensor, which the model has."""
    positions = np.arange(math.prod(shape[1:])).reshape(shape[1:])
    own = np.moveaxis(np.moveaxis(positions, axis - 1, 0)[place], 0, axis - 1).ravel()
    for number, layer in enumerate(net.layers):
        if layer.probe.tensor == piece:
            probe = replace(layer.probe, tensor=whole, order=own[layer.probe.order])
            net.layers[number] = replace(layer, probe=probe)


def is_split_along(view: View, axis: int) -> bool:
    """Whether the layers of a joined view lie one behind the other along an axis."""
    owner = np.moveaxis(view.index // PART, axis, 0).reshape(view.index.shape[axis], -1)
    return not (owner != owner[:, :1]).any()
