"""Ports: real ones, missing ones, and peers that are no boards. Each is one clear error, and never a hang."""

from __future__ import annotations

import os
import socket
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from boards import COUNTING, IMAGE, image_events, sensor_events
from offline import scores_of
from peers import (
    Silence,
    pseudo_terminal,
    read_some,
    running,
    serve_board,
    serve_echo,
    serve_text,
    socket_server,
)
from plain_codec import cobs_encode, decode

from edgespike._link import EmulatedBoard, encode_frame
from edgespike.errors import DeviceError, UsageError
from edgespike.link import DeviceClient, Mode, connect, open_transport
from edgespike.link.messages import Flag, FrameType
from edgespike.link.transports import EmulatedTransport, SerialTransport


def greet(port: str, patience: float = 0.6) -> DeviceClient:
    """Connect, but do not wait long for what will not come."""
    transport = open_transport(port)
    transport.patience = patience
    client = DeviceClient(transport, timeout=0.6, retry=0.1)
    try:
        client.hello()
    except BaseException:
        client.close()
        raise
    return client


# ---- real ports --------------------------------------------------------------------


def test_a_serial_port_is_a_board() -> None:
    with pseudo_terminal() as (handle, name), running(serve_board(handle, EmulatedBoard())):
        client = connect(name)
        client.upload(IMAGE)
        events = image_events(4)
        client.push(events)
        client.finish()
        assert client.output().tolist() == scores_of(IMAGE, events)[-1]
        client.close()


def test_a_socket_is_a_board() -> None:
    board = EmulatedBoard()

    def talk(connection: socket.socket) -> None:
        connection.setblocking(False)
        work = serve_board(connection.fileno(), board)
        while work():
            pass

    with socket_server(talk) as port:
        client = connect(port)
        client.upload(COUNTING)
        events = sensor_events(500, 400)
        client.start(Mode.LOSSLESS)
        client.send_events(events)
        client.end_sample()
        assert [result.scores.tolist() for result in client.drain()] == scores_of(COUNTING, events)
        client.close()
        board.vanish()  # ends the server


def test_a_port_without_a_handle_is_read_too() -> None:
    class Loop:
        """What pyserial's loop:// is: no fileno."""

        in_waiting = 0
        baudrate = 921600

        def __init__(self) -> None:
            self.board = EmulatedBoard()

        def fileno(self) -> int:
            raise OSError

        def write(self, data: bytes) -> int:
            return self.board.write(data)

        def read(self, count: int) -> bytes:
            return self.board.read(count)

        def close(self) -> None:
            pass

    client = DeviceClient(SerialTransport(Loop(), "loop"))
    client.upload(COUNTING)
    assert client.info.model_crc == zlib.crc32(COUNTING)


def test_a_board_may_start_slowly_and_talk_before() -> None:
    with pseudo_terminal() as (handle, name):
        serve = serve_board(handle, EmulatedBoard())
        asked = 0

        def boot() -> bool:
            nonlocal asked
            if asked >= 3:
                return serve()
            if read_some(handle):
                asked += 1
                os.write(handle, b"booting...\r\n" * asked)
            return True

        with running(boot):
            assert greet(name, patience=10).info.name == "emulated"


def test_a_board_at_work_is_waited_for() -> None:
    """It shows by credits that it is there, until it comes to what it is asked."""
    begun = time.monotonic()
    with pseudo_terminal() as (handle, name):
        serve = serve_board(handle, EmulatedBoard())

        def work() -> bool:
            if time.monotonic() - begun > 1.5:
                return serve()
            os.write(handle, encode_frame(FrameType.CREDIT, 0, 0, 0, bytes(24)))
            time.sleep(0.1)
            return True

        with running(work):
            assert greet(name, patience=0.6).info.name == "emulated"
    assert time.monotonic() - begun > 1.5


# ---- ports that cannot be opened ----------------------------------------------------


def test_a_missing_port() -> None:
    with pytest.raises(DeviceError, match="no port /dev/ttyNONE7") as caught:
        open_transport("/dev/ttyNONE7")
    assert caught.value.code == "port-missing"
    assert "emulated" in caught.value.hint


