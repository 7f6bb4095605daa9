"""Reads a NIR graph into a float network: populations and linear maps.

Only what the file says is taken over. NIR leaves the time step, the comparison and the
kind of reset open; those are settled in `edgespike.convert.discretise`. Whatever has no
meaning here is refused, all of it at once.

NIR's arrays are (channels, height, width); here everything is (height, width, channels).
A Flatten is no work: it only changes how the next node numbers the neurons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import ModelError, UnsupportedError
from edgespike.graph import Shape
from edgespike.importers.network import Convolution, Dense, Scale

__all__ = [
    "FloatNetwork",
    "FloatNeuron",
    "FloatPopulation",
    "FloatProjection",
    "Map",
    "SumPool",
    "read_nir",
    "scaled",
]

Array = NDArray[np.float64]
Edge = tuple[str, str]
NEURONS = ("IF", "LIF", "CubaLIF", "I", "LI", "CubaLI")
SUPPORTED = (
    *("Input", "Output", "Affine", "Linear", "Scale", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d"),
    *("Flatten", "Delay", "NIRGraph"),
    *NEURONS,
)


# ---- the float network ------------------------------------------------------


@dataclass(frozen=True)
class FloatNeuron:
    """A population of neurons as the file has it: float64 arrays (height, width, channels).

    I, IF: ``v' = r I``. LI, LIF: ``tau v' = (v_leak - v) + r I``, tau in seconds. The input is
    the current I, or for CubaLI and CubaLIF ``tau_syn I' = -I + w_in S``. IF, LIF and CubaLIF
    spike at ``v_threshold`` and go to ``v_reset``; the others (``fires`` False) are readouts.
    ``tau`` is None for I and IF, whose ``v_leak`` is 0; ``tau_syn`` and ``w_in`` where there is
    no synaptic current.
    """

    tau: Array | None
    r: Array
    v_leak: Array
    v_threshold: Array
    v_reset: Array
    tau_syn: Array | None = None
    w_in: Array | None = None
    fires: bool = True


@dataclass(frozen=True)
class FloatPopulation:
    """Neurons of one kind. ``neuron`` is None for the input and for a sum pool.

    ``bias``: constant input current, float64 array of ``shape``.
    """

    name: str
    shape: Shape
    neuron: FloatNeuron | None
    bias: Array


@dataclass(frozen=True)
class SumPool:
    """Adds up a window, channel by channel; padding (top, left)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


Map = Dense | Convolution | Scale | SumPool


@dataclass(frozen=True)
class FloatProjection:
    """A linear map from one population to another, both by number.

    ``delay`` in seconds. What leads to the same or an earlier population takes a tick in any case.
    """

    source: int
    target: int
    map: Map
    delay: float = 0.0


@dataclass(frozen=True)
class FloatNetwork:
    """Populations in topological order: the first is the input, the last the output.

    ``input_shape`` and ``output_shape`` are NIR's, channels first. Sum pools are
    populations of their own, so that each sends one event for all that reaches it.
    """

    populations: tuple[FloatPopulation, ...]
    projections: tuple[FloatProjection, ...]
    input_name: str
    input_shape: tuple[int, ...]
    output_name: str
    output_shape: tuple[int, ...]

    def incoming(self, number: int) -> list[FloatProjection]:
        """Projections that end in a population."""
        return [projection for projection in self.projections if projection.target == number]


# ---- reading ----------------------------------------------------------------


def read_nir(path: str | Path) -> FloatNetwork:
    """Read a NIR file.

    Raises:
        ModelError: no NIR file, or one that contradicts itself: edges to nodes that do
            not exist, shapes that do not match, NaN, tau or a threshold that is not positive.
        UnsupportedError: a valid graph with nodes or loops that have no meaning here.
    """
    path = Path(path)
    types, edges = _read_outline(path)
    order, loops = _check_outline(path, types, edges)
    nodes = _read_nodes(path)
    builder = _Builder(path)
    for name in order:
        forward = [edge for edge in edges if edge[1] == name and edge not in loops]
        arriving = [builder.signals[source] for source, _ in forward]
        try:
            builder.add(name, types[name], nodes[name], arriving)
        except (TypeError, ValueError, OverflowError) as error:  # a parameter is no number, or too many
            raise ModelError(
                f"{path}: a parameter of node {name!r} is malformed: {str(error).splitlines()[0]}",
                "export the network again",
                "nir-parameter",
            ) from error
    for source, target in loops:
        builder.close_loop(source, target)
    return builder.network()


