"""What a network file holds and what conversion would make of it, before there is any data.

`check` never refuses a file for what is in it: that is said in ``problem``, next to all that
could be found out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgespike.convert.calibration import Calibration, samples_for
from edgespike.convert.report import Report, short_name
from edgespike.errors import EdgespikeError, UnsupportedError
from edgespike.graph import Shape
from edgespike.importers.network import AveragePool, Convolution, Dense, Layer, MaxPool, Network, Scale

if TYPE_CHECKING:
    from edgespike.convert.float_network import FloatNetwork
    from edgespike.importers.spiking_network import FloatNetwork as SpikingNetwork

NOISE_SAMPLES = 64
MOST_SAMPLES = 256
WEIGHT_BITS = (8, 4)
HDF5 = b"\x89HDF\r\n\x1a\n"  # NIR files are HDF5
NIR_TICK = 1e-3  # seconds; a size depends on it only where there are delays


@dataclass(frozen=True)
class CheckedLayer:
    """One layer. ``macs``: multiplications of a sample, or of a tick where neurons spike.

    ``range``: what its values are clipped to, or ``"spikes"``; empty where nothing limits them.
    """

    name: str
    kind: str
    shape: Shape
    range: str
    weights: int
    macs: int


@dataclass(frozen=True)
class Estimate:
    """Bytes at a width of weights; ``ram_one_shot`` 0: needs the streaming plan."""

    weight_bits: int
    flash: int
    ram_streaming: int
    ram_one_shot: int


@dataclass(frozen=True)
class Check:
    """What was found.

    ``tried_on``: ``"calibration samples"`` or ``"random inputs"``, from which ``estimates``
    and some ``warnings`` come. ``problem``: why the file cannot be converted, or None.
    ``options``: what `edgespike convert` must be given. ``classes``: scores of a sample.
    Shapes are of one sample; 0 is a size that the file leaves open.
    """

    format: str
    producer: str
    operators: dict[str, int]
    input_name: str
    input_shape: tuple[int, ...]
    output_name: str
    output_shape: tuple[int, ...]
    classes: int
    parameters: int
    layers: tuple[CheckedLayer, ...]
    estimates: tuple[Estimate, ...]
    tried_on: str
    warnings: tuple[str, ...]
    options: tuple[str, ...]
    problem: EdgespikeError | None

    @property
    def macs(self) -> int:
        """Multiplications of a sample, or of a tick where neurons spike."""
        return sum(layer.macs for layer in self.layers)


def check(path: str | Path, calibration: Calibration | None = None, **open_choices: Any) -> Check:
    """Looks at an ONNX or NIR file.

    Args:
        path: the file.
        calibration: samples to try it on; without, an ONNX network is tried on random inputs.
        open_choices: ``shape``, ``output`` and ``fixed`` of `convert_onnx`, where the file leaves them open.

    Raises:
        ModelError: there is no network in the file.
    """
    path = Path(path)
    with path.open("rb") as file:
        is_nir = file.read(len(HDF5)) == HDF5
    return check_nir(path) if is_nir else check_onnx(path, calibration, open_choices)


# ---- ONNX -------------------------------------------------------------------


def check_onnx(path: Path, calibration: Calibration | None, open_choices: dict[str, Any]) -> Check:
    """An ONNX file."""
    from onnx import numpy_helper

    from edgespike.importers.onnx import load, read_onnx

    model = load(path)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    opset = max((entry.version for entry in model.opset_import if not entry.domain), default=0)
    weights = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    network, problem = None, None
    tried = Trial((), (), "random inputs" if calibration is None else "calibration samples")
    try:
        network = read_onnx(path, **open_choices)
        tried = try_onnx(path, network, calibration, tried.on, open_choices)
    except EdgespikeError as error:
        problem = error
    return Check(
        format="onnx",
        producer=" ".join(
            [model.producer_name, *model.producer_version.split()[:1], f"opset {opset}"]
        ).strip(),
        operators=dict(sorted(Counter(node.op_type for node in model.graph.node).items())),
        input_name=", ".join(value.name for value in inputs),
        input_shape=network.input.shape if network else sizes_of(inputs),
        output_name=network.output.name if network else ", ".join(value.name for value in model.graph.output),
        output_shape=network.output.shape if network else sizes_of(model.graph.output),
        classes=network.layers[-1].size if network else 0,
        parameters=sum(v.size for v in weights if v.dtype.kind == "f" or v.dtype.itemsize == 1),
        layers=tuple(checked_layers(network)) if network else (),
        estimates=tried.estimates,
        tried_on=tried.on,
        warnings=tried.warnings,
        options=("--calibration FILE.npz",),
        problem=problem,
    )


def sizes_of(values: Sequence[Any]) -> tuple[int, ...]:
    """The shape of the first of a file's tensors, without the batch axis; 0 where it is open."""
    if not values:
        return ()
    return tuple(max(0, size.dim_value) for size in list(values[0].type.tensor_type.shape.dim)[1:])


