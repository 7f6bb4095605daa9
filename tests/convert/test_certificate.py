"""A certificate holds for the model, the network and the samples it was made from, and for no other."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from small_networks import NETWORKS

from edgespike.convert import Calibration, EventOptions, Report, convert_onnx
from edgespike.convert import certificate as certificates
from edgespike.convert.bounds import accumulator_bounds
from edgespike.errors import MismatchError, ModelError
from edgespike.graph import Dense, Graph
from edgespike.modelfile import decode_model, encode_model
from edgespike.session import InferenceSession
from edgespike.work import work_of_event

CHECKED = ["residual_projection", "max_pool_of_the_input", "average_pool", "conv_depthwise"]


def made(name: str, folder: Path, **options: Any) -> tuple[Graph, Report, Calibration, bytes]:
    """A converted network as read back from its file, and what it was made from."""
    net = NETWORKS[name]()
    onnx.save(net.model(), folder / "network.onnx")
    random = np.random.default_rng(1)
    x = random.normal(0, 1, (40, *net.shape[1:])).astype(np.float32)
    calibration = Calibration(x, random.integers(0, 2, 40))
    graph, report = convert_onnx(folder / "network.onnx", calibration, **options)
    return decode_model(encode_model(graph)), report, calibration, (folder / "network.onnx").read_bytes()


def states(found: list[certificates.Finding]) -> dict[str, bool | None]:
    return {finding.claim: finding.holds for finding in found}


@pytest.mark.parametrize("name", CHECKED)
def test_all_claims_hold(name: str, tmp_path: Path) -> None:
    graph, report, calibration, source = made(name, tmp_path)
    assert set(states(certificates.verify(graph, source, calibration)).values()) == {True}
    kept = certificates.of_model(graph)
    assert kept == report.certificate
    assert kept.bounds == accumulator_bounds(graph)
    assert (kept.ram_streaming, kept.ram_one_shot) == (report.ram_streaming, report.ram_one_shot)
    assert kept.event_synops == work_of_event(graph).total.synops
    assert kept.samples == 40


def test_states_are_those_of_the_reference_too(tmp_path: Path) -> None:
    """The digest, computed with the NumPy interpreter instead of the core and the dense twin."""
    graph, _, calibration, _ = made("conv_depthwise", tmp_path)
    session = InferenceSession(graph, backend="reference")
    digest = hashlib.sha256()
    for sample in calibration.x:
        session.reset()
        session.backend.push(session.sample_events(sample))
        session.backend.finish()
        for number in range(len(graph.populations)):
            digest.update(session.backend.state(number).astype("<i4").tobytes())
    assert certificates.of_model(graph).states_sha256 == digest.hexdigest()


def test_what_is_not_given_is_not_checked(tmp_path: Path) -> None:
    graph, *_ = made("conv_depthwise", tmp_path)
    found = states(certificates.verify(graph))
    assert [claim for claim, holds in found.items() if holds is None] == ["source", "calibration", "twin"]
    assert False not in found.values()


def test_other_files_are_refused(tmp_path: Path) -> None:
    graph, _, calibration, source = made("conv_depthwise", tmp_path)
    other = Calibration(calibration.x + np.float32(0.5), calibration.y)
    found = states(certificates.verify(graph, source + b"\0", other))
    assert [claim for claim, holds in found.items() if holds is False] == ["source", "calibration", "twin"]
    relabelled = Calibration(calibration.x, None)
    found = states(certificates.verify(graph, source, relabelled))
    assert [claim for claim, holds in found.items() if holds is False] == ["calibration"]


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    graph, _, calibration, source = made("batch_norm_after_conv", tmp_path)
    *rest, last = graph.projections
    assert isinstance(last.connection, Dense)
    weight = last.connection.weight.copy()
    weight[:, 0] = np.clip(weight[:, 0].astype(int) * 2 + 1, -127, 127)
    changed = replace(graph, projections=(*rest, replace(last, connection=Dense(weight))))
    found = states(certificates.verify(changed, source, calibration))
    assert not found["twin"]
    assert not found["bounds"]


def test_a_core_that_differs_from_its_twin_is_caught(tmp_path: Path, monkeypatch: Any) -> None:
    graph, _, calibration, _ = made("conv_depthwise", tmp_path)

    def wrong(graph: Graph, inputs: Any) -> list[Any]:
        states = settle(graph, inputs)
        states[-1][-1, 0, 0, 0] += 1
        return states

    settle = certificates.settle
    monkeypatch.setattr(certificates, "settle", wrong)
    with pytest.raises(MismatchError, match="on sample 31"):
        certificates.certify(graph, calibration)


def test_event_counting_networks(tmp_path: Path) -> None:
    net = NETWORKS["conv_valid"]()
    onnx.save(net.model(), tmp_path / "network.onnx")
    counts = np.random.default_rng(2).poisson(1.0, (60, *net.shape[1:]))
    calibration = Calibration(counts * np.float32(0.5))
    _, height, width = net.shape[1:]
    events = EventOptions(height, width, window_us=1000, event_scale=0.5)
    graph, _ = convert_onnx(tmp_path / "network.onnx", calibration, events=events)
    found = certificates.verify(graph, (tmp_path / "network.onnx").read_bytes(), calibration)
    assert set(states(found).values()) == {True}


def test_models_without_a_certificate(tmp_path: Path) -> None:
    graph, *_ = made("conv_depthwise", tmp_path)
    for kept in (None, {"bounds": [1]}):
        with pytest.raises(ModelError, match="certificate"):
            certificates.verify(replace(graph, metadata={**graph.metadata, "certificate": kept}))
