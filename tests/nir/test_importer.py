"""What the importer reads, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from literal import LiteralChain, LiteralGraph, Save

from edgespike.convert.discretise import FloatInterpreter, choose_profile
from edgespike.errors import ModelError, UnsupportedError
from edgespike.importers.network import Dense
from edgespike.importers.nir import read_nir

PROFILE = {"dt": 1e-3, "reset": "zero", "compare": "gt", "decay": "exact", "gain": "none"}


def fires_at_once(shape: tuple[int, ...], threshold: float = 0.5) -> Any:
    """An IF neuron that under gain none turns current into spikes tick by tick."""
    return nir.IF(r=np.ones(shape), v_threshold=np.full(shape, threshold))


def lif(shape: tuple[int, ...] = (3,), **changes: Any) -> Any:
    values = {"tau": 0.02, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.5, "v_reset": 0.0, **changes}
    return nir.LIF(
        **{name: np.broadcast_to(np.asarray(value), shape).copy() for name, value in values.items()}
    )


def linear(outputs: int, inputs: int, seed: int = 0) -> Any:
    return nir.Linear(np.random.default_rng(seed).normal(size=(outputs, inputs)))


def conv(inputs: int, outputs: int, kernel: tuple[int, int], **changes: Any) -> Any:
    rng = np.random.default_rng(7)
    arguments = {
        "input_shape": None,
        "stride": (1, 1),
        "padding": (0, 0),
        "dilation": (1, 1),
        "groups": 1,
        "bias": rng.normal(size=outputs),
        **changes,
    }
    groups = arguments["groups"]
    return nir.Conv2d(weight=rng.normal(size=(outputs, inputs // groups, *kernel)), **arguments)


def same_spikes(path: Path, nodes: list[Any], shape: tuple[int, ...], ticks: int = 12) -> None:
    """The imported float network spikes exactly as the nodes do, one by one, in NIR's layout."""
    rng = np.random.default_rng(1)
    network = read_nir(path)
    interpreter = FloatInterpreter(network, choose_profile(**PROFILE))
    literal = LiteralChain(nodes, **PROFILE)
    spikes = 0.0
    for _ in range(ticks):
        x = (rng.random(shape) < 0.4).astype(np.float64)
        wanted = literal.step(x)
        channels_first = np.moveaxis(x.reshape(-1, *(1,) * (3 - x.ndim), *x.shape[1:]), 0, -1)
        got = interpreter.step(channels_first[None])[-1][0]
        np.testing.assert_array_equal(np.moveaxis(got, -1, 0).reshape(wanted.shape), wanted)
        assert network.output_shape == wanted.shape
        spikes += wanted.sum()
    assert 0 < spikes < ticks * wanted.size, "the test network must both spike and be silent"


@pytest.mark.parametrize(
    ("kernel", "changes"),
    [
        ((3, 3), {"padding": (1, 1)}),
        ((3, 2), {"stride": (2, 1), "padding": (0, 1)}),
        ((2, 3), {"dilation": (2, 1), "groups": 2}),
        ((3, 4), {"padding": "same"}),
        ((2, 2), {"padding": "valid", "stride": (1, 2)}),
    ],
)
def test_convolutions_mean_what_nir_says(
    chain: Save, kernel: tuple[int, int], changes: dict[str, Any]
) -> None:
    layer = conv(2, 4, kernel, input_shape=(7, 6), **changes)
    out = tuple(LiteralChain([layer], **PROFILE).step(np.zeros((2, 7, 6))).shape)
    neuron = fires_at_once(out)
    same_spikes(chain((2, 7, 6), out, conv=layer, spike=neuron), [layer, neuron], (2, 7, 6))


@pytest.mark.parametrize(("kernel", "stride", "padding"), [((2, 2), (2, 2), 0), ((3, 2), (2, 1), 1)])
def test_sum_pools_before_and_after_weights(chain: Save, kernel: Any, stride: Any, padding: int) -> None:
    def pool(padding: int) -> Any:
        return nir.SumPool2d(np.array(kernel), np.array(stride), np.array([padding, padding]))

    x = np.zeros((2, 13, 12))
    pooled = LiteralChain([pool(padding)], **PROFILE).step(x).shape
    layer = conv(2, 3, (2, 2), input_shape=pooled[1:])
    layer.weight = np.abs(layer.weight)
    nodes: dict[str, Any] = {"pool_1": pool(padding), "conv": layer, "pool_2": pool(0)}
    out = LiteralChain(list(nodes.values()), **PROFILE).step(x).shape
    nodes["spike"] = fires_at_once(out, 60.0)
    same_spikes(chain(x.shape, out, **nodes), list(nodes.values()), x.shape)


