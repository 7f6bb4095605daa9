"""``InferenceSession``: one way to run a network, whatever runs it.

``run`` takes tensors, as onnxruntime's does. ``push``, ``advance`` and ``finish`` take
event streams. The backends give the same bits:

- ``cpu``: the C core in this process
- ``reference``: the NumPy interpreter, slow and easy to read
- ``device``: a board (or an emulated one) at the other end of ``port``
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgespike import _core
from edgespike.errors import DataError, UsageError
from edgespike.graph import CORE_EVENT, EventCounts, Graph, LevelInput, SpikeInput
from edgespike.modelfile import decode_model, encode_model, read_model_bytes
from edgespike.reference import ReferenceNetwork

if TYPE_CHECKING:
    from edgespike.sources import Source

__all__ = ["Backend", "InferenceSession", "Result", "TensorInfo"]


class Backend(Protocol):
    """What runs a network: ReferenceNetwork, _core.Network or link.DeviceClient."""

    def reset(self) -> None: ...
    def push(self, events: NDArray[Any]) -> tuple[int, bool]: ...
    def advance(self, tick: int) -> bool: ...
    def finish(self) -> None: ...
    def output(self) -> NDArray[np.int32]: ...
    @property
    def decided(self) -> int: ...
    def state(self, population: int) -> NDArray[np.int32]: ...
    def stats(self) -> dict[str, Any]: ...
    def clear_stats(self) -> None: ...


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape (None: any number of samples) and type of an input or output."""

    name: str
    shape: tuple[int | None, ...]
    type: str = "tensor(float)"


@dataclass(frozen=True, eq=False)
class Result:
    """A classification.

    ``label``: the highest score's index, the lowest such index on a tie. ``margin``: how far it
    is ahead of the second, in units of the scores. ``scores``: int32, int64 when several
    windows were added. ``time_us``: when
    it was ready, in microseconds of the stream. ``windows``: how many windows it covers; 0
    for a sample shorter than one, or a network without windows. ``events``: input events
    taken since the last result. ``lost``: input events known to be lost on the way. ``ticks``:
    how many it took; ``early``: fewer than there were, because the scores had decided.
    """

    label: int
    margin: int
    scores: NDArray[np.integer[Any]]
    time_us: int
    windows: int
    events: int
    lost: int = 0
    ticks: int = 0
    early: bool = False

    @classmethod
    def from_scores(
        cls,
        scores: NDArray[np.integer[Any]],
        time_us: int,
        windows: int,
        events: int,
        lost: int = 0,
        ticks: int = 0,
        early: bool = False,
    ) -> Self:
        """Finds label and margin."""
        best_two = np.sort(scores)[-2:]
        margin = int(best_two[1]) - int(best_two[0]) if scores.size > 1 else 0
        return cls(int(scores.argmax()), margin, scores, time_us, windows, events, lost, ticks, early)


