"""Synaptic currents, loops, delays and readouts from NIR, against plain loops in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from literal import Save

from edgespike.convert import Calibration
from edgespike.convert.discretise import FloatInterpreter, choose_profile
from edgespike.convert.spiking import convert_nir
from edgespike.errors import ModelError, UnsupportedError, UsageError
from edgespike.graph import IntegrateAndFire, Readout
from edgespike.importers.nir import read_nir
from edgespike.session import InferenceSession

DT = 1e-4
TICKS = 150


def whole_weights(rng: np.random.Generator, outputs: int, inputs: int, low: int = -110) -> np.ndarray:
    """Weights that int8 holds: whole multiples of a unit, the greatest of each row 127."""
    whole = rng.integers(low, 128, (outputs, inputs)).astype(np.float64)
    whole[:, 0] = 127
    return whole / 127 / np.sqrt(inputs)


def cuba(size: int, rng: np.random.Generator, **changes: Any) -> Any:
    """A CubaLIF of different neurons, with gains of 1 under snnTorch's step."""
    tau_syn, tau_mem = rng.uniform(2e-4, 6e-4, size), rng.uniform(5e-4, 2e-3, size)
    values = {
        "tau_syn": tau_syn,
        "tau_mem": tau_mem,
        "r": tau_mem / DT,
        "w_in": tau_syn / DT,
        "v_leak": np.zeros(size),
        "v_threshold": rng.uniform(0.8, 1.5, size),
        "v_reset": np.zeros(size),
    }
    return nir.CubaLIF(**(values | changes))


def recurrent(save: Save, rng: np.random.Generator) -> tuple[Path, dict[str, Any]]:
    unit = whole_weights(rng, 20, 8)
    # both ways into the first population count in the same unit of its weights
    nodes: dict[str, Any] = {
        "input": nir.Input(np.array([8])),
        "fc1": nir.Affine(unit, rng.normal(0, 0.02, 20)),
        "lif1": cuba(20, rng),
        "back": nir.Affine(np.round(rng.normal(0, 30, (20, 20))) / 127 / np.sqrt(8), rng.normal(0, 0.02, 20)),
        "fc2": nir.Linear(whole_weights(rng, 5, 20)),
        "lif2": cuba(5, rng),
        "output": nir.Output(np.array([5])),
    }
    edges = [("input", "fc1"), ("fc1", "lif1"), ("lif1", "back"), ("back", "lif1"), ("lif1", "fc2")]
    return save(nodes, [*edges, ("fc2", "lif2"), ("lif2", "output")]), nodes


