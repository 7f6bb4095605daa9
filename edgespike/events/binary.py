"""Binary event files that this package reads and writes itself: N-MNIST, AEDAT 3.1, Event Stream.

Sources: the N-MNIST data set's description (Orchard et al. 2015); iniVation's AEDAT 3.1 page; the
Event Stream 2.0 specification of its authors, whose rows count from the bottom where ours, and
those of this package's other formats, count from the top.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import DataError
from edgespike.events.arrays import Content, Sensor, check_events

# ---- N-MNIST -----------------------------------------------------------------


def decode_nmnist(data: bytes) -> Content:
    """5 bytes an event: u8 x, u8 y, then 24 bits, big-endian: polarity and 23 bits of microseconds."""
    if len(data) % 5:
        raise DataError(
            f"{len(data)} bytes are not a multiple of 5: event {len(data) // 5} is cut short",
            "an N-MNIST file has 5 bytes for each event; copy it again",
            "event-file",
        )
    rows = np.frombuffer(data, np.uint8).reshape(-1, 5).astype(np.int64)
    time = (rows[:, 2] & 0x7F) << 16 | rows[:, 3] << 8 | rows[:, 4]
    return Content(time, rows[:, 0], rows[:, 1], rows[:, 2] >> 7)


def encode_nmnist(events: NDArray[Any]) -> bytes:
    """A recording as the bytes of an N-MNIST file: 256 x 256 pixels, 2 polarities, 8.3 seconds.

    Raises:
        DataError: no events, or an event that the format cannot hold.
    """
    check_events(events, 256, 256, 2)
    if not len(events) or events["t"][-1] >= 1 << 23:
        raise DataError(
            "an N-MNIST file holds at least one event, and times below 8388608 us",
            "rebase the recording, or write npz",
            "event-range",
        )
    rows = np.empty((len(events), 5), np.uint8)
    rows[:, 0], rows[:, 1] = events["x"], events["y"]
    rows[:, 2] = events["p"].astype(np.int64) << 7 | events["t"] >> 16
    rows[:, 3], rows[:, 4] = events["t"] >> 8 & 0xFF, events["t"] & 0xFF
    return rows.tobytes()


# ---- AEDAT 3.1 -----------------------------------------------------------------

AEDAT3_MAGIC = b"#!AER-DAT3.1\r\n"
_AEDAT3_HEADER_END = b"#!END-HEADER\r\n"
_AEDAT3_PACKET = struct.Struct(
    "<hhiiiiii"
)  # type, source, event size, time offset, overflow, capacity, number, valid
_POLARITY_PACKET = 1

# Width and height of iniVation's cameras, by the name in a file's header.
_AEDAT3_SENSORS = {
    "DVS128": (128, 128),
    "DAVIS128": (128, 128),
    "DAVIS208": (208, 192),
    "DAVIS240": (240, 180),
    "DAVIS346": (346, 260),
    "DAVIS640": (640, 480),
    "DVXPLORER": (640, 480),
}


def decode_aedat3(data: bytes) -> Content:
    """Packets of a 28-byte header and events: u32 ``x << 17 | y << 2 | polarity << 1 | valid``, i32 us.

    Packets of other things than polarity events are skipped, and so are events marked invalid.
    """
    end = data.find(_AEDAT3_HEADER_END)
    if end < 0:
        raise DataError("cut short: the header has no end", "copy the file again", "event-file")
    header = data[:end].decode("latin-1")
    if "#Format: RAW" not in header:
        raise DataError(
            "an AEDAT 3.1 file whose events are compressed",
            "save it again with the format RAW, or as AEDAT 4",
            "event-file",
        )
    times, words, invalid = [np.empty(0, np.int64)], [np.empty(0, np.uint32)], 0
    position = end + len(_AEDAT3_HEADER_END)
    while position < len(data):
        kind, overflow, number, rows = _aedat3_packet(data, position)
        position += _AEDAT3_PACKET.size + rows.nbytes
        if kind == _POLARITY_PACKET:
            packet = rows.reshape(number, -1)[:, :8].copy().view("<u4")
            valid = (packet[:, 0] & 1).astype(bool)
            words.append(packet[valid, 0])
            times.append((overflow << 31) + packet[valid, 1].astype(np.int64))
            invalid += int(number - valid.sum())
    word, remarks = np.concatenate(words), []
    if invalid:
        remarks.append(f"{invalid:,} events are marked as not valid and were left out")
    return Content(
        np.concatenate(times),
        word >> 17,
        word >> 2 & 0x7FFF,
        word >> 1 & 1,
        _aedat3_sensor(header),
        tuple(remarks),
    )


def _aedat3_packet(data: bytes, position: int) -> tuple[int, int, int, NDArray[np.uint8]]:
    """Kind, overflow of the clock, number of events and their bytes."""
    if len(data) - position < _AEDAT3_PACKET.size:
        raise DataError(
            f"cut short in a packet's header, {len(data)} bytes from the start",
            "copy the file again",
            "event-file",
        )
    kind, _, size, _, overflow, capacity, number, valid = _AEDAT3_PACKET.unpack_from(data, position)
    if not (0 <= valid <= number <= capacity and size >= 8 and overflow >= 0):
        raise DataError(f"byte {position} begins no AEDAT 3.1 packet", "the file is damaged", "event-file")
    begin = position + _AEDAT3_PACKET.size
    if len(data) - begin < number * size:
        raise DataError(
            f"cut short: the packet at byte {position} holds {number} events,"
            f" of which {(len(data) - begin) // size} are there",
            "copy the file again",
            "event-file",
        )
    return kind, overflow, number, np.frombuffer(data, np.uint8, number * size, begin)


def _aedat3_sensor(header: str) -> Sensor | None:
    sources = [line for line in header.splitlines() if line.startswith("#Source")]
    for name, sensor in _AEDAT3_SENSORS.items():
        if any(name in source.upper() for source in sources):
            return sensor
    return None


# ---- Event Stream ----------------------------------------------------------------

EVENT_STREAM_MAGIC = b"Event Stream"
_EVENT_STREAM_HEADER = struct.Struct("<12s4B2H")  # magic, version in three numbers, kind, width, height
_DVS_EVENTS = 1
_RESET, _OVERFLOW = 0xFE, 0xFF  # where an event may begin
_OVERFLOW_US = 127
_DVS_EVENT = np.dtype([("time", "u1"), ("x", "<u2"), ("y", "<u2")])


def decode_event_stream(data: bytes) -> Content:
    """5 bytes an event: 7 bits of time since the last one and the polarity, u16 x, u16 y; version 2, DVS."""
    if len(data) < _EVENT_STREAM_HEADER.size or not data.startswith(EVENT_STREAM_MAGIC):
        raise DataError("no Event Stream file, or cut short in its header", "", "event-file")
    _, major, minor, _, kind, width, height = _EVENT_STREAM_HEADER.unpack_from(data)
    if major != 2 or kind != _DVS_EVENTS:
        raise DataError(
            f"Event Stream {major}.{minor}, kind {kind}: only kind 1, DVS events, of version 2 is read",
            "convert it with faery or event_stream",
            "event-file",
        )
    places, overflows = _event_places(data)
    rows = np.frombuffer(data, np.uint8)[places[:, None] + np.arange(5)].copy().view(_DVS_EVENT)[:, 0]
    outside = (rows["x"] >= width) | (rows["y"] >= height)
    if outside.any():
        number = int(np.argmax(outside))
        raise DataError(
            f"event {number} lies at x = {rows['x'][number]}, y = {rows['y'][number]},"
            f" outside the {width}x{height} sensor that the file names",
            "the file is damaged",
            "event-file",
        )
    time = np.cumsum((rows["time"] >> 1).astype(np.int64)) + overflows * _OVERFLOW_US
    return Content(
        time, rows["x"], height - 1 - rows["y"].astype(np.int64), rows["time"] & 1, (width, height)
    )


def _event_places(data: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where events begin, and how many overflows came before each."""
    places, overflows, overflow = [], [], 0
    position, end = _EVENT_STREAM_HEADER.size, len(data)
    while position < end:
        first = data[position]
        if first < _RESET:
            places.append(position)
            overflows.append(overflow)
            position += 5
        else:
            overflow += first == _OVERFLOW
            position += 1
    if position != end:
        raise DataError(
            f"cut short: event {len(places) - 1} has {5 - (position - end)} of its 5 bytes",
            "copy the file again",
            "event-file",
        )
    return np.array(places, np.int64), np.array(overflows, np.int64)


