"""The core keeps its budget of flash, data and stack; see tools/size.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edgespike

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "size.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(edgespike.__file__).parents[1])}


@pytest.fixture(scope="module")
def size(size_tool: Any) -> Any:
    """The tool as a module."""
    return size_tool


@pytest.fixture(scope="module")
def recorded(size: Any) -> Any:
    return json.loads(size.BUDGET.read_text())


def test_the_budget_is_kept(arm_gcc: str) -> None:
    done = subprocess.run([sys.executable, TOOL, "--check"], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_has_the_recorded_numbers(size: Any, recorded: Any) -> None:
    assert size.table(recorded) in size.README.read_text()


def sizes(size: Any, recorded: Any) -> Any:
    """What was recorded, as if it was measured now."""
    values = recorded["builds"][size.JUDGED]
    return size.Sizes(files={}, forbidden=(), **values)


def test_growth_is_told(size: Any, recorded: Any, arm_gcc: str) -> None:
    now = sizes(size, recorded)
    here = {**recorded, "compiler": size.compiler()}
    assert size.broken({size.JUDGED: now}, here) == []
    grown = replace(now, network=now.network + now.network // 50)  # which has no limit of its own
    assert "network grew" in size.broken({size.JUDGED: grown}, here)[0]
    assert size.broken({size.JUDGED: grown}, {**recorded, "compiler": "another"}) == []


@pytest.mark.parametrize(
    ("name", "value"), [("core", 24577), ("levels", 8193), ("spikes", 8193), ("data", 1), ("stack", 1025)]
)
def test_limits_hold_for_every_compiler(
    size: Any, recorded: Any, name: str, value: int, arm_gcc: str
) -> None:
    now = replace(sizes(size, recorded), **{name: value})
    (complaint,) = size.broken({size.JUDGED: now}, {**recorded, "compiler": "another"})
    assert f"{name} is {value} bytes" in complaint


def test_floats_and_allocation_are_told(size: Any, recorded: Any, arm_gcc: str) -> None:
    names = ["__aeabi_dadd", "__aeabi_fmul", "__aeabi_i2d", "__aeabi_ui2f", "__muldf3", "malloc"]
    assert all(size.FORBIDDEN.match(name) for name in names)
    harmless = ["memcpy", "__aeabi_uidiv", "__aeabi_ldivmod", "__aeabi_lmul", "__gnu_thumb1_case_uqi"]
    assert not any(size.FORBIDDEN.match(name) for name in harmless)
    now = replace(sizes(size, recorded), forbidden=("__aeabi_dadd",))
    assert "uses __aeabi_dadd" in size.broken({size.JUDGED: now}, recorded)[0]


def test_the_deepest_chain(size: Any) -> None:
    def node(name: str, stack: int) -> str:
        return f'node: {{ title: "{name}" label: "{name}\\na.c:1:1\\n{stack} bytes (static)" }}\n'

    def edge(caller: str, called: str) -> str:
        return f'edge: {{ sourcename: "{caller}" targetname: "{called}" label: "a.c:1:1" }}\n'

    first = node("a", 8) + node("a.c:b", 100) + edge("a", "a.c:b") + edge("a", "c") + edge("a", "memcpy")
    assert size.deepest_chain([first, node("c", 40) + node("d", 80) + edge("c", "d")]) == 128