def test_a_file_is_no_port(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    with pytest.raises(DeviceError, match="cannot be opened"):
        open_transport(str(path))


def test_a_port_that_may_not_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(DeviceError, match="may not be opened") as caught:
        open_transport("/dev/ttyS0")
    assert caught.value.code == "port-permission"
    assert "group" in caught.value.hint


def test_a_port_in_use() -> None:
    with pseudo_terminal() as (_, name):
        first = open_transport(name)
        with pytest.raises(DeviceError, match="in use") as caught:
            open_transport(name)
        assert caught.value.code == "port-busy"
        first.close()
        open_transport(name).close()


def test_a_server_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(DeviceError, match="cannot be reached") as caught:
        open_transport(f"socket://127.0.0.1:{port}")
    assert caught.value.code == "port-missing"


@pytest.mark.parametrize("port", ["socket://", "socket://host", "socket://host:many", "nonsense://x"])
def test_what_is_no_port(port: str) -> None:
    with pytest.raises(UsageError):
        open_transport(port)


# ---- peers that are no boards --------------------------------------------------------


@pytest.mark.parametrize(
    ("serve", "code", "says"),
    [
        (lambda handle: lambda: bool(read_some(handle) or 1), "silent", "nothing answers"),
        (serve_echo, "not-a-board", "only echoes"),
        (lambda handle: serve_text(handle, b"\r\nraspberrypi login: "), "not-a-board", "raspberrypi login:"),
        (lambda handle: serve_text(handle, bytes(range(128, 256))), "not-a-board", "make no sense"),
    ],
)
def test_a_peer_that_is_no_board(serve: Callable[[int], Callable[[], bool]], code: str, says: str) -> None:
    with pseudo_terminal() as (handle, name), running(serve(handle)):
        with pytest.raises(DeviceError, match=says) as caught:
            greet(name)
        assert caught.value.code == code
        assert caught.value.hint


def test_a_board_of_another_major_version_is_refused_naming_both() -> None:
    def other_hello(request: int) -> bytes:
        head = bytes([FrameType.HELLO, Flag.RESPONSE | 3 << 6, 0, 0]) + request.to_bytes(4, "little")
        body = head + bytes([3, 5, 1, 0])
        return cobs_encode(body + zlib.crc32(body).to_bytes(4, "little")) + b"\0"

    with pseudo_terminal() as (handle, name):

        def serve() -> bool:
            for frame in decode(read_some(handle)):
                os.write(handle, other_hello(frame.word))
            return True

        with running(serve), pytest.raises(DeviceError, match=r"protocol 3\.5, this program 1\.0") as caught:
            greet(name, patience=5)
        assert caught.value.code == "protocol-version"


@pytest.mark.parametrize("payload", [b"", b"\1\0", bytes(96)])
def test_a_senseless_hello_is_an_error(payload: bytes) -> None:
    with pseudo_terminal() as (handle, name):

        def serve() -> bool:
            for frame in decode(read_some(handle)):
                os.write(handle, encode_frame(FrameType.HELLO, Flag.RESPONSE, 0, frame.word, payload))
            return True

        with running(serve), pytest.raises(DeviceError, match="malformed") as caught:
            greet(name, patience=5)
        assert caught.value.code == "frame"


# ---- boards that go --------------------------------------------------------------------


def test_a_board_that_vanishes() -> None:
    board = EmulatedBoard()
    client = DeviceClient(EmulatedTransport(board))
    client.upload(COUNTING)
    client.start(Mode.LIVE)
    client.send_events(sensor_events(100, 50))
    board.vanish()
    for call in (client.poll, client.drain, client.hello):
        with pytest.raises(DeviceError, match="gone") as caught:
            call()
        assert caught.value.code == "vanished"


def test_a_serial_port_that_vanishes() -> None:
    with pseudo_terminal() as (handle, name):
        with running(serve_board(handle, EmulatedBoard())):
            client = greet(name, patience=10)
            client.upload(COUNTING)
        os.close(handle)
        with pytest.raises(DeviceError, match="gone") as caught:
            client.push(sensor_events(100, 50))
        assert caught.value.code == "vanished"
        client.close()


def test_a_server_that_goes() -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(100)

    with socket_server(talk) as port, pytest.raises(DeviceError, match="gone") as caught:
        greet(port, patience=10)
    assert caught.value.code == "vanished"


@pytest.mark.parametrize("mode", list(Mode))
def test_a_board_that_falls_silent(mode: Mode) -> None:
    transport = Silence(EmulatedBoard())
    client = DeviceClient(transport, timeout=0.3, retry=0.02)
    client.upload(COUNTING)
    client.start(mode)
    transport.deaf = True
    client.send_events(sensor_events(100, 50))
    with pytest.raises(DeviceError, match="stopped answering") as caught:
        for _ in range(1000):
            client.poll(0.01)
    assert caught.value.code == "silent"
    with pytest.raises(DeviceError, match="stopped answering"):
        client.stats()
    with pytest.raises(DeviceError, match="nothing answers"):
        client.upload(IMAGE)


def test_a_board_that_restarts_in_a_stream() -> None:
    board = EmulatedBoard()
    client = DeviceClient(EmulatedTransport(board))
    client.upload(COUNTING)
    client.push(sensor_events(100, 50))
    board.reboot()
    with pytest.raises(DeviceError, match="restarted") as caught:
        client.push(sensor_events(100, 50))
    assert caught.value.code == "restarted"
    with pytest.raises(DeviceError, match="restarted"):
        client.finish()  # not from a new beginning
    with pytest.raises(DeviceError, match="no model"):
        client.reset()
    client.upload(COUNTING)
    client.push(sensor_events(100, 50))


def test_a_restart_is_noticed_without_its_greeting() -> None:
    board = EmulatedBoard()
    client = DeviceClient(EmulatedTransport(board), retry=0.01)
    client.upload(COUNTING)
    client.start(Mode.LIVE)
    board.reboot()
    board.read()  # the greeting is lost
    client.send_events(sensor_events(100, 50))
    with pytest.raises(DeviceError, match="restarted"):
        client.drain()


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("model", [COUNTING, IMAGE], ids=["the same model", "another model"])
@pytest.mark.parametrize("streams", [False, True])
def test_another_program_takes_the_board(mode: Mode, model: bytes, streams: bool) -> None:
    board = EmulatedBoard()
    client = DeviceClient(EmulatedTransport(board), retry=0.01)
    client.upload(COUNTING)
    client.start(mode)
    other = DeviceClient(EmulatedTransport(board))
    other.upload(model)
    if streams:
        other.start(mode)
    client.send_events(sensor_events(100, 50))
    client.end_sample()
    if model == COUNTING and not streams:
        assert client.drain()[-1].scores.tolist() == scores_of(COUNTING, sensor_events(100, 50))[-1]
        return
    for call in (client.drain, client.poll, client.end_sample):
        with pytest.raises(DeviceError, match="another program") as caught:
            call()
        assert caught.value.code == "taken"
    if model == IMAGE:
        with pytest.raises(DeviceError, match="another program"):
            client.start(mode)  # not with the other model


def test_a_network_goes_on_after_a_refused_event_only_if_no_other_program_used_it() -> None:
    board = EmulatedBoard()
    client, other = (DeviceClient(EmulatedTransport(board)) for _ in range(2))
    client.upload(COUNTING)
    bad = sensor_events(20, 90)
    bad["value"][15] = -1
    stream_start = client._stream.start

    def start(mode: Mode, *, keep: bool = False) -> None:
        if keep:
            other.upload(COUNTING)
            other.push(sensor_events(10, 50))
        stream_start(mode, keep=keep)

    client._stream.start = start  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match="another program") as caught:
        client.push(bad)
    assert caught.value.code == "taken"