def snntorch(nodes: dict[str, Any], x: np.ndarray, reset: str) -> tuple[np.ndarray, np.ndarray]:
    """snnTorch's RSynaptic and Synaptic, step by step: spikes of both populations."""

    def coefficients(node: Any) -> tuple[np.ndarray, np.ndarray]:
        return 1 - DT / node.tau_syn, 1 - DT / node.tau_mem

    def fire(node: Any, mem: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        spikes = (mem > node.v_threshold).astype(float)
        if reset == "zero":
            mem = mem * (1 - spikes)
        elif reset == "subtract":
            mem = mem - spikes * node.v_threshold
        return spikes, mem

    (alpha1, beta1), (alpha2, beta2) = coefficients(nodes["lif1"]), coefficients(nodes["lif2"])
    syn1, mem1, spk1 = np.zeros(20), np.zeros(20), np.zeros(20)
    syn2, mem2, spk2 = np.zeros(5), np.zeros(5), np.zeros(5)
    delayed = reset == "subtract-delayed"
    hidden, out = [], []
    for current in x:
        drive = nodes["fc1"].weight @ current + nodes["fc1"].bias
        syn1 = alpha1 * syn1 + drive + nodes["back"].weight @ spk1 + nodes["back"].bias
        mem1 = beta1 * mem1 + syn1 - delayed * spk1 * nodes["lif1"].v_threshold
        spk1, mem1 = fire(nodes["lif1"], mem1)
        syn2 = alpha2 * syn2 + nodes["fc2"].weight @ spk1
        mem2 = beta2 * mem2 + syn2 - delayed * spk2 * nodes["lif2"].v_threshold
        spk2, mem2 = fire(nodes["lif2"], mem2)
        hidden.append(spk1)
        out.append(spk2)
    return np.array(hidden), np.array(out)


def spikes(rng: np.random.Generator, size: int, ticks: int = TICKS) -> np.ndarray:
    return (rng.random((ticks, size)) < 0.15).astype(np.float32)


def raster(graph: Any, backend: str, sample: np.ndarray, **device: Any) -> np.ndarray:
    """Output spikes (ticks, scores)."""
    with InferenceSession(graph, backend, **device) as session:
        counts = [np.zeros(graph.populations[-1].size, np.int32)]
        events = session.sample_events(sample)
        for tick in range(len(sample)):
            session.backend.push(events[events["tick"] == tick])
            session.backend.advance(tick + 1)
            counts.append(session.backend.output())
    return np.diff(counts, axis=0)


@pytest.mark.parametrize("reset", ["zero", "subtract", "subtract-delayed", "none"])
@pytest.mark.parametrize("seed", range(3))
def test_a_recurrent_network_spikes_as_in_snntorch(save: Save, seed: int, reset: str) -> None:
    rng = np.random.default_rng(seed)
    path, nodes = recurrent(save, rng)
    sample = spikes(rng, 8)
    hidden, wanted = snntorch(nodes, sample, reset)
    assert 20 < wanted.sum() < 700 and hidden.sum() > 100
    interpreter = FloatInterpreter(read_nir(path), choose_profile(dt=DT, reset=reset, framework="snntorch"))
    floats = np.array([interpreter.step(x.reshape(1, 1, 1, -1))[-1].reshape(-1) for x in sample])
    np.testing.assert_array_equal(floats, wanted)
    graph, _ = convert_nir(path, dt=DT, framework="snntorch", reset=reset)
    ours = raster(graph, "cpu", sample)
    np.testing.assert_array_equal(raster(graph, "reference", sample), ours)
    np.testing.assert_array_equal(ours, wanted)
    if seed == 0:
        np.testing.assert_array_equal(raster(graph, "device", sample, port="emulated"), ours)


@pytest.mark.parametrize("framework", ["snntorch", "norse"])
def test_the_braille_network_runs(data_folder: Path, framework: str) -> None:
    path = data_folder / "nir" / "braille_noDelay_bias_zero.nir"
    rng = np.random.default_rng(0)
    x = np.stack([spikes(rng, 12, 256) for _ in range(3)])
    graph, report = convert_nir(path, dt=DT, framework=framework, calibration=Calibration(x))
    assert report.agreement == 1.0 and not report.warnings
    assert [layer.error for layer in report.layers[1:]] == pytest.approx([0, 0], abs=0.05)
    scores = InferenceSession(graph, "cpu").scores(x)
    assert scores.sum() > 100
    np.testing.assert_array_equal(InferenceSession(graph, "reference").scores(x), scores)


@pytest.mark.parametrize("port", ["emulated", "qemu"])
def test_a_recurrent_network_on_a_board(save: Save, port: str, request: pytest.FixtureRequest) -> None:
    rng = np.random.default_rng(11)
    graph, _ = convert_nir(recurrent(save, rng)[0], dt=DT, framework="snntorch", reset="subtract-delayed")
    samples = np.stack([spikes(rng, 8, 60) for _ in range(3)])
    expected = InferenceSession(graph, "reference").scores(samples)
    assert expected.sum() > 50
    address = f"qemu:{request.getfixturevalue('firmware')}" if port == "qemu" else port
    with InferenceSession(graph, "device", port=address) as board:
        np.testing.assert_array_equal(board.scores(samples), expected)


def test_sinabs_and_rockpool_spike_several_times_in_a_tick(chain: Save) -> None:
    neuron = nir.IF(np.full(1, 1.0 / DT), np.ones(1))
    path = chain((1,), (1,), layer=nir.Linear(np.full((1, 1), 2.6)), spike=neuron)
    graph, _ = convert_nir(path, dt=DT, framework="sinabs")
    assert raster(graph, "cpu", np.array([[1.0], [1.0], [0.0]])).tolist() == [[2], [3], [0]]
    graph, _ = convert_nir(path, dt=DT, framework="sinabs", max_spikes=1)
    assert raster(graph, "cpu", np.array([[1.0], [1.0], [0.0]])).tolist() == [[1], [1], [1]]


def test_delays_in_seconds_become_ticks(chain: Save) -> None:
    neuron = nir.IF(np.full(1, 1.0 / DT), np.full(1, 0.9))
    nodes = {"first": neuron, "wait": nir.Delay(np.full(1, 5 * DT)), "layer": nir.Linear(np.ones((1, 1)))}
    path = chain((1,), (1,), **nodes, last=neuron)
    graph, _ = convert_nir(path, dt=DT, framework="snntorch")
    assert np.flatnonzero(raster(graph, "cpu", np.eye(12)[:, 2:3])).tolist() == [7]
    with pytest.raises(ModelError, match=r"3\.33333 ticks") as caught:
        convert_nir(path, dt=1.5e-4, framework="snntorch")
    assert caught.value.code == "profile-delay"


def test_delays_by_neuron_are_ticks_each(chain: Save) -> None:
    neuron = nir.IF(np.full(4, 1.0 / DT), np.full(4, 0.9))
    nodes = {"first": neuron, "wait": nir.Delay(np.array([0, 3, 7, 3]) * DT), "last": neuron}
    graph, _ = convert_nir(chain((4,), (4,), **nodes), dt=DT, framework="snntorch")
    sample = np.zeros((12, 4))
    sample[1] = 1
    assert np.argwhere(raster(graph, "cpu", sample)).tolist() == [[1, 0], [4, 1], [4, 3], [8, 2]]
    assert sorted(p.delay for p in graph.incoming(2)) == [0, 3, 7]
    nodes["wait"] = nir.Delay(np.array([0, 3, 3.5, 3]) * DT)
    with pytest.raises(ModelError, match=r"'last' is 3\.5 ticks"):
        convert_nir(chain((4,), (4,), **nodes), dt=DT, framework="snntorch")
    nodes["wait"] = nir.Delay(np.array([0, 3, 254, 3]) * DT)
    with pytest.raises(ModelError, match="254 ticks"):
        convert_nir(chain((4,), (4,), **nodes), dt=DT, framework="snntorch")


@pytest.mark.parametrize("dt", [1e-4, 1e-3])
@pytest.mark.parametrize("framework", ["sinabs", "lava", "snntorch"])
def test_a_threshold_is_no_neuron_of_a_framework(chain: Save, framework: str, dt: float) -> None:
    """Its spikes tell when its input is greater than the threshold, and nothing else."""
    layer = nir.Linear(np.array([[1.0, 1.0, -1.0]]))
    path = chain((3,), (1,), layer=layer, hard=nir.Threshold(np.array([1.0])))
    graph, _ = convert_nir(path, dt=dt, framework=framework)
    late = framework == "lava"
    x = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 1], [1, 1, 0], [5, 0, 1], [0, 0, 0], [0, 0, 0]])
    assert np.flatnonzero(raster(graph, "cpu", x)).tolist() == [1 + late, 4 + late, 5 + late]


