"""Is an event file whole? What decoders do not tell: several return the beginning of a file that was cut.

Each check reads the file's outer structure alone. EVT2, EVT3, DAT and AEDAT 2 are a header and
a row of words without an end mark: of these, a file that was cut between two words is, to the
byte, the file of a shorter recording, and nobody can tell. All other cuts are found.

Sources: the format pages of Prophesee and iniVation, the rosbag 2.0 format, the HDF5 file format
specification (superblock), the frame formats of LZ4 and Zstandard, the FlatBuffers internals page.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from edgespike.errors import DataError


def check_complete(data: bytes, suffix: str) -> None:
    """Nothing, when a file with this content and suffix is whole.

    Raises:
        DataError: it was cut short, or is something else altogether.
    """
    try:
        _CHECKS[suffix](data)
    except (struct.error, IndexError, ValueError) as error:
        raise _cut("in the middle of its structure") from error


def _cut(where: str) -> DataError:
    return DataError(
        f"cut short {where}", "copy the file again, or close the recording properly", "event-file"
    )


def _wrong(expected: str, data: bytes) -> DataError:
    return DataError(f"not {expected}: it begins with {data[:16]!r}", "is the suffix right?", "event-file")


# ---- a text header and words of equal size ------------------------------------


def _check_raw(data: bytes) -> None:
    header, begin = _header_lines(data, b"%")
    if not header:
        raise _wrong("a Prophesee RAW file", data)
    if begin == len(data) and header[-1] != b"% end":
        raise _cut("in its header")
    _check_words(data, begin, 2 if is_evt3(data) else 4)


def is_evt3(data: bytes) -> bool:
    """Whether the header of a Prophesee RAW file says EVT3."""
    text = b"\n".join(_header_lines(data, b"%")[0])
    return b"EVT3" in text or b"evt 3" in text


def _check_dat(data: bytes) -> None:
    header, begin = _header_lines(data, b"%")
    if not header:
        raise _wrong("a Prophesee DAT file", data)
    if len(data) < begin + 2:
        raise _cut("in its header")
    _check_words(data, begin + 2, 8)


def _check_aedat2(data: bytes) -> None:
    if not data.startswith(b"#!AER-DAT2.0"):
        raise _wrong("an AEDAT 2.0 file", data)
    begin = _header_lines(data, b"#")[1]
    if begin == len(data):
        raise _cut("after its header")
    _check_words(data, begin, 8)


def _header_lines(data: bytes, mark: bytes) -> tuple[list[bytes], int]:
    """The lines at the beginning that start with a mark, and where they end."""
    lines: list[bytes] = []
    position = 0
    while data[position : position + 1] == mark:
        end = data.find(b"\n", position)
        if end < 0:
            raise _cut("in its header")
        lines.append(data[position:end].rstrip(b"\r"))
        position = end + 1
        if lines[-1] == b"% end":
            break
    return lines, position


def _check_words(data: bytes, begin: int, size: int) -> None:
    words, rest = divmod(len(data) - begin, size)
    if rest:
        raise _cut(f"in word {words}, of which {rest} of {size} bytes are there")


# ---- AEDAT 4 ------------------------------------------------------------------

_AEDAT4_MAGIC = b"#!AER-DAT4.0\r\n"


def _check_aedat4(data: bytes) -> None:
    if not data.startswith(_AEDAT4_MAGIC):
        raise _wrong("an AEDAT 4 file", data)
    header = len(_AEDAT4_MAGIC)
    (size,) = struct.unpack_from("<I", data, header)
    position = header + 4 + size
    table = _aedat4_table_position(data, header + 4)
    end = len(data) if table < 0 else table
    if end > len(data):
        raise _cut(f"at byte {len(data)}: its table of packets should begin at byte {table}")
    while position < end:
        _, size = struct.unpack_from("<iI", data, position)
        position += 8 + size
    if position != end:
        raise _cut(f"in the packet that ends at byte {position}")
    if table >= 0:
        _check_frame(data, table)


def _aedat4_table_position(data: bytes, begin: int) -> int:
    """Where the table of packets is; -1: the file has none. Field 1 of the header, a FlatBuffer."""
    root = begin + struct.unpack_from("<I", data, begin)[0]
    fields = root - struct.unpack_from("<i", data, root)[0]
    (size,) = struct.unpack_from("<H", data, fields)
    offset = struct.unpack_from("<H", data, fields + 6)[0] if size >= 8 else 0
    return int(struct.unpack_from("<q", data, root + offset)[0]) if offset else -1


def _check_frame(data: bytes, begin: int) -> None:
    """A compressed frame, or a FlatBuffer with its size before it, that ends where the file ends."""
    magic = data[begin : begin + 4]
    walk = {b"\x04\x22\x4d\x18": _lz4_end, b"\x28\xb5\x2f\xfd": _zstd_end}.get(magic)
    end = walk(data, begin) if walk else begin + 4 + int.from_bytes(magic, "little")
    if end > len(data):
        raise _cut("in its table of packets")


def _lz4_end(data: bytes, begin: int) -> int:
    flags = data[begin + 4]
    position = begin + 7 + 8 * (flags >> 3 & 1) + 4 * (flags & 1)
    while size := struct.unpack_from("<I", data, position)[0] & 0x7FFFFFFF:
        position += 4 + size + 4 * (flags >> 4 & 1)
    return position + 4 + 4 * (flags >> 2 & 1)


def _zstd_end(data: bytes, begin: int) -> int:
    flags = data[begin + 4]
    single = flags >> 5 & 1
    size_bytes = (single, 2, 4, 8)[flags >> 6]
    position = begin + 5 + (1 - single) + (0, 1, 2, 4)[flags & 3] + size_bytes
    last = False
    while not last:
        block = int.from_bytes(data[position : position + 3], "little")
        if position + 3 > len(data):
            raise _cut("in its table of packets")
        last, run = bool(block & 1), block >> 1 & 3 == 1
        position += 3 + (1 if run else block >> 3)
    return position + 4 * (flags >> 2 & 1)


# ---- ROS 1 bag -----------------------------------------------------------------

_BAG_MAGIC = b"#ROSBAG V2.0\n"
_BAG_HEADER, _CONNECTION, _CHUNK_INFO = 3, 7, 6


def _check_bag(data: bytes) -> None:
    if not data.startswith(_BAG_MAGIC):
        raise _wrong("a ROS 1 bag", data)
    counts = {_CONNECTION: 0, _CHUNK_INFO: 0}
    expected = counts
    position = len(_BAG_MAGIC)
    index = 0
    while position < len(data):
        fields, end = _bag_record(data, position)
        kind = fields[b"op"][0]
        if kind == _BAG_HEADER:
            index = int.from_bytes(fields[b"index_pos"], "little")
            expected = {
                _CONNECTION: int.from_bytes(fields[b"conn_count"], "little"),
                _CHUNK_INFO: int.from_bytes(fields[b"chunk_count"], "little"),
            }
        elif kind in counts and position >= index:
            counts[kind] += 1
        position = end
    if not index or position != len(data) or counts != expected:
        raise _cut("before its index was complete")


def _bag_record(data: bytes, position: int) -> tuple[dict[bytes, bytes], int]:
    """The header fields of a record, and where it ends."""
    (size,) = struct.unpack_from("<I", data, position)
    header = data[position + 4 : position + 4 + size]
    (length,) = struct.unpack_from("<I", data, position + 4 + size)
    fields = {}
    while header:
        field_size = int.from_bytes(header[:4], "little")
        name, _, value = header[4 : 4 + field_size].partition(b"=")
        fields[name], header = value, header[4 + field_size :]
    if b"op" not in fields or not fields[b"op"]:
        raise _cut(f"or damaged: byte {position} begins no record")
    return fields, position + 8 + size + length


# ---- HDF5 ------------------------------------------------------------------------

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def _check_hdf5(data: bytes) -> None:
    if not data.startswith(_HDF5_MAGIC):
        raise _wrong("an HDF5 file", data)
    version = data[8]
    width = data[9] if version >= 2 else data[13]
    offset = {0: 24, 1: 28}.get(version, 12) + 2 * width
    end = int.from_bytes(data[offset : offset + width], "little")
    if len(data) < max(end, offset + width):
        raise _cut(f"at byte {len(data)} of {end}")


_CHECKS: dict[str, Callable[[bytes], None]] = {
    ".raw": _check_raw,
    ".dat": _check_dat,
    ".aedat": _check_aedat2,
    ".aedat4": _check_aedat4,
    ".bag": _check_bag,
    ".h5": _check_hdf5,
    ".hdf5": _check_hdf5,
}
