"""What a live source is called, and how it is opened by its name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from edgespike.errors import UsageError
from edgespike.events import Sensor
from edgespike.sources.source import PATIENCE_S, Feed, Source

if TYPE_CHECKING:
    from edgespike.sources.samples import Sampling

# Scheme, how to write it, what it is.
SOURCES = {
    "spif": ("spif://[HOST]:PORT[?untimed]", "UDP datagrams of SPIF, as AEStream and eventcv send them"),
    "faery": ("faery://[HOST]:PORT[?t32]", "UDP datagrams of faery"),
    "edvs": ("edvs:DEVICE[?baud=N&format=E0..E4]", "an embedded DVS on a serial line"),
    "dv": ("dv:[CAMERA] or dv://HOST:PORT", "an iniVation camera, or a stream of DV (extra inivation)"),
    "-": ("-", "lines t,x,y,p on standard input"),
}

_ANY_HOST = "127.0.0.1"  # only this host, unless another address is given


def is_source(name: str) -> bool:
    """Whether this is the name of a live source, and not that of a file."""
    return name == "-" or (name.partition(":")[0] in SOURCES and ":" in name)


def open_source(name: str, patience: float = PATIENCE_S) -> Source:
    """Open a live source.

    Args:
        name: one of the forms in ``SOURCES``. UDP sources listen on this host alone unless HOST is
            given (0.0.0.0: all its addresses). ``sensor=WxH`` says the size, where the source does not.
        patience: seconds that events may wait to be read; what waits longer is dropped and counted.

    Raises:
        UsageError: this is no source, or an extra is missing.
        DeviceError: the source cannot be opened.
    """
    if not is_source(name):
        known = ", ".join(form for form, _ in SOURCES.values())
        raise UsageError(f"{name!r} is neither a file nor a live source", f"live sources are {known}")
    scheme, _, rest = name.partition(":")
    path, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    feed = _FEEDS[scheme](name, path, options)
    if options:
        raise UsageError(f"{name}: {', '.join(options)} means nothing here", f"write {SOURCES[scheme][0]}")
    return Source(feed, patience)


def open_sensor(
    name: str,
    sampling: Sampling,
    *,
    speed: float = 1.0,
    rounds: int = 1,
    patience: float = PATIENCE_S,
) -> Source:
    """Open a sensor that gives samples, or a recording of one.

    Args:
        name: ``serial:DEVICE[?baud=N]`` (115200), a line of text for each sample; ``-``, the same on standard
            input; or a file, see :class:`edgespike.sources.sample_files.SampleFile`.
        sampling: how fast, which columns, how fine.
        speed, rounds: of a file: its pace, and how often; 0: without end.
        patience: seconds that samples of a serial line may wait to be read.

    Raises:
        UsageError: this is no sensor.
        DataError: the file cannot be read.
        DeviceError: the source cannot be opened.
    """
    from edgespike.sources.sample_files import SampleFile
    from edgespike.sources.samples import SampleLines, SerialLines
    from edgespike.sources.text import TextFeed

    if Path(name).is_file():
        return Source(SampleFile(Path(name), sampling, speed, rounds), patience, speed)
    if name == "-":
        return Source(TextFeed(parse=SampleLines(sampling)), patience)
    match = re.fullmatch(r"serial:([^?]+)(?:\?baud=([1-9]\d*))?", name)
    if not match:
        raise UsageError(
            f"{name!r} is neither a file of samples nor a sensor",
            "write a file, serial:DEVICE or serial:DEVICE?baud=9600, or - for standard input",
        )
    return Source(SerialLines(match[1], int(match[2] or 115200), sampling), patience)


def _spif(name: str, path: str, options: dict[str, str]) -> Feed:
    from edgespike.sources.udp import UdpFeed

    protocol = "spif-untimed" if options.pop("untimed", None) is not None else "spif"
    return UdpFeed(protocol, *_address(name, 3333), _sensor(name, options))


def _faery(name: str, path: str, options: dict[str, str]) -> Feed:
    from edgespike.sources.udp import UdpFeed

    protocol = "faery-t32" if options.pop("t32", None) is not None else "faery-t64"
    return UdpFeed(protocol, *_address(name, 3333), _sensor(name, options))


def _edvs(name: str, path: str, options: dict[str, str]) -> Feed:
    from edgespike.sources.edvs import TIME_BYTES, EdvsFeed

    form, baud = options.pop("format", "E3"), options.pop("baud", "4000000")
    if form not in TIME_BYTES or not baud.isdecimal() or not path:
        raise _wrong(name, "edvs")
    return EdvsFeed(path, int(baud), form)


def _inivation(name: str, path: str, options: dict[str, str]) -> Feed:
    from edgespike.sources.inivation import InivationFeed

    return InivationFeed(_address(name)) if path.startswith("//") else InivationFeed(camera=path)


def _text(name: str, path: str, options: dict[str, str]) -> Feed:
    from edgespike.sources.text import TextFeed

    return TextFeed()


_FEEDS: dict[str, Callable[[str, str, dict[str, str]], Feed]] = {
    "spif": _spif,
    "faery": _faery,
    "edvs": _edvs,
    "dv": _inivation,
    "-": _text,
}


def _address(name: str, port: int | None = None) -> tuple[str, int]:
    parts = urlsplit(name)
    try:
        port = port if parts.port is None else parts.port
    except ValueError:
        port = None
    if port is None or parts.path not in ("", "/"):
        raise _wrong(name, parts.scheme)
    return parts.hostname or _ANY_HOST, port


def _sensor(name: str, options: dict[str, str]) -> Sensor | None:
    text = options.pop("sensor", None)
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text or "")
    if text is not None and not match:
        raise UsageError(f"{name}: {text!r} is no sensor size", "write WIDTHxHEIGHT, such as 128x128")
    return (int(match[1]), int(match[2])) if match else None


def _wrong(name: str, scheme: str) -> UsageError:
    form, meaning = SOURCES[scheme]
    return UsageError(f"{name!r} is no source of {meaning}", f"write {form}")
