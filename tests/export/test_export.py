"""An export compiles without a warning everywhere and prints the scores of a session."""

from __future__ import annotations

import re
import shutil
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_graphs import exiting_graph, random_events, random_graph
from semihosting import run_on_board

from edgespike import InferenceSession, _core
from edgespike.convert import Calibration, convert_onnx
from edgespike.encoders import Window, WindowEncoder
from edgespike.errors import DataError, EdgespikeError, ModelError, UsageError
from edgespike.export import FILES, SOURCES, export_c
from edgespike.graph import Graph, SelfTest
from edgespike.modelfile import encode_model, write_model

ROOT = Path(__file__).resolve().parents[2]
Need = Callable[[object, str], None]

C99 = ["-x", "c", "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
CPP = ["-x", "c++", "-std=c++17", "-Wall", "-Wextra", "-Werror"]
CPUS = ["cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m55"]
LINUX = {"aarch64-linux-gnu": "qemu-aarch64", "arm-linux-gnueabihf": "qemu-arm"}
MODELS = [("levels", 3), ("levels", 8), ("spikes", 1)]

# Everything where QEMU's mps2-an386 has memory; newlib's start code talks to QEMU.


def run(*command: object, cwd: Path | None = None) -> str:
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


@pytest.fixture(scope="session")
def gcc(need: Need) -> str:
    need(shutil.which("gcc") and shutil.which("g++"), "gcc is not installed (apt install g++)")
    return "gcc"


def graph_with_test(kind: str, seed: int) -> tuple[Graph, list[int]]:
    """A random graph with a golden self-test, and the scores that the core gives for it."""
    rng = np.random.default_rng(seed)
    return with_test(random_graph(rng, spiking=kind == "spikes"), rng)


def exiting_graph_with_test(seed: int) -> tuple[Graph, list[int]]:
    """The same of a graph with early exit."""
    return with_test(exiting_graph(seed, 60), np.random.default_rng(seed))


def with_test(graph: Graph, rng: np.random.Generator) -> tuple[Graph, list[int]]:
    events = random_events(rng, graph, 60)
    if graph.input.window_ticks:
        events = events[events["tick"] < graph.input.window_ticks]
    network = _core.Network(_core.Model(encode_model(graph)))
    network.push(events)
    network.finish()
    scores = network.output()
    test = SelfTest(events, zlib.crc32(scores.astype("<i4").tobytes()))
    return replace(graph, self_test=test), scores.tolist()


@pytest.fixture(scope="session", params=MODELS, ids=lambda model: f"{model[0]}-{model[1]}")
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """A model file and its scores."""
    graph, scores = graph_with_test(*request.param)
    path = tmp_path_factory.mktemp("model") / "net.esg"
    write_model(graph, path)
    return path, scores


@pytest.fixture(scope="session")
def one_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small model file."""
    path = tmp_path_factory.mktemp("one") / "net.esg"
    write_model(graph_with_test("levels", 3)[0], path)
    return path


@pytest.fixture(scope="session")
def folder(one_model: Path) -> Path:
    """Its export."""
    return export_c(one_model, one_model.parent / "out").folder


# ---- what it compiles to ----------------------------------------------------


@pytest.mark.parametrize("standard", [C99, CPP], ids=["c99", "c++17"])
def test_no_warnings_here(gcc: str, folder: Path, standard: list[str]) -> None:
    for source in ("edgespike.c", "model.c", "example.c"):
        run("g++" if standard is CPP else gcc, *standard, "-O3", "-c", folder / source, "-o", "/dev/null")


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("standard", [C99, CPP], ids=["c99", "c++17"])
def test_no_warnings_on_boards(arm_gcc: str, folder: Path, standard: list[str], cpu: str) -> None:
    flags = [*standard, "-Os", f"-mcpu={cpu}", "-mthumb", "-mfloat-abi=soft"]
    compiler = arm_gcc.replace("gcc", "g++") if standard is CPP else arm_gcc
    for source in ("edgespike.c", "model.c", "example.c"):
        run(compiler, *flags, "-c", folder / source, "-o", "/dev/null")


def test_only_the_documented_names_are_visible(gcc: str, folder: Path, tmp_path: Path) -> None:
    run(gcc, *C99, "-c", folder / "edgespike.c", "-o", tmp_path / "edgespike.o")
    run(gcc, *C99, "-c", folder / "model.c", "-o", tmp_path / "model.o")
    defined = re.findall(r" [TDRB] (\w+)", run("nm", tmp_path / "edgespike.o", tmp_path / "model.o"))
    declared = re.findall(r"\b(es_\w+)\(", (folder / "edgespike.h").read_text())
    assert set(defined) == {*declared, "es_model_data"}


def test_no_file_of_the_core_is_needed(folder: Path) -> None:
    for name in SOURCES:
        included = set(re.findall(r'#include "(.+)"', (folder / name).read_text()))
        assert included <= {"edgespike.h", "model.h"}


# ---- what it prints ---------------------------------------------------------


@pytest.mark.parametrize("standard", [C99, CPP], ids=["c99", "c++17"])
def test_the_example_prints_the_scores(
    gcc: str, model: tuple[Path, list[int]], standard: list[str], tmp_path: Path
) -> None:
    path, scores = model
    out = export_c(path, tmp_path / "out").folder
    sources = [out / "edgespike.c", out / "model.c", out / "example.c"]
    program = tmp_path / "example"
    run("g++" if standard is CPP else gcc, *standard, "-O1", *sources, "-o", program)
    assert [int(line) for line in run(program).splitlines()] == scores


@pytest.mark.parametrize("machine", LINUX)
@pytest.mark.parametrize("standard", [C99, CPP], ids=["c99", "c++17"])
def test_the_example_on_linux_boards(
    need: Need, model: tuple[Path, list[int]], machine: str, standard: list[str], tmp_path: Path
) -> None:
    """Without a warning, and the same scores, under QEMU's user mode."""
    compiler = f"{machine}-{'g++' if standard is CPP else 'gcc'}"
    for program in (compiler, LINUX[machine]):
        need(shutil.which(program), f"{program} is not installed (apt install g++-{machine} qemu-user)")
    path, scores = model
    out = export_c(path, tmp_path / "out").folder
    sources = [out / name for name in ("edgespike.c", "model.c", "example.c")]
    run(compiler, *standard, "-O2", "-static", *sources, "-o", tmp_path / "example")
    printed = run(LINUX[machine], tmp_path / "example")
    assert [int(line) for line in printed.splitlines()] == scores


def test_the_example_of_a_model_without_self_test(gcc: str, tmp_path: Path) -> None:
    graph = replace(graph_with_test("levels", 3)[0], self_test=None)
    write_model(graph, tmp_path / "net.esg")
    out = export_c(tmp_path / "net.esg", tmp_path / "out").folder
    run(gcc, *C99, out / "edgespike.c", out / "model.c", out / "example.c", "-o", tmp_path / "example")
    network = _core.Network(_core.Model(encode_model(graph)))
    network.finish()
    assert [int(line) for line in run(tmp_path / "example").splitlines()] == network.output().tolist()


def test_the_example_on_an_emulated_board(
    arm_gcc: str, qemu: str, model: tuple[Path, list[int]], tmp_path: Path
) -> None:
    path, scores = model
    out = export_c(path, tmp_path / "out").folder
    sources = [out / name for name in ("edgespike.c", "model.c", "example.c")]
    printed = run_on_board(arm_gcc, qemu, "mps2-an386", ["-mcpu=cortex-m4", "-O2"], sources, tmp_path)
    assert [int(line) for line in printed.splitlines()] == scores


NEEDS: dict[str, Callable[[Graph], bool]] = {
    "spiking": lambda graph: graph.is_spiking,
    "currents": lambda graph: any(getattr(p.neuron, "current", None) for p in graph.populations),
    "delays": lambda graph: any(projection.delay for projection in graph.projections),
    "tables": lambda graph: any(getattr(p.neuron, "table", None) for p in graph.populations),
    "int4": lambda graph: any(getattr(p.connection, "weight_bits", 0) == 4 for p in graph.projections),
    "pairs": lambda graph: any(p.accumulator_bits == 16 for p in graph.populations),
    "early-exit": lambda graph: graph.input.early_exit is not None,
    "one-shot": lambda graph: not graph.is_spiking and not NEEDS["delays"](graph),
}


@pytest.mark.parametrize("feature", NEEDS)
def test_what_the_model_does_not_need_is_left_out(gcc: str, feature: str, tmp_path: Path) -> None:
    """A model that needs something runs with it, and is refused without."""
    kind = "levels" if feature in ("one-shot", "tables") else "spikes"
    make = exiting_graph_with_test if feature == "early-exit" else partial(graph_with_test, kind)
    graph, scores = next(case for case in map(make, range(50)) if NEEDS[feature](case[0]))
    write_model(graph, tmp_path / "net.esg")
    written = export_c(tmp_path / "net.esg", tmp_path / "out")
    assert set(written.left_out) == {"checks"} | {name for name, needs in NEEDS.items() if not needs(graph)}
    example = written.folder / "example.c"
    if feature == "one-shot":
        example.write_text(example.read_text().replace("ES_PLAN_STREAMING", "ES_PLAN_ONE_SHOT"))
    build = [gcc, *C99, *(written.folder / name for name in ("edgespike.c", "model.c", "example.c"))]
    switch = f"-DES_WITH_{feature.upper().replace('-', '_')}"
    for options in ([], [f"{switch}=1", "-DES_WITH_CHECKS=1"]):
        run(*build, *options, "-o", tmp_path / "example")
        assert [int(line) for line in run(tmp_path / "example").splitlines()] == scores
    run(*build, f"{switch}=0", "-o", tmp_path / "example")
    done = subprocess.run([tmp_path / "example"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "this build of the core leaves out what is needed\n")


def test_a_damaged_array_is_told(gcc: str, folder: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(folder, tmp_path / "out")
    text = (damaged / "model.c").read_text()
    last = re.findall(r"\d+, *\n?};", text)[-1]
    (damaged / "model.c").write_text(text.replace(last, f"{int(last.split(',')[0]) ^ 1},\n}};"))
    run(gcc, damaged / "edgespike.c", damaged / "model.c", damaged / "example.c", "-o", tmp_path / "example")
    done = subprocess.run([tmp_path / "example"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "the model file is corrupted (checksum mismatch)\n")


def test_cmake(need: Need, gcc: str, model: tuple[Path, list[int]], tmp_path: Path) -> None:
    need(shutil.which("cmake"), "cmake is not installed (apt install cmake)")
    path, scores = model
    out = export_c(path, tmp_path / "out", "cmake").folder
    run("cmake", "-S", out, "-B", tmp_path / "build")
    run("cmake", "--build", tmp_path / "build")
    assert [int(line) for line in run(tmp_path / "build" / "example").splitlines()] == scores


def test_arduino(gcc: str, model: tuple[Path, list[int]], tmp_path: Path) -> None:
    """The sketch compiles and prints the scores, with a stand-in for Arduino's serial line."""
    path, scores = model
    out = export_c(path, tmp_path / "out", "arduino").folder
    properties = dict(line.split("=", 1) for line in (out / "library.properties").read_text().splitlines())
    assert {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url"} < set(
        properties
    )
    (tmp_path / "Arduino.h").write_text(
        "#include <cstdio>\nstruct {\n  void begin(long) {}\n"
        '  void println(long n) { std::printf("%ld\\n", n); }\n'
        '  void println(const char *s) { std::printf("%s\\n", s); }\n} Serial;\n'
    )
    (tmp_path / "main.cpp").write_text(
        '#include "Arduino.h"\n#include "out/examples/scores/scores.ino"\nint main() { setup(); loop(); }\n'
    )
    sources = [tmp_path / "main.cpp", out / "src" / "edgespike.c", out / "src" / "model.c"]
    objects = [tmp_path / f"{source.stem}.o" for source in sources]
    for source, target in zip(sources, objects, strict=True):
        compiler = "g++" if source.suffix == ".cpp" else gcc
        run(compiler, "-Wall", "-Wextra", "-Werror", f"-I{out / 'src'}", "-c", source, "-o", target)
    run("g++", *objects, "-o", tmp_path / "sketch")
    assert [int(line) for line in run(tmp_path / "sketch").splitlines()] == scores


# ---- the folder -------------------------------------------------------------


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("layout", ["plain", "cmake", "arduino"])
def test_what_is_written(layout: Any, one_model: Path, tmp_path: Path) -> None:
    written = export_c(one_model, tmp_path / "out", layout)
    assert tuple(sorted(tree(tmp_path / "out"))) == written.files
    assert set(written.files) <= FILES
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert written.model_bytes == one_model.stat().st_size


def test_an_earlier_export_and_an_empty_folder_are_replaced(one_model: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export_c(one_model, tmp_path / "out", "arduino")
    written = export_c(one_model, tmp_path / "out")
    assert tuple(sorted(tree(tmp_path / "out"))) == written.files
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("present", ["main.c", "edgespike.h", "src/edgespike.h"])
def test_a_folder_with_other_files_is_left_alone(present: str, one_model: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / present).parent.mkdir(parents=True)
    (tmp_path / "out" / present).write_text("int x;\n")
    with pytest.raises(UsageError, match="no earlier export") as caught:
        export_c(one_model, tmp_path / "out")
    assert caught.value.code == "folder-not-empty"
    assert tree(tmp_path) == {f"out/{present}": b"int x;\n"}


def test_files_added_to_an_export_are_not_lost(one_model: Path, tmp_path: Path) -> None:
    export_c(one_model, tmp_path / "out")
    (tmp_path / "out" / "main.c").write_text("int x;\n")
    before = tree(tmp_path)
    with pytest.raises(UsageError, match=r"holds main\.c"):
        export_c(one_model, tmp_path / "out")
    assert tree(tmp_path) == before


def test_a_bad_model_writes_nothing(one_model: Path, tmp_path: Path) -> None:
    data = bytearray(one_model.read_bytes())
    data[-1] ^= 1
    (tmp_path / "bad.esg").write_bytes(data)
    with pytest.raises(ModelError):
        export_c(tmp_path / "bad.esg", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_wrong_self_test_is_refused(tmp_path: Path) -> None:
    graph, _ = graph_with_test("levels", 3)
    assert graph.self_test
    write_model(replace(graph, self_test=SelfTest(graph.self_test.events, 1)), tmp_path / "net.esg")
    with pytest.raises(ModelError) as caught:
        export_c(tmp_path / "net.esg", tmp_path / "out")
    assert caught.value.code == "self-test"
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(one_model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EdgespikeError) as caught:
        export_c(one_model, tmp_path / "file" / "out")
    assert caught.value.code == "file"
    with pytest.raises(UsageError):
        export_c(one_model, tmp_path / "file")


# ---- with a sensor ----------------------------------------------------------


@pytest.fixture(scope="module")
def sensor_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of tests/data that takes a sliding window, calibrated on noise."""
    x = np.cumsum(np.random.default_rng(1).normal(0, 9, (24, 1, 576)), axis=2) + 1000
    graph, _ = convert_onnx(ROOT / "tests" / "data" / "ecg_beats.onnx", Calibration(x), levels=15)
    path = tmp_path_factory.mktemp("sensor") / "ecg.esg"
    write_model(graph, path)
    return path


def sensor_program(folder: Path, samples: list[int]) -> list[Path]:
    """The documented program, a converter that has measured samples, and the export."""
    (code,) = re.findall(r"```c\n(.*?)```", (ROOT / "docs" / "sensors.md").read_text(), re.DOTALL)
    (folder / "main.c").write_text(code)
    numbers = ", ".join(map(str, samples))
    (folder / "board.c").write_text(
        "#include <stdint.h>\nextern int board_sample(int32_t *values);\n"
        f"static const int32_t samples[] = {{{numbers}}};\nstatic uint32_t next;\n"
        "int board_sample(int32_t *values)\n"
        f"{{\n    return next < {len(samples)} ? (*values = samples[next++], 1) : 0;\n}}\n"
    )
    names = ("edgespike.c", "model.c", "sensor.c")
    return [*(folder / "out" / name for name in names), folder / "main.c", folder / "board.c"]


@pytest.mark.parametrize("where", ["here", "board"])
def test_from_samples_to_scores(
    where: str, sensor_model: Path, gcc: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The program of docs/sensors.md gives the session's scores, here and on an emulated Cortex-M4."""
    samples = np.cumsum(np.random.default_rng(2).integers(-20, 21, 700)) + 1000
    session, window = InferenceSession(sensor_model), Window(7, 12)
    expected = []
    for time_us, changes in WindowEncoder(session, window)(samples[:, None], np.arange(700)):
        session.push(changes)
        session.advance(time_us + 1)
        expected.append(session.read().scores.tolist())
    export_c(sensor_model, tmp_path / "out", window=window)
    sources = sensor_program(tmp_path, samples.tolist())
    if where == "here":
        run(gcc, *C99, f"-I{tmp_path / 'out'}", *sources, "-o", tmp_path / "program")
        printed = run(tmp_path / "program")
    else:
        arm_gcc, qemu = request.getfixturevalue("arm_gcc"), request.getfixturevalue("qemu")
        flags = ["-mcpu=cortex-m4", "-O2", f"-I{tmp_path / 'out'}"]
        printed = run_on_board(arm_gcc, qemu, "mps2-an386", flags, sources, tmp_path)
    assert [list(map(int, line.split())) for line in printed.splitlines()] == expected
    assert len(expected) == 18


@pytest.mark.parametrize("standard", [C99, CPP], ids=["c99", "c++17"])
def test_a_sensor_s_sources(sensor_model: Path, gcc: str, standard: list[str], tmp_path: Path) -> None:
    """They compile without a warning, and an export with them is replaced like any other."""
    written = export_c(sensor_model, tmp_path / "out", "arduino", Window(18), Fraction(5, 2))
    assert {"src/sensor.c", "src/sensor.h"} <= set(written.files)
    compiler = "g++" if standard is CPP else gcc
    run(compiler, *standard, "-O3", "-c", tmp_path / "out" / "src" / "sensor.c", "-o", "/dev/null")
    assert "src/sensor.c" not in export_c(sensor_model, tmp_path / "out", "arduino").files


def test_a_window_for_a_network_without_one(tmp_path: Path) -> None:
    write_model(graph_with_test("spikes", 1)[0], tmp_path / "net.esg")
    with pytest.raises(DataError, match="the network takes events") as caught:
        export_c(tmp_path / "net.esg", tmp_path / "out", window=Window())
    assert caught.value.hint and not (tmp_path / "out").exists()
