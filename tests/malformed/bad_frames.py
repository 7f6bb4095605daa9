"""Bytes for a board, each breaking one rule of the link (docs/link.md), and what the board must say to them.

A case is what a good host sent before, then the bad bytes. The checksums of bad frames are right,
except where the checksum is the rule.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from patching import HEADER, MODELS, ModelFile

from edgespike.link.messages import FrameType, Mode

PAYLOAD = 128  # greatest of the board
ARENA, MODEL, RING = 2048, 4096, 16384  # bytes that it keeps
STREAM = 77  # number of the stream in the cases that have one


@dataclass(frozen=True)
class Case:
    """``says``: what the board sends to the bad bytes, a word for each frame: "ERROR NAME", "TYPE NAME" with
    the status of an answer, "TYPE" without one, "TYPE gap". ``drops``: the counter that goes up."""

    before: bytes
    bad: bytes
    says: tuple[str, ...] = ()
    drops: str = ""
    arena: int = ARENA


def frame(
    type: int, payload: bytes = b"", word: int = 5, *, flags: int = 0, sequence: int = 0, major: int = 1
) -> bytes:
    """A whole frame."""
    head = struct.pack("<BBHI", type, flags | major << 6, sequence, word)
    return framed(head + payload)


def framed(body: bytes, wrong: int = 0) -> bytes:
    """Whatever bytes, with their CRC-32 (or another) and encoded."""
    return encoded(body + struct.pack("<I", zlib.crc32(body) ^ wrong))


def encoded(data: bytes) -> bytes:
    """COBS, with the zero at the end."""
    out = bytearray()
    for block in data.split(b"\0"):
        for at in range(0, len(block) - 253, 254):
            out += b"\xff" + block[at : at + 254]
        rest = block[len(block) // 254 * 254 :]
        out += bytes([len(rest) + 1]) + rest
    return bytes(out) + b"\0"


# ---- what a good host sends -----------------------------------------------------


def identity(data: bytes, size: int = 0, crc: int = 0) -> bytes:
    """Size and CRC of a file, or wrong ones."""
    return struct.pack("<II", len(data) + size, zlib.crc32(data) ^ crc)


def pieces(data: bytes) -> bytes:
    return b"".join(
        frame(FrameType.MODEL_DATA, data[at : at + PAYLOAD], at) for at in range(0, len(data), PAYLOAD)
    )


def uploaded(data: bytes) -> bytes:
    """All but the END."""
    return frame(FrameType.MODEL_BEGIN, identity(data)) + pieces(data)


def held(name: str) -> bytes:
    """A model in use."""
    data = MODELS[name]()
    return uploaded(data) + frame(FrameType.MODEL_END, identity(data))


def start(
    mode: int, name: str = "counting", *, keep: int = 0, stream: int = STREAM, former: int = 0, crc: int = 0
) -> bytes:
    request = struct.pack("<BBHIII", mode, keep, 0, stream, former, zlib.crc32(MODELS[name]()) ^ crc)
    return frame(FrameType.START, request, stream)


def begun(mode: int, name: str = "counting") -> bytes:
    return held(name) + start(mode, name)


def stream_frame(
    type: int,
    word: int = 0,
    words: bytes = b"",
    *,
    event: int = 0,
    sample: int = 0,
    form: tuple[int, int] = (0, 0),
    stream: int = STREAM,
    sequence: int = 0,
) -> bytes:
    prefix = struct.pack("<IHBBI", event, sample, *form, stream)
    return frame(type, prefix + words, word, sequence=sequence)


def events(*words: int, form: tuple[int, int] = (2, 0), tick: int = 0, **fields: int) -> bytes:
    """EVENTS of words. The counting model's sensor: 1 bit of polarity, 3 of x, 2 of y, then ticks."""
    data = b"".join(word.to_bytes(form[0], "little") for word in words)
    return stream_frame(FrameType.EVENTS, tick, data, form=form, **fields)


# ---- the rules --------------------------------------------------------------------

