"""Networks that onnxruntime quantized keep their scales, weights and levels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from small_networks import NETWORKS, Writer

from edgespike.convert import Calibration, convert_onnx
from edgespike.convert.dense import evaluate, settle
from edgespike.convert.fitting import trained_weights
from edgespike.convert.given_levels import weight_grid
from edgespike.errors import UnsupportedError, UsageError
from edgespike.graph import Activation, Convolution, Dense, Graph
from edgespike.importers import network as float_network
from edgespike.importers.network import Network
from edgespike.importers.onnx import read_onnx
from edgespike.session import InferenceSession

Array = NDArray[Any]


class Samples(CalibrationDataReader):
    """Hands samples to onnxruntime's quantizer, in batches."""

    def __init__(self, name: str, x: Array, batch: int) -> None:
        self.batches = iter([{name: x[start : start + batch]} for start in range(0, len(x), batch)])

    def get_next(self) -> Any:
        return next(self.batches, None)


def quantized_by_onnxruntime(path: Path, x: Array, folder: Path, **settings: Any) -> Path:
    """The network in a file, quantized on samples."""
    model = onnx.load(path)
    constants = {tensor.name for tensor in model.graph.initializer}
    (source,) = (value for value in model.graph.input if value.name not in constants)
    batch = source.type.tensor_type.shape.dim[0].dim_value or 1
    quant_pre_process(str(path), str(folder / "before.onnx"), skip_symbolic_shape=True)
    reader = Samples(source.name, x, batch)
    quantize_static(
        str(folder / "before.onnx"), str(folder / "q.onnx"), reader, weight_type=QuantType.QInt8, **settings
    )
    return folder / "q.onnx"


def original_results(path: Path, x: Array, network: Network, names: list[str] | None = None) -> list[Array]:
    """What onnxruntime computes, by output: (samples, ...)."""
    model = onnx.load(path)
    for name in names or []:
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    batch = network.batch
    runs = [
        session.run(None, {network.input.name: x[start : start + batch]}) for start in range(0, len(x), batch)
    ]
    return [np.concatenate(column).reshape(len(x), -1) for column in zip(*runs, strict=True)]


def states_of(graph: Graph, x: Array) -> list[Array]:
    """The state of every population on samples."""
    session = InferenceSession(graph)
    levels = np.stack([session.quantize(sample) for sample in x])
    return settle(graph, levels.reshape(len(x), *graph.populations[0].shape))


ZERO_POINT = {"QuantizeLinear": 2, "QLinearConv": 7}  # of the result: which input


def levels_in_onnxruntime(path: Path, x: Array, network: Network) -> dict[int, Array]:
    """By layer, the levels behind its QuantizeLinear, or of its QLinearConv."""
    model = onnx.load(path)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        for number, layer in enumerate(network.layers[1:], 1):
            real = node.op_type == "QuantizeLinear" and node.input[0] == layer.probe.tensor
            whole = node.op_type == "QLinearConv" and node.output[0] == layer.probe.tensor
            if (real or whole) and layer.levels:
                zero = int(constants[node.input[ZERO_POINT[node.op_type]]])
                found[number] = (node.output[0], zero, layer.probe.order)
    names = [name for name, _, _ in found.values()]
    results = original_results(path, x, network, names)[1:]
    return {
        number: values[:, order].astype(int) - zero
        for (number, (_, zero, order)), values in zip(found.items(), results, strict=True)
    }


@pytest.fixture(scope="module")
def samples(data_folder: Path) -> dict[str, tuple[Path, Array]]:
    """Networks and what they take."""
    images = np.load(data_folder / "mnist.npz")["x_test"][:200, None].astype(np.float32)
    words = np.load(data_folder / "kws_mfcc_500.npz")["x"][:200].astype(np.float32)
    folder = data_folder / "onnx"
    return {
        "lenet5": (folder / "lenet5.onnx", images / 255),
        "mnist-8": (folder / "mnist-8" / "model.onnx", images),
        "kws": (folder / "mlperf_tiny_kws_float.onnx", ((words - 83) * 0.5847029).reshape(-1, 49, 10, 1)),
    }