def test_flatten_keeps_nirs_order(chain: Save) -> None:
    nodes = {
        "spike_1": fires_at_once((2, 3, 4)),
        "flatten": nir.Flatten(np.array([2, 3, 4]), 0, -1),
        "spike_2": fires_at_once((24,)),
        "linear": linear(5, 24),
        "spike_3": lif((5,), v_threshold=0.2 + 0.1 * np.arange(5), tau=0.01 + 0.01 * np.arange(5)),
    }
    same_spikes(chain((2, 3, 4), (5,), **nodes), list(nodes.values()), (2, 3, 4))


def test_parameters_by_neuron_and_scalar(chain: Save) -> None:
    rng = np.random.default_rng(3)
    neuron = lif(
        (2, 3, 2),
        r=rng.uniform(0.5, 2, (2, 3, 2)),
        v_leak=rng.normal(size=(2, 3, 2)) * 0.2,
        v_threshold=rng.uniform(0.5, 1, (2, 3, 2)),
        tau=rng.uniform(0.002, 0.05, (2, 3, 2)),
    )
    scalar = nir.IF(r=np.array([2.0]), v_threshold=np.array([1.5]))
    nodes = {"lif": neuron, "if": scalar}
    same_spikes(chain((2, 3, 2), (2, 3, 2), **nodes), list(nodes.values()), (2, 3, 2))


def test_edges_that_meet_add_up(save: Save) -> None:
    nodes = {
        "input": nir.Input(np.array([3])),
        "a": linear(4, 3, 1),
        "b": nir.Affine(linear(4, 3, 2).weight, np.ones(4)),
        "spike": fires_at_once((4,)),
        "output": nir.Output(np.array([4])),
    }
    edges = [("input", "a"), ("input", "b"), ("a", "spike"), ("b", "spike"), ("spike", "output")]
    path = save(nodes, edges)
    together = nir.Affine(nodes["a"].weight + nodes["b"].weight, np.ones(4))
    same_spikes(path, [together, nodes["spike"]], (3,))


def test_two_lif_neurons(data_folder: Path) -> None:
    network = read_nir(data_folder / "nir" / "two_lif_neurons.nir")
    assert [population.name for population in network.populations] == ["in", "lif1", "lif2"]
    first, second = (population.neuron for population in network.populations[1:])
    assert first and second and first.tau is not None
    assert (first.tau.item(), first.v_leak.item(), second.v_threshold.item()) == (0.01, 1.2, 20.0)


