"""The device loop under the sanitizers: near-good frames (fuzz_device.c), damaged streams (fuzz_stream.c)."""

from __future__ import annotations

import os
import shutil
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from boards import COUNTING, IMAGE, image_events, image_graph
from offline import scores_of
from random_graphs import random_graph

from edgespike.graph import SelfTest
from edgespike.modelfile import encode_model

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["-std=c99", "-O2", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


@pytest.fixture(scope="module")
def build(
    tmp_path_factory: pytest.TempPathFactory, need: Callable[[object, str], None]
) -> Callable[[str], Path]:
    """``build(name)`` compiles a harness of this folder with the core."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    need(compiler, "no C compiler is installed (apt install gcc)")
    folder = tmp_path_factory.mktemp("fuzz")
    core = ROOT / "edgespike" / "core"

    def built(name: str) -> Path:
        sources = [str(Path(__file__).with_name(f"{name}.c")), *map(str, sorted(core.glob("*.c")))]
        command = [str(compiler), *FLAGS, "-D_POSIX_C_SOURCE=200112L", f"-I{core}", "-o", str(folder / name)]
        subprocess.run([*command, *sources], check=True)
        return folder / name

    return built


def small_models(folder: Path) -> list[str]:
    """Files of models of every kind."""
    paths = []
    events = image_events(1)
    digest = zlib.crc32(np.array(scores_of(IMAGE, events)[-1], np.int32).tobytes())
    models = [COUNTING, encode_model(image_graph(SelfTest(events, digest)))]
    for seed in range(400):
        rng = np.random.default_rng(seed)
        data = encode_model(random_graph(rng, spiking=seed % 2 == 0))
        if len(data) < 2500:
            models.append(data)
    assert len(models) >= 16
    for number, data in enumerate(models[:16]):
        paths.append(str(folder / f"{number}.esg"))
        Path(paths[-1]).write_bytes(data)
    return paths


def run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_any_frames_keep_the_promises(build: Callable[[str], Path], tmp_path: Path) -> None:
    rounds = int(os.environ.get("EDGESPIKE_FUZZ_ROUNDS", "100"))
    assert run(build("fuzz_device"), 1, rounds, *small_models(tmp_path)) == f"{rounds} rounds\n"


def test_any_bytes_keep_the_promises(build: Callable[[str], Path], tmp_path: Path) -> None:
    streams = int(os.environ.get("EDGESPIKE_FUZZ_STREAMS", "10000"))
    models = [path for path in small_models(tmp_path) if Path(path).stat().st_size < 2500]
    printed = run(build("fuzz_stream"), 1, streams, *models)
    assert printed.startswith(f"{streams} streams, ")
    assert int(printed.split()[2]) > streams / 4
