"""The networks that are measured, here and in onnxruntime (fp32, and int8 by its own quantization)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from tables import ROOT

from edgespike import InferenceSession
from edgespike.convert import Calibration, convert_onnx
from edgespike.importers.onnx import read_onnx

CALIBRATION = 100  # training samples
SAMPLES = 64  # test samples, in rotation
MNIST = {  # file: what a white pixel is to the network
    "mnist-8/model.onnx": 255.0,
    "netkit_mnist_cnn.onnx": 1.0,
    "lenet5.onnx": 1.0,
}
FASHION = ("average", "average_sparse", "max", "residual", "separable")


@dataclass(frozen=True)
class Source:
    """An ONNX file, and images in its units: training images with labels, and test images."""

    name: str
    path: Path
    train: NDArray[np.float32]
    labels: NDArray[Any]
    test: NDArray[np.float32]

    def session(self, levels: int) -> tuple[InferenceSession, float]:
        """The network here, and its multiplications in a dense pass."""
        graph, report = convert_onnx(self.path, Calibration(self.train, self.labels), levels=levels)
        return InferenceSession(graph), float(report.macs)

    def originals(self) -> tuple[onnxruntime.InferenceSession, onnxruntime.InferenceSession, str]:
        """In onnxruntime, fp32 and int8 (QDQ), one thread, and the input's name."""
        with tempfile.TemporaryDirectory() as folder:
            single, ready, narrow = (Path(folder) / f"{name}.onnx" for name in ("single", "ready", "int8"))
            onnx.save(of_batch_1(onnx.load(self.path)), single)
            name = read_onnx(self.path).input.name
            quant_pre_process(str(single), str(ready), skip_symbolic_shape=True)
            quantize_static(
                str(ready),
                str(narrow),
                _Reader(name, self.train[:100]),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            return _one_thread(single), _one_thread(narrow), name


class _Reader(CalibrationDataReader):
    def __init__(self, name: str, images: NDArray[np.float32]) -> None:
        self.feeds: Iterator[dict[str, Any]] = iter([{name: image[None]} for image in images])

    def get_next(self) -> dict[str, Any] | None:
        return next(self.feeds, None)


def _one_thread(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def of_batch_1(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network for one sample at a time, whatever batch its file is for."""
    for value in (*model.graph.input, *model.graph.output):
        if value.name not in {constant.name for constant in model.graph.initializer}:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]
    return model


@cache
def images(data: Path, file: str) -> Any:
    return dict(np.load(data / file))


def sources(data: Path) -> list[Source]:
    """All small CNNs."""
    made = []
    for name in FASHION:
        path = ROOT / "tests" / "data" / f"fashion_{name}.onnx"
        made.append(source(f"fashion_{name}", path, images(data, "fashion.npz"), 1.0))
    for file, white in MNIST.items():
        name = file.split("/")[0].removesuffix(".onnx")
        made.append(source(name, data / "onnx" / file, images(data, "mnist.npz"), white))
    return made


def source(name: str, path: Path, arrays: Any, white: float) -> Source:
    shape = read_onnx(path).input.shape
    train, test = (
        (arrays[key][:count] * np.float32(white / 255)).reshape(-1, *shape).astype(np.float32)
        for key, count in (("x_train", CALIBRATION), ("x_test", SAMPLES))
    )
    return Source(name, path, train, arrays["y_train"][:CALIBRATION], test)
