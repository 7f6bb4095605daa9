"""Small random ONNX networks, one for each operator and way of exporting it, and their float twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgespike.importers.network import AveragePool, Convolution, Dense, MaxPool, Network
from edgespike.linear_maps import convolve, max_pool, sum_pool


@dataclass
class Writer:
    """Writes an ONNX network node by node. ``tensor`` is the last node's output."""

    shape: tuple[Any, ...]
    seed: int = 0
    opset: int = 17
    dtype: int = TensorProto.FLOAT
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    tensor: str = "x"

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def constant(self, values: Any) -> str:
        """Stores a constant and returns its name."""
        name = f"c{len(self.constants)}"
        array = np.asarray(values)
        if array.dtype == np.float64:
            array = array.astype(helper.tensor_dtype_to_np_dtype(self.dtype))
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def normal(self, *shape: int, scale: float = 1.0) -> str:
        """A random constant."""
        return self.constant(self.random.normal(0, scale, shape))

    def add(self, op: str, *inputs: str, source: str | None = None, **attributes: Any) -> str:
        """Adds a node that reads the last tensor (or ``source``) and then these inputs."""
        name = f"t{len(self.nodes)}"
        first = self.tensor if source is None else source
        self.nodes.append(
            helper.make_node(op, [first, *inputs], [name], name=f"{op}_{len(self.nodes)}", **attributes)
        )
        self.tensor = name
        return name

    def conv(self, channels: int, targets: int, *kernel: int, bias: bool = True, **attributes: Any) -> str:
        """A random Conv."""
        sources = channels // attributes.get("group", 1)
        scale = 1.0 / np.sqrt(sources * np.prod(kernel))
        weights = [self.normal(targets, sources, *kernel, scale=scale)]
        if bias:
            weights.append(self.normal(targets, scale=0.2))
        return self.add("Conv", *weights, **attributes)

    def gemm(self, sources: int, targets: int) -> str:
        """A random Gemm."""
        weight = self.normal(sources, targets, scale=1.0 / np.sqrt(sources))
        return self.add("Gemm", weight, self.normal(targets, scale=0.2))

    def batch_norm(self, channels: int) -> str:
        """A random BatchNormalization."""
        scale, shift, mean = (self.random.normal(center, 0.3, channels) for center in (1, 0, 0))
        variance = self.random.uniform(0.5, 2, channels)
        return self.add("BatchNormalization", *map(self.constant, (scale, shift, mean, variance)))

    def model(self) -> onnx.ModelProto:
        """The finished network."""
        source = helper.make_tensor_value_info("x", self.dtype, self.shape)
        result = helper.make_tensor_value_info(self.tensor, self.dtype, None)
        graph = helper.make_graph(self.nodes, "small", [source], [result], self.constants)
        opset = [helper.make_opsetid("", self.opset)]
        return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opset, ir_version=8))


def flat_gemm(net: Writer, sources: int) -> Writer:
    """Ends a network with Flatten and Gemm."""
    net.add("Flatten")
    net.gemm(sources, 5)
    return net


# ---- the networks ------------------------------------------------------------------

Networks = dict[str, Callable[[], "Writer"]]

NETWORKS: Networks = {}  # are imported, converted and run
IMPORTED: Networks = {}  # are only imported: what becomes of them later is as with others


def network(make: Callable[[], Writer]) -> Callable[[], Writer]:
    """Registers a network under its function's name."""
    NETWORKS[make.__name__] = make
    return make


@network
def gemm_transposed_scaled() -> Writer:
    net = Writer(("N", 12))
    net.add("Gemm", net.normal(7, 12, scale=0.3), net.normal(1, 7), transB=1, alpha=0.5, beta=2.0)
    net.add("Relu")
    net.add("Gemm", net.normal(7, 4, scale=0.3))
    return net


@network
def matmul_and_bias_on_the_left() -> Writer:
    net = Writer(("N", 9))
    net.add("MatMul", net.normal(9, 8, scale=0.3))
    left = net.tensor
    net.add("Add", left, source=net.normal(8))
    net.add("Relu")
    net.add("MatMul", net.normal(8, 3, scale=0.3))
    return net


def with_conv(
    name: str, shape: tuple[int, ...], targets: int, kernel: tuple[int, ...], **attributes: Any
) -> None:
    """Registers a network of one Conv, Relu and another Conv."""

    def make() -> Writer:
        net = Writer((1, *shape))
        net.conv(shape[0], targets, *kernel, **attributes)
        net.add("Relu")
        net.conv(targets, 3, *[1] * len(kernel))
        return net

    NETWORKS[name] = make


with_conv("conv_valid", (2, 7, 6), 4, (3, 2))
with_conv("conv_stride", (2, 9, 8), 4, (3, 3), strides=[2, 3], pads=[1, 1, 1, 1])
with_conv("conv_dilation", (2, 9, 9), 4, (3, 2), dilations=[2, 3], pads=[2, 1, 2, 2])
with_conv("conv_asymmetric_pads", (1, 6, 6), 3, (4, 3), pads=[3, 0, 1, 2])
with_conv("conv_stride_beyond_pads", (1, 11, 7), 3, (5, 3), pads=[4, 2, 0, 2], strides=[3, 2])
with_conv("conv_groups", (4, 6, 5), 6, (3, 3), group=2, pads=[1, 1, 1, 1])
with_conv("conv_depthwise", (4, 6, 5), 4, (3, 3), group=4, pads=[1, 1, 1, 1])
with_conv("conv_depthwise_multiplier", (3, 6, 5), 6, (3, 3), group=3)
with_conv("conv_no_bias", (2, 5, 5), 3, (3, 3), bias=False)
with_conv("conv_same_upper", (2, 8, 7), 3, (4, 3), auto_pad="SAME_UPPER", strides=[2, 2])
with_conv("conv_same_lower", (2, 8, 7), 3, (4, 3), auto_pad="SAME_LOWER", strides=[2, 2])
with_conv("conv_same_stride_beyond_kernel", (2, 8, 7), 3, (2, 1), auto_pad="SAME_UPPER", strides=[3, 2])
with_conv("conv_valid_auto_pad", (2, 8, 7), 3, (3, 3), auto_pad="VALID")
with_conv("conv_1d", (3, 17), 4, (5,), strides=[2], pads=[2, 1])
with_conv("conv_1d_depthwise", (3, 17), 3, (5,), group=3, dilations=[2])


