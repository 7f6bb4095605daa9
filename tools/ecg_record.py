"""An electrocardiogram for `train_ecg.py` and `measure_ecg.py`: the record, its beats, how it is split.

It is number 100 of the MIT-BIH Arrhythmia Database (G. B. Moody, R. G. Mark, 2001, ODC-BY 1.0), first
lead, as its samples are: whole numbers of an 11-bit converter, 360 a second, for 30 minutes. It has
2239 normal beats, 33 premature ones of the atria and one of the ventricles.

The first 20 minutes (18 premature beats) are for training, the last 10 (16) for test. The network sees a
window of 1.6 s and says whether a beat lies at its 1.2nd second, and which.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

RATE = 360
WINDOW, PLACE = 576, 432  # samples; where in the window the beat is
HOP = 18  # samples from window to window
NEAR, FAR = 9, 27  # so near is a beat, so far is none; between, either answer is right
TRAINED_S = 1200
CLASSES = ("none", "normal", "premature")


@dataclass(frozen=True)
class Record:
    """``signal``: samples. ``beats``: at which of them beats are; ``premature``: which of those are."""

    signal: NDArray[np.int64]
    beats: NDArray[np.int64]
    premature: NDArray[np.bool_]

    @classmethod
    def read(cls, path: Path) -> Self:
        """From the arrays signal, beat_sample and beat_symbol."""
        arrays = np.load(path)
        chosen = np.isin(arrays["beat_symbol"], ["N", "A", "V"])
        symbols = arrays["beat_symbol"][chosen]
        return cls(
            arrays["signal"][:, 0].astype(np.int64),
            arrays["beat_sample"][chosen].astype(np.int64),
            symbols != "N",
        )

    def labels(self, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        """What windows that end before the samples ``ends`` show: a class, or -1 for either of two."""
        places = ends - WINDOW + PLACE
        after = np.clip(np.searchsorted(self.beats, places), 1, len(self.beats) - 1)
        nearest = np.where(places - self.beats[after - 1] <= self.beats[after] - places, after - 1, after)
        distance = np.abs(self.beats[nearest] - places)
        near = np.where(self.premature[nearest], 2, 1)
        return np.where(distance <= NEAR, near, np.where(distance < FAR, -1, 0)).astype(np.int64)

    def windows(self, begin: int, end: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Windows (n, 1, WINDOW) that end in a part of the record, one each HOP; what they show, no -1."""
        ends = np.arange(begin, end + 1, HOP)
        labels = self.labels(ends)
        ends, labels = ends[labels >= 0], labels[labels >= 0]
        return self.signal[ends[:, None] + np.arange(-WINDOW, 0)].astype(np.float32)[:, None], labels


def some_windows(record: Record) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Windows of the training part for calibration: at most 150 of each class."""
    x, y = record.windows(WINDOW, TRAINED_S * RATE)
    chosen = np.concatenate([np.flatnonzero(y == label)[:150] for label in range(len(CLASSES))])
    return x[chosen], y[chosen]
