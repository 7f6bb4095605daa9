"""What a verb is given to classify: tensors in NumPy files, or event recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import DataError
from edgespike.events import find_recordings
from edgespike.session import InferenceSession, Result, TensorInfo

__all__ = ["Sample", "class_name", "classify", "find_samples"]


@dataclass(frozen=True)
class Sample:
    """Something to classify. ``load`` gives its events (dtype ``EVENT``) or its tensor."""

    name: str
    label: int | None
    load: Callable[[], NDArray[Any]]


def find_samples(paths: Iterable[Path], session: InferenceSession) -> list[Sample]:
    """The samples in files, folders and zip archives, in order.

    A NumPy file is one tensor or a batch of them (key ``x``, labels in ``y``) unless it holds events.

    Raises:
        DataError: naming the file that cannot be used.
    """
    return [sample for path in paths for sample in _samples_of(path, session)]


def classify(session: InferenceSession, content: NDArray[Any]) -> Result:
    """What the network says of a recording or a tensor."""
    if content.dtype.names:
        return session.classify(content)
    return next(session.iterate(content[None]))


def class_name(session: InferenceSession, label: int) -> str:
    """The class's name, or its number."""
    return session.classes[label] if session.classes and label < len(session.classes) else str(label)


def _samples_of(path: Path, session: InferenceSession) -> Iterator[Sample]:
    arrays = _tensors(path)
    if arrays is None:
        for recording in find_recordings(path, classes=session.classes):
            yield Sample(recording.name, recording.label, recording.read)
        return
    x, y = arrays
    (expected,) = session.get_inputs()
    batch = as_batch(x, expected)
    if y is not None and (y.shape != batch.shape[:1] or y.dtype.kind not in "iu"):
        raise DataError(
            f"{path}: y has shape {y.shape} and type {y.dtype} beside {len(batch)} samples",
            "y must be one whole number for each sample",
            "label-shape",
        )
    for number, values in enumerate(batch):
        name = path.name if len(batch) == 1 else f"{path.name}[{number}]"
        yield Sample(name, None if y is None else int(y[number]), partial(np.asarray, values))


def _tensors(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None] | None:
    """The arrays x and y of a NumPy file; None where it is no tensor file but one of events."""
    if path.is_dir() or path.suffix.lower() not in (".npy", ".npz"):
        return None
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (ValueError, EOFError, OSError, KeyError) as error:
        raise DataError(
            f"{path}: cut short, or not a NumPy file: {error}",
            "save it with numpy.save or numpy.savez",
            "data-file",
        ) from error
    if "t" in arrays or any(array.dtype.names for array in arrays.values()):
        return None
    if "x" not in arrays:
        raise DataError(
            f"{path}: no array named x, only {', '.join(arrays) or 'none at all'}",
            "save samples as x and labels as y: numpy.savez(path, x=..., y=...)",
            "data-keys",
        )
    return arrays["x"], arrays.get("y")


def as_batch(values: NDArray[Any], expected: TensorInfo) -> NDArray[Any]:
    """Adds a batch axis and axes of length 1 where they are missing; a shape that differs stays."""
    fixed = tuple(size for size in expected.shape if size is not None)
    free = len(expected.shape) - len(fixed)
    long = [size for size in fixed if size != 1]
    for lead in (free, free - 1):
        if [size for size in values.shape[lead:] if size != 1] == long and values.ndim >= lead:
            return values.reshape((1,) * (free - lead) + values.shape[:lead] + fixed)
    return values
