"""A user's mistake is one clear line, a documented exit code, and leaves nothing behind."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
import serial

import edgespike
from edgespike._core import ERRORS, Model
from edgespike._link import EmulatedBoard, FrameReader, encode_frame
from edgespike.boards import result_bytes
from edgespike.cli import failure
from edgespike.errors import BudgetError, DataError, DeviceError, MismatchError, ModelError, UsageError
from edgespike.events import make_events
from edgespike.link.messages import Flag, FrameType
from edgespike.link.transports import SocketTransport

PROGRAM = [sys.executable, "-P", "-m", "edgespike"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(edgespike.__file__).parents[1])}


def assert_clear(outcome: Any, code: int, *words: str) -> None:
    """The exit code, one line with the words, and no traceback."""
    assert outcome.code == code, outcome.err
    assert outcome.out == ""
    first, *rest = outcome.err.splitlines()
    assert first.startswith("error: ")
    assert all(line.startswith(("hint: ", "  ")) for line in rest)
    for word in words:
        assert word in outcome.err


# ---- models -----------------------------------------------------------------


def damage(data: bytes, kind: str) -> bytes:
    """A model file with one thing wrong."""
    if kind == "truncated":
        return data[: len(data) // 2]
    if kind == "corrupted":
        return data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]
    if kind == "newer":
        return data[:8] + b"\x03\x00" + data[10:]
    if kind == "text mode":
        return data.replace(b"\r\n", b"\n")
    return {"empty": b"", "something else": b"\x7fELF" + data[4:]}[kind]


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("truncated", "cut short"),
        ("corrupted", "corrupted"),
        ("newer", "version"),
        ("text mode", "not an edgespike model"),
        ("empty", "cut short"),
        ("something else", "not an edgespike model"),
    ],
)
@pytest.mark.parametrize("verb", ["inspect", "run"])
def test_a_damaged_model(
    cli: Any, verb: str, kind: str, word: str, image_model: Path, images: Path, tmp_path: Path
) -> None:
    path = tmp_path / "damaged.esg"
    path.write_bytes(damage(image_model.read_bytes(), kind))
    outcome = cli(verb, path, *([images] if verb == "run" else []))
    assert_clear(outcome, 3, "damaged.esg", word)


# ---- data -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros((2, 1, 5, 5))}, ["shape"]),
        ({"x": np.full((2, 1, 4, 6), np.nan), "y": np.zeros(2, int)}, ["NaN"]),
        ({"x": np.array([["a"] * 6] * 4), "y": np.zeros(1, int)}, ["type"]),
        ({"image": np.zeros((2, 1, 4, 6))}, ["no array named x", "image"]),
        ({"x": np.zeros((2, 1, 4, 6)), "y": np.zeros(3, int)}, ["y has shape", "2 samples"]),
        ({"x": np.zeros((2, 1, 4, 6)), "y": np.zeros(2)}, ["float64"]),
        ({"x": np.zeros((2, 1, 4, 6)), "y": np.array([0, 7])}, ["7"]),
        ({"x": np.zeros((0, 1, 4, 6)), "y": np.zeros(0, int)}, ["no samples"]),
    ],
    ids=["shape", "nan", "text", "no x", "labels", "real labels", "label too large", "empty"],
)
def test_samples_that_cannot_be_used(
    cli: Any, image_model: Path, tmp_path: Path, arrays: dict[str, Any], words: list[str]
) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    assert_clear(cli("eval", image_model, tmp_path / "data.npz"), 3, "data.npz", *words)


def test_a_numpy_file_cut_short(cli: Any, image_model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.zeros((1, 4, 6)))
    (tmp_path / "image.npy").write_bytes((tmp_path / "image.npy").read_bytes()[:-8])
    assert_clear(cli("run", image_model, tmp_path / "image.npy"), 3, "image.npy")


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ("5,0,0,1\n4,0,0,1\n", ["backwards", "event 1"]),
        ("5,0,0,1\n6,6,0,1\n", ["sensor of 7x1", "made for 6x4"]),
        ("5,0,0,1\n6,0,0,2\n", ["event 1", "p = 2"]),
        ("5,0,0\n", ["line 1"]),
    ],
    ids=["backwards", "outside", "polarity", "columns"],
)
@pytest.mark.parametrize("verb", ["run", "eval", "stream"])
@pytest.mark.parametrize("where", [[], ["--port", "emulated"]], ids=["here", "board"])
def test_events_that_cannot_be_used(
    cli: Any, event_model: Path, tmp_path: Path, verb: str, where: list[str], events: str, words: list[str]
) -> None:
    (tmp_path / "1").mkdir()
    path = tmp_path / "1" / "bad.csv"
    path.write_text(events)
    outcome = cli(verb, event_model, path, *where)
    assert outcome.code == 3
    assert "Traceback" not in outcome.err
    assert "bad.csv" in outcome.err
    for word in words:
        assert word in outcome.err


def test_recordings_for_a_network_that_takes_images(cli: Any, image_model: Path, recordings: Path) -> None:
    assert_clear(cli("run", image_model, recordings), 3, "event")


def test_no_labels(cli: Any, event_model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "events.npy", make_events([1], [2], [3], [1]))
    assert_clear(cli("eval", event_model, tmp_path / "events.npy"), 3, "label")


# ---- converting -------------------------------------------------------------


def changed(network: Path, path: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """A copy of an ONNX network with something wrong."""
    model = onnx.load(network)
    change(model)
    onnx.save(model, path)
    return path


def with_unsupported_nodes(model: onnx.ModelProto) -> None:
    model.graph.node[1].output[0] = "before"
    model.graph.node.extend(
        [
            onnx.helper.make_node("LpNormalization", ["before"], ["between"], name="odd one"),
            onnx.helper.make_node("Hardmax", ["between"], ["scores"], name="other one"),
        ]
    )


def with_nan(model: onnx.ModelProto) -> None:
    weight = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight[0, 0] = np.nan
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "weight"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_unsupported_nodes, ["LpNormalization", "odd one", "Hardmax", "other one"]),
        (with_nan, ["NaN", "weight"]),
    ],
)
def test_a_network_that_cannot_be_converted(
    cli: Any,
    network: Path,
    images: Path,
    tmp_path: Path,
    change: Callable[[onnx.ModelProto], None],
    words: list[str],
) -> None:
    path = changed(network, tmp_path / "odd.onnx", change)
    outcome = cli("convert", path, "-o", tmp_path / "out.esg", "--calibration", images)
    assert_clear(outcome, 3, *words)
    assert [file.name for file in tmp_path.iterdir()] == ["odd.onnx"]


def with_a_second_input(model: onnx.ModelProto) -> None:
    model.graph.node[1].output[0] = "before"
    model.graph.node.append(onnx.helper.make_node("Add", ["before", "offset"], ["scores"]))
    model.graph.input.append(
        onnx.helper.make_tensor_value_info("offset", onnx.TensorProto.FLOAT, ["batch", 3])
    )


def test_a_second_input_is_made_a_constant(cli: Any, network: Path, images: Path, tmp_path: Path) -> None:
    path = changed(network, tmp_path / "two.onnx", with_a_second_input)
    convert = ["convert", path, "-o", tmp_path / "out.esg", "--calibration", images]
    assert_clear(cli(*convert), 3, "2 inputs (image, offset)", "--fix offset=0")
    assert_clear(cli(*convert, "--fix", "other=1"), 2, "no input other", "image, offset")
    assert "NAME=0" in cli(*convert, "--fix", "offset=many").err
    assert cli(*convert, "--fix", "offset=0.5").code == 0
    checked = cli("check", path, "--fix", "offset=0.5")
    assert checked.code == 0 and "--fix offset=0.5" in checked.out
    compared = cli("eval", tmp_path / "out.esg", images, "--original", path, "--json")
    assert json.loads(compared.out)["original"]["agreement"] == 1


def test_a_model_that_is_none(cli: Any, images: Path, tmp_path: Path) -> None:
    outcome = cli("convert", images, "-o", tmp_path / "out.esg", "--calibration", images)
    assert_clear(outcome, 3, images.name, "not an ONNX file")
    (tmp_path / "broken.nir").write_bytes(b"\x89HDF\r\n\x1a\n and nothing else")
    choices = ["--dt", "1ms", "--reset", "zero", "--compare", "gt"]
    outcome = cli("convert", tmp_path / "broken.nir", "-o", tmp_path / "out.esg", *choices)
    assert_clear(outcome, 3, "broken.nir")
    assert not (tmp_path / "out.esg").exists()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros((5, 1, 5, 5), np.float32)}, ["shape", "(1, 5, 5)", "(1, 4, 6)"]),
        ({"x": np.array(["a", "b"])}, ["type"]),
        ({"x": np.full((5, 1, 4, 6), np.inf, np.float32)}, ["infinity"]),
        ({"x": np.zeros((0, 1, 4, 6), np.float32)}, ["no samples"]),
        ({"z": np.zeros(3)}, ["no array x", "z"]),
        ({"x": np.zeros((5, 1, 4, 6), np.float32), "y": np.array([0, 1, 2, 3, 4])}, ["class 4"]),
    ],
    ids=["shape", "text", "infinity", "empty", "no x", "labels"],
)
def test_calibration_that_cannot_be_used(
    cli: Any, network: Path, tmp_path: Path, arrays: dict[str, Any], words: list[str]
) -> None:
    np.savez(tmp_path / "calibration.npz", **arrays)
    command = ["convert", network, "-o", tmp_path / "out.esg", "--calibration", tmp_path / "calibration.npz"]
    assert_clear(cli(*command), 3, *words)
    assert [file.name for file in tmp_path.iterdir()] == ["calibration.npz"]


def test_a_failed_conversion_keeps_the_old_file(
    cli: Any, network: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out.esg").write_bytes(b"old")

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", no_space)
    outcome = cli("convert", network, "-o", tmp_path / "out.esg", "--calibration", images)
    assert_clear(outcome, 1, "out.esg", "No space left")
    assert [file.name for file in tmp_path.iterdir()] == ["out.esg"]
    assert (tmp_path / "out.esg").read_bytes() == b"old"


# ---- usage ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], ["nonsense"]),
        (["inspect"], ["MODEL"]),
        (["inspect", "missing.esg"], ["missing.esg", "does not exist"]),
        (["inspect", "."], ["directory"]),
        (["inspect", "{model}", "--fast"], ["--fast"]),
        (["run", "{model}"], ["INPUT"]),
        (["run", "{model}", "missing.npy"], ["missing.npy", "does not exist"]),
        (["run", "{model}", "{model}", "--backend", "gpu"], ["gpu", "cpu"]),
        (["run", "{model}", "{model}", "--backend", "cpu", "--port", "emulated"], ["exclude"]),
        (["eval", "{model}", "{model}", "--limit", "0"], ["--limit"]),
        (["stream", "{model}", "{model}", "--speed", "fast"], ["fast", "max"]),
        (["stream", "{model}", "{model}", "--live"], ["--port"]),
        (["convert", "{network}"], ["--output"]),
        (["convert", "{network}", "-o", "out.esg"], ["--calibration"]),
        (["convert", "{network}", "-o", "no/such/out.esg", "--calibration", "{images}"], ["no/such"]),
        (["convert", "{network}", "-o", ".", "--calibration", "{images}"], ["directory"]),
        (["convert", "{network}", "-o", "out.esg", "--calibration", "none.npz"], ["none.npz"]),
        (["convert", "{network}", "-o", "out.esg", "--calibration", "{images}", "--levels", "900"], ["900"]),
        (["convert", "{network}", "-o", "out.esg", "--dt", "1ms"], ["--dt", "ONNX"]),
        (["convert", "{network}", "-o", "out.esg", "--sensor", "34"], ["34", "WIDTHxHEIGHT"]),
        (["convert", "{network}", "-o", "out.esg", "--window", "300"], ["300", "300ms"]),
        (["convert", "{network}", "-o", "o.esg", "--calibration", "{images}", "--slices", "2"], ["--sensor"]),
        (["convert", "{network}", "-o", "o.esg", "--calibration", "{images}", "--classes", "a,b"], ["names"]),
    ],
)
def test_usage(
    cli: Any, image_model: Path, network: Path, images: Path, arguments: list[str], words: list[str]
) -> None:
    paths = {"model": image_model, "network": network, "images": images}
    outcome = cli(*(argument.format(**paths) for argument in arguments))
    assert_clear(outcome, 2, *words)


# ---- ports ------------------------------------------------------------------


@pytest.mark.parametrize("port", ["/dev/no-such-port", "socket://127.0.0.1:9", "nonsense"])
def test_a_port_that_does_not_exist(cli: Any, image_model: Path, images: Path, port: str) -> None:
    assert_clear(cli("run", image_model, images, "--port", port), 4, port)


@contextmanager
def serving(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A port with something behind it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                talk(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"socket://127.0.0.1:{server.getsockname()[1]}"
        thread.join(10)


def talks(board: EmulatedBoard) -> Callable[[socket.socket], None]:
    """A board at the end of a connection."""

    def talk(connection: socket.socket) -> None:
        while received := connection.recv(4096):
            board.write(received)
            connection.sendall(board.read())

    return talk


def other_protocol(major: int) -> Callable[[socket.socket], None]:
    """A board of another protocol version; the header of its frames says so too."""

    def talk(connection: socket.socket) -> None:
        reader = FrameReader()
        while received := connection.recv(4096):
            for _, _, _, _, word, _ in reader.feed(received):
                flags = Flag.RESPONSE | 0x80  # with the bit of this version: a third one
                connection.sendall(encode_frame(FrameType.HELLO, flags, 0, word, bytes([major, 7, 1, 0])))

    return talk


def vanishing_board(connection: socket.socket) -> None:
    board = EmulatedBoard()
    taken = 0
    while taken < 4000 and (received := connection.recv(4096)):
        taken += len(received)
        board.write(received)
        connection.sendall(board.read())


def echo(connection: socket.socket) -> None:
    while received := connection.recv(4096):
        connection.sendall(received)


def test_a_model_too_large_for_the_board(cli: Any, image_model: Path, images: Path) -> None:
    with serving(talks(EmulatedBoard(model_capacity=64))) as port:
        outcome = cli("run", image_model, images, "--port", port)
    assert_clear(outcome, 5, port, "64", str(image_model.stat().st_size))


def test_an_arena_a_byte_too_small(cli: Any, event_model: Path, recordings: Path) -> None:
    model = Model(event_model.read_bytes())
    needed = min(filter(None, map(model.arena_size, ("streaming", "one-shot"))))
    needed += result_bytes(model.output_size)
    with serving(talks(EmulatedBoard(arena_capacity=needed - 1))) as port:
        outcome = cli("eval", event_model, recordings, "--port", port)
    assert_clear(outcome, 5, f"needs {needed} bytes of arena", f"has {needed - 1}", "more RAM")
    with serving(talks(EmulatedBoard(arena_capacity=needed))) as port:
        assert cli("eval", event_model, recordings, "--port", port).code == 0


@pytest.mark.parametrize(("major", "older"), [(0, "the board's firmware"), (2, "edgespike here")])
def test_firmware_of_another_protocol(
    cli: Any, event_model: Path, recordings: Path, major: int, older: str
) -> None:
    with serving(other_protocol(major)) as port:
        outcome = cli("eval", event_model, recordings, "--port", port)
    assert_clear(outcome, 4, f"speaks link protocol {major}.7", f"update {older}")


def test_firmware_that_refuses_what_this_version_made(
    cli: Any, event_model: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the board did not know a part of the model yet."""
    monkeypatch.setattr(edgespike, "__version__", "9.8.7")

    class Older(EmulatedBoard):
        refusal = b""

        def write(self, data: bytes) -> int:
            for type, _, _, _, word, _ in FrameReader().feed(data):
                if type == FrameType.MODEL_END:
                    code = next(code for code, row in ERRORS.items() if row[0] == "ES_ERR_POPULATION")
                    answer = struct.pack("<i3I", code, 0, 0, 0)
                    self.refusal = encode_frame(type, Flag.RESPONSE, 0, word, answer)
                    return len(data)
            return super().write(data)

        def read(self, limit: int = 1 << 20) -> bytes:
            refusal, self.refusal = self.refusal, b""
            return refusal or super().read(limit)

    with serving(talks(Older())) as port:
        outcome = cli("eval", event_model, recordings, "--port", port)
    assert_clear(outcome, 3, "refused the model", "9.8.7", "update the older one")


