"""The cases of onnx.backend.test: those of operators that are read here are read, and agree.

A case is one node (or a few) with inputs and expected outputs. Its first input becomes the
network's, the others become constants. What cannot be a network here is in `EXCLUDED`, each
kind with its reason; a case that is refused for any other reason fails.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests
from small_networks import float_twin

from edgespike.convert.float_network import FloatNetwork
from edgespike.errors import EdgespikeError
from edgespike.importers.network import Network
from edgespike.importers.onnx import read_onnx
from edgespike.importers.onnx_operators import OPERATORS

Case = tuple[onnx.ModelProto, list[NDArray[Any]], list[NDArray[Any]]]

EXCLUDED = {  # what the error says: why
    "a batch axis and more are needed": "one axis or none: no batch of samples",
    "is not the batch": "samples are mixed",
    "it (chooses|cuts|splits|joins) samples": "samples are mixed",
    "differs from sample to sample": "the constants of a batch of three differ",
    "differ(s)? from pixel to pixel": "a constant for each pixel before a function, or at the input",
    "enlarges its input": "a constant that makes more neurons of a tensor",
    "(two|one or two) axes of space": "volumes, or reductions that leave no channels",
    "has no grid of pixels": "a layout that is no image with channels",
    "its input .* is a constant": "the first input is a shape, a condition or an exponent",
    "outputs .*; one is needed": "several outputs; each can be chosen with --scores",
    "no fixed size along axis": "an axis of length 0",
    "(softmax over )?all scores (is|are) supported": "a softmax or ArgMax by place",
    "chooses the last of equal scores": "hosts take the first",
    "with a scale for each channel": "activations quantized by channel or block",
    "a matrix is supported": "a matrix for each sample",
    "it transposes its input": "samples are mixed",
    "it pads by|it pads axes": "padding by reflection, or of channels",
    "hold(s)? NaN or infinity": "constants that are not finite",
    "onnxslim cannot simplify": "Booleans as inputs",
    "as tensor of shape|reads .* as a tensor of shape": "a layout that is no image with channels",
    "it leaves nothing|malformed": "empty tensors",
    "opset .*; this onnx|cannot run": "an opset that onnxruntime does not have yet",
    "its addend differs": "samples are mixed",
}


def usable(arrays: list[Any]) -> bool:
    """Whether these are arrays of numbers that NumPy has."""
    return bool(arrays) and all(
        isinstance(array, np.ndarray) and array.dtype.kind in "fiub" for array in arrays
    )


def cases() -> dict[str, Case]:
    """Cases whose operators are all read here, by name."""
    found: dict[str, Case] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tests = [test for test in load_model_tests(kind="node") if test.model is not None]
    for test in tests:
        names = {
            node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
            for node in test.model.graph.node
        }
        inputs, outputs = test.data_sets[0]
        if names <= set(OPERATORS) and usable(inputs) and usable(outputs):
            found[test.name] = (test.model, inputs, outputs)
    return found


def as_network(case: Case) -> tuple[onnx.ModelProto, NDArray[Any]]:
    """The case with one input, and its value."""
    model, inputs, _ = case
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for value, array in zip(list(result.graph.input)[1:], inputs[1:], strict=True):
        result.graph.initializer.append(numpy_helper.from_array(array, value.name))
    del result.graph.input[1:]
    return result, inputs[0]


def outcome(case: Case, folder: Path) -> str:
    """``agrees``, ``differs``, or what the error says."""
    model, x = as_network(case)
    (folder / "case.onnx").write_bytes(model.SerializeToString())
    try:
        read = read_onnx(folder / "case.onnx")
        FloatNetwork(read)
    except EdgespikeError as error:
        return error.message
    scores = scores_of(read, x.astype(np.float32))
    expected = np.asarray(case[2][0], np.float64).reshape(len(x), -1)
    rounded = 0.51 if read.is_quantized else 1e-4  # the twin is real; integers are rounded
    return "agrees" if np.allclose(scores, expected, rtol=1e-3, atol=rounded) else "differs"


def scores_of(read: Network, x: NDArray[Any]) -> NDArray[Any]:
    """What the imported network computes, in its own order."""
    values = float_twin(read, x)[-1]
    scores = values.transpose(0, *(axis + 1 for axis in read.output.axes)).reshape(len(x), -1)
    if read.output.transform == "argmax":
        return np.asarray(scores.argmax(axis=1)[:, None])
    if read.output.transform == "none":
        return np.asarray(scores)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True)
    return np.asarray(np.log(shares) if read.output.transform == "log_softmax" else shares)


def test_cases_agree_or_are_excluded_for_a_reason(tmp_path: Path) -> None:
    outcomes = {name: outcome(case, tmp_path) for name, case in cases().items()}
    assert [name for name, said in outcomes.items() if said == "differs"] == []
    refused = [said for said in outcomes.values() if said != "agrees"]
    assert [pattern for pattern in EXCLUDED if not any(re.search(pattern, said) for said in refused)] == []
    unexplained = {
        name: said
        for name, said in outcomes.items()
        if said != "agrees" and not any(re.search(pattern, said) for pattern in EXCLUDED)
    }
    assert unexplained == {}
    agreeing = [name for name, said in outcomes.items() if said == "agrees"]
    assert len(agreeing) >= 140, f"{len(agreeing)} of {len(outcomes)}"
    for operator in (
        "conv",
        "averagepool",
        "maxpool",
        "gelu",
        "hardswish",
        "qlinearmatmul",
        "gather",
        "slice",
    ):
        assert any(operator in name for name in agreeing), operator
