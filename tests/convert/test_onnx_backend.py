"""The cases of onnx.backend.test: those of operators that are read here are read, and agree.

A case is one node (or a few), or a model that torch once exported, with inputs and expected outputs.
Its first input becomes the network's, the others become constants. What cannot be a network here is
in `EXCLUDED`, each kind with its reason; a case that is refused for any other reason fails.
"""

from __future__ import annotations

import re
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
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

LEAST = {  # how many agree, and some of the names
    "node": (
        143,
        ["conv", "averagepool", "maxpool", "gelu", "hardswish", "qlinearmatmul", "gather", "slice"],
    ),
    "simple": (1, ["relu_model"]),
    "pytorch-operator": (14, ["conv", "maxpool", "selu", "mm"]),
    "pytorch-converted": (
        50,
        ["Conv1d_dilated", "Conv2d_depthwise_with_multiplier", "BatchNorm2d_eval", "PReLU_2d", "Linear"],
    ),
}

EXCLUDED = {  # what the error says: why
    "a batch axis and more are needed": "one axis or none: no batch of samples",
    "is not the batch": "samples are mixed",
    "it (chooses|cuts|splits|joins) samples": "samples are mixed",
    "differs from sample to sample": "the constants of a batch of three differ",
    "differ(s)? from pixel to pixel": "a constant for each pixel before a function, or at the input",
    "(two|one or two) axes of space": "volumes, or reductions that leave no channels",
    "has no grid": "a layout that is no image with channels",
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
    "has type (bool|u?int)": "inputs that are Booleans, or integers that no image or sensor has",
    "it broadcasts": "a softmax by place, spelled out",
    "it leaves nothing|malformed": "empty tensors",
    "opset .*; this onnx|cannot run": "an opset that onnxruntime does not have yet",
    "its addend differs": "samples are mixed",
    "other than by adding": "the product of two tensors (GLU)",
    "longer than 65535": "more neurons in a row than a model file holds",
    "input 3 is not a constant": "the input is the bias of constant matrices",
}


def usable(arrays: list[Any]) -> bool:
    """Whether these are arrays of numbers that NumPy has, and (some were never set) float32 holds."""
    return bool(arrays) and all(
        isinstance(array, np.ndarray)
        and array.dtype.kind in "fiub"
        and not (array.dtype == np.float64 and np.abs(array).max(initial=0) > np.finfo(np.float32).max)
        for array in arrays
    )


def cases(kind: str) -> dict[str, Case]:
    """Cases of a kind whose operators are all read here, by name."""
    found: dict[str, Case] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tests = load_model_tests(kind=kind)
    for test in tests:
        if kind != "node":
            model, inputs, outputs = from_files(Path(test.model_dir))
        elif test.model is not None:
            model, (inputs, outputs) = test.model, test.data_sets[0]
        else:
            continue
        names = {
            node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
            for node in model.graph.node
        }
        if names <= {*OPERATORS, "Constant"} and usable(inputs) and usable(outputs):
            found[test.name] = (model, inputs, outputs)
    return found


def from_files(folder: Path) -> Case:
    """A case that the package holds as files; what is no tensor is left out."""
    data: dict[str, list[NDArray[Any]]] = {"input": [], "output": []}
    for kind, arrays in data.items():
        files = (folder / "test_data_set_0").glob(f"{kind}_*.pb")
        for file in sorted(files, key=lambda file: int(file.stem.split("_")[1])):
            with suppress(DecodeError, TypeError, ValueError):
                arrays.append(numpy_helper.to_array(onnx.TensorProto.FromString(file.read_bytes())))
    return onnx.load(folder / "model.onnx"), data["input"], data["output"]


def as_network(case: Case) -> tuple[onnx.ModelProto, NDArray[Any]]:
    """The case with one input, and its value."""
    model, inputs, _ = case
    result = onnx.ModelProto()
    result.CopyFrom(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    free = [value for value in model.graph.input if value.name not in constants]
    for value, array in zip(free[1:], inputs[1:], strict=True):
        result.graph.initializer.append(numpy_helper.from_array(array, value.name))
    del result.graph.input[:]
    result.graph.input.append(free[0])
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
    return "agrees" if np.allclose(scores, expected, rtol=1e-3, atol=rounded, equal_nan=True) else "differs"


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


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """By kind and name, how each case came out."""
    folder = tmp_path_factory.mktemp("cases")
    return {kind: {name: outcome(case, folder) for name, case in cases(kind).items()} for kind in LEAST}


def test_cases_agree_or_are_excluded_for_a_reason(outcomes: dict[str, dict[str, str]]) -> None:
    said = {name: result for kind in outcomes.values() for name, result in kind.items()}
    assert [name for name, result in said.items() if result == "differs"] == []
    refused = {name: result for name, result in said.items() if result != "agrees"}
    unused = [
        pattern for pattern in EXCLUDED if not any(re.search(pattern, result) for result in refused.values())
    ]
    assert unused == []
    unexplained = {
        name: result
        for name, result in refused.items()
        if not any(re.search(pattern, result) for pattern in EXCLUDED)
    }
    assert unexplained == {}


@pytest.mark.parametrize("kind", LEAST)
def test_so_many_cases_agree(kind: str, outcomes: dict[str, dict[str, str]]) -> None:
    agreeing = [name for name, result in outcomes[kind].items() if result == "agrees"]
    count, operators = LEAST[kind]
    assert len(agreeing) >= count, f"{len(agreeing)} of {len(outcomes[kind])}"
    for operator in operators:
        assert any(operator in name for name in agreeing), operator
