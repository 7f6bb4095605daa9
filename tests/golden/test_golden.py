"""Model files made once (tools/make_golden.py): the format and the bits stay what they were."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from edgespike import InferenceSession, _core
from edgespike.modelfile import decode_model, encode_model
from edgespike.reference import ReferenceNetwork

FILES = sorted(Path(__file__).parent.glob("*.esg"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_models(path: Path) -> None:
    data = path.read_bytes()
    graph = decode_model(data)
    assert encode_model(graph) == data
    assert graph.self_test is not None
    reference = ReferenceNetwork(graph)
    reference.push(graph.self_test.events)
    reference.finish()
    assert zlib.crc32(reference.output().astype("<i4").tobytes()) == graph.self_test.digest
    model = _core.Model(data)
    for plan in ("streaming", "one-shot"):
        if model.arena_size(plan) is not None:
            _core.Network(model, plan).self_test()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_board_passes_their_self_tests(path: Path) -> None:
    """A board runs the self-test of an uploaded model before it takes it."""
    InferenceSession(path, "device", port="emulated").close()


def test_there_are_golden_models() -> None:
    assert len(FILES) >= 8
