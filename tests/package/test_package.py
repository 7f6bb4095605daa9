"""The sdist and the wheel made from it, installed in a fresh virtual environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from golden_vectors import FILES, golden_vector

import edgespike

ROOT = Path(__file__).resolve().parents[2]
NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv*", "build", "dist", "*.egg-info", "*.so", "__pycache__", ".*_cache", ".hypothesis"
)


def run(*command: str | Path, cwd: Path) -> str:
    """Runs a command with no trace of this checkout in its environment; returns its stdout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree, so that building leaves nothing in it."""
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("source") / "edgespike", ignore=NOT_SOURCE))


@pytest.fixture(scope="session")
def dist(source: Path) -> Path:
    """The sdist, and a wheel built from that sdist alone."""
    run(sys.executable, "-m", "build", "--no-isolation", cwd=source)
    return source / "dist"


@pytest.fixture(scope="session")
def fresh_python(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new virtual environment with the wheel; its dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    (wheel,) = dist.glob("*.whl")
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=folder)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def package_files(source: Path) -> set[str]:
    return {str(file.relative_to(source)) for file in (source / "edgespike").rglob("*") if file.is_file()}


def test_the_wheel_is_one_for_all_pythons(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    assert "-cp311-abi3-" in wheel.name


def test_the_wheel_holds_the_package_and_nothing_else(source: Path, dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith("edgespike-")}
    extensions = {f"edgespike/{name}.abi3.so" for name in ("_core", "_link", "_sensor")}
    assert names == package_files(source) | extensions


def test_the_sdist_holds_the_source_and_nothing_made_from_it(source: Path, dist: Path) -> None:
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert package_files(source) <= names
    folders = [source / name for name in ("docs", "firmware", "tests", "tools")]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert {str(file.relative_to(source)) for file in files} <= names
    assert {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "setup.py"} <= names
    assert not [name for name in names if name.startswith("build") or name.endswith((".so", ".o", ".elf"))]
    assert not {"edgespike/_core.c", "edgespike/_link.c", "edgespike/_sensor.c"} & names


def test_the_installed_package_does_its_job(fresh_python: Path, tmp_path: Path) -> None:
    where = run(fresh_python, "-c", "import edgespike; print(edgespike.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(fresh_python.parents[1])
    program = fresh_python.with_name("edgespike")
    assert run(program, "--version", cwd=tmp_path).startswith("edgespike ")
    assert "emulated" in run(program, "demo", cwd=tmp_path)


# ---- a Raspberry Pi ------------------------------------------------------------

GOLDEN = """
import json, sys
import edgespike
for path in sys.argv[1:]:
    for backend, port in ("cpu", None), ("reference", None), ("device", "emulated"):
        session = edgespike.InferenceSession(path, backend, port=port)
        network, events = session.backend, session.graph.self_test.events
        network.reset()
        network.clear_stats()
        while len(events):
            used, _ = network.push(events)
            events = events[used:]
        network.finish()
        print(json.dumps([path, network.output().tolist(), network.stats()["populations"]]))
"""


@pytest.fixture(scope="session")
def aarch64_python(need: Callable[[object, str], None]) -> list[str]:
    """The command of Debian's Python for aarch64."""
    root = Path(os.environ.get("EDGESPIKE_AARCH64", ROOT / "build" / "aarch64"))
    python = root / "usr" / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    need(python.is_file(), f"no Python for aarch64 in {root}: run tools/aarch64_python.sh build/aarch64")
    for program in ("qemu-aarch64", "aarch64-linux-gnu-gcc"):
        need(shutil.which(program), f"no {program} (apt install qemu-user gcc-aarch64-linux-gnu)")
    return ["qemu-aarch64", "-L", str(root), str(python)]


def test_the_sdist_gives_the_bits_of_the_reference_on_aarch64(
    dist: Path, aarch64_python: list[str], tmp_path: Path
) -> None:
    """Built by a plain compiler, and run by the Python, the C library and the NumPy of that processor."""
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("edgespike-*")
    headers = Path(aarch64_python[2], "usr", "include")
    tools = {
        "CC": "aarch64-linux-gnu-gcc",
        "LDSHARED": "aarch64-linux-gnu-gcc -shared",
        "CFLAGS": f"-I{headers / Path(aarch64_python[-1]).name} -I{headers}",
    }
    assigned = [f"{name}={value}" for name, value in tools.items()]
    run("env", *assigned, sys.executable, "setup.py", "--quiet", "build", "--build-lib", "lib", cwd=source)
    command = ["env", f"PYTHONPATH={source / 'lib'}", *aarch64_python, "-c", GOLDEN, *map(str, FILES)]
    rows = [json.loads(line) for line in run(*command, cwd=tmp_path).splitlines()]
    vectors = [golden_vector(path) for path in FILES for _ in range(3)]
    assert [row[1:] for row in rows] == [[vector.scores, vector.populations] for vector in vectors]


def test_versions_agree() -> None:
    header = (ROOT / "edgespike" / "core" / "edgespike.h").read_text()
    numbers = [re.search(rf"ES_VERSION_{part} (\d+)", header) for part in ("MAJOR", "MINOR", "PATCH")]
    assert ".".join(number[1] for number in numbers if number) == edgespike.__version__
