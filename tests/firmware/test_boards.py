"""The firmware on every board that QEMU has: it builds, boots, and gives the reference's bits."""

from __future__ import annotations

import re
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_vectors import FILES, golden_vector, push_all
from numpy.typing import NDArray
from random_graphs import random_events, random_graph

from edgespike._core import Model
from edgespike._link import FrameReader
from edgespike.boards import BOARDS as TABLE
from edgespike.errors import BudgetError, DeviceError
from edgespike.graph import Graph
from edgespike.link import DeviceClient, Transport, open_transport
from edgespike.link.messages import FrameType
from edgespike.link.qemu import BOARDS, board_of, find_firmware
from edgespike.modelfile import encode_model
from edgespike.reference import ReferenceNetwork

FIRMWARE = Path(__file__).parents[2] / "firmware"
MODEL_BYTES, ARENA_BYTES = 2816, 1536  # what the smallest board can hold
RESULT_BYTES = 1000  # kept in the arena


@pytest.fixture(scope="module", params=BOARDS)
def elf(request: pytest.FixtureRequest, qemu: str, arm_gcc: str) -> Path:
    """The firmware of a board, built without a word from the compiler."""
    make = ["make", "--silent", "-C", str(FIRMWARE), f"BOARD={request.param}"]
    built = subprocess.run(make, capture_output=True, text=True)
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    return FIRMWARE / "build" / str(request.param) / "edgespike.elf"


@pytest.fixture(scope="module")
def transport(elf: Path) -> Iterator[Transport]:
    transport = open_transport(f"qemu:{elf}")
    yield transport
    transport.close()


@pytest.fixture(scope="module")
def board(transport: Transport) -> DeviceClient:
    return DeviceClient(transport)


def small_graph(seed: int, **kind: bool) -> tuple[Graph, NDArray[Any]]:
    """The first random graph that fits every board, and events for it."""
    rng = np.random.default_rng(seed)
    while True:
        graph = random_graph(rng, **kind)
        events = random_events(rng, graph, 100)
        data = encode_model(graph)
        arena = Model(data).arena_size("streaming") or 0
        if (
            len(events) > 50
            and events["tick"][-1] < 200
            and len(data) <= MODEL_BYTES
            and arena <= ARENA_BYTES - RESULT_BYTES
        ):
            return graph, events


def history(network: Any, events: NDArray[Any]) -> list[Any]:
    """Scores of every window and of the end, and the work of every population."""
    scores = []
    network.reset()
    network.clear_stats()
    while len(events):
        used, closed = network.push(events)
        events = events[used:]
        if closed:
            scores.append(network.output().tolist())
    network.finish()
    return [*scores, network.output().tolist(), network.stats()["populations"]]


def test_every_board_of_qemu_has_a_folder() -> None:
    folders = {path.parent.name for path in FIRMWARE.glob("boards/*/board.mk")}
    assert set(BOARDS) <= folders


def test_a_board_says_what_it_is(elf: Path, board: DeviceClient) -> None:
    info = board.hello()
    assert (info.name, info.model_size, info.measures_time) == (elf.parent.name, 0, True)
    assert info.model_capacity >= MODEL_BYTES and info.arena_capacity >= ARENA_BYTES


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    "kind",
    [{"counts": False}, {"counts": True}, {"spiking": True}],
    ids=["levels", "event counts", "spiking"],
)
def test_a_board_gives_the_bits_of_the_reference(
    board: DeviceClient, kind: dict[str, bool], seed: int
) -> None:
    graph, events = small_graph(seed, **kind)
    board.upload(encode_model(graph))
    expected = history(ReferenceNetwork(graph), events)
    assert history(board, events) == expected
    assert history(board, events) == expected  # also after a reset


def test_a_board_gives_the_bits_of_the_golden_vectors(board: DeviceClient) -> None:
    """All that fit; boards with a megabyte have room for all."""
    board.hello()
    passed = 0
    for path in FILES:
        vector = golden_vector(path)
        try:
            board.upload(vector.data)
        except BudgetError:
            continue
        board.clear_stats()
        push_all(board, vector.events)
        board.finish()
        assert board.output().tolist() == vector.scores
        assert board.stats()["populations"] == vector.populations
        passed += 1
    assert passed >= (len(FILES) if board.info.arena_capacity >= 1 << 20 else 3)