def checked_layers(network: Network) -> list[CheckedLayer]:
    """A row for each layer but the input."""
    from edgespike.convert.float_layers import connection_of
    from edgespike.reference import fan_out

    rows = []
    for layer in network.layers[1:]:
        macs = weights = 0
        for link in layer.links:
            if isinstance(link.map, Dense | Convolution | Scale):
                source = network.layers[link.source].shape
                macs += int(fan_out(connection_of(link.map), source, layer.shape).sum())
                weights += link.map.weight.size
        kind = " + ".join(dict.fromkeys(kind_of(link.map) for link in layer.links))
        rows.append(CheckedLayer(layer.name, kind, layer.shape, range_of(layer), weights, macs))
    return rows


def kind_of(link: Any) -> str:
    """What a map is, in few words."""
    if isinstance(link, Dense):
        return "dense"
    if isinstance(link, Scale):
        return "one to one"
    size = link.weight.shape[1:3] if isinstance(link, Convolution) else link.kernel
    if isinstance(link, Convolution):
        depthwise = link.groups > 1 and link.groups == len(link.weight)
        name = "depthwise" if depthwise else "grouped conv" if link.groups > 1 else "conv"
    else:
        name = "max pool" if isinstance(link, MaxPool) else "average pool"
        name = name if isinstance(link, MaxPool | AveragePool) else "sum pool"
    stride = "" if tuple(link.stride) == (1, 1) else f" /{max(link.stride)}"
    return f"{name} {size[0]}x{size[1]}{stride}"


def range_of(layer: Layer) -> str:
    """What a layer's values are clipped to, or the operators of its function."""
    if layer.is_linear:
        return ""
    if layer.function is not None:
        return " ".join(node.op_type for node in layer.function.nodes)
    if (layer.minimum, layer.maximum) == (0, math.inf):
        return "relu"
    return f"{layer.minimum:g}..{layer.maximum:g}"


@dataclass(frozen=True)
class Trial:
    """What came of converting a network on samples, and which."""

    estimates: tuple[Estimate, ...]
    warnings: tuple[str, ...]
    on: str


def try_onnx(
    path: Path, network: Network, calibration: Calibration | None, on: str, open_choices: dict[str, Any]
) -> Trial:
    """Converts the network, and watches its layers in onnxruntime."""
    from edgespike.convert.activation import convert_onnx
    from edgespike.convert.float_network import FloatNetwork

    run = FloatNetwork(network)
    if calibration is None:
        samples = Calibration(noise(run, network.input.shape))
    else:
        x = samples_for(calibration, network.input.name, network.input.shape)
        few = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_SAMPLES)).astype(int))
        samples = Calibration(x[few], None if calibration.y is None else calibration.y[few])
    warnings = [*zero_channels(network), *silent_channels(network, run, samples.x, on)]
    try:
        bits = WEIGHT_BITS[:1] if network.is_quantized else WEIGHT_BITS
        reports = [convert_onnx(path, samples, weights=width, **open_choices)[1] for width in bits]
    except EdgespikeError as error:
        if calibration is not None:
            raise
        return Trial((), (*warnings, f"on {on}: {error.message}"), on)
    if calibration is not None:
        warnings += [warning for warning in reports[0].warnings if "constant" not in warning]
    return Trial(estimates_of(reports), tuple(dict.fromkeys(warnings)), on)


def noise(run: FloatNetwork, shape: tuple[int, ...]) -> NDArray[Any]:
    """Random inputs on a background of zeros, as typical data have one: normal, or any integer."""
    from edgespike.convert.float_network import ELEMENT_TYPES

    random = np.random.default_rng(0)
    size = (NOISE_SAMPLES, *shape)
    dtype = ELEMENT_TYPES[run.layers.get_inputs()[0].type]
    if np.issubdtype(dtype, np.integer):
        info = np.iinfo(np.uint8 if dtype == np.uint8 else np.int8)
        values = random.integers(info.min, info.max + 1, size).astype(dtype)
    else:
        values = random.normal(0, 1, size).astype(dtype)
    return np.asarray(values * (random.random(size) < 0.5), dtype)