def test_a_convolution_of_one_axis(chain: Save) -> None:
    rng = np.random.default_rng(4)
    weight, bias = rng.normal(size=(4, 1, 3)), rng.normal(size=4) * 0.2
    layer = nir.Conv1d(11, weight, stride=2, padding=1, dilation=2, groups=2, bias=bias)
    path = chain((2, 11), (4, 5), conv=layer, spike=fires_at_once((4, 5)))
    network = read_nir(path)
    interpreter = FloatInterpreter(network, choose_profile(**PROFILE))
    x = rng.normal(size=(2, 11))
    (sent,) = interpreter.step(x.T.reshape(1, 1, 11, 2))[-1]
    padded = np.pad(x, ((0, 0), (1, 1)))
    wanted = np.array(
        [
            [
                sum(weight[o, 0, k] * padded[o // 2, 2 * t + 2 * k] for k in range(3)) + bias[o] > 0.5
                for t in range(5)
            ]
            for o in range(4)
        ]
    )
    assert network.output_shape == (4, 5)
    np.testing.assert_array_equal(sent[0].T, wanted)
    assert 0 < wanted.sum() < wanted.size


def test_an_average_pool_is_a_sum_pool_with_smaller_weights(chain: Save) -> None:
    def pool(kind: Any) -> Any:
        return kind(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))

    first, second = conv(2, 3, (3, 3), input_shape=(9, 9)), conv(3, 2, (2, 2), input_shape=(3, 3))
    nodes = {
        "conv_1": first,
        "pool_1": pool(nir.AvgPool2d),
        "spike_1": fires_at_once((3, 3, 3)),
        "conv_2": second,
        "spike_2": fires_at_once((2, 2, 2)),
        "pool_2": pool(nir.AvgPool2d),
        "linear": linear(4, 2),
        "spike_3": fires_at_once((4,), 0.1),
    }
    flatten = {"flatten": nir.Flatten(np.array([2, 1, 1]), 0, -1)}
    order = [*list(nodes)[:6], "flatten", *list(nodes)[6:]]
    averaged = {name: (nodes | flatten)[name] for name in order}
    quarter_conv = nir.Conv2d((9, 9), first.weight / 4, 1, 0, 1, 1, first.bias / 4)
    summed = averaged | {
        "conv_1": quarter_conv,
        "pool_1": pool(nir.SumPool2d),
        "pool_2": pool(nir.SumPool2d),
        "linear": nir.Linear(averaged["linear"].weight / 4),
    }
    same_spikes(chain((2, 9, 9), (4,), **averaged), list(summed.values()), (2, 9, 9), 30)


def test_graphs_within_graphs(save: Save) -> None:
    """A recurrent neuron in a graph of its own, as snnTorch writes it, is that without the graph."""
    back = linear(3, 3, 5)
    inner = nir.NIRGraph(
        {
            "input": nir.Input(np.array([3])),
            "lif": lif(),
            "w_rec": back,
            "output": nir.Output(np.array([3])),
        },
        [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
        type_check=False,
    )
    ends = {"input": nir.Input(np.array([2])), "output": nir.Output(np.array([3]))}
    nodes = {**ends, "fc": linear(3, 2), "layer": inner}
    nested = read_nir(save(nodes, [("input", "fc"), ("fc", "layer"), ("layer", "output")]))
    nodes = {**ends, "fc": linear(3, 2), "layer.lif": lif(), "layer.w_rec": back}
    edges = [("input", "fc"), ("fc", "layer.lif"), ("layer.lif", "layer.w_rec"), ("layer.w_rec", "layer.lif")]
    flat = read_nir(save(nodes, [*edges, ("layer.lif", "output")]))
    assert [p.name for p in nested.populations] == [p.name for p in flat.populations]
    for one, other in zip(nested.projections, flat.projections, strict=True):
        assert (one.source, one.target) == (other.source, other.target)
        assert isinstance(one.map, Dense) and isinstance(other.map, Dense)
        np.testing.assert_array_equal(one.map.weight, other.map.weight)


# ---- refusals ---------------------------------------------------------------


def refuse(path: Path, *words: str, kind: type[ModelError] = ModelError) -> ModelError:
    with pytest.raises(kind) as caught:
        read_nir(path)
    message = caught.value.message
    assert all(word in message for word in words), message
    assert "\n" not in message and caught.value.hint
    return caught.value


def test_the_braille_network(data_folder: Path) -> None:
    """Two populations with synaptic currents; the first reaches itself through a weight with a bias."""
    network = read_nir(data_folder / "nir" / "braille_noDelay_bias_zero.nir")
    assert [p.name for p in network.populations] == ["input", "lif1.lif", "lif2"]
    assert [(p.source, p.target) for p in network.projections] == [(0, 1), (1, 1), (1, 2)]
    with h5py.File(data_folder / "nir" / "braille_noDelay_bias_zero.nir") as file:
        nodes = file["node/nodes"]
        bias = nodes["fc1/bias"][()] + nodes["lif1.w_rec/bias"][()]
        recurrent = nodes["lif1.w_rec/weight"][()]
    np.testing.assert_allclose(network.populations[1].bias.reshape(-1), bias, rtol=1e-6)
    loop = network.projections[1].map
    assert isinstance(loop, Dense)
    np.testing.assert_array_equal(loop.weight, recurrent.T)


def test_what_is_no_nir_file(tmp_path: Path) -> None:
    path = tmp_path / "x.nir"
    assert refuse(path, str(path)).code == "model-missing"
    path.write_bytes(b"this is text, not HDF5")
    assert refuse(path, "not a NIR file").code == "not-nir"
    with h5py.File(path, "w") as file:
        file["weights"] = np.zeros(3)
    assert refuse(path, "no readable NIR graph").code == "not-nir"


def test_a_file_cut_short(chain: Save) -> None:
    path = chain((3,), (3,), spike=lif())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refuse(path, "cut short")


def test_nodes_of_types_nobody_knows(chain: Save) -> None:
    path = chain((3,), (3,), a=linear(3, 3), b=linear(3, 3), c=lif())
    with h5py.File(path, "a") as file:
        for name, kind in (("a", "Resonator"), ("b", "MaxPool2d")):
            del file[f"node/nodes/{name}/type"]
            file[f"node/nodes/{name}/type"] = kind
    refuse(path, "Resonator ('a')", "MaxPool2d ('b')", kind=UnsupportedError)


def test_a_node_without_its_parameters(chain: Save) -> None:
    path = chain((3,), (3,), spike=lif())
    with h5py.File(path, "a") as file:
        del file["node/nodes/spike/tau"]
    assert refuse(path, "tau").code == "nir-invalid"


def test_edges_to_nodes_that_do_not_exist(save: Save) -> None:
    nodes = {"input": nir.Input(np.array([3])), "spike": lif(), "output": nir.Output(np.array([3]))}
    path = save(nodes, [("input", "spike"), ("spike", "outptu"), ("hidden", "output")])
    refuse(path, "'hidden'", "'outptu'")


def test_edges_that_appear_twice(save: Save) -> None:
    nodes = {"input": nir.Input(np.array([3])), "spike": lif(), "output": nir.Output(np.array([3]))}
    path = save(nodes, [("input", "spike"), ("input", "spike"), ("spike", "output")])
    refuse(path, "input -> spike", "twice")


@pytest.mark.parametrize(("key", "value"), [("stride", [1, 1, 1]), ("groups", [1, 2]), ("weight", "many")])
def test_parameters_of_a_strange_kind(chain: Save, key: str, value: Any) -> None:
    path = chain((2, 6, 6), (3,), layer=conv(2, 3, (3, 3), input_shape=(6, 6)), spike=lif())
    with h5py.File(path, "a") as file:
        del file[f"node/nodes/layer/{key}"]
        file[f"node/nodes/layer/{key}"] = value
    refuse(path, str(path))


def test_a_loop_without_a_neuron(save: Save) -> None:
    nodes = {"input": nir.Input(np.array([3])), "a": linear(3, 3), "b": linear(3, 3), "spike": lif()}
    nodes["output"] = nir.Output(np.array([3]))
    edges = [("input", "a"), ("a", "b"), ("b", "a"), ("a", "spike"), ("spike", "output")]
    refuse(save(nodes, edges), "loop without a neuron", "'a'", "'b'", kind=UnsupportedError)


def test_a_loop_of_another_size(save: Save) -> None:
    nodes = {"input": nir.Input(np.array([3])), "spike": lif(), "back": linear(4, 3)}
    nodes["output"] = nir.Output(np.array([3]))
    edges = [("input", "spike"), ("spike", "back"), ("back", "spike"), ("spike", "output")]
    assert refuse(save(nodes, edges), "'spike'", "(4,)", "(3,)").code == "nir-shape"


def test_an_integrator_in_the_middle(chain: Save) -> None:
    leaky = nir.LI(*np.ones((3, 3)))
    refuse(chain((3,), (3,), leaky=leaky, spike=lif()), "'leaky'", "never spikes", kind=UnsupportedError)


def test_a_graph_within_that_has_two_outputs(save: Save) -> None:
    inner = nir.NIRGraph(
        {
            "input": nir.Input(np.array([3])),
            "lif": lif(),
            "a": nir.Output(np.array([3])),
            "b": nir.Output(np.array([3])),
        },
        [("input", "lif"), ("lif", "a"), ("lif", "b")],
        type_check=False,
    )
    nodes = {"input": nir.Input(np.array([3])), "two": inner, "output": nir.Output(np.array([3]))}
    path = save(nodes, [("input", "two"), ("two", "output")])
    refuse(path, "NIRGraph with several inputs or outputs", "'two'", kind=UnsupportedError)


def test_delays_within_a_channel_before_a_convolution(chain: Save) -> None:
    by_pixel = nir.Delay(np.arange(8.0).reshape(2, 2, 2))
    layer = conv(2, 3, (2, 2), input_shape=(2, 2))
    path = chain((2, 2, 2), (3, 1, 1), wait=by_pixel, layer=layer, spike=lif((3, 1, 1)))
    refuse(path, "'layer'", "within a channel", kind=UnsupportedError)


def test_a_negative_delay(chain: Save) -> None:
    path = chain((3,), (3,), wait=nir.Delay(np.array([0.001, -0.002, 0.001])), spike=lif())
    assert refuse(path, "delay of node 'wait'", "-0.002").code == "nir-parameter"


def test_one_input_and_one_output(save: Save) -> None:
    nodes = {"a": nir.Input(np.array([3])), "b": nir.Input(np.array([3])), "spike": lif()}
    path = save(nodes, [("a", "spike"), ("b", "spike")])
    refuse(path, "2 Input nodes", "'a', 'b'", "0 Output nodes", kind=UnsupportedError)


def test_nodes_that_hang_loose(save: Save) -> None:
    nodes = {"input": nir.Input(np.array([3])), "spike": lif(), "lost": linear(3, 3)}
    nodes["output"] = nir.Output(np.array([3]))
    edges = [("input", "spike"), ("spike", "output")]
    refuse(save(nodes, edges), "'lost'", "reached by no edge")
    refuse(save(nodes, [*edges, ("input", "lost")]), "'lost'", "leads nowhere")


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ({"first": linear(4, 5), "spike": lif((4,))}, ("'first'", "(3,)", "(5,)")),
        ({"first": linear(4, 3), "spike": lif((5,))}, ("'spike'", "(4,)", "(5,)")),
        ({"first": conv(2, 3, (3, 3)), "spike": lif((3,))}, ("'first'", "(3,)")),
        (
            {"first": nir.Affine(np.ones((4, 3)), np.ones(5)), "spike": lif((4,))},
            ("'first'", "bias", "(5,)", "(4,)"),
        ),
        (
            {"first": nir.Flatten(np.array([2, 3]), 0, -1), "spike": lif((6,))},
            ("'first'", "(3,)", "(2, 3)"),
        ),
    ],
)
def test_shapes_that_do_not_match(chain: Save, nodes: dict[str, Any], words: tuple[str, ...]) -> None:
    for node in nodes.values():
        if isinstance(node, nir.Conv2d):
            node.input_shape = (4, 4)
    assert refuse(chain((3,), (4,), **nodes), *words).code == "nir-shape"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input_shape": (5, 5)}, ("(2, 6, 6)", "(5, 5)")),
        ({"input_shape": (6, 6), "padding": "same", "stride": (2, 2)}, ("same",)),
        ({"input_shape": (6, 6), "dilation": (4, 4)}, ("does not fit", "6 x 6")),
    ],
)
def test_convolutions_that_do_not_fit(chain: Save, changes: dict[str, Any], words: tuple[str, ...]) -> None:
    path = chain((2, 6, 6), (3,), layer=conv(2, 3, (3, 3), **changes), spike=lif())
    refuse(path, "'layer'", *words)


