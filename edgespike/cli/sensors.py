"""What ``edgespike stream`` does with an ordinary sensor: encodes its samples for the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import wraps
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from edgespike.cli.failure import about
from edgespike.cli.player import Answer, Player
from edgespike.encoders import Code, Encoder, Window, WindowEncoder, parse_code
from edgespike.errors import DataError, UsageError
from edgespike.session import InferenceSession
from edgespike.sources import open_sensor, pieces
from edgespike.sources.samples import Sampling

BLOCK = 64  # samples that are encoded at once


@dataclass(frozen=True)
class SensorSettings:
    """What the user said of a sensor; ``text`` is the code as written."""

    text: str
    rate_hz: Fraction
    scale: Fraction | None
    chosen: tuple[int, ...] | None

    @property
    def code(self) -> Code | Window:
        """The code, in whole numbers."""
        return parse_code(self.text, self.scale or Fraction(1))

    def as_json(self) -> dict[str, Any]:
        """For the summary."""
        return {
            "encode": self.text,
            "sample_rate_hz": float(self.rate_hz),
            "scale": None if self.scale is None else float(self.scale),
            "columns": None if self.chosen is None else [column + 1 for column in self.chosen],
        }


class SensorStream:
    """A sensor, encoded for a network.

    Args:
        source: file of samples, ``serial:DEVICE`` or ``-``.
        speed, rounds: of a file.

    Raises:
        UsageError, DataError: the code does not fit the network, or the sensor does not fit the code.
        DeviceError: the sensor cannot be opened.
    """

    def __init__(
        self, session: InferenceSession, source: str, settings: SensorSettings, speed: float, rounds: int
    ) -> None:
        code, scale = settings.code, settings.scale or Fraction(1)
        self._period_us = int(1_000_000 // settings.rate_hz)
        self._encoder: Encoder | WindowEncoder
        if isinstance(code, Window):
            self._encoder = WindowEncoder(session, code, scale)
        else:
            self._encoder = Encoder.for_network(session, code, self._period_us)
        columns = self._encoder.columns
        if settings.chosen is not None and len(settings.chosen) != columns:
            raise UsageError(
                f"{len(settings.chosen)} columns are chosen, but the network takes {columns}",
                "name as many with --columns",
            )
        sampling = Sampling(settings.rate_hz, columns, settings.chosen, settings.scale)
        with about(source, DataError):
            self.source = open_sensor(source, sampling, speed=speed, rounds=rounds)

    def answers(self, player: Player, every_us: int, seconds: float) -> Iterator[Answer]:
        """The network's answers, until the sensor ends or for so many seconds."""
        if isinstance(self._encoder, WindowEncoder):
            return player.slide(self.source, self._updates(self._encoder), seconds)
        return player.listen(self.source, self._events(self._encoder), every_us, seconds)

    def _blocks(self) -> Iterator[NDArray[Any]]:
        """Samples as they come; none when none come for a while."""
        for samples, _ in pieces(self.source):
            for begin in range(0, max(1, len(samples)), BLOCK):
                yield samples[begin : begin + BLOCK]
        counts = self.source.counts
        if counts.malformed and not counts.events:
            raise DataError(
                f"{self.source.name}: {counts.malformed:,} lines, "
                f"and none is a sample of {self._encoder.columns} numbers",
                "choose the columns that the network takes with --columns, such as --columns 2",
                "sample-lines",
            )

    def _events(self, encoder: Encoder) -> Iterator[tuple[NDArray[Any], int]]:
        known = 0
        for block in self._blocks():
            if len(block):
                known = int(block["t"][-1]) + self._period_us
            yield encoder(block["values"], block["t"]), known

    def _updates(self, window: WindowEncoder) -> Iterator[list[tuple[int, NDArray[Any]]]]:
        """Where samples are missing, the window fills anew: no result rests on what was not measured."""
        last = 0
        for block in self._blocks():
            due = []
            missing = np.flatnonzero(np.diff(block["t"], prepend=last) > self._period_us + 1)
            for number, part in enumerate(np.split(block, missing)):
                if number:
                    window.restart()
                due += window(part["values"], part["t"])
            last = int(block["t"][-1]) if len(block) else last
            yield due


def sensor_options(function: Callable[..., None]) -> Callable[..., None]:
    """What an ordinary sensor gives, to the verb as one ``sensing`` (SensorSettings, or None)."""

    @click.option("--encode", metavar="CODE", help="SOURCE gives samples: see below.")
    @click.option("--sample-rate", type=number, metavar="HZ", help="Samples a second.")
    @click.option("--scale", type=number, metavar="N", help="Whole numbers to the sensor's unit.")
    @click.option(
        "--columns", type=column_list, metavar="1,2,...", help="Which cells of a line.  [default: all]"
    )
    @wraps(function)
    def with_sensor(
        encode: str | None,
        sample_rate: Fraction | None,
        scale: Fraction | None,
        columns: tuple[int, ...] | None,
        **others: Any,
    ) -> None:
        sensing = None
        if encode is not None:
            if sample_rate is None:
                raise UsageError("how many samples a second does the sensor give?", "say --sample-rate 360")
            if sample_rate > 1_000_000:
                raise UsageError(f"{float(sample_rate):g} samples a second", "a million at most")
            sensing = SensorSettings(encode, sample_rate, scale, columns)
        elif given := [
            name
            for name, value in (("--sample-rate", sample_rate), ("--scale", scale), ("--columns", columns))
            if value is not None
        ]:
            raise UsageError(
                f"{', '.join(given)} is for samples, not for events", "add --encode, such as --encode window"
            )
        function(sensing=sensing, **others)

    return with_sensor


def number(text: str) -> Fraction:
    """A number above 0, exactly."""
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if value <= 0:
        raise click.BadParameter(f"{text!r} is no number above 0")
    return value


def column_list(text: str) -> tuple[int, ...]:
    """``1,3``: numbers of columns, from 1, as numbers from 0."""
    cells = text.split(",")
    if not all(cell.isdecimal() and int(cell) for cell in cells):
        raise click.BadParameter(f"{text!r} are no columns: write 1 or 2,3, the first one is 1")
    return tuple(int(cell) - 1 for cell in cells)