HELLO = frame(FrameType.HELLO, bytes([1, 0, 0, 0]))
LOSSLESS, LIVE = begun(Mode.LOSSLESS), begun(Mode.LIVE)
LEVEL, COUNTING = MODELS["level"](), MODELS["counting"]()
STREAM_TYPES = (FrameType.EVENTS, FrameType.ADVANCE, FrameType.END_SAMPLE, FrameType.READ)
LEAST = {  # bytes that a payload needs
    FrameType.PING: 8,
    FrameType.STATS: 3,
    FrameType.MODEL_BEGIN: 8,
    FrameType.MODEL_END: 8,
    FrameType.START: 16,
    FrameType.BAUD: 4,
    FrameType.CREDIT: 8,
}


def changed(at: int) -> bytes:
    """HELLO with a byte that the checksum does not know of."""
    body = bytearray(struct.pack("<BBHI", FrameType.HELLO, 1 << 6, 0, 5) + b"\1\0\0\0")
    crc = zlib.crc32(body)
    body[at] ^= 0x10
    return encoded(bytes(body) + struct.pack("<I", crc))


def patched(name: str, patch: Callable[[ModelFile], None]) -> bytes:
    file = ModelFile(MODELS[name]())
    patch(file)
    file.repair()
    return bytes(file.data)


def one_shot_bytes_more(file: ModelFile) -> None:
    file.header("one-shot bytes", file.get(0, HEADER["one-shot bytes"]) + 16)


def ended(data: bytes) -> Case:
    """The whole upload of a file that is not taken; the END is the bad frame."""
    return Case(uploaded(data), frame(FrameType.MODEL_END, identity(data)))


def says(case: Case, *what: str, arena: int = ARENA) -> Case:
    return Case(case.before, case.bad, what, arena=arena)