@pytest.mark.parametrize("shape", [(1 << 30,), (2, 70000, 1), (64, 1024, 1024)])
def test_inputs_larger_than_a_model_file_holds(chain: Save, shape: tuple[int, ...]) -> None:
    path = chain(shape, shape, spike=nir.IF(np.ones(1), np.ones(1)))
    refuse(path, "'input'", "more than 2^24", kind=UnsupportedError)


def test_a_convolution_of_another_channel_count(chain: Save) -> None:
    path = chain((3, 6, 6), (3,), layer=conv(2, 3, (3, 3), input_shape=(6, 6)), spike=lif())
    refuse(path, "'layer'", "2 channels")


def test_a_flatten_that_keeps_an_axis_explains_itself(chain: Save) -> None:
    nodes = {"flatten": nir.Flatten(np.array([2, 3, 3]), 1, -1), "linear": linear(4, 18), "spike": lif((4,))}
    error = refuse(chain((2, 3, 3), (4,), **nodes), "'linear'", "(2, 9)", "(18,)")
    assert "start_dim 0" in error.hint


@pytest.mark.parametrize(
    ("neuron", "words"),
    [
        (lif(tau=np.array([0.01, 0.0, 0.01])), ("tau", "positive")),
        (lif(tau=-0.01), ("tau", "-0.01")),
        (lif(v_threshold=np.array([1, 0, 1.0])), ("v_threshold", "positive")),
        (lif(r=0.0), ("r of", "positive")),
        (lif(v_leak=np.array([0, np.nan, 0])), ("v_leak", "NaN")),
        (lif(v_reset=np.inf), ("v_reset", "infinity")),
        (nir.Threshold(np.array([1, -0.5, 1.0])), ("threshold", "-0.5", "positive")),
        (nir.CubaLIF(*np.array([[1.0] * 3, [1.0, 0.0, 1.0], *[[1.0] * 3] * 3])), ("tau_mem", "is 0")),
        (nir.CubaLIF(*np.array([[-2.0] * 3, *[[1.0] * 3] * 4])), ("tau_syn", "is -2")),
    ],
)
def test_parameters_that_make_no_neuron(chain: Save, neuron: Any, words: tuple[str, ...]) -> None:
    assert refuse(chain((3,), (3,), spike=neuron), "'spike'", *words).code == "nir-parameter"


