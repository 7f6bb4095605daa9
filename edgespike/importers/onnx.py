"""Reads an ONNX file into a float network.

The file is checked, brought to float32 and simplified by onnxslim (constants and shape
arithmetic folded, dead nodes removed); then `onnx_layers` turns its nodes into layers.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx.version_converter
from onnx import TensorProto, numpy_helper

from edgespike.errors import ModelError, UnsupportedError, UsageError
from edgespike.importers.network import Network
from edgespike.importers.onnx_layers import constant_output, read_layers
from edgespike.importers.onnx_spiking import refuse_spiking

FLOATS = {TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
INTEGERS = {TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, TensorProto.INT64}
INPUT_TYPES = FLOATS | INTEGERS | {TensorProto.FLOAT}
OLDEST = 7  # opset that all that follows knows


def read_onnx(
    path: str | Path,
    grid: tuple[int, int, int] | None = None,
    shape: tuple[int, ...] | None = None,
    output: str | None = None,
    fixed: Mapping[str, float] | None = None,
) -> Network:
    """Reads the network in an ONNX file.

    Args:
        path: the file; external weights are read from beside it.
        grid: (channels, height, width) of a network that takes flat vectors, when they are
            images; None leaves them vectors.
        shape: of the input, batch axis included, where the file leaves it open.
        output: the name of the scores, where the file has several outputs.
        fixed: inputs, by name, that always have one number, so that they are none.

    Raises:
        ModelError: no ONNX network, or one that is broken or not of fixed size.
        UsageError: a shape, an input or an output that the network has not.
        UnsupportedError: operators without a meaning here, all of them in one message.
    """
    model = load(Path(path))
    refuse_spiking(model, str(path))
    fix_inputs(model, fixed or {})
    model = cut_to(model, chosen_output(model, output))
    check_tensors(model)
    if shape is not None:
        fix_shape(model, shape)
    original = to_float32(brought_up(model))
    return read_layers(simplify(original), original, grid)


def load(path: Path) -> onnx.ModelProto:
    """The checked model of a file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"cannot read the network {path}: {error.strerror}", "check the path", "model-missing"
        ) from error
    try:
        model = onnx.load_from_string(data)
    except Exception:  # protobuf's own exceptions
        model = onnx.ModelProto()
    if not model.graph.node or not model.opset_import:
        raise ModelError(
            f"{path} is not an ONNX file",
            "export the trained network with torch.onnx.export or tf2onnx",
            "not-onnx",
        )
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"{path}: its external weights cannot be read: {first_line(error)}",
            "keep the .onnx file and its weight files together",
            "external-data",
        ) from error
    version = max((entry.version for entry in model.opset_import if not entry.domain), default=0)
    if version > onnx.defs.onnx_opset_version():
        raise UnsupportedError(
            f"{path} has opset {version}; this onnx package knows {onnx.defs.onnx_opset_version()} and older",
            "export it with an older opset, such as 17, or update onnx and onnxruntime",
            "opset",
        )
    model.ir_version = max(model.ir_version, 4)  # older ones list weights as inputs; not all tools do
    try:
        onnx.checker.check_model(model)
        for tensor in model.graph.initializer:
            numpy_helper.to_array(tensor)
    except (onnx.checker.ValidationError, ValueError, TypeError, LookupError) as error:
        raise ModelError(
            f"{path} is not a valid ONNX network: {first_line(error)}",
            "export it again, with an opset that the exporter supports",
            "invalid-onnx",
        ) from error
    return model


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def fix_inputs(model: onnx.ModelProto, fixed: Mapping[str, float]) -> None:
    """Makes constants of inputs: one number in all places. An axis that the file leaves open has length 1."""
    inputs = free_inputs(model)
    for name, number in fixed.items():
        if name not in inputs:
            raise UsageError(f"the network has no input {name}", f"it has {', '.join(inputs)}")
        kind = inputs[name].type.tensor_type
        sizes = [max(1, dimension.dim_value) for dimension in kind.shape.dim]
        values = np.full(sizes, number).astype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
        model.graph.initializer.append(numpy_helper.from_array(values, name))
        model.graph.input.remove(inputs[name])


