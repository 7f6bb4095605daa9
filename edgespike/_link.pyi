"""The link's C code for hosts: frames, event words, and a board inside this process."""

from typing import Any

from numpy.typing import NDArray

PROTOCOL: tuple[int, int]
"""Protocol version of this package: major, minor."""

Frame = tuple[int, int, int, int, int, bytes]
"""Type, flags, major version, sequence number, word, payload."""

def encode_frame(type: int, flags: int, sequence: int, word: int, payload: bytes = b"") -> bytes:
    """A frame as it goes over the wire, with its zero byte. Payload: up to 4096 bytes."""

class FrameReader:
    """Finds frames in received bytes, fed in any pieces.

    Frames with payloads above ``max_payload`` bytes are dropped. ``good`` counts frames;
    ``bad_crc``, ``malformed`` and ``too_long`` count dropped ones.
    """

    def __init__(self, max_payload: int = 4096) -> None: ...
    def feed(self, data: bytes) -> list[Frame]: ...
    @property
    def good(self) -> int: ...
    @property
    def bad_crc(self) -> int: ...
    @property
    def malformed(self) -> int: ...
    @property
    def too_long(self) -> int: ...

def pack_events(
    events: NDArray[Any],
    shape: tuple[int, int, int],
    max_payload: int,
    sequence: int,
    event: int,
    sample: int,
    stream: int,
) -> list[tuple[bytes, int]]:
    """EVENTS frames for a batch, each with how many events it holds.

    Args:
        events: dtype CORE_EVENT.
        shape: (height, width, channels) of the input, as HELLO gives it.
        max_payload: bytes of payload in a frame.
        sequence, event, sample: sequence number, event number and sample of the first frame.
        stream: number of the stream.

    Returns:
        Encoded frames; they end before the first event that lies outside the shape.
    """

def unpack_words(
    words: bytes, shape: tuple[int, int, int], word_bytes: int, value_bits: int, tick: int
) -> bytes:
    """The events (records of dtype CORE_EVENT) of an EVENTS frame's words."""

class EmulatedBoard:
    """The board's device loop in this process, with a byte pipe for a serial line.

    ``model_capacity``, ``arena_capacity``, ``ring_size`` (a power of two) and
    ``max_payload`` are in bytes. ``baud`` is that of its line when it starts: it can do 1200
    to 4000000. One thread at a time may use it.
    """

    def __init__(
        self,
        *,
        model_capacity: int = ...,
        arena_capacity: int = ...,
        name: str = "emulated",
        boot_epoch: int = 1,
        max_payload: int = 1024,
        ring_size: int = ...,
        baud: int = 921600,
    ) -> None: ...
    def write(self, data: bytes) -> int:
        """Bytes for the board; returns how many it had room for."""

    def read(self, limit: int = ...) -> bytes:
        """Let the board run until it has nothing to do, and take what it sent."""

    def reboot(self) -> None:
        """As after a power cut: the model is lost and the boot epoch is another."""

    @property
    def baud(self) -> int:
        """Of its line, now."""

    def set_clock(self, now_us: int) -> None:
        """Give the board the time, in microseconds modulo 2**32; from now on it has no other."""

    def vanish(self) -> None:
        """From now on reading and writing raise OSError, as on a pulled cable."""