def test_weights_that_are_not_finite(chain: Save) -> None:
    weight = np.ones((3, 3))
    weight[1, 2] = np.nan
    refuse(chain((3,), (3,), layer=nir.Linear(weight), spike=lif()), "'layer'", "weight", "NaN")


def test_a_readout_without_neurons(chain: Save) -> None:
    path = chain((3,), (2,), spike=lif(), readout=linear(2, 3))
    refuse(path, "'output'", "sum of spikes", kind=UnsupportedError)


def test_a_graph_without_neurons(chain: Save) -> None:
    refuse(chain((3,), (3,)), "no spiking population", kind=UnsupportedError)


def test_a_convolution_behind_weights(chain: Save) -> None:
    first, second = conv(2, 3, (3, 3), input_shape=(6, 6)), conv(3, 2, (2, 2), input_shape=(4, 4))
    path = chain((2, 6, 6), (2, 3, 3), a=first, b=second, spike=lif((2, 3, 3)))
    refuse(path, "'b'", "second weighted node", kind=UnsupportedError)


def test_axes_that_a_flatten_has_merged(chain: Save) -> None:
    layer = nir.Conv1d(12, np.ones((3, 2, 3)), 1, 0, 1, 1, np.zeros(3))
    nodes = {"flatten": nir.Flatten(np.array([2, 3, 4]), 1, -1), "layer": layer, "spike": lif((3, 10))}
    refuse(chain((2, 3, 4), (3, 10), **nodes), "'layer'", "Flatten", kind=UnsupportedError)


