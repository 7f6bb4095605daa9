"""The model of the documented example (docs/c-api.md), which api.c calls too."""

from __future__ import annotations

import numpy as np

from edgespike.graph import Accumulator, Dense, Graph, LevelInput, Population, Projection
from edgespike.modelfile import encode_model


def weighing_model() -> bytes:
    """A 3 x 3 input; every score is the sum of its levels times the score's number."""
    populations = (
        Population("in", (3, 3, 1), LevelInput(0, 9), None, np.zeros((3, 3, 1), np.int32)),
        Population("out", (1, 1, 3), Accumulator(), np.zeros((1, 1, 3), np.int32), None, 32),
    )
    weight = np.tile(np.array([1, 2, 3], np.int8), (9, 1))
    return encode_model(Graph(populations, (Projection(0, 1, Dense(weight)),)))
