"""What the doctor finds, and what is listed as a board: each trouble has its line and next step."""

from __future__ import annotations

import os
import subprocess
import sys
import termios
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from boards import COUNTING, IMAGE
from peers import pseudo_terminal, read_some, running, serve_board, serve_echo, serve_text
from plain_codec import cobs_encode, decode

from edgespike import _core, boards
from edgespike._link import EmulatedBoard
from edgespike.errors import BudgetError, DeviceError
from edgespike.link import doctor, ports
from edgespike.link.connection import Connection
from edgespike.link.messages import Flag, FrameType
from edgespike.link.transports import EmulatedTransport
from edgespike.link.upload import check_fit, upload_model


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not answer soon will not."""
    monkeypatch.setattr(ports, "PATIENCE", 0.5)
    monkeypatch.setattr("edgespike.link.transports.SerialTransport.patience", 0.5)
    monkeypatch.setattr(doctor, "PATIENCE", 0.4)
    monkeypatch.setattr(doctor, "USUAL_BAUDS", (921600, 115200))


def problems(port: str | None, baud: int = 921600, model: bytes | None = None) -> dict[str, tuple[str, str]]:
    """Message and next step by code."""
    found = [finding.problem for finding in doctor.examine(port, baud, model)]
    assert all(problem is None or problem.hint for problem in found)
    return {problem.code: (problem.message, problem.hint) for problem in found if problem}


@contextmanager
def board_at(work: Callable[[int], Callable[[], bool]]) -> Iterator[str]:
    with pseudo_terminal() as (handle, name), running(work(handle)):
        yield name


def test_a_board_is_well() -> None:
    board = EmulatedBoard(name="mine")
    upload_model(Connection(EmulatedTransport(board), 5, 0.1), COUNTING)
    with board_at(lambda handle: serve_board(handle, board)) as name:
        findings = list(doctor.examine(name, 921600, COUNTING))
    assert [finding.problem for finding in findings] == [None] * len(findings)
    said = "\n".join(finding.message for finding in findings)
    for part in (f"mine answers at {name}", f"{zlib.crc32(COUNTING):08x}", "none was damaged", "model fits"):
        assert part in said


def test_a_port_that_is_not_there_and_one_that_may_not_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(problems("/dev/ttyNONE7")) == ["port-missing"]

    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    assert "usermod" in problems("/dev/ttyS0")["port-permission"][1]


def test_another_program_on_the_port_is_named() -> None:
    program = (
        "import sys, serial; port = serial.Serial(sys.argv[1], exclusive=True); print(1); sys.stdin.read()"
    )
    with pseudo_terminal() as (_, name):
        command = [sys.executable, "-uc", program, name]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None and other.stdout.readline()
            findings = [finding.problem for finding in doctor.examine(name, 921600, None)]
            other.kill()
    assert [problem.code for problem in findings if problem] == ["port-busy"] * 2
    assert findings[0] is not None and f"(process {other.pid}) has {name} open" in findings[0].message
    assert findings[1] is not None and "close" in findings[1].hint


@pytest.mark.parametrize(
    ("work", "code"),
    [
        (lambda handle: lambda: bool(read_some(handle) or 1), "silent"),
        (serve_echo, "not-a-board"),
        (lambda handle: serve_text(handle, b"\r\nraspberrypi login: "), "not-a-board"),
    ],
)
def test_what_is_no_board(work: Callable[[int], Callable[[], bool]], code: str) -> None:
    with board_at(work) as name:
        assert list(problems(name)) == [code]
        (report,) = ports.look_at_all([(name, "a line")])
        assert report.info is None and report.error is not None
        assert report.error.code == code


def test_a_wrong_baud_is_found() -> None:
    with pseudo_terminal() as (handle, name):
        serve = serve_board(handle, EmulatedBoard(name="slow"))

        def work() -> bool:
            if termios.tcgetattr(handle)[5] == termios.B115200:
                return serve()
            os.write(handle, bytes(byte | 0x80 for byte in read_some(handle)))
            return True

        with running(work):
            message, hint = problems(name)["baud"]
            assert problems(name, 115200) == {}
    assert "115200 baud, not with 921600" in message
    assert hint == "add --baud 115200"


@pytest.mark.parametrize(("major", "older"), [(0, "the board's firmware"), (2, "edgespike here")])
def test_firmware_of_another_protocol(major: int, older: str) -> None:
    def work(handle: int) -> Callable[[], bool]:
        def serve() -> bool:
            for frame in decode(read_some(handle)):
                head = bytes([FrameType.HELLO, Flag.RESPONSE | major << 6, 0, 0])
                body = head + frame.word.to_bytes(4, "little") + bytes([major, 5, 1, 0])
                os.write(handle, cobs_encode(body + zlib.crc32(body).to_bytes(4, "little")) + b"\0")
            return True

        return serve

    with board_at(work) as name:
        assert f"update {older}" in problems(name)["protocol-version"][1]


def test_models_that_do_not_fit() -> None:
    board = EmulatedBoard(model_capacity=len(COUNTING))
    with board_at(lambda handle: serve_board(handle, board)) as name:
        assert "model-too-large" in problems(name, model=IMAGE)
        assert "model-version" in problems(name, model=COUNTING[:8] + b"\x07\0" + COUNTING[10:])


@pytest.mark.parametrize("model", [COUNTING, IMAGE])
def test_an_arena_that_is_one_byte_too_small_is_refused_with_both_numbers(model: bytes) -> None:
    core = _core.Model(model)
    arenas = [core.arena_size(plan) for plan in ("streaming", "one-shot")]
    needed = min(size for size in arenas if size) + boards.result_bytes(core.output_size)
    for capacity in (needed, needed - 1):
        connection = Connection(EmulatedTransport(EmulatedBoard(arena_capacity=capacity)), 5, 0.1)
        if capacity == needed:
            upload_model(connection, model)  # not a byte more is needed
            continue
        with pytest.raises(BudgetError, match=f"needs {needed} bytes of arena.* has {needed - 1}") as caught:
            upload_model(connection, model)
        assert caught.value.code == "arena-too-small"
        assert connection.bytes_sent < 100


def test_a_model_of_another_format_says_which_end_is_older() -> None:
    info = Connection(EmulatedTransport(EmulatedBoard()), 5, 0.1).hello()
    for major, step in ((0, "convert the network again"), (9, "update the board's firmware")):
        changed = COUNTING[:8] + major.to_bytes(2, "little") + COUNTING[10:]
        with pytest.raises(Exception, match=f"format {major}.0, .* reads 2.x") as caught:
            check_fit(info, "here", changed)
        assert step in caught.value.hint  # type: ignore[attr-defined]


def test_qemu_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("EDGESPIKE_FIRMWARE", str(tmp_path / "none.elf"))
    found = problems("qemu")
    assert {"firmware-missing", "qemu-missing", "toolchain-missing"} <= set(found)
    assert "apt install qemu-system-arm" in found["qemu-missing"][1]


def test_a_bad_line_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Noisy(EmulatedTransport):
        turn = 0

        def read(self, timeout: float) -> bytes:
            data = super().read(min(timeout, 0.001))
            self.turn += 1
            return data if self.turn % 3 else data[:-5] + b"\x01\x01\x01\x01\0"

    monkeypatch.setattr(doctor, "open_transport", lambda port, baud: Noisy(EmulatedBoard()))
    assert list(problems("emulated")) == ["line"]


def test_all_ports_are_looked_at_and_none_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = ("stuck", "a driver that never returns from opening")
    monkeypatch.setattr(ports, "_OPENING_SECONDS", 0.5)
    monkeypatch.setattr(ports, "QEMU_PATIENCE", 0.5)
    opened = ports.open_transport

    def open_or_hang(port: str, baud: int) -> object:
        if port == "stuck":
            read, _ = os.pipe()
            os.read(read, 1)
        return opened(port, baud)

    monkeypatch.setattr(ports, "open_transport", open_or_hang)
    reports = ports.look_at_all([stuck, ("emulated", ""), ("/dev/ttyNONE7", "")])
    codes = [report.error.code if report.error else report.info and report.info.name for report in reports]
    assert codes == ["silent", "emulated", "port-missing"]


def test_without_a_serial_port_there_is_a_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "list_ports", lambda: [("emulated", ""), ("qemu", "")])
    assert "cable" in problems(None)["port-missing"][1]


def test_looking_at_a_port_sends_nothing_but_hello() -> None:
    heard = bytearray()

    def work(handle: int) -> Callable[[], bool]:
        def listen() -> bool:
            heard.extend(read_some(handle))
            return True

        return listen

    with board_at(work) as name:
        with pytest.raises(DeviceError):
            ports.look_at(name, patience=0.6)
        assert "silent" in problems(name)
    frames = decode(bytes(heard))
    assert len(frames) > 2
    assert {frame.type for frame in frames} == {FrameType.HELLO}
    assert set(heard) and len(heard) == sum(19 for _ in frames)