def test_a_pool_with_padding_behind_weights(chain: Save) -> None:
    pool = nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([1, 1]))
    nodes = {"layer": conv(2, 3, (3, 3), input_shape=(6, 6)), "pool": pool, "spike": lif((3, 3, 3))}
    refuse(chain((2, 6, 6), (3, 3, 3), **nodes), "'pool'", "padding", kind=UnsupportedError)


@pytest.mark.parametrize("edge", [("spike", "input"), ("output", "spike")])
def test_edges_against_the_ends(save: Save, edge: tuple[str, str]) -> None:
    nodes = {"input": nir.Input(np.array([3])), "spike": lif(), "output": nir.Output(np.array([3]))}
    path = save(nodes, [("input", "spike"), ("spike", "output"), edge])
    assert refuse(path, f"{edge[0]!r} -> {edge[1]!r}").code == "nir-edge"


def test_a_readout_that_leads_back(save: Save) -> None:
    nodes = {"input": nir.Input(np.array([3])), "leaky": nir.LI(*np.ones((3, 3))), "back": linear(3, 3)}
    nodes["output"] = nir.Output(np.array([3]))
    edges = [("input", "leaky"), ("leaky", "back"), ("back", "leaky"), ("leaky", "output")]
    refuse(save(nodes, edges), "'leaky'", "never spikes", kind=UnsupportedError)


# ---- loops and outputs ------------------------------------------------------


def rasters(path: Path, x: Any, shape: tuple[int, ...]) -> Any:
    """What leaves the output's neurons, tick by tick, in NIR's order."""
    interpreter = FloatInterpreter(read_nir(path), choose_profile(**PROFILE))
    out = [interpreter.step(row.reshape(1, 1, 1, -1))[-1][0] for row in x]
    return np.array([np.moveaxis(values, -1, 0).reshape(shape) for values in out])