@pytest.mark.parametrize(
    ("name", "form", "kind", "per_channel"),
    [
        ("lenet5", QuantFormat.QDQ, QuantType.QUInt8, False),
        ("mnist-8", QuantFormat.QDQ, QuantType.QInt8, False),
        ("kws", QuantFormat.QDQ, QuantType.QInt8, True),
        ("kws", QuantFormat.QOperator, QuantType.QUInt8, False),
        ("mnist-8", QuantFormat.QOperator, QuantType.QUInt8, False),
    ],
    ids=lambda value: str(getattr(value, "name", value)),
)
def test_quantized_networks_agree_with_onnxruntime(
    name: str,
    form: QuantFormat,
    kind: QuantType,
    per_channel: bool,
    samples: dict[str, tuple[Path, Array]],
    tmp_path: Path,
) -> None:
    original, x = samples[name]
    x = x.reshape(len(x), *read_onnx(original).input.shape)
    settings = {"quant_format": form, "activation_type": kind, "per_channel": per_channel}
    path = quantized_by_onnxruntime(original, x[:50], tmp_path, **settings)
    network = read_onnx(path)
    graph, _ = convert_onnx(path, Calibration(x[:40]))
    states = states_of(graph, x)
    expected = original_results(path, x, network)[0]
    axes = [axis + 1 for axis in network.output.axes]
    said = states[-1].transpose(0, *axes).reshape(len(x), -1)
    kept = [channels_kept(network, number) for number in range(len(network.layers))]
    all_kept = all(channels.all() for channels in kept)
    assert all_kept == ((name, form) != ("kws", QuantFormat.QOperator))
    assert (said.argmax(axis=1) == expected.argmax(axis=1)).mean() >= (0.995 if all_kept else 0.98)
    theirs = levels_in_onnxruntime(path, x, network)
    if all_kept:
        check_levels(graph, states, theirs)
    else:
        check_kept_channels(graph, states[0], theirs, kept)


def channels_kept(network: Network, number: int) -> Array:
    """Which channels of a layer have integer weights that 8 bits hold.

    Weights that the file does not have as constants are activations to onnxruntime's quantizer, which makes
    uint8 of them with a zero point: less that, a few are beyond -128..127.
    """
    layer = network.layers[number]
    kept = np.ones(layer.shape[2], bool)
    for link in layer.links:
        levels = network.layers[link.source].levels
        if isinstance(link.map, float_network.Dense | float_network.Convolution) and levels:
            scale = np.full(network.layers[link.source].shape[2], levels.scale)
            weights = trained_weights(link, scale).by_target()
            kept &= (weight_grid(weights) > 0) | (weights == 0).all(axis=0)
    return kept


def check_kept_channels(graph: Graph, inputs: Array, theirs: dict[int, Array], kept: list[Array]) -> None:
    """Channels whose weights are kept, layer by layer on the levels before them in onnxruntime."""
    assert len(theirs) >= 2
    shaped = {0: inputs}
    shaped |= {
        number: levels.reshape(-1, *graph.populations[number].shape) for number, levels in theirs.items()
    }
    for number in theirs:
        incoming = graph.incoming(number)
        if all(projection.source in shaped for projection in incoming):
            arriving = [(p, graph.populations[p.source], shaped[p.source]) for p in incoming]
            difference = np.abs(shaped[number] - evaluate(graph.populations[number], arriving))
            assert (difference[..., kept[number]] > 0).mean() < 1e-4
            assert difference[..., kept[number]].max() <= 1
            assert kept[number].mean() > 0.95


def check_levels(graph: Graph, states: list[Array], theirs: dict[int, Array]) -> None:
    """Layer by layer on the levels before it in onnxruntime, and all layers one after the other."""
    assert len(theirs) >= 2
    shaped = {
        number: levels.reshape(-1, *graph.populations[number].shape) for number, levels in theirs.items()
    }
    shaped[0] = states[0]
    for number in theirs:
        difference = np.abs(shaped[number] - states[number])
        assert (difference > 0).mean() < 0.01
        assert (difference > 1).mean() < 1e-4
        incoming = graph.incoming(number)
        if all(projection.source in shaped for projection in incoming):
            arriving = [(p, graph.populations[p.source], shaped[p.source]) for p in incoming]
            difference = np.abs(shaped[number] - evaluate(graph.populations[number], arriving))
            assert difference.max() <= 1
            assert (difference > 0).mean() < 1e-3


