"""NIR networks as integers: published traces, agreement with the float network, proofs, refusals."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from literal import LiteralChain, Save

from edgespike.convert import Calibration
from edgespike.convert.spiking import convert_nir
from edgespike.errors import DataError, UnsupportedError, UsageError
from edgespike.graph import (
    Convolution,
    Dense,
    Graph,
    IntegrateAndFire,
    OneToOne,
    SpikeInput,
    SumPool,
)
from edgespike.modelfile import decode_model, encode_model
from edgespike.session import InferenceSession

BACKENDS = ("reference", "cpu")
PROFILE: dict[str, Any] = {"dt": 1e-3, "reset": "zero", "compare": "gt", "decay": "exact", "gain": "exact"}


def raster(graph: Graph, backend: str, sample: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Output spikes of every tick (ticks, scores), and all membranes after the last one."""
    session = InferenceSession(graph, backend)
    counts = [np.zeros(graph.populations[-1].size, np.int32)]
    events = session.sample_events(sample)
    for tick in range(len(sample)):
        session.backend.push(events[events["tick"] == tick])
        session.backend.advance(tick + 1)
        counts.append(session.backend.output())
    states = [session.backend.state(number) for number in range(1, len(graph.populations))]
    return np.diff(counts, axis=0), states


# ---- published traces -------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("trace", "framework", "steps"),
    [
        ("exact", "exact", [460, 510, 710, 760]),
        ("norse", "norse", [460, 510, 710, 760]),
        ("snntorch", "snntorch", [460, 510, 710, 760]),
        ("rockpool", "rockpool", [450, 500, 710, 760]),
        ("sinabs", "sinabs", [450, 500, 710, 760]),
        ("lava_cpu_float", "lava", [461, 511, 711, 761]),
        ("lava_cpu_fixed", "lava", [461, 511, 711, 761]),
        ("lava_loihi_fixed", "lava", [461, 511, 711, 761]),
    ],
)
def test_spike_steps_of_the_published_traces(
    data_folder: Path, trace: str, framework: str, steps: list[int], backend: str
) -> None:
    """Spike for spike. Some traces have their input multiplied by the gain: it is 0 or 1."""
    graph, report = convert_nir(data_folder / "nir" / "lif_norse.nir", dt=1e-4, framework=framework)
    current, _, spikes = np.loadtxt(data_folder / "nir" / f"lif_{trace}.csv", delimiter=",").T
    ours, _ = raster(graph, backend, (current != 0).astype(np.float64).reshape(-1, 1))
    np.testing.assert_array_equal(ours[:, 0], spikes)
    assert np.flatnonzero(ours).tolist() == steps
    assert not report.warnings


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_neuron_that_its_leak_alone_makes_fire(data_folder: Path, backend: str) -> None:
    """In two_lif_neurons the first rests above its threshold: v(t) = 1.2 (1 - exp(-t / tau))."""
    graph, _ = convert_nir(data_folder / "nir" / "two_lif_neurons.nir", dt=1e-4, reset="zero", compare="gt")
    session = InferenceSession(graph, backend)
    session.run(None, {"in": np.zeros((1, 1000, 1))})
    period = int(np.floor(100 * np.log(6))) + 1  # first tick with exp(-t / tau) < 1/6
    assert session.stats()["populations"][1]["events"] == 1000 // period


# ---- against the float network ----------------------------------------------


