"""Options and parameter types that several verbs share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from edgespike.cli.failure import about
from edgespike.cli.output import progress
from edgespike.errors import ModelError, UsageError
from edgespike.events import TIME_UNITS, FilterSettings
from edgespike.session import InferenceSession

__all__ = [
    "INPUT_FILE",
    "INPUT_PATH",
    "Runner",
    "address",
    "baud_option",
    "duration",
    "filter_options",
    "json_option",
    "layer_choice",
    "onnx_options",
    "runner_options",
    "sensor",
    "time_unit_option",
]

INPUT_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
INPUT_PATH = click.Path(exists=True, readable=True, path_type=Path)

baud_option = click.option(
    "--baud",
    type=click.IntRange(1),
    metavar="RATE",
    default=921600,
    show_default=True,
    help="Bits per second of a serial device.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON (see docs/cli.md).")

time_unit_option = click.option(
    "--time-unit",
    type=click.Choice(TIME_UNITS),
    help="Unit of the times in npy, npz, csv and HDF5 files.  [default: us]",
)


# ---- types ------------------------------------------------------------------

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def duration(text: str) -> float:
    """``300ms``, ``50us``, ``0.5s``: seconds, more than 0."""
    match = re.fullmatch(r"(\d+\.?\d*(?:e-?\d+)?) ?(us|ms|s)", text)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0 < seconds < math.inf:
        raise click.BadParameter(f"{text!r} is no duration: write 300ms, 50us or 0.5s")
    return seconds


def input_shape(text: str) -> tuple[int, ...]:
    """``x=1,3,32,32``, or the sizes alone: the shape of a network's one input, batch axis first."""
    match = re.fullmatch(r"(?:.+[=:])?(\d+(?:,\d+)+)", text)
    if not match:
        raise click.BadParameter(f"{text!r} is no shape: write NAME=1,3,32,32")
    return tuple(map(int, match[1].split(",")))


def fixed_input(text: str) -> tuple[str, float]:
    """``training=0``: an input's name, and its value."""
    name, _, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not name or not math.isfinite(value):
        raise click.BadParameter(f"{text!r} is no input with a number: write NAME=0")
    return name, value


def sensor(text: str) -> tuple[int, int]:
    """``346x260``: width, height."""
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if not match:
        raise click.BadParameter(f"{text!r} is no sensor size: write WIDTHxHEIGHT, such as 346x260")
    return int(match[1]), int(match[2])


def rate(text: str) -> int:
    """``20k``, ``1.5M`` or ``5000``: events a second."""
    match = re.fullmatch(r"(\d+\.?\d*)([kM]?)", text)
    number = float(match[1]) * {"": 1, "k": 1e3, "M": 1e6}[match[2]] if match else 0.0
    if not 1 <= number <= 1e9:
        raise click.BadParameter(f"{text!r} is no rate: write 5000, 20k or 1.5M events a second")
    return round(number)


