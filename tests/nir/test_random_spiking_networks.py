"""Random NIR graphs: the imported float network does what the nodes do one by one, in NIR's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from literal import Array, Edge, LiteralGraph, stateless

from edgespike.convert.discretise import FloatInterpreter, choose_profile
from edgespike.convert.spiking import convert_nir
from edgespike.importers.nir import read_nir
from edgespike.session import InferenceSession

DT = 1e-3
TICKS = 25


class Maker:
    """Draws a graph node by node: ``last`` is the node to go on from, ``shape`` what leaves it."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: dict[str, Any] = {}
        self.edges: list[Edge] = []
        self.loops: list[Edge] = []
        self.reset = str(self.choose("zero", "value", "subtract", "none", "subtract-delayed"))
        self.profile: dict[str, Any] = {
            "dt": DT,
            "reset": self.reset,
            "compare": self.choose("gt", "ge"),
            "decay": self.choose("exact", "euler"),
            "gain": self.choose("exact", "euler", "none"),
        }
        if self.reset == "subtract":
            self.profile["max_spikes"] = self.choose(1, 3)
        self.last, self.shape = "", ()

    def choose(self, *options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def put(self, node: Any, sources: list[str] | None = None) -> str:
        """Add a node after the last one, or after those named."""
        name = f"{len(self.nodes)}_{type(node).__name__}"
        self.edges += [(source, name) for source in (sources or [self.last])]
        self.nodes[name] = node
        self.shape = stateless(node, np.zeros(self.shape)).shape
        self.last = name
        return name

    def start(self) -> None:
        shapes = ((5,), (2, 9), (2, 7, 6), (3, 6, 6))
        self.shape = self.choose(*shapes)
        self.nodes["input"] = nir.Input(np.array(self.shape))
        self.last = "input"

    def values(self, low: float, high: float) -> Array:
        """A parameter of one number, one by channel, or one by neuron."""
        channels = (self.shape[0], *(1,) * (len(self.shape) - 1))
        return self.rng.uniform(low, high, self.choose((1,), channels, self.shape))

    def whole(self, low: float, high: float) -> Array:
        return np.broadcast_to(self.values(low, high), self.shape).copy()

    # ---- nodes

    def conv(self) -> None:
        outputs, groups = self.choose((2, 1), (4, 1), (self.shape[0] * 2, self.shape[0]))
        axes = len(self.shape) - 1
        kernel = [self.choose(1, 2, 3) for _ in range(axes)]
        weight = self.rng.normal(size=(outputs, self.shape[0] // groups, *kernel))
        bias = self.rng.normal(size=outputs) * 0.3 * self.chance(0.7)
        dilation = self.choose(1, 1, 2) if min(self.shape[1:]) > 5 else 1
        padding = self.choose("same", "valid", 0, 1)
        stride = 1 if padding == "same" else self.choose(1, 2)
        if axes == 1:
            size = int(self.shape[1])
            self.put(nir.Conv1d(size, weight, stride, padding, dilation, groups, bias))
        else:
            size = tuple(int(length) for length in self.shape[1:])
            self.put(nir.Conv2d(size, weight, stride, padding, dilation, groups, bias))

    def pool(self, padded: bool) -> None:
        kind = self.choose(nir.SumPool2d, nir.AvgPool2d)
        padding = self.choose(0, 1) if padded else 0
        self.put(kind(*(np.array(pair) for pair in ((2, 2), (2, self.choose(1, 2)), (padding, padding)))))

    def linear(self) -> None:
        outputs = self.choose(3, 6)
        weight = self.rng.normal(size=(outputs, self.shape[0])) / np.sqrt(self.shape[0]) * 2
        bias = self.rng.normal(size=outputs) * 0.3
        self.put(nir.Affine(weight, bias) if self.chance(0.5) else nir.Linear(weight))

    def scale(self, by_neuron: bool) -> None:
        if by_neuron:
            self.put(nir.Scale(self.whole(0.5, 1.5)))
        else:
            channels = (self.shape[0], *(1,) * (len(self.shape) - 1))
            self.put(nir.Scale(self.rng.uniform(-0.5, 1.5, channels)))

    def delay(self, by_neuron: bool) -> None:
        channels = (self.shape[0], *(1,) * (len(self.shape) - 1))
        ticks = self.rng.integers(0, 4, self.shape if by_neuron else channels)
        self.put(nir.Delay(ticks * DT))

    def flatten(self) -> None:
        self.put(nir.Flatten(np.array(self.shape), 0, -1))

    def neuron(self) -> None:
        kind = self.choose("IF", "LIF", "CubaLIF", "Threshold")
        threshold = self.values(0.2, 0.7) if kind == "Threshold" else self.whole(0.2, 0.7)
        common = {"v_threshold": threshold, "v_reset": self.whole(-0.2, 0.1) * (self.reset == "value")}
        unit = self.profile["gain"] == "none"
        if kind == "Threshold":
            node: Any = nir.Threshold(threshold)
        elif kind == "IF":
            node = nir.IF(r=self.whole(0.5, 1) / (1 if unit else DT), **common)
        elif kind == "LIF":
            r = self.whole(0.5, 1) * (1 if unit else 5)
            node = nir.LIF(self.whole(0.002, 0.02), r, self.whole(-0.1, 0.1), **common)
        else:
            taus = self.whole(0.002, 0.01), self.whole(0.002, 0.02)
            node = nir.CubaLIF(*taus, self.whole(1, 2) * 2, self.whole(-0.1, 0.1), **common)
            node.w_in = self.whole(0.5, 1) * (1 if unit else 3)
        self.put(node)

    def loop(self) -> None:
        """Leads the last neuron back to itself, through weights or directly."""
        neuron, shape = self.last, self.shape
        if self.chance(0.3):
            self.edges.append((neuron, neuron))
            self.loops.append((neuron, neuron))
            return
        if len(shape) > 1:
            self.put(nir.Scale(self.rng.normal(size=(shape[0], *(1,) * (len(shape) - 1)))))
        else:
            weight = self.rng.normal(size=(shape[0], shape[0])) / np.sqrt(shape[0])
            self.put(nir.Affine(weight, self.rng.normal(size=shape[0]) * 0.1))
        self.edges.append((self.last, neuron))
        self.loops.append((self.last, neuron))
        self.last, self.shape = neuron, shape

    def layer(self) -> None:
        """Something weighted, or not, and a neuron."""
        source, shape = self.last, self.shape
        by_neuron = len(shape) == 1
        if self.chance(0.2):
            self.scale(by_neuron)
        if self.chance(0.2):
            self.delay(by_neuron)
        if len(self.shape) == 1:
            self.linear()
            if self.chance(0.2):
                self.linear()
            if self.chance(0.3):
                self.meet(source, shape)
        elif len(self.shape) == 3 and self.last.endswith("F") and self.chance(0.4):
            self.pool(padded=True)
        elif self.chance(0.9):
            self.conv()
            if len(self.shape) == 3 and min(self.shape[1:]) > 2 and self.chance(0.3):
                self.pool(padded=False)
        if self.chance(0.2):
            self.scale(len(self.shape) == 1)
        if self.chance(0.2):
            self.delay(len(self.shape) == 1)
        self.neuron()
        if self.chance(0.3) and not self.last.endswith("Input"):
            self.loop()
        if len(self.shape) > 1 and (min(self.shape[1:]) < 3 or self.chance(0.3)):
            self.flatten()

    def meet(self, source: str, shape: tuple[int, ...]) -> None:
        """A second way from a vector before to the last one."""
        last, outputs = self.last, self.shape[0]
        self.last, self.shape = source, shape
        other = self.put(nir.Linear(self.rng.normal(size=(outputs, shape[0])) / np.sqrt(shape[0])))
        self.put(nir.Scale(np.ones(outputs)), [last, other])

    def readout(self) -> None:
        """An output that never spikes."""
        if len(self.shape) > 1:
            self.flatten()
        self.linear()
        kind = self.choose("I", "LI", "CubaLI")
        if kind == "I":
            self.put(nir.I(self.whole(1, 2)))
        elif kind == "LI":
            self.put(nir.LI(self.whole(0.002, 0.01), self.whole(1, 2), self.whole(-0.1, 0.1)))
        else:
            taus = self.whole(0.002, 0.01), self.whole(0.002, 0.01)
            self.put(nir.CubaLI(*taus, self.whole(1, 2), self.whole(-0.1, 0.1), self.whole(0.5, 1)))

    def inhibit(self) -> None:
        """Another population that the output excites, and that stops the output a tick later."""
        output, shape = self.last, self.shape
        self.linear()
        self.neuron()
        back = nir.Linear(-self.rng.uniform(size=(shape[0], self.shape[0])))
        self.put(back)
        self.edges.append((self.last, output))
        self.loops.append((self.last, output))
        self.last, self.shape = output, shape

    def network(self) -> None:
        self.start()
        for _ in range(self.choose(1, 2, 3)):
            self.layer()
        if self.chance(0.25):
            self.readout()
        else:
            if len(self.shape) > 1 or self.last.endswith("Flatten"):
                if len(self.shape) > 1:
                    self.flatten()
                self.linear()
                self.neuron()
            if self.chance(0.25):
                self.inhibit()
        self.put(nir.Output(np.array(self.shape)))

    def save(self, path: Path) -> Path:
        nir.write(path, nir.NIRGraph(self.nodes, self.edges, type_check=False))
        return path


def random_network(seed: int, folder: Path) -> tuple[Maker, Path]:
    maker = Maker(seed)
    maker.network()
    return maker, maker.save(folder / "network.nir")


def as_pixels(x: Array) -> Array:
    """NIR's (C, ...) as (1, height, width, channels)."""
    grid = {1: x[:, None, None], 2: x[:, None, :] if x.ndim == 2 else x, 3: x}[x.ndim]
    return np.moveaxis(grid, 0, -1)[None]


def in_nirs_order(values: Array, shape: tuple[int, ...]) -> Array:
    return np.moveaxis(values[0], -1, 0).reshape(shape)


@settings(max_examples=60)
@given(seed=st.integers(0, 1 << 31))
def test_an_imported_network_does_what_its_nodes_do(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    maker, path = random_network(seed, tmp_path_factory.mktemp("random"))
    network = read_nir(path)
    interpreter = FloatInterpreter(network, choose_profile(**maker.profile))
    literal = LiteralGraph(maker.nodes, maker.edges, maker.loops, maker.profile)
    shape = tuple(maker.nodes["input"].input_type["input"])
    rng = np.random.default_rng(seed)
    for _ in range(TICKS):
        x = (rng.random(shape) < 0.5).astype(np.float64)
        wanted = literal.step(x)[maker.last]
        sent = interpreter.step(as_pixels(x))[-1]
        if interpreter.readout == "spikes":
            np.testing.assert_array_equal(in_nirs_order(sent, wanted.shape), wanted)
        else:
            ours = in_nirs_order(interpreter.scores, wanted.shape)
            np.testing.assert_allclose(ours, wanted, rtol=1e-9, atol=1e-9)
        assert network.output_shape == wanted.shape


@settings(max_examples=25)
@given(seed=st.integers(0, 1 << 31), chunk=st.integers(1, 40))
def test_a_converted_network_has_the_same_bits_everywhere(
    tmp_path_factory: pytest.TempPathFactory, seed: int, chunk: int
) -> None:
    maker, path = random_network(seed, tmp_path_factory.mktemp("random"))
    graph, _ = convert_nir(path, **maker.profile)
    shape = tuple(maker.nodes["input"].input_type["input"])
    sample = (np.random.default_rng(seed).random((TICKS, *shape)) < 0.5).astype(np.float32)
    reference = InferenceSession(graph, "reference")
    (expected,) = reference.scores(sample[None])
    core = InferenceSession(graph)
    events = core.sample_events(sample)
    for start in range(0, len(events), chunk):
        core.backend.push(events[start : start + chunk])
    core.backend.advance(TICKS - 1)
    core.backend.finish()
    np.testing.assert_array_equal(core.backend.output(), expected)
    for number in range(1, len(graph.populations)):
        np.testing.assert_array_equal(core.backend.state(number), reference.backend.state(number))
    with InferenceSession(graph, "device", port="emulated") as board:
        np.testing.assert_array_equal(board.scores(sample[None])[0], expected)