@pytest.mark.parametrize("kept", ["membrane", "greatest"])
@pytest.mark.parametrize("kind", ["LI", "CubaLI"])
def test_a_readout_of_membranes(chain: Save, kind: str, kept: str) -> None:
    """Scores are real membranes, also where the gains of the channels differ."""
    rng = np.random.default_rng(5)
    tau, r = rng.uniform(1e-3, 3e-3, 4), rng.uniform(2, 30, 4)
    if kind == "LI":
        readout = nir.LI(tau, r, np.full(4, 0.1))
    else:
        readout = nir.CubaLI(np.full(4, 4e-4), tau, r, np.zeros(4), np.full(4, 3.0))
    path = chain((6,), (4,), layer=nir.Affine(rng.normal(size=(4, 6)), rng.normal(size=4)), readout=readout)
    sample = spikes(rng, 6, 80)
    interpreter = FloatInterpreter(read_nir(path), choose_profile(dt=DT, framework="exact", readout=kept))
    for x in sample:
        interpreter.step(x.reshape(1, 1, 1, -1))
    calibration = Calibration(sample[None])
    graph, report = convert_nir(path, dt=DT, framework="exact", readout=kept, calibration=calibration)
    neuron = graph.populations[-1].neuron
    assert isinstance(neuron, IntegrateAndFire)
    readouts = {"membrane": Readout.MEMBRANE, "greatest": Readout.GREATEST_MEMBRANE}
    assert (neuron.max_spikes, neuron.readout) == (0, readouts[kept])
    (ours,) = InferenceSession(graph, "cpu").run(None, {"input": sample[None]})
    np.testing.assert_allclose(ours.reshape(-1), interpreter.scores.reshape(-1), rtol=0.03, atol=0.03)
    assert report.agreement == 1.0


