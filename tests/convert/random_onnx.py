"""Random small ONNX networks of all kinds of operators: layers on an image, with branches.

A network is a chain of pieces that keep the batch and the four axes; `PIECES` has them by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from small_networks import Writer, join

WITHOUT_ATTRIBUTES = (  # functions of any number
    *("Abs", "Asinh", "Atan", "Ceil", "Cos", "Erf", "Floor", "Gelu", "HardSwish", "Mish", "Neg", "Round"),
    *("Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Swish", "Tanh"),
    *("com.microsoft.FastGelu", "com.microsoft.Gelu", "com.microsoft.QuickGelu"),
)
FUNCTIONS: dict[str, dict[str, Any]] = {
    "LeakyRelu": {"alpha": 0.3},
    "HardSigmoid": {"alpha": 0.3},
    "Elu": {},
    "Celu": {"alpha": 0.7},
    "Selu": {},
    "ThresholdedRelu": {"alpha": 0.4},
    "Shrink": {"lambd": 0.3, "bias": 0.1},
    "Mod": {"fmod": 1},
    **{name: {} for name in WITHOUT_ATTRIBUTES},
}
BETWEEN_0_AND_1 = ("Acos", "Asin", "Atanh", "Cosh", "Exp", "Log", "Reciprocal", "Sinh", "Sqrt", "Tan")


class Image:
    """A network under way. Its last tensor has shape (1, channels, size, size)."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.size = 6
        self.channels = int(self.rng.integers(1, 4))
        self.net = Writer((1, self.channels, 6, 6), seed=seed, opset=24)

    def choose(self, *names: str) -> str:
        return str(self.rng.choice(names))

    def function(self, op: str, *constants: Any, **attributes: Any) -> None:
        domain, _, name = op.rpartition(".")
        self.net.add(name, *map(self.net.constant, constants), **attributes)
        self.net.nodes[-1].domain = domain

    def convolution(self, targets: int, kernel: int, group: int = 1) -> None:
        self.net.conv(self.channels, targets, kernel, kernel, pads=[kernel // 2] * 4, group=group)
        self.channels = targets


def convolution(image: Image) -> None:
    image.convolution(int(image.rng.integers(1, 5)), 3)


def depthwise(image: Image) -> None:
    image.convolution(image.channels * int(image.rng.integers(1, 3)), 3, group=image.channels)


def grouped(image: Image) -> None:
    image.convolution(4, 3, group=2 if image.channels % 2 == 0 else 1)


def clip(image: Image) -> None:
    op = image.choose("Relu", "Clip", "Max", "Min")
    limits: dict[str, tuple[float, ...]] = {"Clip": (-0.4, 0.9), "Max": (-0.3,), "Min": (0.6,)}
    image.function(op, *limits.get(op, ()))


def any_function(image: Image) -> None:
    op = image.choose(*FUNCTIONS)
    image.function(op, *((0.7,) if op == "Mod" else ()), **FUNCTIONS[op])


def bounded_function(image: Image) -> None:
    """A function that is not defined, or too steep, elsewhere."""
    op = image.choose(*BETWEEN_0_AND_1, "Acosh", "Pow")
    image.function("Sigmoid")
    image.function("Mul", 0.8)
    image.function("Add", 1.1 if op == "Acosh" else 0.1)
    image.function(op, *((1.5,) if op == "Pow" else ()))


def by_channel(image: Image) -> None:
    op = image.choose("PRelu", "BatchNormalization", "Add", "Sub", "Mul", "Div")
    if op == "BatchNormalization":
        image.net.batch_norm(image.channels)
    else:
        image.function(op, image.rng.uniform(0.5, 1.5, (image.channels, 1, 1)))


def conditions(image: Image) -> None:
    """Where: a function in two pieces."""
    before = image.net.tensor
    compare = [image.choose("Greater", "GreaterOrEqual"), image.choose("Less", "LessOrEqual")]
    sides = [
        image.net.add(op, image.net.constant(limit), source=before)
        for op, limit in zip(compare, (-0.5, 0.4), strict=True)
    ]
    image.net.add(image.choose("And", "Or", "Xor"), sides[1], source=sides[0])
    if image.rng.random() < 0.5:
        image.net.add("Not")
    condition = image.net.tensor
    image.net.add("Where", before, image.net.constant(0.2), source=condition)


def equality(image: Image) -> None:
    before = image.net.tensor
    image.net.add("Round")
    image.net.add("Equal", image.net.constant(1.0))
    image.net.add("Cast", to=TensorProto.FLOAT)
    image.net.add("Add", before)


def pool(image: Image) -> None:
    if image.size > 2:
        image.net.add(image.choose("MaxPool", "AveragePool"), kernel_shape=[2, 2], strides=[2, 2])
        image.size //= 2


def residual(image: Image) -> None:
    before = image.net.tensor
    image.convolution(image.channels, 3)
    image.net.add(image.choose("Add", "Sub", "Sum"), before)


def concatenation(image: Image) -> None:
    before, channels = image.net.tensor, image.channels
    image.convolution(2, 1)
    join(image.net, before, image.net.add("Tanh"))
    image.channels = channels + 2


def spelled_out(image: Image) -> None:
    before = image.net.tensor
    image.net.add("Sigmoid")
    image.net.add("Mul", before)


def padding(image: Image) -> None:
    if image.size < 6:
        value = image.net.constant(float(image.rng.choice([0.0, 0.5, -1.0])))
        image.net.add("Pad", image.net.constant(np.array([0, 0, 1, 0, 0, 0, 0, 1])), value)
        image.size += 1


def parts(image: Image) -> None:
    """Some of the channels."""
    kind = image.choose("Gather", "Slice", "Split")
    constant = image.net.constant
    if kind == "Gather":
        image.channels = int(image.rng.integers(1, image.channels + 1))
        image.net.add("Gather", constant(np.arange(image.channels)), axis=1)
    elif kind == "Slice":
        image.net.add("Slice", *(constant(np.array([number])) for number in (0, image.channels, 1)))
    elif image.channels > 1:
        sizes = [1, image.channels - 1]
        source = image.net.tensor
        names = [f"part {len(image.net.nodes)} {number}" for number in (0, 1)]
        node = helper.make_node("Split", [source, constant(np.array(sizes))], names, axis=1)
        image.net.nodes.append(node)
        image.net.tensor, image.channels = names[1], sizes[1]


def permutation(image: Image) -> None:
    """Channels in another order: shuffled between two groups, or any."""
    constant, channels, size = image.net.constant, image.channels, image.size
    if channels % 2 or image.rng.random() < 0.5:
        image.net.add("Gather", constant(image.rng.permutation(channels)), axis=1)
        return
    image.net.add("Reshape", constant(np.array([1, 2, channels // 2, size, size])))
    image.net.add("Transpose", perm=[0, 2, 1, 3, 4])
    image.net.add("Reshape", constant(np.array([1, channels, size, size])))


def moves(image: Image) -> None:
    """What costs nothing."""
    constant, area = image.net.constant, image.size * image.size
    image.net.add("Reshape", constant(np.array([1, image.channels, area])))
    image.net.add("Unsqueeze", constant(np.array([0])))
    image.net.add("Identity")
    image.net.add("Squeeze", constant(np.array([0])))
    image.net.add("Transpose", perm=[0, 2, 1])
    image.net.add("Dropout")
    image.net.add("Transpose", perm=[0, 2, 1])
    image.net.add("Reshape", constant(np.array([1, image.channels, image.size, image.size])))


PIECES: dict[str, Callable[[Image], None]] = {
    piece.__name__: piece
    for piece in (
        *(
            convolution,
            depthwise,
            grouped,
            permutation,
            clip,
            any_function,
            bounded_function,
            by_channel,
            conditions,
            equality,
        ),
        *(pool, residual, concatenation, spelled_out, padding, parts, moves),
    )
}


def end(image: Image) -> None:
    """From an image to three scores."""
    op = image.choose("Flatten", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "ReduceSum")
    flat = image.channels if op != "Flatten" else image.channels * image.size * image.size
    if op.startswith("Reduce"):
        image.net.add(op, image.net.constant(np.array([2, 3])), keepdims=1)
    elif op.startswith("Global"):
        image.net.add(op)
    image.net.add("Flatten")
    if image.rng.random() < 0.5:
        image.net.gemm(flat, 3)
    else:
        image.net.add("MatMul", image.net.normal(flat, 3, scale=1 / np.sqrt(flat)))
    last = image.choose("", "", "Softmax", "LogSoftmax", "ArgMax")
    if last:
        image.net.add(last, axis=1)


def random_network(seed: int) -> onnx.ModelProto:
    """One to six pieces, and an end."""
    image = Image(seed)
    for _ in range(int(image.rng.integers(1, 7))):
        PIECES[image.choose(*PIECES)](image)
    end(image)
    net = image.net
    label = net.nodes[-1].op_type == "ArgMax"
    kind, shape = (TensorProto.INT64, [1, 1]) if label else (TensorProto.FLOAT, [1, 3])
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, net.shape)
    result = helper.make_tensor_value_info(net.tensor, kind, shape)
    graph = helper.make_graph(net.nodes, "random", [source], [result], net.constants)
    opsets = [helper.make_opsetid("", net.opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)
