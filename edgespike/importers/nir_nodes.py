"""What each node of a NIR graph becomes: maps between populations, or a population.

NIR's arrays are (channels, height, width); here everything is (height, width, channels).
A Flatten is no work: it only changes how the next node numbers the neurons.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import ModelError, UnsupportedError
from edgespike.graph import Shape
from edgespike.importers.network import Convolution, Scale
from edgespike.importers.nir_signals import (
    NotLinear,
    Signal,
    Term,
    as_vector,
    by_channel,
    delayed,
    factors,
    plain,
    silence,
    through_convolution,
    through_dense,
    through_pool,
    times,
    total,
)
from edgespike.importers.spiking_network import (
    FloatNetwork,
    FloatNeuron,
    FloatPopulation,
    FloatProjection,
    Map,
    SumPool,
)

__all__ = ["NEURONS", "SUPPORTED", "Builder"]

Array = NDArray[np.float64]
NEURONS = ("IF", "LIF", "CubaLIF", "Threshold", "I", "LI", "CubaLI")
SUPPORTED = (
    *("Input", "Output", "Affine", "Linear", "Scale", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d"),
    *("Flatten", "Delay", "NIRGraph"),
    *NEURONS,
)
Pair = tuple[int, int]


class Builder:
    """Walks the nodes in topological order and keeps what each one's output is.

    Args:
        path: of the file, for messages.
        looped: neurons that loops lead back to.
    """

    def __init__(self, path: Path, looped: set[str]) -> None:
        self.path = path
        self.looped = looped
        self.populations: list[FloatPopulation] = []
        self.projections: list[FloatProjection] = []
        self.signals: dict[str, Signal] = {}
        self.input_name = self.output_name = ""

    def add(self, name: str, kind: str, node: Any, sources: Sequence[str]) -> None:
        """Take over one node; ``sources`` are the nodes before it."""
        with self.named(name):
            if kind == "Input":
                self.signals[name] = self.input(name, node)
                return
            signal = self.arriving(name, kind, node, [self.signals[source] for source in sources])
            if kind in NEURONS:
                if name in self.looped:  # loops come back as vectors
                    signal = as_vector(signal, self.shapes)
                self.signals[name] = self.populate(name, self.neuron(name, kind, node, signal), signal)
            else:
                self.signals[name] = self.passed_on(name, kind, node, signal)

    def passed_on(self, name: str, kind: str, node: Any, signal: Signal) -> Signal:
        """What leaves a node that is no neuron."""
        if kind == "Output":
            self.output_name = name
        elif kind in ("Linear", "Affine"):
            return self.linear(name, node, signal)
        elif kind == "Scale":
            return times(signal, self.by_neuron(name, "scale", node.scale, signal))
        elif kind == "Delay":
            return self.delay(name, node, signal)
        elif kind in ("Conv1d", "Conv2d"):
            return self.convolution(name, node, signal)
        elif kind in ("SumPool2d", "AvgPool2d"):
            pooled = self.pool(name, node, signal)
            share = 1 / math.prod(_pair(node.kernel_size)) if kind == "AvgPool2d" else 1.0
            return times(pooled, np.full(pooled.shape, share))  # padding counts, as in PyTorch
        elif kind == "Flatten":
            return self.flatten(name, node, signal)
        return signal  # also an end of a graph within

    def arriving(self, name: str, kind: str, node: Any, signals: list[Signal]) -> Signal:
        """Edges that meet in a node add up; to a neuron only a loop may lead."""
        if not signals:
            key = "v_threshold" if kind.endswith("F") else "threshold" if kind == "Threshold" else "r"
            nir_shape = np.shape(getattr(node, key)) or (1,)
            if len(nir_shape) > 3:
                raise self.unsupported(name, f"its parameters have the shape {nir_shape}")
            return silence(_height_width_channels(nir_shape), nir_shape)
        for other in signals[1:]:
            if other.nir_shape != signals[0].nir_shape:
                raise self.mismatch(name, other, f"{signals[0].nir_shape}, as its other input has")
        return total(signals, self.shapes)

    def close_loop(self, source: str, target: str) -> None:
        """Lead what leaves a node back to a neuron that is there already."""
        with self.named(target):
            there, signal = self.signals[target], self.signals[source]
            if signal.nir_shape != there.nir_shape:
                raise self.mismatch(target, signal, f"{there.nir_shape}, as its other input has")
            signal = total([silence(there.shape, there.nir_shape), signal], self.shapes)
            number = there.terms[0].source
            self.project(signal, number, returns=True)
            population = self.populations[number]
            self.populations[number] = replace(population, bias=population.bias + signal.bias)

    def network(self) -> FloatNetwork:
        """The finished network; refuses an output that is no population of neurons."""
        signal = self.signals[self.output_name]
        if not signal.is_plain or len(signal.terms) != 1:
            raise self.unsupported(
                self.output_name,
                "it reads a weighted or delayed sum of spikes, not spikes: NIR does not say what that means "
                "over time",
            )
        if not any(population.neuron for population in self.populations):
            raise self.unsupported(self.output_name, "the graph has no spiking population")
        last = signal.terms[0].source
        for number, population in enumerate(self.populations):
            if population.neuron and not population.neuron.fires and number != last:
                raise self.unsupported(
                    population.name,
                    "it never spikes: a leaky or plain integrator is taken as the output only",
                )
        silent = self.populations[last].neuron
        if silent and not silent.fires and any(p.source == last for p in self.projections):
            raise self.unsupported(self.populations[last].name, "it never spikes, but leads on to neurons")
        if last != len(self.populations) - 1:  # others take its spikes: the scores are those of a copy
            copy = SumPool((1, 1), (1, 1), (0, 0))
            self.projections.append(FloatProjection(last, len(self.populations), copy))
            self.add_population(self.output_name, None, signal)
        return FloatNetwork(
            tuple(self.populations),
            tuple(sorted(self.projections, key=lambda projection: (projection.source, projection.target))),
            self.input_name,
            self.signals[self.input_name].nir_shape,
            self.output_name,
            signal.nir_shape,
        )

    # ---- nodes

    def input(self, name: str, node: Any) -> Signal:
        self.input_name = name
        shape = _shape_of(node.input_type["input"])
        if not 1 <= len(shape) <= 3 or min(shape) < 1:
            raise self.unsupported(name, f"the input shape {shape} is not (N,), (C, W) or (C, H, W)")
        self.checked_size(name, _height_width_channels(shape))
        return self.populate(name, None, silence(_height_width_channels(shape), shape))

    def linear(self, name: str, node: Any, signal: Signal) -> Signal:
        weight = self.numbers(name, "weight", node.weight)
        if weight.ndim != 2:
            raise self.unsupported(name, f"its weight has shape {weight.shape} instead of (outputs, inputs)")
        if signal.nir_shape != (weight.shape[1],):
            raise self.mismatch(name, signal, f"({weight.shape[1]},)")
        outputs = weight.shape[0]
        self.checked_size(name, (1, 1, outputs))
        by_neuron = np.empty_like(weight.T)
        by_neuron[signal.order] = weight.T
        product = through_dense(signal, by_neuron, self.shapes)
        if not hasattr(node, "bias"):
            return product
        return replace(product, bias=product.bias + self.numbers(name, "bias", node.bias, (outputs,)))

    def delay(self, name: str, node: Any, signal: Signal) -> Signal:
        delay = self.by_neuron(name, "delay", node.delay, signal)
        if delay.min() < 0:
            raise self.parameter_error(name, "delay", delay.min(), "must not be negative")
        return delayed(signal, delay)

    def convolution(self, name: str, node: Any, signal: Signal) -> Signal:
        weight = self.numbers(name, "weight", node.weight)
        row = type(node).__name__ == "Conv1d"  # a map of one row
        if weight.ndim != (3 if row else 4):
            raise self.mismatch(name, signal, f"a weight of {3 if row else 4} axes, has {weight.shape}")

        def pair(value: Any, fill: int) -> tuple[int, int]:
            return (fill, _pair(value)[1]) if row else _pair(value)

        weight = weight[:, :, None] if row else weight
        outputs, group_inputs, *kernel = weight.shape
        groups = int(np.asarray(node.groups))
        height, width, channels = self.spatial(name, signal, 2 if row else 3)
        if groups < 1 or outputs % groups or channels != group_inputs * groups:
            raise self.mismatch(name, signal, f"{group_inputs * groups} channels in {groups} groups")
        if node.input_shape is not None and pair(node.input_shape, 1) != (height, width):
            raise self.mismatch(name, signal, f"input_shape {pair(node.input_shape, 1)}")
        stride, dilation = pair(node.stride, 1), pair(node.dilation, 1)
        padding_given = node.padding if isinstance(node.padding, str) else pair(node.padding, 0)
        extent = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
        padding, size = self.window(name, (height, width), extent, stride, padding_given)
        bias = self.numbers(name, "bias", node.bias, (outputs,))
        # (out, in, ky, kx) becomes (source channel, ky, kx, target channel of the group)
        grouped = weight.reshape(groups, outputs // groups, group_inputs, *kernel)
        by_source = grouped.transpose(0, 2, 3, 4, 1).reshape(channels, *kernel, outputs // groups)
        connection = Convolution(by_source, stride, dilation, padding, groups)
        nir_shape = (outputs, size[1]) if row else (outputs, *size)
        shape = self.checked_size(name, (*size, outputs))
        return through_convolution(signal, connection, bias, shape, nir_shape)

    def pool(self, name: str, node: Any, signal: Signal) -> Signal:
        """A population of its own, or with the convolution before it one convolution."""
        height, width, channels = self.spatial(name, signal)
        kernel, stride = _pair(node.kernel_size), _pair(node.stride)
        padding, size = self.window(name, (height, width), kernel, stride, node.padding)
        if not signal.is_unweighted:
            if padding != (0, 0):
                raise self.unsupported(name, "a pool with padding that is not right after a neuron")
            return through_pool(signal, kernel, stride, size)
        weights = factors(signal)
        sources = sorted({term.source for term in signal.terms})
        number, pool = len(self.populations), SumPool(kernel, stride, padding)
        self.projections += [FloatProjection(source, number, pool) for source in sources]
        pooled = self.add_population(name, None, silence((*size, channels), (channels, *size)))
        terms = [
            Term(number, Scale(np.broadcast_to(weight, (*size, channels))), delay)
            for weight, delay in weights
        ]
        return replace(pooled, terms=tuple(terms))

    def flatten(self, name: str, node: Any, signal: Signal) -> Signal:
        shape = signal.nir_shape
        stated = node.input_type["input"]
        if stated is not None and _shape_of(stated) != shape:
            raise self.mismatch(name, signal, f"{_shape_of(stated)}")
        first, last = (int(d) + (len(shape) if d < 0 else 0) for d in (node.start_dim, node.end_dim))
        if not 0 <= first <= last < len(shape):
            raise self.mismatch(name, signal, f"axes {int(node.start_dim)} to {int(node.end_dim)}")
        size = int(np.prod(shape[first : last + 1]))
        return replace(signal, nir_shape=(*shape[:first], size, *shape[last + 1 :]))

    def neuron(self, name: str, kind: str, node: Any, signal: Signal) -> FloatNeuron:
        def parameter(key: str) -> Array:
            return self.by_neuron(name, key, getattr(node, key), signal)

        zero, one = np.zeros(signal.shape), np.ones(signal.shape)
        if kind == "Threshold":
            neuron = FloatNeuron(None, one, zero, parameter("threshold"), zero, remembers=False)
            return self.checked_neuron(name, neuron, {"v_threshold": "threshold"})
        leaky, synaptic, fires = kind not in ("I", "IF"), kind.startswith("Cuba"), kind.endswith("F")
        neuron = FloatNeuron(
            tau=parameter("tau_mem" if synaptic else "tau") if leaky else None,
            r=parameter("r"),
            v_leak=parameter("v_leak") if leaky else zero,
            v_threshold=parameter("v_threshold") if fires else one,
            v_reset=parameter("v_reset") if fires else zero,
            tau_syn=parameter("tau_syn") if synaptic else None,
            w_in=parameter("w_in") if synaptic else None,
            fires=fires,
        )
        neuron = self.adaptive(name, neuron, getattr(node, "metadata", None) or {}, signal)
        return self.checked_neuron(name, neuron, {"tau": "tau_mem"} if synaptic else {})

    def adaptive(
        self, name: str, neuron: FloatNeuron, metadata: dict[str, Any], signal: Signal
    ) -> FloatNeuron:
        """The neuron with the adaptive threshold that its metadata give it; NIR has no node for that."""
        keys = ("adaptation_tau", "adaptation_increment")
        given = [key for key in keys if key in metadata]
        if not given:
            return neuron
        if len(given) < 2 or not neuron.fires:
            why = f"only {given[0]}" if len(given) < 2 else "an adaptive threshold, but never spikes"
            raise ModelError(
                f"{self.path}: node {name!r} has {why}",
                f"its metadata need both {' and '.join(keys)}, and it must be an IF, LIF or CubaLIF",
                "nir-parameter",
            )
        tau, increment = (self.by_neuron(name, key, metadata[key], signal) for key in keys)
        if increment.min() < 0:
            raise self.parameter_error(name, keys[1], increment.min(), "must not be negative")
        return replace(neuron, adaptation_tau=tau, adaptation_increment=increment)

    def checked_neuron(self, name: str, neuron: FloatNeuron, names: dict[str, str]) -> FloatNeuron:
        for key in ("tau", "tau_syn", "r", "w_in", "v_threshold", "adaptation_tau"):
            array = getattr(neuron, key)
            if array is not None and array.min() <= 0:
                raise self.parameter_error(name, names.get(key, key), array.min(), "must be positive")
        return neuron

    # ---- shared steps

    @property
    def shapes(self) -> dict[int, Shape]:
        return dict(enumerate(population.shape for population in self.populations))

    def populate(self, name: str, neuron: FloatNeuron | None, signal: Signal) -> Signal:
        """Add a population, driven by a signal, and return what leaves it."""
        left = self.add_population(name, neuron, signal)
        self.project(signal, left.terms[0].source)
        return left

    def add_population(self, name: str, neuron: FloatNeuron | None, signal: Signal) -> Signal:
        shape = self.checked_size(name, signal.shape)
        self.populations.append(FloatPopulation(name, shape, neuron, signal.bias))
        return plain(len(self.populations) - 1, shape, signal.nir_shape)

    def project(self, signal: Signal, target: int, returns: bool = False) -> None:
        for term in signal.terms:
            map: Map = Scale(by_channel(term.map.weight)) if isinstance(term.map, Scale) else term.map
            self.projections.append(FloatProjection(term.source, target, map, term.delay, returns))

    def by_neuron(self, name: str, key: str, value: Any, signal: Signal) -> Array:
        """A parameter of one or of all neurons (axes of length 1 spread) as (height, width, channels)."""
        array = self.numbers(name, key, value)
        if array.size == 1:
            array = array.reshape(())
        elif array.ndim != len(signal.nir_shape) or any(
            size not in (1, whole) for size, whole in zip(array.shape, signal.nir_shape, strict=True)
        ):
            raise self.mismatch(name, signal, f"{key} of shape {array.shape}")
        height, width, channels = signal.shape
        whole = np.broadcast_to(array, signal.nir_shape)
        return whole.reshape(channels, height, width).transpose(1, 2, 0).copy()

    def checked_size(self, name: str, shape: Shape) -> Shape:
        """The shape, if a model file can hold a population of it."""
        if math.prod(shape) > 1 << 24 or max(shape) > 0xFFFF:
            raise self.unsupported(
                name,
                f"{math.prod(shape)} neurons ({shape}) are more than 2^24, or an axis is longer than 65535",
            )
        return shape

    def spatial(self, name: str, signal: Signal, axes: int = 3) -> Shape:
        if len(signal.nir_shape) != axes:
            raise self.mismatch(
                name, signal, "(channels, height, width)" if axes == 3 else "(channels, length)"
            )
        if signal.shape != _height_width_channels(signal.nir_shape):
            raise self.unsupported(name, "a window over axes that a Flatten has merged")
        return signal.shape

    def window(
        self, name: str, size: tuple[int, int], extent: Sequence[int], stride: tuple[int, int], padding: Any
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """Padding (top, left) and the size (height, width) of what a sliding window makes."""
        if isinstance(padding, str):
            if padding == "same" and stride != (1, 1):
                raise self.unsupported(name, f"padding 'same' with stride {stride}")
            both = tuple(e - 1 if padding == "same" else 0 for e in extent)
        else:
            both = tuple(2 * p for p in _pair(padding))
        room = tuple(n + p - e for n, p, e in zip(size, both, extent, strict=True))
        if min(*extent, *stride) < 1 or min(both) < 0 or min(room) < 0:
            raise ModelError(
                f"{self.path}: the window of node {name!r} ({extent[0]} x {extent[1]}, stride {stride}, "
                f"padding {padding}) does not fit its {size[0]} x {size[1]} input",
                "check kernel, stride, dilation and padding",
                "nir-shape",
            )
        return (both[0] // 2, both[1] // 2), (room[0] // stride[0] + 1, room[1] // stride[1] + 1)

    def numbers(self, name: str, key: str, value: Any, shape: tuple[int, ...] | None = None) -> Array:
        """A parameter as float64; refuses NaN, infinity and a wrong shape."""
        array = np.asarray(value, np.float64)
        if not np.isfinite(array).all():
            raise ModelError(
                f"{self.path}: {key} of node {name!r} holds NaN or infinity",
                "correct it in the network that exported the file",
                "nir-parameter",
            )
        if shape is not None and array.shape != shape:
            raise ModelError(
                f"{self.path}: {key} of node {name!r} has shape {array.shape}, expected {shape}",
                "export the network again",
                "nir-shape",
            )
        return array

    def mismatch(self, name: str, signal: Signal, wanted: str) -> ModelError:
        return ModelError(
            f"{self.path}: node {name!r} gets {signal.nir_shape} but wants {wanted}",
            "shapes in NIR have no batch axis: a Flatten of a whole sample has start_dim 0",
            "nir-shape",
        )

    def parameter_error(self, name: str, key: str, value: float, wanted: str) -> ModelError:
        return ModelError(
            f"{self.path}: {key} of node {name!r} is {value:g}, but {wanted}",
            "correct it in the network that exported the file",
            "nir-parameter",
        )

    @contextmanager
    def named(self, name: str) -> Iterator[None]:
        """What a node's signal cannot do is told with the node's name."""
        try:
            yield
        except NotLinear as error:
            raise self.unsupported(name, str(error)) from error

    def unsupported(self, name: str, why: str) -> UnsupportedError:
        return UnsupportedError(
            f"{self.path}: node {name!r} is not supported here: {why}",
            f"supported are {', '.join(SUPPORTED)}; weighted nodes end in a neuron",
        )


def _shape_of(value: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in np.atleast_1d(np.asarray(value)))


def _height_width_channels(shape: tuple[int, ...]) -> Shape:
    """NIR's (N,), (C, W) or (C, H, W) as (height, width, channels)."""
    channels, height, width = {1: (shape[0], 1, 1), 2: (shape[0], 1, shape[-1]), 3: shape}[len(shape)]
    return height, width, channels


def _pair(value: Any) -> tuple[int, int]:
    """One integer for both axes, or two."""
    down, across = np.broadcast_to(np.asarray(value).astype(int).reshape(-1), 2)
    return int(down), int(across)