def crop(text: str) -> tuple[int, int, int, int]:
    """``60,40,34x34``: x, y, width, height."""
    match = re.fullmatch(r"(\d{1,5}),(\d{1,5}),([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if not match:
        raise click.BadParameter(
            f"{text!r} is no part of a sensor: write X,Y,WIDTHxHEIGHT, such as 60,40,34x34"
        )
    x, y, width, height = map(int, match.groups())
    return x, y, width, height


def address(text: str) -> tuple[str, int]:
    """``8000``, ``0.0.0.0:8000`` or ``[::]:8000``: host, this one alone unless it is said, and port."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter(f"{text!r} is no address: write PORT or HOST:PORT, such as 8000")
    return host.strip("[]") or "127.0.0.1", int(port)


def layer_choice(text: str) -> tuple[str, int]:
    """``15`` for all layers, ``conv1=15`` for one: a layer's name, or ``*``, and a number."""
    match = re.fullmatch(r"(?:(.+)=)?(\d{1,3})", text)
    if not match:
        raise click.BadParameter(f"{text!r} is no number for a layer: write 15 or conv1=15")
    return match[1] or "*", int(match[2])


def onnx_options(function: Callable[..., None]) -> Callable[..., None]:
    """What an .onnx file leaves open: ``shape``, ``scores`` and ``fixed``."""
    for option in (
        click.option(
            "--fix",
            "fixed",
            multiple=True,
            type=fixed_input,
            metavar="NAME=NUMBER",
            help="ONNX: Make a constant of an input, where there are several.",
        ),
        click.option(
            "--scores", metavar="NAME", help="ONNX: The output to convert, where there are several."
        ),
        click.option(
            "--shape",
            type=input_shape,
            metavar="NAME=1,3,32,32",
            help="ONNX: Size of the input, where the file leaves it open.",
        ),
    ):
        function = option(function)
    return function


# ---- filters of events --------------------------------------------------------


def filter_options(function: Callable[..., None]) -> Callable[..., None]:
    """The filters of a camera's events, given to the verb as one ``filters`` (FilterSettings)."""

    @click.option("--crop", type=crop, metavar="X,Y,WxH", help="Only this part of the sensor.")
    @click.option(
        "--downsample", type=click.IntRange(1, 65535), default=1, metavar="N", help="N x N pixels as one."
    )
    @click.option("--merge-polarities", is_flag=True, help="All polarities become 0.")
    @click.option("--refractory", type=duration, metavar="TIME", help="Silence of a pixel after an event.")
    @click.option("--background", type=duration, metavar="TIME", help="Only with a neighbour so recent.")
    @click.option("--hot", type=click.IntRange(1, 32767), metavar="N", help="Shut pixels with more a 100 ms.")
    @click.option("--rate-cap", type=rate, metavar="RATE", help="At most so many a second, thinned evenly.")
    @wraps(function)
    def with_filters(
        crop: tuple[int, int, int, int] | None,
        downsample: int,
        merge_polarities: bool,
        refractory: float | None,
        background: float | None,
        hot: int | None,
        rate_cap: int | None,
        **others: Any,
    ) -> None:
        settings = FilterSettings(
            crop,
            hot,
            _microseconds(background),
            _microseconds(refractory),
            downsample,
            merge_polarities,
            rate_cap,
        )
        function(filters=settings, **others)

    return with_filters


def _microseconds(seconds: float | None) -> int | None:
    return None if seconds is None else max(1, round(1e6 * seconds))


# ---- what runs a network ----------------------------------------------------


@dataclass(frozen=True)
class Runner:
    """The backend that the user chose."""

    backend: str
    port: str | None
    baud: int
    switch_baud: int | None = None

    def open(self, model: Path) -> InferenceSession:
        """A session with the network on this machine, or on the board behind the port."""
        if self.backend != "device":
            with about(model, ModelError):
                return InferenceSession(model, self.backend)
        with about(model, ModelError), progress(f"uploading to {self.port}", model.stat().st_size) as done:
            return InferenceSession(
                model,
                "device",
                port=self.port,
                baud=self.baud,
                switch_baud=self.switch_baud,
                progress=lambda sent, _: done(sent),
            )

    def __str__(self) -> str:
        return self.port or self.backend


def runner_options(function: Callable[..., None]) -> Callable[..., None]:
    """``--backend``, ``--port`` and ``--baud``, given to the verb as one ``runner``."""

    @click.option(
        "--backend", type=click.Choice(["cpu", "reference"]), help="What runs it here.  [default: cpu]"
    )
    @click.option(
        "--port",
        metavar="PORT",
        help="Run on a board: a serial device, socket://HOST:PORT, emulated or qemu.",
    )
    @baud_option
    @click.option(
        "--switch-baud",
        type=click.IntRange(1),
        metavar="RATE",
        help="Change to this once the board has answered.",
    )
    @wraps(function)
    def with_runner(
        backend: str | None, port: str | None, baud: int, switch_baud: int | None, **others: Any
    ) -> None:
        if backend and port:
            raise UsageError("--backend and --port exclude each other", "leave out one of them")
        function(runner=Runner("device" if port else backend or "cpu", port, baud, switch_baud), **others)

    return with_runner
