"""Calibration data: samples of what the network will see, checked before anything is computed."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import DataError, UsageError


@dataclass(frozen=True, eq=False)
class Calibration:
    """Samples ``x`` (samples, ...), as the network takes them, and class numbers ``y`` if known.

    Raises:
        DataError: x is no non-empty array of finite numbers, or y does not fit it.
    """

    x: NDArray[Any]
    y: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        check_samples(self.x)
        if self.y is not None:
            object.__setattr__(self, "y", checked_labels(np.asarray(self.y), len(self.x)))


def load_calibration(path: str | Path) -> Calibration:
    """Reads an ``.npz`` file with an array ``x`` and, where labelled, ``y``.

    Raises:
        DataError: no such file, or nothing in it to calibrate with.
    """
    path = Path(path)
    hint = "write it with np.savez(path, x=samples, y=class_numbers)"
    if not path.is_file():
        message = f"{path}: there is no such file"
        raise DataError(message, "check the path of the calibration data", "data-missing")
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(f"{path}: one array, not an .npz archive", hint, "calibration-format")
        with archive:
            names = ", ".join(sorted(archive.files)) or "nothing"
            if "x" not in archive.files:
                raise DataError(f"{path}: no array x in it (it has {names})", hint, "calibration-format")
            x = archive["x"]
            y = archive["y"] if "y" in archive.files else None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        message = f"{path}: not a readable .npz archive of numbers"
        raise DataError(message, hint, "calibration-format") from error
    return Calibration(x, y)


def check_samples(x: NDArray[Any]) -> None:
    """Refuses what is no non-empty array of finite real numbers."""
    if x.dtype.kind not in "biuf":
        message = f"calibration x has type {x.dtype}"
        raise DataError(message, "store it as an array of floats or integers", "calibration-dtype")
    if x.ndim < 2 or x.size == 0:
        raise DataError(
            f"calibration x of shape {x.shape} holds no samples",
            "give some hundred samples, the first axis counting them",
            "calibration-empty",
        )
    if x.dtype.kind == "f":
        broken = ~np.isfinite(x.reshape(len(x), -1)).all(axis=1)
        if broken.any():
            raise DataError(
                f"calibration x has NaN or infinity in {int(broken.sum())} of {len(x)} samples, "
                f"the first is number {int(broken.argmax())}",
                "remove or repair these samples",
                "calibration-not-finite",
            )


def checked_labels(y: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Class numbers as int64."""
    hint = "y holds one class number, from 0, for each sample; leave it out where there are no classes"
    if y.shape not in ((count,), (count, 1)):
        message = f"calibration y has shape {y.shape}, for {count} samples"
        raise DataError(message, hint, "calibration-labels")
    whole = y.dtype.kind in "biu" or (y.dtype.kind == "f" and bool((y == np.floor(y)).all()))
    if not whole or y.min() < 0:
        message = f"calibration y of type {y.dtype} holds values that are not class numbers"
        raise DataError(message, hint, "calibration-labels")
    return y.reshape(-1).astype(np.int64)


def samples_for(calibration: Calibration, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The samples in the network's input shape: (samples, *shape).

    Axes of length 1 may be missing or added, and an image with one channel may be flat or
    not; nothing else is guessed.

    Raises:
        DataError: the samples have another shape.
    """
    x = calibration.x
    given = x.shape[1:]
    if given != shape:
        plain, expected = (tuple(size for size in sizes if size != 1) for sizes in (given, shape))
        one_is_flat = math.prod(given) == math.prod(shape) and min(len(plain), len(expected)) == 1
        if plain != expected and not (one_is_flat and max(len(plain), len(expected)) <= 2):
            same = sorted(plain) == sorted(expected)
            orders = (axes for axes in permutations(range(len(given))) if len(given) == len(shape))
            order = next((axes for axes in orders if tuple(given[axis] for axis in axes) == shape), None)
            moved = ", ".join(str(axis + 1) for axis in order or ())
            raise DataError(
                f"calibration x has samples of shape {given}, input {name} takes {shape}",
                f"x.transpose(0, {moved}) has the network's order of axes"
                if order
                else "transpose x into the network's order of axes"
                if same
                else "give samples of the network's shape",
                "calibration-shape",
            )
    return x.reshape(len(x), *shape)


def check_classes(scores: int, calibration: Calibration | None, classes: Sequence[str] | None) -> None:
    """Makes sure that labels and names fit the number of scores."""
    if classes is not None and len(classes) != scores:
        raise UsageError(f"{len(classes)} class names for {scores} scores", "give one name for each score")
    if calibration is not None and calibration.y is not None and calibration.y.max() >= scores:
        raise DataError(
            f"calibration y has class {calibration.y.max()}, the network has {scores} scores",
            "number the classes from 0, in the order of the network's scores",
            "calibration-labels",
        )
