"""Small networks, data and a way to call the command line in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from edgespike.cli import main
from edgespike.events import make_events, write_events
from edgespike.graph import (
    Accumulator,
    Activation,
    Dense,
    EventCounts,
    Graph,
    InputSpec,
    LevelInput,
    Neuron,
    Population,
    Projection,
    Shape,
)
from edgespike.modelfile import write_model

CLASSES = ["dark", "left", "right"]


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """``cli("inspect", path)`` calls the command line in this process."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return call


def _population(name: str, shape: Shape, neuron: Neuron) -> Population:
    zeros = np.zeros(shape, np.int32)
    if isinstance(neuron, LevelInput):
        return Population(name, shape, neuron, None, zeros)
    if isinstance(neuron, Activation):
        return Population(name, shape, neuron, zeros, zeros, 32)
    return Population(name, shape, neuron, zeros, None, 32)


def _graph(height: int, width: int, channels: int, spec: InputSpec, shape: list[int]) -> Graph:
    """Says which half of the input is brighter: input, 4 hidden neurons, 3 scores."""
    rng = np.random.default_rng(3)
    hidden = rng.integers(-9, 10, (height * width * channels, 4), dtype=np.int8)
    left = np.arange(height * width * channels) // channels % width < width // 2
    hidden[:, 0], hidden[:, 1] = left, ~left
    scores = np.array([[0, 9, 0], [0, 0, 9], [0, 0, 0], [0, 0, 0]], np.int8)
    return Graph(
        populations=(
            _population("image", (height, width, channels), LevelInput(0, 255)),
            _population("hidden", (1, 1, 4), Activation(np.full(4, 3, np.int32), 0, 255)),
            _population("scores", (1, 1, 3), Accumulator()),
        ),
        projections=(Projection(0, 1, Dense(hidden)), Projection(1, 2, Dense(scores))),
        input=spec,
        metadata={
            "producer": "edgespike tests",
            "source": {"file": "halves.onnx", "format": "onnx"},
            "input": {
                "name": "image",
                "shape": shape,
                "grid": shape,
                "axes": [1, 2, 0],
                "multiply": 1.0,
                "add": 0.0,
                "scale": 1.0,
                "event_scale": 1.0,
            },
            "output": {"name": "scores", "shape": [3], "scale": 0.5, "transform": "none"},
            "populations": ["image", "hidden", "scores"],
            "classes": CLASSES,
        },
    )


@pytest.fixture(scope="session")
def image_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes images of 4 x 6 pixels with one channel."""
    path = tmp_path_factory.mktemp("image") / "halves.esg"
    write_model(_graph(4, 6, 1, InputSpec(), [1, 4, 6]), path)
    return path


@pytest.fixture(scope="session")
def event_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes events of a sensor 6 wide and 4 high, in windows of 2 slices of 10 ms."""
    table = np.tile(np.arange(8, dtype=np.int16), (4, 1))
    spec = InputSpec(1000, 20, EventCounts(2, 2, 10, 7, table))
    path = tmp_path_factory.mktemp("events") / "halves.esg"
    write_model(_graph(4, 6, 4, spec, [4, 4, 6]), path)
    return path


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX network for the same images: the brightness of the left and the right half."""
    weight = np.zeros((24, 3), np.float32)
    left = np.arange(24) % 6 < 3
    weight[left, 1] = weight[~left, 2] = 0.01
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weight", "bias"], ["scores"]),
        ],
        "halves",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 4, 6])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.zeros(3, np.float32), "bias")],
    )
    path = tmp_path_factory.mktemp("network") / "halves.onnx"
    save(helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six labelled images: left half bright, right half bright, and so on."""
    x = np.zeros((6, 1, 4, 6), np.float32)
    x[::2, :, :, :3] = x[1::2, :, :, 3:] = 100
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, x=x, y=np.array([1, 2] * 3))
    return path


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder ``left`` and a folder ``right`` with one recording of 50 ms each."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(5)
    for name, first in (("left", 0), ("right", 3)):
        (folder / name).mkdir()
        t = np.sort(rng.integers(0, 50_000, 200))
        x, y, p = rng.integers(first, first + 3, 200), rng.integers(0, 4, 200), rng.integers(0, 2, 200)
        write_events(folder / name / "one.csv", make_events(t + 7_000_000, x, y, p))
    return folder
