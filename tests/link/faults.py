"""What goes wrong between a host and a board: a Harm each, at byte positions that a seed chooses."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from faulty_pipe import FROM_BOARD, TO_BOARD, FaultyPipe, Generator, Harm

from edgespike._link import FrameReader
from edgespike.link.messages import FrameType


def both_ways(rng: Generator) -> dict[bool, Generator]:
    """A generator for each way: what happens on one does not depend on when bytes come on the other."""
    return {way: np.random.default_rng(rng.integers(1 << 62)) for way in (TO_BOARD, FROM_BOARD)}


class Places:
    """Byte positions on one way at which something happens, about one in ``every``."""

    def __init__(self, rng: Generator, every: float) -> None:
        self._rng = rng
        self._every = every
        self.left = self._gap()  # bytes before the next one

    def _gap(self) -> int:
        return int(self._rng.exponential(self._every))

    def pass_over(self, count: int) -> bool:
        """Whether there was one in the next `count` bytes."""
        self.left -= count
        passed = self.left < 0
        while self.left < 0:
            self.left += 1 + self._gap()
        return passed


class ByteFaults:
    """Faults of given kinds on one way: flip, drop, duplicate, insert, half."""

    LONGEST = 120

    def __init__(self, rng: Generator, kinds: list[str], every: float) -> None:
        self._rng = rng
        self._kinds = kinds
        self._every = every
        self._left = int(rng.exponential(every))  # bytes before the next fault
        self._kind = ""  # of the fault under way, and how many bytes it still has
        self._count = 0
        self._past = b""

    def change(self, data: bytes) -> bytes:
        out = bytearray()
        while data:
            if self._kind:
                data = self._go_on(data, out)
                continue
            piece, data = data[: self._left], data[self._left :]
            self._left -= len(piece)
            self._past = (self._past + piece)[-self.LONGEST :]
            out += piece
            if self._left == 0:
                self._begin(out)
        return bytes(out)

    def _begin(self, out: bytearray) -> None:
        rng = self._rng
        kind = self._kinds[int(rng.integers(0, len(self._kinds)))]
        length = int(rng.choice([1, 2, 5, 40, self.LONGEST]))
        self._left = 1 + int(rng.exponential(self._every))
        if kind == "duplicate":
            out += self._past[-length:]
        elif kind == "insert":
            out += rng.bytes(length)
        else:
            self._kind = kind
            self._count = length // 4 + 1 if kind == "flip" else length

    def _go_on(self, data: bytes, out: bytearray) -> bytes:
        """Harm the first of `data`; returns the rest."""
        if self._kind == "half":  # the rest of a frame, and its end
            end = data.find(0) + 1
            self._kind = "" if end else "half"
            return data[end:] if end else b""
        piece, data = data[: self._count], data[self._count :]
        if self._kind == "flip":
            out += bytes(byte ^ int(self._rng.integers(1, 256)) for byte in piece)
        self._count -= len(piece)
        if self._count == 0:
            self._kind = ""
        return data


class ByteHarm(Harm):
    """About one in ``every`` bytes begins a fault of a kind (see ByteFaults)."""

    def __init__(self, rng: Generator, kinds: list[str], every: float) -> None:
        super().__init__(rng)
        self._ways = {way: ByteFaults(own, kinds, every) for way, own in both_ways(rng).items()}

    def change(self, data: bytes, direction: bool) -> bytes:
        return self._ways[direction].change(data)


class FrameHarm(Harm):
    """Whole frames are lost, said twice, or overtaken by later ones: a ``share`` of them."""

    def __init__(self, rng: Generator, kinds: list[str], share: float) -> None:
        super().__init__(rng)
        self.kinds = kinds
        self.share = share
        self._rngs = both_ways(rng)
        self._part = {TO_BOARD: b"", FROM_BOARD: b""}
        self._overtaken: dict[bool, list[tuple[int, bytes]]] = {TO_BOARD: [], FROM_BOARD: []}

    def change(self, data: bytes, direction: bool) -> bytes:
        *frames, self._part[direction] = (self._part[direction] + data).split(b"\0")
        rng = self._rngs[direction]
        out = []
        for frame in frames:
            kind = self.kinds[int(rng.integers(0, len(self.kinds)))]
            late = [(left - 1, other) for left, other in self._overtaken[direction]]
            if not frame or rng.random() > self.share:
                out.append(frame)
            elif kind == "duplicate":
                out += [frame, frame]
                late.append((int(rng.integers(1, 30)), frame))
            elif kind == "reorder":
                late.append((int(rng.integers(1, 6)), frame))
            out += [other for left, other in late if left <= 0]
            self._overtaken[direction] = [(left, other) for left, other in late if left > 0]
        return b"".join(frame + b"\0" for frame in out)


class Delay(Harm):
    """Some bytes are late, by up to ``longest`` seconds."""

    def __init__(self, rng: Generator, longest: float) -> None:
        super().__init__(rng)
        self.longest = longest
        self._rngs = both_ways(rng)
        self._places = {way: Places(own, 1500.0) for way, own in self._rngs.items()}

    def hold(self, count: int, direction: bool) -> float:
        late = self._places[direction].pass_over(count)
        return float(self._rngs[direction].random() ** 3 * self.longest) if late else 0.0


class Garbage(Harm):
    """What is on the line before the first greeting, from both ends."""

    def __init__(self, rng: Generator) -> None:
        super().__init__(rng)
        self._due = both_ways(rng)

    def change(self, data: bytes, direction: bool) -> bytes:
        rng = self._due.pop(direction, None)
        if rng is None:
            return data
        text = b"\r\nBooting...\r\nlogin: " * int(rng.integers(0, 30))
        return rng.bytes(int(rng.integers(0, 3000))) + text + data


class Incident(Harm):
    """Something happens once, when the client has sent so many bytes; and ends ``length`` bytes later."""

    def __init__(
        self,
        rng: Generator,
        within: int,
        begin: Callable[[FaultyPipe], None],
        end: Callable[[FaultyPipe], None] | None = None,
        length: int = 0,
    ) -> None:
        super().__init__(rng)
        self.at = int(rng.integers(0, within))
        self.begin: Callable[[FaultyPipe], None] | None = begin
        self.end = end
        self.length = length

    def happen(self, pipe: FaultyPipe) -> None:
        if self.begin is not None:
            if pipe.written >= self.at:
                begin, self.begin = self.begin, None
                begin(pipe)
        elif self.end is not None and pipe.written >= self.at + self.length:
            end, self.end = self.end, None
            end(pipe)


class Uploads(Harm):
    """Notes the offsets of what is uploaded."""

    def __init__(self, rng: Generator) -> None:
        super().__init__(rng)
        self.offsets: list[int] = []
        self._reader = FrameReader()

    def change(self, data: bytes, direction: bool) -> bytes:
        frames = self._reader.feed(data) if direction == TO_BOARD else []
        self.offsets += [word for type, _, _, _, word, _ in frames if type == FrameType.MODEL_DATA]
        return data


class Interruption(Uploads):
    """Something happens once, within a frame of an upload, counted from 0: only a part of it goes out."""

    def __init__(self, rng: Generator, frame: int, happens: Callable[[], None]) -> None:
        super().__init__(rng)
        self.frame = frame
        self.happens: Callable[[], None] | None = happens

    def change(self, data: bytes, direction: bool) -> bytes:
        data = super().change(data, direction)
        cut = direction == TO_BOARD and self._is_due()
        return data[: int(self.rng.integers(0, len(data) - 1))] if cut else data  # never all but the zero

    def _is_due(self) -> bool:
        return self.happens is not None and len(self.offsets) > self.frame

    def happen(self, pipe: FaultyPipe) -> None:
        if self._is_due():
            happens, self.happens = self.happens, None
            assert happens is not None
            happens()


class DullLine(Harm):
    """A line that one baud alone goes through: this end takes another when it is set to one."""

    def __init__(self, rng: Generator, other: int) -> None:
        super().__init__(rng)
        self.other = other
        self.first = True

    def rate(self, baud: int) -> int:
        self.first, first = False, self.first
        return self.other if first else baud


class Together(Harm):
    """Several at once."""

    def __init__(self, harms: list[Harm]) -> None:
        super().__init__(harms[0].rng)
        self.harms = harms

    def change(self, data: bytes, direction: bool) -> bytes:
        for harm in self.harms:
            data = harm.change(data, direction)
        return data

    def hold(self, count: int, direction: bool) -> float:
        return max(harm.hold(count, direction) for harm in self.harms)

    def happen(self, pipe: FaultyPipe) -> None:
        for harm in self.harms:
            harm.happen(pipe)


class OtherHost(Harm):
    """Another program at the same line: it sends frames of its own, also into ours, and may take bytes."""

    def __init__(self, rng: Generator, frames: list[bytes], within: int) -> None:
        super().__init__(rng)
        self.frames = deque(frames)
        self.at = int(rng.integers(0, within))
        self.takes = rng.random() < 0.5  # each byte goes to one program only, as on a port without lock
        self.cuts_in = rng.random() < 0.3
        self._written = 0
        self._rngs = both_ways(rng)
        self._taken = ByteFaults(self._rngs[FROM_BOARD], ["drop"], 400.0)

    def change(self, data: bytes, direction: bool) -> bytes:
        if direction == FROM_BOARD:
            return self._taken.change(data) if self.takes and self.frames else data
        rng = self._rngs[TO_BOARD]
        self._written += len(data)
        if self._written < self.at or not self.frames:
            return data
        count = min(len(self.frames), int(rng.integers(0, 4)))
        theirs = b"".join(self.frames.popleft() for _ in range(count))
        cut = int(rng.integers(0, len(data) + 1)) if self.cuts_in and data else len(data)
        return data[:cut] + theirs + data[cut:]
