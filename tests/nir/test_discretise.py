"""Profiles: what must be said, what contradicts the file, what looks wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from literal import LiteralChain, Save

from edgespike.convert.discretise import FloatInterpreter, choose_profile, discretise
from edgespike.convert.exporters import put_right
from edgespike.convert.plausibility import plausibility
from edgespike.convert.spiking import convert_nir
from edgespike.errors import ModelError, UsageError
from edgespike.importers.nir import read_nir


def lif(**changes: float) -> Any:
    values = {"tau": 0.02, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.1, "v_reset": 0.0, **changes}
    return nir.LIF(**{name: np.array([value]) for name, value in values.items()})


def test_nothing_is_guessed() -> None:
    with pytest.raises(UsageError) as caught:
        choose_profile(compare="gt")
    assert caught.value.code == "profile-missing"
    assert "dt, reset" in caught.value.message and "compare" not in caught.value.message
    for word in ("seconds", "zero", "value", "subtract", "none"):
        assert word in caught.value.hint


@pytest.mark.parametrize("changes", [{"reset": "soft"}, {"compare": ">"}, {"decay": "rk4"}, {"gain": "1"}])
def test_choices_that_do_not_exist(changes: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=next(iter(changes.values()))) as caught:
        choose_profile(**{"dt": 1e-3, "reset": "zero", "compare": "gt", **changes})
    assert "(" in caught.value.hint


@pytest.mark.parametrize("dt", [0.0, -1e-3, 1e-7, 1.5e-6, float("nan"), float("inf"), 1e9])
def test_a_tick_is_whole_microseconds(dt: float) -> None:
    with pytest.raises(UsageError, match="whole number of microseconds"):
        choose_profile(dt=dt, reset="zero", compare="gt")


def test_gain_goes_with_the_decay() -> None:
    assert choose_profile(dt=1e-3, reset="zero", compare="gt").gain == "exact"
    assert choose_profile(dt=1e-3, reset="zero", compare="gt", decay="euler").gain == "euler"
    assert choose_profile(dt=1e-4, reset="zero", compare="gt", decay="euler").tick_us == 100
    assert choose_profile(dt=100 * 1e-6, reset="zero", compare="gt").dt == 1e-4


def test_an_euler_step_longer_than_tau(chain: Save) -> None:
    population = read_nir(chain((1,), (1,), spike=lif(tau=1e-5))).populations[1]
    with pytest.raises(ModelError, match=r"'spike'.*1e-05.*dt 0\.001"):
        discretise(population, choose_profile(dt=1e-3, reset="zero", compare="gt", decay="euler"))
    profile = choose_profile(dt=1e-3, reset="zero", compare="gt", decay="exact")
    assert discretise(population, profile) is not None
    (warning,) = plausibility(population, profile)
    assert "'spike'" in warning and "Norse" in warning


def test_a_reset_that_would_ignore_the_file(chain: Save) -> None:
    population = read_nir(chain((1,), (1,), spike=lif(v_reset=-0.5))).populations[1]
    for reset in ("zero", "subtract"):
        with pytest.raises(ModelError, match=r"'spike'.*v_reset"):
            discretise(population, choose_profile(dt=1e-3, reset=reset, compare="gt"))
    dynamics = discretise(population, choose_profile(dt=1e-3, reset="value", compare="gt", gain="none"))
    assert dynamics is not None and dynamics.reset_value.item() == -0.5


@pytest.mark.parametrize(
    ("neuron", "word"),
    [
        (lif(tau=20.0), "--from sinabs"),
        (nir.LIF(np.full(1, 2e-3), np.full(1, 20.0), np.zeros(1), np.ones(1)), "--dt 100us it would be 1"),
        (nir.IF(np.full(1, 1e4), np.ones(1)), "--dt 100us it would be 1"),
        (
            nir.CubaLIF(np.full(1, 1e-5), np.full(1, 0.01), *np.ones((2, 1)), np.ones(1)),
            "dt 0.001 s exceeds tau_syn",
        ),
        (nir.CubaLIF(np.full(1, 8.0), np.full(1, 0.01), *np.ones((2, 1)), np.ones(1)), "tau_syn 8 s"),
        (nir.IF(np.ones(1), np.ones(1)), "gain none"),
        (nir.IF(np.full(1, 1000.0), np.ones(1)), None),
        (lif(), None),
    ],
)
def test_what_looks_wrong(chain: Save, neuron: Any, word: str | None) -> None:
    population = read_nir(chain((1,), (1,), spike=neuron)).populations[1]
    warnings = plausibility(population, choose_profile(dt=1e-3, reset="zero", compare="gt"))
    assert len(warnings) == (word is not None)
    assert all(word in warning for warning in warnings)


@pytest.mark.parametrize(("tau", "option"), [(1e-5, "--from norse"), (5e-4, "--dt 100us")])
def test_a_negative_decay_comes_with_what_would_fit(chain: Save, tau: float, option: str) -> None:
    population = read_nir(chain((1,), (1,), spike=lif(tau=tau))).populations[1]
    with pytest.raises(ModelError, match="overshoot") as caught:
        discretise(population, choose_profile(dt=1e-3, framework="spikingjelly"))
    assert option in caught.value.hint


@pytest.mark.parametrize(("weight", "told"), [(0.9, True), (1.1, False)])
def test_neurons_that_can_never_spike_are_told(chain: Save, weight: float, told: bool) -> None:
    """Two spikes a tick, at most, of half the weight each; the first population's input is not limited."""
    path = chain(
        (2,),
        (1,),
        first=nir.LIF(*np.full((2, 2), 0.01), np.zeros(2), np.ones(2)),
        weights=nir.Linear(np.full((1, 2), weight / 2)),
        second=nir.LIF(np.full(1, 0.01), np.ones(1), np.zeros(1), np.ones(1)),
    )
    _, report = convert_nir(path, dt=1e-3, framework="exact")
    lines = [line for line in report.warnings if "'second' can never spike" in line]
    assert len(lines) == told and all("0.9 of their thresholds" in line for line in lines)