class InferenceSession:
    """A network ready to run.

    Args:
        model: path of an ``.esg`` file, its bytes, or a graph.
        backend: ``"cpu"``, ``"reference"`` or ``"device"``.
        port: for devices: ``"emulated"``, ``"qemu"``, a serial device, or a URL such as
            ``"socket://127.0.0.1:4000"``.
        baud: for serial devices, bits per second.
        switch_baud: bits per second to change to once the board has answered.
        plan: ``"streaming"`` keeps all state; ``"one-shot"`` (cpu) runs one sample at a
            time in less memory.
        progress: called while a device is given the model, with bytes done and bytes in all.

    Raises:
        ModelError: the model cannot be used.
        DeviceError, BudgetError: the board cannot be reached, or the model does not fit.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Graph,
        backend: str = "cpu",
        *,
        port: str | None = None,
        baud: int = 921600,
        switch_baud: int | None = None,
        plan: str = "streaming",
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if (port is not None) != (backend == "device"):
            raise UsageError("a port goes with backend='device', and only with it")
        if isinstance(model, Graph):
            self._data = encode_model(model)
        else:
            self._data = model if isinstance(model, bytes) else read_model_bytes(model)
        self.graph = decode_model(self._data)
        self.backend = self._open(backend, port, baud, switch_baud, plan, progress)
        self._plan = plan
        self._start()

    def _start(self) -> None:
        self._taken = 0  # input events since the last result
        self._windows = 0  # closed since reset
        self._time_us = 0  # of the last event, window or advance

    def _open(
        self,
        backend: str,
        port: str | None,
        baud: int,
        switch_baud: int | None,
        plan: str,
        progress: Callable[[int, int], None] | None,
    ) -> Backend:
        if backend == "cpu":
            return _core.Network(_core.Model(self._data), plan)
        if backend == "reference":
            return ReferenceNetwork(self.graph)
        if backend == "device":
            from edgespike.link import connect

            assert port is not None
            client = connect(port, baud, switch_baud=switch_baud)
            try:
                client.upload(self._data, progress)
            except BaseException:
                client.close()
                raise
            return client
        raise UsageError(f"there is no backend {backend!r}", "choose cpu, reference or device")

    def another(self) -> InferenceSession:
        """A second session of this network, at its beginning, for another thread.

        On this machine they have the model in common and nothing else.

        Raises:
            UsageError: a board runs one session.
        """
        session = copy(self)
        if isinstance(self.backend, _core.Network):
            session.backend = _core.Network(self.backend.model, self._plan)
        elif isinstance(self.backend, ReferenceNetwork):
            session.backend = ReferenceNetwork(self.graph)
        else:
            raise UsageError("a board runs one session at a time", "open another port for a second one")
        session._start()
        return session

    @property
    def model(self) -> bytes:
        """The model file."""
        return self._data

    def close(self) -> None:
        """Let go of a board. A closed session cannot be used again."""
        close = getattr(self.backend, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- tensors

    def get_inputs(self) -> list[TensorInfo]:
        """The one input; spiking networks have a time axis after the batch axis."""
        return [self._input]

    def get_outputs(self) -> list[TensorInfo]:
        """The one output."""
        info = self.graph.metadata["output"]
        return [TensorInfo(info["name"], (None, *info.get("label_shape", info["shape"])))]

    def run(self, output_names: Sequence[str] | None, inputs: dict[str, ArrayLike]) -> list[NDArray[Any]]:
        """Classify a batch, as onnxruntime does.

        Args:
            output_names: None, or the name of the output.
            inputs: the input's name and its values: (batch, ...) for ONNX networks,
                (batch, ticks, ...) for spiking ones.

        Returns:
            One float32 array (batch, ...): scores times their scale, after the source's
            final softmax if it has one; or int64 class numbers, if it ends in an ArgMax.
        """
        info = self.graph.metadata["output"]
        if output_names not in (None, []) and list(output_names or ()) != [info["name"]]:
            raise UsageError(f"there is no such output: {output_names}", f"the output is {info['name']!r}")
        expected = self._input
        if list(inputs) != [expected.name]:
            raise UsageError(f"inputs given: {sorted(inputs)}", f"give exactly {expected.name!r}")
        scores = self.scores(inputs[expected.name])
        height, width, channels = self.graph.populations[-1].shape
        if height * width > 1:
            axes = [1 + axis for axis in info.get("axes", (2, 0, 1))]
            scores = scores.reshape(-1, height, width, channels).transpose(0, *axes)
        real = scores.reshape(-1, *info["shape"]) * np.float64(info["scale"])
        if info["transform"] == "argmax":
            labels = real.reshape(len(real), -1).argmax(axis=1)
            return [labels.reshape(-1, *info["label_shape"])]
        return [_TRANSFORMS[info["transform"]](real).astype(np.float32)]

    def scores(self, values: ArrayLike) -> NDArray[np.int32]:
        """Integer scores (batch, number of scores) of a batch, exactly as the backend has them."""
        if self._quantizer is None or not isinstance(self.backend, _core.Network):
            return np.stack([result.scores for result in self.iterate(values)])
        batch = np.asarray(values)
        if batch.shape[1:] != self._input.shape[1:] or batch.dtype.char not in "fd":
            batch = self._check_batch(batch).astype(np.float64)
        self._start()
        return self.backend.classify(np.ascontiguousarray(batch), self._quantizer)

    def iterate(self, values: ArrayLike) -> Iterator[Result]:
        """The results of a batch one by one, as they are ready."""
        batch = self._check_batch(np.asarray(values))
        for sample in batch:
            self.reset()
            decided = self._push(self.sample_events(sample))
            if self._has_time_axis:
                decided += self.advance((len(sample) - 1) * self.tick_us)
            elif self.graph.input.early_exit:
                decided += self.advance(self.window_us - self.tick_us)
            result = self.finish()
            yield replace(result, events=result.events + sum(early.events for early in decided))

    def sample_events(self, sample: NDArray[Any]) -> NDArray[Any]:
        """The input events (dtype CORE_EVENT) that say one sample to a network just reset."""
        counts = self.graph.input.event_counts
        first = self.graph.populations[0]
        if counts is not None:
            return _count_events(self._counts(sample, counts), counts)
        levels = self.quantize(sample)
        if isinstance(first.neuron, LevelInput):
            assert first.initial_level is not None
            levels = (levels - first.initial_level)[None]
        tick, y, x, channel = np.nonzero(levels)
        return _core_events(tick, x, y, channel, levels[tick, y, x, channel])

    def quantize(self, sample: NDArray[Any]) -> NDArray[np.int64]:
        """Real values as input levels (height, width, channels), with time first for spiking networks.

        ``floor((x * multiply + add) / scale + 0.5)``, clipped to the input's range.
        """
        info = self.graph.metadata["input"]
        neuron = self.graph.populations[0].neuron
        real = self._to_grid(sample, int(self._has_time_axis)).astype(np.float64)
        real = real * np.asarray(info["multiply"]) + np.asarray(info["add"])
        levels = np.floor(real / info["scale"] + 0.5)
        if isinstance(neuron, SpikeInput):
            return _clip(levels, neuron.value_min, neuron.value_max)
        assert isinstance(neuron, LevelInput)
        return _clip(levels, neuron.level_min, neuron.level_max)

    def levels(self, sample: NDArray[Any]) -> NDArray[np.int64]:
        """The input levels (height, width, channels) that a sample means, also where events are counted."""
        counts = self.graph.input.event_counts
        if counts is None:
            return self.quantize(sample)
        return counts.table.astype(np.int64)[np.arange(len(counts.table)), self._counts(sample, counts)]

    @cached_property
    def _input(self) -> TensorInfo:
        info = self.graph.metadata["input"]
        time = (None,) if self._has_time_axis else ()
        return TensorInfo(info["name"], (None, *time, *info["shape"]))

    @cached_property
    def _quantizer(self) -> _core.Quantizer | None:
        """`quantize` in the core; None unless a sample is levels of one tick that all go into its scores."""
        first, spec = self.graph.populations[0], self.graph.input
        info = self.graph.metadata["input"]
        if not isinstance(first.neuron, LevelInput) or spec.event_counts or spec.early_exit:
            return None
        low, high = first.neuron.level_min, first.neuron.level_max
        if "scale" not in info or high - low > 32767:
            return None
        assert first.initial_level is not None
        places = self._to_grid(np.arange(first.size).reshape(info["shape"]), 0)
        return _core.Quantizer(
            info["multiply"], info["add"], info["scale"], low, high, first.initial_level, places
        )

    def _counts(self, sample: NDArray[Any], counts: EventCounts) -> NDArray[np.int64]:
        info = self.graph.metadata["input"]
        number = np.floor(self._to_grid(sample, 0).astype(np.float64) / info["event_scale"] + 0.5)
        return _clip(number, 0, counts.saturation)

    def _to_grid(self, values: NDArray[Any], leading: int) -> NDArray[Any]:
        """As (height, width, channels) behind so many leading axes."""
        info = self.graph.metadata["input"]
        axes = [leading + axis for axis in info["axes"]]
        return values.reshape(*values.shape[:leading], *info["grid"]).transpose(*range(leading), *axes)

    @property
    def _has_time_axis(self) -> bool:
        return isinstance(self.graph.populations[0].neuron, SpikeInput)

    def _check_batch(self, values: NDArray[Any]) -> NDArray[Any]:
        expected = self._input
        fixed = [size for size in expected.shape if size is not None]
        free = len(expected.shape) - len(fixed)
        if values.ndim != len(expected.shape) or list(values.shape[free:]) != fixed:
            shown = ", ".join("any" if size is None else str(size) for size in expected.shape)
            raise DataError(
                f"input {expected.name!r} has shape {values.shape}, expected ({shown})",
                "the first axis counts samples, also for one sample",
                "input-shape",
            )
        ticks = self.graph.input.window_ticks
        if self._has_time_axis and not 1 <= values.shape[1] <= (ticks or 1 << 31):
            raise DataError(
                f"samples of {values.shape[1]} ticks, expected 1 to {ticks or 'any number'}",
                "cut the samples to the model's window",
                "input-shape",
            )
        if values.dtype.kind not in "biuf":
            raise DataError(
                f"input {expected.name!r} has type {values.dtype}", "give integers or floats", "input-type"
            )
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise DataError(
                f"input {expected.name!r} has NaN or infinite values", "clean the data", "input-nan"
            )
        return values

    # ---- streams

    def reset(self) -> None:
        """Back to the initial state at time 0."""
        self.backend.reset()
        self._start()

    def push(self, events: NDArray[Any]) -> list[Result]:
        """Integrate events; later ticks close earlier ones.

        Args:
            events: structured array with fields t (microseconds since reset), x, y, p
                (polarity, or channel) and optionally value (default 1).

        Returns:
            The results of windows that closed meanwhile.

        Raises:
            DataError: an event goes backwards in time or lies outside the input.
        """
        return self._push(self.core_events(events))

    def stream(self, source: Source | Iterable[NDArray[Any]]) -> Iterator[Result]:
        """Results as events come, from the initial state on: for a live source without end.

        Args:
            source: a live source (:func:`edgespike.sources.open_source`), or arrays of events like
                those for ``push``. Events of a live source outside the input are left out.

        Yields:
            The result of each window; at the end, if none was complete, that of what there was.
        """
        from edgespike.sources import Source, pieces

        self.reset()
        answered = False
        live = isinstance(source, Source)
        for events, until in pieces(source) if isinstance(source, Source) else ((part, 0) for part in source):
            results = self.push(events[self.is_inside(events)] if live else events)
            results += self.advance(until) if live else []
            answered |= bool(results)
            yield from results
        if not answered:
            yield self.finish()

    def is_inside(self, events: NDArray[Any]) -> NDArray[np.bool_]:
        """Which events lie on the sensor that the network was made for."""
        counts = self.graph.input.event_counts
        height, width, channels = self.graph.populations[0].shape
        inside = (events["x"] < width) & (events["y"] < height) & (events["p"] >= 0)
        return np.asarray(inside & (events["p"] < (2 if counts else channels)))

    def core_events(self, events: NDArray[Any]) -> NDArray[Any]:
        """Events with fields t, x, y, p in microseconds as CORE_EVENT, in ticks."""
        names = events.dtype.names or ()
        if not {"t", "x", "y", "p"} <= set(names):
            raise DataError(
                "events need the fields t, x, y, p", "see edgespike.events.make_events", "event-dtype"
            )
        t = np.asarray(events["t"], np.int64)
        # Ticks wrap around at 2**32: what lies less than half of that ahead is later.
        limits = {"t": (self._now + (1 << 31)) * self.tick_us, "x": 1 << 16, "y": 1 << 16, "p": 1 << 16}
        for field, limit in limits.items():
            values = np.asarray(events[field], np.int64)
            outside = np.flatnonzero((values < 0) | (values >= limit))
            if outside.size:
                raise DataError(
                    f"event {outside[0]} has {field} = {values[outside[0]]}, outside 0 to {limit - 1}",
                    "count times from the first event" if field == "t" else "crop the events to the sensor",
                    "event-range",
                )
        value = events["value"] if "value" in names else np.ones(len(events), np.int16)
        return _core_events(t // self.tick_us % (1 << 32), events["x"], events["y"], events["p"], value)

    def _push(self, events: NDArray[Any]) -> list[Result]:
        results = []
        while len(events):
            used, window_closed = self.backend.push(events)
            self._taken += used
            if used:
                passed = (int(events["tick"][used - 1]) - self._now) % (1 << 32)
                self._time_us = (self._now + passed) * self.tick_us
            events = events[used:]
            if window_closed:
                results.append(self._result(closed=True))
        return results

    def advance(self, time_us: int) -> list[Result]:
        """Let time pass without events, to `time_us` microseconds since reset."""
        results = []
        while self.backend.advance(time_us // self.tick_us % (1 << 32)):
            results.append(self._result(closed=True))
        self._time_us = time_us
        return results

    def read(self) -> Result:
        """What the network says now, by the ticks that are closed; changes nothing.

        For networks without windows, such as one on a sliding window of samples
        (:class:`edgespike.encoders.WindowEncoder`).
        """
        taken, self._taken = self._taken, 0
        return Result.from_scores(self.backend.output(), self._time_us, 0, taken, ticks=self._now)

    def finish(self) -> Result:
        """End the sample; reset before the next one."""
        self.backend.finish()
        return self._result(closed=False)

    def classify(self, events: NDArray[Any]) -> Result:
        """Classify one recording, its times counted from its first event.

        The scores of its complete windows are added; a recording shorter than a window, or
        a network without windows, is classified by what there is.
        """
        self.reset()
        rebased = self.core_events(_rebase(events))
        results = self._push(rebased)
        if not results:
            return self.finish()
        total = np.stack([result.scores for result in results]).sum(axis=0, dtype=np.int64)
        return Result.from_scores(
            total,
            results[-1].time_us,
            sum(result.windows for result in results),
            len(events),
            sum(result.lost for result in results),
            sum(result.ticks for result in results),
            any(result.early for result in results),
        )

    def _result(self, closed: bool) -> Result:
        """Of a window that has ended or was decided (``closed``), or of a sample."""
        start = self._windows * self.graph.input.window_ticks
        decided = int(self.backend.decided)
        if closed:
            self._windows += 1
            self._time_us = (start + (decided or self.graph.input.window_ticks)) * self.tick_us
        taken, self._taken = self._taken, 0
        return Result.from_scores(
            self.backend.output(),
            self._time_us,
            int(closed and self.window_us > 0),
            taken,
            int(getattr(self.backend, "lost", 0)),
            decided or (self.graph.input.window_ticks if closed else self._now - start + 1),
            decided != 0,
        )

    @property
    def _now(self) -> int:
        """The last tick that was heard of, not wrapped around."""
        return self._time_us // self.tick_us

    @property
    def tick_us(self) -> int:
        """Microseconds in a tick."""
        return self.graph.input.tick_us

    @property
    def window_us(self) -> int:
        """Microseconds in a window; 0: samples end from outside."""
        return self.graph.input.window_ticks * self.tick_us

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes, if the model has them."""
        return self.graph.metadata.get("classes")

    def stats(self) -> dict[str, Any]:
        """Events and synaptic operations since the session began, in all and by population."""
        stats = self.backend.stats()
        for population, row in zip(self.graph.populations, stats.get("populations", ()), strict=False):
            row["name"] = population.name
        return stats