def network(seed: int, exact: bool) -> tuple[list[Any], list[Any]]:
    """Nodes of a small convolutional network, with Input and Output, and without.

    ``exact``: weights that int8 holds: whole multiples of a unit, the greatest of each
    channel 127 units. What is left to rounding are decays and thresholds.
    """
    rng = np.random.default_rng(seed)

    def weights(shape: tuple[int, ...]) -> np.ndarray:
        if not exact:
            return rng.normal(0.3, 1, shape) / np.sqrt(np.prod(shape[1:]))
        whole = rng.integers(-40, 128, (shape[0], np.prod(shape[1:])))
        whole[:, 0] = 127
        unit = rng.uniform(0.5, 2, (shape[0], 1)) / 127 / np.sqrt(whole.shape[1])
        return (whole * unit).reshape(shape)

    def neuron(shape: tuple[int, ...]) -> Any:
        if rng.random() < 0.4:
            return nir.IF(np.full(shape, 1000.0), rng.uniform(0.5, 1.5, shape))
        return nir.LIF(
            tau=rng.uniform(0.003, 0.05, shape),
            r=rng.uniform(2, 6, shape),
            v_leak=rng.normal(0, 0.05, shape) * (rng.random() < 0.5),
            v_threshold=rng.uniform(0.3, 0.8, shape),
        )

    bias = rng.normal(0, 0.1, 6) * (rng.random() < 0.5)
    two, zero = np.array([2, 2]), np.array([0, 0])
    nodes = [
        nir.Conv2d((8, 7), weights((6, 2, 3, 3)), 1, 1, 1, 1, bias),
        neuron((6, 8, 7)),
        nir.SumPool2d(two, two, zero),
        nir.Conv2d((4, 3), weights((8, 3, 3, 3)), (2, 1), 1, 1, 2, np.zeros(8)),
        neuron((8, 2, 3)),
        nir.Flatten(np.array([8, 2, 3]), 0, -1),
        nir.Affine(weights((10, 48)), rng.normal(0, 0.1, 10)),
        neuron((10,)),
    ]
    return [nir.Input(np.array([2, 8, 7])), *nodes, nir.Output(np.array([10]))], nodes


def spikes(seed: int, ticks: int) -> np.ndarray:
    return (np.random.default_rng(seed).random((ticks, 2, 8, 7)) < 0.15).astype(np.float32)


def save_chain(save: Save, nodes: list[Any]) -> Path:
    return save({f"{number}_{type(node).__name__}": node for number, node in enumerate(nodes)})