@network
def batch_norm_after_conv() -> Writer:
    net = Writer((1, 2, 6, 6))
    net.conv(2, 4, 3, 3, pads=[1, 1, 1, 1])
    net.batch_norm(4)
    net.add("Relu")
    return flat_gemm(net, 144)


@network
def batch_norm_after_grouped_conv() -> Writer:
    net = Writer((1, 4, 6, 6))
    net.conv(4, 6, 3, 3, group=2, bias=False)
    net.batch_norm(6)
    net.add("Relu")
    return flat_gemm(net, 96)


@network
def batch_norm_after_gemm() -> Writer:
    net = Writer(("N", 10))
    net.gemm(10, 8)
    net.batch_norm(8)
    net.add("Relu")
    net.gemm(8, 4)
    return net


@network
def batch_norm_at_the_input() -> Writer:
    net = Writer((1, 3, 6, 6))
    net.batch_norm(3)
    net.conv(3, 4, 3, 3, pads=[1, 1, 1, 1])
    net.add("Relu")
    return flat_gemm(net, 144)


@network
def batch_norm_between_relu_and_padded_conv() -> Writer:
    net = Writer((1, 2, 7, 6))
    net.conv(2, 4, 3, 3)
    net.add("Relu")
    net.batch_norm(4)
    net.conv(4, 5, 3, 3, pads=[1, 2, 1, 0], strides=[2, 1])
    net.add("Relu")
    return flat_gemm(net, 60)


@network
def batch_norm_between_relu_and_depthwise_conv() -> Writer:
    net = Writer((1, 2, 7, 6))
    net.conv(2, 4, 3, 3)
    net.add("Relu")
    net.batch_norm(4)
    net.conv(4, 8, 3, 3, group=4, pads=[1, 1, 1, 1])
    net.add("Relu")
    return flat_gemm(net, 160)