def encode_event_stream(events: NDArray[Any], sensor: Sensor) -> bytes:
    """A recording as an Event Stream 2.0 file. Times count from the start of the recording.

    Raises:
        DataError: an event outside the sensor, or a pause of more than an hour.
    """
    width, height = sensor
    check_events(events, height, width, 2)
    steps = np.diff(events["t"], prepend=0)
    if len(steps) and steps.max() > 3_600_000_000:
        raise DataError(
            f"a pause of {steps.max()} us: an Event Stream file would be mostly overflow marks",
            "rebase the recording to its first event, or write npz",
            "event-range",
        )
    rows = np.empty(len(events), _DVS_EVENT)
    rows["time"] = (steps % _OVERFLOW_US) << 1 | events["p"]
    rows["x"], rows["y"] = events["x"], height - 1 - events["y"].astype(np.int64)
    marks = steps // _OVERFLOW_US
    begins = np.arange(len(events)) * 5 + np.cumsum(marks)
    body = np.full(5 * len(events) + int(marks.sum()), _OVERFLOW, np.uint8)
    body[begins[:, None] + np.arange(5)] = rows.view(np.uint8).reshape(-1, 5)
    header = _EVENT_STREAM_HEADER.pack(EVENT_STREAM_MAGIC, 2, 0, 0, _DVS_EVENTS, width, height)
    return header + body.tobytes()
