"""Integer weights that give back, on the calibration samples, what the float network computes.

A layer sees the quantized levels of the layers before, x (places, sources), and should give the
float network's values z. Two steps, for all target channels at once, from H = x'x, the levels
taken from their mean (the bias takes up the mean):

1. The real weights that do best with quantized levels: a ridge regression of what is missing,
   z - x w, on x. How far it may go is decided on samples that were kept apart, so a layer with
   few samples, or nothing to gain, keeps the weights it was trained to.
2. Rounding source by source, the error of each passed on to those that are still real, by how
   they correlate (E. Frantar, S. Ashkboos, T. Hoefler, D. Alistarh, "GPTQ: Accurate Post-Training
   Quantization for Generative Pre-trained Transformers", 2022).

Arrays are batches for the groups of a convolution: x (groups, places, sources), z (groups, places,
targets), weights (groups, sources, targets); see grouped.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgespike.importers.network import Float

LIMITS = {8: 127, 4: 7}  # greatest weight, by bits
ONE_TO_ONE_LIMIT = 32767
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the mean of H's diagonal
KEPT_APART = 4  # one in this many places
DAMPING = 0.01  # of the mean of H's diagonal: fewer places than sources leave it singular
BLOCK = 64  # sources rounded before their errors are passed on to the rest
CLIPS = np.linspace(0.4, 1.0, 25)

Single = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over places: ``h``, x'x (groups, sources, sources); ``cross``, x'z (groups, sources, targets)."""

    h: Float
    cross: Float


def moments(x: Single, z: Single) -> tuple[Moments, Moments]:
    """Of the first places, and of those kept apart, the last ones; both from the mean of all."""
    split = x.shape[1] - x.shape[1] // KEPT_APART
    x, z = (values - values.mean(axis=1, keepdims=True) for values in (x, z))
    parts = []
    for part in (slice(split), slice(split, None)):
        across = x[:, part].transpose(0, 2, 1)
        parts.append(Moments((across @ x[:, part]).astype(float), (across @ z[:, part]).astype(float)))
    return parts[0], parts[1]


def damped(h: Float, share: float) -> Float:
    """H with a share of the mean of its diagonal added to the diagonal."""
    size = h.shape[1]
    mean = np.trace(h, axis1=1, axis2=2) / size
    return np.asarray(h + np.eye(size) * np.maximum(share * mean, 1e-12)[:, None, None])


def change(seen: Moments, kept: Moments) -> Float | None:
    """Step 1: what to add to the weights, where ``cross`` is with what is missing; None: nothing gains."""
    best, most = None, 0.0
    for ridge in RIDGES:
        tried = np.linalg.solve(damped(seen.h, ridge), seen.cross)
        gain = float((tried * (2 * kept.cross - kept.h @ tried)).sum())
        if gain > most:
            best, most = ridge, gain
    if best is None:
        return None
    return np.asarray(np.linalg.solve(damped(seen.h + kept.h, best), seen.cross + kept.cross))


def clipped_units(weight: Float, importance: Float, limit: int) -> Float:
    """By target, (groups, targets), the unit that costs least when weights beyond the limit are clipped.

    ``importance``: H's diagonal, (groups, sources).
    """
    whole = np.abs(weight).max(axis=1) / limit
    best, least = whole.copy(), np.full(whole.shape, np.inf)
    for part in CLIPS:
        unit = np.where(whole > 0, whole * part, 1.0)
        near = np.clip(np.rint(weight / unit[:, None]), -limit, limit) * unit[:, None]
        error = (np.square(near - weight) * importance[:, :, None]).sum(axis=1)
        better = error < least
        best[better], least[better] = unit[better], error[better]
    return np.where(whole > 0, best, 0.0)


def rounded(weight: Float, h: Float, unit: Float, limit: int) -> NDArray[np.int8]:
    """Step 2: whole numbers of each target's unit, from -limit to limit.

    Args:
        weight: (groups, sources, targets).
        h: (groups, sources, sources).
        unit: (groups, targets), above 0.
        limit: 127 or 7.
    """
    groups, size, _ = weight.shape
    order = np.argsort(-np.diagonal(h, axis1=1, axis2=2), axis=1, kind="stable")
    group = np.arange(groups)[:, None]
    real = (weight / unit[:, None])[group, order]
    ordered = damped(h[group[:, :, None], order[:, :, None], order[:, None, :]], DAMPING)
    passed = np.linalg.cholesky(np.linalg.inv(ordered)).transpose(0, 2, 1)
    whole = np.empty(real.shape)
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        errors = np.empty((groups, stop - start, real.shape[2]))
        for i in range(start, stop):
            whole[:, i] = np.clip(np.rint(real[:, i]), -limit, limit)
            errors[:, i - start] = (real[:, i] - whole[:, i]) / passed[:, i, i, None]
            real[:, i:stop] -= passed[:, i, i:stop, None] * errors[:, i - start, None]
        real[:, stop:] -= passed[:, start:stop, stop:].transpose(0, 2, 1) @ errors
    result = np.empty_like(whole, np.int8)
    result[group, order] = whole
    return result
