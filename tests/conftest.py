"""What all tests share: what a test needs beyond the package, and where the data is.

A test that needs what a machine lacks is skipped with its reason. In CI (environment
``CI=true``) every skip is a failure, so that nothing goes untested unnoticed.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
IN_CI = os.environ.get("CI", "").lower() in ("1", "true")

# `python -m pytest` puts the source folder first on the path. Unless the extensions were
# built in place, the package to test is the installed one.
elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
if not list((ROOT / "edgespike").glob("_core.*.so")) and PathFinder.find_spec("edgespike", elsewhere):
    sys.path[:] = elsewhere

settings.register_profile("edgespike", deadline=None, derandomize=IN_CI)
settings.load_profile("edgespike")

Need = Callable[[object, str], None]


def _need(condition: object, reason: str) -> None:
    if not condition:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def need() -> Need:
    """``need(condition, reason)``: skip unless the condition holds (in CI: fail)."""
    return _need


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with the public test data: ``EDGESPIKE_TEST_DATA``, or ``../shared/data``."""
    folder = Path(os.environ.get("EDGESPIKE_TEST_DATA", ROOT.parent / "shared" / "data"))
    _need(folder.is_dir(), f"no test data in {folder}; set EDGESPIKE_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def qemu() -> str:
    """The path of ``qemu-system-arm``."""
    program = shutil.which("qemu-system-arm")
    _need(program, "qemu-system-arm is not installed (apt install qemu-system-arm)")
    assert program
    return program


@pytest.fixture(scope="session")
def arm_gcc() -> str:
    """The path of the cross compiler ``arm-none-eabi-gcc``."""
    program = shutil.which("arm-none-eabi-gcc")
    packages = "gcc-arm-none-eabi libnewlib-arm-none-eabi"
    _need(program, f"arm-none-eabi-gcc is not installed (apt install {packages})")
    assert program
    return program


@pytest.fixture(scope="session")
def firmware(qemu: str, arm_gcc: str) -> Path:
    """The firmware for QEMU's Cortex-M4 board, built from source."""
    subprocess.run(["make", "--silent", "-C", str(ROOT / "firmware")], check=True)
    return ROOT / "firmware" / "build" / "mps2-an386" / "edgespike.elf"


@pytest.fixture(scope="session")
def size_tool() -> ModuleType:
    """tools/size.py as a module."""
    spec = importlib.util.spec_from_file_location("size_tool", ROOT / "tools" / "size.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if IN_CI and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"nothing may be skipped in CI. {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)
    return report
