"""Which stream frames are on their way, and which must be sent again."""

from __future__ import annotations

from collections import deque

FAR = 1 << 14  # frames lost in a row: the board would soon take the next one for one of the past


class Outgoing:
    """Stream frames until they are handled, limited by the board's room.

    Lossless, a frame stays until the board has handled it; live, until it is handled or
    given up. Sequence numbers count from 0, modulo 2**16. Sizes are encoded bytes.

    Args:
        window: bytes that may be on their way.
        result_slots: lossless: results that the board keeps until they are acknowledged.
            A frame goes out only when those before it leave room for a result: a board
            without room drops what comes.
    """

    def __init__(self, window: int, result_slots: int, *, lossless: bool) -> None:
        self.window = window
        self.result_slots = result_slots
        self.lossless = lossless
        self.results_due = 0  # made by all frames so far
        self.sequence = 0  # of the next frame to add
        self.in_flight = 0  # bytes
        self.sent_again = 0  # frames
        self._first = 0  # sequence number of the oldest frame here
        self._frames: deque[tuple[bytes, int]] = deque()  # and the results due before it
        self._weights: deque[int] = deque()  # of the frames that were sent, oldest first

    @property
    def unsent(self) -> bool:
        """Whether frames wait to be sent."""
        return len(self._weights) < len(self._frames)

    @property
    def empty(self) -> bool:
        """Whether all frames are handled."""
        return not self._frames

    @property
    def room(self) -> int:
        """Bytes that may be sent now; a frame may always be sent when nothing is in flight."""
        return self.window - self.in_flight

    def add(self, frame: bytes, results: int) -> None:
        """Queue an encoded frame, numbered ``sequence``, that makes some results."""
        self._frames.append((frame, self.results_due))
        self.results_due += results
        self.sequence = (self.sequence + 1) & 0xFFFF

    def take(self, acknowledged: int) -> bytes:
        """The frames that may be sent now, to be sent at once. So many results are acknowledged."""
        pieces: list[bytes] = []
        while self.unsent:
            frame, due = self._frames[len(self._weights)]
            if self.in_flight and len(frame) > self.room:
                break
            if self.lossless and due - acknowledged >= self.result_slots:
                break
            self._weights.append(len(frame))
            self.in_flight += len(frame)
            pieces.append(frame)
        return b"".join(pieces)

    def weigh(self, size: int) -> None:
        """Other bytes were sent behind the frames in flight, and take room with them."""
        if self._weights:
            self._weights[-1] += size
            self.in_flight += size

    def credit(self, sequence: int) -> bool:
        """All frames before `sequence` are handled. Returns whether that is news."""
        handled = (sequence - self._first) & 0xFFFF
        if not 0 < handled <= len(self._weights):
            return False
        for _ in range(handled):
            self._frames.popleft()
            self.in_flight -= self._weights.popleft()
        self._first = sequence
        return True

    def settle(self, sequence: int) -> None:
        """Nothing is in flight any more: what is not handled is lost. Lossless, it is to be sent again."""
        self.credit(sequence)
        lost = len(self._weights)
        self.in_flight = 0
        self._weights.clear()
        if self.lossless:
            self.sent_again += lost
            return
        for _ in range(lost):
            self._frames.popleft()
        self._first = (self._first + lost) & 0xFFFF
        if not self._frames and (self._first - sequence) & 0xFFFF >= FAR:
            self._first = self.sequence = sequence
