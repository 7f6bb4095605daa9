"""`edgespike compare`: the original in its framework, and the setting that explains a difference."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

import edgespike
from edgespike.cli import main
from edgespike.convert import divergence
from edgespike.convert.originals import load_nir, record
from edgespike.convert.spiking import convert_nir
from edgespike.errors import ModelError
from edgespike.importers.nir import read_nir
from edgespike.modelfile import write_model

LIVE = """
import sys
sys.path.insert(0, {folder!r})
import random_networks

def build():
    return random_networks.build({framework!r}, {kind!r}, {seed}).module
"""
Run = Callable[..., dict[str, Any]]


def live_module(framework: str, kind: str, seed: int) -> str:
    """A file with a function that makes the original again."""
    return LIVE.format(folder=str(Path(__file__).parent), framework=framework, kind=kind, seed=seed)


@pytest.fixture
def compare(networks: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Converts a random network with some options, and compares."""

    def run(framework: str, kind: str, seed: int, *arguments: str, **options: Any) -> dict[str, Any]:
        built = networks(framework).build(framework, kind, seed)
        nir.write(tmp_path / "net.nir", built.graph)
        graph, _ = convert_nir(tmp_path / "net.nir", dt=built.dt, framework=framework, **options)
        write_model(graph, tmp_path / "net.esg")
        rng = np.random.default_rng(0)
        np.savez(tmp_path / "x.npz", x=(rng.random((2, 60, *built.shape)) < 0.3).astype(np.float32))
        (tmp_path / "live.py").write_text(live_module(framework, kind, seed))
        files = [str(tmp_path / name) for name in ("net.esg", "net.nir", "x.npz")]
        live = [argument.replace("live.py", str(tmp_path / "live.py")) for argument in arguments]
        capsys.readouterr()
        assert main(["compare", *files, "--json", *live]) == 0
        out = capsys.readouterr().out
        assert out.count("\n") == 1
        assert main(["compare", *files, *live]) == 0
        assert all(len(line) <= 80 for line in capsys.readouterr().out.splitlines())
        return dict(json.loads(out))

    return run


@pytest.mark.filterwarnings("ignore")
def test_a_wrong_reset_is_found(compare: Run) -> None:
    """Leaky's default takes the threshold away a tick later; the profile's reset is to zero."""
    command = ("--with", "snntorch", "--original", "live.py:build")
    found = compare("snntorch", "feed_forward", 1, *command)
    assert found["agreement_float"] < 0.98
    best = found["explanations"][0]
    assert (best["setting"], best["value"]) == ("reset", "subtract-delayed") and best["agreement"] > 0.999
    right = compare("snntorch", "feed_forward", 1, *command, reset="subtract-delayed")
    assert right["agreement_float"] > 0.999 and not right["explanations"]


@pytest.mark.filterwarnings("ignore")
def test_rockpools_original(compare: Run) -> None:
    """Its exporter leaves biases out, the builder has none; two populations with synaptic currents."""
    command = ("--with", "rockpool", "--original", "live.py:build")
    found = compare("rockpool", "feed_forward", 0, *command)
    assert found["agreement_float"] > 0.999 and len(found["populations"]) == 2
    wrong = compare("rockpool", "feed_forward", 0, *command, current="old")
    assert wrong["agreement_float"] < 0.99
    best = wrong["explanations"][0]
    assert (best["setting"], best["value"]) == ("current", "new") and best["agreement"] > 0.999


@pytest.mark.filterwarnings("ignore")
def test_an_order_of_currents_with_biases_is_found(compare: Run) -> None:
    """snnTorch's Synaptic behind linear layers with biases takes in the new current."""
    command = ("--with", "snntorch", "--original", "live.py:build")
    wrong = compare("snntorch", "synaptic", 1, *command, reset="subtract-delayed", current="old")
    best = wrong["explanations"][0]
    assert (best["setting"], best["value"]) == ("current", "new")
    assert best["agreement"] > 0.999 > wrong["agreement_float"]


@pytest.mark.filterwarnings("ignore")
def test_what_a_framework_cannot_import(networks: Callable[[str], Any], tmp_path: Path) -> None:
    built = networks("snntorch").build("snntorch", "feed_forward", 0)
    nir.write(tmp_path / "net.nir", built.graph)
    with pytest.raises(ModelError, match="snntorch cannot import it: v_threshold") as caught:
        load_nir("snntorch", tmp_path / "net.nir", built.dt)
    assert caught.value.code == "framework-import" and "--original" in caught.value.hint


@pytest.mark.filterwarnings("ignore")
def test_against_the_float_network(compare: Run) -> None:
    found = compare("spikingjelly", "convolutional", 0, "--with", "float")
    assert found["agreement_float"] == 1.0 and not found["explanations"]
    assert 0.9 < found["agreement"] <= 1.0
    assert sum(row["spikes"] for row in found["populations"]) > 100


@pytest.mark.parametrize("framework", ["norse", "spikingjelly", "sinabs"])
@pytest.mark.filterwarnings("ignore")
def test_a_frameworks_own_import_runs(framework: str, networks: Callable[[str], Any], tmp_path: Path) -> None:
    built = networks(framework).build(framework, "convolutional", 0)
    nir.write(tmp_path / "net.nir", built.graph)
    network = read_nir(tmp_path / "net.nir")
    sample = (np.random.default_rng(0).random((20, *built.shape)) < 0.3).astype(np.float64)
    spikes = record(framework, load_nir(framework, tmp_path / "net.nir", built.dt), network, sample)
    assert set(spikes) == {population.name for population in network.populations if population.neuron}
    if framework == "spikingjelly":  # which reads what it wrote
        there = record(framework, built.module, network, sample)
        assert divergence.agreement([there], [spikes]) > 0.999


def test_a_framework_that_is_missing() -> None:
    program = (
        "import importlib.util, sys; find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'norse' else find(name, *rest)\n"
        "from edgespike.convert.originals import require\n"
        "from edgespike.errors import UsageError\n"
        "try: require('norse')\n"
        "except UsageError as error: print(error.code, error.hint)\n"
    )
    folder = Path(edgespike.__file__).parents[1]  # of the package under test
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("framework-missing pip install torch==") and "norse==" in ran.stdout
