"""ONNX files with spiking neurons spelled out are refused; ordinary networks with comparisons are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_networks import NETWORKS, Writer

from edgespike.convert.check import check
from edgespike.errors import EdgespikeError, UnsupportedError
from edgespike.importers.onnx import read_onnx
from edgespike.importers.onnx_spiking import refuse_spiking

TICKS = 3


class Unrolled(Writer):
    """A network (1, ticks, 6), node by node."""

    def __init__(self) -> None:
        super().__init__((1, TICKS, 6))
        self.one, self.beta = self.constant(np.array(1.0)), self.constant(np.array(0.9))
        self.matrices: dict[str, str] = {}

    def of(self, op: str, *inputs: str, **attributes: object) -> str:
        return self.add(op, *inputs[1:], source=inputs[0], **attributes)

    def current(self, tick: int) -> str:
        return self.of("Gather", "x", self.constant(np.array(tick)), axis=1)

    def dense(self, source: str, inputs: int, outputs: int, name: str) -> str:
        self.matrices.setdefault(name, self.normal(inputs, outputs))
        return self.of("MatMul", source, self.matrices[name])


Spike = Callable[[Unrolled, str], str]
Reset = Callable[[Unrolled, str, str], str]


def number(net: Unrolled, truth: str) -> str:
    return net.of("Cast", truth, to=TensorProto.FLOAT)


SPIKES: dict[str, Spike] = {
    "Greater": lambda net, v: number(net, net.of("Greater", v, net.one)),
    "GreaterOrEqual": lambda net, v: number(net, net.of("GreaterOrEqual", v, net.one)),
    "Less": lambda net, v: number(net, net.of("Less", net.one, v)),
    "LessOrEqual": lambda net, v: number(net, net.of("Not", net.of("LessOrEqual", v, net.one))),
    "Sign": lambda net, v: net.of("Relu", net.of("Sign", net.of("Sub", v, net.one))),
    "Where": lambda net, v: net.of(
        "Where", net.of("Greater", v, net.one), net.one, net.constant(np.array(0.0))
    ),
    "several": lambda net, v: net.of(
        "Mul", number(net, net.of("GreaterOrEqual", v, net.one)), net.of("Floor", net.of("Div", v, net.one))
    ),
}

RESETS: dict[str, Reset] = {
    "subtract": lambda net, v, s: net.of("Sub", v, s),
    "zero": lambda net, v, s: net.of("Mul", v, net.of("Sub", net.one, s)),
    "value": lambda net, v, s: net.of("Where", net.of("Cast", s, to=TensorProto.BOOL), net.beta, v),
    "none": lambda net, v, s: v,
}


def unrolled(spike: Spike, reset: Reset, layers: int = 2) -> Unrolled:
    """Two populations, tick by tick; the scores are the sum of spikes. With one, the input is a current."""
    net = Unrolled()
    membranes = [""] * layers
    total = ""
    for tick in range(TICKS):
        spikes = net.current(tick)
        for number_, before in enumerate(membranes):
            if layers > 1:
                spikes = net.dense(spikes, 6, 6, f"w{number_}")
            v = net.of("Add", net.of("Mul", before, net.beta), spikes) if before else spikes
            spikes = spike(net, v)
            membranes[number_] = reset(net, v, spikes)
        total = net.of("Add", total, spikes) if total else spikes
    net.tensor = total
    return net


def error_of(net: Writer | onnx.ModelProto, folder: Path) -> EdgespikeError:
    onnx.save(net.model() if isinstance(net, Writer) else net, folder / "network.onnx")
    with pytest.raises(UnsupportedError) as caught:
        read_onnx(folder / "network.onnx")
    return caught.value


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("spike", SPIKES)
def test_unrolled_neurons_are_refused(spike: str, reset: str, layers: int, tmp_path: Path) -> None:
    error = error_of(unrolled(SPIKES[spike], RESETS[reset], layers), tmp_path)
    operator = {"several": "GreaterOrEqual", "Where": "Greater"}.get(spike, spike)
    assert error.code == "spiking-onnx" and "\n" not in error.message
    assert f"{TICKS * layers} {operator} " in error.message and "NIR" in error.message
    assert "nir.write" in error.hint and "edgespike convert network.nir --from" in error.hint
    if reset != "none":
        operator = {"subtract": "Sub", "zero": "Mul", "value": "Where"}[reset]
        assert f"{TICKS * layers} {operator} reset" in error.message


def test_one_tick_is_refused(tmp_path: Path) -> None:
    net = Writer((1, 6))
    net.gemm(6, 6)
    net.add("Greater", net.constant(np.array(1.0)))
    net.add("Cast", to=TensorProto.FLOAT)
    net.gemm(6, 3)
    assert "1 Greater" in error_of(net, tmp_path).message


def neuron_nodes(current: str, before: str, after: str, spikes: str) -> list[onnx.NodeProto]:
    """``after``, ``spikes`` := one tick."""
    return [
        helper.make_node("Mul", [before, "beta"], ["kept"]),
        helper.make_node("Add", ["kept", current], ["v"]),
        helper.make_node("Greater", ["v", "beta"], ["above"], name="above"),
        helper.make_node("Cast", ["above"], [spikes], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["v", spikes], [after]),
    ]


def floats(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def model_of(
    nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
) -> onnx.ModelProto:
    constants = [
        helper.make_tensor("beta", TensorProto.FLOAT, [], [0.9]),
        helper.make_tensor("ticks", TensorProto.INT64, [], [TICKS]),
        helper.make_tensor("true", TensorProto.BOOL, [], [True]),
        helper.make_tensor("rest", TensorProto.FLOAT, [6], np.zeros(6)),
    ]
    graph = helper.make_graph(nodes, "network", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_state_as_input_and_output_is_refused(tmp_path: Path) -> None:
    model = model_of(
        neuron_nodes("x", "before", "after", "y"),
        [floats("x", 1, 6), floats("before", 1, 6)],
        [floats("y", 1, 6), floats("after", 1, 6)],
    )
    assert "1 Greater (the first is above)" in error_of(model, tmp_path).message


def test_loop_is_refused(tmp_path: Path) -> None:
    body = helper.make_graph(
        [
            helper.make_node("Gather", ["x", "tick"], ["current"]),
            *neuron_nodes("current", "before", "after", "spikes"),
            helper.make_node("Add", ["sum", "spikes"], ["sums"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "tick",
        [
            helper.make_tensor_value_info("tick", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            floats("before", 6),
            floats("sum", 6),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), floats("after", 6), floats("sums", 6)],
    )
    loop = helper.make_node("Loop", ["ticks", "true", "rest", "rest"], ["last", "y"], body=body)
    model = model_of([loop], [floats("x", TICKS, 6)], [floats("y", 6)])
    assert "1 Greater" in error_of(model, tmp_path).message


def test_scan_is_refused(tmp_path: Path) -> None:
    body = helper.make_graph(
        neuron_nodes("current", "before", "after", "spikes"),
        "tick",
        [floats("before", 6), floats("current", 6)],
        [floats("after", 6), floats("spikes", 6)],
    )
    scan = helper.make_node("Scan", ["rest", "x"], ["last", "y"], body=body, num_scan_inputs=1)
    model = model_of([scan], [floats("x", TICKS, 6)], [floats("y", TICKS, 6)])
    error = error_of(model, tmp_path)
    assert "1 Greater" in error.message and "1 Sub reset" in error.message


def test_a_function_of_the_file_is_looked_into(tmp_path: Path) -> None:
    inner = helper.make_function(
        "own",
        "Neuron",
        ["current", "before", "beta"],
        ["after", "spikes"],
        neuron_nodes("current", "before", "after", "spikes"),
        [helper.make_opsetid("", 17)],
    )
    call = helper.make_node("Neuron", ["x", "before", "beta"], ["after", "y"], domain="own")
    model = model_of(
        [call], [floats("x", 1, 6), floats("before", 1, 6)], [floats("y", 1, 6), floats("after", 1, 6)]
    )
    model.functions.append(inner)
    model.opset_import.append(helper.make_opsetid("own", 1))
    assert "1 Greater" in error_of(model, tmp_path).message


def test_the_framework_in_the_file_is_named(tmp_path: Path) -> None:
    model = unrolled(SPIKES["Greater"], RESETS["subtract"]).model()
    entry = model.graph.node[3].metadata_props.add()
    entry.key, entry.value = "namespace", ": Net/lif: snntorch._neurons.leaky.Leaky/gt: aten.gt.Tensor"
    error = error_of(model, tmp_path)
    assert "snntorch.export_nir.export_to_nir(" in error.hint and "--from snntorch" in error.hint


def test_check_tells_it(tmp_path: Path) -> None:
    onnx.save(unrolled(SPIKES["Greater"], RESETS["zero"]).model(), tmp_path / "network.onnx")
    found = check(tmp_path / "network.onnx")
    assert found.problem is not None and found.problem.code == "spiking-onnx"
    assert found.operators["Greater"] == 2 * TICKS and found.input_shape == (TICKS, 6)


# ---- what is no spiking network ---------------------------------------------------


def gemm_net() -> Writer:
    net = Writer((1, 6))
    net.gemm(6, 6)
    return net


def masked(net: Writer, op: str = "Greater") -> str:
    """0 or 1 where the present tensor is greater than a constant."""
    net.add(op, net.constant(np.array(0.1)))
    return net.add("Cast", to=TensorProto.FLOAT)


def relu_spelled_out() -> Writer:
    net = gemm_net()
    for _ in range(3):
        before = net.tensor
        net.add("Mul", masked(net), source=before)
        net.gemm(6, 6)
    return net


def residual_with_spelled_out_clip() -> Writer:
    net = gemm_net()
    for _ in range(3):
        before, one = net.tensor, net.constant(np.array(1.0))
        above = net.add("Greater", one)
        net.nodes.append(helper.make_node("Where", [above, one, before], [f"clipped {above}"]))
        net.tensor = f"clipped {above}"
        net.gemm(6, 6)
        net.add("Add", before)
    return net


def binary_network(residual: bool) -> Callable[[], Writer]:
    def make() -> Writer:
        net = gemm_net()
        for _ in range(3):
            before = net.tensor
            net.add("Sign")
            net.gemm(6, 6)
            if residual:
                net.add("Add", before)
        return net

    return make


def binary_network_of_where() -> Writer:
    net = gemm_net()
    for _ in range(3):
        before = net.tensor
        above = net.add("GreaterOrEqual", net.constant(np.array(0.0)))
        signs = [net.constant(np.array(1.0)), net.constant(np.array(-1.0))]
        net.nodes.append(helper.make_node("Where", [above, *signs], [f"sign {above}"]))
        net.tensor = f"sign {above}"
        net.gemm(6, 6)
        net.add("Add", before)
    return net


def ternary_network() -> Writer:
    net = gemm_net()
    for _ in range(2):
        before = net.tensor
        up = masked(net)
        net.tensor = before
        net.add("Sub", masked(net, "Less"), source=up)
        net.gemm(6, 6)
    return net


def quantized_in_steps() -> Writer:
    net = gemm_net()
    for _ in range(3):
        before = net.tensor
        net.add("Round")
        net.gemm(6, 6)
        net.add("Add", before)
    return net


def decision_at_the_end() -> Writer:
    net = gemm_net()
    net.add("Sigmoid")
    masked(net)
    return net


def input_made_binary() -> Writer:
    net = Writer((1, 6))
    masked(net)
    net.gemm(6, 6)
    net.add("Relu")
    net.gemm(6, 3)
    return net


def masked_mean() -> Writer:
    net = gemm_net()
    values = net.tensor
    mask = masked(net)
    net.add("ReduceSum", net.constant(np.array([1])), source=mask)
    count = net.tensor
    net.add("Mul", mask, source=values)
    net.add("ReduceSum", net.constant(np.array([1])))
    net.add("Div", count)
    return net


def gate() -> Writer:
    net = gemm_net()
    values = net.tensor
    net.gemm(6, 6)
    net.add("Sigmoid")
    net.add("Mul", masked(net), source=values)
    net.gemm(6, 3)
    return net


ORDINARY: dict[str, Callable[[], Writer]] = {
    "relu spelled out": relu_spelled_out,
    "clip spelled out": residual_with_spelled_out_clip,
    "binary": binary_network(residual=False),
    "binary, residual": binary_network(residual=True),
    "binary, of Where": binary_network_of_where,
    "ternary": ternary_network,
    "quantized": quantized_in_steps,
    "decision": decision_at_the_end,
    "binary input": input_made_binary,
    "masked mean": masked_mean,
    "gate": gate,
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_networks_pass(name: str) -> None:
    model = ORDINARY[name]().model()
    onnx.checker.check_model(model)
    refuse_spiking(model, "network.onnx")


def test_networks_of_all_operators_pass() -> None:
    for make in NETWORKS.values():
        refuse_spiking(make().model(), "network.onnx")


def test_all_network_cases_of_onnx_pass() -> None:
    """No case of onnx.backend.test holds a spiking network."""
    from onnx.backend.test.loader import load_model_tests

    for kind in ("node", "simple", "pytorch-converted", "pytorch-operator"):
        for case in load_model_tests(kind=kind):
            model = case.model or onnx.load(Path(case.model_dir) / "model.onnx")
            refuse_spiking(model, case.name)
