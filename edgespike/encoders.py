"""Encoders: samples of ordinary sensors as events, or as the input levels of a network on a sliding window.

What they do to the bit is in docs/sensors.md. They are C code that boards run as well
(core/sensor/es_encode.h, es_window.h), sample by sample: any pieces of a stream give the same.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from edgespike._sensor import Encode, Slide
from edgespike.errors import DataError, UsageError
from edgespike.graph import LevelInput, Shape, SpikeInput
from edgespike.session import InferenceSession

__all__ = [
    "SENSOR_EVENT",
    "Code",
    "Delta",
    "Encoder",
    "Gaussian",
    "Latency",
    "Rate",
    "Window",
    "WindowEncoder",
    "parse_code",
    "sample_times",
    "whole_numbers",
]

# What InferenceSession.push takes; value: how an input level changes, else 1.
SENSOR_EVENT = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "<u2"), ("value", "<i2")])
LARGEST = (1 << 30) - 1  # of a sample


@dataclass(frozen=True)
class Delta:
    """Send-on-delta: an event (p 1: up, 0: down) for each ``threshold`` that a column has gone since the
    last one; at most ``most`` a sample, the others follow with the next samples.
    """

    threshold: int
    most: int = 32
    channels: ClassVar[int] = 2


@dataclass(frozen=True)
class Rate:
    """The greater a value, the more events: none at ``low``, one in each of ``steps`` at ``high``."""

    low: int
    high: int
    steps: int = 1
    channels: ClassVar[int] = 1


@dataclass(frozen=True)
class Latency:
    """Time to first spike: one event a sample, the sooner the greater the value; none at ``low``."""

    low: int
    high: int
    steps: int
    channels: ClassVar[int] = 1


@dataclass(frozen=True)
class Gaussian:
    """A population of ``units`` neurons a column, whose values lie evenly from ``low`` to ``high``.

    Each answers by a Gaussian of standard deviation ``width`` (0: two thirds of the distance of two
    neurons), and tells its answer as ``latency`` or as ``rate``.
    """

    low: int
    high: int
    units: int
    steps: int
    width: int = 0
    spikes: Literal["latency", "rate"] = "latency"
    channels: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.width == 0 and self.units > 1:
            object.__setattr__(self, "width", max(1, 2 * (self.high - self.low) // (3 * (self.units - 1))))


@dataclass(frozen=True)
class Window:
    """The newest samples as the input of a network made for them; a result each ``hop`` samples.

    A number counts as the one before it until it is ``deadband`` away, which makes changes rare.
    ``time``: which axis of the network's input is time, of two: ``last`` (columns, length) or ``first``.
    """

    hop: int = 1
    deadband: int = 0
    time: Literal["first", "last"] = "last"


Code = Delta | Rate | Latency | Gaussian

_CODES: dict[str, type[Code | Window]] = {
    "delta": Delta,
    "rate": Rate,
    "latency": Latency,
    "gaussian": Gaussian,
    "window": Window,
}
_MEASURED = ("threshold", "deadband", "low", "high", "width")  # in the sensor's unit
_CHOICES = {"spikes": ("latency", "rate"), "time": ("first", "last")}
_KINDS = {Delta: 0, Rate: 1, Latency: 2}
_EACH = Window()


def parse_code(text: str, scale: Fraction = Fraction(1)) -> Code | Window:
    """A code as it is written, such as ``delta:threshold=0.5``, ``rate:low=0,high=10,steps=4``, ``window``.

    Args:
        scale: whole numbers to the sensor's unit.

    Raises:
        UsageError: no code, or a number is missing or makes no sense.
    """
    name, _, rest = text.partition(":")
    if name not in _CODES:
        raise UsageError(f"there is no code {name!r}", f"choose {', '.join(_CODES)}")
    known = {field.name for field in fields(_CODES[name])}
    form = (
        f"write {name}:{','.join(f'{key}=...' for key in sorted(known))}; docs/sensors.md says what they mean"
    )
    values: dict[str, Any] = {}
    for part in rest.split(",") if rest else []:
        key, _, value = part.partition("=")
        if key not in known or key in values:
            raise UsageError(f"{text!r}: {part!r} means nothing here", form)
        if key in _CHOICES:
            if value not in _CHOICES[key]:
                raise UsageError(f"{text!r}: {key}={value}", f"choose {' or '.join(_CHOICES[key])}")
            values[key] = value
            continue
        try:
            exact = Fraction(value) * (scale if key in _MEASURED else 1)
        except (ValueError, ZeroDivisionError):
            raise UsageError(f"{text!r}: {value!r} is no number", form) from None
        values[key] = round(exact)
        if key not in _MEASURED and values[key] != exact:
            raise UsageError(f"{text!r}: {key} is a whole number", form)
    try:
        code = _CODES[name](**values)
    except TypeError:
        raise UsageError(f"{text!r}: a number is missing", form) from None
    if isinstance(code, Window):
        _check({"hop": (code.hop, 1, 65535), "deadband": (code.deadband, 0, LARGEST)})
    else:
        _encode_settings(code)
    return code


def sample_times(numbers: NDArray[np.int64], rate_hz: Fraction) -> NDArray[np.int64]:
    """Microseconds at which samples of these numbers are taken: ``floor(number / rate)``."""
    return np.asarray(numbers * (1_000_000 * rate_hz.denominator) // rate_hz.numerator)


def whole_numbers(values: NDArray[Any], scale: Fraction) -> NDArray[np.int32]:
    """Samples in the sensor's unit as whole numbers: ``floor(value * scale + 1/2)``, at most +-(2^30 - 1)."""
    if values.dtype.kind in "iu" and scale == 1:
        return np.asarray(np.clip(values, -LARGEST, LARGEST), np.int32)
    scaled = np.floor(values.astype(np.float64) * float(scale) + 0.5)
    return np.asarray(np.clip(scaled, -LARGEST, LARGEST), np.int32)


