"""Model files made once (tools/make_golden.py): the format and the bits stay what they were."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_vectors import FILES, golden_vector, push_all

from edgespike import _core
from edgespike.link import connect
from edgespike.modelfile import decode_model, encode_model


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_models(path: Path) -> None:
    data = path.read_bytes()
    graph = decode_model(data)
    assert encode_model(graph) == data
    assert graph.self_test is not None
    scores = np.array(golden_vector(path).scores, "<i4")
    assert zlib.crc32(scores.tobytes()) == graph.self_test.digest
    model = _core.Model(data)
    for plan in ("streaming", "one-shot"):
        if model.arena_size(plan) is not None:
            _core.Network(model, plan).self_test()


def emulated(data: bytes) -> Any:
    client = connect("emulated")
    client.upload(data)
    return client


@pytest.mark.parametrize(
    "make", [lambda data: _core.Network(_core.Model(data)), emulated], ids=["cpu", "emulated"]
)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_cpu_and_emulated_board_give_the_bits_of_the_reference(
    path: Path, make: Callable[[bytes], Any]
) -> None:
    """Other processors and boards: core/test_processors.py, firmware/test_boards.py."""
    vector = golden_vector(path)
    network = make(vector.data)
    push_all(network, vector.events)
    network.finish()
    assert network.output().tolist() == vector.scores
    assert network.stats()["populations"] == vector.populations


def test_there_are_golden_models() -> None:
    assert len(FILES) >= 8