def _read_outline(path: Path) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Node types by name, and edges: all that must be right before the nir package can read it."""
    try:
        import h5py
    except ImportError as error:
        raise ModelError(
            "reading NIR files needs the nir package", "pip install 'edgespike[nir]'", "nir-missing"
        ) from error
    if not path.is_file():
        raise ModelError(f"there is no file {path}", "check the path", "model-missing")
    try:
        with h5py.File(path, "r") as file:
            types, edges = _outline(file["node"])
    except OSError as error:
        raise ModelError(
            f"{path} is not a NIR file (it is not HDF5, or cut short)",
            "export the network with nir.write",
            "not-nir",
        ) from error
    except Exception as error:  # h5py raises whatever a damaged or foreign file makes it meet
        raise ModelError(
            f"{path} is an HDF5 file, but holds no readable NIR graph",
            "export the network with nir.write",
            "not-nir",
        ) from error
    return types, edges


def _outline(group: Any) -> tuple[dict[str, str], list[Edge]]:
    """Those of one graph. A graph within becomes its nodes, named outer.inner; its ends pass on."""
    types: dict[str, str] = {}
    enters: dict[str, str] = {}
    leaves: dict[str, str] = {}
    edges: list[Edge] = []
    for name, node in group["nodes"].items():
        types[str(name)] = _text(node["type"][()])
        if types[str(name)] != "NIRGraph":
            continue
        inner_types, inner_edges = _outline(node)
        ends = {
            kind: [inner for inner, other in inner_types.items() if other == kind]
            for kind in ("Input", "Output")
        }
        if any(len(found) != 1 for found in ends.values()):
            continue  # stays a NIRGraph, and is refused
        del types[str(name)]
        enters[str(name)], leaves[str(name)] = (f"{name}.{ends[kind][0]}" for kind in ("Input", "Output"))
        through = {inner: "Through" if kind in ends else kind for inner, kind in inner_types.items()}
        types |= {f"{name}.{inner}": kind for inner, kind in through.items()}
        edges += [(f"{name}.{source}", f"{name}.{target}") for source, target in inner_edges]
    outer = [(_text(source), _text(target)) for source, target in group["edges"][()]]
    edges += [(leaves.get(source, source), enters.get(target, target)) for source, target in outer]
    return types, edges


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _read_nodes(path: Path) -> dict[str, Any]:
    import nir

    try:
        return _flattened(nir.read(path, type_check=False).nodes)
    except Exception as error:  # the package raises whatever its constructors meet
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{path}: the nir package cannot read it: {reason}", "export the network again", "nir-invalid"
        ) from error


def _flattened(nodes: dict[str, Any]) -> dict[str, Any]:
    """All nodes by name, those of graphs within as `_outline` names them."""
    flat: dict[str, Any] = {}
    for name, node in nodes.items():
        if type(node).__name__ == "NIRGraph":
            flat |= {f"{name}.{inner}": each for inner, each in _flattened(node.nodes).items()}
        else:
            flat[name] = node
    return flat


def _check_outline(path: Path, types: dict[str, str], edges: list[Edge]) -> tuple[list[str], list[Edge]]:
    """The nodes in order, without the edges, also returned, that close loops.

    Refuses what is missing, and all that is unsupported at once.
    """
    missing = sorted({end for edge in edges for end in edge if end not in types})
    if missing:
        raise ModelError(
            f"{path}: edges lead to nodes that do not exist: {_names(missing)}",
            "export the network again",
            "nir-edge",
        )
    twice = sorted({f"{source} -> {target}" for source, target in edges if edges.count((source, target)) > 1})
    if twice:
        raise ModelError(
            f"{path}: edges appear twice: {', '.join(twice)}", "export the network again", "nir-edge"
        )
    problems = []
    by_type: dict[str, list[str]] = {}
    for name, kind in types.items():
        if kind not in (*SUPPORTED, "Through") or kind == "NIRGraph":
            by_type.setdefault(kind, []).append(name)
    notes = {"NIRGraph": " with several inputs or outputs, or none"}
    problems += [f"{kind}{notes.get(kind, '')} ({_names(names)})" for kind, names in sorted(by_type.items())]
    for kind in ("Input", "Output"):
        names = [name for name, other in types.items() if other == kind]
        if len(names) != 1:
            problems.append(f"{len(names)} {kind} nodes instead of one ({_names(names)})")
    if problems:
        raise UnsupportedError(
            f"{path}: not supported: {'; '.join(problems)}", f"supported are {', '.join(SUPPORTED)}"
        )
    for kind, ends, verb in (("Input", 1, "is reached by no edge"), ("Output", 0, "leads nowhere")):
        loose = [name for name in types if types[name] != kind and name not in {edge[ends] for edge in edges}]
        if loose:
            raise ModelError(
                f"{path}: {_names(loose)} {verb}", "remove it or connect it in the NIR graph", "nir-edge"
            )
    return _order(path, types, edges)


def _order(path: Path, types: dict[str, str], edges: list[Edge]) -> tuple[list[str], list[Edge]]:
    """An order of the nodes, and the edges that go against it.

    Each loop is cut before the one of its neurons that is nearest to the input.
    """
    distance = _distances(types, edges)
    loops: list[Edge] = []
    while True:
        predecessors: dict[str, set[str]] = {name: set() for name in sorted(types)}
        for source, target in edges:
            if (source, target) not in loops:
                predecessors[target].add(source)
        try:
            return list(TopologicalSorter(predecessors).static_order()), loops
        except CycleError as error:
            cycle = error.args[1]
        cut = [edge for edge in pairwise(cycle) if types[edge[1]] in NEURONS]
        if not cut:
            raise UnsupportedError(
                f"{path}: a loop without a neuron ({' -> '.join(map(repr, cycle))})",
                "a loop takes time only in a neuron: put one into it",
            )
        loops.append(min(cut, key=lambda edge: (distance.get(edge[1], len(types)), edge[1])))


def _distances(types: dict[str, str], edges: list[Edge]) -> dict[str, int]:
    """How many edges lie between the input and each node."""
    reached = {name: 0 for name, kind in types.items() if kind == "Input"}
    for distance in range(1, len(types)):
        new = {target for source, target in edges if reached.get(source) == distance - 1}
        reached |= {name: distance for name in new if name not in reached}
    return reached


def _names(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"


# ---- building ---------------------------------------------------------------


@dataclass(frozen=True)
class _Signal:
    """What leaves a NIR node: the sum of linear maps of populations, and a constant.

    A term is a population's number, a map, and a delay in seconds.

    ``shape`` is (height, width, channels), ``nir_shape`` what NIR calls it: channels
    first, or flattened. Element number k in C order of (channels, height, width) is
    element number k of ``nir_shape``.
    """

    terms: tuple[tuple[int, Map, float], ...]
    bias: Array
    shape: Shape
    nir_shape: tuple[int, ...]

    @property
    def is_plain(self) -> bool:
        """No weight and no bias yet."""
        return not self.bias.any() and all(
            isinstance(term, Scale) and bool((term.weight == 1).all()) for _, term, _ in self.terms
        )


class _Builder:
    """Walks the nodes in topological order and keeps what each one's output is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.populations: list[FloatPopulation] = []
        self.projections: list[FloatProjection] = []
        self.signals: dict[str, _Signal] = {}
        self.input_name = self.output_name = ""

    def add(self, name: str, kind: str, node: Any, arriving: list[_Signal]) -> None:
        """Take over one node; ``arriving`` are the outputs of the nodes before it."""
        if kind == "Input":
            self.input_name = name
            shape = _shape_of(node.input_type["input"])
            if not 1 <= len(shape) <= 3 or min(shape) < 1:
                raise self.unsupported(name, f"the input shape {shape} is not (N,), (C, W) or (C, H, W)")
            self.signals[name] = self.populate(name, None, [], _height_width_channels(shape), shape)
            return
        signal = self.sum_of(name, arriving)
        if kind == "Output":
            self.output_name = name
        elif kind == "Through":  # an end of a graph within
            pass
        elif kind in ("Linear", "Affine"):
            signal = self.linear(name, node, signal)
        elif kind == "Scale":
            signal = self.scale(name, node, signal)
        elif kind == "Delay":
            signal = self.delay(name, node, signal)
        elif kind in ("Conv1d", "Conv2d"):
            signal = self.convolution(name, node, signal)
        elif kind in ("SumPool2d", "AvgPool2d"):
            signal = self.pool(name, node, signal)
            if kind == "AvgPool2d":  # padding counts, as in PyTorch
                signal = _times(signal, np.full(signal.shape[2], 1 / math.prod(_pair(node.kernel_size))))
        elif kind == "Flatten":
            signal = self.flatten(name, node, signal)
        else:
            signal = self.populate(name, self.neuron(name, kind, node, signal), [signal])
        self.signals[name] = signal

    def network(self) -> FloatNetwork:
        """The finished network; refuses an output that is no population of neurons."""
        signal = self.signals[self.output_name]
        if not signal.is_plain or len(signal.terms) != 1 or signal.terms[0][2]:
            raise self.unsupported(
                self.output_name,
                "it reads a weighted sum of spikes, not spikes: NIR does not say what that means over time",
            )
        if not any(population.neuron for population in self.populations):
            raise self.unsupported(self.output_name, "the graph has no spiking population")
        last = signal.terms[0][0]
        for number, population in enumerate(self.populations):
            if population.neuron and not population.neuron.fires and number != last:
                raise self.unsupported(
                    population.name,
                    "it never spikes: a leaky or plain integrator is taken as the output only",
                )
        if last != len(self.populations) - 1:
            raise self.unsupported(
                self.output_name, f"node {self.populations[-1].name!r} is evaluated after what it reads"
            )
        return FloatNetwork(
            tuple(self.populations),
            tuple(sorted(self.projections, key=lambda projection: (projection.source, projection.target))),
            self.input_name,
            self.signals[self.input_name].nir_shape,
            self.output_name,
            signal.nir_shape,
        )

    # ---- nodes

    def linear(self, name: str, node: Any, signal: _Signal) -> _Signal:
        weight = self.numbers(name, "weight", node.weight)
        if weight.ndim != 2:
            raise self.unsupported(name, f"its weight has shape {weight.shape} instead of (outputs, inputs)")
        if signal.nir_shape != (weight.shape[1],):
            raise self.mismatch(name, signal, f"({weight.shape[1]},)")
        outputs = weight.shape[0]
        bias = np.zeros(outputs)
        if hasattr(node, "bias"):
            bias = self.numbers(name, "bias", node.bias, (outputs,))
        height, width, channels = signal.shape
        by_neuron = weight.reshape(outputs, channels, height, width).transpose(2, 3, 1, 0)
        dense = Dense(by_neuron.reshape(-1, outputs))
        return self.weighted(name, signal, dense, bias, (1, 1, outputs), (outputs,))

    def scale(self, name: str, node: Any, signal: _Signal) -> _Signal:
        """A factor for each channel; dissolved into the map before it, if there is one."""
        scale = self.by_channel(name, "scale", node.scale, signal)
        return _times(signal, scale)

    def delay(self, name: str, node: Any, signal: _Signal) -> _Signal:
        delay = self.numbers(name, "delay", node.delay)
        if delay.min() < 0 or (delay != delay.flat[0]).any():
            raise self.unsupported(name, "its delays differ from neuron to neuron, or are negative")
        added = float(delay.flat[0])
        terms = tuple((source, term, before + added) for source, term, before in signal.terms)
        return replace(signal, terms=terms)

    def by_channel(self, name: str, key: str, value: Any, signal: _Signal) -> Array:
        whole = self.by_neuron(name, key, value, signal)
        if (whole != whole[:1, :1]).any():
            raise self.unsupported(name, f"its {key} differs within a channel")
        return np.asarray(whole[0, 0])

    def by_neuron(self, name: str, key: str, value: Any, signal: _Signal) -> Array:
        """A parameter, one number or one for each neuron, as (height, width, channels)."""
        array = self.numbers(name, key, value)
        if array.size == 1:
            array = array.reshape(())
        elif array.shape != signal.nir_shape:
            raise self.mismatch(name, signal, f"{key} of shape {array.shape}")
        height, width, channels = signal.shape
        whole = np.broadcast_to(array, signal.nir_shape)
        return whole.reshape(channels, height, width).transpose(1, 2, 0).copy()

    def convolution(self, name: str, node: Any, signal: _Signal) -> _Signal:
        weight = self.numbers(name, "weight", node.weight)
        row = type(node).__name__ == "Conv1d"  # a map of one row
        if weight.ndim != (3 if row else 4):
            raise self.mismatch(name, signal, f"a weight of {3 if row else 4} axes, has {weight.shape}")

        def pair(value: Any, fill: int) -> tuple[int, int]:
            return (fill, _pair(value)[1]) if row else _pair(value)

        weight = weight[:, :, None] if row else weight
        outputs, group_inputs, *kernel = weight.shape
        groups = int(np.asarray(node.groups))
        height, width, channels = self.spatial(name, signal, 2 if row else 3)
        if groups < 1 or outputs % groups or channels != group_inputs * groups:
            raise self.mismatch(name, signal, f"{group_inputs * groups} channels in {groups} groups")
        if node.input_shape is not None and pair(node.input_shape, 1) != (height, width):
            raise self.mismatch(name, signal, f"input_shape {pair(node.input_shape, 1)}")
        stride, dilation = pair(node.stride, 1), pair(node.dilation, 1)
        padding_given = node.padding if isinstance(node.padding, str) else pair(node.padding, 0)
        extent = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
        padding, size = self.window(name, (height, width), extent, stride, padding_given)
        bias = self.numbers(name, "bias", node.bias, (outputs,))
        # (out, in, ky, kx) becomes (source channel, ky, kx, target channel of the group)
        grouped = weight.reshape(groups, outputs // groups, group_inputs, *kernel)
        by_source = grouped.transpose(0, 2, 3, 4, 1).reshape(channels, *kernel, outputs // groups)
        connection = Convolution(by_source, stride, dilation, padding, groups)
        nir_shape = (outputs, size[1]) if row else (outputs, *size)
        return self.weighted(name, signal, connection, bias, (*size, outputs), nir_shape)

    def pool(self, name: str, node: Any, signal: _Signal) -> _Signal:
        height, width, channels = self.spatial(name, signal)
        kernel, stride = _pair(node.kernel_size), _pair(node.stride)
        padding, size = self.window(name, (height, width), kernel, stride, node.padding)
        if signal.is_plain:
            pooled = SumPool(kernel, stride, padding)
            signal = replace(
                signal, terms=tuple((source, pooled, delay) for source, _, delay in signal.terms)
            )
            signal = replace(signal, bias=np.zeros((*size, channels)))
            return self.populate(name, None, [signal], (*size, channels), (channels, *size))
        if padding != (0, 0) or not all(isinstance(term, Convolution) for _, term, _ in signal.terms):
            raise self.unsupported(name, "a sum pool with padding, or not right after a Conv2d or a neuron")
        terms = tuple((source, _pooled(term, kernel, stride), delay) for source, term, delay in signal.terms)
        bias = signal.bias[: size[0], : size[1]] * (kernel[0] * kernel[1])
        return _Signal(terms, bias, (*size, channels), (channels, *size))

    def flatten(self, name: str, node: Any, signal: _Signal) -> _Signal:
        shape = signal.nir_shape
        stated = node.input_type["input"]
        if stated is not None and _shape_of(stated) != shape:
            raise self.mismatch(name, signal, f"{_shape_of(stated)}")
        first, last = (int(d) + (len(shape) if d < 0 else 0) for d in (node.start_dim, node.end_dim))
        if not 0 <= first <= last < len(shape):
            raise self.mismatch(name, signal, f"axes {int(node.start_dim)} to {int(node.end_dim)}")
        size = int(np.prod(shape[first : last + 1]))
        return replace(signal, nir_shape=(*shape[:first], size, *shape[last + 1 :]))

    def neuron(self, name: str, kind: str, node: Any, signal: _Signal) -> FloatNeuron:
        def parameter(key: str) -> Array:
            return self.by_neuron(name, key, getattr(node, key), signal)

        leaky, synaptic, fires = kind not in ("I", "IF"), kind.startswith("Cuba"), kind.endswith("F")
        neuron = FloatNeuron(
            tau=parameter("tau_mem" if synaptic else "tau") if leaky else None,
            r=parameter("r"),
            v_leak=parameter("v_leak") if leaky else np.zeros(signal.shape),
            v_threshold=parameter("v_threshold") if fires else np.ones(signal.shape),
            v_reset=parameter("v_reset") if fires else np.zeros(signal.shape),
            tau_syn=parameter("tau_syn") if synaptic else None,
            w_in=parameter("w_in") if synaptic else None,
            fires=fires,
        )
        positive = ("tau", "tau_syn", "r", "w_in", "v_threshold")
        for key, array in ((key, getattr(neuron, key)) for key in positive):
            if array is not None and array.min() <= 0:
                raise ModelError(
                    f"{self.path}: {key} of node {name!r} is {array.min():g}, but must be positive",
                    "correct it in the network that exported the file",
                    "nir-parameter",
                )
        return neuron

    # ---- shared steps

    def populate(
        self,
        name: str,
        neuron: FloatNeuron | None,
        signals: list[_Signal],
        shape: Shape | None = None,
        nir_shape: tuple[int, ...] | None = None,
    ) -> _Signal:
        """Add a population, driven by the given signals, and return what leaves it."""
        shape = self.checked_size(name, shape or signals[0].shape)
        number = len(self.populations)
        bias = signals[0].bias if signals else np.zeros(shape)
        self.populations.append(FloatPopulation(name, shape, neuron, bias))
        for signal in signals:
            self.project(signal, number)
        term = ((number, Scale(np.ones(shape[2])), 0.0),)
        return _Signal(term, np.zeros(shape), shape, nir_shape or signals[0].nir_shape)

    def project(self, signal: _Signal, target: int) -> None:
        self.projections += [
            FloatProjection(source, target, term, delay) for source, term, delay in signal.terms
        ]

    def close_loop(self, source: str, target: str) -> None:
        """Lead what leaves a node back to a neuron that is there already."""
        signal, there = self.signals[source], self.signals[target]
        ((number, _, _),) = there.terms
        if (signal.nir_shape, signal.shape) != (there.nir_shape, there.shape):
            raise self.mismatch(target, signal, f"{there.nir_shape}, as its other input has")
        self.project(signal, number)
        population = self.populations[number]
        self.populations[number] = replace(population, bias=population.bias + signal.bias)

    def sum_of(self, name: str, arriving: list[_Signal]) -> _Signal:
        """Edges that meet in a node add up."""
        first = arriving[0]
        for other in arriving[1:]:
            if (other.nir_shape, other.shape) != (first.nir_shape, first.shape):
                raise self.mismatch(name, other, f"{first.nir_shape}, as its other input has")
        terms = tuple(term for signal in arriving for term in signal.terms)
        return replace(first, terms=terms, bias=sum((s.bias for s in arriving), np.zeros(first.shape)))

    def weighted(
        self,
        name: str,
        signal: _Signal,
        connection: Map,
        bias: Array,
        shape: Shape,
        nir_shape: tuple[int, ...],
    ) -> _Signal:
        if signal.bias.any() or not all(isinstance(term, Scale) for _, term, _ in signal.terms):
            raise self.unsupported(name, "a second weighted node without a neuron between: multiply them")
        terms = tuple((source, _after(term, connection), delay) for source, term, delay in signal.terms)
        whole = np.broadcast_to(bias, self.checked_size(name, shape)).copy()
        return _Signal(terms, whole, shape, nir_shape)

    def checked_size(self, name: str, shape: Shape) -> Shape:
        """The shape, if a model file can hold a population of it."""
        if math.prod(shape) > 1 << 24 or max(shape) > 0xFFFF:
            raise self.unsupported(
                name,
                f"{math.prod(shape)} neurons ({shape}) are more than 2^24, or an axis is longer than 65535",
            )
        return shape

    def spatial(self, name: str, signal: _Signal, axes: int = 3) -> Shape:
        if len(signal.nir_shape) != axes:
            raise self.mismatch(
                name, signal, "(channels, height, width)" if axes == 3 else "(channels, length)"
            )
        return signal.shape

    def window(
        self, name: str, size: tuple[int, int], extent: Sequence[int], stride: tuple[int, int], padding: Any
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """Padding (top, left) and the size (height, width) of what a sliding window makes."""
        if isinstance(padding, str):
            if padding == "same" and stride != (1, 1):
                raise self.unsupported(name, f"padding 'same' with stride {stride}")
            both = tuple(e - 1 if padding == "same" else 0 for e in extent)
        else:
            both = tuple(2 * p for p in _pair(padding))
        room = tuple(n + p - e for n, p, e in zip(size, both, extent, strict=True))
        if min(*extent, *stride) < 1 or min(both) < 0 or min(room) < 0:
            raise ModelError(
                f"{self.path}: the window of node {name!r} ({extent[0]} x {extent[1]}, stride {stride}, "
                f"padding {padding}) does not fit its {size[0]} x {size[1]} input",
                "check kernel, stride, dilation and padding",
                "nir-shape",
            )
        return (both[0] // 2, both[1] // 2), (room[0] // stride[0] + 1, room[1] // stride[1] + 1)

    def numbers(self, name: str, key: str, value: Any, shape: tuple[int, ...] | None = None) -> Array:
        """A parameter as float64; refuses NaN, infinity and a wrong shape."""
        array = np.asarray(value, np.float64)
        if not np.isfinite(array).all():
            raise ModelError(
                f"{self.path}: {key} of node {name!r} holds NaN or infinity",
                "correct it in the network that exported the file",
                "nir-parameter",
            )
        if shape is not None and array.shape != shape:
            raise ModelError(
                f"{self.path}: {key} of node {name!r} has shape {array.shape}, expected {shape}",
                "export the network again",
                "nir-shape",
            )
        return array

    def mismatch(self, name: str, signal: _Signal, wanted: str) -> ModelError:
        return ModelError(
            f"{self.path}: node {name!r} gets {signal.nir_shape} but wants {wanted}",
            "shapes in NIR have no batch axis: a Flatten of a whole sample has start_dim 0",
            "nir-shape",
        )

    def unsupported(self, name: str, why: str) -> UnsupportedError:
        return UnsupportedError(
            f"{self.path}: node {name!r} is not supported here: {why}",
            f"supported are {', '.join(SUPPORTED)}; weighted nodes end in a neuron",
        )


def scaled(term: Map, scale: Array) -> Map:
    """A map with a factor for each target channel."""
    if isinstance(term, Convolution):
        channels, *kernel, outputs = term.weight.shape
        factor = scale.reshape(term.groups, 1, 1, 1, outputs)
        grouped = term.weight.reshape(term.groups, channels // term.groups, *kernel, outputs) * factor
        return replace(term, weight=grouped.reshape(term.weight.shape))
    if isinstance(term, SumPool):
        raise TypeError("a Scale after a SumPool2d: multiply the next weights instead")
    return replace(term, weight=term.weight * scale)


def _times(signal: _Signal, scale: Array) -> _Signal:
    terms = tuple((source, scaled(term, scale), delay) for source, term, delay in signal.terms)
    return replace(signal, terms=terms, bias=signal.bias * scale)


def _after(scale: Map, connection: Map) -> Map:
    """A dense map or a convolution of what a factor for each source channel leaves."""
    assert isinstance(scale, Scale)
    if isinstance(connection, Dense):  # source neurons count channels fastest
        factor = np.tile(scale.weight, len(connection.weight) // len(scale.weight))
        return Dense(connection.weight * factor[:, None])
    assert isinstance(connection, Convolution)
    return replace(connection, weight=connection.weight * scale.weight[:, None, None, None])


def _pooled(term: Map, kernel: tuple[int, int], stride: tuple[int, int]) -> Convolution:
    """The one convolution that a convolution followed by a sum pool without padding is.

    ``y[i] = sum_a c[i * stride + a]`` and ``c[j] = sum_b w[b] x[j * s + b * d - p]`` give
    kernel positions ``a * s + b * d``, stride ``stride * s``.
    """
    assert isinstance(term, Convolution)
    channels, height, width, outputs = term.weight.shape
    (down, across), (dy, dx) = term.stride, term.dilation
    size = ((kernel[0] - 1) * down + (height - 1) * dy + 1, (kernel[1] - 1) * across + (width - 1) * dx + 1)
    weight = np.zeros((channels, *size, outputs))
    for ay in range(kernel[0]):
        for ax in range(kernel[1]):
            rows = slice(ay * down, ay * down + (height - 1) * dy + 1, dy)
            columns = slice(ax * across, ax * across + (width - 1) * dx + 1, dx)
            weight[:, rows, columns] += term.weight
    return Convolution(weight, (down * stride[0], across * stride[1]), (1, 1), term.padding, term.groups)


def _shape_of(value: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in np.atleast_1d(np.asarray(value)))


def _height_width_channels(shape: tuple[int, ...]) -> Shape:
    """NIR's (N,), (C, W) or (C, H, W) as (height, width, channels)."""
    channels, height, width = {1: (shape[0], 1, 1), 2: (shape[0], 1, shape[-1]), 3: shape}[len(shape)]
    return height, width, channels


def _pair(value: Any) -> tuple[int, int]:
    """One integer for both axes, or two."""
    down, across = np.broadcast_to(np.asarray(value).astype(int).reshape(-1), 2)
    return int(down), int(across)