def test_a_model_replaced_during_a_run(cli: Any, event_model: Path, recordings: Path) -> None:
    """Another program uploads while this one streams."""

    def talk(connection: socket.socket) -> None:
        board = EmulatedBoard()
        while received := connection.recv(4096):
            board.write(received)
            if any(type == FrameType.EVENTS for type, *_ in FrameReader().feed(received)):
                board.write(encode_frame(FrameType.MODEL_BEGIN, 0, 0, 5, struct.pack("<II", 100, 1)))
            connection.sendall(board.read())

    with serving(talk) as port:
        outcome = cli("eval", event_model, recordings, "--port", port)
    assert_clear(outcome, 4, "another program uses the board", "close the other program")


def test_a_baud_that_the_board_cannot_do(cli: Any, event_model: Path, recordings: Path) -> None:
    arguments = ("eval", event_model, recordings, "--port", "emulated", "--switch-baud", 9_000_000)
    assert_clear(cli(*arguments), 4, "cannot be used at 9000000 baud", "it stays at 921600", "--switch-baud")


def test_a_port_in_use(cli: Any, event_model: Path, recordings: Path) -> None:
    handle, other = pty.openpty()
    with serial.Serial(os.ttyname(other), exclusive=True) as port:
        outcome = cli("eval", event_model, recordings, "--port", port.name)
    assert_clear(outcome, 4, f"port {port.name} is in use", "close the other program", "edgespike doctor")
    os.close(handle)
    os.close(other)


