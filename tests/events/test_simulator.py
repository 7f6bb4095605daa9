"""The simulated camera: what a scene must and must not make."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgespike.errors import DataError, UsageError
from edgespike.events import Camera, saccade_frames, simulate_dvs

QUIET = Camera(threshold_on=0.25, threshold_off=0.25, mismatch=0.0, refractory_us=0, noise_hz=0.0)


def square(brightness: float = 1.0) -> NDArray[np.float64]:
    image = np.full((16, 16), 0.2)
    image[4:12, 4:12] = brightness
    return image


def test_seed_decides() -> None:
    frames, times = saccade_frames(square(), 20, 20)
    first, again, other = (simulate_dvs(frames, times, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert len(first) != len(other) or (first != other).any()


def test_still_scene_makes_only_noise() -> None:
    frames = np.repeat(square()[None], 501, axis=0)
    times = np.arange(501) * 2000  # one second
    assert len(simulate_dvs(frames, times, QUIET)) == 0
    noise = simulate_dvs(frames, times, replace(QUIET, noise_hz=20.0), seed=1)
    expected = 20 * 256
    assert abs(len(noise) - expected) < 5 * np.sqrt(expected)
    assert abs(noise["p"].mean() - 0.5) < 0.05
    assert len(np.unique(noise["y"].astype(int) * 16 + noise["x"])) == 256


def test_ramp_by_hand() -> None:
    """ln(intensity) rises by 1.1 in 1000 us, past 0.25, 0.5, 0.75, 1; then falls by 1.2, past 0.75, ... 0."""
    frames = np.exp([[[0.0]], [[1.1]], [[-0.1]]]) * 0.37
    events = simulate_dvs(frames, [0, 1000, 2000], QUIET)
    ups, downs = events[events["p"] == 1], events[events["p"] == 0]
    assert np.abs(ups["t"] - [227, 454, 681, 909]).max() <= 1
    assert np.abs(downs["t"] - [1291, 1500, 1708, 1916]).max() <= 1
    assert (np.diff(events["t"]) >= 0).all()


def test_refractory_time() -> None:
    frames, times = np.exp([[[0.0]], [[4.0]]]), [0, 1000]
    events = simulate_dvs(frames, times, replace(QUIET, refractory_us=200))
    assert len(events) < len(simulate_dvs(frames, times, QUIET))
    assert (np.diff(events["t"]) >= 199).all()  # times are cut to whole microseconds


@pytest.mark.parametrize("brightness", [1.0, 0.04])
def test_moving_edges(brightness: float) -> None:
    """A bright square that moves right brightens pixels at its right edge and darkens those at its left."""
    image = square(brightness)
    frames = np.stack([np.roll(image, step, axis=1) for step in range(4)])
    events = simulate_dvs(frames, np.arange(4) * 10_000, QUIET)
    right, left = events[events["x"] >= 12], events[events["x"] < 8]
    assert len(right) and len(left)
    assert (right["p"] == (brightness > 0.2)).all()
    assert (left["p"] == (brightness < 0.2)).all()
    assert ((events["y"] >= 4) & (events["y"] < 12)).all()


def test_mismatch_spreads_the_counts() -> None:
    frames = np.stack([np.full((40, 40), 1.0), np.full((40, 40), np.exp(10.0))])
    same = simulate_dvs(frames, [0, 10**6], QUIET)
    spread = simulate_dvs(frames, [0, 10**6], replace(QUIET, mismatch=0.1))
    pixel = spread["y"].astype(int) * 40 + spread["x"]
    counts = np.bincount(pixel, minlength=1600)
    assert len(same) == 40 * 1600
    assert 0.08 < counts.std() / counts.mean() < 0.13


def test_saccades_return_to_the_start() -> None:
    frames, times = saccade_frames(square(), 20, 24, saccade_us=50_000, frame_us=1_000, amplitude=5.0)
    assert frames.shape == (151, 20, 24)
    assert times[[0, -1]].tolist() == [0, 150_000]
    np.testing.assert_allclose(frames[0], frames[-1])
    grid = np.indices((20, 24)).reshape(2, -1)
    corners = [np.average(grid, axis=1, weights=frame.ravel() - 0.2) for frame in frames[[0, 50, 100, 150]]]
    sides = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    np.testing.assert_allclose(sides, 5.0, atol=0.001)
    assert frames.min() == pytest.approx(0.2) and frames.max() == pytest.approx(1.0)


def test_nothing_moves_while_at_rest() -> None:
    still = saccade_frames(square(), 16, 16, amplitude=0.0)[0]
    assert (still == square()).all()


@pytest.mark.parametrize(
    ("frames", "times"),
    [
        (np.ones((1, 4, 4)), [0]),
        (np.ones((4, 4)), [0, 1, 2, 3]),
        (np.ones((3, 4, 4)), [0, 1]),
        (np.ones((3, 4, 4)), [0, 2, 2]),
        (np.zeros((2, 4, 4)), [0, 1]),
        (np.full((2, 4, 4), np.nan), [0, 1]),
    ],
)
def test_refused_frames(frames: Any, times: list[int]) -> None:
    with pytest.raises(DataError):
        simulate_dvs(frames, times)


@pytest.mark.parametrize("wrong", [{"threshold_on": 0.0}, {"mismatch": -1.0}, {"refractory_us": -1}])
def test_refused_cameras(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Camera(**wrong)  # type: ignore[arg-type]