# ---- without data ------------------------------------------------------------------


def quantized_network(folder: Path, name: str = "residual_projection", **settings: Any) -> tuple[Path, Array]:
    """A small network, quantized, and samples."""
    net = NETWORKS[name]()
    onnx.save(net.model(), folder / "float.onnx")
    x = np.random.default_rng(1).normal(0, 1, (60, *net.shape[1:])).astype(np.float32)
    return quantized_by_onnxruntime(folder / "float.onnx", x, folder, **settings), x


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator], ids=lambda form: form.name)
@pytest.mark.parametrize(
    "name",
    [
        *("residual_projection", "average_pool", "silu_spelled_out", "leaky_relu", "max_pool_pads"),
        "padded_between_relus",
    ],
)
def test_small_quantized_networks(name: str, form: QuantFormat, tmp_path: Path) -> None:
    path, x = quantized_network(tmp_path, name, quant_format=form, activation_type=QuantType.QUInt8)
    network = read_onnx(path)
    graph, _ = convert_onnx(path, Calibration(x))
    axes = [axis + 1 for axis in network.output.axes]
    scores = (
        states_of(graph, x)[-1].transpose(0, *axes).reshape(len(x), -1) * graph.metadata["output"]["scale"]
    )
    expected = original_results(path, x, network)[0]
    level = network.layers[-1].levels
    assert level is not None
    ties = 8 if name == "average_pool" else 3  # a sixth of the means lie between two levels
    assert np.abs(scores - expected).max() <= ties * level.scale * 1.01
    assert (np.abs(scores - expected) > level.scale / 2).mean() < (0.5 if name == "average_pool" else 0.1)


def test_weights_stay_the_integers_that_they_were(tmp_path: Path) -> None:
    path, x = quantized_network(
        tmp_path, "residual_projection", per_channel=True, activation_type=QuantType.QUInt8
    )
    model = onnx.load(path)
    graph, _ = convert_onnx(path, Calibration(x))
    kept = [
        numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.INT8 and len(tensor.dims) == 4
    ]
    ours = [p.connection.weight for p in graph.projections if isinstance(p.connection, Convolution)]
    for weight in ours:  # (sources, height, width, targets), which is theirs with another order of axes
        as_theirs = weight.transpose(3, 0, 1, 2)
        assert any(other.shape == as_theirs.shape and multiples(as_theirs, other) for other in kept)
    assert any(isinstance(p.connection, Dense) for p in graph.projections)
    shifts = [p.neuron.shift for p in graph.populations if isinstance(p.neuron, Activation)]
    assert max(shifts) > 0


def test_other_levels_or_weights_are_refused(tmp_path: Path) -> None:
    path, x = quantized_network(tmp_path, "leaky_relu", activation_type=QuantType.QUInt8)
    for options in ({"levels": 15}, {"weights": 4}, {"levels": {"x": 15}}):
        with pytest.raises(UsageError, match="quantized before"):
            convert_onnx(path, Calibration(x), **options)


def multiples(first: Array, second: Array) -> bool:
    """Whether weights are the same up to a factor for each target channel."""
    a, b = (values.reshape(len(values), -1).astype(int) for values in (first, second))
    peaks = [np.abs(values).max(axis=1, keepdims=True) for values in (a, b)]
    return np.array_equal(a * peaks[1], b * peaks[0])