# ---- baud ------------------------------------------------------------------------------


def test_the_baud_can_be_changed() -> None:
    client = connect("emulated", switch_baud=2_000_000)
    transport = client._connection.transport
    assert isinstance(transport, EmulatedTransport)
    assert transport.baud == transport.board.baud == 2_000_000
    client.upload(COUNTING)
    client.close()
    assert transport.board.baud == 921600


def test_a_baud_that_the_board_cannot_do() -> None:
    client = connect("emulated")
    with pytest.raises(DeviceError, match="cannot be used at 9000000 baud") as caught:
        client.change_baud(9_000_000)
    assert caught.value.code == "baud"
    assert "stays at 921600" in caught.value.hint
    client.upload(COUNTING)  # the board is as it was


def test_a_baud_that_the_line_cannot_do() -> None:
    class SlowLine(EmulatedTransport):
        """Above a million baud nothing comes through."""

        def _on_the_line(self, data: bytes, baud: int) -> bytes:
            return super()._on_the_line(data, baud) if baud < 1_000_000 else b"\x81" * len(data)

    transport = SlowLine(EmulatedBoard())
    client = DeviceClient(transport, retry=0.05)
    with pytest.raises(DeviceError, match="nothing came through") as caught:
        client.change_baud(2_000_000)
    assert caught.value.code == "baud"
    assert transport.baud == transport.board.baud == 921600
    client.upload(COUNTING)


def test_ports_without_a_baud_say_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        transport = open_transport(f"socket://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(UsageError, match="no baud rate"):
            DeviceClient(transport).change_baud(115200)
        transport.close()
