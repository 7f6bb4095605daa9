"""The core and its C tests on other processors of Linux boards, under QEMU's user mode: the same bits."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from golden_vectors import FILES, golden_vector
from weighing_model import weighing_model

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "edgespike" / "core"
SOURCES = sorted(CORE.glob("*.c"))
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wvla", "-Werror"]


@dataclass(frozen=True)
class Processor:
    """A compiler, its options, and what runs its programs."""

    compiler: str
    options: tuple[str, ...] = ()
    runner: tuple[str, ...] = ()


PACKAGES = "gcc-aarch64-linux-gnu gcc-arm-linux-gnueabihf qemu-user"

PROCESSORS = {
    "this machine": Processor("gcc"),
    "aarch64": Processor("aarch64-linux-gnu-gcc", ("-static",), ("qemu-aarch64",)),
    "armhf": Processor("arm-linux-gnueabihf-gcc", ("-static",), ("qemu-arm",)),
}

Build = Callable[..., list[str]]


@pytest.fixture(scope="module", params=PROCESSORS)
def build(
    request: pytest.FixtureRequest,
    need: Callable[[object, str], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Build:
    """``build(program, *options)`` compiles a test program with the core; returns the command to run it."""
    processor = PROCESSORS[request.param]
    for program in (processor.compiler, *processor.runner):
        need(shutil.which(program), f"{program} is not installed (apt install {PACKAGES})")
    folder = tmp_path_factory.mktemp("processor")

    def compiled(program: Path, *options: str) -> list[str]:
        output = folder / program.stem
        command = [processor.compiler, *processor.options, *options, f"-I{CORE}", "-o", output]
        done = subprocess.run([*map(str, command), program, *SOURCES], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return [*processor.runner, str(output)]

    return compiled


def run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("level", ["-O2", "-O3"])
def test_golden_vectors(build: Build, level: str) -> None:
    """Scores in both plans and any chunks, events and synops, are those of the reference."""
    command = build(ROOT / "tests" / "golden" / "vectors.c", *STRICT, level)
    lines = [json.loads(line) for line in run(*command, *FILES).splitlines()]
    assert {Path(line["file"]) for line in lines} == set(FILES)
    assert {line["plan"] for line in lines} == {0, 1}
    for line in lines:
        vector = golden_vector(Path(line["file"]))
        assert line["scores"] == vector.scores
        if line["plan"] == 0:
            counts = [[part["events"], part["synops"]] for part in vector.populations]
            assert line["populations"] == counts


def test_refused_arguments(build: Build, tmp_path: Path) -> None:
    """See api.c."""
    (tmp_path / "model.esg").write_bytes(weighing_model())
    run(*build(Path(__file__).with_name("api.c"), "-std=c99", "-O2"), tmp_path / "model.esg")


@functools.cache
def accepted_here(folder: Path) -> str:
    """What the fuzz harness prints on this machine: how many models are accepted, and a digest of scores."""
    sources = [Path(__file__).with_name("fuzz.c"), *SOURCES]
    run("gcc", "-std=c99", "-O2", f"-I{CORE}", "-o", folder / "fuzz", *sources)
    return run(folder / "fuzz", 1, 300, *FILES)


def test_damaged_models_do_the_same_everywhere(
    build: Build, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """See fuzz.c."""
    command = build(Path(__file__).with_name("fuzz.c"), "-std=c99", "-O2")
    assert run(*command, 1, 300, *FILES) == accepted_here(tmp_path_factory.getbasetemp())


def test_the_device_loop_keeps_its_promises(build: Build) -> None:
    """See tests/link/fuzz_stream.c."""
    command = build(ROOT / "tests" / "link" / "fuzz_stream.c", "-std=c99", "-O2", "-D_POSIX_C_SOURCE=200112L")
    small = [path for path in FILES if path.stat().st_size < 2000]
    assert run(*command, 1, 100, *small).startswith("100 streams, ")