# ---- helpers ----------------------------------------------------------------


def _clip(values: NDArray[np.float64], low: int, high: int) -> NDArray[np.int64]:
    return np.minimum(np.maximum(values, low), high).astype(np.int64)


def _core_events(
    tick: ArrayLike, x: ArrayLike, y: ArrayLike, channel: ArrayLike, value: ArrayLike
) -> NDArray[Any]:
    events = np.empty(np.shape(tick), CORE_EVENT)
    events["tick"], events["x"], events["y"], events["channel"], events["value"] = tick, x, y, channel, value
    return events


def _count_events(number: NDArray[np.int64], counts: EventCounts) -> NDArray[Any]:
    """The events that make given counts (height, width, slices * polarities), in time order."""
    channel, y, x = np.nonzero(number.transpose(2, 0, 1))
    in_slice, polarity = np.divmod(channel, counts.polarities)
    return _core_events(in_slice * counts.slice_ticks, x, y, polarity, number[y, x, channel])


def _rebase(events: NDArray[Any]) -> NDArray[Any]:
    rebased = events.copy()
    if len(events):
        rebased["t"] -= rebased["t"][0]
    return rebased


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _log_softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = values - values.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def _identity(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values


_TRANSFORMS = {"none": _identity, "softmax": _softmax, "log_softmax": _log_softmax}