class Encoder:
    """Encodes one stream of samples.

    ``shape``: height, width and channels of what the events name: units, columns, polarities.

    Args:
        code: delta, rate, latency or Gaussian.
        columns: values of a sample.
        period_us: microseconds from a sample to the next; steps divide it.

    Raises:
        UsageError: a number is out of range.
    """

    def __init__(self, code: Code, columns: int, period_us: int) -> None:
        self.code = code
        self.columns = columns
        self.flat = False
        self.shape: Shape = (code.units if isinstance(code, Gaussian) else 1, columns, code.channels)
        _check({"columns": (columns, 1, 65535), "period": (period_us, 1, (1 << 32) - 1)})
        self._encode = Encode(columns=columns, period=period_us, **_encode_settings(code))

    @classmethod
    def for_network(cls, session: InferenceSession, code: Code, period_us: int) -> Self:
        """An encoder whose events fit a network: its input has the encoder's shape, or is a vector as long.

        Raises:
            DataError: neither is so.
        """
        first = session.graph.populations[0]
        height, width, channels = first.shape
        units = code.units if isinstance(code, Gaussian) else 1
        counts = session.graph.input.event_counts
        if not isinstance(first.neuron, SpikeInput) and counts is None:
            raise DataError(
                "the network takes samples, not events", "choose --encode window", "encoder-input"
            )
        flat = counts is None and height == width == 1 and channels % (units * code.channels) == 0
        if not flat and (height != units or (counts is None and channels != code.channels)):
            raise DataError(
                f"the code makes {units} x columns x {code.channels} (height, width, channels), "
                f"the network takes {height} x {width} x {channels}",
                "choose another code or number of units",
                "encoder-shape",
            )
        encoder = cls(code, channels // (units * code.channels) if flat else width, period_us)
        encoder.flat = flat
        return encoder

    def __call__(self, samples: NDArray[Any], times: NDArray[np.int64]) -> NDArray[Any]:
        """Events (dtype SENSOR_EVENT) of samples (n, columns), whole numbers, at times (n,) in microseconds.

        x is the column and y the unit, p is 1 (up) or 0 (down) of a delta code, else 0. For a network on a
        vector, p is ``(y * columns + x) * channels + p``, and x and y are 0.
        """
        events = self._encode.run(samples, times)
        if self.flat:
            _, width, channels = self.shape
            events["p"] += (events["y"] * width + events["x"]) * channels
            events["x"] = events["y"] = 0
        return events

    def reset(self) -> None:
        """Begin a new stream."""
        self._encode.reset()


def _encode_settings(code: Code) -> dict[str, int]:
    """A code as fields of es_encode_settings; raises UsageError for what is out of range."""
    if isinstance(code, Delta):
        _check({"threshold": (code.threshold, 1, LARGEST), "most": (code.most, 1, 65535)})
        return {"code": _KINDS[Delta], "threshold": code.threshold, "most": code.most}
    _check({"low": (code.low, -LARGEST, LARGEST - 1), "steps": (code.steps, 1, 65535)})
    _check({"high": (code.high, code.low + 1, min(LARGEST, code.low + LARGEST))})
    settings = {"low": code.low, "high": code.high, "steps": code.steps}
    if isinstance(code, Gaussian):
        _check({"units": (code.units, 2, 65535), "width": (code.width, 1, LARGEST)})
        kind = _KINDS[Rate if code.spikes == "rate" else Latency]
        return {"code": kind, **settings, "units": code.units, "width": code.width}
    return {"code": _KINDS[type(code)], **settings}


def _check(limits: dict[str, tuple[int, int, int]]) -> None:
    for name, (value, low, high) in limits.items():
        if not low <= value <= high:
            raise UsageError(
                f"{name} is {value}, outside {low} to {high}", "docs/sensors.md says what it means"
            )


class WindowEncoder:
    """The newest samples as the input of a network, which is told what changed.

    Of a network made for samples of shape (columns, length), in any order and with axes of length 1
    anywhere, each number becomes the level that ``InferenceSession.quantize`` gives it.
    ``columns`` and ``length`` are those of the network, ``settings`` the fields of es_window_settings.

    Args:
        session: the network; the encoder itself leaves it as it is.
        window: hop, deadband, and the axis of time.
        scale: whole numbers to the network's unit: sample / scale is what the network sees.

    Raises:
        DataError: the network takes events, or no samples in time.
    """

    def __init__(
        self, session: InferenceSession, window: Window = _EACH, scale: Fraction = Fraction(1)
    ) -> None:
        first = session.graph.populations[0]
        if not isinstance(first.neuron, LevelInput) or session.graph.input.event_counts is not None:
            raise DataError(
                "a sliding window of samples, but the network takes events",
                "convert an ONNX network without --sensor, or choose another code",
                "window-input",
            )
        neurons = _window_neurons(session, window)
        self.length, self.columns = neurons.shape
        self.hop = window.hop
        self.settings = {
            "hop": window.hop,
            "deadband": window.deadband,
            **_window_settings(session, neurons, scale),
        }
        self._slide = Slide(**self.settings)

    def __call__(self, samples: NDArray[Any], times: NDArray[np.int64]) -> list[tuple[int, NDArray[Any]]]:
        """For each result that is due: its time in microseconds, and the changes before it (SENSOR_EVENT).

        Samples: (n, columns), whole numbers; times: (n,) of them, in microseconds.
        """
        return self._slide.run(samples, times)

    def reset(self) -> None:
        """Begin a new stream; reset the network too."""
        self._slide.reset()

    def restart(self) -> None:
        """Samples were lost: the window fills anew before the next result. The network stays as it is."""
        self._slide.restart()


def _window_neurons(session: InferenceSession, window: Window) -> NDArray[np.int64]:
    """The input neuron of each sample in the window, (length, columns)."""
    info = session.graph.metadata["input"]
    sizes = [size for size in info["shape"] if size != 1]
    if len(sizes) > 2 or session.window_us:
        raise DataError(
            f"a sliding window of samples, but the network takes samples of shape {tuple(info['shape'])}"
            + (f" in windows of {session.window_us:,} us" if session.window_us else ""),
            "a network for a window of samples has an input of shape (columns, length)",
            "window-input",
        )
    places = np.arange(np.prod(info["shape"])).reshape(info["grid"]).transpose(info["axes"])
    neurons = np.argsort(places, axis=None)  # of each number of the network's input
    columns = sizes[0 if window.time == "last" else 1] if len(sizes) == 2 else 1
    return neurons.reshape(columns, -1).T if window.time == "last" else neurons.reshape(-1, columns)


def _window_settings(
    session: InferenceSession, neurons: NDArray[np.int64], scale: Fraction
) -> dict[str, Any]:
    """The fields of es_window_settings."""
    first = session.graph.populations[0]
    assert isinstance(first.neuron, LevelInput) and first.initial_level is not None
    info = session.graph.metadata["input"]
    _, width, channels = first.shape
    position = int(neurons[1, 0] - neurons[0, 0]) if len(neurons) > 1 else 0
    column = int(neurons[0, 1] - neurons[0, 0]) if neurons.shape[1] > 1 else 0
    regular = np.arange(len(neurons))[:, None] * position + np.arange(neurons.shape[1]) * column
    multiply, add = (
        np.broadcast_to(np.asarray(info[name], np.float64), first.shape).ravel()[neurons]
        for name in ("multiply", "add")
    )
    if (regular != neurons).any() or (multiply != multiply[0]).any() or (add != add[0]).any():
        raise DataError(
            "the network scales each place of its window in its own way, or orders them anew",
            "let it scale samples by column only",
            "window-input",
        )
    if (multiply[0] < 0).any():
        raise DataError("the network turns its input upside down", "take out the minus sign", "window-input")
    levels = np.arange(first.neuron.level_min + 1, first.neuron.level_max + 1)
    return {
        "columns": neurons.shape[1],
        "length": len(neurons),
        "width": width,
        "channels": channels,
        "position_stride": position,
        "column_stride": column,
        "threshold": _thresholds(levels, multiply[0], add[0], float(scale), info["scale"]),
        "first_level": first.neuron.level_min,
        "initial": first.initial_level.astype(np.int16).ravel(),
    }


def _thresholds(
    levels: NDArray[np.int64],
    multiply: NDArray[np.float64],
    add: NDArray[np.float64],
    scale: float,
    level_scale: float,
) -> NDArray[np.int32]:
    """(columns, levels): the least number of each level, or 2^31 - 1 where none has it.

    By halving, with the very arithmetic of ``InferenceSession.quantize``, which never falls.
    """
    low = np.full((len(multiply), len(levels)), -LARGEST, np.int64)
    high = np.full_like(low, LARGEST + 1)
    while (low < high).any():
        middle = (low + high) // 2
        real = middle / scale * multiply[:, None] + add[:, None]
        reached = np.floor(real / level_scale + 0.5) >= levels
        low, high = np.where(reached, low, middle + 1), np.where(reached, middle, high)
        low = np.minimum(low, high)
    return np.where(low > LARGEST, (1 << 31) - 1, low).astype(np.int32)