DECODER = {
    "nothing between two zeros": Case(b"", b"\0\0\0"),
    "shorter than a header and a checksum": Case(
        b"", framed(bytes([1, 64, 0, 0, 0, 0, 5])), drops="malformed"
    ),
    "one byte": Case(b"", b"\1\0", drops="malformed"),
    "ends in a block": Case(b"", HELLO[:-3] + b"\0", drops="malformed"),
    "ends where a block begins": Case(b"", b"\xff\0", drops="malformed"),
    "a zero in a block": Case(b"", HELLO[:2] + b"\0" + HELLO[3:], drops="bad-crc malformed"),
    "a byte longer than the longest": Case(b"", framed(b"\1\x40" + b"\3" * (PAYLOAD + 7)), drops="too-long"),
    "a zero longer than the longest": Case(b"", framed(b"\1\x40" + bytes(PAYLOAD + 7)), drops="too-long"),
    "endless": Case(b"", b"\x33" * 5000 + b"\0", drops="too-long"),
    "another checksum": Case(b"", framed(b"\1\x40" + bytes(10), wrong=1), drops="bad-crc"),
    **{f"byte {at} changed": Case(b"", changed(at), drops="bad-crc") for at in range(12)},
    "a good one behind a bad one": Case(b"", HELLO[:-3] + b"\0" + HELLO, ("HELLO",), "malformed"),
}
HEADERS = {
    "an answer": Case(b"", frame(FrameType.HELLO, flags=2)),
    "a result": Case(b"", frame(FrameType.RESULT, bytes(64))),
    "an error": Case(b"", frame(FrameType.ERROR, bytes(16))),
    "a newer protocol": Case(b"", frame(FrameType.STATS, bytes(4), major=2)),
    "greeted by a newer protocol": Case(b"", frame(FrameType.HELLO, major=3), ("HELLO",)),
    **{
        f"unknown type {type}": Case(b"", frame(type, bytes(16)), ("ERROR ES_ERR_COMMAND",))
        for type in (0, 10, 15, 20, 31, 35, 255)
    },
    **{
        f"{type.name} of {least - 1} bytes": Case(b"", frame(type, bytes(least - 1)), ("ERROR ES_ERR_FRAME",))
        for type, least in LEAST.items()
    },
}
COMMANDS = {
    "statistics of populations that are not there": Case(
        held("counting"), frame(FrameType.STATS, struct.pack("<HBB", 900, 0, 0)), ("STATS",)
    ),
    "statistics without a model": Case(b"", frame(FrameType.STATS, bytes(4)), ("STATS",)),
    "a model larger than the memory": Case(
        b"",
        frame(FrameType.MODEL_BEGIN, struct.pack("<II", MODEL + 1, 1)),
        ("MODEL_BEGIN ES_ERR_MODEL_SIZE",),
    ),
    "a model of another size than memory, while one is held": Case(
        held("counting"),
        frame(FrameType.MODEL_BEGIN, struct.pack("<II", len(COUNTING) + 1, zlib.crc32(COUNTING))),
        ("MODEL_BEGIN ES_OK",),
    ),
    "a model of another checksum, while one is held": Case(
        held("counting"), frame(FrameType.MODEL_BEGIN, identity(COUNTING, crc=1)), ("MODEL_BEGIN ES_OK",)
    ),
    "the model that is held": Case(
        held("counting"), frame(FrameType.MODEL_BEGIN, identity(COUNTING)), ("MODEL_BEGIN ES_OK",)
    ),
    "data without a beginning": Case(b"", frame(FrameType.MODEL_DATA, b"data", 0), ("ERROR ES_ERR_UPLOAD",)),
    "data behind the end": Case(
        frame(FrameType.MODEL_BEGIN, identity(LEVEL)),
        frame(FrameType.MODEL_DATA, b"", len(LEVEL) + 1),
        ("ERROR ES_ERR_UPLOAD",),
    ),
    "data across the end": Case(
        uploaded(LEVEL), frame(FrameType.MODEL_DATA, b"12", len(LEVEL) - 1), ("ERROR ES_ERR_UPLOAD",)
    ),
    "data behind a gap, twice": Case(
        frame(FrameType.MODEL_BEGIN, identity(LEVEL)),
        frame(FrameType.MODEL_DATA, b"12", 1) + frame(FrameType.MODEL_DATA, b"12", 3),
        ("MODEL_DATA gap",),
    ),
    "data that is there": Case(uploaded(LEVEL), frame(FrameType.MODEL_DATA, b"\0" * 9, 0), ("MODEL_DATA",)),
    "the end of another size": Case(
        uploaded(LEVEL), frame(FrameType.MODEL_END, identity(LEVEL, size=1)), ("MODEL_END ES_ERR_UPLOAD",)
    ),
    "the end of another checksum": Case(
        uploaded(LEVEL), frame(FrameType.MODEL_END, identity(LEVEL, crc=1)), ("MODEL_END ES_ERR_UPLOAD",)
    ),
    "the end before all has come": Case(
        frame(FrameType.MODEL_BEGIN, identity(LEVEL)),
        frame(FrameType.MODEL_END, identity(LEVEL)),
        ("MODEL_END ES_ERR_UPLOAD",),
    ),
    "the end, said again": Case(
        held("level"), frame(FrameType.MODEL_END, identity(LEVEL)), ("MODEL_END ES_OK",)
    ),
    "a byte changed under way": Case(
        frame(FrameType.MODEL_BEGIN, identity(LEVEL)) + pieces(LEVEL[:-1] + b"\x55"),
        frame(FrameType.MODEL_END, identity(LEVEL)),
        ("MODEL_END ES_ERR_UPLOAD",),
    ),
    "a file that is no model": says(ended(b"PK\3\4" + bytes(96)), "MODEL_END ES_ERR_MAGIC"),
    "no bytes at all": says(ended(b""), "MODEL_END ES_ERR_TRUNCATED"),
    "a model without room": says(ended(LEVEL), "MODEL_END ES_ERR_ARENA", arena=640),
    "a model without room for a result": says(ended(LEVEL), "MODEL_END ES_ERR_ARENA", arena=592 + 64),
    "a model without room and without another plan": says(
        ended(MODELS["spiking"]()), "MODEL_END ES_ERR_ARENA", arena=256
    ),
    "a model without room in any plan": says(ended(LEVEL), "MODEL_END ES_ERR_ARENA", arena=256),
    "a model whose other plan has another size": says(
        ended(patched("level", one_shot_bytes_more)), "MODEL_END ES_ERR_HEADER", arena=720
    ),
    "a model that gives other scores": says(
        ended(patched("level", lambda file: file.test(digest=0))), "MODEL_END ES_ERR_DIGEST"
    ),
    "a test without a model": Case(b"", frame(FrameType.SELF_TEST), ("SELF_TEST ES_ERR_NO_MODEL",)),
    "a test, said again": Case(
        held("level") + frame(FrameType.SELF_TEST), frame(FrameType.SELF_TEST), ("SELF_TEST ES_OK",)
    ),
    "no baud": Case(b"", frame(FrameType.BAUD, struct.pack("<I", 0)), ("BAUD ES_ERR_ARGUMENT",)),
    "an impossible baud": Case(
        b"", frame(FrameType.BAUD, struct.pack("<I", 9_000_000)), ("BAUD ES_ERR_ARGUMENT",)
    ),
    "the baud that there is": Case(b"", frame(FrameType.BAUD, struct.pack("<I", 921_600)), ("BAUD ES_OK",)),
    "a stream without a model": Case(b"", start(Mode.LOSSLESS), ("START ES_ERR_NO_MODEL",)),
    "a stream of another model": Case(
        held("counting"), start(Mode.LOSSLESS, crc=1), ("START ES_ERR_NO_MODEL",)
    ),
    "a stream of mode 0": Case(held("counting"), start(0), ("START ES_ERR_ARGUMENT",)),
    "a stream of mode 3": Case(held("counting"), start(3), ("START ES_ERR_ARGUMENT",)),
    "a stream of number 0": Case(held("counting"), start(Mode.LIVE, stream=0), ("START ES_ERR_ARGUMENT",)),
    "a stream, said again": Case(LIVE, start(Mode.LOSSLESS), ("START ES_OK",)),
    "a stream that goes on from another": Case(
        LIVE, start(Mode.LIVE, keep=1, stream=STREAM + 1, former=STREAM - 1), ("START ES_ERR_COMMAND",)
    ),
    "results of another stream": Case(
        LOSSLESS, frame(FrameType.PING, struct.pack("<II", 0, STREAM + 1)), ("PING",)
    ),
    "results that there will be": Case(
        LOSSLESS, frame(FrameType.PING, struct.pack("<II", 9, STREAM)), ("PING",)
    ),
    "a credit of another stream": Case(LOSSLESS, frame(FrameType.CREDIT, struct.pack("<II", 0, STREAM + 1))),
}
STREAMS = {
    **{
        f"{type.name} without a stream": Case(held("counting"), stream_frame(type), ("ERROR ES_ERR_COMMAND",))
        for type in STREAM_TYPES
    },
    **{
        f"{type.name} of another stream": Case(
            LOSSLESS, stream_frame(type, stream=STREAM + 1), ("ERROR ES_ERR_COMMAND",)
        )
        for type in STREAM_TYPES
    },
    **{
        f"{type.name} of 11 bytes": Case(LOSSLESS, frame(type, bytes(11), 0), ("ERROR ES_ERR_FRAME",))
        for type in STREAM_TYPES
    },
    "11 bytes, live": Case(LIVE, frame(FrameType.EVENTS, bytes(11), 0)),
    "from the past": Case(LOSSLESS, events(1, sequence=65535)),
    "from the past, live": Case(LIVE, events(1, sequence=65535)),
    "from the future, twice": Case(LOSSLESS, events(1, sequence=1) + events(1, sequence=2), ("CREDIT gap",)),
    "from the future, live: eight are lost": Case(LIVE, events(1, sequence=3, event=8)),
    "while no result has room, twice": Case(
        LOSSLESS + stream_frame(FrameType.ADVANCE, 4000),
        events(1, tick=4000, sequence=1) + events(1, tick=4000, sequence=2),
        ("CREDIT gap",),
    ),
    "after a refused one": Case(LOSSLESS + frame(FrameType.EVENTS, bytes(11), 0), events(1, sequence=1)),
    "another event number": Case(LOSSLESS, events(1, event=1), ("ERROR ES_ERR_FRAME",)),
    "another sample": Case(LOSSLESS, events(1, sample=1), ("ERROR ES_ERR_FRAME",)),
    "an event number of the past, live": Case(LIVE, events(1, event=0xFFFFFFFF)),
    "a sample of the past, live": Case(LIVE, events(1, sample=0xFFFF)),
    "a later sample, live: the end of one was lost": Case(LIVE, events(1, sample=1), ("RESULT",)),
    "half a word": Case(
        LOSSLESS, stream_frame(FrameType.EVENTS, 0, b"123", form=(2, 0)), ("ERROR ES_ERR_FRAME",)
    ),
    **{
        f"words of {bytes} bytes with {bits} bits of value": Case(
            LOSSLESS,
            stream_frame(FrameType.EVENTS, 0, b"123456" * 4, form=(bytes, bits)),
            ("ERROR ES_ERR_FRAME",),
        )
        for bytes, bits in ((0, 0), (1, 0), (5, 0), (7, 0), (6, 0), (6, 15), (4, 17), (2, 10))
    },
    "an event back in time": Case(
        LOSSLESS + events(1 | 9 << 6), events(1, sequence=1, event=1), ("ERROR ES_ERR_TIME",)
    ),
    "an event outside the input": Case(LOSSLESS, events(7 << 1), ("ERROR ES_ERR_RANGE",)),
    "an event outside the input, live": Case(LIVE, events(7 << 1)),
    "a value of no count": Case(LOSSLESS, events(0xFF << 6, form=(3, 8)), ("ERROR ES_ERR_VALUE",)),
    "more spikes than a tick takes": Case(
        begun(Mode.LOSSLESS, "spiking"),
        events(*[0] * 31),
        ("ERROR ES_ERR_TICK_FULL",),
    ),
    "time back": Case(
        LOSSLESS + stream_frame(FrameType.ADVANCE, 5),
        stream_frame(FrameType.ADVANCE, 4, sequence=1),
        ("ERROR ES_ERR_TIME",),
    ),
    "time back, live": Case(
        LIVE + stream_frame(FrameType.ADVANCE, 5), stream_frame(FrameType.ADVANCE, 4, sequence=1)
    ),
    "a reading that this plan has not": Case(
        begun(Mode.LOSSLESS, "level"), stream_frame(FrameType.READ), ("ERROR ES_ERR_STATE",), arena=720
    ),
    "a reading that this plan has not, live": Case(
        begun(Mode.LIVE, "level"), stream_frame(FrameType.READ), arena=720
    ),
}
CASES = {
    f"{group}: {name}": case
    for group, cases in (
        ("decoder", DECODER),
        ("header", HEADERS),
        ("command", COMMANDS),
        ("stream", STREAMS),
    )
    for name, case in cases.items()
}