@network
def batch_norm_after_pools_before_gemm() -> Writer:
    net = Writer((1, 2, 8, 8))
    net.conv(2, 4, 3, 3, pads=[1, 1, 1, 1])
    net.add("Relu")
    net.add("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)
    net.batch_norm(4)
    net.add("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    return flat_gemm(net, 16)


@network
def batch_norm_with_negative_factor_before_max_pool() -> Writer:
    net = Writer((1, 2, 6, 6))
    net.conv(2, 3, 3, 3)
    net.add("Relu")
    values = ([-1.0, 0.5, -0.7], [0.1, 0.2, 0.3], [0.0, 0.1, 0.2], [1.0, 1.5, 2.0])
    net.add("BatchNormalization", *(net.constant(np.array(value)) for value in values))
    net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    return flat_gemm(net, 12)


@network
def batch_norm_with_positive_factor_before_max_pool() -> Writer:
    net = Writer((1, 2, 6, 6))
    net.conv(2, 3, 3, 3)
    net.add("Relu")
    values = ([1.0, 0.5, 0.7], [0.1, 0.2, 0.3], [0.0, 0.1, 0.2], [1.0, 1.5, 2.0])
    net.add("BatchNormalization", *(net.constant(np.array(value)) for value in values))
    net.add("MaxPool", kernel_shape=[2, 2], strides=[1, 2], pads=[1, 0, 0, 0])
    return flat_gemm(net, 24)


@network
def relu_after_batch_norm_after_relu() -> Writer:
    net = Writer((1, 2, 6, 6))
    net.conv(2, 3, 3, 3)
    net.add("Relu")
    net.batch_norm(3)
    net.add("Relu")
    return flat_gemm(net, 48)


@network
def relu_after_max_pool() -> Writer:
    net = Writer((1, 2, 8, 8))
    net.conv(2, 3, 3, 3)
    net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    net.add("MaxPool", kernel_shape=[2, 2])
    net.add("Relu")
    return flat_gemm(net, 12)


@network
def relu_after_average_pool() -> Writer:
    net = Writer((1, 2, 8, 8))
    net.conv(2, 3, 3, 3)
    net.add("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    net.add("Relu")
    return flat_gemm(net, 27)


@network
def relu_at_the_input() -> Writer:
    net = Writer((1, 3, 5, 5))
    net.add("Relu")
    net.conv(3, 4, 3, 3)
    net.add("Relu")
    return flat_gemm(net, 36)


@network
def clip_with_limits_as_inputs() -> Writer:
    net = Writer((1, 2, 6, 6))
    net.conv(2, 4, 3, 3)
    net.add("Clip", net.constant(np.array(0.0)), net.constant(np.array(0.8)))
    return flat_gemm(net, 64)


@network
def clip_as_attribute_and_signed() -> Writer:
    net = Writer((1, 12), opset=10)
    net.gemm(12, 9)
    net.add("Clip", min=-0.5, max=0.7)
    net.gemm(9, 4)
    return net


@network
def linear_after_linear() -> Writer:
    net = Writer((1, 12))
    net.gemm(12, 9)
    net.gemm(9, 8)
    net.add("Relu")
    net.gemm(8, 4)
    return net


def with_pool(
    name: str, op: str, shape: tuple[int, ...], relu: bool = True, opset: int = 17, **attributes: Any
) -> None:
    """Registers a network of a Conv, a pool and a pointwise Conv."""

    def make() -> Writer:
        net = Writer((1, *shape), opset=opset)
        ones = [1] * (len(shape) - 1)
        net.conv(shape[0], 4, *ones)
        if relu:
            net.add("Relu")
        net.add(op, **attributes)
        net.conv(4, 3, *ones)
        return net

    NETWORKS[name] = make


POOL = {"kernel_shape": [3, 2], "strides": [2, 2]}
with_pool("average_pool", "AveragePool", (2, 8, 8), **POOL)
with_pool("average_pool_signed", "AveragePool", (2, 8, 8), relu=False, **POOL)
with_pool("average_pool_pads_left_out", "AveragePool", (2, 8, 8), pads=[1, 1, 2, 0], **POOL)
with_pool(
    "average_pool_pads_counted", "AveragePool", (2, 8, 8), pads=[1, 1, 2, 0], count_include_pad=1, **POOL
)
with_pool("average_pool_ceil", "AveragePool", (2, 8, 8), ceil_mode=1, opset=19, **POOL)
with_pool(
    "average_pool_ceil_pads_counted",
    "AveragePool",
    (2, 8, 8),
    opset=19,
    kernel_shape=[3, 3],
    strides=[2, 3],
    pads=[1, 1, 1, 1],
    ceil_mode=1,
    count_include_pad=1,
)
with_pool("average_pool_same", "AveragePool", (2, 7, 7), auto_pad="SAME_UPPER", **POOL)
with_pool("average_pool_dilation", "AveragePool", (2, 9, 9), dilations=[2, 3], opset=19, **POOL)
with_pool("average_pool_large", "AveragePool", (2, 9, 9), kernel_shape=[8, 9])
with_pool("average_pool_1d", "AveragePool", (2, 15), kernel_shape=[4], strides=[3])
with_pool("max_pool", "MaxPool", (2, 8, 8), **POOL)
with_pool("max_pool_signed", "MaxPool", (2, 8, 8), relu=False, **POOL)
with_pool("max_pool_pads", "MaxPool", (2, 8, 8), pads=[1, 1, 2, 0], **POOL)
with_pool("max_pool_pads_signed", "MaxPool", (2, 8, 8), relu=False, pads=[1, 1, 2, 0], **POOL)
with_pool("max_pool_ceil", "MaxPool", (2, 8, 8), ceil_mode=1, **POOL)
with_pool(
    "max_pool_ceil_pads",
    "MaxPool",
    (2, 8, 8),
    ceil_mode=1,
    kernel_shape=[3, 3],
    strides=[3, 2],
    pads=[1, 1, 1, 1],
)
with_pool("max_pool_same_lower", "MaxPool", (2, 7, 7), auto_pad="SAME_LOWER", **POOL)
with_pool("max_pool_dilation", "MaxPool", (2, 9, 9), dilations=[2, 3], **POOL)
with_pool("max_pool_1d", "MaxPool", (2, 15), kernel_shape=[4], strides=[3])
with_pool("global_average_pool", "GlobalAveragePool", (2, 5, 7))
with_pool("global_average_pool_signed", "GlobalAveragePool", (2, 5, 7), relu=False)
with_pool("global_average_pool_1d", "GlobalAveragePool", (2, 11))
with_pool("global_max_pool", "GlobalMaxPool", (2, 5, 7), relu=False)
with_pool("reduce_max", "ReduceMax", (2, 5, 7), axes=[2, 3])
with_pool("reduce_sum", "ReduceSum", (2, 5, 7), opset=11, axes=[-1, 2])
with_pool("reduce_mean_down", "ReduceMean", (2, 5, 7), axes=[2])
with_pool("reduce_mean_across", "ReduceMean", (2, 5, 7), axes=[-1])


@network
def max_pool_of_the_input() -> Writer:
    net = Writer((1, 3, 6, 6))
    net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    return flat_gemm(net, 27)


@network
def reduce_mean_axes_as_input_no_dimensions_kept() -> Writer:
    net = Writer((1, 2, 5, 7), opset=18)
    net.conv(2, 4, 3, 3)
    net.add("Relu")
    net.add("ReduceMean", net.constant(np.array([2, 3])), keepdims=0)
    net.gemm(4, 3)
    return net


@network
def global_average_pool_at_the_end() -> Writer:
    net = Writer((1, 2, 5, 7))
    net.conv(2, 4, 3, 3)
    net.add("GlobalAveragePool")
    net.add("Flatten")
    net.add("Softmax", axis=1)
    return net


@network
def channels_last_export() -> Writer:
    net = Writer((1, 7, 6, 2))
    net.add("Transpose", perm=[0, 3, 1, 2])
    net.conv(2, 4, 3, 3, pads=[0, 1, 1, 0])
    net.add("Relu")
    net.add("Transpose", perm=[0, 2, 3, 1])
    net.add("Reshape", net.constant(np.array([-1, 6 * 5 * 4])))
    net.gemm(120, 3)
    return net


@network
def channels_last_mean_and_matmul_by_place() -> Writer:
    net = Writer((1, 7, 6, 2))
    net.add("MatMul", net.normal(2, 5))
    net.add("Add", net.normal(5))
    net.add("Relu")
    net.add("MatMul", net.normal(5, 4))
    net.add("Relu")
    net.add("ReduceMean", axes=[1, 2], keepdims=0)
    net.gemm(4, 3)
    return net


@network
def sequence_with_matmul_by_place() -> Writer:
    net = Writer((1, 9, 3))
    net.add("MatMul", net.normal(3, 5))
    net.add("Add", net.normal(5))
    net.add("Relu")
    net.add("Transpose", perm=[0, 2, 1])
    net.conv(5, 4, 3)
    net.add("Relu")
    return flat_gemm(net, 28)


@network
def flat_image_reshaped() -> Writer:
    net = Writer(("N", 48))
    net.add("Reshape", net.constant(np.array([0, 3, 4, 4])))
    net.conv(3, 4, 3, 3)
    net.add("Relu")
    net.add("Squeeze", net.constant(np.array([0])))
    net.add("Unsqueeze", net.constant(np.array([0])))
    return flat_gemm(net, 16)


@network
def flatten_first() -> Writer:
    net = Writer((1, 1, 6, 5))
    net.add("Flatten")
    net.gemm(30, 8)
    net.add("Relu")
    net.gemm(8, 4)
    return net


@network
def colour_image_flattened() -> Writer:
    net = Writer((1, 3, 4, 5))
    net.add("Flatten")
    net.gemm(60, 8)
    net.add("Relu")
    net.gemm(8, 4)
    return net


@network
def image_read_by_gemm_and_conv() -> Writer:
    net = Writer((1, 2, 4, 5))
    net.add("Flatten", source="x")
    first = net.gemm(40, 6)
    net.tensor = "x"
    net.conv(2, 3, 3, 3)
    net.add("Relu")
    net.add("Flatten")
    second = net.gemm(18, 6)
    net.add("Add", second, source=first)
    net.add("Relu")
    net.gemm(6, 3)
    return net


@network
def residual_identity() -> Writer:
    net = Writer((1, 2, 6, 6))
    net.conv(2, 4, 3, 3, pads=[1, 1, 1, 1])
    skip = net.add("Relu")
    net.conv(4, 4, 3, 3, pads=[1, 1, 1, 1])
    net.batch_norm(4)
    net.add("Add", skip)
    net.add("Relu")
    return flat_gemm(net, 144)


@network
def residual_projection() -> Writer:
    net = Writer((1, 2, 6, 6))
    net.conv(2, 4, 3, 3, pads=[1, 1, 1, 1])
    start = net.add("Relu")
    net.conv(4, 5, 3, 3, pads=[1, 1, 1, 1], strides=[2, 2])
    branch = net.batch_norm(5)
    net.conv(4, 5, 1, 1, strides=[2, 2])
    net.nodes[-1].input[0] = start
    net.batch_norm(5)
    net.add("Add", branch)
    net.add("Relu")
    return flat_gemm(net, 45)


@network
def residual_from_the_input_and_pre_activation() -> Writer:
    net = Writer((1, 3, 6, 6))
    net.conv(3, 3, 3, 3, pads=[1, 1, 1, 1])
    total = net.add("Add", "x")
    net.batch_norm(3)
    net.add("Relu")
    net.conv(3, 3, 3, 3, pads=[1, 1, 1, 1])
    net.add("Add", total)
    net.batch_norm(3)
    net.add("Relu")
    return flat_gemm(net, 108)


@network
def residual_of_vectors_and_twice_the_same() -> Writer:
    net = Writer(("N", 8))
    net.gemm(8, 8)
    net.add("Relu")
    net.add("Add", net.tensor)
    net.add("Add", "x")
    net.gemm(8, 3)
    return net


@network
def input_scaled_and_shifted_by_channel() -> Writer:
    net = Writer((1, 3, 5, 5))
    net.add("Div", net.constant(np.array(2.0)))
    net.add("Sub", net.constant(np.array([0.2, 0.3, -0.4]).reshape(1, 3, 1, 1)))
    net.add("Mul", net.constant(np.array([1.5, 0.5, 2.0]).reshape(3, 1, 1)))
    net.conv(3, 4, 3, 3, pads=[1, 1, 1, 1])
    net.add("Relu")
    return flat_gemm(net, 100)


@network
def input_features_scaled() -> Writer:
    net = Writer(("N", 6))
    net.add("Sub", net.normal(6))
    net.add("Div", net.constant(net.random.uniform(0.5, 2, 6)))
    net.gemm(6, 5)
    net.add("Relu")
    net.gemm(5, 3)
    return net


@network
def input_subtracted_from_a_constant() -> Writer:
    net = Writer((1, 1, 5, 5))
    net.add("Sub", "x", source=net.constant(np.array(1.0)))
    net.conv(1, 4, 3, 3, pads=[1, 1, 1, 1])
    net.add("Relu")
    return flat_gemm(net, 100)


@network
def mean_image_subtracted() -> Writer:
    net = Writer((1, 2, 5, 5))
    net.add("Sub", net.normal(2, 5, 5))
    net.conv(2, 4, 3, 3, pads=[1, 1, 1, 1])
    net.add("Relu")
    return flat_gemm(net, 100)


@network
def scores_scaled_and_log_softmax() -> Writer:
    net = Writer(("N", 6))
    net.gemm(6, 5)
    net.add("Relu")
    net.gemm(5, 3)
    net.add("Mul", net.constant(np.array([1.0, 2.0, 0.5])))
    net.add("LogSoftmax", axis=1)
    return net


@network
def relu_as_the_output() -> Writer:
    net = Writer(("N", 6))
    net.gemm(6, 5)
    net.add("Relu")
    return net


@network
def relu_scaled_as_the_output() -> Writer:
    net = Writer(("N", 6))
    net.gemm(6, 5)
    net.add("Relu")
    net.add("Mul", net.constant(np.array(3.0)))
    net.add("Add", net.constant(np.array(-1.0)))
    return net


@network
def output_read_inside_too() -> Writer:
    net = Writer(("N", 6))
    first = net.gemm(6, 6)
    net.add("Relu")
    net.gemm(6, 6)
    net.add("Add", first)
    return net


@network
def scores_over_space() -> Writer:
    net = Writer((1, 2, 6, 5))
    net.conv(2, 4, 3, 3)
    net.add("Relu")
    net.conv(4, 3, 1, 1)
    return net


@network
def scores_over_space_channels_last() -> Writer:
    net = Writer((1, 6, 5, 2))
    net.add("Transpose", perm=[0, 3, 1, 2])
    net.conv(2, 4, 3, 3)
    net.add("Relu")
    net.conv(4, 3, 1, 1)
    net.add("Transpose", perm=[0, 2, 3, 1])
    return net


@network
def identity_and_dropout() -> Writer:
    net = Writer(("N", 6))
    net.add("Identity")
    net.gemm(6, 5)
    net.add("Dropout")
    net.add("Relu")
    net.add("Identity")
    net.gemm(5, 3)
    net.add("Identity")
    return net


@network
def weights_behind_dequantize_linear() -> Writer:
    net = Writer((1, 2, 5, 5))
    weight = net.constant(net.random.integers(-127, 128, (4, 2, 3, 3)).astype(np.int8))
    scale = net.constant(net.random.uniform(0.001, 0.003, 4))
    zero = net.constant(np.zeros(4, np.int8))
    net.nodes.append(helper.make_node("DequantizeLinear", [weight, scale, zero], ["dequantized"], axis=0))
    net.add("Conv", "dequantized")
    net.add("Relu")
    return flat_gemm(net, 36)


@network
def half_precision() -> Writer:
    net = Writer((1, 2, 5, 5), dtype=TensorProto.FLOAT16)
    net.conv(2, 4, 3, 3)
    net.add("Relu")
    return flat_gemm(net, 36)


@network
def double_precision() -> Writer:
    net = Writer((1, 2, 5, 5), dtype=TensorProto.DOUBLE)
    net.conv(2, 4, 3, 3)
    net.add("Relu")
    return flat_gemm(net, 36)


@network
def integer_input() -> Writer:
    net = Writer((1, 1, 5, 5), dtype=TensorProto.FLOAT)
    net.add("Cast", to=TensorProto.FLOAT)
    net.add("Div", net.constant(np.array(64.0)))
    net.conv(1, 4, 3, 3)
    net.add("Relu")
    return flat_gemm(net, 36)


@network
def fixed_batch_of_four() -> Writer:
    net = Writer((4, 1, 6, 6))
    net.conv(1, 3, 3, 3)
    net.add("Relu")
    net.add("Reshape", net.constant(np.array([4, 48])))
    net.gemm(48, 3)
    return net


@network
def sizes_computed_from_the_shape() -> Writer:
    net = Writer(("N", 1, 6, 6))
    conv = net.conv(1, 3, 3, 3)
    net.add("Shape", source=conv)
    net.add("Gather", net.constant(np.array(0)), axis=0)
    net.add("Unsqueeze", net.constant(np.array([0])))
    sizes = net.add("Concat", net.constant(np.array([-1])), axis=0)
    net.add("Reshape", sizes, source=conv)
    net.add("Relu")
    net.gemm(48, 3)
    return net


# ---- functions ---------------------------------------------------------------------


def with_function(
    name: str,
    op: str,
    opset: int = 20,
    constants: tuple[Any, ...] = (),
    into: Networks | None = None,
    **attributes: Any,
) -> None:
    """Registers a network of a Conv, a function and a pointwise Conv."""

    def make() -> Writer:
        net = Writer((1, 2, 6, 6), opset=opset)
        net.conv(2, 4, 3, 3)
        net.add(op, *(net.constant(np.array(value)) for value in constants), **attributes)
        net.conv(4, 3, 1, 1)
        return net

    (NETWORKS if into is None else into)[name] = make


with_function("leaky_relu", "LeakyRelu", alpha=0.2)
with_function("prelu_shared", "PRelu", constants=([0.25],), into=IMPORTED)
with_function("prelu_by_channel", "PRelu", constants=([[[0.25]], [[-0.5]], [[1.5]], [[0.0]]],))
with_function("sigmoid", "Sigmoid")
with_function("tanh", "Tanh", into=IMPORTED)
with_function("hard_sigmoid", "HardSigmoid", alpha=0.3, beta=0.4, into=IMPORTED)
with_function("hard_swish", "HardSwish")
with_function("elu", "Elu", alpha=0.7, into=IMPORTED)
with_function("selu", "Selu", into=IMPORTED)
with_function("softplus", "Softplus", into=IMPORTED)
with_function("softsign", "Softsign", into=IMPORTED)
with_function("gelu", "Gelu", approximate="tanh")
with_function("mish", "Mish", into=IMPORTED)
with_function("absolute", "Abs")
with_function("negative", "Neg", into=IMPORTED)
with_function("cube", "Pow", constants=(3.0,))
with_function("exponential", "Exp", into=IMPORTED)
with_function("sign", "Sign")
with_function("thresholded_relu", "ThresholdedRelu", alpha=0.5, into=IMPORTED)
with_function("celu", "Celu", alpha=0.8, into=IMPORTED)
with_function("erf", "Erf", into=IMPORTED)
with_function("sine", "Sin")
with_function("clip_above_zero", "Clip", constants=(0.5, 2.0))
with_function("max_of_channels", "Max", constants=([[[0.25]], [[-0.5]], [[0.5]], [[0.0]]],), into=IMPORTED)
with_function("min_with_a_number", "Min", constants=(0.75,), into=IMPORTED)


@network
def silu_spelled_out() -> Writer:
    net = Writer((1, 2, 6, 6))
    first = net.conv(2, 4, 3, 3)
    net.add("Sigmoid")
    net.add("Mul", first)
    return flat_gemm(net, 64)


@network
def gelu_spelled_out() -> Writer:
    net = Writer((1, 12))
    first = net.gemm(12, 9)
    net.add("Div", net.constant(np.sqrt(2.0)))
    net.add("Erf")
    net.add("Add", net.constant(np.array(1.0)))
    net.add("Mul", first)
    net.add("Mul", net.constant(np.array(0.5)))
    net.gemm(9, 4)
    return net


@network
def hard_swish_spelled_out() -> Writer:
    net = Writer((1, 2, 6, 6))
    net.conv(2, 4, 3, 3)
    first = net.batch_norm(4)
    net.add("Add", net.constant(np.array(3.0)))
    net.add("Clip", net.constant(np.array(0.0)), net.constant(np.array(6.0)))
    net.add("Mul", first)
    net.add("Div", net.constant(np.array(6.0)))
    return flat_gemm(net, 64)


@network
def leaky_relu_as_maximum_and_as_where() -> Writer:
    net = Writer((1, 12))
    first = net.gemm(12, 9)
    net.add("Mul", net.constant(np.array(0.1)))
    net.add("Max", first)
    second = net.gemm(9, 9)
    small = net.add("Mul", net.constant(np.array(0.3)))
    net.add("Greater", net.constant(np.array(0.0)), source=second)
    net.nodes.append(helper.make_node("Where", [net.tensor, second, small], ["chosen"]))
    net.tensor = "chosen"
    net.gemm(9, 4)
    return net


@network
def silu_of_the_input() -> Writer:
    net = Writer((1, 2, 6, 6))
    net.add("Sigmoid")
    net.add("Mul", "x")
    net.conv(2, 4, 3, 3)
    net.add("Relu")
    return flat_gemm(net, 64)


@network
def two_functions_and_one_after_a_residual_sum() -> Writer:
    net = Writer((1, 2, 6, 6))
    net.conv(2, 4, 3, 3, pads=[1, 1, 1, 1])
    net.add("Tanh")
    skip = net.add("Elu")
    net.conv(4, 4, 3, 3, pads=[1, 1, 1, 1])
    net.add("Add", skip)
    net.add("Sigmoid")
    return flat_gemm(net, 144)


@network
def functions_on_both_branches() -> Writer:
    net = Writer((1, 2, 6, 6))
    first = net.conv(2, 4, 3, 3)
    left = net.add("Sigmoid")
    net.tensor = "x"
    net.conv(2, 4, 3, 3)
    net.add("LeakyRelu", alpha=0.1)
    net.add("Add", left)
    net.add("Relu")
    net.add("Sub", first)
    return flat_gemm(net, 64)


@network
def function_before_and_after_max_pool() -> Writer:
    net = Writer((1, 2, 8, 8))
    net.conv(2, 4, 3, 3)
    net.add("Abs")
    net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    net.add("Tanh")
    return flat_gemm(net, 36)


@network
def relu_after_max_pool_of_a_tensor_read_elsewhere() -> Writer:
    net = Writer((1, 2, 4, 4))
    conv = net.conv(2, 3, 1, 1)
    net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    pooled = net.add("Relu")
    net.add("AveragePool", source=conv, kernel_shape=[2, 2], strides=[2, 2])
    net.add("Add", pooled)
    return flat_gemm(net, 12)


@network
def relu_and_its_function() -> Writer:
    net = Writer((1, 2, 6, 6))
    net.conv(2, 4, 3, 3)
    net.add("Relu")
    net.add("Tanh")
    return flat_gemm(net, 64)


@network
def relu_read_as_it_is_and_through_functions() -> Writer:
    net = Writer((1, 2, 6, 6))
    net.conv(2, 4, 3, 3)
    first = net.add("Relu")
    net.add("Sigmoid")
    net.batch_norm(4)
    net.add("Mul", net.constant(np.array(0.5)))
    net.add("Clip", net.constant(np.array(-0.1)), net.constant(np.array(0.2)))
    net.add("Add", first)
    return flat_gemm(net, 64)


@network
def function_as_the_output() -> Writer:
    net = Writer((1, 12))
    net.gemm(12, 9)
    net.add("Relu")
    net.gemm(9, 1)
    net.add("Sigmoid")
    return net


@network
def sum_of_several() -> Writer:
    net = Writer((1, 6))
    first = net.gemm(6, 5)
    net.add("Relu")
    second = net.gemm(5, 5)
    net.add("Sum", first, net.normal(5), second, source=first)
    net.add("Relu")
    net.gemm(5, 3)
    return net


# ---- tensors of several layers, and parts of one ------------------------------------


def join(net: Writer, *names: str, axis: int = 1) -> str:
    """Adds a Concat of these tensors."""
    first, *others = names
    return net.add("Concat", *others, source=first, axis=axis)


@network
def inception_block() -> Writer:
    net = Writer((1, 2, 8, 8))
    net.conv(2, 4, 3, 3, pads=[1, 1, 1, 1])
    start = net.add("Relu")
    net.conv(4, 2, 1, 1)
    first = net.add("Relu")
    net.tensor = start
    net.conv(4, 3, 3, 3, pads=[1, 1, 1, 1])
    second = net.add("Sigmoid")
    third = net.add("MaxPool", source=start, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    join(net, first, second, third)
    net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    net.conv(9, 4, 3, 3)
    net.add("Relu")
    return flat_gemm(net, 16)


@network
def dense_block() -> Writer:
    net = Writer((1, 2, 6, 6))
    first = net.conv(2, 3, 3, 3, pads=[1, 1, 1, 1])
    net.add("Relu")
    second = net.conv(3, 2, 3, 3, pads=[1, 1, 1, 1])
    join(net, first, second)
    net.batch_norm(5)
    third = net.add("Relu")
    net.conv(5, 2, 3, 3, pads=[1, 1, 1, 1])
    join(net, third, net.tensor)
    net.batch_norm(7)
    net.add("LeakyRelu", alpha=0.1)
    net.add("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    return flat_gemm(net, 63)


@network
def concat_of_vectors_with_the_input() -> Writer:
    net = Writer(("N", 8))
    first = net.gemm(8, 5)
    net.add("Relu")
    second = net.tensor
    join(net, second, "x", first)
    net.gemm(18, 4)
    return net


@network
def concat_at_the_end() -> Writer:
    net = Writer(("N", 8))
    net.gemm(8, 6)
    hidden = net.add("Relu")
    first = net.gemm(6, 3)
    net.tensor = hidden
    second = net.gemm(6, 2)
    join(net, first, second)
    return net


@network
def concat_along_space_and_flattened() -> Writer:
    net = Writer((1, 2, 6, 6))
    net.conv(2, 3, 3, 3)
    first = net.add("Relu")
    net.tensor = "x"
    net.conv(2, 3, 5, 3)
    second = net.add("Tanh")
    join(net, first, second, axis=2)
    return flat_gemm(net, 72)


@network
def concat_channels_last() -> Writer:
    net = Writer((1, 6, 6, 2))
    net.add("Transpose", perm=[0, 3, 1, 2])
    first = net.conv(2, 3, 3, 3)
    net.add("Transpose", perm=[0, 2, 3, 1])
    left = net.add("Relu")
    net.conv(2, 4, 3, 3)
    net.nodes[-1].input[0] = net.nodes[0].output[0]
    net.add("Transpose", perm=[0, 2, 3, 1])
    join(net, left, net.tensor, axis=3)
    net.add("Relu")
    net.add("MatMul", net.normal(7, 3))
    net.add("ReduceMean", axes=[1, 2], keepdims=0)
    assert first
    return net


@network
def split_and_joined_crosswise() -> Writer:
    net = Writer((1, 2, 6, 6))
    net.conv(2, 6, 3, 3)
    whole = net.add("Relu")
    net.nodes.append(helper.make_node("Split", [whole], ["left", "right"], axis=1))
    net.tensor = "left"
    net.conv(3, 3, 3, 3, pads=[1, 1, 1, 1])
    net.add("Relu")
    join(net, "right", net.tensor)
    net.conv(6, 4, 1, 1)
    net.add("Relu")
    net.add("Add", net.add("Slice", *(net.constant(np.array([n])) for n in (1, 5, 1)), source=whole))
    return flat_gemm(net, 64)


@network
def slice_of_the_input_and_of_space() -> Writer:
    net = Writer((1, 3, 7, 7))
    net.add("Slice", *(net.constant(np.array(value)) for value in ([1, 2], [3, 7], [1, 3])))
    net.add("Gather", net.constant(np.array([1, 0])), axis=1)
    net.add("Flatten")
    net.gemm(70, 6)
    net.add("Relu")
    net.gemm(6, 3)
    return net


@network
def channels_of_the_input_gathered() -> Writer:
    net = Writer((1, 3, 5, 5))
    net.add("Gather", net.constant(np.array([2, 0])), axis=1)
    net.conv(2, 4, 3, 3)
    net.add("Relu")
    return flat_gemm(net, 36)


@network
def padded_before_conv_and_pools() -> Writer:
    net = Writer((1, 2, 6, 5))
    net.add("Pad", net.constant(np.array([0, 0, 1, 2, 0, 0, 0, 1])))
    net.conv(2, 4, 3, 3, strides=[2, 1])
    net.add("Relu")
    net.add("Pad", net.constant(np.array([0, 0, 1, 0, 0, 0, 0, 1])))
    net.add("AveragePool", kernel_shape=[2, 2])
    net.batch_norm(4)
    net.add("Pad", net.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1])))
    net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    return flat_gemm(net, 32)


def with_changed_padding(change: str, reader: str) -> None:
    """Registers a network that pads with zeros, changes the result, and reads that."""

    def make() -> Writer:
        net = Writer((1, 2, 6, 5))
        net.conv(2, 4, 3, 3)
        net.add("Pad", net.constant(np.array([0, 0, 1, 0, 0, 0, 0, 1])))
        if change == "BatchNormalization":
            net.batch_norm(4)
        elif change == "Clip":
            net.add("Clip", net.constant(-0.3), net.constant(0.4))
        else:
            net.add(change)
        if reader == "Conv":
            net.conv(4, 3, 2, 2)
        else:
            net.add(reader, kernel_shape=[2, 2])
        return flat_gemm(net, 36 if reader == "Conv" else 48)

    IMPORTED[f"padding_changed_by_{change}_before_{reader}"] = make


for change in ("Relu", "Clip", "BatchNormalization", "LeakyRelu"):
    for reader in ("Conv", "AveragePool", "MaxPool"):
        with_changed_padding(change, reader)


@network
def padded_between_relus() -> Writer:
    net = Writer((1, 2, 6, 6))
    net.conv(2, 4, 3, 3)
    net.add("Relu")
    net.add("Pad", net.constant(np.array([0, 0, 1, 0, 0, 0, 0, 1])))
    net.add("Relu")
    net.conv(4, 3, 2, 2)
    net.add("Flatten")
    return net


@network
def scores_in_another_order() -> Writer:
    net = Writer((1, 4, 5, 5))
    net.conv(4, 4, 3, 3)
    net.add("Relu")
    net.add("Gather", net.constant(np.array([2, 0, 3, 1])), axis=1)
    net.conv(4, 4, 3, 3, group=4)
    net.add("Flatten")
    return net


def with_shuffle(name: str, read: Callable[[Writer], object], size: int, kind: str) -> None:
    """Registers a network that shuffles channels between two groups, or the input's, before ``read``."""

    def make() -> Writer:
        net = Writer((1, 6, 6, 6))
        if kind == "groups":
            net.conv(6, 6, 3, 3, pads=[1] * 4)
            net.add("Relu")
        before = net.tensor
        if kind == "groups":
            net.add("Reshape", net.constant(np.array([1, 2, 3, 6, 6])))
            net.add("Transpose", perm=[0, 2, 1, 3, 4])
            net.add("Reshape", net.constant(np.array([1, 6, 6, 6])))
        else:
            net.add("Gather", net.constant(np.array([3, 0, 5, 1, 2, 4])), axis=1)
        read(net) if name != "add" else net.add("Add", before)
        net.add("Relu")
        return flat_gemm(net, size)

    NETWORKS[f"shuffled_{kind}_before_{name}"] = make


def decreasing(net: Writer) -> None:
    """A max pool of channels that change their order."""
    net.add("Mul", net.constant(np.linspace(-1, 1.5, 6).reshape(6, 1, 1)))
    net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])