@pytest.mark.parametrize("seed", range(8))
def test_weights_that_int8_holds_give_exactly_the_float_networks_spikes(save: Save, seed: int) -> None:
    whole, nodes = network(seed, exact=True)
    profile = PROFILE | {
        "reset": ("zero", "subtract", "value", "none")[seed % 4],
        "compare": ("gt", "ge")[seed // 4],
        "decay": ("exact", "euler")[seed % 2],
    }
    path = save_chain(save, whole)
    graph, _ = convert_nir(path, **profile)
    sample = spikes(seed, 100)
    ours, states = raster(graph, "cpu", sample)
    literal = LiteralChain(nodes, **profile)
    np.testing.assert_array_equal(ours, [literal.step(x.astype(np.float64)) for x in sample])
    assert 20 < ours.sum() < 1000
    reference, reference_states = raster(graph, "reference", sample)
    np.testing.assert_array_equal(ours, reference)
    for cpu, numpy in zip(states, reference_states, strict=True):
        np.testing.assert_array_equal(cpu, numpy)


@pytest.mark.parametrize("seed", range(6))
def test_rounded_weights_give_nearly_as_many_spikes(save: Save, seed: int) -> None:
    """int8 weights move spikes in time; their number stays within 4 % in every population, or 3 spikes."""
    whole, _ = network(seed, exact=False)
    profile = PROFILE | {"reset": ("zero", "subtract")[seed % 2]}
    calibration = Calibration(np.stack([spikes(100 * seed + number, 60) for number in range(4)]))
    graph, report = convert_nir(save_chain(save, whole), **profile, calibration=calibration)
    assert report.samples == 4
    for layer, population in zip(report.layers[1:], graph.populations[1:], strict=True):
        assert layer.error is not None and layer.activity is not None
        fired = layer.activity * population.size * 240
        assert layer.error * fired <= max(3, 0.04 * fired), layer


def test_weights_of_four_bits(save: Save) -> None:
    """All, or those into one population; they stay within their range, and backends agree."""
    path = save_chain(save, network(2, exact=False)[0])
    graph, _ = convert_nir(path, **PROFILE, weights=4)
    weighted = [p.connection for p in graph.projections if isinstance(p.connection, Dense | Convolution)]
    assert all(c.weight_bits == 4 and np.abs(c.weight.astype(int)).max() <= 7 for c in weighted)
    sample = spikes(2, 40)
    ours, states = raster(graph, "cpu", sample)
    reference, reference_states = raster(graph, "reference", sample)
    np.testing.assert_array_equal(ours, reference)
    for cpu, numpy in zip(states, reference_states, strict=True):
        np.testing.assert_array_equal(cpu, numpy)
    last = graph.populations[-1].name
    mixed, _ = convert_nir(path, **PROFILE, weights={last: 4})
    bits = [p.connection.weight_bits for p in mixed.projections if hasattr(p.connection, "weight_bits")]
    assert bits == [8] * (len(bits) - 1) + [4]


@settings(max_examples=15)
@given(seed=st.integers(0, 2**31), chunk=st.integers(1, 50), gap=st.integers(1, 300))
def test_backends_agree_bit_for_bit(tmp_path_factory: Any, seed: int, chunk: int, gap: int) -> None:
    """In any chunking, any order of the events of a tick, with silences between."""
    rng = np.random.default_rng(seed)
    whole, _ = network(seed, exact=False)
    path = tmp_path_factory.mktemp("nir") / "network.nir"
    names = [str(number) for number in range(len(whole))]
    graph_nodes = dict(zip(names, whole, strict=True))
    nir.write(path, nir.NIRGraph(graph_nodes, list(pairwise(names)), type_check=False))
    reset, compare = rng.choice(["zero", "subtract", "none"]), rng.choice(["gt", "ge"])
    graph, _ = convert_nir(path, **PROFILE | {"reset": str(reset), "compare": str(compare)})
    sessions = [InferenceSession(graph, backend) for backend in BACKENDS]
    events = sessions[0].sample_events(spikes(seed, 12))
    events["tick"] = np.where(events["tick"] >= 6, events["tick"] + gap, events["tick"])
    shuffled = rng.permutation(events)
    shuffled = shuffled[np.argsort(shuffled["tick"], kind="stable")]
    sessions[0].backend.push(events)
    for start in range(0, len(shuffled), chunk):
        sessions[1].backend.push(shuffled[start : start + chunk])
    for session in sessions:
        session.backend.finish()
    np.testing.assert_array_equal(*[session.backend.output() for session in sessions])
    for number in range(1, len(graph.populations)):
        np.testing.assert_array_equal(*[session.backend.state(number) for session in sessions])
    assert sessions[0].stats() == sessions[1].stats()


def test_an_emulated_board_gives_the_same_scores(save: Save) -> None:
    graph, _ = convert_nir(save_chain(save, network(3, exact=False)[0]), **PROFILE)
    samples = np.stack([spikes(seed, 30) for seed in range(3)])
    scores = InferenceSession(graph, "cpu").scores(samples)
    assert scores.any()
    with InferenceSession(graph, "device", port="emulated") as board:
        np.testing.assert_array_equal(board.scores(samples), scores)


# ---- the proof --------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_no_tick_can_bring_more_than_the_bound(save: Save, seed: int) -> None:
    """Counted out: the input that hurts a neuron most, from every source, in one tick."""
    graph, report = convert_nir(save_chain(save, network(seed, exact=False)[0]), **PROFILE)
    neuron = graph.populations[0].neuron
    assert isinstance(neuron, SpikeInput)
    for number, population in enumerate(graph.populations[1:], start=1):
        spiking = population.neuron
        assert isinstance(spiking, IntegrateAndFire)
        (projection,) = graph.incoming(number)
        source = graph.populations[projection.source].neuron
        most = source.max_spikes if isinstance(source, IntegrateAndFire) else None
        weights = by_target(projection.connection, population.shape[2])
        worst = neuron.budget * weights.max() if most is None else most * weights.sum(axis=0).max()
        worst = (int(worst) << projection.shift) + int(np.abs(spiking.drive).max())
        bound = report.layers[number].bound
        assert worst <= bound
        assert bound + spiking.membrane_max < 1 << 31


def by_target(connection: Any, channels: int) -> np.ndarray:
    """Absolute weights (weights of a neuron, target channels)."""
    if isinstance(connection, SumPool):
        return np.ones((connection.kernel[0] * connection.kernel[1], channels), np.int64)
    weight = np.abs(connection.weight.astype(np.int64))
    if isinstance(connection, Convolution):
        groups = np.split(weight, connection.groups)
        return np.concatenate([group.reshape(-1, group.shape[-1]) for group in groups], axis=1)
    assert isinstance(connection, Dense | OneToOne)
    return weight.reshape(-1, channels)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_tick_full_to_its_budget_stays_within_32_bits(chain: Save, backend: str, sign: int) -> None:
    """A thousand full ticks in a row: the membrane reaches its clamp, and is what saturation says."""
    layer = nir.Linear(np.full((1, 1), float(sign)))
    integrator = nir.IF(np.full(1, 1000.0), np.full(1, 0.001))
    graph, report = convert_nir(
        chain((1,), (1,), layer=layer, spike=integrator), **PROFILE | {"reset": "none"}
    )
    neuron = graph.populations[1].neuron
    first = graph.populations[0].neuron
    assert isinstance(neuron, IntegrateAndFire) and isinstance(first, SpikeInput)
    session = InferenceSession(graph, backend)
    events = session.sample_events(np.full((50, 1), first.budget))
    session.backend.push(events)
    session.backend.finish()
    clamp = neuron.membrane_max if sign > 0 else neuron.membrane_min
    assert report.layers[1].bound * 50 > neuron.membrane_max  # it would have overflowed
    assert session.backend.state(1).tolist() == [clamp]
    assert session.backend.output().tolist() == [50 if sign > 0 else 0]
    session.reset()
    with pytest.raises(DataError) as caught:
        session.backend.push(np.concatenate([events[:1], events[:1]]))
    assert caught.value.code == "tick-full"


def test_membranes_have_fractional_bits(data_folder: Path) -> None:
    """In units of the int8 weight the threshold is 317, and rounding the decay would move v by 12."""
    graph, _ = convert_nir(data_folder / "nir" / "lif_norse.nir", dt=1e-4, reset="zero", compare="gt")
    neuron = graph.populations[1].neuron
    assert isinstance(neuron, IntegrateAndFire)
    assert neuron.threshold.item() / 2 ** graph.projections[0].shift == pytest.approx(323.9, abs=0.1)
    assert neuron.threshold.item() > 13 * 2**14


def test_a_channel_without_weights_and_one_of_tiny_weights(chain: Save) -> None:
    weight = np.array([[1.0, -0.5], [0.0, 0.0], [1e-9, 1e-9]])
    neuron = nir.LIF(np.full(3, 0.02), np.full(3, 4.0), np.zeros(3), np.full(3, 0.5))
    graph, _ = convert_nir(chain((2,), (3,), layer=nir.Linear(weight), spike=neuron), **PROFILE)
    connection = graph.projections[0].connection
    assert isinstance(connection, Dense)
    assert connection.weight.tolist() == [[127, 0, 0], [-63, 0, 0]]
    ours, _ = raster(graph, "cpu", np.ones((200, 2)))
    assert ours[:, 0].sum() > 0 and not ours[:, 1:].any()


# ---- inputs, windows, metadata ----------------------------------------------


def lif(size: int) -> Any:
    return nir.LIF(np.full(size, 0.02), np.full(size, 4.0), np.zeros(size), np.full(size, 0.5))


def test_real_currents_become_events_of_many_values(chain: Save) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0.3, 1, (3, 80, 5)).astype(np.float32)
    layer = nir.Linear(rng.normal(size=(4, 5)))
    graph, report = convert_nir(
        chain((5,), (4,), layer=layer, spike=lif(4)), **PROFILE, calibration=Calibration(x)
    )
    first = graph.populations[0].neuron
    assert isinstance(first, SpikeInput) and first.value_min < 0
    assert graph.metadata["input"]["scale"] == pytest.approx(np.abs(x).max() / 255)
    assert report.layers[1].error is not None and report.layers[1].error < 0.05
    assert report.layers[1].activity
    with pytest.raises(DataError, match="tick"):
        InferenceSession(graph).run(None, {"input": x * 1000})


