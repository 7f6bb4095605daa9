"""Uploading a model: resumes where an interrupted upload stopped, sends nothing that the board has."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable

from edgespike import _link
from edgespike._core import error_of
from edgespike.errors import BudgetError, DeviceError, EdgespikeError
from edgespike.link.connection import Connection
from edgespike.link.messages import Flag, FrameType, UploadAnswer
from edgespike.modelfile import MAGIC

Progress = Callable[[int, int], None]
SELF_TEST_SECONDS = 60.0  # what checking a model on a slow board may take
_RESTARTS = 3


def upload_model(connection: Connection, data: bytes, progress: Progress | None = None) -> None:
    """Give the board a model; nothing is sent if it has that model already.

    Args:
        connection: a board that was greeted.
        data: the bytes of an ``.esg`` file.
        progress: called with bytes uploaded and bytes in all.

    Raises:
        BudgetError: the model does not fit the board.
        ModelError: the board does not accept it.
        DeviceError: the board is gone, or restarts again and again.
    """
    for attempt in range(_RESTARTS):
        try:
            _upload(connection, data, progress)
            break
        except DeviceError as error:
            if error.code != "restarted" or attempt + 1 == _RESTARTS:
                raise
    if progress is not None:
        progress(len(data), len(data))


def _upload(connection: Connection, data: bytes, progress: Progress | None) -> None:
    info = connection.hello()
    identity = struct.pack("<II", len(data), zlib.crc32(data))
    if struct.pack("<II", info.model_size, info.model_crc) == identity:
        return
    _check_size(connection, data)
    _send_model(connection, data, identity, progress)
    frame = connection.request(
        FrameType.MODEL_END, identity, timeout=max(SELF_TEST_SECONDS, connection.timeout)
    )
    answer = connection.parse(UploadAnswer.parse, frame)
    if answer.status < 0:
        raise _refusal(connection, answer)
    connection.hello()


def _send_model(connection: Connection, data: bytes, identity: bytes, progress: Progress | None) -> None:
    piece_bytes = connection.info.max_payload
    frame_bytes = piece_bytes + 14 + (piece_bytes + 12) // 254
    in_flight = connection.info.window // frame_bytes * piece_bytes
    wanted = sent = _begin(connection, identity)
    moved_at = time.monotonic()
    while wanted < len(data):
        while sent < min(len(data), wanted + in_flight):
            piece = data[sent : sent + piece_bytes]
            connection.send(_link.encode_frame(FrameType.MODEL_DATA, 0, 0, sent, piece))
            sent += len(piece)
        connection.receive(connection.retry)
        answer = connection.take_answer()
        if answer is None or answer.type != FrameType.MODEL_DATA:
            stuck = time.monotonic() - moved_at > connection.retry
        else:
            stuck = bool(answer.flags & Flag.GAP)
            if wanted < answer.word <= sent:
                wanted = answer.word
                moved_at = time.monotonic()
                if progress is not None and wanted < len(data):
                    progress(wanted, len(data))
        if stuck:
            wanted = sent = _begin(connection, identity)
            moved_at = time.monotonic()


def _begin(connection: Connection, identity: bytes) -> int:
    """The offset that the board wants next. Whatever was sent before has arrived then, or is lost."""
    frame = connection.request(FrameType.MODEL_BEGIN, identity)
    answer = connection.parse(UploadAnswer.parse, frame)
    if answer.status < 0:
        raise _refusal(connection, answer)
    return answer.next_offset


# ---- refusals ----------------------------------------------------------------


def _check_size(connection: Connection, data: bytes) -> None:
    info = connection.info
    if len(data) > info.model_capacity:
        raise _too_large(connection, len(data), info.model_capacity)
    if data[:8] != MAGIC or len(data) < 36:
        return  # the board says what is wrong with it
    arenas = [size for size in struct.unpack_from("<II", data, 28) if size]
    if arenas and min(arenas) > info.arena_capacity:
        raise _arena_too_small(connection, min(arenas), info.arena_capacity)


def _too_large(connection: Connection, needed: int, available: int) -> BudgetError:
    return BudgetError(
        f"the model has {needed} bytes, the board at {connection.name} keeps {available} for one",
        "choose a smaller model, or a board with more memory",
        "model-too-large",
    )


def _arena_too_small(connection: Connection, needed: int, available: int) -> BudgetError:
    return BudgetError(
        f"the model needs {needed} bytes of arena, the board at {connection.name} has {available}",
        "choose a smaller model, or a board with more RAM",
        "arena-too-small",
    )


def _refusal(connection: Connection, answer: UploadAnswer) -> EdgespikeError:
    error = error_of(answer.status, f"the board at {connection.name} refused the model")
    if error.code == "model-too-large":
        return _too_large(connection, answer.needed, answer.available)
    if error.code == "arena-too-small":
        return _arena_too_small(connection, answer.needed, answer.available)
    return error