for kind in ("groups", "input"):
    for name, read, size in (
        ("max_pool", lambda net: net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2]), 54),
        ("average_pool", lambda net: net.add("AveragePool", kernel_shape=[3, 3], pads=[1] * 4), 216),
        ("global_pool", lambda net: net.add("GlobalAveragePool"), 6),
        ("mean", lambda net: net.add("ReduceMean", axes=[2], keepdims=0), 36),
        ("scaled_pool", decreasing, 54),
        ("depthwise", lambda net: net.conv(6, 6, 3, 3, group=6), 96),
        ("depthwise_multiplier", lambda net: net.conv(6, 12, 3, 3, group=6), 192),
        ("two_groups", lambda net: net.conv(6, 4, 3, 3, group=2), 64),
        ("add", lambda net: None, 216),
    ):
        with_shuffle(name, read, size, kind)


@network
def padded_channels_last() -> Writer:
    net = Writer((1, 6, 5, 2), opset=18)
    net.add("Pad", net.constant(np.array([1, 0, 1, 2])), "", net.constant(np.array([1, 2])))
    net.add("Transpose", perm=[0, 3, 1, 2])
    net.conv(2, 4, 3, 3)
    net.add("Relu")
    return flat_gemm(net, 120)


@network
def padded_with_other_numbers() -> Writer:
    net = Writer((1, 2, 6, 5))
    net.add("Pad", net.constant(np.array([0, 0, 1, 2, 0, 0, 0, 1])), net.constant(0.5))
    net.conv(2, 4, 3, 3, strides=[2, 1])
    net.add("Relu")
    net.add("Pad", net.constant(np.array([0, 0, 1, 0, 0, 0, 0, 1])), net.constant(-1.0))
    net.add("AveragePool", kernel_shape=[2, 2], pads=[0, 0, 1, 0], count_include_pad=1)
    return flat_gemm(net, 96)