def test_a_board_that_vanishes(cli: Any, event_model: Path, recordings: Path) -> None:
    with serving(vanishing_board) as port:
        command = ["stream", event_model, recordings, "--port", port, "--speed", "max", "--loop", "0"]
        outcome = cli(*command, "--json")
    assert outcome.code == 4
    *_, summary, error = map(json.loads, outcome.out.splitlines())
    assert summary["type"] == "summary"
    assert error["error"]["code"] == "vanished"
    assert port in error["error"]["message"]


def test_a_port_with_something_else_behind_it(
    cli: Any, image_model: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SocketTransport, "patience", 0.5)
    with serving(echo) as port:
        assert_clear(cli("run", image_model, images, "--port", port), 4, port, "no edgespike board")


# ---- how errors are told ----------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MismatchError("a"), 1),
        (UsageError("a"), 2),
        (ModelError("a"), 3),
        (DataError("a"), 3),
        (DeviceError("a"), 4),
        (BudgetError("a"), 5),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out.esg"), 1),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "out.esg"), 1),
        (MemoryError(), 1),
        (ModuleNotFoundError("No module named 'onnx'", name="onnx"), 1),
        (ZeroDivisionError("division by zero"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_every_error_is_told_in_lines(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGESPIKE_DEBUG", raising=False)
    assert failure.report_error(error, as_json=False) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "Traceback" not in err


def test_a_traceback_for_those_who_ask(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESPIKE_DEBUG", "1")
    failure.report_error(ZeroDivisionError("division by zero"), as_json=False)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_reader_that_stops_early(event_model: Path, recordings: Path) -> None:
    command = [*PROGRAM, "stream", event_model, recordings, "--speed", "max", "--loop", "200", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as child:
        assert child.stdout and child.stderr
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(60) == 0


def test_ctrl_c(event_model: Path, recordings: Path) -> None:
    command = [*PROGRAM, "stream", event_model, recordings, "--loop", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as child:
        assert child.stdout and child.stderr
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        rest = child.stdout.read().splitlines()
        assert b"Traceback" not in child.stderr.read()
        assert child.wait(60) == 130
    assert b'"summary"' in rest[-1]


def test_errors_are_documented(cli: Callable[..., Any]) -> None:
    document = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text()
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", document, re.MULTILINE)}
    families = [MismatchError, UsageError, ModelError, DataError, DeviceError, BudgetError]
    assert codes == {0, failure.INTERRUPTED, *(family.exit_code for family in families)}
