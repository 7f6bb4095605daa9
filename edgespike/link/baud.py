"""Another baud for the line to a board that was greeted, if the board and the line can do it."""

from __future__ import annotations

import struct

from edgespike.errors import DeviceError, EdgespikeError, UsageError
from edgespike.link.connection import Connection
from edgespike.link.messages import FrameType

_GREETING_SECONDS = 0.6  # the board waits a second for it, then goes back
_RETURN_SECONDS = 3.0


def change_baud(connection: Connection, baud: int) -> None:
    """Change the baud of both ends; when that fails both keep the one they have.

    Raises:
        DeviceError: the board or the line cannot do it (code ``baud``: the board can still
            be used), or the board is gone.
        UsageError: this port has no baud.
    """
    transport = connection.transport
    former = transport.baud
    if former is None:
        raise UsageError(f"port {connection.name} has no baud rate to change", "leave out --switch-baud")
    if former == baud:
        return
    if not connection.info.changes_baud:
        raise _refusal(connection, baud, former, "its firmware keeps one baud rate")
    answer = connection.request(FrameType.BAUD, struct.pack("<I", baud))
    (status,) = connection.parse(struct.Struct("<i").unpack_from, answer)
    if status < 0:
        raise _refusal(connection, baud, former, "its UART cannot do that")
    try:
        transport.set_baud(baud)
        connection.hello(_GREETING_SECONDS)
        return
    except EdgespikeError as error:
        if isinstance(error, DeviceError) and error.code == "vanished":
            raise
    transport.set_baud(former)
    connection.hello(_RETURN_SECONDS)
    raise _refusal(connection, baud, former, "nothing came through the line")


def _refusal(connection: Connection, baud: int, former: int, why: str) -> DeviceError:
    return DeviceError(
        f"the board at {connection.name} cannot be used at {baud} baud: {why}",
        f"it stays at {former} baud: leave out --switch-baud, or choose another rate",
        "baud",
    )