# ---- what is not bad ---------------------------------------------------------------

GOOD = {
    "an upload that goes on": frame(FrameType.MODEL_BEGIN, identity(LEVEL))
    + frame(FrameType.MODEL_DATA, LEVEL[:PAYLOAD], 0)
    + held("level"),
    "two uploads at once": frame(FrameType.MODEL_BEGIN, identity(LEVEL)) + held("counting"),
    "a model without a test": held("forked") + frame(FrameType.SELF_TEST),
    "all statistics, cleared": held("level")
    + frame(FrameType.STATS, bytes([0, 0, 1, 0]))
    + frame(FrameType.STATS, bytes([3, 0, 0, 0])),
    "another baud": frame(FrameType.BAUD, struct.pack("<I", 460_800)) + HELLO,
    "a lossless stream": LOSSLESS
    + events(1, 5 | 1 << 6)
    + events(1 | 1 << 6, form=(3, 9), tick=1, event=2, sequence=1)
    + stream_frame(FrameType.EVENTS, 1, bytes([1, 0, 0, 0, 1, 0]), form=(6, 16), event=3, sequence=2)
    + stream_frame(FrameType.READ, event=4, sequence=3)
    + stream_frame(FrameType.ADVANCE, 5000, event=4, sequence=4)
    + b"".join(frame(FrameType.PING, struct.pack("<II", number, STREAM)) for number in range(0, 300, 8))
    + stream_frame(FrameType.END_SAMPLE, event=4, sequence=5)
    + start(Mode.LOSSLESS, keep=1, stream=STREAM + 1, former=STREAM),
    "a halted stream, asked again": LOSSLESS
    + events(1, event=1)
    + frame(FrameType.PING, struct.pack("<II", 0, STREAM)),
    "time without windows": begun(Mode.LIVE, "spiking") + stream_frame(FrameType.ADVANCE, 5000),
    "a live stream": LIVE + events(1, 5) + stream_frame(FrameType.END_SAMPLE, event=2, sequence=1),
}
