"""Networks that cannot be converted: each is one clear error, and never a traceback."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_networks import NETWORKS, Writer, flat_gemm

from edgespike import InferenceSession
from edgespike.convert import Calibration, convert_onnx
from edgespike.errors import ModelError, UnsupportedError, UsageError
from edgespike.importers.onnx import read_onnx


def written(net: Writer, folder: Path) -> Path:
    """The network's file."""
    path = folder / "network.onnx"
    onnx.save(net.model(), path)
    return path


def perceptron() -> Writer:
    """A small network that could be converted."""
    net = Writer((1, 6))
    net.gemm(6, 5)
    net.add("Relu")
    net.gemm(5, 3)
    return net


def refused(net: Writer, folder: Path) -> UnsupportedError:
    """The error of a network that has no meaning here."""
    with pytest.raises(UnsupportedError) as caught:
        read_onnx(written(net, folder))
    assert caught.value.hint
    return caught.value


# ---- files -------------------------------------------------------------------------


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file") as caught:
        read_onnx(tmp_path / "none.onnx")
    assert caught.value.code == "model-missing"


@pytest.mark.parametrize("content", [b"", b"not a network at all", bytes(range(256)) * 9, b"\x08\x08"])
def test_file_that_is_no_onnx(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not an ONNX file") as caught:
        read_onnx(path)
    assert caught.value.code == "not-onnx"


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_truncated_file(share: float, tmp_path: Path) -> None:
    path = written(perceptron(), tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError):
        read_onnx(path)


def test_invalid_graph(tmp_path: Path) -> None:
    model = perceptron().model()
    model.graph.node[1].input[0] = "nowhere"
    (tmp_path / "network.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="not a valid ONNX network") as caught:
        read_onnx(tmp_path / "network.onnx")
    assert caught.value.code == "invalid-onnx"


def test_external_weights(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    model = perceptron().model()
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert len(read_onnx(path).layers) == 3
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match="external weights") as caught:
        read_onnx(path)
    assert caught.value.code == "external-data"
    assert "weights.bin" in caught.value.message


# ---- weights -----------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_named(value: float, tmp_path: Path) -> None:
    net = perceptron()
    weight = numpy_helper.to_array(net.constants[2]).copy()
    weight[1, 2] = value
    net.constants[2].CopyFrom(numpy_helper.from_array(weight, "second_weight"))
    net.nodes[2].input[1] = "second_weight"
    with pytest.raises(ModelError, match=r"second_weight \(1 of 15 values\)") as caught:
        read_onnx(written(net, tmp_path))
    assert caught.value.code == "not-finite"


def test_not_finite_weight_in_a_constant_node(tmp_path: Path) -> None:
    net = Writer((1, 4))
    value = numpy_helper.from_array(np.full((4, 2), np.nan, np.float32))
    net.nodes.append(helper.make_node("Constant", [], ["w"], value=value))
    net.add("MatMul", "w")
    with pytest.raises(ModelError, match="NaN or infinity") as caught:
        read_onnx(written(net, tmp_path))
    assert caught.value.code == "not-finite"


def test_division_by_zero(tmp_path: Path) -> None:
    net = perceptron()
    net.add("Div", net.constant(np.array([1.0, 0.0, 2.0])))
    with pytest.raises(ModelError, match="divides by zero"):
        read_onnx(written(net, tmp_path))


# ---- inputs and outputs ------------------------------------------------------------


def test_several_inputs(tmp_path: Path) -> None:
    model = perceptron().model()
    model.graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, [1, 5]))
    model.graph.node[2].input[0] = "total"
    model.graph.node.insert(2, helper.make_node("Add", ["t1", "second"], ["total"]))
    onnx.save(model, tmp_path / "network.onnx")
    with pytest.raises(UnsupportedError, match=r"2 inputs \(x, second\)") as caught:
        read_onnx(tmp_path / "network.onnx")
    assert caught.value.code == "several-inputs"


