"""Samples in the shapes that people have them in."""

from __future__ import annotations

import numpy as np
import pytest

from edgespike.cli.samples import as_batch
from edgespike.errors import DataError
from edgespike.session import TensorInfo

Shape = tuple[int | None, ...]


@pytest.mark.parametrize(
    ("given", "expected", "taken"),
    [
        ((5, 1, 28, 28), (None, 1, 28, 28), (5, 1, 28, 28)),
        ((5, 28, 28), (None, 1, 28, 28), (5, 1, 28, 28)),
        ((1, 28, 28), (None, 1, 28, 28), (1, 1, 28, 28)),
        ((28, 28), (None, 1, 28, 28), (1, 1, 28, 28)),
        ((5, 28, 28), (None, 784), (5, 784)),
        ((784,), (None, 784), (1, 784)),
        ((5, 784), (None, 1, 28, 28), (5, 1, 28, 28)),
        ((1000, 1), (None, None, 1), (1, 1000, 1)),
        ((5, 1000, 1), (None, None, 1), (5, 1000, 1)),
        ((5, 1000), (None, None, 1), (5, 1000, 1)),
        ((40, 2, 34, 34), (None, None, 2, 34, 34), (1, 40, 2, 34, 34)),
    ],
)
def test_missing_axes_are_added(given: Shape, expected: Shape, taken: Shape) -> None:
    values = np.arange(np.prod(given)).reshape(given)
    batch = as_batch(values, TensorInfo("x", expected))
    assert batch.shape == taken
    assert np.array_equal(batch.reshape(-1), values.reshape(-1))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((5, 28, 27), (None, 1, 28, 28)),
        ((5, 2, 28, 28), (None, 1, 28, 28)),
        ((5, 28, 28, 2), (None, 2, 28, 28)),
        ((5, 2, 14, 28), (None, 784)),
        ((), (None, 3)),
    ],
)
def test_nothing_else_is_guessed(given: Shape, expected: Shape) -> None:
    with pytest.raises(DataError, match="shape"):
        as_batch(np.zeros(given), TensorInfo("x", expected))
