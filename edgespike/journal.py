"""A journal of a stream: the model, what was given to it, and what it said, in one file.

A journal is a zip archive: ``model.esg``; ``calls/NNNNNN.npz``, what was given to the network, in
order; ``results.jsonl``, a JSON object a line; ``about.json``. From it everything can be computed
again, bit for bit, but for windows in which events were lost on the way to a board.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgespike.encoders import SENSOR_EVENT
from edgespike.errors import DataError
from edgespike.events import EVENT

VERSION = 1
CHUNK_EVENTS = 100_000

# Kinds of calls: a sample begins; events, and the time until which they are all; the sample ends; the
# network is asked for a result, and goes on.
BEGIN, SEND, END, READ = 0, 1, 2, 3
_CALL = np.dtype([("kind", "u1"), ("sample", "<u4"), ("until_us", "<i8"), ("events", "<u4")])


@dataclass(frozen=True)
class Call:
    """One thing that a network was given. ``events``: EVENT or SENSOR_EVENT, from the sample's begin on."""

    kind: int
    sample: int
    until_us: int
    events: NDArray[Any]


class JournalWriter:
    """Writes a journal beside its path and renames it when it is closed.

    Args:
        path: the journal's.
        model: bytes of the model file.

    Raises:
        DataError: the file cannot be written.
    """

    def __init__(self, path: Path, model: bytes) -> None:
        self.path = path
        self._beside = path.with_name(f".{path.name}.{os.getpid()}")
        self._calls: list[tuple[int, int, int, int]] = []
        self._events: list[NDArray[Any]] = []
        self._size = self._chunks = 0
        self._results = tempfile.TemporaryFile("w+b")  # noqa: SIM115 (a stream may go on for days)
        try:
            self._archive = zipfile.ZipFile(self._beside, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        except OSError as error:
            raise DataError(f"{path}: cannot be written: {error.strerror}", "", "journal-file") from error
        self._archive.writestr("model.esg", model)

    def add(self, kind: int, sample: int, until_us: int = 0, events: NDArray[Any] | None = None) -> None:
        """Keep a call."""
        count = 0 if events is None else len(events)
        self._calls.append((kind, sample, until_us, count))
        if events is not None and count:
            self._events.append(events)
            self._size += count
        if self._size >= CHUNK_EVENTS or len(self._calls) >= CHUNK_EVENTS:
            self._flush()

    def add_result(self, result: dict[str, Any]) -> None:
        """Keep what the network said: JSON values."""
        self._results.write(json.dumps(result).encode() + b"\n")

    def _flush(self) -> None:
        content = io.BytesIO()
        events = np.concatenate(self._events) if self._events else np.zeros(0, EVENT)
        np.savez(content, calls=np.array(self._calls, _CALL), events=events)
        self._archive.writestr(f"calls/{self._chunks:06}.npz", content.getvalue())
        self._calls, self._events, self._size = [], [], 0
        self._chunks += 1

    def close(self, about: dict[str, Any]) -> None:
        """Complete the journal; ``about``: JSON values."""
        self._flush()
        self._results.seek(0)
        with self._archive.open("results.jsonl", "w", force_zip64=True) as target:
            shutil.copyfileobj(self._results, target)
        self._results.close()
        self._archive.writestr("about.json", json.dumps({"version": VERSION, **about}))
        self._archive.close()
        self._beside.replace(self.path)

    def discard(self) -> None:
        """Leave nothing behind, unless the journal was closed."""
        self._results.close()
        if self._archive.fp is not None:
            self._archive.close()
        self._beside.unlink(missing_ok=True)


class Journal:
    """A journal to read. ``model``: bytes of the model file; ``results`` and ``about``: JSON values.

    Raises:
        DataError: no journal, one that was cut short, or one of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
            self.model = self._archive.read("model.esg")
            self.about: dict[str, Any] = json.loads(self._archive.read("about.json"))
            lines = self._archive.read("results.jsonl").splitlines()
            self.results: list[dict[str, Any]] = [json.loads(line) for line in lines]
        except (OSError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise self._broken(error) from error
        if self.about.get("version") != VERSION:
            raise DataError(
                f"{path}: journal version {self.about.get('version')}, where this edgespike reads {VERSION}",
                "use the edgespike that wrote it",
                "journal-version",
            )

    def _broken(self, error: Exception) -> DataError:
        return DataError(
            f"{self.path}: no journal, or cut short: {error}",
            "make one with `edgespike stream --record`",
            "journal-file",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._archive.close()

    def calls(self) -> Iterator[Call]:
        """What the network was given, in order; raises DataError where the file is damaged."""
        for name in sorted(name for name in self._archive.namelist() if name.startswith("calls/")):
            try:
                content = np.load(io.BytesIO(self._archive.read(name)), allow_pickle=False)
                calls, events = content["calls"], content["events"]
                used = int(calls["events"].sum())
            except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                raise self._broken(error) from error
            known = events.dtype in (EVENT, SENSOR_EVENT)
            if calls.dtype != _CALL or not known or used != len(events):
                raise self._broken(ValueError(f"{name} is damaged"))
            ends = np.cumsum(calls["events"])
            for call, end in zip(calls.tolist(), ends.tolist(), strict=True):
                yield Call(call[0], call[1], call[2], events[end - call[3] : end])