def test_the_older_order_of_norse(chain: Save) -> None:
    """Norse 0.0.7: v takes in the current of the tick before. A bias makes a difference, which is told."""
    rng = np.random.default_rng(3)
    dt, tau_syn, tau, weight = 1e-3, 5e-3, 8e-3, rng.normal(0.3, 0.6, (6, 4))
    spiking = nir.CubaLIF(*np.array([[tau_syn] * 6, [tau] * 6]), np.ones(6), np.zeros(6), np.full(6, 0.4))
    profile = choose_profile(dt=dt, framework="norse", current="old")
    network = read_nir(chain((4,), (6,), weights=nir.Linear(weight), spike=spiking))
    assert not plausibility(network.populations[1], profile)
    interpreter = FloatInterpreter(network, profile)
    v, i, spikes = np.zeros(6), np.zeros(6), 0
    for x in (rng.random((60, 4)) < 0.6).astype(float):
        sent = interpreter.step(x.reshape(1, 1, 1, 4))[-1].ravel()
        v = v + dt / tau * (-v + i)
        fires = v > 0.4
        v, i = np.where(fires, 0, v), i - dt / tau_syn * i + dt / tau_syn * (weight @ x)
        np.testing.assert_array_equal(sent, fires)
        spikes += fires.sum()
    assert spikes > 10
    biased = read_nir(chain((4,), (6,), weights=nir.Affine(weight, np.full(6, 0.05)), spike=spiking))
    (warning,) = plausibility(biased.populations[1], profile)
    assert "bias" in warning and "--current old" in warning


