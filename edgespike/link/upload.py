"""Uploading a model: resumes where an interrupted upload stopped, sends nothing that the board has."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import edgespike
from edgespike import _link
from edgespike._core import Model, error_of
from edgespike.boards import result_bytes
from edgespike.errors import BudgetError, DeviceError, EdgespikeError, ModelError
from edgespike.link.connection import Connection
from edgespike.link.messages import Flag, FrameType, HelloInfo, UploadAnswer
from edgespike.modelfile import MAGIC

Progress = Callable[[int, int], None]
SELF_TEST_SECONDS = 60.0  # what checking a model on a slow board may take
_ATTEMPTS = 3
_LEAST_PIECE = 64  # bytes
_AGAIN = ("restarted", "upload", "taken")  # what may be over when it is tried again


def upload_model(connection: Connection, data: bytes, progress: Progress | None = None) -> None:
    """Give the board a model; nothing is sent if it has that model already.

    Args:
        connection: a board that was greeted.
        data: the bytes of an ``.esg`` file.
        progress: called with bytes uploaded and bytes in all.

    Raises:
        BudgetError: the model does not fit the board.
        ModelError: the board does not accept it.
        DeviceError: the board is gone, restarts again and again, or another program uploads too.
    """
    for attempt in range(_ATTEMPTS):
        try:
            _upload(connection, data, progress)
            break
        except DeviceError as error:
            if error.code not in _AGAIN or attempt + 1 == _ATTEMPTS:
                raise
    if progress is not None:
        progress(len(data), len(data))


def _upload(connection: Connection, data: bytes, progress: Progress | None) -> None:
    info = connection.hello()
    identity = struct.pack("<II", len(data), zlib.crc32(data))
    if _identity(info) == identity:
        return
    check_fit(info, connection.name, data)
    _send_model(connection, data, identity, progress)
    frame = connection.request(
        FrameType.MODEL_END, identity, timeout=max(SELF_TEST_SECONDS, connection.timeout)
    )
    answer = connection.parse(UploadAnswer.parse, frame)
    if answer.status < 0:
        raise _refusal(connection, answer)
    if _identity(connection.hello()) != identity:
        raise DeviceError(
            f"the board at {connection.name} has lost the model that was just uploaded",
            "close other programs that use the board; check its power supply",
            "taken",
        )


def _identity(info: HelloInfo) -> bytes:
    return struct.pack("<II", info.model_size, info.model_crc)


def _send_model(connection: Connection, data: bytes, identity: bytes, progress: Progress | None) -> None:
    piece_bytes = most = connection.info.max_payload  # in a frame; fewer where many are damaged
    wanted = sent = _begin(connection, identity)
    moved_at = best_at = connection.clock()
    best = wanted
    while wanted < len(data):
        frame_bytes = piece_bytes + 14 + (piece_bytes + 12) // 254
        in_flight = connection.info.window // frame_bytes * piece_bytes
        while sent < min(len(data), wanted + in_flight):
            piece = data[sent : sent + piece_bytes]
            connection.send(_link.encode_frame(FrameType.MODEL_DATA, 0, 0, sent, piece))
            sent += len(piece)
        connection.receive(connection.retry)
        answer = connection.take_answer()
        if answer is None or answer.type != FrameType.MODEL_DATA:
            stuck = connection.clock() - moved_at > connection.retry
        else:
            stuck = bool(answer.flags & Flag.GAP)
            if wanted < answer.word <= sent:
                wanted = answer.word
                moved_at = connection.clock()
                if wanted > best:
                    best, best_at = wanted, moved_at
                    piece_bytes = min(2 * piece_bytes, most)
                if progress is not None and wanted < len(data):
                    progress(wanted, len(data))
        if stuck:
            piece_bytes = max(piece_bytes // 2, _LEAST_PIECE)
            wanted = sent = _begin(connection, identity)
            moved_at = connection.clock()
        if connection.clock() - best_at > connection.timeout:
            raise DeviceError(
                f"the upload to the board at {connection.name} stays at {best} of {len(data)} bytes",
                "close other programs that use the board; check the cable; try a lower baud rate",
                "stalled",
            )


def _begin(connection: Connection, identity: bytes) -> int:
    """The offset that the board wants next. Whatever was sent before has arrived then, or is lost."""
    frame = connection.request(FrameType.MODEL_BEGIN, identity)
    answer = connection.parse(UploadAnswer.parse, frame)
    if answer.status < 0:
        raise _refusal(connection, answer)
    return answer.next_offset


# ---- refusals ----------------------------------------------------------------


def check_fit(info: HelloInfo, port: str, data: bytes) -> None:
    """Raise what can be known before a model is sent: it does not fit the board, or is of another format.

    Raises:
        BudgetError, ModelError: naming what is needed and what there is.
    """
    if len(data) > info.model_capacity:
        raise _too_large(port, len(data), info.model_capacity)
    if data[:8] != MAGIC or len(data) < 36:
        return  # the board says what is wrong with it
    major, minor, *arenas = struct.unpack_from("<8xHH16xII", data)
    if major != info.model_format[0]:
        newer = major > info.model_format[0]
        raise ModelError(
            f"the model has format {major}.{minor}, the board at {port} reads {info.model_format[0]}.x",
            "update the board's firmware" if newer else "convert the network again with this edgespike",
            "model-version",
        )
    sizes = [size for size in arenas if size]
    try:
        needed = min(sizes, default=0) + result_bytes(Model(data).output_size)
    except ModelError:
        return  # as above
    if needed > info.arena_capacity:
        raise _arena_too_small(port, needed, info.arena_capacity)


def _too_large(port: str, needed: int, available: int) -> BudgetError:
    return BudgetError(
        f"the model has {needed} bytes, the board at {port} keeps {available} for one",
        "choose a smaller model, or a board with more memory",
        "model-too-large",
    )


def _arena_too_small(port: str, needed: int, available: int) -> BudgetError:
    return BudgetError(
        f"the model needs {needed} bytes of arena, the board at {port} has {available}",
        "choose a smaller model, or a board with more RAM",
        "arena-too-small",
    )


def _refusal(connection: Connection, answer: UploadAnswer) -> EdgespikeError:
    error = error_of(answer.status, f"the board at {connection.name} refused the model")
    if error.code == "model-too-large":
        return _too_large(connection.name, answer.needed, answer.available)
    if error.code == "arena-too-small":
        return _arena_too_small(connection.name, answer.needed, answer.available)
    board = ".".join(map(str, connection.info.version))
    ours = edgespike.__version__
    if isinstance(error, ModelError) and board != ours:
        error.hint = f"the board's firmware is of edgespike {board}, this is {ours}: update the older one"
    return error
