"""Recognises a spiking network that was exported to ONNX, operator by operator, and refuses it.

ONNX has no spiking neuron. An exporter spells it out: a comparison of the membrane gives 0 or 1,
arithmetic takes the spike from the membrane, and so on for every tick, one after the other or in a
Loop or Scan. Time step, reset and state are lost in that, so such a file is never run as if its
operators were layers.

What tells a spike from a mask or from a function spelled out in comparisons: it goes on as a number, 0
or not, with no other data multiplied in. A comparison is a neuron's if its spikes

- reach constant weights, and what it compares comes from weights itself; or
- leave the neuron in any way, and what it compares lives on: it is added to new input and
  compared again, or it came in as a state, and goes out again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import onnx
import onnx.inliner
from onnx import TensorProto, helper, numpy_helper

from edgespike.errors import UnsupportedError

__all__ = ["refuse_spiking"]

COMPARISONS = {"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Sign"}
LOGIC = {"And", "Equal", "Not", "Or", "Xor"}
ROUNDING = {"Ceil", "Floor", "QuantizeLinear", "Round"}
SMOOTH = {
    *("Abs", "Add", "Cast", "CastLike", "Clip", "DequantizeLinear", "Div", "Dropout", "Exp", "Identity"),
    *("Max", "Mean", "Min", "Mul", "Neg", "Pow", "Reciprocal", "Relu", "Sigmoid", "Sqrt", "Sub", "Sum"),
    *("Tanh", "Where"),
}
MOVES = {"Expand", "Flatten", "Pad", "Reshape", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
PICKS = {"Concat", "Gather", "GatherND", "ScatterElements", "ScatterND", "Slice", "Split"}
POOLS = {"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"}
WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
TALLIES = {"ReduceMax", "ReduceMean", "ReduceSum", "ArgMax"}
VALUELESS = {"ConstantOfShape", "EyeLike", "RandomNormalLike", "RandomUniformLike", "Shape", "Size"}
PIXELWISE = COMPARISONS | LOGIC | ROUNDING | SMOOTH | MOVES

# Where each framework has its NIR exporter.
EXPORTERS = {
    "snntorch": "snntorch.export_nir.export_to_nir(network, sample)",
    "norse": "norse.torch.to_nir(network, sample)",
    "sinabs": "sinabs.nir.to_nir(network, sample)",
    "rockpool": "rockpool.nn.modules.to_nir(network, sample)",
    "spikingjelly": "spikingjelly.activation_based.nir_exchange.export_to_nir(network, sample, dt=...)",
}


@dataclass(frozen=True)
class Value:
    """What is known of a tensor. Comparisons are numbered.

    ``roots``: the tensors that it is computed from element by element; none if it is constant.
    ``steps``: comparisons that alone decide it, as long as it ``is_step``; ``is_number`` unless it is
    boolean. ``low`` and ``high``: the range of a constant or a step, as far as it is known.
    ``weighted``: constant weights lie before it.
    """

    roots: frozenset[str] = frozenset()
    steps: frozenset[int] = frozenset()
    is_step: bool = False
    is_number: bool = True
    low: float = -math.inf
    high: float = math.inf
    weighted: bool = False


CONSTANT = Value()


@dataclass
class Findings:
    """What a file's graphs hold, as they are read node by node."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)  # the comparisons
    compared: list[Value] = field(default_factory=list)
    sent: set[int] = field(default_factory=set)  # comparisons whose spikes went on, in any way
    weighed: set[int] = field(default_factory=set)  # whose spikes reached constant weights
    carried: set[int] = field(default_factory=set)  # whose membranes are a state of the graph
    joins: list[tuple[str, frozenset[int]]] = field(default_factory=list)  # operator, whose reset it may be
    parts: dict[str, frozenset[str]] = field(default_factory=dict)  # of which roots a root is a part

    def neurons(self) -> set[int]:
        """The comparisons that are neurons; none, if this is no spiking network."""
        found = {one for one in self.weighed if self.compared[one].weighted} | self.carried
        found |= {one for one in self.sent if any(self.lives_on(one, later) for later in self.compared)}
        return found | self.sent if found else found

    def lives_on(self, one: int, later: Value) -> bool:
        """Whether what is compared later is what a comparison compared, with something new added."""
        before = self.compared[one].roots
        whole = {root: self.origins(root) for root in later.roots}
        return before <= united(whole.values()) and any(not before & origins for origins in whole.values())

    def origins(self, root: str) -> frozenset[str]:
        """A root, what it is a part of, and so on."""
        return united(self.origins(whole) for whole in self.parts.get(root, frozenset())) | {root}


