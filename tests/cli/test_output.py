"""What the command line shows: text at 80 columns, progress only on a terminal, no colour if not wanted."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import edgespike

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(edgespike.__file__).parents[1])}
COLOUR = re.compile(rb"\x1b\[[0-9;]*[34][0-7]m")


@pytest.fixture
def commands(
    image_model: Path, event_model: Path, network: Path, images: Path, recordings: Path, tmp_path: Path
) -> dict[str, list[Any]]:
    """A command for each verb that shows tables."""
    out = tmp_path / "out.esg"
    return {
        "check": ["check", network],
        "convert": ["convert", network, "-o", out, "--calibration", images],
        "inspect": ["inspect", event_model],
        "run": ["run", image_model, images],
        "eval": ["eval", image_model, images, "--original", network, "--jobs", "2"],
        "bench": ["bench", image_model, images, "--seconds", "0"],
        "stream": ["stream", event_model, recordings, "--speed", "max", "--port", "emulated"],
        "events": ["events", recordings / "left"],
    }


def on_terminal(command: list[Any], **environment: str) -> bytes:
    """What a command shows on a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "edgespike", *map(str, command)],
        stdout=theirs,
        stderr=theirs,
        env={**ENVIRONMENT, "TERM": "xterm-256color", "COLUMNS": "80", **environment},
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # how Linux says that the other side of a terminal is closed
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert child.wait(60) == 0
    return shown


@pytest.mark.parametrize("verb", ["check", "convert", "inspect", "run", "eval", "bench", "stream", "events"])
def test_piped_text_fits_80_columns(cli: Any, commands: dict[str, list[Any]], verb: str) -> None:
    outcome = cli(*commands[verb])
    assert outcome.code == 0, outcome.err
    assert all(line.startswith("warning: ") for line in outcome.err.splitlines())
    assert "\x1b" not in outcome.out
    lines = outcome.out.replace(str(commands[verb][1].parent), "").splitlines()
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("verb", ["check", "convert", "inspect", "eval"])
def test_columns_line_up(cli: Any, commands: dict[str, list[Any]], verb: str) -> None:
    tables = re.findall(r"(?:^.+\n)─+\n(?:.+\n?)+", cli(*commands[verb]).out, re.MULTILINE)
    assert tables
    for table in tables:
        head, rule, *rows = table.splitlines()
        assert {len(line) for line in [head, *rows]} == {len(rule)}


def test_progress_is_for_terminals(commands: dict[str, list[Any]]) -> None:
    assert b"classifying" in on_terminal(commands["eval"])


@pytest.mark.parametrize("verb", ["inspect", "eval"])
def test_no_colour(commands: dict[str, list[Any]], verb: str) -> None:
    assert not COLOUR.search(on_terminal(commands[verb], NO_COLOR="1"))


def test_colour_where_it_is_wanted(commands: dict[str, list[Any]]) -> None:
    assert COLOUR.search(on_terminal(commands["eval"]))


def test_a_terminal_without_unicode(commands: dict[str, list[Any]]) -> None:
    command = [sys.executable, "-P", "-m", "edgespike", *map(str, commands["inspect"])]
    done = subprocess.run(command, env={**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()


def test_long_names_wrap(cli: Any, network: Path, images: Path, tmp_path: Path) -> None:
    long = tmp_path / f"{'n' * 100}.npz"
    long.write_bytes(images.read_bytes())
    model = tmp_path / "out.esg"
    assert cli("convert", network, "-o", model, "--calibration", long).code == 0
    assert cli("run", model, long).out.count("\n") == 12


def test_a_stream_has_a_live_view_on_a_terminal(event_model: Path, recordings: Path) -> None:
    command = ["stream", event_model, recordings, "--speed", "0.1", "--port", "emulated"]
    shown = on_terminal(command).decode()
    for word in ("scores", "events", "left", "right", "before:", "p95", "there and back", "a second"):
        assert word in shown, word
    assert COLOUR.search(shown.encode()) and "38;5;" in shown, "the picture has colours"
    plain = on_terminal(command, NO_COLOR="1")
    assert not COLOUR.search(plain) and b"38;5;" not in plain
    after = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).splitlines()
    assert any(line.startswith("results") and "accuracy 100.00 %" in line for line in after)


def test_lines_on_a_terminal_if_wanted(event_model: Path, recordings: Path) -> None:
    shown = on_terminal(["stream", event_model, recordings, "--speed", "max", "--lines"]).decode()
    assert "classes" not in shown and shown.count("one.csv") == 4