def test_counts_go_in_as_they_are(chain: Save) -> None:
    x = np.random.default_rng(0).integers(0, 4, (2, 30, 5))
    graph, _ = convert_nir(
        chain((5,), (4,), layer=nir.Linear(np.ones((4, 5))), spike=lif(4)),
        **PROFILE,
        calibration=Calibration(x),
    )
    assert graph.metadata["input"]["scale"] == 1.0
    events = InferenceSession(graph).sample_events(x[0])
    assert events["value"].sum() == x[0].sum() and events["value"].max() == 3


def test_a_pool_of_signed_currents_is_refused(chain: Save) -> None:
    two, zero = np.array([2, 2]), np.array([0, 0])
    path = chain(
        (2, 4, 4), (2, 2, 2), pool=nir.SumPool2d(two, two, zero), spike=nir.IF(*np.ones((2, 2, 2, 2)))
    )
    x = np.random.default_rng(0).normal(size=(2, 5, 2, 4, 4))
    with pytest.raises(UnsupportedError, match="'pool'"):
        convert_nir(path, **PROFILE, calibration=Calibration(x))
    graph, _ = convert_nir(path, **PROFILE, calibration=Calibration(np.abs(x)))
    assert len(graph.populations) == 3


def test_windows_end_by_themselves(chain: Save) -> None:
    path = chain((2,), (3,), layer=nir.Linear(np.ones((3, 2))), spike=lif(3))
    graph, _ = convert_nir(path, **PROFILE, window=0.05, classes=["a", "b", "c"])
    assert graph.input.window_ticks == 50 and graph.input.tick_us == 1000
    session = InferenceSession(graph)
    events = np.zeros(300, [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "<i1")])
    events["t"] = np.arange(300) * 500
    results = session.push(events)
    assert [result.time_us for result in results] == [50_000, 100_000]
    np.testing.assert_array_equal(results[0].scores, results[1].scores)
    assert session.classes == ["a", "b", "c"]


