"""QEMU as a port: events and images, damage, long lines, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from offline import scores_of
from random_graphs import random_events, random_graph

import edgespike
from edgespike.errors import DeviceError, ModelError
from edgespike.graph import CORE_EVENT
from edgespike.link import DeviceClient, Mode, connect
from edgespike.link.qemu import QemuTransport, find_firmware
from edgespike.modelfile import encode_model

FIRMWARE = Path(__file__).parents[2] / "firmware"


@pytest.fixture(scope="module")
def elf(qemu: str, arm_gcc: str) -> Path:
    """The firmware of mps2-an386."""
    subprocess.run(["make", "--silent", "-C", str(FIRMWARE)], check=True)
    return FIRMWARE / "build" / "mps2-an386" / "edgespike.elf"


def stream(client: DeviceClient, mode: Mode, events: NDArray[Any]) -> list[list[int]]:
    """Scores of all windows and of the end, sent as fast as credits allow."""
    client.start(mode)
    results = []
    while len(events):
        events = events[client.send_events(events) :]
        results += client.poll(0.01)
    client.end_sample()
    results += client.drain()
    assert sum(result.lost for result in results) == 0
    assert all(result.compute_us > 0 for result in results if result.input_events)
    return [result.scores.tolist() for result in results]


@pytest.mark.parametrize(
    "kind", [{"counts": True}, {"counts": False}, {"spiking": True}], ids=["counts", "levels", "spiking"]
)
def test_streams_give_the_offline_bits(elf: Path, kind: dict[str, bool]) -> None:
    client = connect(f"qemu:{elf}")
    for seed in range(2):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng, **kind)
        events = random_events(rng, graph, 400)
        model = encode_model(graph)
        client.upload(model)
        for mode in Mode:
            assert stream(client, mode, events) == scores_of(model, events)
    assert client.statistics().bad_crc == 0
    client.close()


def test_every_byte_passes_both_ways(elf: Path) -> None:
    """QEMU's line is multiplexed, but takes no byte for itself."""
    client = connect(f"qemu:{elf}")
    noise = np.random.default_rng(0).bytes(3000) + bytes(range(256))
    with pytest.raises(ModelError, match="not an edgespike model") as caught:
        client.upload(noise)
    assert caught.value.code == "model-magic"  # so size and CRC were right
    client.close()


def test_a_full_receive_memory_recovers(elf: Path) -> None:
    """More than the board can keep, ignoring credits: bytes are lost, and the board is not."""
    client = connect(f"qemu:{elf}")
    rng = np.random.default_rng(2)
    graph = random_graph(rng, counts=True)
    client.upload(encode_model(graph))
    client.start(Mode.LIVE)
    far = np.zeros(1, CORE_EVENT)
    far["tick"], far["value"] = 1 << 29, 1
    client.send_events(far)  # keeps the board busy
    transport = client._connection.transport
    for _ in range(40):
        transport.write(bytes(rng.integers(1, 256, 1000, np.uint8)))
    assert client.hello().name == "mps2-an386"
    client.close()


def is_running(process: int) -> bool:
    """Whether a process exists and has not ended."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def test_closing_ends_qemu(elf: Path) -> None:
    client = connect(f"qemu:{elf}")
    transport = client._connection.transport
    assert isinstance(transport, QemuTransport)
    process = transport._process.pid
    assert is_running(process)
    client.close()
    assert not is_running(process)


def test_qemu_ends_with_a_program_that_is_killed(elf: Path, tmp_path: Path) -> None:
    program = (
        "import os, signal; from edgespike.link import connect\n"
        f"print(connect('qemu:{elf}')._connection.transport._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    tested = {**os.environ, "PYTHONPATH": str(Path(edgespike.__file__).parents[1])}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=tested, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    process = int(done.stdout)
    for _ in range(100):
        if not is_running(process):
            return
        time.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    pytest.fail("QEMU runs on")


def test_a_killed_qemu_is_an_error(elf: Path) -> None:
    client = connect(f"qemu:{elf}")
    transport = client._connection.transport
    assert isinstance(transport, QemuTransport)
    transport._process.kill()
    with pytest.raises(DeviceError, match="QEMU ended") as caught:
        client.hello()
    assert caught.value.code == "qemu"
    client.close()


def test_what_is_no_firmware_is_an_error(qemu: str, tmp_path: Path) -> None:
    elf = tmp_path / "edgespike.elf"
    elf.write_bytes(b"")
    with pytest.raises(DeviceError) as caught:
        connect(f"qemu:{elf}")
    assert caught.value.code in ("qemu", "silent")


def test_a_missing_qemu_is_an_error(elf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DeviceError, match="not installed") as caught:
        connect(f"qemu:{elf}")
    assert caught.value.code == "qemu-missing"
    assert "apt install" in caught.value.hint


def test_missing_firmware_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESPIKE_FIRMWARE", str(tmp_path / "none.elf"))
    with pytest.raises(DeviceError, match=r"none\.elf") as caught:
        find_firmware()
    assert caught.value.code == "firmware-missing"