def test_what_does_not_fit_is_refused_before_it_is_sent(
    board: DeviceClient, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = bytearray()
    write = transport.write

    def record(data: bytes) -> None:
        sent.extend(data)
        write(data)

    monkeypatch.setattr(transport, "write", record)
    with pytest.raises(BudgetError, match="keeps") as caught:
        board.upload(bytes(board.info.model_capacity + 1))
    assert caught.value.code == "model-too-large"
    assert {frame[0] for frame in FrameReader().feed(bytes(sent))} <= {FrameType.HELLO}


# ---- what is in the programs ------------------------------------------------

FLASH = 48 * 1024
DEEPEST = 1800  # bytes of stack, without an interrupt; README
ALLOCATION = re.compile(r"^_?(malloc|calloc|realloc|free|sbrk)(_r)?$")
FLOATS = re.compile(r"^(__aeabi_[dfh](?!ivmod)\w+|__aeabi_u?[il]2[dfh]|__\w+[sdht]f\d?)$")


@pytest.fixture(scope="module", params=[board.name for board in TABLE])
def program(request: pytest.FixtureRequest, arm_gcc: str) -> Path:
    """The ELF of every board, also of those that QEMU lacks."""
    make = ["make", "--silent", "-C", str(FIRMWARE), f"BOARD={request.param}"]
    built = subprocess.run(make, capture_output=True, text=True)
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    return FIRMWARE / "build" / str(request.param) / "edgespike.elf"


def arm(tool: str, *arguments: object) -> str:
    command = [f"arm-none-eabi-{tool}", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_program_keeps_the_budgets(program: Path) -> None:
    """Flash; no float, by instruction or by function; nothing allocated; no writable data of the core."""
    text, data = map(int, arm("size", program).splitlines()[1].split()[:2])
    assert text + data <= FLASH
    names = {line.split()[-1] for line in arm("nm", program).splitlines()}
    assert not {name for name in names if FLOATS.match(name) or ALLOCATION.match(name)}
    instructions = re.findall(
        r"^ *[0-9a-f]+:\t[0-9a-f ]+\t(\w+)", arm("objdump", "-d", program), re.MULTILINE
    )
    assert len(instructions) > 5000
    assert not {name for name in instructions if name.startswith("v")}
    core = sorted(program.parent.glob("es_*.o"))
    assert len(core) >= 10
    assert {tuple(line.split()[1:3]) for line in arm("size", *core).splitlines()[1:]} == {("0", "0")}


def test_a_program_keeps_the_stack(program: Path, size_tool: Any) -> None:
    graphs = [path.read_text() for path in program.parent.glob("*.ci")]
    assert 1024 < size_tool.deepest_chain(graphs) <= DEEPEST


def test_the_bootloader_of_the_pico(arm_gcc: str) -> None:
    """What its boot ROM looks at, and the UF2 file."""
    subprocess.run(["make", "--silent", "-C", str(FIRMWARE), "BOARD=pico"], check=True)
    blocks = (FIRMWARE / "build" / "pico" / "edgespike.uf2").read_bytes()
    assert len(blocks) % 512 == 0
    image = b""
    for number in range(len(blocks) // 512):
        block = blocks[512 * number : 512 * (number + 1)]
        assert struct.unpack_from("<2I", block) == (0x0A324655, 0x9E5D5157)
        assert struct.unpack_from("<I", block, 508) == (0x0AB16F30,)
        flags, address, length, count, total, family = struct.unpack_from("<6I", block, 8)
        assert (flags, address, length) == (0x2000, 0x10000000 + len(image), 256)
        assert (count, total, family) == (number, len(blocks) // 512, 0xE48BFF56)
        image += block[32 : 32 + length]
    reflected = bytes(int(f"{byte:08b}"[::-1], 2) for byte in image[:252])  # zlib's CRC is the mirror image
    crc = int(f"{zlib.crc32(reflected) ^ 0xFFFFFFFF:032b}"[::-1], 2)
    assert struct.unpack_from("<I", image, 252) == (crc,)
    stack, reset = struct.unpack_from("<2I", image, 256)
    assert stack == 0x20000000 + 264 * 1024
    assert reset % 2 == 1 and 0x10000100 < reset < 0x10000000 + len(image)
    (received,) = struct.unpack_from("<I", image, 256 + 4 * (16 + 20))  # interrupt 20: UART0
    assert received % 2 == 1 and 0x10000100 < received < 0x10000000 + len(image)


def test_names_of_boards_and_of_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGESPIKE_FIRMWARE", raising=False)
    assert board_of(Path("build/mps2-an500/edgespike.elf")) == "mps2-an500"
    assert board_of(Path("downloads/mps3-an547.elf")) == "mps3-an547"
    assert board_of(Path("downloads/edgespike.elf")) == "mps2-an386"
    program = tmp_path / "mps2-an385.elf"
    program.touch()
    assert find_firmware(str(program)) == ("mps2-an385", program)
    monkeypatch.setenv("EDGESPIKE_FIRMWARE", str(program))
    assert find_firmware() == ("mps2-an385", program)
    with pytest.raises(DeviceError, match="no firmware nowhere") as caught:
        open_transport("qemu:nowhere")
    assert caught.value.code == "firmware-missing"
    assert caught.value.hint and "mps2-an386" in caught.value.hint
