"""Recordings of an ordinary sensor, in text or NumPy files, at their own pace."""

from __future__ import annotations

import math
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import DataError
from edgespike.events import Sensor
from edgespike.sources.samples import SampleLines, Sampling

_BLOCK = 4096  # samples that go out together at most


class SampleFile:
    """A recording of a sensor, played at its own pace.

    Args:
        path: text as from a serial line; or .npy or .npz (its one array, or ``x``), (n,) or (n, columns).
        sampling: what it holds.
        speed: 1: real time; infinity: at once.
        rounds: how often it is played; 0: without end.

    Raises:
        DataError: it cannot be read, or is no recording of samples.
    """

    sensor: Sensor | None = None
    clock_bits = 64
    waits = True

    def __init__(self, path: Path, sampling: Sampling, speed: float = 1.0, rounds: int = 1) -> None:
        self.name = str(path)
        self.dtype = sampling.dtype
        self.speed, self.rounds = speed, rounds
        self.sampling = sampling
        self._samples, self._malformed = read_samples(path, sampling)
        self._step_us = int(self._samples["t"][-1]) + sampling.period_us  # from round to round
        self._round = self._next = 0
        self._start = 0.0

    def open(self) -> None:
        """The first sample is due now."""
        self._start = time.perf_counter()

    def receive(self, timeout: float) -> tuple[NDArray[Any] | None, int]:
        """The samples that are due, at least one unless none is due soon."""
        if self._next == len(self._samples):
            self._round, self._next = self._round + 1, 0
        if self._round == self.rounds > 0:
            return None, 0
        begun_us = self._round * self._step_us
        end = min(self._next + _BLOCK, len(self._samples))
        if math.isfinite(self.speed):
            first_s = (begun_us + int(self._samples["t"][self._next])) / 1e6 / self.speed
            time.sleep(min(timeout, max(0.0, self._start + first_s - time.perf_counter())))
            now_us = (time.perf_counter() - self._start) * 1e6 * self.speed - begun_us
            end = min(end, int(np.searchsorted(self._samples["t"], now_us, "right")))
        block = self._samples[self._next : end].copy()
        block["t"] += begun_us
        self._next = max(end, self._next)
        malformed, self._malformed = self._malformed, 0
        return block, malformed

    def close(self) -> None:
        """Nothing to let go of."""


def read_samples(path: Path, sampling: Sampling) -> tuple[NDArray[Any], int]:
    """The samples of a file, and how many of its lines make no sense.

    Raises:
        DataError: it cannot be read, or holds none.
    """
    if path.suffix.lower() in (".npy", ".npz"):
        samples, malformed = _from_array(_load(path), sampling), 0
    else:
        samples, malformed = SampleLines(sampling)(path.read_bytes().split(b"\n"))
    if not len(samples):
        wanted = "one number" if sampling.columns == 1 else f"{sampling.columns} numbers"
        raise DataError(
            f"no sample of {wanted} in it",
            "choose the columns that the network takes with --columns, such as --columns 2",
            "sample-file",
        )
    return samples, malformed


def _load(path: Path) -> NDArray[Any]:
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"cut short, or not a NumPy file: {error}", "save it with numpy.save", "data-file"
        ) from error
    values = arrays.get("x", next(iter(arrays.values())) if len(arrays) == 1 else None)
    if values is None or values.ndim not in (1, 2) or values.dtype.kind not in "iuf":
        raise DataError(
            f"no array x of samples (n,) or (n, columns), but {', '.join(arrays) or 'nothing'}",
            "save samples as x: numpy.savez(path, x=samples)",
            "sample-file",
        )
    return values.reshape(len(values), -1)


def _from_array(values: NDArray[Any], sampling: Sampling) -> NDArray[Any]:
    chosen = sampling.chosen or tuple(range(sampling.columns))
    if max(chosen) >= values.shape[1] or (sampling.chosen is None and values.shape[1] != sampling.columns):
        raise DataError(
            f"it has {values.shape[1]} columns, where the network takes {sampling.columns}",
            "choose columns that there are with --columns, such as --columns 1",
            "sample-columns",
        )
    values = values[:, chosen]
    finite = np.isfinite(values).all(axis=1)
    return sampling.samples(np.flatnonzero(finite), values[finite])
