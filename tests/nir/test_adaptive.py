"""Neurons whose threshold rises with their spikes: from a node's metadata to the same bits everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from literal import Save

from edgespike.convert import Calibration
from edgespike.convert.discretise import FloatInterpreter, choose_profile
from edgespike.convert.spiking import convert_nir, run_float
from edgespike.errors import ModelError
from edgespike.importers.nir import read_nir
from edgespike.session import InferenceSession

DT = 1e-3
TRAINED = Path(__file__).resolve().parents[1] / "data" / "mnist_alif.nir"
PROFILE: dict[str, Any] = {"framework": "exact", "reset": "subtract-delayed"}


def adaptive(size: int, rng: np.random.Generator, **metadata: Any) -> Any:
    given = {
        "adaptation_tau": rng.uniform(5e-3, 30e-3, size),
        "adaptation_increment": rng.uniform(0.02, 0.3, size),
        **metadata,
    }
    parameters = rng.uniform(4e-3, 20e-3, size), np.ones(size), np.zeros(size), rng.uniform(0.2, 0.5, size)
    return nir.LIF(*parameters, metadata=given)


def by_hand(node: Any, currents: np.ndarray, delayed: bool) -> np.ndarray:
    """Spikes of neurons that get these currents (ticks, neurons), one equation after the other."""
    d = np.exp(-DT / node.tau)
    rho = np.exp(-DT / node.metadata["adaptation_tau"])
    increment = node.metadata["adaptation_increment"]
    v, a, s = (np.zeros(len(d)) for _ in range(3))
    spikes = []
    for current in currents:
        a = rho * a + increment * s * (1 if delayed else rho)
        threshold = node.v_threshold + a
        v = d * v + (1 - d) * current - (threshold * s if delayed else 0)
        s = (v > threshold).astype(float)
        if not delayed:
            v = v - threshold * s
        spikes.append(s)
    return np.array(spikes)


@pytest.mark.parametrize("delayed", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_thresholds_rise_and_fall(chain: Save, seed: int, delayed: bool) -> None:
    rng = np.random.default_rng(seed)
    weight, node = rng.normal(0.4, 1.0, (12, 6)), adaptive(12, rng)
    path = chain((6,), (12,), layer=nir.Linear(weight), spike=node)
    sample = (rng.random((120, 6)) < 0.5).astype(np.float32)
    wanted = by_hand(node, sample @ weight.T, delayed)
    assert 50 < wanted.sum() < 900
    reset = "subtract-delayed" if delayed else "subtract"
    interpreter = FloatInterpreter(read_nir(path), choose_profile(DT, framework="exact", reset=reset))
    ours = np.array([interpreter.step(x.reshape(1, 1, 1, -1))[-1].reshape(-1) for x in sample])
    np.testing.assert_array_equal(ours, wanted)
    graph, _ = convert_nir(path, dt=DT, framework="exact", reset=reset)
    integers = InferenceSession(graph).scores(sample[None])[0]
    np.testing.assert_allclose(integers, wanted.sum(axis=0), rtol=0.05, atol=2)


def test_it_makes_a_difference(chain: Save) -> None:
    rng = np.random.default_rng(0)
    weight, node = rng.normal(0.4, 1.0, (12, 6)), adaptive(12, rng)
    sample = (rng.random((1, 120, 6)) < 0.5).astype(np.float32)
    counts = []
    for metadata in (node.metadata, {}):
        node.metadata = metadata
        path = chain((6,), (12,), layer=nir.Linear(weight), spike=node)
        counts.append(InferenceSession(convert_nir(path, dt=DT, **PROFILE)[0]).scores(sample).sum())
    assert counts[0] < 0.8 * counts[1]


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        ({"adaptation_tau": np.array([0.0])}, "adaptation_tau"),
        ({"adaptation_increment": np.array([-0.1])}, "adaptation_increment"),
        ({"adaptation_increment": np.ones(5)}, "adaptation_increment"),
        ({"adaptation_tau": np.array([np.nan])}, "adaptation_tau"),
    ],
)
def test_metadata_that_make_no_sense(chain: Save, metadata: dict[str, Any], complaint: str) -> None:
    node = adaptive(3, np.random.default_rng(0), **metadata)
    with pytest.raises(ModelError, match=f"(?s)'spike'.*{complaint}|{complaint}.*'spike'"):
        read_nir(chain((2,), (3,), layer=nir.Linear(np.ones((3, 2))), spike=node))


def test_metadata_that_are_incomplete(chain: Save) -> None:
    node = nir.LIF(*np.full((4, 3), 0.1), metadata={"adaptation_tau": np.array([0.1])})
    with pytest.raises(ModelError, match="'spike' has only adaptation_tau"):
        read_nir(chain((2,), (3,), layer=nir.Linear(np.ones((3, 2))), spike=node))
    both = {"adaptation_tau": np.array([0.1]), "adaptation_increment": np.array([0.1])}
    integrator = nir.LI(*np.full((3, 3), 0.1), metadata=both)
    with pytest.raises(ModelError, match="never spikes"):
        read_nir(chain((2,), (3,), layer=nir.Linear(np.ones((3, 2))), spike=integrator))


@pytest.fixture(scope="module")
def digits(data_folder: Path) -> tuple[np.ndarray, np.ndarray, Any]:
    """Test images of MNIST as rows, their labels, and the trained network's model."""
    with np.load(data_folder / "mnist.npz") as archive:
        x, y = archive["x_test"] / np.float32(255), archive["y_test"]
        rows = archive["x_train"][:100] / np.float32(255)
    graph, report = convert_nir(TRAINED, dt=DT, calibration=Calibration(rows), **PROFILE)
    assert not report.warnings
    return x, y, graph


def test_the_trained_network_keeps_its_accuracy(digits: tuple[np.ndarray, np.ndarray, Any]) -> None:
    x, y, graph = digits
    floats, _ = run_float(read_nir(TRAINED), choose_profile(DT, **PROFILE), x[:, :, None, None, :])
    right, ours = (
        float((scores.argmax(axis=1) == y).mean()) for scores in (floats, InferenceSession(graph).scores(x))
    )
    assert right > 0.97
    assert abs(ours - right) <= 0.003


@pytest.mark.parametrize("port", ["reference", "emulated", "qemu"])
def test_the_trained_network_gives_the_same_bits(
    digits: tuple[np.ndarray, np.ndarray, Any], port: str, request: pytest.FixtureRequest
) -> None:
    x, _, graph = digits
    x = x[:5]
    expected = InferenceSession(graph).scores(x)
    if port == "reference":
        np.testing.assert_array_equal(InferenceSession(graph, "reference").scores(x), expected)
        return
    address = f"qemu:{request.getfixturevalue('firmware')}" if port == "qemu" else port
    with InferenceSession(graph, "device", port=address) as board:
        np.testing.assert_array_equal(board.scores(x), expected)