def test_several_outputs(tmp_path: Path) -> None:
    model = perceptron().model()
    model.graph.output.append(helper.make_tensor_value_info("t1", TensorProto.FLOAT, [1, 5]))
    onnx.save(model, tmp_path / "network.onnx")
    with pytest.raises(UnsupportedError, match=r"2 outputs \(t2, t1\)") as caught:
        read_onnx(tmp_path / "network.onnx")
    assert caught.value.code == "several-outputs"


def test_dynamic_size(tmp_path: Path) -> None:
    net = Writer(("N", 2, "height", "width"))
    net.conv(2, 3, 3, 3)
    net.add("GlobalAveragePool")
    error = refused(net, tmp_path)
    assert error.code == "dynamic-shape"
    assert "axis 2, 3" in error.message


def test_no_batch_axis(tmp_path: Path) -> None:
    net = Writer((6,))
    net.add("MatMul", net.normal(6, 3))
    assert refused(net, tmp_path).code == "no-batch-axis"


def test_output_that_does_not_depend_on_the_input(tmp_path: Path) -> None:
    net = Writer((1, 4))
    net.add("Shape")
    net.add("Cast", to=TensorProto.FLOAT)
    with pytest.raises(ModelError, match="does not depend on the input"):
        read_onnx(written(net, tmp_path))


# ---- operators ---------------------------------------------------------------------


def test_all_unsupported_nodes_are_listed_at_once(tmp_path: Path) -> None:
    net = Writer((1, 2, 6, 6))
    net.conv(2, 3, 3, 3)
    net.add("LpPool", kernel_shape=[1, 1])
    net.conv(3, 3, 3, 3)
    net.add("Relu")
    net.add("Resize", "", net.constant(np.array([1, 1, 2, 2], np.float32)))
    net.add("Flatten")
    net.gemm(48, 4)
    net.add("Hardmax")
    error = refused(net, tmp_path)
    assert error.code == "unsupported-operators"
    for expected in ("LpPool LpPool_1: a pool of powers", "Resize Resize_4", "Hardmax Hardmax_7"):
        assert expected in error.message
    assert "Relu" not in error.message
    assert "Conv" in error.hint


def test_custom_domain(tmp_path: Path) -> None:
    model = perceptron().model()
    model.graph.node[1].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    onnx.save(model, tmp_path / "network.onnx")
    with pytest.raises(UnsupportedError, match=r"com\.example\.Relu Relu_1: unsupported operator"):
        read_onnx(tmp_path / "network.onnx")