@pytest.mark.parametrize("seed", range(5))
def test_weight_grid_finds_integers(seed: int) -> None:
    random = np.random.default_rng(seed)
    whole = random.integers(-127, 128, (30, 6))
    whole[:, 1] = 0
    whole[0, 2] = -128
    whole[:, 3] *= whole[:, 3] > 100
    scale = random.uniform(0.001, 3, 6)
    grid = weight_grid((whole * scale).astype(np.float32).astype(np.float64))
    assert grid[1] == 0
    for channel in (0, 2, 3, 4, 5):
        counted = whole[:, channel] * scale[channel] / grid[channel]
        np.testing.assert_allclose(counted, np.rint(counted), atol=1e-3)
        assert np.rint(counted).min() >= -128 and np.rint(counted).max() <= 127
    assert (weight_grid(random.normal(0, 1, (30, 4))) == 0).all()


def test_weights_beyond_8_bits_less_their_zero_point_are_rounded_again(tmp_path: Path) -> None:
    """uint8 weights with zero point 100: the first channel's fit into -100..127, the second's do not."""
    random = np.random.default_rng(0)
    weight = random.integers(0, 228, (2, 8, 1, 1)).astype(np.uint8)
    weight[1, 0] = 255
    net = Writer((1, 8, 3, 3))
    scale, zero = net.constant(np.float32(0.02)), net.constant(np.uint8(128))
    net.add("QuantizeLinear", scale, zero)
    weights = net.constant(weight), net.constant(np.float32(0.01)), net.constant(np.uint8(100))
    result = net.constant(np.float32(0.1)), net.constant(np.uint8(120))
    net.add("QLinearConv", scale, zero, *weights, *result)
    net.add("DequantizeLinear", *result)
    path = tmp_path / "network.onnx"
    onnx.save(net.model(), path)
    x = random.uniform(-2, 2, (40, 8, 3, 3)).astype(np.float32)
    network = read_onnx(path)
    assert channels_kept(network, 1).tolist() == [True, False]
    graph, _ = convert_onnx(path, Calibration(x))
    ours = states_of(graph, x)[-1].transpose(0, 3, 1, 2) * graph.metadata["output"]["scale"]
    difference = np.rint((ours - original_results(path, x, network)[0].reshape(ours.shape)) / 0.1)
    assert (difference[:, 0] == 0).all()
    assert (difference[:, 1] != 0).any()
    assert np.abs(difference[:, 1]).max() <= np.ceil(8 * 2.55 * 0.5 * 0.01 * 155 / 127 / 0.1)


def test_dynamic_quantization_is_refused_by_name(tmp_path: Path) -> None:
    net = Writer((1, 6))
    net.nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"], name="dynamic"))
    weight = net.constant(net.random.integers(-9, 9, (6, 3)).astype(np.int8))
    net.nodes.append(helper.make_node("MatMulInteger", ["q", weight, "zero"], ["y"]))
    net.tensor = "y"
    net.add("Cast", to=TensorProto.FLOAT)
    onnx.save(net.model(), tmp_path / "network.onnx")
    with pytest.raises(UnsupportedError, match=r"DynamicQuantizeLinear dynamic.*quantize_static"):
        read_onnx(tmp_path / "network.onnx")


def test_static_integer_product(tmp_path: Path) -> None:
    """QuantizeLinear, MatMulInteger, Cast and Mul: what older exporters write for a quantized layer."""
    net = Writer((1, 6))
    scale, zero = net.constant(np.float32(0.05)), net.constant(np.uint8(120))
    net.add("QuantizeLinear", scale, zero)
    weight = net.constant(net.random.integers(-127, 128, (6, 5)).astype(np.int8))
    net.add("MatMulInteger", weight, zero)
    net.add("Cast", to=TensorProto.FLOAT)
    net.add("Mul", net.constant(np.float32(0.05 * 0.01)))
    net.add("Relu")
    net.gemm(5, 3)
    onnx.save(net.model(), tmp_path / "network.onnx")
    x = np.random.default_rng(1).normal(0, 2, (60, 6)).astype(np.float32)
    graph, report = convert_onnx(tmp_path / "network.onnx", Calibration(x))
    error = report.layers[-1].error
    assert error is not None and error < 0.02
    assert (graph.populations[0].neuron.level_min, graph.populations[0].neuron.level_max) == (-120, 135)