@pytest.mark.parametrize("decay", ["exact", "euler"])
@pytest.mark.parametrize("gain", ["exact", "euler", "none"])
@pytest.mark.parametrize("reset", ["value", "subtract", "none"])
def test_float_interpreter_steps_as_the_profile_says(chain: Save, decay: str, gain: str, reset: str) -> None:
    rng = np.random.default_rng(5)
    neuron = nir.LIF(
        tau=rng.uniform(0.002, 0.05, 30),
        r=rng.uniform(0.5, 3, 30),
        v_leak=rng.normal(size=30) * 0.1,
        v_threshold=rng.uniform(0.05, 0.8, 30),
        v_reset=rng.normal(size=30) * 0.1 * (reset == "value"),
    )
    profile = choose_profile(dt=1e-3, reset=reset, compare="ge", decay=decay, gain=gain)
    interpreter = FloatInterpreter(read_nir(chain((30,), (30,), spike=neuron)), profile)
    literal = LiteralChain([neuron], 1e-3, reset, "ge", decay, gain)
    spikes = 0.0
    for _ in range(50):
        x = rng.normal(0.4, 1, 30)
        wanted = literal.step(x)
        np.testing.assert_array_equal(interpreter.step(x.reshape(1, 1, 1, 30))[-1].reshape(-1), wanted)
        spikes += wanted.sum()
    assert 0 < spikes < 1500


def test_membranes_of_the_published_traces(data_folder: Path) -> None:
    """The NIR paper's own Euler trace (Norse): membrane after each step, in real units."""
    network = read_nir(data_folder / "nir" / "lif_norse.nir")
    current, membrane, spikes = np.loadtxt(data_folder / "nir" / "lif_norse.csv", delimiter=",").T
    interpreter = FloatInterpreter(
        network, choose_profile(dt=1e-4, reset="zero", compare="gt", decay="euler")
    )
    for x, v, spike in zip(current, membrane, spikes, strict=True):
        sent = interpreter.step(np.full((1, 1, 1, 1), x))
        assert sent[-1].item() == spike
        dynamics = interpreter.dynamics[1]
        assert dynamics is not None
        assert abs(interpreter.membranes[1].item() * dynamics.gain.item() - v) < 1e-7


@pytest.mark.parametrize(
    ("framework", "written", "meant"),
    [
        ("norse", 1e-5, 0.01),  # dt / (1 / tau)
        ("norse", 0.01, 0.01),
        ("sinabs", 10.0, 0.01),  # ticks
        ("sinabs", 0.01, 0.01),
        ("exact", 10.0, 10.0),
    ],
)
def test_what_exporters_write_otherwise_is_put_right_and_told(
    chain: Save, framework: str, written: float, meant: float
) -> None:
    """Norse and Sinabs also write r = 1 for an IF, which means r dt = 1."""
    path = chain((1,), (1,), a=lif(tau=written), b=nir.IF(np.ones(1), np.ones(1)))
    profile = choose_profile(1e-3, framework=framework, reset="subtract")
    network, notes = put_right(read_nir(path), profile)
    first, second = (population.neuron for population in network.populations[1:])
    assert first and second and first.tau is not None
    np.testing.assert_allclose(first.tau, meant)
    np.testing.assert_allclose(second.r, 1.0 if framework == "exact" else 1e3)
    assert any("'a': tau is" in note for note in notes) == (written != meant)
    assert any("'b': r dt is 1" in note for note in notes) == (framework != "exact")


@pytest.mark.parametrize(("initial", "first"), [("zero", 0.0), ("leak", 0.05), ("reset", -0.02)])
def test_where_membranes_begin(chain: Save, initial: str, first: float) -> None:
    path = chain((1,), (1,), a=lif(v_leak=0.05, v_reset=-0.02))
    profile = choose_profile(1e-3, reset="value", compare="gt", initial=initial)
    interpreter = FloatInterpreter(read_nir(path), profile)
    dynamics = interpreter.dynamics[1]
    assert dynamics is not None
    np.testing.assert_allclose(interpreter.membranes[1] * dynamics.gain, first)
    graph, _ = convert_nir(path, dt=1e-3, reset="value", compare="gt", initial=initial)
    population = graph.populations[1]
    unit = graph.metadata["profile"]["populations"]["a"]["unit"]
    assert population.initial is not None
    np.testing.assert_allclose(population.initial * unit, first, atol=unit)
