"""The event front end: counts of sensor events as the input of a network trained on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import DataError, UsageError
from edgespike.graph import EventCounts, InputSpec, Shape
from edgespike.importers.network import NetworkInput


@dataclass(frozen=True)
class EventOptions:
    """How events become the network's input.

    Args:
        height, width: of the sensor.
        window_us: microseconds that one classification looks at.
        slices: parts of the window that are counted apart.
        polarities: 2 counts ON and OFF apart, 1 both together.
        saturation: further events of a pixel, polarity and slice change nothing; None: the
            greatest count in the calibration samples.
        event_scale: network input for one event.
        tick_us: microseconds in a tick; None: a slice. Shorter ticks settle the network more
            often, which costs work and changes no result at the end of a window.

    Raises:
        UsageError: a value out of range, or a window that does not divide into slices of
            whole ticks.
    """

    height: int
    width: int
    window_us: int
    slices: int = 1
    polarities: int = 2
    saturation: int | None = None
    event_scale: float = 1.0
    tick_us: int | None = None

    def __post_init__(self) -> None:
        sizes = (
            self.height,
            self.width,
            self.slices,
            self.window_us,
            1 if self.tick_us is None else self.tick_us,
        )
        if min(sizes) < 1:
            raise UsageError("sensor size, window, slices and tick must be 1 or more")
        if self.polarities not in (1, 2):
            raise UsageError(
                f"polarities is {self.polarities}", "1 counts both together, 2 counts them apart"
            )
        if self.saturation is not None and not 1 <= self.saturation <= 32767:
            raise UsageError(f"saturation is {self.saturation}", "choose 1 to 32767, often 15 or less")
        if not self.event_scale > 0:
            raise UsageError(f"event scale is {self.event_scale}", "give the network's input for one event")
        if self.window_us % (self.slices * (self.tick_us or 1)):
            raise UsageError(
                f"a window of {self.window_us} us does not divide into {self.slices} slices of whole ticks "
                f"of {self.tick_us or 1} us",
                "change the window, or choose a shorter tick",
            )

    @property
    def slice_us(self) -> int:
        """Microseconds in a slice."""
        return self.window_us // self.slices

    @property
    def channels(self) -> int:
        """Channels of the network's input: slices * polarities."""
        return self.slices * self.polarities

    @property
    def shape(self) -> Shape:
        """(height, width, channels) of the input population."""
        return self.height, self.width, self.channels


def check_layout(options: EventOptions, network_input: NetworkInput, shape: Shape) -> None:
    """Makes sure that the network takes what the front end counts."""
    if shape != options.shape:
        expected = (options.channels, options.height, options.width)
        raise UsageError(
            f"input {network_input.name} takes samples of shape {network_input.shape}, "
            f"the events make {expected} (slices x polarities, height, width)",
            "adapt the sensor size, slices or polarities to what the network was trained on",
        )


def event_counts(options: EventOptions, x: NDArray[Any]) -> NDArray[np.int64]:
    """The counts behind calibration samples, which are counts * event_scale.

    Raises:
        DataError: they are not.
    """
    exact = x.astype(np.float64) / options.event_scale
    counts = np.rint(exact)
    wrong = (np.abs(exact - counts) > 0.01) | (counts < 0)
    if wrong.any():
        raise DataError(
            f"calibration x has values that are no counts of events times {options.event_scale:g}, "
            f"such as {x[wrong][0]:g}",
            "calibrate with the output of edgespike.events.count_events, scaled as in training",
            "calibration-counts",
        )
    return counts.astype(np.int64)


def saturation_of(options: EventOptions, counts: NDArray[np.int64]) -> int:
    """The saturation asked for, or the greatest count seen."""
    if options.saturation is not None:
        return options.saturation
    return int(np.clip(counts.max(), 1, 32767))


def real_table(options: EventOptions, network_input: NetworkInput, saturation: int) -> NDArray[np.float64]:
    """(channels, saturation + 1): the real value, after the network's own arithmetic, of each count."""
    counts = np.arange(saturation + 1) * options.event_scale
    return network_input.multiply[:, None] * counts + network_input.add[:, None]


def input_spec(options: EventOptions, saturation: int, table: NDArray[Any]) -> InputSpec:
    """The graph's input for a table of levels."""
    tick_us = options.tick_us or options.slice_us
    slice_ticks = options.slice_us // tick_us
    counts = EventCounts(options.polarities, options.slices, slice_ticks, saturation, table.astype(np.int16))
    return InputSpec(tick_us, options.slices * slice_ticks, counts)