def test_reasons(tmp_path: Path) -> None:
    softmax_inside = Writer((1, 6))
    softmax_inside.add("Softmax", axis=1)
    softmax_inside.gemm(6, 3)
    assert "at the end only" in refused(softmax_inside, tmp_path).message

    by_place = Writer((1, 2, 4, 4))
    by_place.conv(2, 3, 1, 1)
    by_place.add("Softmax", axis=1)
    assert "softmax over all scores" in refused(by_place, tmp_path).message

    product = Writer((1, 6))
    first = product.gemm(6, 5)
    product.gemm(6, 5)
    product.nodes[-1].input[0] = "x"
    product.add("Mul", first)
    assert "combines two tensors" in refused(product, tmp_path).message

    broadcast = Writer((1, 3, 4, 4))
    conv = broadcast.conv(3, 3, 1, 1)
    broadcast.add("GlobalAveragePool")
    broadcast.add("Add", conv)
    assert "broadcasts" in refused(flat_gemm(broadcast, 48), tmp_path).message

    weights = Writer((1, 6, 6))
    weights.add("MatMul", weights.normal(1, 6, 6))
    assert "a matrix is supported" in refused(weights, tmp_path).message

    volume = Writer((1, 2, 4, 4, 4))
    volume.conv(2, 3, 3, 3, 3)
    assert "one or two axes of space" in refused(volume, tmp_path).message

    reshaped = Writer((1, 2, 4, 4))
    reshaped.conv(2, 3, 1, 1)
    reshaped.add("Reshape", reshaped.constant(np.array([1, 4, 3, 4])))
    reshaped.conv(4, 3, 1, 1)
    assert "no grid of pixels" in refused(reshaped, tmp_path).message

    long = Writer((1, 70_000))
    long.add("MatMul", long.constant(np.ones((70_000, 2))))
    assert "longer than 65535" in refused(long, tmp_path).message

    many = Writer((1, 1, 300, 300))
    many.conv(1, 200, 1, 1)
    assert "more than 2^24" in refused(many, tmp_path).message

    places = Writer((1, 2, 4, 4))
    places.nodes.append(helper.make_node("MaxPool", ["x"], ["pooled", "where"], kernel_shape=[2, 2]))
    places.add("Cast", source="where", to=TensorProto.FLOAT)
    assert "second output" in refused(flat_gemm(places, 18), tmp_path).message

    endless = Writer((1, 2, 4, 4))
    endless.conv(2, 3, 1, 1)
    endless.add("Pad", endless.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1])), endless.constant(-np.inf))
    assert "use the pads of MaxPool" in refused(flat_gemm(endless, 108), tmp_path).message

    cut = Writer((1, 2, 4, 4))
    cut.conv(2, 3, 1, 1)
    cut.add("Pad", cut.constant(np.array([0, 0, -1, 0, 0, 0, 0, 0])))
    assert "cut with Slice" in refused(flat_gemm(cut, 36), tmp_path).message

    upsampled = Writer((1, 2, 4, 4))
    upsampled.add("ConvTranspose", upsampled.normal(2, 3, 2, 2))
    assert "a transposed convolution" in refused(flat_gemm(upsampled, 75), tmp_path).message

    mixed = Writer((4, 6))
    mixed.add("Reshape", mixed.constant(np.array([2, 12])))
    mixed.gemm(12, 3)
    assert "is not the batch" in refused(mixed, tmp_path).message


def test_damaged_files_are_refused_or_read_but_never_crash(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / "network.onnx"
    outcomes = set()
    for name in ("residual_projection", "weights_behind_dequantize_linear", "conv_1d"):
        whole = NETWORKS[name]().model().SerializeToString()
        for _ in range(25):
            data = bytearray(whole)
            for place in random.integers(0, len(data), 3):
                data[place] = random.integers(256)
            path.write_bytes(data)
            try:
                read_onnx(path)
                outcomes.add("read")
            except ModelError as error:
                outcomes.add(error.code)
    assert {"read", "not-onnx", "invalid-onnx"} <= outcomes


# ---- choices that the user has to make ---------------------------------------------


def two_headed() -> onnx.ModelProto:
    """A network with two outputs, one of which needs a second input."""
    net = perceptron()
    net.nodes.append(helper.make_node("Add", ["t1", "second"], ["other"]))
    model = net.model()
    model.graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, ["N", 5]))
    model.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1, 5]))
    return model


def test_an_output_is_chosen_with_what_it_needs(tmp_path: Path) -> None:
    onnx.save(two_headed(), tmp_path / "network.onnx")
    with pytest.raises(UnsupportedError, match=r"2 outputs \(t2, other\).*one is needed"):
        read_onnx(tmp_path / "network.onnx")
    network = read_onnx(tmp_path / "network.onnx", output="t2")
    assert (network.output.name, len(network.layers)) == ("t2", 3)
    with pytest.raises(UsageError, match="no output third") as caught:
        read_onnx(tmp_path / "network.onnx", output="third")
    assert "t2, other" in caught.value.hint


