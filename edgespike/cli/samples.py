"""What a verb is given to classify: tensors in NumPy files, or event recordings."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.cli.failure import about
from edgespike.errors import DataError
from edgespike.events import Recording, Sensor, check_events, find_recordings, smallest_sensor
from edgespike.graph import SpikeInput
from edgespike.session import InferenceSession, Result, TensorInfo

__all__ = ["Sample", "class_name", "classify", "find_samples", "find_streams", "require_events"]


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


def find_streams(
    path: Path, session: InferenceSession, filters: Callable[[NDArray[Any]], NDArray[Any]] | None = None
) -> list[Sample]:
    """The event recordings in a file, folder or zip archive.

    Args:
        filters: what events go through first, if anything.

    Raises:
        DataError: there are none, or the network takes no events.
    """
    require_events(session)
    return [
        Sample(recording.name, recording.label, partial(_load_recording, recording, session, filters))
        for recording in find_recordings(path, classes=session.classes)
    ]


def classify(session: InferenceSession, sample: Sample, content: NDArray[Any]) -> Result:
    """What the network says of a sample's content."""
    with about(sample.name, DataError):
        if content.dtype.names:
            return session.classify(content)
        return next(session.iterate(content[None]))


def class_name(session: InferenceSession, label: int) -> str:
    """The class's name, or its number."""
    return session.classes[label] if session.classes and label < len(session.classes) else str(label)


def require_events(
    session: InferenceSession,
    hint: str = "classify samples with `edgespike run` or `edgespike eval`, or convert with --sensor",
) -> None:
    """Raises DataError when the network takes no events."""
    takes_spikes = isinstance(session.graph.populations[0].neuron, SpikeInput)
    if session.graph.input.event_counts is None and not takes_spikes:
        raise DataError("an event recording, but the network takes samples", hint, "event-input")


def _load_recording(
    recording: Recording,
    session: InferenceSession,
    filters: Callable[[NDArray[Any]], NDArray[Any]] | None,
) -> NDArray[Any]:
    """The events, checked against the sensor that the network was made for."""
    first = session.graph.populations[0]
    height, width, channels = first.shape
    counts = session.graph.input.event_counts
    with about(recording.name, DataError):
        require_events(
            session, "convert the network with --sensor and --window, or give samples (.npy, .npz)"
        )
        events = recording.read()
        if filters:
            events = filters(events)
        needed = smallest_sensor(events)
        if needed[0] > width or needed[1] > height:
            raise other_sensor(needed, (width, height))
        check_events(events, height, width, 2 if counts else channels)
    return events


def other_sensor(theirs: Sensor, ours: Sensor) -> DataError:
    """What to do with events of a sensor that is larger than the network's; widths and heights."""
    factor = max(-(-theirs[0] // ours[0]), -(-theirs[1] // ours[1]))
    hint = f"--downsample {factor}"
    if theirs[0] >= ours[0] and theirs[1] >= ours[1]:
        x, y = (theirs[0] - ours[0]) // 2, (theirs[1] - ours[1]) // 2
        hint += f", or --crop {x},{y},{ours[0]}x{ours[1]} for the middle"
    return DataError(
        f"events of a sensor of {theirs[0]}x{theirs[1]}, for a network made for {ours[0]}x{ours[1]}",
        f"{hint} would fit, in `edgespike stream` or `edgespike convert-events`",
        "event-sensor",
    )


def _samples_of(path: Path, session: InferenceSession) -> list[Sample]:
    arrays = _tensors(path)
    if arrays is None:
        return find_streams(path, session)
    x, y = arrays
    with about(path, DataError):
        batch = as_batch(x, session.get_inputs()[0])
        labels = _labels(y, len(batch), session.graph.populations[-1].size)
    numbers = range(len(batch))
    names = [path.name if len(batch) == 1 else f"{path.name}[{number}]" for number in numbers]
    return [Sample(names[i], labels[i], partial(np.asarray, batch[i])) for i in numbers]


def _labels(y: NDArray[Any] | None, samples: int, classes: int) -> list[int | None]:
    if not samples:
        raise DataError("no samples: x is empty", "give at least one sample", "data-empty")
    if y is None:
        return [None] * samples
    if y.shape != (samples,) or y.dtype.kind not in "iu":
        raise DataError(
            f"y has shape {y.shape} and type {y.dtype} beside {samples} samples",
            "y must be one whole number for each sample",
            "label-shape",
        )
    if y.min() < 0 or y.max() >= classes:
        raise DataError(
            f"y holds labels from {y.min()} to {y.max()}, but the network has {classes} scores",
            f"labels count from 0 to {classes - 1}",
            "label-range",
        )
    return [int(label) for label in y]


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
    """The values in the network's shape, (samples, ...).

    The batch axis and axes of length 1 may be missing, and an image with one channel may be
    flat or not, as in calibration data.
    """
    fixed = tuple(size for size in expected.shape if size is not None)
    free = len(expected.shape) - len(fixed)
    for agree, lead in product((operator.eq, same_sizes), (free, free - 1)):
        if values.ndim >= lead and agree(values.shape[lead:], fixed):
            return values.reshape((1,) * (free - lead) + values.shape[:lead] + fixed)
    shown = ", ".join("any" if size is None else str(size) for size in expected.shape)
    raise DataError(
        f"shape {values.shape}, but the network's input {expected.name!r} is ({shown})",
        "the first axis counts samples",
        "input-shape",
    )


def same_sizes(given: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether two shapes differ in axes of length 1 only, or one is the other's image made flat."""
    long, wanted = ([size for size in sizes if size != 1] for sizes in (given, expected))
    one_is_flat = min(len(long), len(wanted)) == 1 and max(len(long), len(wanted)) == 2
    return long == wanted or (one_is_flat and math.prod(long) == math.prod(wanted))