def test_a_neuron_that_only_its_own_spikes_reach(save: Save) -> None:
    """A pacemaker: its leak potential lies above the threshold."""
    nodes = {
        "input": nir.Input(np.array([2])),
        "weights": nir.Linear(np.eye(2)),
        "pace": lif((2,), v_leak=np.array([1.0, 2.0])),
        "slower": nir.Linear(np.full((2, 2), -0.1)),
        "last": fires_at_once((2,)),
        "output": nir.Output(np.array([2])),
    }
    edges = [("input", "weights"), ("weights", "last"), ("pace", "slower"), ("slower", "pace")]
    edges += [("pace", "last"), ("last", "output")]
    ours = rasters(save(nodes, edges), np.zeros((60, 2)), (2,))
    literal = LiteralGraph(nodes, edges, [("slower", "pace")], PROFILE)
    np.testing.assert_array_equal(ours, [literal.step(np.zeros(2))["last"] for _ in range(60)])
    assert (ours.sum(axis=0) > 1).all() and not ours[0].any()


@pytest.mark.parametrize("ticks", [0, 1, 2, 5])
def test_a_loop_with_a_delay_takes_the_delay(save: Save, ticks: int) -> None:
    """And a tick where that is longer."""
    nodes = {
        "input": nir.Input(np.array([1])),
        "spike": fires_at_once((1,)),
        "wait": nir.Delay(np.array([ticks * 1e-3])),
        "output": nir.Output(np.array([1])),
    }
    path = save(nodes, [("input", "spike"), ("spike", "wait"), ("wait", "spike"), ("spike", "output")])
    ours = rasters(path, np.eye(12)[:, :1], (1,))
    assert np.flatnonzero(ours).tolist() == list(range(0, 12, max(ticks, 1)))


def test_an_output_that_other_neurons_take(save: Save, chain: Save) -> None:
    """It excites a population that stops it: the scores are those of a copy."""
    nodes = {
        "input": nir.Input(np.array([3])),
        "excite": nir.Linear(np.eye(3)),
        "a": fires_at_once((3,)),
        "spread": nir.Linear(np.ones((2, 3))),
        "b": fires_at_once((2,), 1.5),
        "stop": nir.Linear(np.full((3, 2), -1.0)),
        "output": nir.Output(np.array([3])),
    }
    edges = [("input", "excite"), ("excite", "a"), ("a", "spread"), ("spread", "b"), ("b", "stop")]
    path = save(nodes, [*edges, ("stop", "a"), ("a", "output")])
    network = read_nir(path)
    assert [population.name for population in network.populations] == ["input", "a", "b", "output"]
    x = (np.random.default_rng(2).random((40, 3)) < 0.6).astype(float)
    literal = LiteralGraph(nodes, [*edges, ("stop", "a")], [("stop", "a")], PROFILE)
    wanted = np.array([literal.step(row)["a"] for row in x])
    np.testing.assert_array_equal(rasters(path, x, (3,)), wanted)
    assert 10 < wanted.sum() < x.sum()


def test_a_flattened_population_whose_loop_is_a_vector(save: Save) -> None:
    rng = np.random.default_rng(9)
    nodes = {
        "input": nir.Input(np.array([2, 4, 4])),
        "conv": conv(2, 3, (3, 3), input_shape=(4, 4)),
        "flatten": nir.Flatten(np.array([3, 2, 2]), 0, -1),
        "spike": fires_at_once((12,)),
        "back": nir.Linear(rng.normal(size=(12, 12))),
        "output": nir.Output(np.array([12])),
    }
    edges = [("input", "conv"), ("conv", "flatten"), ("flatten", "spike"), ("spike", "back")]
    edges += [("back", "spike"), ("spike", "output")]
    interpreter = FloatInterpreter(read_nir(save(nodes, edges)), choose_profile(**PROFILE))
    literal = LiteralGraph(nodes, edges, [("back", "spike")], PROFILE)
    for _ in range(20):
        x = (rng.random((2, 4, 4)) < 0.5).astype(float)
        ours = interpreter.step(np.moveaxis(x, 0, -1)[None])[-1].reshape(-1)
        np.testing.assert_array_equal(ours, literal.step(x)["spike"])
