"""Reads a NIR graph into a float network: populations and linear maps.

Only what the file says is taken over. NIR leaves the time step, the comparison and the
kind of reset open; those are settled in `edgespike.convert.discretise`. Whatever has no
meaning here is refused, all of it at once.

NIR's arrays are (channels, height, width); here everything is (height, width, channels).
A Flatten is no work: it only changes how the next node numbers the neurons.
"""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from edgespike.errors import ModelError, UnsupportedError
from edgespike.importers.nir_nodes import NEURONS, SUPPORTED, Builder
from edgespike.importers.spiking_network import FloatNetwork

__all__ = ["read_nir"]

Edge = tuple[str, str]


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
    _drop_batch_axis(types, edges, nodes)
    builder = Builder(path, {target for _, target in loops})
    for name in order:
        sources = [source for source, target in edges if target == name and (source, target) not in loops]
        try:
            builder.add(name, types[name], nodes[name], sources)
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
        for inner, kind in inner_types.items():
            types[f"{name}.{inner}"] = "Through" if kind in ends else kind
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


def _drop_batch_axis(types: dict[str, str], edges: list[Edge], nodes: dict[str, Any]) -> None:
    """Takes a batch axis of 1, as Norse 1.1.0 and Rockpool 3.1.0 export it, from the input's shape."""
    wanted = {"Linear": 1, "Affine": 1, "Conv1d": 2, "Conv2d": 3, "SumPool2d": 3, "AvgPool2d": 3}
    for name in (name for name, kind in types.items() if kind == "Input"):
        axes = {wanted.get(types[target]) for source, target in edges if source == name}
        shape = np.atleast_1d(np.asarray(nodes[name].input_type["input"]))
        if axes == {len(shape) - 1} and shape[0] == 1:
            nodes[name].input_type["input"] = shape[1:]


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
    for kind, end, verb in (("Input", 1, "lead into Input"), ("Output", 0, "leave Output")):
        wrong = [edge for edge in edges if types[edge[end]] == kind]
        if wrong:
            raise ModelError(
                f"{path}: edges {verb}: {' -> '.join(map(repr, wrong[0]))}",
                "remove them from the NIR graph",
                "nir-edge",
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
            order = list(TopologicalSorter(predecessors).static_order())
            return _output_late(order, types, [edge for edge in edges if edge not in loops]), loops
        except CycleError as error:
            cycle = error.args[1]
        cut = [edge for edge in pairwise(cycle) if types[edge[1]] in NEURONS]
        if not cut:
            raise UnsupportedError(
                f"{path}: a loop without a neuron ({' -> '.join(map(repr, cycle))})",
                "a loop takes time only in a neuron: put one into it",
            )
        loops.append(min(cut, key=lambda edge: (distance.get(edge[1], len(types)), edge[1])))


def _output_late(order: list[str], types: dict[str, str], forward: list[Edge]) -> list[str]:
    """The same order with the neurons that are read as late as they can be: the output is evaluated last."""
    (name,) = (name for name, kind in types.items() if kind == "Output")
    while types[name] not in NEURONS:
        before = [source for source, target in forward if target == name]
        if len(before) != 1:
            return order
        name = before[0]
    after = {name}
    for each in order:
        if any(target == each and source in after for source, target in forward):
            after.add(each)
    return [*(each for each in order if each not in after), *(each for each in order if each in after)]


def _distances(types: dict[str, str], edges: list[Edge]) -> dict[str, int]:
    """How many edges lie between the input and each node."""
    reached = {name: 0 for name, kind in types.items() if kind == "Input"}
    for distance in range(1, len(types)):
        new = {target for source, target in edges if reached.get(source) == distance - 1}
        reached |= {name: distance for name in new if name not in reached}
    return reached


def _names(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
