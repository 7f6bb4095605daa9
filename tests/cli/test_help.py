"""Help, and what importing costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import edgespike
from edgespike.cli import VERBS

FOLDER = Path(edgespike.__file__).parents[1]


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example_and_fits(cli: Any, verb: str) -> None:
    outcome = cli(verb, "--help")
    assert outcome.code == 0
    assert f"Example:\n    edgespike {verb}" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80


def test_help_names_all_verbs(cli: Any) -> None:
    text = cli("--help").out
    assert cli().out == text
    for verb, meaning in VERBS.items():
        assert f"{verb} " in text and meaning in text


def test_version(cli: Any) -> None:
    assert cli("--version").out == f"edgespike {edgespike.__version__}\n"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import edgespike", ["onnx", "onnxruntime", "onnxslim", "nir", "rich", "click", "serial"]),
        ("import edgespike.cli; edgespike.cli.main(['--help'])", ["numpy", "rich", "onnx", "onnxruntime"]),
        ("from edgespike import InferenceSession", ["onnx", "onnxruntime", "nir", "rich", "click", "serial"]),
    ],
    ids=["package", "help", "session"],
)
def test_heavy_packages_are_imported_late(statement: str, absent: list[str]) -> None:
    check = f"import sys; {statement}; sys.exit(' '.join(set({absent}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], cwd=FOLDER, capture_output=True, text=True)
    assert done.stderr.strip() == ""
