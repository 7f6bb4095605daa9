"""The core as C: warnings, what it links to, its stack, the documented example, damaged models."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from random_graphs import random_graph
from weighing_model import weighing_model

from edgespike.modelfile import encode_model

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "edgespike" / "core"
SOURCES = sorted(CORE.glob("*.c"))
HEADERS = sorted(CORE.glob("*.h"))
SENSOR = CORE / "sensor"  # needs nothing of the core
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wvla", "-Werror"]
LINKED = {"memchr", "memcmp", "memcpy", "memmove", "memset"}
DIVISION = {"__aeabi_idiv", "__aeabi_idivmod", "__aeabi_uidiv", "__aeabi_uidivmod"}
DIVISION |= {"__aeabi_ldivmod", "__aeabi_uldivmod"}
ARITHMETIC = DIVISION | {"__aeabi_lmul", "__aeabi_llsl", "__aeabi_llsr", "__aeabi_lasr"}
SWITCH = {f"__gnu_thumb1_case_{kind}" for kind in ("sqi", "uqi", "shi", "uhi", "si")}  # jump tables

Need = Callable[[object, str], None]


def run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="session")
def gcc(need: Need) -> str:
    program = shutil.which("gcc")
    need(program, "gcc is not installed (apt install gcc)")
    return str(program)


def symbols(nm: str, objects: list[Path]) -> dict[str, set[str]]:
    """Names by nm's letter: U not defined here, d and b writable."""
    found: dict[str, set[str]] = {}
    for line in run(nm, "--no-sort", *objects).splitlines():
        fields = line.split()
        if len(fields) >= 2 and len(fields[-2]) == 1:
            found.setdefault(fields[-2].upper(), set()).add(fields[-1])
    return found


def compile_core(compiler: str, folder: Path, *flags: str) -> list[Path]:
    sources = [*SOURCES, *SENSOR.glob("*.c")]
    objects = [folder / f"{source.stem}.o" for source in sources]
    for source, target in zip(sources, objects, strict=True):
        run(compiler, *STRICT, *flags, "-c", source, "-o", target)
    return objects


def test_strict_c99_without_floating_point(gcc: str, tmp_path: Path) -> None:
    """With general registers only, the compiler refuses every float."""
    found = symbols("nm", compile_core(gcc, tmp_path, "-O2", "-mgeneral-regs-only", "-fno-stack-protector"))
    assert found["U"] - found["T"] <= LINKED
    assert not found.keys() & {"D", "B", "C"}  # no writable globals


@pytest.mark.parametrize("cpu", ["cortex-m0", "cortex-m4"])
def test_bare_metal(arm_gcc: str, tmp_path: Path, cpu: str) -> None:
    objects = compile_core(arm_gcc, tmp_path, "-Os", f"-mcpu={cpu}", "-mthumb")
    found = symbols("arm-none-eabi-nm", objects)
    assert found["U"] - found["T"] <= LINKED | ARITHMETIC | SWITCH
    assert not found.keys() & {"D", "B", "C"}


def test_only_four_standard_headers() -> None:
    included = set()
    for path in [*SOURCES, *HEADERS, *SENSOR.iterdir()]:
        included |= set(re.findall(r"#include <(.+)>", path.read_text()))
    assert included == {"stdint.h", "stddef.h", "stdbool.h", "string.h"}


def test_the_public_headers_are_cplusplus(tmp_path: Path, need: Need) -> None:
    need(shutil.which("g++"), "g++ is not installed (apt install g++)")
    program = tmp_path / "program.cpp"
    program.write_text(
        '#include "edgespike.h"\n#include "es_device.h"\n#include "sensor/es_filter.h"\n'
        '#include "sensor/es_encode.h"\n#include "sensor/es_window.h"\n'
        "int main() { return es_error_message(0)[0] == 0; }\n"
    )
    run("g++", "-std=c++11", "-Wall", "-Wextra", "-Werror", f"-I{CORE}", "-fsyntax-only", program)


def test_the_stack_stays_small(arm_gcc: str, tmp_path: Path) -> None:
    """A call goes through a file's functions at most two large frames deep."""
    compile_core(arm_gcc, tmp_path, "-Os", "-mcpu=cortex-m4", "-mthumb", "-fstack-usage")
    deepest = 0
    for name in ("es_net", "es_input", "es_neuron", "es_project", "es_kernel", "es_initial"):
        rows = [line.split("\t") for line in (tmp_path / f"{name}.su").read_text().splitlines()]
        assert {kind for _, _, kind in rows} == {"static"}
        deepest += sum(sorted(int(size) for _, size, _ in rows)[-2:])
    assert deepest < 2048


def test_the_documented_example(gcc: str, tmp_path: Path) -> None:
    (code,) = re.findall(r"```c\n(.*?)```", (ROOT / "docs" / "c-api.md").read_text(), re.DOTALL)
    (tmp_path / "example.c").write_text(code)
    program = tmp_path / "example"
    run(
        gcc,
        "-std=c11",
        "-Wall",
        "-Wextra",
        "-Werror",
        f"-I{CORE}",
        tmp_path / "example.c",
        *SOURCES,
        "-o",
        program,
    )
    (tmp_path / "model.esg").write_bytes(weighing_model())
    assert run(program, tmp_path / "model.esg").split() == ["2", "4", "6"]
    failed = subprocess.run([program, tmp_path / "none.esg"], capture_output=True, text=True)
    assert (failed.returncode, failed.stderr) == (1, "the model file is cut short\n")


def test_refused_arguments(gcc: str, tmp_path: Path) -> None:
    """See api.c."""
    program = tmp_path / "api"
    api = Path(__file__).with_name("api.c")
    run(gcc, "-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{CORE}", api, *SOURCES, "-o", program)
    (tmp_path / "model.esg").write_bytes(weighing_model())
    run(program, tmp_path / "model.esg")


def test_damaged_models_under_sanitizers(gcc: str, tmp_path: Path) -> None:
    """What the loader accepts runs without a fault; see fuzz.c."""
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    program = tmp_path / "fuzz"
    core = [source for source in SOURCES if source.stem not in ("es_device", "es_frame", "es_words")]
    fuzz = Path(__file__).with_name("fuzz.c")
    run(
        gcc,
        "-std=c99",
        "-g",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        *sanitize,
        f"-I{CORE}",
        fuzz,
        *core,
        "-o",
        program,
    )
    models = []
    for seed in range(60):
        data = encode_model(random_graph(np.random.default_rng(seed), spiking=seed % 2 == 1))
        if len(data) < 20_000:
            models.append(tmp_path / f"{seed}.esg")
            models[-1].write_bytes(data)
    assert len(models) > 30
    accepted = int(run(program, 1, 6000, *models).split()[0])
    assert accepted > 600