def zero_channels(network: Network) -> list[str]:
    """Layers with channels that nothing reaches."""
    found = []
    for layer in network.layers[1:]:
        if not all(isinstance(link.map, Dense | Convolution | Scale) for link in layer.links):
            continue
        reached = np.zeros(layer.shape[2], bool)
        for link in layer.links:
            assert isinstance(link.map, Dense | Convolution | Scale)
            used = link.map.weight != 0
            if isinstance(link.map, Convolution):
                used = used.reshape(link.map.groups, -1, used.shape[3]).any(axis=1).ravel()
            elif isinstance(link.map, Dense):
                used = used.any(axis=0)
            reached |= used
        if not reached.all():
            count = int((~reached).sum())
            found.append(
                f"{short_name(layer.name)}: all weights into {count} of {reached.size} channels are 0"
            )
    return found


def silent_channels(network: Network, run: FloatNetwork, x: NDArray[Any], on: str) -> list[str]:
    """Layers that compute NaN, and channels that are the same whatever the sample: dead, if clipped."""
    layers = network.layers[1:]
    first: list[NDArray[Any]] | None = None
    changing = [np.zeros(layer.shape[2], bool) for layer in layers]
    broken = [False] * len(layers)
    for _, values in run.values(x):
        clipped = [layer.activated(v) for v, layer in zip(values, layers, strict=True)]
        first = first or [value[:1] for value in clipped]
        for number, value in enumerate(clipped):
            changing[number] |= (value != first[number]).any(axis=(0, 1, 2))
            broken[number] |= not np.isfinite(value).all()
    found = []
    for layer, moves, is_broken in zip(layers, changing, broken, strict=True):
        if is_broken:
            found.append(f"{short_name(layer.name)}: computes NaN or infinity on {on}")
            break
        if not moves.all():
            why = "constant" if layer.is_linear else "dead"
            found.append(
                f"{short_name(layer.name)}: {int((~moves).sum())} of {moves.size} channels are {why} on {on}"
            )
    if not changing[-1].any():
        found.append(f"the output is the same for all {on}")
    return found


def estimates_of(reports: list[Report]) -> tuple[Estimate, ...]:
    """Sizes after conversions with 8-bit weights and, unless these are given, with 4-bit ones."""
    return tuple(
        Estimate(bits, report.flash, report.ram_streaming, report.ram_one_shot)
        for bits, report in zip(WEIGHT_BITS, reports, strict=False)
    )


# ---- NIR --------------------------------------------------------------------


def check_nir(path: Path) -> Check:
    """A NIR file."""
    from edgespike.importers.nir import read_nir

    problem, network = None, None
    try:
        network = read_nir(path)
    except UnsupportedError as error:
        problem = error
    estimates: tuple[Estimate, ...] = ()
    warnings: tuple[str, ...] = ()
    if network is not None:
        try:
            estimates = estimate_nir(path)
        except EdgespikeError as error:
            warnings = (f"with a tick of {1e3 * NIR_TICK:g} ms: {error.message}",)
    layers = () if network is None else tuple(spiking_layers(network))
    return Check(
        format="nir",
        producer="",
        operators=dict(sorted(Counter(layer.range or layer.kind for layer in layers).items())),
        input_name=network.input_name if network else "",
        input_shape=network.input_shape if network else (),
        output_name=network.output_name if network else "",
        output_shape=network.output_shape if network else (),
        classes=math.prod(network.output_shape) if network else 0,
        parameters=sum(layer.weights for layer in layers),
        layers=layers,
        estimates=estimates,
        tried_on="no inputs",
        warnings=warnings,
        options=("--dt TIME", "--from FRAMEWORK (or --reset and --compare)"),
        problem=problem,
    )


def estimate_nir(path: Path) -> tuple[Estimate, ...]:
    """Sizes after a conversion with some profile: they hardly depend on which."""
    from edgespike.convert.spiking import convert_nir

    return estimates_of(
        [convert_nir(path, dt=NIR_TICK, framework="exact", weights=bits)[1] for bits in WEIGHT_BITS]
    )


def spiking_layers(network: SpikingNetwork) -> list[CheckedLayer]:
    """A row for each population but the input."""
    from edgespike.convert.float_layers import connection_of
    from edgespike.reference import fan_out

    rows = []
    for number, population in enumerate(network.populations[1:], 1):
        macs = weights = 0
        incoming = network.incoming(number)
        for projection in incoming:
            if isinstance(projection.map, Dense | Convolution | Scale):
                source = network.populations[projection.source].shape
                macs += int(fan_out(connection_of(projection.map), source, population.shape).sum())
                weights += projection.map.weight.size
        kinds = " + ".join(dict.fromkeys(kind_of(projection.map) for projection in incoming))
        neuron = population.neuron
        fires = "" if neuron is None else "spikes" if neuron.fires else "membrane"
        rows.append(CheckedLayer(population.name, kinds, population.shape, fires, weights, macs))
    return rows