def free_inputs(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Inputs that have no value in the file, by name."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return {value.name: value for value in model.graph.input if value.name not in constants}


def chosen_output(model: onnx.ModelProto, output: str | None) -> str:
    """The name of the one output that is converted."""
    names = [value.name for value in model.graph.output]
    if output is None and len(names) != 1:
        raise UnsupportedError(
            f"the network has {len(names)} outputs ({', '.join(names)}); one is needed",
            "choose the one that holds the scores: --scores NAME (output= of convert_onnx)",
            "several-outputs",
        )
    if output is not None and output not in names:
        raise UsageError(f"the network has no output {output}", f"it has {', '.join(names)}")
    return output or names[0]


def cut_to(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """The model with one output, and only the nodes and inputs that it needs."""
    needed = {output}
    nodes = []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            needed |= names_read(node)
            nodes.append(node)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.output[:], result.graph.input[:]
    result.graph.node.extend(reversed(nodes))
    result.graph.output.extend(value for value in model.graph.output if value.name == output)
    result.graph.input.extend(value for value in model.graph.input if value.name in needed)
    return result


def names_read(node: onnx.NodeProto) -> set[str]:
    """Names of the tensors that a node reads, in its branches too."""
    inner = (part for attribute in node.attribute for part in [attribute.g, *attribute.graphs])
    return set(node.input).union(*(names_read(below) for graph in inner for below in graph.node))


def fix_shape(model: onnx.ModelProto, shape: tuple[int, ...]) -> None:
    """Writes a shape into the model's one input."""
    (value,) = free_inputs(model).values()
    dimensions = value.type.tensor_type.shape.dim
    sizes = [dimension.dim_value for dimension in dimensions]
    fits = len(sizes) == len(shape) and all(a in (0, b) for a, b in zip(sizes, shape, strict=True))
    if not fits or min(shape) < 1:
        known = ",".join(str(size or "?") for size in sizes)
        raise UsageError(
            f"input {value.name} has shape {known}, not {','.join(map(str, shape))}",
            "give all sizes, the batch axis first; those that the file has stay",
        )
    for dimension, size in zip(dimensions, shape, strict=True):
        dimension.ClearField("dim_param")
        dimension.dim_value = size


def check_tensors(model: onnx.ModelProto) -> None:
    """Refuses NaN and infinity in weights, and any inputs but one of numbers."""
    broken = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind == "f" and values.ndim and not np.isfinite(values).all():
            broken.append(f"{tensor.name} ({int((~np.isfinite(values)).sum())} of {values.size} values)")
    if broken:
        raise ModelError(
            f"weights hold NaN or infinity: {', '.join(broken)}",
            "the training diverged or the export failed: export a sound checkpoint",
            "not-finite",
        )
    inputs = free_inputs(model)
    if not inputs:
        raise constant_output(model.graph.output[0].name)
    if len(inputs) > 1:
        raise UnsupportedError(
            f"the network has {len(inputs)} inputs ({', '.join(inputs)}); one is needed",
            f"give the others a constant, such as --fix {list(inputs)[-1]}=0 (fixed= of convert_onnx)",
            "several-inputs",
        )
    ((name, value),) = inputs.items()
    kind = value.type.tensor_type.elem_type
    if kind not in INPUT_TYPES:
        raise UnsupportedError(
            f"input {name} has type {TensorProto.DataType.Name(kind).lower()}",
            "export the network with a float input",
            "input-type",
        )


def brought_up(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model of before 2017's opset 7, in which Add and others broadcast by attributes, in that opset."""
    version = max((entry.version for entry in model.opset_import if not entry.domain), default=OLDEST)
    if version >= OLDEST:
        return model
    try:
        return onnx.version_converter.convert_version(model, OLDEST)
    except Exception as error:  # of C++
        raise UnsupportedError(
            f"the network has opset {version}, and cannot be brought to {OLDEST}: {first_line(error)}",
            "export it with opset 13 or later",
            "opset",
        ) from error


def to_float32(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with float16 and double tensors as float32."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for value in [*result.graph.input, *result.graph.output, *result.graph.value_info]:
        if value.type.tensor_type.elem_type in FLOATS:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    tensors = list(result.graph.initializer)
    for node in result.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                tensors.append(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in FLOATS:
                attribute.i = TensorProto.FLOAT
    for tensor in tensors:
        if tensor.data_type in FLOATS:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return result


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fixes the batch axis and folds what is constant. Operators stay apart and keep their names."""
    import onnxslim

    (value,) = free_inputs(model).values()
    dimensions = value.type.tensor_type.shape.dim
    if len(dimensions) < 2:
        raise UnsupportedError(
            f"input {value.name} has {len(dimensions)} axes; a batch axis and more are needed",
            "export the network with a batch axis in front",
            "no-batch-axis",
        )
    unknown = [axis for axis, dimension in enumerate(dimensions) if axis and dimension.dim_value <= 0]
    if unknown:
        raise UnsupportedError(
            f"input {value.name} has no fixed size along axis {', '.join(map(str, unknown))}",
            f"say how large it is: --shape {value.name}="
            f"{','.join(str(dimension.dim_value or 'N') for dimension in dimensions)} "
            "(shape= of convert_onnx), or export the network with a fixed input size",
            "dynamic-shape",
        )
    batch = dimensions[0].dim_value if dimensions[0].dim_value > 0 else 1
    shape = [batch, *(dimension.dim_value for dimension in dimensions[1:])]
    if math.prod(shape) == 0:
        raise ModelError(f"input {value.name} of shape {shape} is empty", "export the network again")
    logging.getLogger("onnxslim").setLevel(logging.CRITICAL)
    try:
        result = onnxslim.slim(
            model,
            input_shapes=[f"{value.name}:{','.join(map(str, shape))}"],
            skip_optimizations=["graph_fusion", "weight_tying"],
        )
    except Exception as error:  # onnxslim has no exceptions of its own
        raise ModelError(
            f"onnxslim cannot simplify the network: {first_line(error)}",
            "check that onnxruntime runs it; export it again with a common opset (13 to 20)",
            "simplify",
        ) from error
    assert isinstance(result, onnx.ModelProto)
    return result