def refuse_spiking(model: onnx.ModelProto, path: str) -> None:
    """Refuses a model in which comparisons and resets spell out spiking neurons.

    Raises:
        UnsupportedError: it is one. The message names the operators, the hint the way over NIR.
    """
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    findings = Findings()
    read_graph(findings, model.graph, {v.name: Value(frozenset({v.name})) for v in model.graph.input})
    neurons = findings.neurons()
    if not neurons:
        return
    membranes = united(findings.compared[one].roots for one in neurons)
    alike = {one for one, value in enumerate(findings.compared) if value.roots <= membranes}
    kinds = Counter(findings.nodes[one].op_type for one in alike)
    resets = Counter(operator for operator, ones in findings.joins if ones & alike)
    first = findings.nodes[min(alike)]
    then = f", then {listed(resets)} reset membranes" if resets else ""
    raise UnsupportedError(
        f"{path} is a spiking network spelled out in operators: {listed(kinds)} (the first is "
        f"{first.name or first.output[0]}) make spikes{then}. Spiking networks are read from NIR",
        advice(model),
        "spiking-onnx",
    )


def listed(counts: Counter[str]) -> str:
    """``"8 Greater and 4 Sub"``."""
    *most, last = [f"{count} {name}" for name, count in sorted(counts.items())]
    return f"{', '.join(most)} and {last}" if most else last


def advice(model: onnx.ModelProto) -> str:
    """How to write it as NIR, with the framework that the file names, if it does."""
    written = " ".join(entry.value for node in model.graph.node for entry in node.metadata_props)
    named = [name for name in EXPORTERS if f"{name}." in written]
    framework = named[0] if len(named) == 1 else None
    exporter = EXPORTERS.get(framework or "", "what your framework exports NIR with (docs/nir.md)")
    return (
        f"graph = {exporter}; nir.write('network.nir', graph); "
        f"edgespike convert network.nir --from {framework or 'FRAMEWORK'} --dt TIME"
    )


# ---- reading ------------------------------------------------------------------


def read_graph(findings: Findings, graph: onnx.GraphProto, known: dict[str, Value]) -> list[Value]:
    """Reads a graph, or a body with what it can see from outside; returns its outputs."""
    inputs = {value.name: known[value.name] for value in graph.input}
    values = {**known, **{tensor.name: constant(tensor) for tensor in graph.initializer}}
    for node in graph.node:
        read_node(findings, node, values)
    outputs = [values.get(value.name, CONSTANT) for value in graph.output]
    for value in outputs:
        send(findings, value, weighed=False)
    if len([value for value in inputs.values() if value.roots]) > 1:
        carry(findings, inputs.values(), outputs)
    return outputs


def constant(tensor: onnx.TensorProto) -> Value:
    """An initializer, or a Constant's value."""
    if tensor.data_type == TensorProto.STRING or tensor.external_data:
        return CONSTANT
    values = numpy_helper.to_array(tensor)
    known = values.dtype.kind in "fiu" and values.size > 0
    return replace(CONSTANT, low=float(values.min()), high=float(values.max())) if known else CONSTANT


def read_node(findings: Findings, node: onnx.NodeProto, values: dict[str, Value]) -> None:
    """Finds out what a node's outputs are."""
    inputs = [values.get(name, CONSTANT) for name in node.input if name]
    bodies = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    for body in bodies:
        read_body(findings, node, body, inputs, values)
    if bodies or node.op_type == "Constant":
        result = constant_of(node) if not bodies else Value(frozenset({node.output[0]}), weighted=True)
    elif node.op_type in VALUELESS or not any(value.roots for value in inputs):
        low, high = range_of(node, inputs) if node.op_type in PIXELWISE else (-math.inf, math.inf)
        result = replace(CONSTANT, low=low, high=high)
    elif node.op_type in PIXELWISE and not node.domain:
        result = pixelwise(findings, node, inputs)
    else:
        result = mixed(findings, node, inputs)
    for name in node.output:
        values[name] = result


def constant_of(node: onnx.NodeProto) -> Value:
    """What a Constant node holds."""
    value = helper.get_attribute_value(node.attribute[0])
    if isinstance(value, onnx.TensorProto):
        return constant(value)
    number = isinstance(value, float | int)
    return replace(CONSTANT, low=float(value), high=float(value)) if number else CONSTANT


def pixelwise(findings: Findings, node: onnx.NodeProto, inputs: Sequence[Value]) -> Value:
    """A node that computes every element from those in its place."""
    data = [value for value in inputs if value.roots]
    joined = replace(
        CONSTANT,
        roots=united(value.roots for value in data),
        weighted=any(value.weighted for value in data),
    )
    if node.op_type in COMPARISONS and not any(value.is_step for value in data):
        number = len(findings.nodes)
        findings.nodes.append(node)
        findings.compared.append(joined)
        is_number = node.op_type == "Sign"
        low = -1.0 if is_number else 0.0
        return replace(
            joined, steps=frozenset({number}), is_step=True, is_number=is_number, low=low, high=1.0
        )
    if node.op_type in ROUNDING | LOGIC | COMPARISONS or to_integers(node):
        joined = replace(joined, is_step=True)
    joined = replace(joined, is_step=joined.is_step or all(value.is_step for value in data))
    if not joined.is_step:
        roots = united(value.roots for value in data if not value.is_step)
        own = {one for value in data for one in value.steps if findings.compared[one].roots & roots}
        for value in data:
            if node.op_type == "Add" and not value.roots & roots:  # spikes are counted
                send(findings, value, weighed=False)
        if own:
            findings.joins.append((node.op_type, frozenset(own)))
        return joined
    number = node.op_type in ("Cast", "CastLike", "Where") or any(value.is_number for value in data)
    low, high = range_of(node, inputs)
    return replace(
        joined,
        steps=united(value.steps for value in data),
        is_number=number and not to_bool(node),
        low=low,
        high=high,
    )


