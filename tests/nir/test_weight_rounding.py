"""Weights of spiking networks as whole numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgespike.convert.spiking_units import rounded


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.sampled_from([7, 127]), st.floats(0.01, 1))
def test_sums_are_kept_and_zeros_stay(seed: int, sources: int, limit: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.uniform(-limit, limit, (sources, 5)) * (rng.random((sources, 5)) < share)
    whole = rounded(values, limit)
    assert (whole == np.round(whole)).all() and np.abs(whole).max() <= limit
    assert (np.abs(whole - values) < 1).all()
    assert (whole[values == 0] == 0).all()
    assert (np.abs((whole - values).sum(axis=0)) <= 0.5 + 1e-6).all()


def test_whole_numbers_stay() -> None:
    values = np.arange(-127, 128).reshape(-1, 1) + 1e-12
    np.testing.assert_array_equal(rounded(values, 127), np.arange(-127, 128).reshape(-1, 1))


@pytest.mark.parametrize("limit", [7, 127])
def test_nearest_where_errors_cancel(limit: int) -> None:
    values = np.array([[0.4], [-0.4], [2.7], [-2.7]])
    np.testing.assert_array_equal(rounded(values, limit), np.floor(values + 0.5))
