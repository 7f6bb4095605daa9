"""The float network that importers read: layers of linear maps with a clip, in neuron order.

Everything that only moves numbers (Flatten, Reshape, Transpose) is gone: weights are
already permuted so that a layer's neurons are in (height, width, channels) order, as in
the spiking graph. Real values are float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgespike.graph import Shape

if TYPE_CHECKING:
    from edgespike.importers.functions import Function

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Dense:
    """``weight``: (source neurons, target neurons); the target is (1, 1, N)."""

    weight: Float


@dataclass(frozen=True)
class Convolution:
    """``weight``: (source channels, kernel height, kernel width, target channels // groups).

    Laid out as `edgespike.graph.Convolution`; ``padding`` is (top, left).
    """

    weight: Float
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int]
    groups: int


@dataclass(frozen=True)
class Scale:
    """One to one, ``weight``: (channels,)."""

    weight: Float


@dataclass(frozen=True)
class AveragePool:
    """Sum of a window, divided by ``divisor``: array (target height, target width)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    divisor: NDArray[np.int64]

    @property
    def gain(self) -> float:
        """How many times a source's value the result may be: 1 for a mean."""
        return max(1.0, self.kernel[0] * self.kernel[1] / float(self.divisor.max()))


@dataclass(frozen=True)
class MaxPool:
    """Greatest value of a window; what lies outside the source is left out."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]


Map = Dense | Convolution | Scale | AveragePool | MaxPool


@dataclass(frozen=True)
class Link:
    """What a layer takes from an earlier one. ``source``: its number."""

    source: int
    map: Map


@dataclass(frozen=True)
class Probe:
    """Where the source network has the values of a layer.

    ``order[i]`` is the position of neuron ``i`` in the flattened tensor of one sample. What
    stands there is ``neuron * multiply + add`` (arrays by neuron; None: the neuron itself),
    where the neuron's value is still to be clipped to ``minimum`` .. ``maximum``. ``behind``: a layer
    with a function; what stands there is read by its probe, and the neuron is what it makes of that.
    """

    tensor: str
    order: NDArray[np.int64]
    multiply: Float | None = None
    add: Float | None = None
    minimum: float = -math.inf
    maximum: float = math.inf
    behind: Layer | None = None

    def read(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Neurons (samples, neurons) from the flattened tensor."""
        if self.behind is not None:
            before = self.behind.probe.read(values).reshape(len(values), *self.behind.shape)
            return self.behind.activated(before).reshape(len(values), -1)
        neurons = values[:, self.order]
        if self.multiply is not None and self.add is not None:
            factor = np.where(self.multiply == 0, 1.0, self.multiply)  # a neuron that nobody hears
            neurons = ((neurons - self.add) / factor).astype(np.float32)
        return np.clip(neurons, self.minimum, self.maximum)


@dataclass(frozen=True)
class Levels:
    """Levels that a quantized network brings along: ``low`` to ``high``, worth ``scale`` each."""

    scale: float
    low: int
    high: int


@dataclass(frozen=True)
class Layer:
    """``clip(function(sum of links + bias), minimum, maximum)``; most have no function.

    ``bias`` is an array of ``shape``. A max pool or an average pool is the only link of
    its layer and has no bias. Layer 0 is the input: no links, and its ``bias`` is 0.
    ``levels`` are given by networks that were quantized before; the clip is then within them.
    ``probe`` is before the function and the clip. A max pool's clip is its source's too.
    """

    name: str
    shape: Shape
    links: tuple[Link, ...]
    bias: Float
    probe: Probe
    minimum: float = -math.inf
    maximum: float = math.inf
    function: Function | None = None
    levels: Levels | None = None

    @property
    def size(self) -> int:
        """Number of neurons."""
        return math.prod(self.shape)

    @property
    def is_linear(self) -> bool:
        """Whether it has no function and nothing is clipped."""
        return self.function is None and self.minimum == -math.inf and self.maximum == math.inf

    def with_levels(self, levels: Levels) -> Layer:
        """The layer with levels that are given, and clipped to what they can be."""
        minimum, maximum = levels.low * levels.scale, levels.high * levels.scale
        return replace(
            self, levels=levels, minimum=max(minimum, self.minimum), maximum=min(maximum, self.maximum)
        )

    def activated(self, values: NDArray[Any]) -> NDArray[Any]:
        """Function and clip of what the probe reads: (..., channels)."""
        if self.function is not None:
            values = self.function(values).astype(values.dtype)
        return np.asarray(np.clip(values, self.minimum, self.maximum))


@dataclass(frozen=True)
class NetworkInput:
    """How a user's sample becomes the values of layer 0.

    ``shape``: of one sample, without the batch axis. The sample is reshaped to ``grid``
    and its axes permuted by ``axes`` into (height, width, channels); then
    ``value * multiply + add``, arrays by channel.
    """

    name: str
    shape: tuple[int, ...]
    grid: tuple[int, int, int]
    axes: tuple[int, int, int]
    multiply: Float
    add: Float


@dataclass(frozen=True)
class NetworkOutput:
    """How the last layer becomes the user's result.

    The scores, as (height, width, channels), are transposed by ``axes`` and reshaped to
    ``shape`` (one sample, without the batch axis); then ``transform``: ``"none"``,
    ``"softmax"``, ``"log_softmax"`` or ``"argmax"``: the number of the greatest score, of shape
    ``label_shape``.
    """

    name: str
    shape: tuple[int, ...]
    axes: tuple[int, int, int]
    transform: str
    label_shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Network:
    """Layers in topological order; the first is the input, the last one the output.

    ``model`` is the simplified ONNX model, serialized, with a batch axis of ``batch`` and
    the tensors that the probes name as further outputs; ``original`` the one before. Both
    give scores, also where an ArgMax follows.
    """

    layers: tuple[Layer, ...]
    input: NetworkInput
    output: NetworkOutput
    model: bytes
    original: bytes
    batch: int

    @property
    def is_quantized(self) -> bool:
        """Whether some layer brings its levels along."""
        return any(layer.levels is not None for layer in self.layers)
