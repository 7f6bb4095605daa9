"""Writes small NIR files."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from literal import Save


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """``save(nodes, edges=None)``: writes a NIR file; without edges the nodes are a chain."""

    def write(nodes: dict[str, Any], edges: list[tuple[str, str]] | None = None) -> Path:
        names = list(nodes)
        edges = list(pairwise(names)) if edges is None else edges
        path = tmp_path / "network.nir"
        nir.write(path, nir.NIRGraph(nodes, edges, type_check=False))
        return path

    return write


@pytest.fixture
def chain(save: Save) -> Save:
    """``chain(input_shape, output_shape, **nodes)``: writes nodes in a row between Input and Output."""

    def write(input_shape: tuple[int, ...], output_shape: tuple[int, ...], **nodes: Any) -> Path:
        ends = nir.Input(np.array(input_shape)), nir.Output(np.array(output_shape))
        return save({"input": ends[0], **nodes, "output": ends[1]})

    return write