def test_an_input_is_chosen_by_fixing_the_others(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    onnx.save(two_headed(), path)
    with pytest.raises(UnsupportedError, match=r"2 inputs \(x, second\); one is needed") as caught:
        read_onnx(path, output="other")
    assert "--fix second=0" in caught.value.hint
    with pytest.raises(UsageError, match="no input third") as wrong:
        read_onnx(path, output="other", fixed={"third": 0})
    assert "x, second" in wrong.value.hint
    x = np.random.default_rng(0).normal(0, 1, (20, 6)).astype(np.float32)
    graph, _ = convert_onnx(path, Calibration(x), output="other", fixed={"second": 1.5})
    (expected,) = onnxruntime.InferenceSession(path).run(
        ["other"], {"x": x[:1], "second": np.full((1, 5), 1.5, np.float32)}
    )
    scores = InferenceSession(graph).run(None, {"x": x[:1]})[0]
    np.testing.assert_allclose(scores, expected, atol=0.03)
    assert graph.metadata["fixed_inputs"] == {"second": 1.5}


def test_an_input_that_nothing_reads_is_no_input(tmp_path: Path) -> None:
    model = perceptron().model()
    model.graph.input.append(helper.make_tensor_value_info("unused", TensorProto.BOOL, []))
    onnx.save(model, tmp_path / "network.onnx")
    assert read_onnx(tmp_path / "network.onnx").input.name == "x"


def test_an_input_that_is_no_number(tmp_path: Path) -> None:
    model = perceptron().model()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.BOOL
    model.graph.node.insert(0, helper.make_node("Cast", ["x"], ["number"], to=TensorProto.FLOAT))
    model.graph.node[1].input[0] = "number"
    onnx.save(model, tmp_path / "network.onnx")
    with pytest.raises(UnsupportedError, match="input x has type bool") as caught:
        read_onnx(tmp_path / "network.onnx")
    assert caught.value.code == "input-type"


def test_opset_of_the_past(tmp_path: Path) -> None:
    """Until opset 6 constants that are broadcast had to say so."""
    net = Writer((1, 2, 4, 4), opset=6)
    net.conv(2, 3, 3, 3, bias=False)
    net.add("Relu")
    net.add("Add", net.constant(np.arange(2.0)), broadcast=1)
    net.add("MaxPool", kernel_shape=[2, 2])
    layers = read_onnx(written(net, tmp_path)).layers
    assert [layer.shape for layer in layers] == [(4, 4, 2), (2, 2, 3), (2, 2, 3), (1, 1, 3)]


def test_all_inputs_fixed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not depend on the input"):
        read_onnx(written(perceptron(), tmp_path), fixed={"x": 1.0})


def test_an_open_size_is_given(tmp_path: Path) -> None:
    net = Writer(("N", 2, "height", "width"))
    net.conv(2, 3, 3, 3)
    net.add("GlobalAveragePool")
    path = written(net, tmp_path)
    with pytest.raises(UnsupportedError) as caught:
        read_onnx(path)
    assert "--shape x=N,2,N,N" in caught.value.hint
    assert read_onnx(path, shape=(1, 2, 9, 7)).layers[1].shape == (7, 5, 3)
    for wrong in ((1, 3, 9, 7), (1, 2, 9), (1, 2, 0, 7)):
        with pytest.raises(UsageError, match=r"has shape \?,2,\?,\?"):
            read_onnx(path, shape=wrong)


def test_opset_of_the_future(tmp_path: Path) -> None:
    model = perceptron().model()
    model.opset_import[0].version = 9999
    (tmp_path / "network.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedError, match="opset 9999"):
        read_onnx(tmp_path / "network.onnx")


def test_unused_and_duplicate_nodes_do_no_harm(tmp_path: Path) -> None:
    net = perceptron()
    net.nodes.append(helper.make_node("Erf", ["t0"], ["unused"]))
    net.nodes.append(helper.make_node("Relu", ["t0"], ["twice"]))
    net.nodes.append(helper.make_node("CumSum", ["t0", net.constant(np.array(1))], ["unused too"]))
    net.nodes.append(helper.make_node("Gemm", ["twice", *net.nodes[2].input[1:]], ["second"]))
    net.nodes.append(helper.make_node("Add", ["t2", "second"], ["sum"]))
    net.tensor = "sum"
    assert len(read_onnx(written(net, tmp_path)).layers) <= 4
