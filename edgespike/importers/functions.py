"""Functions of one number, as the ONNX nodes that compute them element by element.

Sigmoid, or the five nodes that an exporter writes for it, or ``x * tanh(softplus(x))``: any
nodes without memory of their neighbours, of one tensor and constants, are one function. It
is never taken apart: onnxruntime computes it wherever its values are needed.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

ARGUMENT = "neuron"
VALUE = "value of the function"


@dataclass(frozen=True, eq=False)
class Function:
    """Nodes in order, from the tensor `ARGUMENT` to ``result``.

    Tensors are (values, channels), so constants are single numbers or arrays (channels,).
    ``opsets``: the versions by domain that the nodes are written in.
    """

    opsets: tuple[tuple[str, int], ...]
    nodes: tuple[onnx.NodeProto, ...] = ()
    constants: tuple[onnx.TensorProto, ...] = ()
    result: str = ARGUMENT

    def then(self, node: onnx.NodeProto, constants: list[onnx.TensorProto]) -> Function:
        """The function with one more node, which reads what is there."""
        return replace(
            self,
            nodes=(*self.nodes, node),
            constants=(*self.constants, *constants),
            result=node.output[0],
        )

    def beside(self, other: Function) -> Function:
        """Both functions of the same argument; the result is this one's."""
        own = {name for node in self.nodes for name in node.output}
        known = {constant.name for constant in self.constants}
        return replace(
            self,
            nodes=(*self.nodes, *(node for node in other.nodes if node.output[0] not in own)),
            constants=(*self.constants, *(c for c in other.constants if c.name not in known)),
        )

    def after_clip(self, minimum: float, maximum: float) -> Function:
        """The function of a clipped argument."""
        limits = [
            numpy_helper.from_array(np.array(value, np.float32), f"{ARGUMENT} {name}")
            for name, value in (("least", minimum), ("greatest", maximum))
        ]
        clip = helper.make_node("Clip", [ARGUMENT, limits[0].name, limits[1].name], [f"{ARGUMENT} clipped"])
        nodes = []
        for node in self.nodes:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.input[:] = [clip.output[0] if name == ARGUMENT else name for name in node.input]
            nodes.append(copy)
        return replace(self, nodes=(clip, *nodes), constants=(*self.constants, *limits))

    @functools.cached_property
    def by_channel(self) -> bool:
        """Whether channels have constants of their own."""
        return any(math.prod(constant.dims) > 1 for constant in self.constants)

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """The function of values (..., channels), in float32 as onnxruntime computes it."""
        flat = np.ascontiguousarray(values, np.float32).reshape(-1, values.shape[-1])
        (result,) = self._session.run([VALUE], {ARGUMENT: flat})
        return np.asarray(result, np.float64).reshape(values.shape)

    @functools.cached_property
    def _session(self) -> Any:
        import onnxruntime

        last = helper.make_node("Cast", [self.result], [VALUE], to=TensorProto.FLOAT)
        shape = ["values", "channels"]
        graph = helper.make_graph(
            [*self.nodes, last],
            "function",
            [helper.make_tensor_value_info(ARGUMENT, TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(VALUE, TensorProto.FLOAT, shape)],
            list(self.constants),
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in self.opsets]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=min(10, onnx.IR_VERSION))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