@pytest.mark.parametrize("window", [0.0, 0.0005, 0.0105, -1.0, float("nan")])
def test_windows_that_are_no_whole_number_of_ticks(chain: Save, window: float) -> None:
    with pytest.raises(UsageError, match="window"):
        convert_nir(chain((3,), (3,), spike=lif(3)), **PROFILE, window=window)


def test_labels_and_class_names(chain: Save) -> None:
    path = chain((3,), (3,), spike=lif(3))
    x = np.ones((4, 30, 3)) * np.array([[[5, 0, 0]], [[0, 5, 0]], [[0, 0, 5]], [[5, 0, 0]]])
    _, report = convert_nir(path, **PROFILE, calibration=Calibration(x, np.array([0, 1, 2, 1])))
    assert (report.accuracy_float, report.accuracy, report.agreement) == (0.75, 0.75, 1.0)
    assert report.synops > 0 and report.macs == 90
    with pytest.raises(DataError, match="class 3"):
        convert_nir(path, **PROFILE, calibration=Calibration(x, np.array([0, 1, 2, 3])))
    with pytest.raises(UsageError, match="2 class names"):
        convert_nir(path, **PROFILE, classes=["a", "b"])


@pytest.mark.parametrize("shape", [(4, 3), (4, 10, 2), (4, 10, 3, 1)])
def test_calibration_of_another_shape(chain: Save, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"expected \(samples, ticks, 3\)"):
        convert_nir(chain((3,), (3,), spike=lif(3)), **PROFILE, calibration=Calibration(np.ones(shape)))


def test_silence_and_odd_time_constants_are_told(chain: Save) -> None:
    silent = nir.IF(np.ones(3), np.ones(3))
    _, report = convert_nir(
        chain((3,), (3,), spike=silent), **PROFILE, calibration=Calibration(np.ones((2, 20, 3)))
    )
    told, never = report.warnings
    assert "gain none" in told and "never spiked" in never


def test_the_profile_is_in_the_model_file(save: Save) -> None:
    graph, _ = convert_nir(save_chain(save, network(1, exact=False)[0]), **PROFILE)
    again = decode_model(encode_model(graph))
    assert again.metadata == json.loads(json.dumps(graph.metadata))
    profile = again.metadata["profile"]
    assert {name: profile[name] for name in PROFILE} == PROFILE
    assert [p.shift for p in again.projections] == [p.shift for p in graph.projections]
    assert max(p.shift for p in graph.projections) > 0
    for name, numbers in profile["populations"].items():
        assert name in again.metadata["populations"]
        assert {"unit", "threshold", "decay", "drive", "input_bound"} <= set(numbers)
    assert graph.self_test is not None and len(graph.self_test.events) > 0
