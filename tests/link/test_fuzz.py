"""The device loop under the sanitizers, fed with what is almost right (fuzz_device.c)."""

from __future__ import annotations

import os
import shutil
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from boards import COUNTING, IMAGE, image_events, image_graph, scores_of
from random_graphs import random_graph

from edgespike.graph import SelfTest
from edgespike.modelfile import encode_model

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["-std=c99", "-O2", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


@pytest.fixture(scope="module")
def fuzz_device(tmp_path_factory: pytest.TempPathFactory, need: Callable[[object, str], None]) -> Path:
    """The built program."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    need(compiler, "no C compiler is installed (apt install gcc)")
    program = tmp_path_factory.mktemp("fuzz") / "fuzz_device"
    core = ROOT / "edgespike" / "core"
    sources = [str(Path(__file__).with_name("fuzz_device.c")), *map(str, sorted(core.glob("*.c")))]
    command = [str(compiler), *FLAGS, "-D_POSIX_C_SOURCE=200112L", f"-I{core}", "-o", str(program), *sources]
    subprocess.run(command, check=True)
    return program


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


def test_any_bytes_keep_the_promises(fuzz_device: Path, tmp_path: Path) -> None:
    rounds = int(os.environ.get("EDGESPIKE_FUZZ_ROUNDS", "1000"))
    command = [str(fuzz_device), "1", str(rounds), *small_models(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == f"{rounds} rounds\n"