@pytest.mark.parametrize("readout", ["first", "membrane", "greatest"])
def test_an_output_that_spikes_may_be_read_otherwise(chain: Save, readout: str) -> None:
    """Its membranes are real, also where gains differ; first spikes are minus their ticks."""
    rng = np.random.default_rng(6)
    tau, r = rng.uniform(1e-3, 3e-3, 4), np.array([9.0, 10.0, 11.0, 1e-9])
    neuron = nir.LIF(tau, r, np.zeros(4), np.full(4, 0.7))
    path = chain((6,), (4,), layer=nir.Linear(rng.uniform(-0.5, 1, (4, 6))), last=neuron)
    sample = spikes(rng, 6, 80)
    options: dict[str, Any] = {"dt": DT, "framework": "snntorch", "reset": "subtract", "readout": readout}
    interpreter = FloatInterpreter(read_nir(path), choose_profile(**options))
    times = np.full(4, -(2.0**31))
    for tick, x in enumerate(sample):
        sent = interpreter.step(x.reshape(1, 1, 1, -1))[-1].reshape(-1)
        times = np.where((sent > 0) & (times < -1e9), -tick, times)
    graph, report = convert_nir(path, **options, calibration=Calibration(sample[None]))
    (ours,) = InferenceSession(graph, "cpu").run(None, {"input": sample[None]})
    if readout == "first":
        assert len(set(times)) > 2 and times[3] == -(2.0**31)
        np.testing.assert_allclose(ours[0], times, atol=2)
    else:
        np.testing.assert_allclose(ours[0], interpreter.scores.reshape(-1), atol=0.1)
    assert report.agreement == 1.0


@pytest.mark.parametrize("readout", ["first", "spikes"])
def test_first_spikes_of_neurons_that_never_spike(chain: Save, readout: str) -> None:
    path = chain((3,), (3,), leaky=nir.LI(*np.full((3, 3), 0.01)))
    with pytest.raises(ModelError, match="'leaky' never spikes") as caught:
        convert_nir(path, dt=DT, framework="exact", readout=readout)
    assert caught.value.code == "profile-readout" and "greatest" in caught.value.hint


def test_a_readout_of_different_gains_within_a_channel(chain: Save) -> None:
    readout = nir.LI(np.full((1, 2, 1), 1e-3), np.array([1.0, 2.0]).reshape(1, 2, 1), np.zeros((1, 2, 1)))
    with pytest.raises(UnsupportedError, match="'readout'"):
        convert_nir(chain((1, 2, 1), (1, 2, 1), readout=readout), dt=DT, framework="exact")


def test_a_scale_goes_into_the_weights(chain: Save) -> None:
    rng = np.random.default_rng(8)
    weight, bias, scale = rng.normal(size=(4, 3)), rng.normal(size=4), rng.uniform(-1, 1, 4)
    neuron = nir.LIF(np.full(4, 1e-3), np.full(4, 5.0), np.zeros(4), np.ones(4))
    path = chain((3,), (4,), layer=nir.Affine(weight, bias), scale=nir.Scale(scale), spike=neuron)
    network = read_nir(path)
    np.testing.assert_allclose(network.populations[1].bias.reshape(-1), bias * scale)
    linear = network.projections[0].map
    np.testing.assert_allclose(linear.weight, (weight * scale[:, None]).T)


# ---- profiles ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"framework": "brian"}, ("'brian'", "snntorch")),
        ({}, ("reset", "compare", "snntorch")),
        ({"framework": "norse", "current": "yesterday"}, ("'yesterday'", "old")),
        ({"framework": "norse", "max_spikes": 3}, ("3 spikes", "subtract")),
        ({"framework": "norse", "max_spikes": 0}, ("0 spikes",)),
        ({"framework": "norse", "readout": "mean"}, ("'mean'", "first")),
        ({"framework": "sinabs", "max_spikes": 40000}, ("40000", "32767")),
    ],
)
def test_profiles_that_make_no_sense(settings: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        choose_profile(dt=DT, **settings)
    told = caught.value.message + caught.value.hint
    assert all(word in told for word in words), told


def test_an_euler_step_longer_than_a_synapse(chain: Save) -> None:
    node = cuba(1, np.random.default_rng(0), tau_syn=np.full(1, 5e-5))
    with pytest.raises(ModelError, match="tau_syn"):
        convert_nir(chain((1,), (1,), spike=node), dt=DT, framework="snntorch")


def test_the_model_file_says_how_it_was_converted(data_folder: Path) -> None:
    graph, _ = convert_nir(
        data_folder / "nir" / "braille_noDelay_bias_zero.nir", dt=DT, framework="snntorch", reset="subtract"
    )
    profile = graph.metadata["profile"]
    chosen = {name: profile[name] for name in ("reset", "compare", "decay", "gain", "current", "max_spikes")}
    assert chosen == {
        "reset": "subtract",
        "compare": "gt",
        "decay": "euler",
        "gain": "euler",
        "current": "new",
        "max_spikes": 1,
    }
    assert profile["populations"]["lif1.lif"]["current_decay"] == pytest.approx(0.55, abs=1e-3)