def to_integers(node: onnx.NodeProto) -> bool:
    return node.op_type == "Cast" and helper.get_node_attr_value(node, "to") in (
        *(TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64, TensorProto.UINT8),
    )


def to_bool(node: onnx.NodeProto) -> bool:
    return node.op_type in LOGIC or (
        node.op_type == "Cast" and helper.get_node_attr_value(node, "to") == TensorProto.BOOL
    )


def range_of(node: onnx.NodeProto, inputs: Sequence[Value]) -> tuple[float, float]:
    """The range of a node's result; infinite where it is not known."""
    operator, first = node.op_type, inputs[0]
    if operator in LOGIC | COMPARISONS:
        return 0.0, 1.0
    if operator == "Neg":
        return -first.high, -first.low
    if operator in ("Relu", "Abs"):
        return 0.0, max(abs(first.low), abs(first.high))
    if operator in ("Add", "Sum"):
        return sum(value.low for value in inputs), sum(value.high for value in inputs)
    if operator == "Sub":
        return first.low - inputs[1].high, first.high - inputs[1].low
    if operator == "Mul" or (operator == "Div" and inputs[1].low > 0):
        ends = [
            0.0 if 0.0 in (a, b) else a * b if operator == "Mul" else a / b
            for a in (first.low, first.high)
            for b in (inputs[1].low, inputs[1].high)
        ]
        return min(ends), max(ends)
    if operator in ("Where", "Max", "Min", "Mean"):
        taken = inputs[1:] if operator == "Where" else inputs
        return min(value.low for value in taken), max(value.high for value in taken)
    if operator in MOVES or operator in ("Cast", "CastLike", "Identity", "Dropout"):
        return first.low, first.high
    return -math.inf, math.inf


def mixed(findings: Findings, node: onnx.NodeProto, inputs: Sequence[Value]) -> Value:
    """Any other node: what it makes is a root of its own. Spikes pass it where it only moves them."""
    data = [value for value in inputs if value.roots]
    weights = node.op_type in WEIGHTED and len(data) == 1
    for value in data:
        if node.op_type in WEIGHTED | TALLIES:
            send(findings, value, weighed=weights)
    fresh = Value(frozenset({node.output[0]}), weighted=weights or any(value.weighted for value in data))
    if node.op_type not in PICKS | POOLS | TALLIES:
        return fresh
    findings.parts[node.output[0]] = united(value.roots for value in data)
    if node.op_type in TALLIES or not all(value.is_step for value in data):
        return fresh
    return replace(
        fresh,
        steps=united(value.steps for value in data),
        is_step=True,
        is_number=all(value.is_number for value in data),
        low=min(value.low for value in data),
        high=max(value.high for value in data),
    )


def send(findings: Findings, value: Value, weighed: bool) -> None:
    """Notes that spikes leave for weights, for a sum over places or ticks, or for good.

    What is known to go below 0 is none, but the 1 or -1 of a binary network.
    """
    if value.is_step and value.is_number and not -math.inf < value.low < 0:
        findings.sent |= value.steps
        if weighed:
            findings.weighed |= value.steps


def united(sets: Iterable[frozenset[Any]]) -> frozenset[Any]:
    return frozenset().union(*sets)


# ---- state --------------------------------------------------------------------


def read_body(
    findings: Findings,
    node: onnx.NodeProto,
    body: onnx.GraphProto,
    inputs: Sequence[Value],
    values: dict[str, Value],
) -> None:
    """The body of a Loop, Scan or If."""
    weighted = any(value.weighted for value in inputs)
    own = {value.name: Value(frozenset({value.name}), weighted=weighted) for value in body.input}
    if node.op_type == "Loop":
        own |= {value.name: CONSTANT for value in body.input[:2]}  # its counter and its condition
    read_graph(findings, body, {**values, **own})


def carry(findings: Findings, inputs: Iterable[Value], outputs: Sequence[Value]) -> None:
    """Notes the comparisons of a state: of what comes in, gets something added, and goes out again."""
    for number, compared in enumerate(findings.compared):
        for state in (value.roots for value in inputs if value.roots <= compared.roots and value.roots):
            kept = any(state <= value.roots and not value.is_step for value in outputs)
            if compared.roots - state and kept and number in findings.sent:
                findings.carried.add(number)
