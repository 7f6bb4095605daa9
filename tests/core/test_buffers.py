"""What Python hands to the core: arrays of any kind and origin, from any thread, are checked or copied."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgespike import _core, _link
from edgespike.errors import DataError, ModelError, UsageError
from edgespike.graph import CORE_EVENT, Accumulator, Dense, Graph, LevelInput, Population, Projection
from edgespike.link import DeviceClient, Mode
from edgespike.link.transports import EmulatedTransport
from edgespike.modelfile import encode_model

SHAPE = (1, 3, 1)


def graph(outputs: int = 2) -> Graph:
    """Three levels; every score is their sum."""
    populations = (
        Population("in", SHAPE, LevelInput(-30000, 30000), None, np.zeros(SHAPE, np.int32)),
        Population("out", (1, 1, outputs), Accumulator(), np.zeros((1, 1, outputs), np.int32), None, 32),
    )
    return Graph(populations, (Projection(0, 1, Dense(np.ones((3, outputs), np.int8))),))


def network() -> _core.Network:
    return _core.Network(_core.Model(encode_model(graph())))


def events(count: int) -> NDArray[Any]:
    array = np.zeros(count, CORE_EVENT)
    array["x"] = np.arange(count) % 3
    array["value"] = 1
    return array


def at_odd_address(array: NDArray[Any]) -> NDArray[Any]:
    return np.frombuffer(b"\0" + array.tobytes(), array.dtype, offset=1)


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


class Record(np.ndarray):  # type: ignore[type-arg]
    """A subclass that says it is longer than it is."""

    def __len__(self) -> int:
        return 1 << 40


class Disguised:
    """No array, but it looks like a long one."""

    dtype = CORE_EVENT
    ndim = 1

    def __len__(self) -> int:
        return 1 << 40

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        return events(6)


SAME_EVENTS: dict[str, Callable[[], Any]] = {
    "plain": lambda: events(6),
    "odd address": lambda: at_odd_address(events(6)),
    "read-only": lambda: read_only(events(6)),
    "strided": lambda: np.repeat(events(6), 3)[::3],
    "backwards": lambda: events(6)[::-1],
    "subclass": lambda: events(6).view(Record),
    "disguised": Disguised,
    "other writing of the type": lambda: events(6).astype(np.dtype(CORE_EVENT.descr, align=True)),
}


@pytest.mark.parametrize("name", SAME_EVENTS)
def test_arrays_of_every_kind_are_taken(name: str) -> None:
    """S30 of docs/security.md."""
    net = network()
    assert net.push(SAME_EVENTS[name]()) == (6, False)
    net.finish()
    assert net.output().tolist() == [6, 6]


WRONG_EVENTS: dict[str, Callable[[], Any]] = {
    "integers": lambda: np.zeros(12, np.int32),
    "bytes": lambda: events(2).tobytes(),
    "two dimensions": lambda: events(4).reshape(2, 2),
    "no dimension": lambda: events(1)[0],
    "big-endian": lambda: events(2).astype(CORE_EVENT.newbyteorder(">")),
    "other order of fields": lambda: events(2)[["x", "tick", "y", "channel", "value"]],
    "wider": lambda: np.zeros(2, [*CORE_EVENT.descr, ("more", "<u4")]),
    "objects": lambda: np.array([None, None]),
    "nothing": lambda: None,
}


@pytest.mark.parametrize("name", WRONG_EVENTS)
def test_everything_else_is_refused(name: str) -> None:
    """S30."""
    net = network()
    with pytest.raises(DataError) as caught:
        net.push(WRONG_EVENTS[name]())
    assert caught.value.code == "event-dtype"
    assert net.push(events(0)) == (0, False)


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 1024, 1500])
def test_long_arrays_go_in_batches(count: int) -> None:
    net = network()
    assert net.push(events(count)) == (count, False)
    array = events(count + 700)
    array["x"][count] = 3
    with pytest.raises(DataError, match=f"event {count} "):
        net.push(array)
    assert net.stats()["input_events"] == 2 * count
    net.finish()
    with pytest.raises(UsageError):
        net.push(events(0))


def test_events_that_change_meanwhile_are_never_used_unchecked() -> None:
    """S31: another thread makes good events bad and good again while they are pushed."""
    array = events(400_000)
    array["value"] = np.resize([1, 1, 1, -1, -1, -1], len(array))
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            array["x"] = 60_000
            array["x"] = 1

    changing = threading.Thread(target=change)
    changing.start()
    refused = 0
    for _ in range(30):
        try:
            network().push(array)
        except DataError as error:
            assert error.code in ("event-range", "event-value")
            refused += 1
    stop.set()
    changing.join()
    assert refused


def test_a_network_taken_while_the_array_is_made_is_refused() -> None:
    """S32: the check for another thread is the last thing before the core works."""
    net = _core.Network(_core.Model(encode_model(graph(60_000))))
    long = events(20_000)
    long["value"] = np.resize([1, 1, 1, -1, -1, -1], len(long))
    other = threading.Thread(target=net.push, args=(long,))

    class Slow(Disguised):
        def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
            other.start()
            while other.is_alive():
                try:
                    net.output()
                except UsageError:
                    break
            return events(6)

    with pytest.raises(UsageError) as caught:
        net.push(Slow())
    assert caught.value.code == "busy"
    other.join()
    assert net.stats()["input_events"] == len(long)


@pytest.mark.parametrize("data", [b"", bytearray(100), memoryview(bytes(100))[::2], np.zeros(25, np.int32)])
def test_models_of_any_buffer_are_copied_and_checked(data: Any) -> None:
    with pytest.raises(ModelError):
        _core.Model(data)


def test_an_aligned_copy_is_made_of_every_model() -> None:
    data = b"\0" + encode_model(graph())
    assert _core.Model(memoryview(data)[1:]).output_size == 2


def test_a_board_at_work_is_refused_to_other_threads() -> None:
    """S32."""
    board = _link.EmulatedBoard()
    client = DeviceClient(EmulatedTransport(board))
    client.upload(encode_model(graph(60_000)))
    client.start(Mode.LIVE)
    long = events(20_000)
    long["value"] = np.resize([1, 1, 1, -1, -1, -1], len(long))
    for frame, _ in _link.pack_events(long, SHAPE, 1024, 0, 0, 0, client._stream._number):
        board.write(frame)
    other = threading.Thread(target=board.read)
    other.start()
    codes = set()
    while other.is_alive():
        for call in (board.read, board.reboot, lambda: board.write(b"")):
            try:
                call()
            except UsageError as error:
                codes.add(error.code)
    other.join()
    assert codes == {"busy"}


@pytest.mark.parametrize("size", [-1, 1 << 16, 1431655765 + 43691])
def test_sizes_that_would_wrap_around_are_refused(size: int) -> None:
    """S33."""
    with pytest.raises(OverflowError):
        _link.EmulatedBoard(max_payload=size)


def test_frames_and_words_are_bytes() -> None:
    board = _link.EmulatedBoard()
    for call in (board.write, _link.FrameReader().feed, lambda none: _link.encode_frame(1, 0, 0, 0, none)):
        with pytest.raises(TypeError):
            call(None)
        with pytest.raises(TypeError):
            call(bytearray(3))
    with pytest.raises(TypeError):
        _link.unpack_words(None, SHAPE, 4, 1, 0)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _link.pack_events(None, SHAPE, 128, 0, 0, 0, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"dtype|format|size"):
        _link.pack_events(np.zeros(3, np.int32), SHAPE, 128, 0, 0, 0, 1)