# ---- the float twin ----------------------------------------------------------------


def float_twin(read: Network, x: NDArray[Any]) -> list[NDArray[np.float64]]:
    """Values of all layers of an imported network, after their clips: (samples, height, width, channels)."""
    layout = read.input
    first = x.reshape(len(x), *layout.grid).transpose(0, *(axis + 1 for axis in layout.axes))
    values = [first * layout.multiply + layout.add]
    for layer in read.layers[1:]:
        total = np.zeros((len(x), *layer.shape)) + layer.bias
        for link in layer.links:
            total = total + mapped(link.map, values[link.source], layer.shape)
        values.append(layer.activated(total))
    return values


def mapped(link: Any, values: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[Any]:
    """What one link adds."""
    space = (shape[0], shape[1])
    if isinstance(link, Dense):
        return (values.reshape(len(values), -1) @ link.weight).reshape(-1, *shape)
    if isinstance(link, Convolution):
        return convolve(values, link.weight, space, link.stride, link.dilation, link.padding, link.groups)
    if isinstance(link, AveragePool):
        total = sum_pool(values, space, link.kernel, link.stride, link.dilation, link.padding)
        return np.asarray(total / link.divisor[:, :, None])
    if isinstance(link, MaxPool):
        return max_pool(values, space, link.kernel, link.stride, link.dilation, link.padding, -np.inf)
    return np.asarray(values * link.weight)
