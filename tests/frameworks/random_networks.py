"""Random networks of each framework, exported to NIR by its own exporter.

A builder is named FRAMEWORK_KIND, takes the seed of its settings, and gives a `Built`. Where an exporter
cannot write a loop, its nodes are the exporter's and the loop is added to the graph by hand, as
its users have to do.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import nir
import torch
from torch import nn


@dataclass
class Built:
    """A torch module, its NIR graph, the shape of a tick's input, and what convert_nir is to be told."""

    module: Any
    graph: nir.NIRGraph
    shape: tuple[int, ...]
    dt: float
    options: dict[str, Any] = field(default_factory=dict)


def between(low: float, high: float, *shape: int) -> torch.Tensor:
    return torch.rand(*shape) * (high - low) + low


def linear(inputs: int, outputs: int, bias: bool = True, scale: float = 1.0) -> nn.Linear:
    """Weights that make neurons of threshold 1 spike now and then."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.normal_(layer.weight, 0.15 * scale, 1.2 * scale / inputs**0.5)
    return layer


def convolution(inputs: int, outputs: int, size: int, bias: bool = True, **window: Any) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, size, bias=bias, **window)
    nn.init.normal_(layer.weight, 0.1, 1.0 / layer.weight[0].numel() ** 0.5)
    return layer


def with_loop(graph: nir.NIRGraph, spiking: str, back: nir.NIRNode) -> nir.NIRGraph:
    """The graph with a connection from a population back to itself."""
    name = f"{spiking}_back"
    nodes = {**graph.nodes, name: back}
    return nir.NIRGraph(nodes, [*graph.edges, (spiking, name), (name, spiking)], type_check=False)


class Loop(nn.Module):
    """A chain of four whose second, a population, hears through ``back`` what it sent a tick ago.

    The parts are named as the exporter names those of the chain.
    """

    def __init__(self, layers: list[nn.Module], back: nn.Linear, prefix: str = "") -> None:
        super().__init__()
        for number, part in enumerate(layers):
            self.add_module(f"{prefix}{number}", part)
        self.layers, self.back = layers, back


# ---- snnTorch ---------------------------------------------------------------


def snntorch_neuron(kind: str, shape: tuple[int, ...], **settings: Any) -> Any:
    """One parameter for each neuron: with fewer, snnTorch 1.0.0 refuses its own graph."""
    snn = importlib.import_module("snntorch")
    values: dict[str, Any] = {"beta": between(0.5, 0.95, *shape), "threshold": between(0.6, 1.2, *shape)}
    if kind == "Synaptic":
        values["alpha"] = between(0.3, 0.8, *shape)
    return getattr(snn, kind)(**values, init_hidden=True, **settings)


def snntorch_export(module: nn.Module, *shape: int) -> nir.NIRGraph:
    exporter = importlib.import_module("snntorch.export_nir")
    return exporter.export_to_nir(module, torch.rand(1, *shape), ignore_dims=[0])


RESETS = [  # what the neurons are told, and the profile's reset; None: the profile's own
    ({"reset_mechanism": "zero"}, None),
    ({"reset_mechanism": "subtract"}, "subtract-delayed"),
    ({"reset_mechanism": "none"}, "none"),
]


def snntorch_feed_forward(seed: int) -> Built:
    settings, reset = RESETS[seed % 3]
    module = nn.Sequential(
        linear(8, 20),
        snntorch_neuron("Leaky", (20,), **settings),
        linear(20, 15, bias=False),
        snntorch_neuron("Leaky", (15,), **settings),
        linear(15, 6),
        snntorch_neuron("Leaky", (6,), **settings),
    )
    return Built(module, snntorch_export(module, 8), (8,), 1e-4, {"reset": reset})


def snntorch_synaptic(seed: int) -> Built:
    settings, reset = RESETS[seed % 3]
    if settings["reset_mechanism"] == "zero":
        reset = "zero-delayed"  # a Synaptic's; a Leaky sets v to 0 before its input
    module = nn.Sequential(
        linear(8, 20),
        snntorch_neuron("Synaptic", (20,), **settings),
        linear(20, 6),
        snntorch_neuron("Synaptic", (6,), **settings),
    )
    return Built(module, snntorch_export(module, 8), (8,), 1e-4, {"reset": reset})


def snntorch_convolutional(seed: int) -> Built:
    settings, reset = RESETS[seed % 2]
    module = nn.Sequential(
        convolution(2, 4, 3, padding=1),
        snntorch_neuron("Leaky", (4, 9, 8), **settings),
        nn.AvgPool2d(2),
        convolution(4, 6, 3, stride=(2, 1), padding=(1, 0), groups=2, bias=False),
        snntorch_neuron("Leaky", (6, 2, 2), **settings),
        nn.Flatten(),
        linear(24, 5),
        snntorch_neuron("Leaky", (5,), **settings),
    )
    return Built(module, snntorch_export(module, 2, 9, 8), (2, 9, 8), 1e-4, {"reset": reset})


def snntorch_recurrent(seed: int) -> Built:
    snn = importlib.import_module("snntorch")
    settings, reset = RESETS[1 + seed % 2]
    beta = between(0.5, 0.9, 12)
    if seed % 3 == 0:
        neuron = snn.RLeaky(
            beta=beta, all_to_all=False, V=between(-0.6, 0.6, 12), init_hidden=True, **settings
        )
    elif seed % 3 == 1:
        neuron = snn.RLeaky(beta=beta, linear_features=12, init_hidden=True, **settings)
    else:
        alpha = between(0.3, 0.7, 12)
        neuron = snn.RSynaptic(alpha=alpha, beta=beta, linear_features=12, init_hidden=True, **settings)
    module = nn.Sequential(linear(8, 12), neuron, linear(12, 5), snntorch_neuron("Leaky", (5,), **settings))
    return Built(module, snntorch_export(module, 8), (8,), 1e-4, {"reset": reset})


# ---- Norse ------------------------------------------------------------------


def norse_export(module: Any, *shape: int) -> nir.NIRGraph:
    exporter = importlib.import_module("norse.torch.utils.export_nir")
    graph = exporter.to_nir(module, torch.rand(*shape))  # without a batch: Norse 1.1.0 exports that axis
    graph.infer_types()  # without it nir 1.0.8 does not write convolutions
    return graph


def norse_neuron(kind: str, *shape: int) -> Any:
    norse = importlib.import_module("norse.torch")
    if kind == "IAF":
        return norse.IAFCell(norse.IAFParameters(v_th=between(0.6, 1.2, *shape)))
    values = {"tau_mem_inv": between(100, 400, *shape), "v_leak": between(-0.1, 0.1, *shape)}
    if kind == "LIBox":
        parameters = importlib.import_module("norse.torch.functional.leaky_integrator_box").LIBoxParameters
        return norse.LIBoxCell(parameters(**values))
    values["v_th"] = between(0.3, 0.6, *shape)
    if kind == "LIF":
        values["tau_syn_inv"] = between(200, 600, *shape)
        return norse.LIFCell(norse.LIFParameters(**values))
    return norse.LIFBoxCell(norse.LIFBoxParameters(**values))


def norse_feed_forward(seed: int) -> Built:
    norse = importlib.import_module("norse.torch")
    module = norse.SequentialState(
        linear(8, 20),
        norse_neuron("LIF", 20),
        linear(20, 15),
        norse_neuron("LIFBox", 15),
        linear(15, 6),
        norse_neuron("IAF", 6),
    )
    return Built(module, norse_export(module, 8), (8,), 1e-3)


def norse_convolutional(seed: int) -> Built:
    norse = importlib.import_module("norse.torch")
    module = norse.SequentialState(
        convolution(2, 4, 3, padding=1),
        norse_neuron("LIFBox", 4, 9, 9),
        convolution(4, 6, 3, stride=2, dilation=2, groups=2),
        norse_neuron("LIF", 6, 3, 3),
        convolution(6, 5, 3),  # no Flatten: Norse 1.1.0 does not export it
        norse_neuron("IAF", 5, 1, 1),
    )
    return Built(module, norse_export(module, 2, 9, 9), (2, 9, 9), 1e-3)


class NorseLoop(Loop):
    """Norse 1.1.0 exports no recurrent module."""

    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        enter, spiking, leave, last = self.layers
        sent, first, second = state or (torch.zeros(len(x), self.back.in_features), None, None)
        sent, first = spiking(enter(x) + self.back(sent), first)
        out, second = last(leave(sent), second)
        return out, (sent, first, second)


def norse_recurrent(seed: int) -> Built:
    exporter = importlib.import_module("norse.torch.utils.export_nir")
    norse = importlib.import_module("norse.torch")
    spiking = norse_neuron("LIF" if seed % 2 else "LIFBox", 12)
    layers = [linear(8, 12), spiking, linear(12, 5), norse_neuron("LIFBox", 5)]
    back = linear(12, 12)
    graph = norse_export(norse.SequentialState(*layers), 8)
    graph = with_loop(graph, "1", exporter._extract_norse_module(back))
    return Built(NorseLoop(layers, back), graph, (8,), 1e-3)


# ---- Sinabs -----------------------------------------------------------------


def sinabs_export(module: nn.Module, *shape: int) -> nir.NIRGraph:
    exporter = importlib.import_module("sinabs.nir")
    graph = exporter.to_nir(module, torch.rand(1, *shape))
    graph.infer_types()  # without it nir 1.0.8 does not write convolutions
    return graph


def sinabs_neuron(kind: str, size: int, **settings: Any) -> Any:
    layers = importlib.import_module("sinabs.layers")
    if kind == "LIF":
        settings["tau_mem"] = between(2.0, 8.0, size)
        threshold = between(0.1, 0.3, size) if settings.get("norm_input", True) else between(0.8, 1.6, size)
        return layers.LIFSqueeze(spike_threshold=threshold, batch_size=1, **settings)
    return layers.IAFSqueeze(spike_threshold=torch.tensor(1.7), batch_size=1)


def sinabs_feed_forward(seed: int) -> Built:
    norm = seed % 2 == 0
    module = nn.Sequential(
        linear(8, 20),
        sinabs_neuron("LIF", 20, norm_input=norm),
        linear(20, 15, bias=False),
        sinabs_neuron("IAF", 15),
        linear(15, 6),
        sinabs_neuron("LIF", 6, norm_input=norm),
    )
    return Built(module, sinabs_export(module, 8), (8,), 1e-3, {} if norm else {"gain": "none"})


def sinabs_convolutional(seed: int) -> Built:
    layers = importlib.import_module("sinabs.layers")
    module = nn.Sequential(
        convolution(2, 4, 3, padding=1, bias=False),
        sinabs_neuron("IAF", 0),
        layers.SumPool2d(2),
        convolution(4, 6, 3, padding=1, groups=2),
        sinabs_neuron("IAF", 0),
        layers.SumPool2d((2, 1)),
        nn.Flatten(),
        linear(48, 5, scale=0.3),
        sinabs_neuron("IAF", 0),
    )
    return Built(module, sinabs_export(module, 2, 9, 8), (2, 9, 8), 1e-3)


def sinabs_one_dimensional(seed: int) -> Built:
    module = nn.Sequential(
        nn.Conv1d(2, 4, 3, padding=1),
        sinabs_neuron("IAF", 0),
        nn.Flatten(),
        linear(40, 5),
        sinabs_neuron("LIF", 5),
    )
    nn.init.normal_(module[0].weight, 0.3, 0.5)
    return Built(module, sinabs_export(module, 2, 10), (2, 10), 1e-3)


def sinabs_recurrent(seed: int) -> Built:
    """Sinabs 3.1.3 exports the same layers without their loops only."""
    layers = importlib.import_module("sinabs.layers")
    exporter = importlib.import_module("sinabs.nir")
    back = nn.Linear(12, 12, bias=False)  # Sinabs adds a bias from the second tick on
    nn.init.normal_(back.weight, -0.05, 0.15)
    tau, threshold = between(2.0, 8.0, 12), between(0.2, 0.4, 12)
    flat, loop = (
        (
            layers.LIF(tau_mem=tau, spike_threshold=threshold),
            layers.LIFRecurrent(tau_mem=tau, spike_threshold=threshold, rec_connect=back),
        )
        if seed % 2
        else (layers.IAF(), layers.IAFRecurrent(rec_connect=back))
    )
    first, second, last = linear(8, 12), linear(12, 5), layers.IAF()
    graph = sinabs_export_sequence(nn.Sequential(first, flat, second, last), 8)
    graph = with_loop(graph, "1", exporter._extract_sinabs_module(back))
    return Built(nn.Sequential(first, loop, second, last), graph, (8,), 1e-3)


def sinabs_export_sequence(module: nn.Module, size: int) -> nir.NIRGraph:
    """Layers without Squeeze take a time axis too; the graph must not have it."""
    exporter = importlib.import_module("sinabs.nir")
    graph = exporter.to_nir(module, torch.rand(1, 1, size))
    shape = {"input": nir.Input([size]), "output": nir.Output([module[2].out_features])}
    for name in ("1", "3"):
        node = graph.nodes[name]
        if isinstance(node, nir.IF):
            shape[name] = nir.IF(node.r.reshape(-1), node.v_threshold.reshape(-1))
    return nir.NIRGraph({**graph.nodes, **shape}, graph.edges, type_check=False)


# ---- SpikingJelly -----------------------------------------------------------


def spikingjelly_export(module: nn.Module, *shape: int) -> nir.NIRGraph:
    exchange = importlib.import_module("spikingjelly.activation_based.nir_exchange")
    return exchange.export_to_nir(module, torch.rand(1, *shape), dt=1e-3)


def spikingjelly_neuron(kind: str, **settings: Any) -> Any:
    neuron = importlib.import_module("spikingjelly.activation_based.neuron")
    if kind == "CUBALIFNode":
        return neuron.CUBALIFNode(c_decay=0.4, v_decay=0.6, v_threshold=1.3, **settings)
    return getattr(neuron, kind)(**settings)


def spikingjelly_feed_forward(seed: int) -> Built:
    soft = {"decay_input": seed % 2 == 0, "v_reset": (0.0, 0.1, -0.1)[seed % 3]}
    scale = {"v_threshold": 0.25 if soft["decay_input"] else 0.8}
    module = nn.Sequential(
        linear(8, 20),
        spikingjelly_neuron("LIFNode", tau=between(1.5, 4.0, 1).item(), **soft, **scale),
        linear(20, 15, bias=False),
        spikingjelly_neuron("CUBALIFNode", v_reset=soft["v_reset"]),
        linear(15, 12),
        spikingjelly_neuron("ParametricLIFNode", init_tau=2.5, **soft, **scale),
        linear(12, 6),
        spikingjelly_neuron("IFNode", v_reset=soft["v_reset"]),
    )
    return Built(module, spikingjelly_export(module, 8), (8,), 1e-3)


def spikingjelly_convolutional(seed: int) -> Built:
    module = nn.Sequential(
        convolution(2, 4, 3, padding=1),
        spikingjelly_neuron("LIFNode", tau=2.5, decay_input=False),
        nn.AvgPool2d(2),
        convolution(4, 6, 3, stride=(2, 1), padding=(1, 0), bias=False),
        spikingjelly_neuron("IFNode"),
        nn.Flatten(),
        linear(24, 5),
        spikingjelly_neuron("LIFNode", tau=2.0, v_threshold=0.4),
    )
    return Built(module, spikingjelly_export(module, 2, 9, 8), (2, 9, 8), 1e-3)


class SpikingJellyLoop(Loop):
    """As its LinearRecurrentContainer, which SpikingJelly 2.0.0 does not trace."""

    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        enter, spiking, leave, last = self.layers
        sent = torch.zeros(len(x), enter.out_features) if state is None else state
        sent = spiking(enter(x) + self.back(sent))
        return last(leave(sent)), sent


def spikingjelly_recurrent(seed: int) -> Built:
    back = nn.Linear(12, 12)
    nn.init.normal_(back.weight, -0.05, 0.2)
    kind = ("LIFNode", "CUBALIFNode", "IFNode")[seed % 3]
    settings = {"v_threshold": 0.5} if kind == "LIFNode" else {}
    layers = [
        linear(8, 12),
        spikingjelly_neuron(kind, **settings),
        linear(12, 5),
        spikingjelly_neuron("IFNode"),
    ]
    graph = spikingjelly_export(nn.Sequential(*layers), 8)
    loop = nir.Affine(back.weight.detach().numpy(), back.bias.detach().numpy())
    return Built(SpikingJellyLoop(layers, back, "_"), with_loop(graph, "_1", loop), (8,), 1e-3)


# ---- Rockpool ---------------------------------------------------------------


def rockpool_feed_forward(seed: int) -> Built:
    modules = importlib.import_module("rockpool.nn.modules.torch")
    combinators = importlib.import_module("rockpool.nn.combinators")
    exporter = importlib.import_module("rockpool.nn.modules.torch.nir")
    module = combinators.Sequential(
        modules.LinearTorch((8, 20), has_bias=True),
        modules.LIFTorch(20, tau_mem=between(4e-3, 9e-3, 20), tau_syn=between(2e-3, 6e-3, 20, 1), dt=1e-3),
        modules.LinearTorch((20, 6)),
        modules.LIFNeuronTorch(6, tau_mem=5e-3, dt=1e-3),
    )
    return Built(module, exporter.to_nir(module), (8,), 1e-3)


def build(framework: str, kind: str, seed: int) -> Built:
    """A random network: always the same one for the same arguments."""
    torch.manual_seed(seed)
    builder: Callable[[int], Built] = globals()[f"{framework}_{kind}"]
    return builder(seed)
